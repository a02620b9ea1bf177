-- lab.controllers.volumes: volumes for claims, as directories of this machine, with the manners of a profile.
-- Not for mounting them (lab.node).
--   require "lab.controllers.volumes".start(cluster, { profile = "vsphere" })

local attachments = require "lab.controllers.attachments"
local base = require "lab.controllers.base"
local bootstrap = require "lab.bootstrap"
local clock = require "lab.clock"
local fs = require "fs"
local inside = require "lab.inside"
local json = require "json"
local match = require "lab.match"
local pod_claims = require "lab.pod_claims"
local profiles = require "lab.profiles"
local quantities = require "lab.quantities"
local store = require "lab.store"

local M = {}

local CLAIM, VOLUME, CLASS = "persistentvolumeclaims", "persistentvolumes", "storage.k8s.io/storageclasses"
local MANAGER = "kube-controller-manager"
local SELECTED = "volume.kubernetes.io/selected-node"

---@class lab.Volumes
local volumes = {}
volumes.__index = volumes

-- --- claims of a pod ------------------------------------------------------------------------------------

local function claims_of(self, pod)
  local list = {}
  for _, volume in ipairs(pod.spec.volumes or {}) do
    local name = pod_claims.name(pod, volume)
    if name then
      local claim = inside.view(self.cluster, CLAIM, pod.metadata.namespace, name)
      list[#list + 1] = { name = name, claim = claim, alone = volume.ephemeral ~= nil }
    end
  end
  return list
end

local function class_of(self, claim)
  local name = claim.spec.storageClassName
  return name and name ~= "" and inside.view(self.cluster, CLASS, nil, name) or nil
end

local function is_bound(claim) return claim.status and claim.status.phase == "Bound" end

local function is_late(self, claim)
  local class = class_of(self, claim)
  return class and class.volumeBindingMode == "WaitForFirstConsumer"
end

-- Why a claim will not do that is to be of one pod alone.
local function not_made_for(pod, one)
  if not one.claim then
    return ('waiting for ephemeral volume controller to create the persistentvolumeclaim "%s"'):format(one.name)
  end
  local owner = inside.controller_of(one.claim)
  if owner and owner.uid == pod.metadata.uid then return nil end
  return ('PVC "%s/%s" was not created for pod "%s/%s" (pod is not owner)'):format(pod.metadata.namespace, one.name,
    pod.metadata.namespace, pod.metadata.name)
end

---Why a pod cannot be scheduled yet because of its claims.
---@return string?
function volumes:missing(pod)
  for _, one in ipairs(claims_of(self, pod)) do
    local problem = one.alone and not_made_for(pod, one)
    if problem then return problem end
    if not one.claim then return ('persistentvolumeclaim "%s" not found'):format(one.name) end
    if one.claim.metadata.deletionTimestamp then
      return ('persistentvolumeclaim "%s" is being deleted'):format(one.name)
    end
    if not is_bound(one.claim) and not is_late(self, one.claim) then
      return "pod has unbound immediate PersistentVolumeClaims. not found"
    end
  end
end

---Pods on nodes that use a claim and have not ended.
---@param but string? uid of one that does not count
---@return lab.Record[]
function volumes:users_of(namespace, claim_name, but)
  local list = {}
  for _, record in ipairs(self.cluster.store:collection("pods"):records(namespace)) do
    local phase = record.fields["status.phase"]
    local runs = phase ~= "Succeeded" and phase ~= "Failed" and record.fields["spec.nodeName"] ~= ""
    if runs and record.uid ~= but and pod_claims.mounts(store.view(record), claim_name) then
      list[#list + 1] = record
    end
  end
  return list
end

---Why a node will not do for a pod's volumes.
---@return string?
function volumes:refuses(pod, node)
  for _, one in ipairs(claims_of(self, pod)) do
    local claim = one.claim
    for _, mode in ipairs(claim and claim.spec.accessModes or {}) do
      if mode == "ReadWriteOncePod" and #self:users_of(pod.metadata.namespace, one.name, pod.metadata.uid) > 0 then
        return "node(s) unavailable due to PersistentVolumeClaim with ReadWriteOncePod access mode already in-use by "
          .. "another pod"
      end
    end
    local volume = claim and claim.spec.volumeName and inside.view(self.cluster, VOLUME, nil, claim.spec.volumeName)
    local affinity = volume and volume.spec.nodeAffinity and volume.spec.nodeAffinity.required
    if affinity and not require("lab.scheduler").any_term(affinity, node) then
      return "node(s) had volume node affinity conflict"
    end
  end
  if self.profile.attaches and attachments.is_full(self, pod, node.metadata.name) then
    return "node(s) exceed max volume count"
  end
end

---Tells late claims which node was chosen. Whether all are bound.
function volumes:assume(pod, node)
  local ready = true
  for _, one in ipairs(claims_of(self, pod)) do
    if one.claim and not is_bound(one.claim) then
      ready = false
      if not (one.claim.metadata.annotations or {})[SELECTED] then
        inside.change(self.cluster, CLAIM, pod.metadata.namespace, one.name, nil, "kube-scheduler", function(object)
          object.metadata.annotations = object.metadata.annotations or {}
          object.metadata.annotations[SELECTED] = node.metadata.name
        end)
      end
    end
  end
  return ready
end

---The directory of a bound claim.
function volumes:directory(claim)
  local path = fs.join(self.root, claim.spec.volumeName)
  fs.mkdir(path, { parents = true })
  return path
end

---Attaches the volumes of a pod to its node.
---@return string? problem
function volumes:attach(pod)
  return self.profile.attaches and attachments.attach(self, pod) or nil
end

-- --- binding --------------------------------------------------------------------------------------------

local function bind(self, claim, volume_name)
  local m = claim.metadata
  inside.change(self.cluster, CLAIM, m.namespace, m.name, nil, MANAGER, function(object)
    object.spec.volumeName = volume_name
    object.metadata.annotations = object.metadata.annotations or {}
    object.metadata.annotations["pv.kubernetes.io/bind-completed"] = "yes"
    object.metadata.annotations["pv.kubernetes.io/bound-by-controller"] = "yes"
  end)
  local volume = inside.view(self.cluster, VOLUME, nil, volume_name)
  inside.change(self.cluster, CLAIM, m.namespace, m.name, "status", MANAGER, function(object)
    object.status = { phase = "Bound", accessModes = volume.spec.accessModes, capacity = volume.spec.capacity }
  end)
  inside.change(self.cluster, VOLUME, nil, volume_name, "status", MANAGER, function(object)
    object.status = { phase = "Bound", lastPhaseTransitionTime = self.cluster:time() }
  end)
end

local function reference(claim)
  return { kind = "PersistentVolumeClaim", apiVersion = "v1", namespace = claim.metadata.namespace,
           name = claim.metadata.name, uid = claim.metadata.uid }
end

local function provision(self, claim, class)
  local about = inside.with_kind(self.cluster, CLAIM, claim)
  local name = "pvc-" .. claim.metadata.uid
  local made, problem = inside.create(self.cluster, VOLUME, {
    metadata = { name = name, annotations = { ["pv.kubernetes.io/provisioned-by"] = class.provisioner } },
    spec = { capacity = { storage = claim.spec.resources.requests.storage }, accessModes = claim.spec.accessModes,
             claimRef = reference(claim), persistentVolumeReclaimPolicy = class.reclaimPolicy,
             storageClassName = class.metadata.name, volumeMode = claim.spec.volumeMode,
             csi = { driver = class.provisioner, volumeHandle = name } },
  }, MANAGER)
  if not made and problem.status ~= 409 then error(problem, 0) end
  bind(self, claim, name)
  base.event(self.cluster, about, "Normal", "ProvisioningSucceeded", "Successfully provisioned volume " .. name,
    class.provisioner)
end

-- A volume that somebody made and that fits: the smallest.
local function find_static(self, claim)
  local best
  local wanted = claim.spec.resources.requests.storage
  for _, record in ipairs(self.cluster.store:collection(VOLUME):records()) do
    local volume = store.view(record)
    local ref = volume.spec.claimRef
    local mine = ref and ref.namespace == claim.metadata.namespace and ref.name == claim.metadata.name
      and (ref.uid == nil or ref.uid == claim.metadata.uid)
    local modes = {}
    for _, mode in ipairs(volume.spec.accessModes or {}) do modes[mode] = true end
    local fits = (not ref or mine) and (volume.spec.storageClassName or "") == (claim.spec.storageClassName or "")
      and quantities.compare(volume.spec.capacity.storage, wanted) >= 0
    for _, mode in ipairs(claim.spec.accessModes) do fits = fits and modes[mode] end
    if claim.spec.selector then fits = fits and match.selects(claim.spec.selector, record.labels) end
    if claim.spec.volumeName then fits = claim.spec.volumeName == record.name and (not ref or mine) end
    if fits and (mine or not best or quantities.compare(volume.spec.capacity.storage, best.spec.capacity.storage) < 0)
    then
      best = volume
    end
  end
  return best
end

local function refused_mode(self, claim)
  local allowed = self.profile.modes[claim.spec.storageClassName or ""]
  if not allowed then return false end
  for _, mode in ipairs(claim.spec.accessModes) do
    local known = false
    for _, one in ipairs(allowed) do known = known or one == mode end
    if not known then return true end
  end
  return false
end

-- What the driver says, after its delay, again and again.
local function refuse(self, claim, key, controller)
  local about = inside.with_kind(self.cluster, CLAIM, claim)
  local delay = self.profile.refusal_delay * self.scale
  local age = self.cluster:now_exact() - clock.parse(claim.metadata.creationTimestamp)
  if age < delay then
    base.event(self.cluster, about, "Normal", "ExternalProvisioning", ("Waiting for a volume to be created either by "
      .. "the external provisioner '%s' or manually by the system administrator. If volume creation is delayed, please "
      .. "verify that the provisioner is running and correctly registered."):format(self.profile.provisioner),
      "persistentvolume-controller")
    return controller:later(key, delay - age)
  end
  base.event(self.cluster, about, "Warning", "ProvisioningFailed", self.profile.refusal(claim),
    self.profile.provisioner)
  controller:later(key, math.max(1, delay))
end

local function look_claim(self, key, controller)
  local namespace, name = key:match "^(.-)/(.*)$"
  local claim = inside.view(self.cluster, CLAIM, namespace, name)
  if not claim then return end
  if claim.metadata.deletionTimestamp then
    if #self:users_of(namespace, name) > 0 then return controller:later(key, 0.2) end
    inside.change(self.cluster, CLAIM, namespace, name, nil, MANAGER, function(object)
      local list = {}
      for _, one in ipairs(object.metadata.finalizers or {}) do
        if one ~= "kubernetes.io/pvc-protection" then list[#list + 1] = one end
      end
      object.metadata.finalizers = #list > 0 and list or nil
    end)
    return
  end
  if is_bound(claim) then return end
  local static = find_static(self, claim)
  if static then
    inside.change(self.cluster, VOLUME, nil, static.metadata.name, nil, MANAGER, function(object)
      object.spec.claimRef = reference(claim)
    end)
    return bind(self, claim, static.metadata.name)
  end
  local class = class_of(self, claim)
  local about = inside.with_kind(self.cluster, CLAIM, claim)
  if not class then
    local wanted = claim.spec.storageClassName or ""
    base.event(self.cluster, about, wanted == "" and "Normal" or "Warning",
      wanted == "" and "FailedBinding" or "ProvisioningFailed",
      wanted == "" and "no persistent volumes available for this claim and no storage class is set"
        or ('storageclass.storage.k8s.io "%s" not found'):format(wanted), "persistentvolume-controller")
    return
  end
  if class.volumeBindingMode == "WaitForFirstConsumer" and not (claim.metadata.annotations or {})[SELECTED] then
    base.event(self.cluster, about, "Normal", "WaitForFirstConsumer",
      "waiting for first consumer to be created before binding", "persistentvolume-controller")
    return
  end
  if refused_mode(self, claim) then return refuse(self, claim, key, controller) end
  provision(self, claim, class)
end

local function look_volume(self, name)
  local volume = inside.view(self.cluster, VOLUME, nil, name)
  if not volume then return end
  local ref = volume.spec.claimRef
  local claim = ref and inside.view(self.cluster, CLAIM, ref.namespace, ref.name)
  local alive = claim and claim.metadata.uid == ref.uid
  local phase = not ref and "Available" or alive and "Bound" or ref.uid and "Released" or "Available"
  local policy = volume.spec.persistentVolumeReclaimPolicy
  if volume.metadata.deletionTimestamp or phase == "Released" and policy == "Delete" then
    if alive then return end
    inside.change(self.cluster, VOLUME, nil, name, nil, MANAGER, function(object) object.metadata.finalizers = nil end)
    inside.delete(self.cluster, VOLUME, nil, name)
    pcall(fs.remove, fs.join(self.root, name), { recursive = true })
    return
  end
  if not volume.status or volume.status.phase ~= phase then
    inside.change(self.cluster, VOLUME, nil, name, "status", MANAGER, function(object)
      object.status = { phase = phase, lastPhaseTransitionTime = self.cluster:time() }
    end)
  end
end

-- A volume that is gone, or free again, may be what another claim waits for.
local function add_waiting(self, add)
  for _, record in ipairs(self.cluster.store:collection(CLAIM):records()) do
    if not is_bound(store.view(record)) then add(record.key) end
  end
end

local function on(self, collection, event, add)
  local record = event.record
  if collection == CLAIM then
    if event.removed then
      local name = store.view(record).spec.volumeName
      if name then add("volume " .. name) end
    else
      add(record.key)
    end
  elseif collection == VOLUME then
    if not event.removed then add("volume " .. record.name) end
    if not event.previous then add_waiting(self, add) end
  elseif collection == CLASS and not event.previous then
    add_waiting(self, add)
  elseif collection == "pods" and self.profile.attaches
    and #pod_claims.names(store.view(record)) > 0 then
    add "attachments"
  end
end

---@param cluster lab.Cluster
---@param options {profile: string?, time_scale: number?, state: string?, root: string?}
---@return lab.Controller
function M.start(cluster, options)
  local profile = profiles[options.profile or "plain"]
  local self = setmetatable({ cluster = cluster, profile = profile, scale = options.time_scale or 1,
    unmounting = {} }, volumes)
  self.root = options.state and fs.join(options.state, "volumes")
    or options.root and fs.join(options.root, "volumes") or fs.tmpdir "kfhost-lab-volumes"
  fs.mkdir(self.root, { parents = true, mode = 448 })
  for _, class in ipairs(profile.classes) do
    if not cluster.store:collection(CLASS):get(nil, class.metadata.name) then
      bootstrap.put(cluster, "storage.k8s.io", "v1", "storageclasses", json.decode(json.encode(class)))
    end
  end
  cluster.volumes = self
  local controller
  controller = base.new(cluster, {
    name = "volumes",
    on = function(collection, event, add) on(self, collection, event, add) end,
    look = function(key)
      if key == "attachments" then return attachments.detach_idle(self) end
      local name = key:match "^volume (.*)$"
      if name then look_volume(self, name) else look_claim(self, key, controller) end
    end,
  })
  if not options.state and not options.root then
    local stop = controller.stop
    controller.stop = function(one)
      stop(one)
      pcall(fs.remove, self.root, { recursive = true })
    end
  end
  return controller
end

return M
