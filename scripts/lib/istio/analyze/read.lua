-- Objects as the analyzers look at them: names, kinds, labels, pods. A part of istio.analyze.
local authentication = require "istio.authentication"

local M = {}

function M.title(object)
  local metadata = object.metadata or {}
  local place = metadata.namespace and metadata.namespace .. "/" or ""
  return ("%s %s%s"):format(tostring(object.kind), place, tostring(metadata.name))
end

function M.of_kind(objects, kind)
  local list = {}
  for _, object in ipairs(objects) do
    if object.kind == kind then list[#list + 1] = object end
  end
  return list
end

function M.labels_of(object)
  return (object.metadata or {}).labels or {}
end

local TEMPLATES = { Deployment = true, StatefulSet = true, DaemonSet = true, ReplicaSet = true, Job = true }

local function pod_of(object)
  if object.kind == "Pod" then return object end
  if TEMPLATES[object.kind] then return ((object.spec or {}).template) end
  if object.kind == "CronJob" then
    return ((((object.spec or {}).jobTemplate or {}).spec or {}).template)
  end
end

function M.pods(objects)
  local pods = {}
  for _, object in ipairs(objects) do
    local pod = pod_of(object)
    if pod then
      local metadata = pod.metadata or {}
      pods[#pods + 1] = {
        labels = metadata.labels or {}, annotations = metadata.annotations or {}, spec = pod.spec or {},
        namespace = authentication.namespace(object), object = object, pod = pod }
    end
  end
  return pods
end

function M.namespaces(objects)
  local map = {}
  for _, namespace in ipairs(M.of_kind(objects, "Namespace")) do map[namespace.metadata.name] = namespace end
  return map
end

function M.has_proxy(pod)
  for _, field in ipairs { "containers", "initContainers" } do
    for _, container in ipairs(pod.spec[field] or {}) do
      if container.name == "istio-proxy" then return container, field end
    end
  end
end

function M.selector_labels(object)
  local spec = object.spec or {}
  if object.kind == "Sidecar" or object.kind == "EnvoyFilter" then return (spec.workloadSelector or {}).labels end
  return (spec.selector or {}).matchLabels
end

return M
