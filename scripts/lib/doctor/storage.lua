-- doctor.storage: claims that cannot be bound, and volumes that two nodes want.
-- A room of checks; see doctor.

local time = require "kube.time"
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

local function is_default(class)
  return get(class, "metadata", "annotations", "storageclass.kubernetes.io/is-default-class") == "true"
end

local function class_of(w, claim)
  local name = get(claim, "spec", "storageClassName")
  for _, class in ipairs(w:of "StorageClass") do
    if class.metadata.name == name or name == nil and is_default(class) then return class end
  end
end

local function is_pending(claim)
  return get(claim, "status", "phase") == "Pending" and not get(claim, "metadata", "deletionTimestamp")
    and not get(claim, "spec", "volumeName")
end

-- --- who uses a claim --------------------------------------------------------------------------------------

local function users_of(w, claim)
  return w:users_of_claim(claim.metadata.namespace, claim.metadata.name)
end

-- --- many writers ------------------------------------------------------------------------------------------

-- What drivers say of a mode that they cannot give.
local REFUSALS = { "access mode", "accessmode", "readwritemany", "multi_node", "multi%-node", "multinode", "rwx",
  "file volume", "file service" }

local function is_refusal(message)
  message = message:lower()
  for _, words in ipairs(REFUSALS) do
    if message:find(words) then return true end
  end
  return false
end

-- Block devices as such, and shares of a driver that has both, may be for several nodes.
local function gives_one_node(class, claim)
  local parameters = list(class.parameters)
  local kind = parameters["csi.storage.k8s.io/fstype"] or parameters.fstype or ""
  return BLOCK[class.provisioner] and not kind:find "^nfs" and get(claim, "spec", "volumeMode") ~= "Block"
end

local RWX_FIX <const> = "`kfhost policy serve vsphere-rwo` makes such claims ReadWriteOnce, or gives them a class that"
  .. " can; this one must be made again: `kubectl delete pvc -n %s %s`, then create it"

---ReadWriteMany claims that wait for a volume that their class cannot give.
---@param w doctor.World
function M.many_writers(w)
  for _, claim in ipairs(w:of "PersistentVolumeClaim") do
    local class = is_pending(claim) and wants_many(claim) and class_of(w, claim)
    local event = class and w:event(claim, "ProvisioningFailed")
    local refused = event and is_refusal(event.message or "")
    local late = class and class.volumeBindingMode == "WaitForFirstConsumer" and #users_of(w, claim) == 0
    if refused or class and not late and gives_one_node(class, claim) then
      w:add("rwx-pending", "error", claim, {
        what = ("ReadWriteMany, Pending: %s"):format(refused and event.message
          or ("class %s (%s) gives volumes for one node"):format(class.metadata.name, class.provisioner)),
        why = "pods that use it stay Pending for ever",
        fix = RWX_FIX:format(claim.metadata.namespace, claim.metadata.name),
      })
    end
  end
end

-- --- classes -----------------------------------------------------------------------------------------------

local function class_names(w)
  local names = {}
  for index, class in ipairs(w:of "StorageClass") do names[index] = class.metadata.name end
  table.sort(names)
  return #names > 0 and table.concat(names, ", ") or "none"
end

local function default_command(w)
  local first = w:of "StorageClass" [1]
  if not first then return "install a driver of volumes with a StorageClass" end
  return ("`kubectl annotate --overwrite storageclass %s storageclass.kubernetes.io/is-default-class=true`"):format(
    first.metadata.name)
end

---Claims that wait name a class that is there, or there is a default.
---@param w doctor.World
function M.classes(w)
  for _, claim in ipairs(w:knows "StorageClass" and w:of "PersistentVolumeClaim" or {}) do
    local name = get(claim, "spec", "storageClassName")
    if is_pending(claim) and name ~= "" and not class_of(w, claim) then
      w:add("storage-class", "error", claim, {
        what = name and ("it is Pending, and there is no StorageClass %s (there are: %s)"):format(name, class_names(w))
          or ("it is Pending, names no StorageClass, and none is the default (there are: %s)"):format(class_names(w)),
        why = "no volume is made for it, and pods that use it stay Pending",
        fix = name and "make that class, or make the claim again with one that is there"
          or default_command(w),
      })
    end
  end
end

-- --- one node ----------------------------------------------------------------------------------------------

local function is_for_one(claim)
  local mode = get(claim, "spec", "accessModes", 1)
  return #list(get(claim, "spec", "accessModes")) == 1 and (mode == "ReadWriteOnce" or mode == "ReadWriteOncePod")
end

local MULTI_FIX <const> = "`kfhost policy serve vsphere-rwo` keeps the steps of a run on the node of their volume; now"
  .. " delete the pod that is done with it, or this one: `kubectl delete pod -n %s %s`"

local REPEATED <const> = 900 -- seconds; the attacher says it again every few minutes

-- A pod that waits for a volume which another node has; it says so in an event.
local function told_by_event(w, pod)
  local event = get(pod, "status", "phase") == "Pending" and w:event(pod, "FailedAttachVolume", "Multi%-Attach")
  local at = event and time.parse(world.moment_of(event))
  if not event or at and w.now - at > REPEATED then return false end
  w:add("multi-attach", "error", pod, {
    what = event.message, why = "the pod waits until the other node lets the volume go",
    fix = MULTI_FIX:format(pod.metadata.namespace, pod.metadata.name),
  })
  return true
end

-- Two of the users, on different nodes, of which one still waits.
local function apart(users)
  for _, waiting in ipairs(users) do
    local waits = get(waiting, "status", "phase") == "Pending" and get(waiting, "spec", "nodeName")
    for _, other in ipairs(waits and users or {}) do
      if other.spec.nodeName ~= waits and get(other, "status", "phase") == "Running" then
        return waiting, other
      end
    end
  end
end

---One volume for one node is wanted on one node.
---@param w doctor.World
function M.multi_attach(w)
  local told = {}
  for _, pod in ipairs(w:of "Pod") do told[pod] = told_by_event(w, pod) end
  for _, claim in ipairs(w:of "PersistentVolumeClaim") do
    local class = class_of(w, claim)
    local waiting, other = apart(users_of(w, claim))
    if waiting and not told[waiting] and is_for_one(claim) and class and BLOCK[class.provisioner] then
      w:add("multi-attach", "error", claim, {
        what = ("ReadWriteOnce; pod %s on node %s waits, pod %s has it on %s"):format(waiting.metadata.name,
          waiting.spec.nodeName, other.metadata.name, other.spec.nodeName),
        why = "only the pods of one node get the volume",
        fix = MULTI_FIX:format(waiting.metadata.namespace, waiting.metadata.name),
      })
    end
  end
end

return M
