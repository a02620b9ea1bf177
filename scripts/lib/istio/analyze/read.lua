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

local SYSTEM = { ["istio-system"] = true, ["kube-system"] = true, ["kube-public"] = true, ["kube-node-lease"] = true,
  ["local-path-storage"] = true }

function M.is_system(namespace) return SYSTEM[namespace] == true end

---Whether a namespace's pods are ambient: one that asks for sidecars as well gets these.
function M.is_ambient(namespace)
  local labels = M.labels_of(namespace)
  return labels["istio.io/dataplane-mode"] == "ambient" and labels["istio-injection"] ~= "enabled"
    and (labels["istio.io/rev"] or "") == ""
end

function M.is_ambient_pod(pod)
  return pod.annotations["ambient.istio.io/redirection"] == "enabled"
end

---The pods of a namespace ("*" = of all); where there are none, the templates that pods are made of.
function M.workloads(a, place)
  local pods, templates = {}, {}
  for _, pod in ipairs(a.pods) do
    if place == "*" or pod.namespace == place then
      table.insert(pod.object.kind == "Pod" and pods or templates, pod)
    end
  end
  return pods[1] and pods or templates
end

---Whether policies of the mesh have an effect on a pod; of a namespace that is not among the objects, it is assumed.
function M.in_mesh(a, pod)
  if M.has_proxy(pod) or M.is_ambient_pod(pod) then return true end
  local wish = pod.labels["sidecar.istio.io/inject"] or pod.annotations["sidecar.istio.io/inject"]
  if wish then return wish == "true" end
  local namespace = a.namespaces[pod.namespace]
  if not namespace then return true end
  local labels = M.labels_of(namespace)
  return labels["istio-injection"] == "enabled" or labels["istio.io/rev"] ~= nil
    or labels["istio.io/dataplane-mode"] == "ambient"
end

function M.selector_labels(object)
  local spec = object.spec or {}
  if object.kind == "Sidecar" or object.kind == "EnvoyFilter" then return (spec.workloadSelector or {}).labels end
  return (spec.selector or {}).matchLabels
end

return M
