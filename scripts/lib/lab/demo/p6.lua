-- P6: claims ask for ReadWriteMany, which vSphere's block volumes cannot give. Repaired by vsphere-rwo.
local stage = require "lab.demo.stage"

local BLOCK <const> = "vsan-default-storage-policy"
local PLACE <const> = "team-a"

local function claim()
  return { apiVersion = "v1", kind = "PersistentVolumeClaim", metadata = { name = "data", namespace = PLACE }, spec = {
    accessModes = { "ReadWriteMany" }, storageClassName = BLOCK, resources = { requests = { storage = "1Gi" } } } }
end

local function step(name)
  return stage.job(PLACE, name, { image = "busybox", command = { "sh", "-c", ('cd "${KFHOST_ROOT:-}/data" && '
    .. "echo %s >>steps && echo the disk has: $(cat steps)"):format(name) },
    volumeMounts = { { name = "data", mountPath = "/data" } } },
    { volumes = { { name = "data", persistentVolumeClaim = { claimName = "data" } } } })
end

local function before(on)
  on.client:create { apiVersion = "v1", kind = "Namespace", metadata = { name = PLACE, labels = {
    ["app.kubernetes.io/part-of"] = "kubeflow-profile", ["storage.kfhost.io/co-schedule"] = "true" } } }
end

local function act(on, repaired)
  on:creates(claim(), step "prepare", step "train")
  if not repaired then
    on:hears("PersistentVolumeClaim data: %s", on:event(PLACE, "data", "ProvisioningFailed") or "no event came")
    on:hears("Pod prepare: %s", on:event(PLACE, "prepare", "FailedScheduling") or "no event came")
    return on:ended(PLACE, "train", 1) == "Complete"
  end
  local data = on.client:get("pvc", "data", { namespace = PLACE })
  on:hears("PersistentVolumeClaim data: %s (asked for: %s)", data.spec.accessModes[1],
    data.metadata.annotations["storage.kfhost.io/original-access-modes"])
  local both = on:ended(PLACE, "prepare") == "Complete" and on:ended(PLACE, "train") == "Complete"
  for _, pod in ipairs(on.client:list("pods", { namespace = PLACE })) do
    on:hears("Pod %s ran on node %s", pod.metadata.labels["job-name"], pod.spec.nodeName or "none")
  end
  on:hears("%s", on:printed(PLACE, "train"))
  return both
end

return {
  number = "P6", title = "claims ask for ReadWriteMany, which vSphere's block volumes cannot give",
  policies = { "vsphere-rwo" }, settings = "vsphere-rwo: {look_again: 200ms}\n",
  lab = { profile = "vsphere", nodes = 2, time_scale = 0.01 },
  picture = { { name = "steps", note = "prepare, train" }, { name = "claim", note = "ReadWriteMany" },
    { name = "block disk", note = "one node at a time", state = "failed" } },
  why = "A block volume attaches to one node. The driver refuses a claim for many, and the steps wait for a disk that "
    .. "never comes. The policy makes it ReadWriteOnce and puts all pods that use it on one node.",
  before = before, act = act,
}
