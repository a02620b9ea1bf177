-- lab.rules.podspec: what is filled into the spec of a pod, in pods and in templates.
-- Not for what admission adds (accounts, tolerations, limits).
--   podspec.default(pod.spec)

local json = require "json"
local quantities = require "lab.quantities"

local M = {}

local function or_default(object, name, value)
  if object[name] == nil then object[name] = value end
end

local function default_probe(probe)
  or_default(probe, "timeoutSeconds", 1)
  or_default(probe, "periodSeconds", 10)
  or_default(probe, "successThreshold", 1)
  or_default(probe, "failureThreshold", 3)
  if probe.httpGet then
    or_default(probe.httpGet, "path", "/")
    or_default(probe.httpGet, "scheme", "HTTP")
  end
  if probe.grpc then or_default(probe.grpc, "service", "") end
end

local function default_handler(handler)
  if handler and handler.httpGet then
    or_default(handler.httpGet, "path", "/")
    or_default(handler.httpGet, "scheme", "HTTP")
  end
end

---The policy that an image's tag means.
function M.pull_policy(image)
  if image:find "@" then return "IfNotPresent" end
  local tag = image:match ":([^:/]*)$"
  return (not tag or tag == "latest") and "Always" or "IfNotPresent"
end

local function default_env(env)
  for _, variable in ipairs(env or {}) do
    local from = variable.valueFrom
    if from and from.fieldRef then or_default(from.fieldRef, "apiVersion", "v1") end
  end
end

local function default_ports(ports)
  for _, port in ipairs(ports or {}) do or_default(port, "protocol", "TCP") end
end

---Canonical quantities of limits and requests.
function M.default_resources(resources, where)
  for _, name in ipairs { "limits", "requests" } do
    if resources[name] then quantities.tidy_map(resources[name], where) end
  end
end

local PROBES = { "livenessProbe", "readinessProbe", "startupProbe" }

local function default_container(container)
  or_default(container, "terminationMessagePath", "/dev/termination-log")
  or_default(container, "terminationMessagePolicy", "File")
  if container.image then or_default(container, "imagePullPolicy", M.pull_policy(container.image)) end
  or_default(container, "resources", json.object {})
  M.default_resources(container.resources)
  for _, name in ipairs(PROBES) do
    if container[name] then default_probe(container[name]) end
  end
  if container.lifecycle then
    default_handler(container.lifecycle.postStart)
    default_handler(container.lifecycle.preStop)
  end
  default_env(container.env)
  default_ports(container.ports)
end

local MODED = { "configMap", "secret", "downwardAPI", "projected" }

local function default_field_refs(items)
  for _, item in ipairs(items or {}) do
    if item.fieldRef then or_default(item.fieldRef, "apiVersion", "v1") end
  end
end

local function default_volume(volume)
  local has = false
  for name in pairs(volume) do has = has or name ~= "name" end
  if not has then volume.emptyDir = json.object {} end
  for _, name in ipairs(MODED) do
    if volume[name] then or_default(volume[name], "defaultMode", 420) end
  end
  if volume.emptyDir and volume.emptyDir.sizeLimit ~= nil then
    volume.emptyDir.sizeLimit = quantities.tidy(volume.emptyDir.sizeLimit)
  end
  if volume.hostPath then or_default(volume.hostPath, "type", "") end
  if volume.downwardAPI then default_field_refs(volume.downwardAPI.items) end
  for _, source in ipairs(volume.projected and volume.projected.sources or {}) do
    if source.serviceAccountToken then or_default(source.serviceAccountToken, "expirationSeconds", 3600) end
    if source.downwardAPI then default_field_refs(source.downwardAPI.items) end
  end
end

M.CONTAINERS = { "initContainers", "containers", "ephemeralContainers" }

---Fills in a pod's spec.
---@param spec table
function M.default(spec)
  or_default(spec, "restartPolicy", "Always")
  or_default(spec, "terminationGracePeriodSeconds", 30)
  or_default(spec, "dnsPolicy", "ClusterFirst")
  or_default(spec, "securityContext", json.object {})
  or_default(spec, "schedulerName", "default-scheduler")
  if (spec.serviceAccountName or "") == "" and (spec.serviceAccount or "") ~= "" then
    spec.serviceAccountName = spec.serviceAccount
  elseif (spec.serviceAccountName or "") ~= "" then
    spec.serviceAccount = spec.serviceAccountName
  end
  for _, field in ipairs(M.CONTAINERS) do
    for _, container in ipairs(spec[field] or {}) do default_container(container) end
  end
  for _, volume in ipairs(spec.volumes or {}) do default_volume(volume) end
  for _, spread in ipairs(spec.topologySpreadConstraints or {}) do
    or_default(spread, "nodeAffinityPolicy", nil)
  end
  if spec.hostNetwork then
    for _, container in ipairs(spec.containers or {}) do
      for _, port in ipairs(container.ports or {}) do or_default(port, "hostPort", port.containerPort) end
    end
  end
end

---Limits are requests where those are not given: in pods, not in templates.
function M.requests_from_limits(spec)
  for _, field in ipairs { "initContainers", "containers" } do
    for _, container in ipairs(spec[field] or {}) do
      local limits = container.resources and container.resources.limits
      for name, value in pairs(limits or {}) do
        container.resources.requests = container.resources.requests or {}
        or_default(container.resources.requests, name, value)
      end
    end
  end
end

-- --- quality of service ---------------------------------------------------------------------------

local COUNTED = { cpu = true, memory = true }

---@param spec table
---@return "BestEffort"|"Burstable"|"Guaranteed"
function M.quality(spec)
  local any, guaranteed = false, true
  for _, field in ipairs { "initContainers", "containers" } do
    for _, container in ipairs(spec[field] or {}) do
      local resources = container.resources or {}
      local found = {}
      for name, value in pairs(resources.limits or {}) do
        if COUNTED[name] and quantities.value(value) > 0 then
          any, found[name] = true, value
        end
      end
      for name, value in pairs(resources.requests or {}) do
        if COUNTED[name] and quantities.value(value) > 0 then
          any = true
          if found[name] and quantities.compare(found[name], value) ~= 0 then guaranteed = false end
        end
      end
      if not (found.cpu and found.memory) then guaranteed = false end
    end
  end
  if not any then return "BestEffort" end
  return guaranteed and "Guaranteed" or "Burstable"
end

return M
