-- lab.rules.podcheck: what is checked in the spec of a pod, in pods and in templates.
-- Not for what policies refuse (Pod Security).
--   podcheck.spec(spec, "spec", causes)

local meta = require "lab.meta"
local quantities = require "lab.quantities"

local M = {}

local function each_fault(faults, field, value, causes)
  for _, fault in ipairs(faults) do causes:invalid(field, value, fault) end
end

-- --- containers -----------------------------------------------------------------------------------

local PROTOCOLS = { TCP = true, UDP = true, SCTP = true }

local function is_port(value) return math.type(value) == "integer" and value >= 1 and value <= 65535 end

local function check_ports(ports, field, causes)
  local names = {}
  for i, port in ipairs(ports or {}) do
    local at = ("%s.ports[%d]"):format(field, i - 1)
    if port.name then
      if names[port.name] then causes:duplicate(at .. ".name", port.name) end
      names[port.name] = true
      if #port.name > 15 then causes:invalid(at .. ".name", port.name, "must be no more than 15 characters") end
    end
    if not port.containerPort or port.containerPort == 0 then
      causes:required(at .. ".containerPort")
    elseif not is_port(port.containerPort) then
      causes:invalid(at .. ".containerPort", port.containerPort, "must be between 1 and 65535, inclusive")
    end
    if port.hostPort and port.hostPort ~= 0 and not is_port(port.hostPort) then
      causes:invalid(at .. ".hostPort", port.hostPort, "must be between 1 and 65535, inclusive")
    end
    if not PROTOCOLS[port.protocol] then
      causes:unsupported(at .. ".protocol", port.protocol, { "SCTP", "TCP", "UDP" })
    end
  end
end

local function check_env(env, field, causes)
  for i, variable in ipairs(env or {}) do
    local at = ("%s.env[%d]"):format(field, i - 1)
    local name = variable.name or ""
    if name == "" then
      causes:required(at .. ".name")
    elseif name:find "=" then
      causes:invalid(at .. ".name", name, "a valid environment variable name must consist only of printable ASCII "
        .. "characters other than '='")
    end
    local from = variable.valueFrom
    if from and variable.value and variable.value ~= "" then
      causes:invalid(at .. ".valueFrom", "", "may not be specified when `value` is not empty")
    elseif from and next(from) == nil then
      causes:invalid(at .. ".valueFrom", "",
        "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef` or `secretKeyRef`")
    end
  end
end

local function check_mounts(mounts, field, volumes, causes)
  local paths = {}
  for i, mount in ipairs(mounts or {}) do
    local at = ("%s.volumeMounts[%d]"):format(field, i - 1)
    if (mount.name or "") == "" then
      causes:required(at .. ".name")
    elseif not volumes[mount.name] then
      causes:not_found(at .. ".name", mount.name)
    end
    local path = mount.mountPath or ""
    if path == "" then
      causes:required(at .. ".mountPath")
    elseif paths[path] then
      causes:invalid(at .. ".mountPath", path, "must be unique")
    end
    paths[path] = true
    for segment in (mount.subPath or ""):gmatch "[^/]+" do
      if segment == ".." then causes:invalid(at .. ".subPath", mount.subPath, "must not contain '..'") end
    end
    if (mount.subPath or ""):sub(1, 1) == "/" then
      causes:invalid(at .. ".subPath", mount.subPath, "must be a relative path")
    end
  end
end

local function check_resources(resources, field, causes)
  local limits = resources and resources.limits or {}
  for _, name in ipairs(meta.sorted_names(resources and resources.requests or {})) do
    local value = resources.requests[name]
    if quantities.value(value) < 0 then
      causes:invalid(("%s.resources.requests[%s]"):format(field, name), value, "must be greater than or equal to 0")
    end
    if limits[name] and quantities.compare(value, limits[name]) > 0 then
      causes:invalid(field .. ".resources.requests", value,
        ("must be less than or equal to %s limit of %s"):format(name, limits[name]))
    end
  end
  for _, name in ipairs(meta.sorted_names(limits)) do
    if quantities.value(limits[name]) < 0 then
      causes:invalid(("%s.resources.limits[%s]"):format(field, name), limits[name],
        "must be greater than or equal to 0")
    end
  end
end

local HANDLERS = { "exec", "httpGet", "tcpSocket", "grpc" }

local function check_probe(probe, field, causes)
  if not probe then return end
  local count = 0
  for _, name in ipairs(HANDLERS) do
    if probe[name] then
      count = count + 1
      if count > 1 then causes:forbidden(field .. "." .. name, "may not specify more than 1 handler type") end
    end
  end
  if count == 0 then causes:required(field, "must specify a handler type") end
  for _, name in ipairs { "initialDelaySeconds", "timeoutSeconds", "periodSeconds", "successThreshold",
                          "failureThreshold" } do
    if (probe[name] or 0) < 0 then
      causes:invalid(field .. "." .. name, probe[name], "must be greater than or equal to 0")
    end
  end
end

local PULL = { Always = true, IfNotPresent = true, Never = true }

local function check_container(container, field, volumes, causes, seen)
  local name = container.name or ""
  if name == "" then
    causes:required(field .. ".name")
  else
    each_fault(meta.label_faults(name), field .. ".name", name, causes)
  end
  if (container.image or "") == "" then
    causes:required(field .. ".image")
  elseif container.image:match "^%s" or container.image:match "%s$" then
    causes:invalid(field .. ".image", container.image, "must not have leading or trailing whitespace")
  end
  check_ports(container.ports, field, causes)
  check_env(container.env, field, causes)
  check_mounts(container.volumeMounts, field, volumes, causes)
  if container.imagePullPolicy and not PULL[container.imagePullPolicy] then
    causes:unsupported(field .. ".imagePullPolicy", container.imagePullPolicy, { "Always", "IfNotPresent", "Never" })
  end
  check_resources(container.resources, field, causes)
  for _, probe in ipairs { "livenessProbe", "readinessProbe", "startupProbe" } do
    check_probe(container[probe], field .. "." .. probe, causes)
  end
  if name ~= "" then
    if seen[name] then causes:duplicate(field .. ".name", name) end
    seen[name] = true
  end
end

local function check_init(container, field, causes)
  if container.restartPolicy and container.restartPolicy ~= "Always" and container.restartPolicy ~= "Never"
    and container.restartPolicy ~= "OnFailure" then
    causes:unsupported(field .. ".restartPolicy", container.restartPolicy, { "Always", "Never", "OnFailure" })
  end
  if container.restartPolicy == "Always" then return end
  for _, name in ipairs { "livenessProbe", "readinessProbe", "startupProbe", "lifecycle" } do
    if container[name] then
      causes:forbidden(field .. "." .. name, "may not be set for init containers without restartPolicy=Always")
    end
  end
end

-- --- volumes --------------------------------------------------------------------------------------

local function check_volumes(volumes, field, causes)
  local known = {}
  for i, volume in ipairs(volumes or {}) do
    local at = ("%s.volumes[%d]"):format(field, i - 1)
    local name = volume.name or ""
    if name == "" then
      causes:required(at .. ".name")
    else
      each_fault(meta.label_faults(name), at .. ".name", name, causes)
      if known[name] then causes:duplicate(at .. ".name", name) end
      known[name] = true
    end
    local sources = 0
    for _, key in ipairs(meta.sorted_names(volume)) do
      if key ~= "name" then
        sources = sources + 1
        if sources > 1 then causes:forbidden(at .. "." .. key, "may not specify more than 1 volume type") end
      end
    end
    local claim = volume.persistentVolumeClaim
    if claim and (claim.claimName or "") == "" then causes:required(at .. ".persistentVolumeClaim.claimName") end
    if volume.ephemeral and not volume.ephemeral.volumeClaimTemplate then
      causes:required(at .. ".ephemeral.volumeClaimTemplate")
    end
    local secret = volume.secret
    if secret and (secret.secretName or "") == "" then causes:required(at .. ".secret.secretName") end
    local map = volume.configMap
    if map and (map.name or "") == "" then causes:required(at .. ".configMap.name") end
    if volume.hostPath and (volume.hostPath.path or "") == "" then causes:required(at .. ".hostPath.path") end
  end
  return known
end

-- --- the rest -------------------------------------------------------------------------------------

local RESTART = { Always = true, OnFailure = true, Never = true }
local DNS = { ClusterFirst = true, ClusterFirstWithHostNet = true, Default = true, None = true }
local EFFECTS = { NoSchedule = true, PreferNoSchedule = true, NoExecute = true, [""] = true }

local function check_tolerations(tolerations, field, causes)
  for i, toleration in ipairs(tolerations or {}) do
    local at = ("%s.tolerations[%d]"):format(field, i - 1)
    local key, operator = toleration.key or "", toleration.operator or ""
    if key ~= "" then each_fault(meta.qualified_faults(key), at .. ".key", key, causes) end
    if key == "" and operator ~= "Exists" then
      causes:invalid(at .. ".operator", operator,
        "operator must be Exists when `key` is empty, which means \"match all values and all keys\"")
    end
    if operator ~= "" and operator ~= "Equal" and operator ~= "Exists" and operator ~= "Lt" and operator ~= "Gt" then
      causes:unsupported(at .. ".operator", operator, { "Equal", "Exists" })
    elseif operator == "Exists" and (toleration.value or "") ~= "" then
      causes:invalid(at .. ".operator", toleration, "value must be empty when `operator` is 'Exists'")
    end
    if not EFFECTS[toleration.effect or ""] then
      causes:unsupported(at .. ".effect", toleration.effect, { "NoSchedule", "PreferNoSchedule", "NoExecute" })
    end
  end
end

---Checks the spec of a pod.
---@param spec table?
---@param field string where it is
---@param causes lab.Causes
function M.spec(spec, field, causes)
  spec = spec or {}
  local volumes = check_volumes(spec.volumes, field, causes)
  local seen = {}
  if #(spec.containers or {}) == 0 then causes:required(field .. ".containers") end
  for i, container in ipairs(spec.containers or {}) do
    check_container(container, ("%s.containers[%d]"):format(field, i - 1), volumes, causes, seen)
  end
  for i, container in ipairs(spec.initContainers or {}) do
    local at = ("%s.initContainers[%d]"):format(field, i - 1)
    check_container(container, at, volumes, causes, seen)
    check_init(container, at, causes)
  end
  for i, container in ipairs(spec.ephemeralContainers or {}) do
    check_container(container, ("%s.ephemeralContainers[%d]"):format(field, i - 1), volumes, causes, seen)
  end
  if not RESTART[spec.restartPolicy or ""] then
    if spec.restartPolicy == nil then
      causes:required(field .. ".restartPolicy")
    else
      causes:unsupported(field .. ".restartPolicy", spec.restartPolicy, { "Always", "OnFailure", "Never" })
    end
  end
  if spec.dnsPolicy and not DNS[spec.dnsPolicy] then
    causes:unsupported(field .. ".dnsPolicy", spec.dnsPolicy,
      { "ClusterFirst", "ClusterFirstWithHostNet", "Default", "None" })
  end
  if (spec.terminationGracePeriodSeconds or 0) < 0 then
    causes:invalid(field .. ".terminationGracePeriodSeconds", spec.terminationGracePeriodSeconds,
      "must be greater than or equal to 0")
  end
  if spec.activeDeadlineSeconds and spec.activeDeadlineSeconds < 1 then
    causes:invalid(field .. ".activeDeadlineSeconds", spec.activeDeadlineSeconds,
      "must be between 1 and 2147483647, inclusive")
  end
  if spec.nodeSelector then meta.check_labels(spec.nodeSelector, field .. ".nodeSelector", causes) end
  check_tolerations(spec.tolerations, field, causes)
  if spec.serviceAccountName and spec.serviceAccountName ~= "" then
    each_fault(meta.subdomain_faults(spec.serviceAccountName), field .. ".serviceAccountName",
      spec.serviceAccountName, causes)
  end
end

return M
