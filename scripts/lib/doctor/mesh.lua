-- doctor.mesh: mutual TLS and policies that some pods of profiles cannot satisfy.
-- A room of checks; see doctor.

local istio = require "istio"
local world = require "doctor.world"

local M = {}

local get, list = world.get, world.list

-- A pod of a profile that has no sidecar, and will get none.
local function plain_pod(w)
  for _, pod in ipairs(w.pods) do
    if w:is_plain(pod) then return pod end
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

local PERMISSIVE <const> = [[
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata:
  name: ml-pipeline-permissive
  namespace: kubeflow
spec:
  selector:
    matchLabels:
      app: ml-pipeline
  mtls:
    mode: PERMISSIVE
]]

---STRICT in kubeflow is no trouble unless some pod of a profile has no sidecar.
function M.strict(w)
  if not w:knows "PeerAuthentication" then return end
  for _, authentication in ipairs(w:of "PeerAuthentication") do
    local pod = is_strict(authentication) and not is_overridden(w, authentication) and plain_pod(w)
    if pod then
      w:add("strict-mtls", "error", authentication, {
        what = ("STRICT: peers need a sidecar to reach kubeflow, and %s has none"):format(pod.where),
        why = "its connections to Pipelines are reset before any policy is asked",
        fix = "`kfhost policy serve trial-sidecar` (way d: a sidecar that ends with the job), or let Pipelines alone"
          .. " take plaintext", manifest = PERMISSIVE,
      })
    end
  end
end

-- --- trials with a sidecar ---------------------------------------------------------------------------------

-- How pods get their proxy: as an init container that ends with the pod, or as a container beside the others.
-- Said by istiod's settings, by its release, or by a pod that has one; nil when nothing says it.
local NATIVE_SINCE <const> = 27 -- 1.27 does so without being told

local function said_by_istiod(w)
  local istiod = w:find("Deployment", "istio-system", "istiod")
  for _, container in ipairs(list(get(istiod, "spec", "template", "spec", "containers"))) do
    for _, variable in ipairs(list(container.env)) do
      if variable.name == "ENABLE_NATIVE_SIDECARS" then return variable.value ~= "false" end
    end
    local major, minor = (container.image or ""):match "pilot:v?(%d+)%.(%d+)"
    if major then return tonumber(major) > 1 or tonumber(minor) >= NATIVE_SINCE end
  end
end

local function said_by_pods(w)
  for _, pod in ipairs(w.pods) do
    for _, container in ipairs(not pod.is_template and list(pod.spec.initContainers) or {}) do
      if container.name == "istio-proxy" then return true end
    end
    for _, container in ipairs(not pod.is_template and list(pod.spec.containers) or {}) do
      if container.name == "istio-proxy" then return false end
    end
  end
end

local function native_sidecars(w)
  local said = said_by_istiod(w)
  if said == nil then said = said_by_pods(w) end
  return said
end

-- Our policy ends the proxy of a trial with the trial, and tells the collector not to wait.
local function ends_sidecars(w)
  for _, configuration in ipairs(w:of "MutatingWebhookConfiguration") do
    for _, webhook in ipairs(list(configuration.webhooks)) do
      if (webhook.name or ""):find "^trial%-.*%.policy%.kfhost%.io$" then return true end
    end
  end
  return false
end

-- --- what istio.analyze says -------------------------------------------------------------------------------

local function is_over(w, message)
  local object = w:titled(message.object)
  return type(object) == "table" and world.is_over(object)
end

-- The analyzers of istio that matter here: what they say, why it matters, what helps; and whether it is so here.
local KNOWN = {
  KF003 = { "collector-waits", "error",
    "the proxy ends only after the collector has, and the collector waits for the proxy: the trial never ends",
    "`kfhost policy serve trial-sidecar`, or waitAllProcesses: false for each collector in ConfigMap"
      .. " kubeflow/katib-config",
    function(w, message)
      return w:knows "ConfigMap" and native_sidecars(w) == true and not ends_sidecars(w) and not is_over(w, message)
    end },
  KF004 = { "experiment-name", "warning", "Katib looks trials up by the experiment's name alone",
    "give one of the two another name: `kubectl delete experiment -n NAMESPACE NAME`, then make it anew" },
  KF005 = { "webhook-order", "error",
    "webhooks run in the order of their configurations' names, once: what comes later is not seen",
    "name the configuration so that it sorts last (zz-…), or have it called again: `kubectl get"
      .. " mutatingwebhookconfiguration NAME -o json | sed 's/\"reinvocationPolicy\": \"Never\"/"
      .. "\"reinvocationPolicy\": \"IfNeeded\"/' | kubectl replace -f -`" },
}

-- Configurations of the webhooks that change what Istio and Katib have put into a pod.
local function late_webhooks(w)
  local late = {}
  for _, configuration in ipairs(w:of "MutatingWebhookConfiguration") do
    local name = configuration.metadata.name
    if name:find "^a*pod%.mutator" or name:find "trial%-sidecar" then late[name] = true end
  end
  return late
end

-- What is said of one object under one code is one finding.
local function joined(messages)
  local kept, by_key = {}, {}
  for _, message in ipairs(messages) do
    local key = message.code .. "\0" .. message.object
    local first = by_key[key]
    if first then first.message = first.message .. "; " .. message.message
    else
      by_key[key] = message
      kept[#kept + 1] = message
    end
  end
  return kept
end

---What istio.analyze says of objects together, as far as it keeps Kubeflow from working.
function M.analyzed(w)
  local objects = {}
  for _, kind in ipairs { "Namespace", "ConfigMap", "Experiment", "MutatingWebhookConfiguration" } do
    table.move(w:of(kind), 1, #w:of(kind), #objects + 1, objects)
  end
  local messages = istio.analyze(objects, { native_sidecars = true, late_webhooks = late_webhooks(w),
    only = { "istio.analyze.kubeflow" } })
  for _, message in ipairs(joined(messages)) do
    local known = KNOWN[message.code]
    if known and (not known[5] or known[5](w, message)) then
      local object = w:titled(message.object)
      local metadata = type(object) == "table" and object.metadata or {}
      w:add(known[1], known[2], object, { what = message.message, why = known[3],
        fix = (known[4]:gsub("NAMESPACE", metadata.namespace or "NAMESPACE"):gsub("NAME", metadata.name or "NAME")) })
    end
  end
end

return M
