-- doctor.storage: claims that cannot be bound, and volumes that two nodes want.
-- A room of checks; see doctor.

local world = require "doctor.world"

local M = {}

local get, list = world.get, world.list

local function wants_many(claim)
  for _, mode in ipairs(list(get(claim, "spec", "accessModes"))) do
    if mode == "ReadWriteMany" then return true end
  end
  return false
end

-- Provisioners whose volumes are block devices: one node at a time.
local BLOCK = { ["csi.vsphere.vmware.com"] = true, ["kubernetes.io/vsphere-volume"] = true,
  ["ebs.csi.aws.com"] = true, ["pd.csi.storage.gke.io"] = true, ["disk.csi.azure.com"] = true,
  ["rancher.io/local-path"] = true }

local function class_of(w, claim)
  local name = get(claim, "spec", "storageClassName")
  for _, class in ipairs(w:of "StorageClass") do
    local default = get(class, "metadata", "annotations", "storageclass.kubernetes.io/is-default-class") == "true"
    if class.metadata.name == name or name == nil and default then return class end
  end
end

---ReadWriteMany claims that wait for a volume that their class cannot give.
function M.many_writers(w)
  for _, claim in ipairs(w:of "PersistentVolumeClaim") do
    local pending = get(claim, "status", "phase") == "Pending" and wants_many(claim)
    local class = pending and class_of(w, claim)
    local event = pending and w:event(claim, "ProvisioningFailed")
    local cannot = class and BLOCK[class.provisioner]
    if pending and (cannot or event) then
      w:add("rwx-pending", "error", claim, {
        what = ("ReadWriteMany, Pending: %s"):format(event and event.message
          or ("class %s (%s) gives volumes for one node"):format(class.metadata.name, class.provisioner)),
        why = "pods that use it stay Pending for ever",
        fix = "kfhost policy serve vsphere-rwo makes such claims ReadWriteOnce; this one must be made again",
      })
    end
  end
end

-- The nodes on which running pods use a claim.
local function users_of(w, claim)
  local users, nodes = {}, {}
  for _, pod in ipairs(w:of "Pod") do
    local phase = get(pod, "status", "phase")
    local alive = pod.metadata.namespace == claim.metadata.namespace and phase ~= "Succeeded" and phase ~= "Failed"
    for _, volume in ipairs(alive and list(get(pod, "spec", "volumes")) or {}) do
      if get(volume, "persistentVolumeClaim", "claimName") == claim.metadata.name and get(pod, "spec", "nodeName") then
        users[#users + 1] = pod
        nodes[pod.spec.nodeName] = true
      end
    end
  end
  local count = 0
  for _ in pairs(nodes) do count = count + 1 end
  return users, count
end

local function is_for_one(claim)
  local mode = get(claim, "spec", "accessModes", 1)
  return #list(get(claim, "spec", "accessModes")) == 1 and (mode == "ReadWriteOnce" or mode == "ReadWriteOncePod")
end

local MULTI_FIX <const> = "kfhost policy serve vsphere-rwo keeps the steps of a run on the node of their volume; now:"
  .. " kubectl delete pod the one that is done with it"

---One volume for one node is wanted on one node.
function M.multi_attach(w)
  for _, pod in ipairs(w:of "Pod") do
    local event = w:event(pod, "FailedAttachVolume", "Multi%-Attach")
    if event and get(pod, "status", "phase") ~= "Running" then
      w:add("multi-attach", "error", pod, {
        what = event.message, why = "the pod waits until the other node lets the volume go", fix = MULTI_FIX,
      })
    end
  end
  for _, claim in ipairs(w:of "PersistentVolumeClaim") do
    local users, nodes = users_of(w, claim)
    if is_for_one(claim) and nodes > 1 then
      w:add("multi-attach", "error", claim, {
        what = ("ReadWriteOnce, and pods on %d nodes use it (%s, %s)"):format(nodes, users[1].metadata.name,
          users[2].metadata.name),
        why = "only the pods of one node get the volume", fix = MULTI_FIX,
      })
    end
  end
end

return M
