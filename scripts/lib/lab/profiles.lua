-- lab.profiles: how a lab's storage behaves: which classes there are, and what their volumes can do.
-- Not for doing it (lab.controllers.volumes).
--   profiles.vsphere.classes

local json = require "json"

local DEFAULT = { ["storageclass.kubernetes.io/is-default-class"] = "true" }

local M = {}

---@class lab.Profile
---@field classes table[] StorageClass objects
---@field modes table<string, string[]> access modes by class; a class that is not named has all
---@field refusal fun(claim: table): string what the driver says of a mode that it cannot give
---@field refusal_delay number seconds until it says so
---@field attaches boolean whether a volume belongs to one node at a time
---@field attach_limit integer volumes of a node

M.plain = {
  classes = {
    { metadata = { name = "standard", annotations = DEFAULT }, provisioner = "lab.kfhost/directory",
      reclaimPolicy = "Delete", volumeBindingMode = "Immediate" },
    { metadata = { name = "standard-late" }, provisioner = "lab.kfhost/directory", reclaimPolicy = "Delete",
      volumeBindingMode = "WaitForFirstConsumer" },
  },
  modes = {}, provisioner = "lab.kfhost/directory", refusal_delay = 0, attaches = false, attach_limit = math.huge,
}

local BLOCK = { "ReadWriteOnce", "ReadWriteOncePod" }
local CSI = "csi.vsphere.vmware.com"

local function class(name, policy, binding, default)
  return { metadata = { name = name, annotations = default and DEFAULT or nil }, provisioner = CSI,
           parameters = { svstorageclass = policy }, reclaimPolicy = "Delete", allowVolumeExpansion = true,
           volumeBindingMode = binding }
end

M.vsphere = {
  classes = {
    class("vsan-default-storage-policy", "vsan-default-storage-policy", "Immediate", true),
    class("vsan-default-storage-policy-latebinding", "vsan-default-storage-policy", "WaitForFirstConsumer"),
    { metadata = { name = "nfs" }, provisioner = "nfs.csi.k8s.io", reclaimPolicy = "Delete",
      parameters = { server = "nfs.lab", share = "/export" }, volumeBindingMode = "Immediate" },
  },
  modes = { ["vsan-default-storage-policy"] = BLOCK, ["vsan-default-storage-policy-latebinding"] = BLOCK },
  provisioner = CSI, refusal_delay = 240, attaches = true, attach_limit = 59,
  refusal = function(claim)
    return ('failed to provision volume with StorageClass "%s": rpc error: code = DeadlineExceeded desc = failed to '
      .. "create volume on namespace: lab in supervisor cluster. Error: persistentVolumeClaim %s in namespace lab not "
      .. "in phase Bound within 240 seconds. reason: File volume provisioning is not supported."):format(
      claim.spec.storageClassName, "pvc-" .. claim.metadata.uid)
  end,
}

M.BLOCK, M.json = BLOCK, json

return M
