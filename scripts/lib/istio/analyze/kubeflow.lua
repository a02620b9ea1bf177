-- Analyzers of Katib, webhooks and PodDefaults beside Istio. A part of istio.analyze.
local authentication = require "istio.authentication"
local inject = require "istio.inject"
local poddefaults = require "istio.analyze.poddefaults"
local read = require "istio.analyze.read"

local M = {}

local function collector_waits(a, kind)
  for _, map in ipairs(read.of_kind(a.objects, "ConfigMap")) do
    local text = map.metadata.name == "katib-config" and (map.data or {})["katib-config.yaml"]
    local config = text and require "yaml".try.decode(text)
    for _, collector in ipairs(((type(config) == "table" and config.runtime or {}).metricsCollectors) or {}) do
      if collector.kind == kind then return collector.waitAllProcesses ~= false end
    end
  end
  return true
end

local FILE_COLLECTORS = { StdOut = true, File = true, TensorFlowEvent = true }

function M.trials(a)
  for _, experiment in ipairs(read.of_kind(a.objects, "Experiment")) do
    local namespace = a.namespaces[authentication.namespace(experiment)]
    local complete = require "katib".default(experiment)
    local kind = complete.spec.metricsCollectorSpec.collector.kind
    local object = (complete.spec.trialTemplate or {}).trialSpec
    for _, pod in ipairs(namespace and object and require "katib.lint_pod".pods(object) or {}) do
      local yes, why = inject.would_inject(namespace, pod.template, a.options.injection)
      local native = a.options.native_sidecars ~= false
      if yes and native and FILE_COLLECTORS[kind] and collector_waits(a, kind) then
        a:add("KF003", "error", experiment,
          "the trial gets a native sidecar (%s), and its collector waits for all processes: it never ends", why)
      end
    end
  end
end

function M.experiment_names(a)
  local seen = {}
  for _, experiment in ipairs(read.of_kind(a.objects, "Experiment")) do
    local name, place = experiment.metadata.name, authentication.namespace(experiment)
    if seen[name] and seen[name] ~= place then
      a:add("KF004", "warning", experiment, "namespace %s has an experiment of this name: their trials get mixed up",
        seen[name])
    end
    seen[name] = seen[name] or place
  end
end

-- What changes pods after Istio and Katib have seen them must be told of it again, or come later.
local FIRST = { "istio%-sidecar%-injector", "^katib%.kubeflow%.org" }

local function handles_pods(webhook)
  for _, rule in ipairs(webhook.rules or {}) do
    for _, resource in ipairs(rule.resources or {}) do
      if resource == "pods" or resource == "*" then return true end
    end
  end
  return false
end

function M.webhook_order(a)
  local configurations = read.of_kind(a.objects, "MutatingWebhookConfiguration")
  for _, configuration in ipairs(configurations) do
    local name = configuration.metadata.name
    local labelled = ((configuration.metadata or {}).labels or {})["app.kubernetes.io/managed-by"] == "kfhost"
    for _, webhook in ipairs(configuration.webhooks or {}) do
      local needs_both = labelled or (a.options.late_webhooks or {})[name]
      for _, other in ipairs(needs_both and handles_pods(webhook) and configurations or {}) do
        for _, pattern in ipairs(FIRST) do
          local before = other.metadata.name:find(pattern) and name < other.metadata.name
          if before and webhook.reinvocationPolicy ~= "IfNeeded" then
            a:add("KF005", "warning", configuration, "webhook %s runs before %s and is never called again",
              webhook.name,
              other.metadata.name)
          end
        end
      end
    end
  end
end

function M.pod_defaults(a)
  local defaults = read.of_kind(a.objects, "PodDefault")
  for _, pod in ipairs(a.pods) do
    local chosen = {}
    for _, default in ipairs(defaults) do
      local here = authentication.namespace(default) == pod.namespace
      if here and inject.selects((default.spec or {}).selector, pod.labels) then chosen[#chosen + 1] = default end
    end
    for i = 1, #chosen do
      for k = i + 1, #chosen do
        for _, what in ipairs(poddefaults.contradictions(chosen[i].spec, chosen[k].spec)) do
          a:add("KF006", "error", pod.object, "PodDefaults %s and %s disagree about %s: the pod is refused",
            chosen[i].metadata.name, chosen[k].metadata.name, what)
        end
      end
    end
  end
end

return M
