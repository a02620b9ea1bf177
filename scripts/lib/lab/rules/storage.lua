-- lab.rules.storage: claims, volumes, classes.
-- Not for binding and provisioning (lab.controllers.volumes).
--   return { persistentvolumeclaims = … }

local json = require "json"
local quantities = require "lab.quantities"
local writes = require "lab.writes"

local MODES = { "ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod" }
local KNOWN_MODES = {}
for _, mode in ipairs(MODES) do KNOWN_MODES[mode] = true end

local function or_default(object, name, value)
  if object[name] == nil then object[name] = value end
end

local function add_finalizer(object, name)
  local list = object.metadata.finalizers or json.array {}
  for _, one in ipairs(list) do
    if one == name then return end
  end
  list[#list + 1] = name
  object.metadata.finalizers = list
end

local function check_modes(modes, field, causes)
  if #(modes or {}) == 0 then causes:required(field, "at least 1 access mode is required") end
  for _, mode in ipairs(modes or {}) do
    if not KNOWN_MODES[mode] then causes:unsupported(field, mode, MODES) end
    if mode == "ReadWriteOncePod" and #modes > 1 then
      causes:forbidden(field, "may not use ReadWriteOncePod with other access modes")
    end
  end
end

-- --- claims ---------------------------------------------------------------------------------------

local claims = {}

function claims.default(claim)
  claim.spec = claim.spec or {}
  or_default(claim.spec, "volumeMode", "Filesystem")
  or_default(claim.spec, "resources", json.object {})
  for _, name in ipairs { "requests", "limits" } do
    if claim.spec.resources[name] then quantities.tidy_map(claim.spec.resources[name]) end
  end
  if claim.status and claim.status.capacity then quantities.tidy_map(claim.status.capacity) end
end

function claims.prepare_create(claim)
  claim.status = { phase = "Pending" }
  add_finalizer(claim, "kubernetes.io/pvc-protection")
end

function claims.validate(claim, causes)
  local spec = claim.spec
  check_modes(spec.accessModes, "spec.accessModes", causes)
  local size = spec.resources.requests and spec.resources.requests.storage
  if not size then
    causes:required "spec.resources[storage]"
  elseif quantities.value(size) <= 0 then
    causes:invalid("spec.resources[storage]", size, "must be greater than zero")
  end
  if spec.volumeMode ~= "Filesystem" and spec.volumeMode ~= "Block" then
    causes:unsupported("spec.volumeMode", spec.volumeMode, { "Block", "Filesystem" })
  end
end

local IMMUTABLE = "spec is immutable after creation except resources.requests and volumeAttributesClassName for "
  .. "bound claims"

-- What of a claim may change: its size when it is bound, its volume when it has none.
local function with_allowed(spec, old, bound)
  local copy = json.decode(json.encode(old))
  if (old.volumeName or "") == "" then copy.volumeName = spec.volumeName end
  if bound then
    copy.resources.requests = spec.resources.requests
    copy.volumeAttributesClassName = spec.volumeAttributesClassName
  end
  if old.storageClassName == nil then copy.storageClassName = spec.storageClassName end
  return copy
end

function claims.validate_update(claim, old, causes, _, subresource)
  if subresource == "status" then return end
  claims.validate(claim, causes)
  local bound = old.status and old.status.phase == "Bound"
  if not writes.same(with_allowed(claim.spec, old.spec, bound), claim.spec) then
    causes:forbidden("spec", IMMUTABLE)
  elseif bound and quantities.compare(claim.spec.resources.requests.storage, old.spec.resources.requests.storage) < 0
    and quantities.compare(claim.spec.resources.requests.storage, old.status.capacity
      and old.status.capacity.storage or "0") < 0 then
    causes:forbidden("spec.resources.requests.storage", "field can not be less than status.capacity")
  end
end

-- --- volumes --------------------------------------------------------------------------------------

local volumes = {}

function volumes.default(volume)
  volume.spec = volume.spec or {}
  or_default(volume.spec, "volumeMode", "Filesystem")
  or_default(volume.spec, "persistentVolumeReclaimPolicy", "Retain")
  if volume.spec.capacity then quantities.tidy_map(volume.spec.capacity) end
  if volume.spec.hostPath then or_default(volume.spec.hostPath, "type", "") end
end

function volumes.prepare_create(volume, ctx)
  volume.status = { phase = "Pending", lastPhaseTransitionTime = ctx.cluster:time() }
  add_finalizer(volume, "kubernetes.io/pv-protection")
end

local NOT_SOURCES = {
  capacity = true, accessModes = true, claimRef = true, persistentVolumeReclaimPolicy = true, storageClassName = true,
  mountOptions = true, volumeMode = true, nodeAffinity = true, volumeAttributesClassName = true,
}

function volumes.validate(volume, causes)
  local spec = volume.spec
  check_modes(spec.accessModes, "spec.accessModes", causes)
  if not (spec.capacity and spec.capacity.storage) then causes:required "spec.capacity" end
  local sources = 0
  for name in pairs(spec) do
    if not NOT_SOURCES[name] then sources = sources + 1 end
  end
  if sources == 0 then causes:required("spec", "must specify a volume type") end
  if sources > 1 then causes:forbidden("spec", "may not specify more than 1 volume type") end
end

-- --- classes --------------------------------------------------------------------------------------

local classes = {}

function classes.default(class)
  or_default(class, "reclaimPolicy", "Delete")
  or_default(class, "volumeBindingMode", "Immediate")
end

function classes.validate(class, causes)
  if (class.provisioner or "") == "" then causes:required "provisioner" end
  local policies = { Delete = true, Retain = true, Recycle = true }
  if not policies[class.reclaimPolicy] then
    causes:unsupported("reclaimPolicy", class.reclaimPolicy, { "Delete", "Retain" })
  end
  if class.volumeBindingMode ~= "Immediate" and class.volumeBindingMode ~= "WaitForFirstConsumer" then
    causes:unsupported("volumeBindingMode", class.volumeBindingMode, { "Immediate", "WaitForFirstConsumer" })
  end
end

function classes.validate_update(class, old, causes)
  if not writes.same(class.parameters or {}, old.parameters or {}) then
    causes:forbidden("parameters", "updates to parameters are forbidden.")
  end
  if class.provisioner ~= old.provisioner then causes:invalid("provisioner", nil, "field is immutable") end
  if class.reclaimPolicy ~= old.reclaimPolicy then
    causes:invalid("reclaimPolicy", class.reclaimPolicy, "field is immutable")
  end
  if class.volumeBindingMode ~= old.volumeBindingMode then
    causes:invalid("volumeBindingMode", class.volumeBindingMode, "field is immutable")
  end
end

return {
  persistentvolumeclaims = claims, persistentvolumes = volumes, ["storage.k8s.io/storageclasses"] = classes,
}
