-- The trial template: its text, the placeholders in it, and what the webhook checks about them.
-- Not for filling it in: see render.
--   local text = template.text(spec.trialTemplate, config_maps)
local go = require "katib.go"
local job = require "katib.job"
local json = require "json"

local M = {}

local PATH = "spec.trialTemplate"
local META_KEYS = { Name = true, Namespace = true, Kind = true, APIVersion = true, Annotations = true, Labels = true }

---What a reference to the trial's own metadata asks for: ${trialSpec.Labels[key]} is "Labels", "key".
---@param reference string
---@return string? key, string? index nil when it is no such reference
function M.meta(reference)
  local inner = reference:match "%${trialSpec%.(..-)}"
  if not inner then return nil end
  local key, index = inner:match "^(.+)%[(.+)%]"
  return key or inner, index
end

local function is_meta(reference)
  local key = M.meta(reference)
  return key ~= nil and META_KEYS[key] == true
end

M.is_meta = is_meta

local function key_of(source) return ("%s/%s"):format(source.configMapNamespace, source.configMapName) end

---The ConfigMap that a template lies in, as text and check take it.
---@param trial_template table?
---@param get fun(namespace: string, name: string): table? nil: there is none
---@return table<string, table<string, string>> config_maps empty also for a template that lies in none
function M.config_maps(trial_template, get)
  local source = (trial_template or {}).configMap
  local named = source and source.configMapNamespace and source.configMapName
  local found = named and get(source.configMapNamespace, source.configMapName)
  return found and { [key_of(source)] = found.data or {} } or {}
end

---The text that placeholders are replaced in.
---@param trial_template table
---@param config_maps table<string, table<string, string>>? data by "namespace/name"
---@return string? text, string? problem
function M.text(trial_template, config_maps)
  if trial_template.trialSpec then return go.json(trial_template.trialSpec) end
  local source = trial_template.configMap
  if not source then return nil, "the trial template has neither a trialSpec nor a configMap" end
  local data = (config_maps or {})[key_of(source)]
  if not data then return nil, ("ConfigMap %q not found"):format(source.configMapName) end
  if not data[source.templatePath] then return nil, "NotFound" end
  return data[source.templatePath]
end

---Replaces a text wherever it stands.
---@param text string
---@param from string
---@param to string
---@return string text, integer count
function M.replace(text, from, to)
  local parts, at, count = {}, 1, 0
  while true do
    local first, last = text:find(from, at, true)
    if not first then break end
    parts[#parts + 1] = text:sub(at, first - 1)
    parts[#parts + 1] = to
    at, count = last + 1, count + 1
  end
  parts[#parts + 1] = text:sub(at)
  return table.concat(parts), count
end

---@param name string of a trial parameter
---@return string
function M.placeholder(name)
  return "${trialParameters." .. name .. "}"
end

-- --- the checks --------------------------------------------------------------------------------------

local function names_of(parameters)
  local names = {}
  for _, parameter in ipairs(parameters or {}) do names[parameter.name or ""] = true end
  return names
end

-- One trial parameter; the text with its placeholders replaced, or nil when the webhook gives up.
local function check_parameter(state, index, parameter)
  local errors, invalid = state.errors, state.collect.invalid
  local path = ("%s.trialParameters[%d]"):format(PATH, index - 1)
  local name, reference = parameter.name or "", parameter.reference or ""
  if name == "" or reference == "" or name:find "[{}]" then
    invalid(errors, path, "", "name and reference must be specified and name must not contain '{' or '}'")
    return true
  end
  local all = go.typed("[TrialParameterSpec]", state.parameters)
  local again = "parameter %s %s can't be duplicated in spec.trialTemplate.trialParameters: %s"
  if state.names[name] then
    invalid(errors, path .. ".name", name, again:format("name", name, all))
    return true
  elseif state.references[reference] then
    invalid(errors, path .. ".reference", reference, again:format("reference", reference, all))
    return true
  end
  state.names[name], state.references[reference] = true, true
  if next(state.tuned) ~= nil and not is_meta(reference) and not state.tuned[reference] then
    invalid(errors, path .. ".reference", reference, ("parameter reference %s does not exist in spec.parameters: %s")
      :format(reference, go.typed("[ParameterSpec]", state.spec.parameters)))
  end
  local text, count = M.replace(state.text, M.placeholder(name), "test-value")
  if count == 0 then
    invalid(errors, path .. ".name", name,
      ("parameter name: %s in spec.trialParameters not found in spec.trialTemplate: %s"):format(name, state.text))
    return false
  end
  state.text = text
  return true
end

local function check_left_over(state)
  local left = {}
  for placeholder in state.text:gmatch "%${trialParameters%...-}" do left[#left + 1] = placeholder end
  if #left == 0 then return end
  state.collect.invalid(state.errors, PATH, "", ("parameters: [%s] in spec.trialTemplate not found in "
    .. "spec.trialParameters: %s"):format(table.concat(left, " "), go.typed("[TrialParameterSpec]", state.parameters)))
end

---The object that a filled in template is, JSON or YAML.
---@param text string
---@return table? object, any problem
function M.object(text)
  local object, problem
  if text:find "^%s*{" then object, problem = json.try.decode(text, { duplicates = "last" })
  else object, problem = require "yaml".try.decode(text) end
  if type(object) ~= "table" or json.is_array(object) then return nil, problem or "no object" end
  return object
end

local function text_of(value)
  return type(value) == "string" and value or ""
end

local function check_object(state)
  local errors, collect = state.errors, state.collect
  local object = M.object(state.text)
  if not object or text_of(object.kind) == "" then
    return collect.invalid(errors, PATH, "",
      ("unable to convert spec.trialTemplate: %s to unstructured"):format(state.text))
  end
  local metadata = type(object.metadata) == "table" and object.metadata or {}
  if text_of(metadata.name) ~= "" or text_of(metadata.namespace) ~= "" then
    collect.invalid(errors, PATH, "", "metadata.name and metadata.namespace in spec.trialTemplate must be omitted")
  end
  if text_of(object.apiVersion) == "" then
    collect.required(errors, PATH, "APIVersion and Kind in spec.trialTemplate must be specified")
  end
  if object.apiVersion == "batch/v1" and object.kind == "Job" then
    local problem = job.problem(object)
    if problem then collect.invalid(errors, PATH, "", "invalid spec.trialTemplate: " .. problem) end
  end
end

local function has_source(errors, template, collect)
  local source = template.configMap
  if not template.trialSpec and not source then
    collect.required(errors, PATH .. ".TrialSource",
      "spec.trialTemplate.trialSpec or spec.trialTemplate.configMap must be specified")
  elseif template.trialSpec and source then
    collect.required(errors, PATH,
      "only one of spec.trialTemplate.trialSpec or spec.trialTemplate.configMap can be specified")
  elseif source and not (source.configMapName and source.configMapNamespace and source.templatePath) then
    collect.required(errors, PATH .. ".configMap",
      "configMapName, configMapNamespace and templatePath must be specified")
  else
    return true
  end
  return false
end

local function is_unset(value)
  return value == nil or value == ""
end

---What the webhook checks about spec.trialTemplate.
---@param errors table[] gets what is found
---@param spec table
---@param collect {required: function, invalid: function}
---@param config_maps table? those of the cluster; without them a template that lies in one is not looked at
function M.check(errors, spec, collect, config_maps)
  local template = spec.trialTemplate
  if not template then return collect.required(errors, PATH, "must be specified") end
  if is_unset(template.primaryContainerName) then
    collect.required(errors, PATH .. ".primaryContainerName", "must be specified")
  end
  if is_unset(template.successCondition) or is_unset(template.failureCondition) then
    collect.required(errors, PATH, "successCondition and failureCondition must be specified")
  end
  local parameters = template.trialParameters
  if not parameters then return collect.required(errors, PATH .. ".trialParameters", "must be specified") end
  if not has_source(errors, template, collect) then return end
  if not template.trialSpec and not config_maps then return end -- who judges does not have it
  local text, problem = M.text(template, config_maps)
  if not text then return collect.invalid(errors, PATH, "", "unable to parse spec.trialTemplate: " .. problem) end
  local state = {
    errors = errors, spec = spec, collect = collect, parameters = parameters, text = text, names = {}, references = {},
    tuned = names_of(spec.parameters),
  }
  for index, parameter in ipairs(parameters) do
    if not check_parameter(state, index, parameter) then return end
  end
  check_left_over(state)
  check_object(state)
end

return M
