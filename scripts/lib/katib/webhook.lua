-- What the validating webhook says about an Experiment, in its words and its order.
-- Not for what it forgets: see lint. Works on an experiment with defaults.
--   local errors = webhook.validate(experiment, { old = before })
local go = require "katib.go"
local template = require "katib.template"

local M = {}

---What katib-config of a plain installation names.
M.CONFIG = {
  suggestions = {
    "random", "tpe", "grid", "hyperband", "bayesianoptimization", "cmaes", "sobol", "multivariate-tpe", "enas", "darts",
    "pbt",
  },
  early_stoppings = { "medianstop" },
  collectors = { "StdOut", "File", "TensorFlowEvent" },
  kinds = {
    "Job.v1.batch", "TrainJob.v1alpha1.trainer.kubeflow.org", "TFJob.v1.kubeflow.org", "PyTorchJob.v1.kubeflow.org",
    "MPIJob.v1.kubeflow.org", "XGBoostJob.v1.kubeflow.org",
  },
}

local function contains(list, wanted)
  for _, item in ipairs(list or {}) do
    if item == wanted then return true end
  end
  return false
end

-- --- collecting -------------------------------------------------------------------------------------

local function add(errors, path, message)
  errors[#errors + 1] = { path = path, message = message, severity = "error", stage = "webhook" }
end

local function required(errors, path, message)
  add(errors, path, "Required value: " .. message)
end

-- shown: a text, a number, or what go.typed_json made, in a table.
local function invalid(errors, path, shown, message)
  local text = type(shown) == "string" and go.quote(shown) or type(shown) == "table" and shown[1] or go.json(shown)
  add(errors, path, ("Invalid value: %s: %s"):format(text, message))
end

M.collect = { required = required, invalid = invalid }

-- --- name, counts, updates ---------------------------------------------------------------------------

local NAME = "name must consist of lower case alphanumeric characters or '-', start with an alphabetic character, "
  .. "and end with an alphanumeric character (e.g. 'my-name', or 'abc-123', regex used for validation is "
  .. "'^[a-z]([-a-z0-9]*[a-z0-9])?)') and may not be longer than 40 characters. "

local function check_name(errors, experiment)
  local name = (experiment.metadata or {}).name or ""
  if not name:find "^[a-z]" or #name > 40 then invalid(errors, "metadata.name", name, NAME) end
end

local function check_counts(errors, spec)
  local failed, most, parallel = spec.maxFailedTrialCount, spec.maxTrialCount, spec.parallelTrialCount
  if failed and failed < 0 then invalid(errors, "spec.maxFailedTrialCount", failed, "should not be less than 0") end
  if most and most <= 0 then invalid(errors, "spec.maxTrialCount", most, "must be greater than 0") end
  if parallel and parallel <= 0 then invalid(errors, "spec.parallelTrialCount", parallel, "must be greater than 0") end
  local bound = "should be less than or equal to spec.maxTrialCount"
  if failed and most and failed > most then invalid(errors, "spec.maxFailedTrialCount", failed, bound) end
  if parallel and most and parallel > most then invalid(errors, "spec.parallelTrialCount", parallel, bound) end
end

local function condition(experiment, kind)
  for _, entry in ipairs((experiment.status or {}).conditions or {}) do
    if entry.type == kind and entry.status == "True" then return entry end
  end
end

---Whether a finished experiment goes on when its maximum is raised.
---@param experiment table
---@return boolean
function M.restartable(experiment)
  local succeeded, policy = condition(experiment, "Succeeded"), experiment.spec.resumePolicy
  return succeeded ~= nil and succeeded.reason == "ExperimentMaxTrialsReached"
    and (policy == "LongRunning" or policy == "FromVolume")
end

local RESTART = "Experiment can be restarted if it is in succeeded state by reaching max trials and "
  .. "spec.resumePolicy = LongRunning or spec.resumePolicy = FromVolume, when experiment is completed"

local COUNTS = { "maxFailedTrialCount", "maxTrialCount", "parallelTrialCount" }

local function spec_text(spec)
  return go.typed_json("ExperimentSpec", spec)
end

local function without_counts(spec)
  local copy = {}
  for key, value in pairs(spec) do copy[key] = value end
  for _, name in ipairs(COUNTS) do copy[name] = nil end
  return spec_text(copy)
end

local function check_update(errors, experiment, old)
  local spec = experiment.spec
  if spec_text(spec) == spec_text(old.spec) then return end
  local completed = condition(old, "Succeeded") or condition(old, "Failed")
  if completed and not M.restartable(old) then
    invalid(errors, "spec.resumePolicy", spec.resumePolicy or "", RESTART)
  end
  if spec.maxTrialCount and spec.maxTrialCount <= ((old.status or {}).trials or 0) then
    invalid(errors, "spec.maxTrialCount", spec.maxTrialCount, "must be greater than status.trials count")
  end
  if without_counts(spec) ~= without_counts(old.spec) then
    add(errors, "spec", "Forbidden: only spec.parallelTrialCount, spec.maxTrialCount and "
      .. "spec.maxFailedTrialCount are editable")
  end
end

-- --- objective and algorithms -------------------------------------------------------------------------

local function check_objective(errors, objective)
  local before = #errors
  if not objective then
    required(errors, "spec.objective", "must be specified")
    return false
  end
  local kind, name = objective.type or "", objective.objectiveMetricName or ""
  if kind ~= "minimize" and kind ~= "maximize" then
    invalid(errors, "spec.objective.type", kind, "must be minimize or maximize")
  end
  if name == "" then required(errors, "spec.objective.objectiveMetricName", "must be specified") end
  local additional = objective.additionalMetricNames
  if contains(additional, name) then
    invalid(errors, "spec.objective.additionalMetricNames", { go.json(additional) },
      "should not contain spec.objective.objectiveMetricName")
  end
  return #errors == before
end

local function check_algorithm(errors, algorithm, config)
  if not algorithm then return required(errors, "spec.algorithm", "must be specified") end
  local path, name = "spec.algorithm.algorithmName", algorithm.algorithmName or ""
  if name == "" then required(errors, path, "must be specified") end
  if contains(config.suggestions, name) then return end
  invalid(errors, path, name, ("unable to get Suggestion config data for algorithm %s: "
    .. "failed to find suggestion config for algorithm: %s in ConfigMap: katib-config"):format(name, name))
end

local function check_early_stopping(errors, stopping, config)
  if not stopping then return end
  local path, name = "spec.earlyStopping.algorithmName", stopping.algorithmName or ""
  if name == "" then required(errors, path, "must be specified") end
  if contains(config.early_stoppings, name) then return end
  invalid(errors, path, name, ("unable to get EarlyStopping config data for algorithm %s: "
    .. "failed to find early stopping config for algorithm: %s in ConfigMap: katib-config"):format(name, name))
end

local POLICIES = { [""] = true, Never = true, LongRunning = true, FromVolume = true }

local function check_resume_policy(errors, policy)
  if not POLICIES[policy or ""] then invalid(errors, "spec.resumePolicy", policy, "invalid ResumePolicyType") end
end

-- --- parameters -----------------------------------------------------------------------------------------

local TYPES = { int = "number", double = "number", discrete = "list", categorical = "list", unknown = "unknown" }
local DISTRIBUTIONS = {
  [""] = true, uniform = true, logUniform = true, normal = true, logNormal = true, unknown = true,
}

local function is_set(value)
  return value ~= nil and value ~= ""
end

local function check_space(errors, path, kind, space)
  if TYPES[kind] == "number" then
    if #(space.list or {}) > 0 then
      invalid(errors, path .. ".list", { go.json(space.list) },
        "feasibleSpace.list is not supported for parameterType: " .. kind)
    end
    if not (is_set(space.max) and is_set(space.min)) then
      required(errors, path .. ".max",
        "feasibleSpace.max or feasibleSpace.min must be specified for parameterType: " .. kind)
    end
  elseif TYPES[kind] == "list" and (is_set(space.max) or is_set(space.min) or is_set(space.step)) then
    invalid(errors, path, { go.typed_json("FeasibleSpace", space) },
      "feasibleSpace .max, .min and .step is not supported for parameterType: " .. kind)
  end
end

local function check_parameters(errors, parameters)
  for i, parameter in ipairs(parameters) do
    local path = ("spec.parameters[%d]"):format(i - 1)
    local kind, space = parameter.parameterType or "", parameter.feasibleSpace
    if not TYPES[kind] then
      invalid(errors, path .. ".parameterType", kind, ("parameterType: %s is not supported"):format(kind))
    end
    local distribution = space.distribution or ""
    if not DISTRIBUTIONS[distribution] then
      invalid(errors, path .. ".feasibleSpace.distribution", distribution,
        ("distribution: %s is not supported"):format(distribution))
    end
    if next(space) == nil then required(errors, path .. ".feasibleSpace", "feasibleSpace must be specified")
    else check_space(errors, path .. ".feasibleSpace", kind, space) end
  end
end

local function check_search_space(errors, spec)
  local parameters = spec.parameters or {}
  if #parameters == 0 and not spec.nasConfig then
    required(errors, "spec", "spec.parameters or spec.nasConfig must be specified")
  end
  if #parameters > 0 and spec.nasConfig then
    invalid(errors, "spec", { spec_text(spec) }, "only one of spec.parameters and spec.nasConfig can be specified")
  end
  check_parameters(errors, parameters)
end

-- --- metrics collector ------------------------------------------------------------------------------------

local SOURCE = "spec.metricsCollectorSpec.source"

local function is_absolute(path)
  return (path or ""):sub(1, 1) == "/"
end

local collectors = {}

function collectors.StdOut() return "done" end

collectors.Push = collectors.StdOut

function collectors.File(errors, spec)
  local path = spec.source.fileSystemPath
  if path.kind ~= "File" or not is_absolute(path.path) then
    required(errors, SOURCE .. ".fileSystemPath.path", "file path where metrics file exists is required")
  end
  if path.format ~= "TEXT" and path.format ~= "JSON" then
    required(errors, SOURCE .. ".fileSystemPath.format", "format of metrics file is required for metrics collector")
  end
  if path.format == "JSON" and spec.source.filter then
    invalid(errors, SOURCE .. ".filter", "", "filter must be nil when format of metrics file is json")
  end
end

function collectors.TensorFlowEvent(errors, spec)
  local path = spec.source.fileSystemPath
  if path.kind ~= "Directory" or not is_absolute(path.path) then
    required(errors, SOURCE, "directory path where tensorflow event files exist is required by "
      .. ".spec.metricsCollectorSpec.source.fileSystemPath.path")
  end
  if is_set(path.format) then invalid(errors, SOURCE .. ".fileSystemPath.format", path.format, "must be empty") end
end

function collectors.PrometheusMetric(errors, spec)
  local get = spec.source.httpGet
  local port = tostring(get.port)
  if (math.tointeger(tonumber(port)) or 0) <= 0 then
    invalid(errors, SOURCE .. ".httpGet.port", port,
      "must be a positive integer value for metrics collector kind: PrometheusMetric")
  end
  if not is_absolute(get.path) then
    invalid(errors, SOURCE .. ".httpGet.path", get.path, "path is invalid for metrics collector kind: PrometheusMetric")
  end
end

function collectors.Custom(errors, spec)
  if not spec.collector.customCollector then
    required(errors, "spec.metricsCollectorSpec.collector.customCollector",
      "metrics collector kind: Custom is required")
  end
  local path = (spec.source or {}).fileSystemPath
  if path and (not is_absolute(path.path) or (path.kind ~= "Directory" and path.kind ~= "File")) then
    invalid(errors, SOURCE .. ".fileSystemPath", "", ".spec.metricsCollectorSpec.source is invalid")
  end
end

local INJECTED = { StdOut = true, TensorFlowEvent = true, File = true, PrometheusMetric = true }

local function check_filters(errors, formats)
  local regex = require "regex"
  local path = SOURCE .. ".filter.metricsFormat"
  local two_groups = regex.compile [[.*\(.*\).*\(.*\).*]]
  for _, format in ipairs(formats) do
    local _, problem = regex.try.compile(format)
    if problem then
      invalid(errors, path, format, "invalid filter: " .. problem.message)
    elseif not two_groups:matches(format) then
      invalid(errors, path, format, "two top subexpressions are required")
    end
  end
end

local function check_collector(errors, spec, config)
  local kind = spec.collector.kind or ""
  local path = "spec.metricsCollectorSpec.collector.kind"
  if INJECTED[kind] and not contains(config.collectors, kind) then
    invalid(errors, path, kind, ("GetMetricsCollectorConfigData failed: failed to find metrics collector config "
      .. "for kind: %s in ConfigMap: katib-config"):format(kind))
  end
  local check = collectors[kind]
  if not check then invalid(errors, path, kind, "invalid metrics collector kind: " .. kind)
  elseif check(errors, spec) == "done" then return end
  check_filters(errors, ((spec.source or {}).filter or {}).metricsFormat or {})
end

-- --- all of it ---------------------------------------------------------------------------------------------

---Judges an experiment that has its defaults.
---@param experiment table
---@param options {old: table?, config: table?, config_maps: table?}?
---@return {path: string, message: string, severity: "error", stage: "webhook"}[]
function M.validate(experiment, options)
  options = options or {}
  local errors, spec = {}, experiment.spec
  local config = setmetatable(options.config or {}, { __index = M.CONFIG })
  check_name(errors, experiment)
  check_counts(errors, spec)
  if options.old then check_update(errors, experiment, options.old) end
  if not check_objective(errors, spec.objective) then return errors end
  check_algorithm(errors, spec.algorithm, config)
  check_early_stopping(errors, spec.earlyStopping, config)
  check_resume_policy(errors, spec.resumePolicy)
  template.check(errors, spec, M.collect, options.config_maps)
  check_search_space(errors, spec)
  check_collector(errors, spec.metricsCollectorSpec, config)
  return errors
end

---The message with which the API server refuses: all errors in one text.
---@param errors {path: string, message: string}[]
---@return string
function M.denial(errors)
  local texts, seen = {}, {}
  for _, err in ipairs(errors) do
    local text = err.whole and err.message or ("%s: %s"):format(err.path, err.message)
    if not seen[text] then texts[#texts + 1] = text end
    seen[text] = true
  end
  if #texts == 1 then return texts[1] end
  return "[" .. table.concat(texts, ", ") .. "]"
end

return M
