-- What the mutating webhook makes of an Experiment: unknown fields go, defaults come.
-- Not for judging it: see webhook.
--   local experiment = defaults.experiment(written)
local json = require "json"
local types = require "katib.types"

local M = {}

local STRATEGIES = { minimize = "min", maximize = "max" }

local function condition(kind)
  return ('status.conditions.#(type=="%s")#|#(status=="True")#'):format(kind)
end

local TRAINING = {
  success = "Succeeded", failure = "Failed", labels = { ["training.kubeflow.org/job-role"] = "master" },
}

-- By the kind of the template, whatever its group.
local TEMPLATES = {
  Job = { success = "Complete", failure = "Failed" },
  TFJob = TRAINING,
  PyTorchJob = TRAINING,
  XGBoostJob = TRAINING,
  MPIJob = TRAINING,
  TrainJob = {
    success = "Complete", failure = "Failed",
    labels = {
      ["jobset.sigs.k8s.io/replicatedjob-name"] = "node", ["batch.kubernetes.io/job-completion-index"] = "0",
    },
  },
}

M.METRICS_FILE = "/var/log/katib/metrics.log"

local function default_objective(objective)
  local default = STRATEGIES[objective.type] or "latest"
  local strategies, has = objective.metricStrategies or json.array {}, {}
  for _, strategy in ipairs(strategies) do has[strategy.name or ""] = true end
  local names = { objective.objectiveMetricName or "" }
  table.move(objective.additionalMetricNames or {}, 1, #(objective.additionalMetricNames or {}), 2, names)
  for _, name in ipairs(names) do
    if not has[name] then strategies[#strategies + 1] = { name = name, value = default } end
    has[name] = true
  end
  objective.metricStrategies = strategies
end

local function empty(value)
  return value == nil or value == ""
end

local function default_template(template)
  local spec = template.trialSpec
  if not spec then return end
  local known = TEMPLATES[spec.kind]
  if not known then return end
  if empty(template.successCondition) then template.successCondition = condition(known.success) end
  if empty(template.failureCondition) then template.failureCondition = condition(known.failure) end
  if known.labels and next(template.primaryPodLabels or {}) == nil then
    template.primaryPodLabels = {}
    for key, value in pairs(known.labels) do template.primaryPodLabels[key] = value end
  end
end

local function file_source(collector, defaults)
  collector.source = collector.source or {}
  local path = collector.source.fileSystemPath or {}
  collector.source.fileSystemPath = path
  for key, value in pairs(defaults) do
    if empty(path[key]) then path[key] = value end
  end
end

local SOURCES = {
  File = function(collector)
    file_source(collector, { path = M.METRICS_FILE, kind = "File", format = "TEXT" })
  end,
  TensorFlowEvent = function(collector)
    file_source(collector, { path = "/var/log/katib/tfevent/", kind = "Directory" })
  end,
  PrometheusMetric = function(collector)
    collector.source = collector.source or {}
    local get = collector.source.httpGet or {}
    collector.source.httpGet = get
    if empty(get.path) then get.path = "/metrics" end
    if get.port == nil or get.port == 0 or get.port == "" then get.port = 8080 end
  end,
}

local function default_collector(spec)
  local collector = spec.metricsCollectorSpec or {}
  spec.metricsCollectorSpec = collector
  collector.collector = collector.collector or { kind = "StdOut" }
  local custom = collector.collector.customCollector
  if custom then custom.resources = custom.resources or json.object {} end
  local source = SOURCES[collector.collector.kind]
  if source then source(collector) end
end

local function default_spec(spec)
  spec.parallelTrialCount = spec.parallelTrialCount or 3
  if empty(spec.resumePolicy) then spec.resumePolicy = "Never" end
  if spec.objective then default_objective(spec.objective) end
  if spec.trialTemplate then default_template(spec.trialTemplate) end
  for _, parameter in ipairs(spec.parameters or {}) do
    parameter.feasibleSpace = parameter.feasibleSpace or {}
    local space = parameter.feasibleSpace
    if empty(space.distribution) then space.distribution = "uniform" end
  end
  default_collector(spec)
end

---The experiment as the webhook stores it, and what was lost on the way.
---@param experiment table
---@return table experiment a new one, {unknown: table[], wrong: table[]} found
function M.experiment(experiment)
  local copy = json.decode(json.encode(experiment))
  local spec, found = types.decode("ExperimentSpec", copy.spec or {}, "spec")
  default_spec(spec)
  local KEPT = { apiVersion = true, kind = true, metadata = true, status = true }
  for name in pairs(copy) do
    if not KEPT[name] then copy[name] = nil end
    if not KEPT[name] and name ~= "spec" then
      found.unknown[#found.unknown + 1] = { path = name, struct = "Experiment", name = name }
    end
  end
  copy.spec = spec
  return copy, found
end

return M
