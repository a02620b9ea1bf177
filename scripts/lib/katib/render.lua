-- Fills a trial template in: the object that a trial runs.
-- Not for judging templates: see katib.validate. As Katib does it, on the template's text: values are put in
-- as they are, so a quote in a value ends a JSON text.
--   local job = render.render(experiment, { trial = "demo-x1", assignments = { { name = "lr", value = "0.1" } } })
local errors = require "errors"
local template = require "katib.template"

local M = {}

local function fail(message, path)
  errors.raise { code = "Template", message = message, path = path }
end

local function text_of(assignments)
  local parts = {}
  for _, assignment in ipairs(assignments) do parts[#parts + 1] = assignment.name .. ":" .. assignment.value end
  table.sort(parts)
  return "map[" .. table.concat(parts, " ") .. "]"
end

-- What a reference to the trial itself stands for.
local function meta_value(reference, object, options)
  local key, index = template.meta(reference)
  local metadata = type(object.metadata) == "table" and object.metadata or {}
  if key == "Name" then return options.trial end
  if key == "Namespace" then return options.namespace end
  if key == "Kind" then return object.kind or "" end
  if key == "APIVersion" then return object.apiVersion or "" end
  local values = key == "Annotations" and metadata.annotations or key == "Labels" and metadata.labels
  if not values or not index then fail("illegal reference of trial metadata: " .. reference) end
  local value = values[index]
  if value == nil then
    fail(("illegal reference of trial metadata: %s; failed to fetch %s: %s"):format(reference, key:sub(1, -2), index))
  end
  return value
end

-- The value of each trial parameter, and how many of them are assignments.
local function values_of(experiment, object, options)
  local assigned, values, count = {}, {}, 0
  for _, assignment in ipairs(options.assignments) do assigned[assignment.name or ""] = assignment.value end
  for _, parameter in ipairs(experiment.spec.trialTemplate.trialParameters or {}) do
    if type(parameter.name) ~= "string" or type(parameter.reference) ~= "string" then
      fail("a trial parameter has no name, or no reference", "spec.trialTemplate.trialParameters")
    end
    local value = assigned[parameter.reference]
    if template.meta(parameter.reference) then
      value = meta_value(parameter.reference, object, options)
    elseif value == nil then
      fail(("Unable to find parameter: %s in parameter assignment %s"):format(parameter.reference,
        text_of(options.assignments)))
    else
      count = count + 1
    end
    values[parameter.name] = value
  end
  return values, count
end

local function replace_all(text, experiment, values)
  for _, parameter in ipairs(experiment.spec.trialTemplate.trialParameters or {}) do
    text = template.replace(text, template.placeholder(parameter.name), tostring(values[parameter.name]))
  end
  return text
end

---The object of a trial.
---@param experiment table
---@param options {trial: string, assignments: {name: string, value: string}[], namespace: string?, config_maps: table?}
---  config_maps: data by "namespace/name", for a template that lies in one
---@return table # raises "Template"
function M.render(experiment, options)
  local source = experiment.spec.trialTemplate
  options = {
    trial = options.trial, assignments = options.assignments or {},
    namespace = options.namespace or (experiment.metadata or {}).namespace or "", config_maps = options.config_maps,
  }
  local text, problem = template.text(source, options.config_maps)
  if not text then fail(problem, "spec.trialTemplate.configMap") end
  local plain = source.trialSpec or template.object(text) or {}
  local values, count = values_of(experiment, plain, options)
  if count ~= #options.assignments then
    fail(("Number of TrialAssignment: %d != number of nonMetaTrialParameters in TrialSpec: %d")
      :format(#options.assignments, count))
  end
  local object, wrong = template.object(replace_all(text, experiment, values))
  if not object then
    fail("the template is no object once the values are in it: " .. errors.text(wrong), "spec.trialTemplate.trialSpec")
  end
  object.metadata = object.metadata or {}
  object.metadata.name, object.metadata.namespace = options.trial, options.namespace
  return object
end

return M
