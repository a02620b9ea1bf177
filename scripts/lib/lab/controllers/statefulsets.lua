-- lab.controllers.statefulsets: pods with numbers, in order, each with its own claims.
-- Not for the templates that it has had (lab.controllers.revisions).
--   require "lab.controllers.statefulsets".start(cluster)

local base = require "lab.controllers.base"
local inside = require "lab.inside"
local json = require "json"
local pods = require "lab.controllers.pods"
local revisions = require "lab.controllers.revisions"

local M = {}

local SET, CLAIM, MANAGER = "apps/statefulsets", "persistentvolumeclaims", "statefulset-controller"
local REVISION, INDEX, NAME = revisions.LABEL, "apps.kubernetes.io/pod-index",
  "statefulset.kubernetes.io/pod-name"

local function first_of(set) return (set.spec.ordinals or {}).start or 0 end

local function pod_name(set, i) return ("%s-%d"):format(set.metadata.name, i) end

-- --- making -------------------------------------------------------------------------------------------

local function claim_name(template, set, i) return ("%s-%s"):format(template.metadata.name, pod_name(set, i)) end

-- Whether a claim goes with its set, or when the set gets smaller.
local function goes(set, field)
  return (set.spec.persistentVolumeClaimRetentionPolicy or {})[field] == "Delete"
end

-- The owners of a claim when it goes with `owner` (its set, its pod, or nobody); nil when it has them. Others stay.
local function owners_of_claim(set, i, claim, owner)
  local list, changes, found = json.array {}, false, owner == nil
  for _, one in ipairs(claim.metadata.ownerReferences or {}) do
    local ours = one.kind == "StatefulSet" and one.name == set.metadata.name
      or one.kind == "Pod" and one.name == pod_name(set, i)
    if owner and one.uid == owner.uid then found = true end
    if ours and not (owner and one.uid == owner.uid) then changes = true else list[#list + 1] = one end
  end
  if not found then list[#list + 1] = owner end
  return (changes or not found) and list or nil
end

local function own_claims(cluster, set, i, owner)
  for _, template in ipairs(set.spec.volumeClaimTemplates or {}) do
    local namespace, name = set.metadata.namespace, claim_name(template, set, i)
    local claim = inside.view(cluster, CLAIM, namespace, name)
    if claim and owners_of_claim(set, i, claim, owner) then
      inside.change(cluster, CLAIM, namespace, name, nil, "kube-controller-manager", function(object)
        local list = owners_of_claim(set, i, object, owner)
        if not list then return false end
        object.metadata.ownerReferences = #list > 0 and list or nil
      end)
    end
  end
end

local function owner_of_claims(cluster, set)
  return goes(set, "whenDeleted") and inside.owner(cluster, SET, set) or nil
end

local function ensure_claims(cluster, set, i)
  local namespace = set.metadata.namespace
  for _, template in ipairs(set.spec.volumeClaimTemplates or {}) do
    local name = claim_name(template, set, i)
    if not inside.view(cluster, CLAIM, namespace, name) then
      local labels = {}
      for key, value in pairs((set.spec.selector or {}).matchLabels or {}) do labels[key] = value end
      for key, value in pairs(template.metadata.labels or {}) do labels[key] = value end
      local made, problem = inside.create(cluster, CLAIM, { metadata = { name = name,
        namespace = namespace, labels = labels, annotations = template.metadata.annotations,
        ownerReferences = goes(set, "whenDeleted") and json.array { inside.owner(cluster, SET, set) } or nil },
        spec = json.decode(json.encode(template.spec)) }, "kube-controller-manager")
      if not made then return problem end
    end
  end
end

local function add_claims(set, pod, i)
  local volumes = json.array {}
  for _, template in ipairs(set.spec.volumeClaimTemplates or {}) do
    volumes[#volumes + 1] = { name = template.metadata.name,
      persistentVolumeClaim = { claimName = claim_name(template, set, i) } }
  end
  for _, volume in ipairs(pod.spec.volumes or {}) do
    local replaced = false
    for _, own in ipairs(volumes) do replaced = replaced or own.name == volume.name end
    if not replaced then volumes[#volumes + 1] = volume end
  end
  pod.spec.volumes = #volumes > 0 and volumes or nil
end

local function make(cluster, set, i, revision)
  local mark = revision.metadata.name
  local name = pod_name(set, i)
  local problem = ensure_claims(cluster, set, i)
  if problem then return problem end
  local made
  made, problem = pods.create(cluster, set.metadata.namespace, revisions.template(revision),
    inside.owner(cluster, SET, set), nil, function(pod)
      local m = pod.metadata
      m.name, m.generateName = name, nil
      m.labels = m.labels or {}
      m.labels[NAME], m.labels[INDEX], m.labels[REVISION] = name, tostring(i), mark
      pod.spec.hostname, pod.spec.subdomain = name, (set.spec.serviceName or "") ~= "" and set.spec.serviceName or nil
      add_claims(set, pod, i)
    end)
  local about = inside.with_kind(cluster, SET, set)
  if made then
    base.event(cluster, about, "Normal", "SuccessfulCreate", ("create Pod %s in StatefulSet %s successful"):format(name,
      set.metadata.name), MANAGER)
  else
    base.event(cluster, about, "Warning", "FailedCreate", ("create Pod %s in StatefulSet %s failed error: %s"):format(
      name, set.metadata.name, problem.body.message), MANAGER)
  end
  return problem
end

local function delete(cluster, set, pod)
  inside.delete(cluster, "pods", pod.metadata.namespace, pod.metadata.name, { uid = pod.metadata.uid })
  base.event(cluster, inside.with_kind(cluster, SET, set), "Normal", "SuccessfulDelete",
    ("delete Pod %s in StatefulSet %s successful"):format(pod.metadata.name, set.metadata.name), MANAGER)
end

-- --- one look -----------------------------------------------------------------------------------------

-- The pods by number, and those whose number is beyond what is wanted, the last first.
local function sort(cluster, set)
  local by_number, beyond = {}, {}
  local first, count = first_of(set), set.spec.replicas or 1
  for _, pod in ipairs(pods.owned(cluster, "pods", set.metadata.namespace, set.metadata.uid)) do
    local i = math.tointeger(tonumber(pod.metadata.name:match "%-(%d+)$"))
    if i and i >= first and i < first + count then
      by_number[i] = pod
    elseif i then
      beyond[#beyond + 1] = pod
    end
  end
  table.sort(beyond, function(a, b)
    return tonumber(a.metadata.name:match "%d+$") > tonumber(b.metadata.name:match "%d+$")
  end)
  return by_number, beyond
end

-- Below the partition a pod that is made anew has the template that it had.
local function revision_for(set, i, update, current)
  local strategy = set.spec.updateStrategy or {}
  local partition = strategy.type == "RollingUpdate" and (strategy.rollingUpdate or {}).partition or 0
  return i < first_of(set) + partition and current or update
end

local function is_in_order(set) return set.spec.podManagementPolicy ~= "Parallel" end

-- One after the other: the first that is missing or not ready stops the rest.
local function scale_up(cluster, set, by_number, update, current, is_up)
  local in_order = is_in_order(set)
  local first = first_of(set)
  for i = first, first + (set.spec.replicas or 1) - 1 do
    local pod = by_number[i]
    if pod and pods.is_finished(pod) and not pod.metadata.deletionTimestamp then
      base.event(cluster, inside.with_kind(cluster, SET, set), "Warning", "RecreatingFailedPod",
        ("StatefulSet %s/%s is recreating failed Pod %s"):format(set.metadata.namespace, set.metadata.name,
          pod.metadata.name), MANAGER)
      delete(cluster, set, pod)
      return false
    elseif not pod then
      local problem = make(cluster, set, i, revision_for(set, i, update, current))
      if problem then return false, problem end
      if in_order then return false end
    elseif in_order and not is_up(pod) then
      return false
    end
  end
  return true
end

local function scale_down(cluster, set, beyond, in_order)
  for _, pod in ipairs(beyond) do
    if not pod.metadata.deletionTimestamp then
      if goes(set, "whenScaled") then
        own_claims(cluster, set, tonumber(pod.metadata.name:match "%d+$"), inside.owner(cluster, "pods", pod))
      end
      delete(cluster, set, pod)
    end
    if in_order then return false end
  end
  return #beyond == 0
end

-- From the last number to the partition: an older pod goes, and its successor is waited for.
local function update(cluster, set, by_number, revision, is_up)
  local strategy = set.spec.updateStrategy or {}
  if strategy.type == "OnDelete" then return end
  local first = first_of(set)
  local partition = (strategy.rollingUpdate or {}).partition or 0
  for i = first + (set.spec.replicas or 1) - 1, math.max(first, partition), -1 do
    local pod = by_number[i]
    if not pod then return end
    if (pod.metadata.labels or {})[REVISION] ~= revision then
      if not pod.metadata.deletionTimestamp then delete(cluster, set, pod) end
      return
    end
    if not is_up(pod) then return end
  end
end

local function report(cluster, set, revision, scale)
  local list = pods.owned(cluster, "pods", set.metadata.namespace, set.metadata.uid)
  local count, ready, available, updated, wait = 0, 0, 0, 0, nil
  for _, pod in ipairs(list) do
    if not pods.is_finished(pod) then
      count = count + 1
      if pods.is_ready(pod) and not pod.metadata.deletionTimestamp then
        local long_enough, left = pods.is_available(pod, (set.spec.minReadySeconds or 0) * scale, cluster:now())
        ready = ready + 1
        if long_enough then available = available + 1 end
        if left then wait = math.min(wait or left, left) end
      end
      if (pod.metadata.labels or {})[REVISION] == revision then updated = updated + 1 end
    end
  end
  inside.change(cluster, SET, set.metadata.namespace, set.metadata.name, "status", "kube-controller-manager",
    function(object)
      local before = object.status or {}
      local all_new = updated == count and count == (set.spec.replicas or 1)
      object.status = { replicas = count, readyReplicas = ready > 0 and ready or nil, availableReplicas = available,
        currentReplicas = all_new and count or count - updated > 0 and count - updated or nil,
        updatedReplicas = updated > 0 and updated or nil, observedGeneration = set.metadata.generation,
        updateRevision = revision, collisionCount = 0,
        currentRevision = (all_new or not before.currentRevision) and revision or before.currentRevision }
    end)
  return wait
end

-- The revisions of the template and of the pods that have not changed yet; what nobody uses is forgotten.
local function sync_revisions(cluster, set)
  local latest, list = revisions.sync(cluster, SET, set)
  local name = (set.status or {}).currentRevision
  local current, used = latest, { [latest.metadata.name] = true }
  for _, revision in ipairs(list) do
    if revision.metadata.name == name then current = revision end
  end
  used[current.metadata.name] = true
  for _, pod in ipairs(pods.owned(cluster, "pods", set.metadata.namespace, set.metadata.uid)) do
    used[(pod.metadata.labels or {})[REVISION] or ""] = true
  end
  revisions.forget(cluster, set, list, used)
  return latest, current
end

local function look(cluster, key, self, scale)
  local namespace, name = key:match "^(.-)/(.*)$"
  local set = inside.view(cluster, SET, namespace, name)
  if not set or set.metadata.deletionTimestamp then return end
  pods.claim(cluster, "pods", SET, set)
  local latest, current = sync_revisions(cluster, set)
  local revision, in_order = latest.metadata.name, is_in_order(set)
  local function is_up(pod)
    return not pod.metadata.deletionTimestamp
      and pods.is_available(pod, (set.spec.minReadySeconds or 0) * scale, cluster:now())
  end
  local by_number, beyond = sort(cluster, set)
  for i in pairs(by_number) do own_claims(cluster, set, i, owner_of_claims(cluster, set)) end
  local whole, problem = scale_up(cluster, set, by_number, latest, current, is_up)
  if (whole or not in_order) and scale_down(cluster, set, beyond, in_order) and whole then
    update(cluster, set, by_number, revision, is_up)
  end
  local wait = report(cluster, set, revision, scale)
  if wait then self:later(key, math.max(wait, 0.01)) end
  if problem then error(problem, 0) end
end

---@param cluster lab.Cluster
---@param options {time_scale: number?}
---@return lab.Controller
function M.start(cluster, options)
  local scale = options.time_scale or 1
  return base.new(cluster, {
    name = "statefulsets", pause = 0.01,
    on = pods.follow(cluster, "StatefulSet", SET, "pods"),
    look = function(key, self) look(cluster, key, self, scale) end,
  })
end

return M
