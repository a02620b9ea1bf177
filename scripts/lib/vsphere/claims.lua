-- vsphere.claims: what is to become of a claim that asks for ReadWriteMany, and the words for it.
-- Not for pods (vsphere.placement). Plain functions: what they need to know comes in `site`.
--   local verdict = claims.decide(claim, { config = …, opted_in = true, quotas = {} })

local json = require "json"
local kube = require "kube"

local M = {}

M.ORIGINAL_MODES = "storage.kfhost.io/original-access-modes" -- annotation: the modes that were asked for
M.SHARING = "storage.kfhost.io/sharing" -- annotation: how its pods share it, where not as the site says
M.SNAPSHOT = "storage.kfhost.io/snapshot" -- annotation: what each pod's own volume begins with (per-step)
M.TO_MAKE = "storage.kfhost.io/claim-to-make" -- label: a ConfigMap that says which claim is to be made anew
M.LEGACY_CLASS = "volume.beta.kubernetes.io/storage-class" -- still wins over spec.storageClassName

local function contains(list, value)
  for _, one in ipairs(list) do
    if one == value then return true end
  end
  return false
end

---@param object table
---@return table annotations, empty where there are none
function M.annotations(object)
  return object.metadata and object.metadata.annotations or {}
end

---@param claim table
---@param mode string
---@return boolean
function M.has_mode(claim, mode)
  for _, one in ipairs(claim.spec.accessModes or {}) do
    if one == mode then return true end
  end
  return false
end

---@param claim table
---@return string? class the one that counts; nil: the cluster's default
function M.class(claim)
  local class = M.annotations(claim)[M.LEGACY_CLASS] or claim.spec.storageClassName
  return type(class) == "string" and class or nil
end

---Whether somebody has chosen the volume: by name, by a selector, or by wanting no class.
---@param claim table
---@return boolean
function M.is_static(claim)
  local spec = claim.spec
  local names_volume = type(spec.volumeName) == "string" and spec.volumeName ~= ""
  return names_volume or type(spec.selector) == "table" or M.class(claim) == ""
end

-- Whether a claim cannot leave the kind of its class: a raw disk, or one that begins as a snapshot or another claim.
local function is_tied(claim)
  local spec = claim.spec
  return spec.volumeMode == "Block" or type(spec.dataSource) == "table" or type(spec.dataSourceRef) == "table"
end

local function serves_many(class, config)
  return class ~= nil and (class == config.rwx_class or contains(config.rwx_classes, class))
end

---Whether a claim is of a disk, which one node has at a time: it may not be shared by nodes, nor is it of files.
---@param claim table
---@param config table
---@return boolean
function M.is_disk(claim, config)
  local many = M.has_mode(claim, "ReadWriteMany") or M.has_mode(claim, "ReadOnlyMany")
  return not many and not serves_many(M.class(claim), config)
end

---Whether the pods of a claim have to be on one node. Of a ReadWriteOncePod claim the scheduler itself takes care.
---@param claim table
---@param config table
---@return boolean
function M.is_single(claim, config)
  return M.has_mode(claim, "ReadWriteOnce") and M.is_disk(claim, config)
end

-- Whether a claim was made for one pod alone, as its ephemeral volume.
local function is_of_one_pod(claim)
  for _, owner in ipairs(claim.metadata and claim.metadata.ownerReferences or {}) do
    if owner.controller and owner.kind == "Pod" then return true end
  end
  return false
end

---@param pod table
---@param volume table of its spec
---@return string? name of the claim that the volume is of; nil: it is of none
function M.of_volume(pod, volume)
  if volume.persistentVolumeClaim then return volume.persistentVolumeClaim.claimName end
  return volume.ephemeral and ("%s-%s"):format(pod.metadata.name or "", volume.name) or nil
end

-- --- the quota of the class that it is moved to --------------------------------------------------------

-- A size that cannot be read is the API server's to refuse, not ours.
local function size_of(claim)
  local resources = claim.spec.resources
  local ok, quantity = pcall(kube.quantity, resources and resources.requests and resources.requests.storage)
  return ok and quantity or kube.quantity "0"
end

---@param claim table
---@param class string
---@param quotas table[] ResourceQuotas of its namespace
---@return string? quota the one that has no room for the claim in this class
---@return string? key of the quota
function M.broken_quota(claim, class, quotas)
  local wanted = { ["requests.storage"] = size_of(claim), persistentvolumeclaims = kube.quantity "1" }
  local prefix = class .. ".storageclass.storage.k8s.io/"
  for _, quota in ipairs(quotas) do
    local hard = quota.status and quota.status.hard or quota.spec and quota.spec.hard or {}
    local used = quota.status and quota.status.used or {}
    for name, more in pairs(wanted) do
      local key = prefix .. name
      if hard[key] and kube.quantity(used[key] or "0") + more > kube.quantity(hard[key]) then
        return quota.metadata.name, key
      end
    end
  end
  return nil
end

-- --- the decision ----------------------------------------------------------------------------------------

local REFUSED = "vSphere block volumes (class %s) cannot be ReadWriteMany. Ask for ReadWriteOnce; or have the site "
  .. "set rwx_class to a class of file volumes; or label the namespace %s=true, and the pods of a claim share one node"
local TIED = "a raw disk, or one that begins as a snapshot, cannot move to another class; "
local NO_ROOM = "ReadWriteMany is served here by class %s, but quota %s leaves no room (%s): ask for less, or have "
  .. "the quota raised"

---@class vsphere.Verdict
---@field action "leave"|"move"|"single"|"refuse"
---@field class string? to move to
---@field message string?

---What is to become of a claim; in this order.
---@param claim table
---@param site {config: table, opted_in: boolean?, quotas: table[]} opted_in nil: the namespace is not known (yet)
---@return vsphere.Verdict
function M.decide(claim, site)
  local config, class, tied = site.config, M.class(claim), is_tied(claim)
  if not M.has_mode(claim, "ReadWriteMany") or M.is_static(claim) then return { action = "leave" } end
  if serves_many(class, config) then return { action = "leave" } end
  if config.rwx_class and not tied then
    local quota, key = M.broken_quota(claim, config.rwx_class, site.quotas)
    if quota then return { action = "refuse", message = NO_ROOM:format(config.rwx_class, quota, key) } end
    return { action = "move", class = config.rwx_class,
      message = ("ReadWriteMany is served by class %s"):format(config.rwx_class) }
  end
  if is_of_one_pod(claim) then
    return { action = "single", message = "this claim is ReadWriteOnce here: one pod alone uses it" }
  end
  if site.opted_in then
    return { action = "single", message = "this claim is ReadWriteOnce here: the pods that use it run on one node" }
  end
  local text = REFUSED:format(class or "of the cluster's default", config.co_schedule_label)
  if tied then text = TIED .. text end
  if site.opted_in == nil then text = "the namespace is not known yet, try again soon; else: " .. text end
  return { action = "refuse", message = text }
end

-- --- carrying it out --------------------------------------------------------------------------------------

---Changes a claim as was decided ("move" or "single"); nothing else of it is touched.
---@param claim table
---@param verdict vsphere.Verdict
function M.mend(claim, verdict)
  if verdict.action == "move" then
    claim.spec.storageClassName = verdict.class
    local annotations = M.annotations(claim)
    if annotations[M.LEGACY_CLASS] then annotations[M.LEGACY_CLASS] = verdict.class end
    return
  end
  claim.metadata.annotations = claim.metadata.annotations or {}
  claim.metadata.annotations[M.ORIGINAL_MODES] = table.concat(claim.spec.accessModes, ",")
  claim.spec.accessModes = { "ReadWriteOnce" } -- what else was asked for, for many nodes to read, no disk gives either
end

---What an update asks for that was decided otherwise when the claim was made, it cannot have any more: its source is
---applied again. The modes that are noted, and the class to which it was moved, stay.
---@param old table
---@param claim table
---@param config table
---@return boolean kept whether there was such a thing
function M.keep(old, claim, config)
  local asked, class = M.annotations(old)[M.ORIGINAL_MODES], M.class(old)
  local was_single = asked ~= nil and table.concat(claim.spec.accessModes, ",") == asked
  local was_moved = config.rwx_class ~= nil and class == config.rwx_class and M.class(claim) ~= class
  if was_single then M.mend(claim, { action = "single" }) end
  if was_moved then M.mend(claim, { action = "move", class = class }) end
  return was_single or was_moved
end

-- What controllers have written on a claim that a new one must not bring along.
local CONTROLLERS = { "^pv%.kubernetes%.io/", "^volume%.kubernetes%.io/",
  "^volume%.beta%.kubernetes%.io/storage%-provisioner" }

local function is_controllers(key)
  for _, pattern in ipairs(CONTROLLERS) do
    if key:find(pattern) then return true end
  end
  return false
end

---A claim to create in the place of one that was deleted: its own words, without what the cluster added.
---@param claim table
---@return table
function M.anew(claim)
  local annotations = {}
  for key, value in pairs(M.annotations(claim)) do
    if not is_controllers(key) then annotations[key] = value end
  end
  local old = claim.metadata
  local metadata = { name = old.name, namespace = old.namespace, labels = old.labels, annotations = annotations,
    ownerReferences = old.ownerReferences }
  return { apiVersion = "v1", kind = "PersistentVolumeClaim", metadata = metadata, spec = claim.spec }
end

-- --- what is to be made, written down ------------------------------------------------------------------

local UID, WHY = "storage.kfhost.io/claim-uid", "storage.kfhost.io/why"

---A ConfigMap that says which claim is to be made in the place of another one.
---@param new table the claim to make
---@param uid string of the claim that goes
---@param why string for the event
---@return table
function M.note(new, uid, why)
  return { apiVersion = "v1", kind = "ConfigMap", metadata = { name = "claim-" .. uid,
    namespace = new.metadata.namespace, labels = { [M.TO_MAKE] = "true" }, annotations = { [UID] = uid, [WHY] = why } },
    data = { claim = json.encode(new, { sort = true }) } }
end

---@param note table
---@return table new
---@return string uid
---@return string why
function M.of_note(note)
  local annotations = M.annotations(note)
  return json.decode(note.data.claim), annotations[UID], annotations[WHY]
end

return M
