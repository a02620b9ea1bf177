-- lab.controllers.attachments: which node a disk is attached to, as the attach/detach controller and the driver's
-- attacher have it: one VolumeAttachment a disk, gone when the attacher has taken its finalizer off.
-- Not for making volumes (lab.controllers.volumes). Another finalizer holds an attachment back, as a stuck driver does.
--   local problem = attachments.attach(volumes, pod)

local inside = require "lab.inside"
local pod_claims = require "lab.pod_claims"
local store = require "lab.store"

local M = {}

local CLAIM, VOLUME, ATTACHMENT = "persistentvolumeclaims", "persistentvolumes", "storage.k8s.io/volumeattachments"
local MANAGER = "kube-controller-manager"
local FINALIZER = "external-attacher/csi-vsphere-vmware-com"
local FORCE_AFTER = 360 -- seconds after which volumes of a node that is lost are detached by force

local function volume_of(self, claim)
  local name = claim and claim.spec.volumeName
  return name and inside.view(self.cluster, VOLUME, nil, name)
end

-- Whether a claim is of a disk, which one node has at a time; of one that has no volume yet its class is asked.
local function is_disk(self, claim)
  for _, mode in ipairs(claim.spec.accessModes or {}) do
    if mode == "ReadWriteMany" or mode == "ReadOnlyMany" then return false end
  end
  local volume = volume_of(self, claim)
  if volume then return volume.spec.csi ~= nil and volume.spec.csi.driver == self.profile.provisioner end
  local class = inside.view(self.cluster, "storage.k8s.io/storageclasses", nil, claim.spec.storageClassName or "")
  return class ~= nil and class.provisioner == self.profile.provisioner
end

local function disks_of(self, pod)
  local list = {}
  for _, name in ipairs(pod_claims.names(pod)) do
    local claim = inside.view(self.cluster, CLAIM, pod.metadata.namespace, name)
    if claim and is_disk(self, claim) then list[#list + 1] = claim end
  end
  return list
end

---Whether a node has no place for the disks of a pod that it does not have yet.
---@param self lab.Volumes
---@param pod table
---@param node_name string
---@return boolean
function M.is_full(self, pod, node_name)
  local there, count = {}, 0
  for _, record in ipairs(self.cluster.store:collection(ATTACHMENT):records()) do
    local spec = store.view(record).spec
    if spec.nodeName == node_name then
      there[spec.source.persistentVolumeName], count = true, count + 1
    end
  end
  local more = 0
  for _, claim in ipairs(disks_of(self, pod)) do
    if not there[claim.spec.volumeName or ""] then more = more + 1 end
  end
  return more > 0 and count + more > self.profile.attach_limit
end

-- A pod that is to end on a node that nobody hears of counts as gone after six minutes: its volumes are
-- detached by force.
local function given_up(self, record)
  local nodes = self.cluster.nodes
  if not nodes or not nodes.lost[record.fields["spec.nodeName"]] then return false end
  if not store.view(record).metadata.deletionTimestamp then return false end
  local since = self.unmounting[record.uid] or self.cluster:now_exact()
  self.unmounting[record.uid] = since
  return self.cluster:now_exact() - since >= FORCE_AFTER * self.scale
end

-- The attacher detaches at once.
local function detach(self, name)
  inside.delete(self.cluster, ATTACHMENT, nil, name)
  inside.change(self.cluster, ATTACHMENT, nil, name, nil, "csi-attacher", function(object)
    local kept = {}
    for _, one in ipairs(object.metadata.finalizers or {}) do
      if one ~= FINALIZER then kept[#kept + 1] = one end
    end
    if #kept == #(object.metadata.finalizers or {}) then return false end
    object.metadata.finalizers = #kept > 0 and kept or nil
  end)
end

-- Why the disk of a claim cannot come from the node that has it.
local function stays(self, pod, claim, there)
  local users, volume = {}, claim.spec.volumeName
  for _, record in ipairs(self:users_of(pod.metadata.namespace, claim.metadata.name, pod.metadata.uid)) do
    if record.fields["spec.nodeName"] == there.spec.nodeName and not given_up(self, record) then
      users[#users + 1] = record.name
    end
  end
  if #users > 0 then
    return ('Multi-Attach error for volume "%s" Volume is already used by pod(s) %s'):format(volume,
      table.concat(users, ", "))
  end
  detach(self, there.metadata.name)
  if not inside.view(self.cluster, ATTACHMENT, nil, there.metadata.name) then return nil end
  return ("Multi-Attach error for volume \"%s\" Volume is already exclusively attached to one node and can't be "
    .. "attached to another"):format(volume)
end

local function attach_one(self, pod, claim)
  local volume = claim.spec.volumeName
  local name = "csi-" .. volume
  local there = inside.view(self.cluster, ATTACHMENT, nil, name)
  local problem = there and there.spec.nodeName ~= pod.spec.nodeName and stays(self, pod, claim, there)
  if problem then return problem end
  there = inside.view(self.cluster, ATTACHMENT, nil, name)
  if there and there.metadata.deletionTimestamp then
    return ('AttachVolume.Attach failed for volume "%s" : volume attachment is being deleted'):format(volume)
  end
  if there then return nil end
  inside.create(self.cluster, ATTACHMENT, { metadata = { name = name, finalizers = { FINALIZER } }, spec = {
    attacher = self.profile.provisioner, nodeName = pod.spec.nodeName, source = { persistentVolumeName = volume } },
    status = { attached = true } }, MANAGER)
  return nil
end

---Attaches the disks of a pod to its node.
---@param self lab.Volumes
---@param pod table
---@return string? problem
function M.attach(self, pod)
  for _, claim in ipairs(disks_of(self, pod)) do
    local problem = claim.spec.volumeName and attach_one(self, pod, claim)
    if problem then return problem end
  end
  return nil
end

---Detaches the disks that no pod of their node uses.
---@param self lab.Volumes
function M.detach_idle(self)
  for _, record in ipairs(self.cluster.store:collection(ATTACHMENT):records()) do
    local spec = store.view(record).spec
    local volume = inside.view(self.cluster, VOLUME, nil, spec.source.persistentVolumeName)
    local ref = volume and volume.spec.claimRef
    local used = false
    for _, user in ipairs(ref and self:users_of(ref.namespace, ref.name) or {}) do
      used = used or user.fields["spec.nodeName"] == spec.nodeName
    end
    if not used then detach(self, record.name) end
  end
end

return M
