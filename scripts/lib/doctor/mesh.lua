-- doctor.mesh: mutual TLS and policies that some pods of profiles cannot satisfy.
-- A room of checks; see doctor.

local istio = require "istio"
local world = require "doctor.world"

local M = {}

local get, list = world.get, world.list

-- A pod of a profile that has no sidecar, and will get none.
local function plain_pod(w)
  for _, pod in ipairs(w.pods) do
    local namespace = w:profiles()[pod.namespace] and w.namespaces[pod.namespace]
    local has_proxy = false
    for _, container in ipairs(world.containers(pod)) do has_proxy = has_proxy or container.name == "istio-proxy" end
    if namespace and not has_proxy and not istio.would_inject(namespace, pod.template) then return pod end
  end
end

local function is_strict(authentication)
  if get(authentication, "spec", "mtls", "mode") ~= "STRICT" then return false end
  local place, selector = authentication.metadata.namespace, get(authentication, "spec", "selector")
  if place == "istio-system" then return selector == nil end
  return place == "kubeflow" and (selector == nil or world.selects(selector, { app = "ml-pipeline" }))
end

local function is_overridden(w, strict)
  for _, other in ipairs(w:of "PeerAuthentication") do
    local selector = get(other, "spec", "selector")
    local mode = get(other, "spec", "mtls", "mode")
    local nearer = other.metadata.namespace == "kubeflow" and (strict.metadata.namespace ~= "kubeflow" or selector)
    if other ~= strict and nearer and mode ~= "STRICT" and mode ~= "UNSET" and mode
      and (selector == nil or world.selects(selector, { app = "ml-pipeline" })) then
      return true
    end
  end
  return false
end

---STRICT in kubeflow is no trouble unless some pod of a profile has no sidecar.
function M.strict(w)
  for _, authentication in ipairs(w:of "PeerAuthentication") do
    local pod = is_strict(authentication) and not is_overridden(w, authentication) and plain_pod(w)
    if pod then
      w:add("strict-mtls", "error", authentication, {
        what = ("STRICT: peers need a sidecar to reach kubeflow, and %s has none"):format(pod.where),
        why = "its connections to Pipelines are reset before any policy is asked",
        fix = "kfhost policy serve trial-sidecar (way: a sidecar that ends with the job), or mode PERMISSIVE for"
          .. " app=ml-pipeline",
      })
    end
  end
end

-- The analyzers of istio that matter here: what they say, why it matters, what helps.
local KNOWN = {
  KF001 = { "plaintext-refused", "warning", "pods without a sidecar have no identity in the mesh",
    "give those pods a sidecar, or add a rule that needs no principal and no namespace" },
  KF003 = { "collector-waits", "error",
    "the proxy ends only after the collector has, and the collector waits for the proxy: the trial never ends",
    "kfhost policy serve trial-sidecar, or waitAllProcesses: false for each collector in ConfigMap"
      .. " kubeflow/katib-config"
  },
  KF004 = { "experiment-name", "warning", "Katib looks trials up by the experiment's name alone",
    "give one of the two another name" },
  KF005 = { "webhook-order", "error",
    "webhooks run in the order of their configurations' names, once: what comes later is not seen",
    "name the configuration so that it sorts last (zz-…), or set reinvocationPolicy: IfNeeded" },
}

local function native_sidecars(w)
  local istiod = w:find("Deployment", "istio-system", "istiod")
  for _, container in ipairs(list(get(istiod, "spec", "template", "spec", "containers"))) do
    for _, variable in ipairs(list(container.env)) do
      if variable.name == "ENABLE_NATIVE_SIDECARS" then return variable.value ~= "false" end
    end
  end
  return istiod ~= nil
end

-- Configurations of the webhooks that change what Istio and Katib have put into a pod.
local function late_webhooks(w)
  local late = {}
  for _, configuration in ipairs(w:of "MutatingWebhookConfiguration") do
    local name = configuration.metadata.name
    if name:find "^a*pod%.mutator" or name:find "trial%-sidecar" then late[name] = true end
  end
  return late
end

local function find_object(w, where)
  for _, object in ipairs(w.objects) do
    if world.title(object) == where then return object end
  end
  return where
end

---What istio.analyze says of objects together, as far as it keeps Kubeflow from working.
function M.analyzed(w)
  local messages = istio.analyze(w.objects, { native_sidecars = native_sidecars(w), late_webhooks = late_webhooks(w) })
  for _, message in ipairs(messages) do
    local known = KNOWN[message.code]
    if known then
      w:add(known[1], known[2], find_object(w, message.object), {
        what = message.message, why = known[3], fix = known[4],
      })
    end
  end
end

-- Whether two PodDefaults meet in one pod, or would: they select by the same words.
local function meet(w, a, b)
  local json = require "json"
  if a.metadata.namespace ~= b.metadata.namespace then return false end
  local function text(default) return json.encode(get(default, "spec", "selector") or {}, { sort = true }) end
  if text(a) == text(b) then return true end
  for _, pod in ipairs(w.pods) do
    local here = pod.namespace == a.metadata.namespace
    if here and world.selects(get(a, "spec", "selector"), pod.labels)
      and world.selects(get(b, "spec", "selector"), pod.labels) then
      return true
    end
  end
  return false
end

local function disagreement(a, b)
  local json = require "json"
  for _, part in ipairs { { "env", "name" }, { "volumes", "name" }, { "volumeMounts", "mountPath" } } do
    for _, x in ipairs(list(get(a, "spec", part[1]))) do
      for _, y in ipairs(list(get(b, "spec", part[1]))) do
        if x[part[2]] == y[part[2]] and json.encode(x, { sort = true }) ~= json.encode(y, { sort = true }) then
          return ("%s %s"):format(part[1], x[part[2]])
        end
      end
    end
  end
end

---PodDefaults for the same pods say the same.
function M.pod_defaults(w)
  local defaults = w:of "PodDefault"
  for i = 1, #defaults do
    for k = i + 1, #defaults do
      local what = meet(w, defaults[i], defaults[k]) and disagreement(defaults[i], defaults[k])
      if what then
        w:add("poddefault-conflict", "error", defaults[k], {
          what = ("it and %s are for the same pods and disagree about %s"):format(defaults[i].metadata.name, what),
          why = "the webhook of PodDefaults refuses such a pod",
          fix = "let one of the two select other pods, or make both say the same",
        })
      end
    end
  end
end

return M
