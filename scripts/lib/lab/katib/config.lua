-- lab.katib.config: what katib-config says in the lab: images of collectors and services, and what they may use.
-- Not for what an experiment may name (katib.webhook checks that).
--   config.collector("StdOut").image

local katib = require "katib.webhook"

local M = {}

local REGISTRY = "ghcr.io/kubeflow/katib/"

M.DATABASE = "katib-db-manager.kubeflow:6789"
M.SUGGESTION_PORT, M.STOPPING_PORT = 6789, 6788

local function resources(memory)
  return { requests = { cpu = "50m", memory = "10Mi", ["ephemeral-storage"] = "500Mi" },
    limits = { cpu = "500m", memory = memory or "100Mi", ["ephemeral-storage"] = "5Gi" } }
end

local COLLECTORS = {
  StdOut = { name = "metrics-logger-and-collector", image = "file-metrics-collector:latest" },
  File = { name = "metrics-logger-and-collector", image = "file-metrics-collector:latest" },
  TensorFlowEvent = { name = "metrics-collector", image = "tfevent-metrics-collector:latest", memory = "1Gi" },
}

local SERVICES = { random = "hyperopt", tpe = "hyperopt", grid = "optuna", ["multivariate-tpe"] = "optuna",
  hyperband = "hyperband", bayesianoptimization = "skopt", cmaes = "goptuna", sobol = "goptuna", enas = "enas",
  darts = "darts", pbt = "pbt" }

---The container of a collector, without arguments and mounts.
---@param kind string
---@return table? container nil for a kind that katib-config does not name
function M.collector(kind)
  local found = COLLECTORS[kind]
  return found and { name = found.name, image = REGISTRY .. found.image, imagePullPolicy = "IfNotPresent",
    resources = resources(found.memory) }
end

---Whether a collector waits for all processes of its pod, as somebody wrote into katib-config (absent: it does).
---@param map table? the ConfigMap
---@param kind string of the collector
---@return boolean?
function M.waits(map, kind)
  local text = map and map.data and map.data["katib-config.yaml"]
  local settings = text and require "yaml".try.decode(text)
  local runtime = type(settings) == "table" and settings.runtime
  for _, one in ipairs(type(runtime) == "table" and runtime.metricsCollectors or {}) do
    if one.kind == kind and type(one.waitAllProcesses) == "boolean" then return one.waitAllProcesses end
  end
end

---@param algorithm string
---@return table container of the service that suggests
function M.suggestion(algorithm)
  return { name = "suggestion", image = ("%ssuggestion-%s:latest"):format(REGISTRY, SERVICES[algorithm] or algorithm),
    imagePullPolicy = "IfNotPresent", resources = resources() }
end

---@param algorithm string
---@return table container of the service that knows when to stop
function M.stopping(algorithm)
  return { name = "early-stopping", image = ("%searlystopping-%s:latest"):format(REGISTRY, algorithm),
    imagePullPolicy = "IfNotPresent", resources = resources() }
end

---The ConfigMap katib-config, as far as the lab has use for it.
---@return table object
function M.object()
  local collectors, suggestions, stopping = {}, {}, {}
  for kind, one in pairs(COLLECTORS) do
    collectors[#collectors + 1] = { kind = kind, image = REGISTRY .. one.image }
  end
  for name, service in pairs(SERVICES) do
    suggestions[#suggestions + 1] = { algorithmName = name,
      image = ("%ssuggestion-%s:latest"):format(REGISTRY, service) }
  end
  for _, name in ipairs(katib.CONFIG.early_stoppings) do
    stopping[#stopping + 1] = { algorithmName = name, image = ("%searlystopping-%s:latest"):format(REGISTRY, name) }
  end
  table.sort(collectors, function(a, b) return a.kind < b.kind end)
  table.sort(suggestions, function(a, b) return a.algorithmName < b.algorithmName end)
  return { apiVersion = "v1", kind = "ConfigMap", metadata = { name = "katib-config", namespace = "kubeflow" },
    data = { ["katib-config.yaml"] = require "yaml".encode({
      apiVersion = "config.kubeflow.org/v1beta1", kind = "KatibConfig",
      init = { controller = { webhookPort = 8443, trialResources = katib.CONFIG.kinds } },
      runtime = { metricsCollectors = collectors, suggestions = suggestions, earlyStoppings = stopping } },
      { sort = true }) } }
end

return M
