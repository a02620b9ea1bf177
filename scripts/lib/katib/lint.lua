-- What the webhooks let pass although it cannot work, or does not do what it says.
-- Not for what they refuse: see webhook. All findings have stage "run".
--   for _, finding in ipairs(lint.check(experiment, found, { others = experiments })) do … end
local errors = require "errors"
local pod = require "katib.lint_pod"
local settings = require "katib.settings"
local space = require "katib.space"
local template = require "katib.template"
local types = require "katib.types"

local M = {}

---@class katib.Lint
---@field experiment table
---@field spec table
---@field options table
---@field findings katib.Finding[]
local Lint = {}
Lint.__index = Lint

function Lint:add(severity, path, message, ...)
  local text = select("#", ...) > 0 and message:format(...) or message
  self.findings[#self.findings + 1] = { path = path, message = text, severity = severity, stage = "run" }
end

function Lint:error(path, message, ...) self:add("error", path, message, ...) end

function Lint:warning(path, message, ...) self:add("warning", path, message, ...) end

-- --- names -------------------------------------------------------------------------------------------

-- How many letters must change to make one name of the other (an exchange of neighbours counts as one).
local function distance(a, b)
  local before, row = nil, {}
  for j = 0, #b do row[j] = j end
  for i = 1, #a do
    local next_row = { [0] = i }
    for j = 1, #b do
      local same = a:byte(i) == b:byte(j) and 0 or 1
      next_row[j] = math.min(row[j] + 1, next_row[j - 1] + 1, row[j - 1] + same)
      if before and j > 1 and a:byte(i) == b:byte(j - 1) and a:byte(i - 1) == b:byte(j) then
        next_row[j] = math.min(next_row[j], before[j - 2] + 1)
      end
    end
    before, row = row, next_row
  end
  return row[#b]
end

local function nearest(name, struct)
  name = tostring(name)
  local best, least = nil, math.max(2, #name // 4) + 1
  for _, field in ipairs(types.fields(struct) or {}) do
    local a, b = name:lower(), field.name:lower()
    local begins = a:sub(1, #b) == b or b:sub(1, #a) == a
    local d = begins and 1 or distance(a, b)
    if d < least then best, least = field.name, d end
  end
  return best
end

local function check_fields(lint, found)
  for _, unknown in ipairs(found.unknown) do
    local meant = nearest(unknown.name, unknown.struct)
    lint:error(unknown.path, "there is no such field; it would vanish without a word%s",
      meant and (": did you mean %s?"):format(meant) or "")
  end
end

local function check_name(lint)
  local name = (lint.experiment.metadata or {}).name or ""
  if not name:find "^[a-z][-a-z0-9]*$" or name:sub(-1) == "-" then
    lint:error("metadata.name", "%q is no DNS label: the service of the suggestion and the trials get it as their name",
      name)
  end
  if (lint.spec.algorithm or {}).algorithmName == "pbt" and #name > 26 then
    lint:error("metadata.name",
      "pbt names its trials %s-<uuid>: with more than 26 characters that is no label any more", name)
  end
end

local function check_others(lint)
  local metadata = lint.experiment.metadata or {}
  for _, other in ipairs(lint.options.others or {}) do
    local theirs = other.metadata or {}
    if theirs.name == metadata.name and theirs.namespace ~= metadata.namespace then
      lint:error("metadata.name", "namespace %s has an experiment of this name: Katib mixes up the trials of the two",
        tostring(theirs.namespace))
    end
  end
end

local INJECTION = "katib.kubeflow.org/metrics-collector-injection"

local function check_namespace(lint)
  local namespace = lint.options.namespace
  local kind = lint.spec.metricsCollectorSpec.collector.kind
  if not namespace or kind == "Push" then return end
  if ((namespace.metadata or {}).labels or {})[INJECTION] ~= "enabled" then
    lint:error("metadata.namespace", "namespace %s lacks the label %s=enabled: no collector, no metrics",
      tostring((namespace.metadata or {}).name), INJECTION)
  end
end

-- --- the search space -----------------------------------------------------------------------------------

local function check_list(lint, path, parameter)
  local seen = {}
  for i, choice in ipairs((parameter.feasibleSpace or {}).list or {}) do
    local place = ("%s.feasibleSpace.list[%d]"):format(path, i - 1)
    if seen[choice] then lint:warning(place, "%q is in the list twice", choice) end
    seen[choice] = true
    if parameter.parameterType == "discrete" and not tonumber(choice) then
      lint:error(place, "%q is no number", choice)
    end
    if choice:find '["\\%c]' then
      lint:error(place, "the value is put into JSON text as it is: a quote, a backslash or a line end breaks it")
    elseif choice:find "${trialParameters." then
      lint:error(place, "the value contains a placeholder, which may or may not be replaced in turn")
    end
  end
end

local function check_step(lint, path, dimension)
  if not dimension.step then return end
  if dimension.step > dimension.high - dimension.low then
    lint:warning(path .. ".feasibleSpace.step", "the step is wider than the range: there is one value only")
  end
  if dimension.kind == "int" and math.type(dimension.step) ~= "integer" then
    lint:error(path .. ".feasibleSpace.step", "an int parameter needs an int step")
  end
end

-- Whether the bounds of an int are whole numbers.
local function check_bounds(lint, path, parameter)
  if parameter.parameterType ~= "int" then return true end
  local fits = true
  for _, field in ipairs { "min", "max" } do
    local text = parameter.feasibleSpace[field]
    if text and tonumber(text) and not text:find "^[+-]?%d+$" then
      lint:error(("%s.feasibleSpace.%s"):format(path, field), "%q is no int", text)
      fits = false
    end
  end
  return fits
end

local function check_bayesian(lint, path, dimension)
  if (lint.spec.algorithm or {}).algorithmName ~= "bayesianoptimization" or dimension.kind ~= "double" then return end
  if dimension.low <= 0 then
    lint:error(path .. ".feasibleSpace.min",
      "bayesianoptimization needs bounds above 0: it takes the scale of each double for logarithmic")
  end
end

local function check_parameters(lint)
  local seen = {}
  for i, parameter in ipairs(lint.spec.parameters or {}) do
    local path = ("spec.parameters[%d]"):format(i - 1)
    if seen[parameter.name] then lint:error(path .. ".name", "%q is there twice", tostring(parameter.name)) end
    seen[parameter.name or ""] = true
    check_list(lint, path, parameter)
    local bounded = check_bounds(lint, path, parameter)
    local ok, dimension = pcall(space.dimension, parameter)
    if not ok and bounded then
      lint:error(path .. ".feasibleSpace", errors.is(dimension) and dimension.message or tostring(dimension))
    elseif ok then
      check_step(lint, path, dimension)
      check_bayesian(lint, path, dimension)
    end
  end
end

-- --- algorithms ---------------------------------------------------------------------------------------------

local ARCHITECTURE = { enas = true, darts = true }

-- The service answers by rounds: all trials at a time, then the best part of as many as are asked for, with more of the
-- resource. The controller asks for as many as there is room for, and takes an answer of another length for a mistake,
-- again and again: with the usual factor of three only one more trial can follow the first round.
local function check_rounds(lint)
  local spec, given = lint.spec, settings.by_name(lint.spec.algorithm.algorithmSettings)
  local parallel, eta, limit = spec.parallelTrialCount, tonumber(given.eta) or 3, tonumber(given.r_l) or 0
  local more = (spec.maxTrialCount or math.huge) - parallel
  if more == 0 or limit >= eta and more <= parallel and math.ceil(more / eta) == more then return end
  lint:error("spec.maxTrialCount", "with %d trials at a time hyperband comes to an end after %s trials; with another "
    .. "count Katib waits without an end", parallel, limit >= eta and ("%d or %d"):format(parallel, parallel + 1)
    or parallel)
end

local function check_algorithm(lint)
  local spec = lint.spec
  local name = (spec.algorithm or {}).algorithmName
  if not name then return end
  local problem = settings.problem(lint.experiment)
  if problem then lint:error("spec.algorithm", "the suggestion service refuses it: %s", problem)
  elseif name == "hyperband" then check_rounds(lint) end
  if name == "grid" and not spec.maxTrialCount then
    lint:error("spec.maxTrialCount", "a grid without it begins anew for ever")
  end
  if ARCHITECTURE[name] and not spec.nasConfig then
    lint:error("spec.nasConfig", "%s searches architectures and needs it", name)
  elseif spec.nasConfig and not ARCHITECTURE[name] then
    lint:error("spec.algorithm.algorithmName", "%s searches parameters, not architectures", name)
  end
end

local function check_stopping(lint)
  local spec = lint.spec
  if not spec.earlyStopping then return end
  local problem = settings.stopping_problem(lint.experiment)
  if problem then lint:error("spec.earlyStopping", "the early-stopping service refuses it: %s", problem) end
  if spec.trialTemplate and not spec.trialTemplate.retain then
    lint:error("spec.trialTemplate.retain",
      "with early stopping it must be true: else a stopped trial's job is gone before its metrics, and nothing goes on")
  end
  local kind = spec.metricsCollectorSpec.collector.kind
  if kind == "Push" or kind == "Custom" or kind == "PrometheusMetric" then
    lint:error("spec.metricsCollectorSpec.collector.kind", "a collector of kind %s stops no trial early", kind)
  end
end

-- --- metrics --------------------------------------------------------------------------------------------------

local function check_filter_groups(lint, formats)
  local regex = require "regex"
  for i, format in ipairs(formats) do
    local expression = regex.try.compile(format)
    if expression and expression:groups() < 2 then
      lint:error(("spec.metricsCollectorSpec.source.filter.metricsFormat[%d]"):format(i - 1),
        "it needs two groups, name and value, and has %d", expression:groups())
    end
  end
end

local function check_metrics(lint)
  local spec = lint.spec
  local objective, collector = spec.objective or {}, spec.metricsCollectorSpec
  local formats = ((collector.source or {}).filter or {}).metricsFormat or {}
  check_filter_groups(lint, formats)
  local kind = collector.collector.kind
  local reads_text = kind == "StdOut" or (kind == "File" and collector.source.fileSystemPath.format ~= "JSON")
  local names = { objective.objectiveMetricName, table.unpack(objective.additionalMetricNames or {}) }
  for _, name in ipairs(names) do
    if reads_text and #formats == 0 and name:find "[^%w_|%-]" then
      lint:error("spec.objective",
        "the collector's own filter never finds a metric named %q: give a metricsFormat", name)
    end
  end
  local seen = {}
  for i, name in ipairs(objective.additionalMetricNames or {}) do
    if seen[name] then
      lint:warning(("spec.objective.additionalMetricNames[%d]"):format(i - 1), "%q is there twice", name)
    end
    seen[name] = true
  end
end

-- --- the template ------------------------------------------------------------------------------------------------

-- A trial is created only if as many values come as the template asks for.
local function check_references(lint)
  local trial_template, asked = lint.spec.trialTemplate, {}
  if not trial_template or not trial_template.trialParameters then return end
  local source = trial_template.configMap
  if source and not lint.options.config_maps then
    lint:warning("spec.trialTemplate.configMap", "the template is in the ConfigMap %s/%s, which is not at hand: it was "
      .. "not checked", tostring(source.configMapNamespace), tostring(source.configMapName))
  end
  for i, parameter in ipairs(trial_template.trialParameters) do
    local reference = parameter.reference or ""
    local key, index = template.meta(reference)
    if key and not template.is_meta(reference) then
      lint:error(("spec.trialTemplate.trialParameters[%d].reference"):format(i - 1), "a trial has no %s", key)
    elseif (key == "Labels" or key == "Annotations") and not index then
      lint:error(("spec.trialTemplate.trialParameters[%d].reference"):format(i - 1), "%s needs a key in brackets", key)
    end
    asked[reference] = true
  end
  for i, parameter in ipairs(lint.spec.parameters or {}) do
    if not asked[parameter.name or ""] then
      lint:error(("spec.parameters[%d].name"):format(i - 1),
        "no trial parameter refers to %q: no trial can be made of the values", tostring(parameter.name))
    end
  end
end

---@param experiment table with defaults
---@param found {unknown: table[]} what the defaults lost
---@param options {others: table[]?, namespace: table?, config: table?, config_maps: table?}?
---@return katib.Finding[]
function M.check(experiment, found, options)
  local lint = setmetatable({
    experiment = experiment, spec = experiment.spec, options = options or {}, findings = {},
  }, Lint)
  check_fields(lint, found)
  check_name(lint)
  check_others(lint)
  check_namespace(lint)
  check_parameters(lint)
  check_algorithm(lint)
  check_stopping(lint)
  check_metrics(lint)
  check_references(lint)
  pod.check(lint)
  return lint.findings
end

return M
