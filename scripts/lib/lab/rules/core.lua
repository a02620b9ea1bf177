-- lab.rules.core: namespaces, config maps, secrets, accounts, quotas, limits, nodes, leases, priorities.
-- Not for pods and what makes them.
--   return { namespaces = …, configmaps = … }

local errors = require "errors"
local hash = require "hash"
local json = require "json"
local meta = require "lab.meta"
local quantities = require "lab.quantities"
local status = require "lab.status"
local writes = require "lab.writes"

-- --- namespaces -----------------------------------------------------------------------------------

local namespaces = { field_list = { "status.phase", "name" } }

function namespaces.fields(object)
  return { ["status.phase"] = object.status and object.status.phase or "", name = object.metadata.name }
end

function namespaces.default(object)
  local m = object.metadata
  if m.name then
    m.labels = m.labels or {}
    m.labels["kubernetes.io/metadata.name"] = m.name
  end
end

function namespaces.prepare_create(object)
  namespaces.default(object)
  object.spec = object.spec or {}
  local finalizers, there = object.spec.finalizers or {}, false
  for _, name in ipairs(finalizers) do there = there or name == "kubernetes" end
  if not there then finalizers[#finalizers + 1] = "kubernetes" end
  object.spec.finalizers = json.array(finalizers)
  object.status = { phase = "Active" }
end

function namespaces.prepare_update(object, old, _, subresource)
  if subresource ~= "finalize" then
    object.spec = json.decode(json.encode(old.spec or json.object {}))
  end
end

function namespaces.on_delete(object)
  object.status = object.status or {}
  object.status.phase = "Terminating"
end

local LEVELS = { privileged = true, baseline = true, restricted = true }

function namespaces.validate(object, causes)
  for _, mode in ipairs { "enforce", "audit", "warn" } do
    local key = "pod-security.kubernetes.io/" .. mode
    local value = object.metadata.labels and object.metadata.labels[key]
    if value and not LEVELS[value] then
      causes:invalid(("metadata.labels[%s]"):format(key), value, "must be one of privileged, baseline, restricted")
    end
    local version = object.metadata.labels and object.metadata.labels[key .. "-version"]
    if version and version ~= "latest" and not version:match "^v1%.%d+$" then
      causes:invalid(("metadata.labels[%s-version]"):format(key), version,
        'must be "latest" or "v1.x"')
    end
  end
end

-- --- config maps and secrets ----------------------------------------------------------------------

local MOST = 1048576

local KEY_FAULT = "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or "
  .. "'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')"

local function check_keys(map, field, causes, other)
  local size = 0
  for _, key in ipairs(meta.sorted_names(map or {})) do
    local at = ("%s[%s]"):format(field, key)
    if not key:match "^[-._%w]+$" then causes:invalid(at, key, KEY_FAULT) end
    if key == "." or key == ".." then causes:invalid(at, key, ("must not be '%s'"):format(key)) end
    if other and other[key] then causes:invalid(at, key, "duplicate of key present in data") end
    size = size + #map[key]
  end
  return size
end

local function drop_empty(object, name)
  if object[name] and next(object[name]) == nil then object[name] = nil end
end

local function check_immutable(object, old, causes, fields)
  if not old.immutable then return end
  if not object.immutable then
    causes:forbidden("immutable", "field is immutable when `immutable` is set")
  end
  for _, name in ipairs(fields) do
    if not writes.same(object[name] or {}, old[name] or {}) then
      causes:forbidden(name, "field is immutable when `immutable` is set")
    end
  end
end

local configmaps = {}

function configmaps.default(object)
  drop_empty(object, "data")
  drop_empty(object, "binaryData")
end

function configmaps.validate(object, causes)
  local size = check_keys(object.data, "data", causes)
    + check_keys(object.binaryData, "binaryData", causes, object.data) * 3 // 4
  if size > MOST then causes:too_long("", MOST) end
end

function configmaps.validate_update(object, old, causes)
  check_immutable(object, old, causes, { "data", "binaryData" })
  configmaps.validate(object, causes)
end

local secrets = { field_list = { "type" } }

function secrets.fields(object) return { type = object.type } end

local function check_base64(data)
  for _, key in ipairs(meta.sorted_names(data or {})) do
    local strange = data[key]:find "[^A-Za-z0-9+/=\r\n]"
    local ok, problem = pcall(hash.unbase64, data[key])
    if strange or not ok then
      if not strange and not errors.is(problem) then error(problem, 0) end
      status.bad_request('Secret in version "v1" cannot be handled as a Secret: illegal base64 data at input byte %d',
        strange and strange - 1 or problem.offset or 0)
    end
  end
end

function secrets.default(object)
  check_base64(object.data)
  for key, value in pairs(object.stringData or {}) do
    object.data = object.data or {}
    object.data[key] = hash.base64(value)
  end
  object.stringData = nil
  if (object.type or "") == "" then object.type = "Opaque" end
  drop_empty(object, "data")
end

local NEEDED = {
  ["kubernetes.io/dockerconfigjson"] = { ".dockerconfigjson" }, ["kubernetes.io/dockercfg"] = { ".dockercfg" },
  ["kubernetes.io/tls"] = { "tls.crt", "tls.key" }, ["kubernetes.io/ssh-auth"] = { "ssh-privatekey" },
}

function secrets.validate(object, causes)
  local size = check_keys(object.data, "data", causes)
  if size * 3 // 4 > MOST then causes:too_long("data", MOST) end
  for _, key in ipairs(NEEDED[object.type] or {}) do
    if not (object.data and object.data[key]) then causes:required(("data[%s]"):format(key)) end
  end
end

function secrets.validate_update(object, old, causes)
  if object.type ~= old.type then causes:invalid("type", object.type, "field is immutable") end
  check_immutable(object, old, causes, { "data" })
  secrets.validate(object, causes)
end

-- --- quotas and limits ----------------------------------------------------------------------------

local resourcequotas = {}

function resourcequotas.default(object)
  if object.spec and object.spec.hard then quantities.tidy_map(object.spec.hard) end
end

function resourcequotas.prepare_create(object) object.status = json.object {} end

local limitranges = {}

local LIMITS = { "max", "min", "default", "defaultRequest", "maxLimitRequestRatio" }

function limitranges.default(object)
  for _, item in ipairs(object.spec and object.spec.limits or {}) do
    for _, name in ipairs(LIMITS) do
      if item[name] then quantities.tidy_map(item[name]) end
    end
    if item.type == "Container" then
      item.default = item.default or (item.max and {} or nil)
      for name, value in pairs(item.max or {}) do
        if item.default[name] == nil then item.default[name] = value end
      end
      item.defaultRequest = item.defaultRequest or ((item.default or item.min) and {} or nil)
      for name, value in pairs(item.default or {}) do
        if item.defaultRequest[name] == nil then item.defaultRequest[name] = value end
      end
      for name, value in pairs(item.min or {}) do
        if item.defaultRequest[name] == nil then item.defaultRequest[name] = value end
      end
    end
  end
end

-- --- nodes, leases, priorities --------------------------------------------------------------------

local nodes = { field_list = { "spec.unschedulable" } }

function nodes.fields(object)
  return { ["spec.unschedulable"] = object.spec and object.spec.unschedulable and "true" or "false" }
end

function nodes.default(object) object.spec = object.spec or json.object {} end

function nodes.prepare_create(object)
  object.status = object.status or json.object {}
  for _, name in ipairs { "capacity", "allocatable" } do
    if object.status[name] then quantities.tidy_map(object.status[name]) end
  end
end

local leases = {}

function leases.validate(object, causes)
  local spec = object.spec or {}
  if spec.leaseDurationSeconds and spec.leaseDurationSeconds <= 0 then
    causes:invalid("spec.leaseDurationSeconds", spec.leaseDurationSeconds, "must be greater than 0")
  end
  if spec.leaseTransitions and spec.leaseTransitions < 0 then
    causes:invalid("spec.leaseTransitions", spec.leaseTransitions, "must be greater than or equal to 0")
  end
end

local priorityclasses = {}

function priorityclasses.default(object)
  if object.preemptionPolicy == nil then object.preemptionPolicy = "PreemptLowerPriority" end
  if object.value == nil then object.value = 0 end
end

function priorityclasses.validate_update(object, old, causes)
  if object.value ~= old.value then causes:forbidden("value", "may not be changed in an update.") end
end

local accounts = {}

function accounts.default(object)
  drop_empty(object, "secrets")
  drop_empty(object, "imagePullSecrets")
end

return {
  namespaces = namespaces, configmaps = configmaps, secrets = secrets, serviceaccounts = accounts,
  resourcequotas = resourcequotas, limitranges = limitranges, nodes = nodes,
  ["coordination.k8s.io/leases"] = leases, ["scheduling.k8s.io/priorityclasses"] = priorityclasses,
}
