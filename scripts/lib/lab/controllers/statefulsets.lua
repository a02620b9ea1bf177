-- lab.controllers.statefulsets: pods with numbers, in order, each with its own claims.
-- Not for partitioned or parallel updates beyond `partition` and podManagementPolicy.
--   require "lab.controllers.statefulsets".start(cluster)

local base = require "lab.controllers.base"
local hash = require "hash"
local inside = require "lab.inside"
local json = require "json"
local pods = require "lab.controllers.pods"

local M = {}

local SET, MANAGER = "apps/statefulsets", "statefulset-controller"
local REVISION, INDEX, NAME = "controller-revision-hash", "apps.kubernetes.io/pod-index",
  "statefulset.kubernetes.io/pod-name"

local function revision_of(set)
  return ("%s-%s"):format(set.metadata.name, hash.sha256(json.encode(set.spec.template, { sort = true })):sub(1, 10))
end

local function first_of(set) return (set.spec.ordinals or {}).start or 0 end

local function pod_name(set, i) return ("%s-%d"):format(set.metadata.name, i) end

-- --- making -------------------------------------------------------------------------------------------

local function claim_name(template, set, i) return ("%s-%s"):format(template.metadata.name, pod_name(set, i)) end

local function ensure_claims(cluster, set, i)
  local namespace = set.metadata.namespace
  for _, template in ipairs(set.spec.volumeClaimTemplates or {}) do
    local name = claim_name(template, set, i)
    if not inside.view(cluster, "persistentvolumeclaims", namespace, name) then
      local labels = {}
      for key, value in pairs((set.spec.selector or {}).matchLabels or {}) do labels[key] = value end
      for key, value in pairs(template.metadata.labels or {}) do labels[key] = value end
      local made, problem = inside.create(cluster, "persistentvolumeclaims", { metadata = { name = name,
        namespace = namespace, labels = labels, annotations = template.metadata.annotations },
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
  local name = pod_name(set, i)
  local problem = ensure_claims(cluster, set, i)
  if problem then return problem end
  local made
  made, problem = pods.create(cluster, set.metadata.namespace, set.spec.template,
    inside.owner(cluster, SET, set), nil, function(pod)
      local m = pod.metadata
      m.name, m.generateName = name, nil
      m.labels = m.labels or {}
      m.labels[NAME], m.labels[INDEX], m.labels[REVISION] = name, tostring(i), revision
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

-- One after the other: the first that is missing or not ready stops the rest.
local function scale_up(cluster, set, by_number, revision, in_order)
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
      local problem = make(cluster, set, i, revision)
      if problem then return false, problem end
      if in_order then return false end
    elseif in_order and (pod.metadata.deletionTimestamp or not pods.is_ready(pod)) then
      return false
    end
  end
  return true
end

local function scale_down(cluster, set, beyond, in_order)
  for _, pod in ipairs(beyond) do
    if not pod.metadata.deletionTimestamp then delete(cluster, set, pod) end
    if in_order then return false end
  end
  return #beyond == 0
end

-- From the last number to the partition: an older pod goes, and its successor is waited for.
local function update(cluster, set, by_number, revision)
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
    if not pods.is_ready(pod) or pod.metadata.deletionTimestamp then return end
  end
end

local function report(cluster, set, revision)
  local list = pods.owned(cluster, "pods", set.metadata.namespace, set.metadata.uid)
  local count, ready, updated = 0, 0, 0
  for _, pod in ipairs(list) do
    if not pods.is_finished(pod) then
      count = count + 1
      if pods.is_ready(pod) and not pod.metadata.deletionTimestamp then ready = ready + 1 end
      if (pod.metadata.labels or {})[REVISION] == revision then updated = updated + 1 end
    end
  end
  inside.change(cluster, SET, set.metadata.namespace, set.metadata.name, "status", "kube-controller-manager",
    function(object)
      local before = object.status or {}
      local all_new = updated == count and count == (set.spec.replicas or 1)
      object.status = { replicas = count, readyReplicas = ready > 0 and ready or nil, availableReplicas = ready,
        currentReplicas = all_new and count or count - updated > 0 and count - updated or nil,
        updatedReplicas = updated > 0 and updated or nil, observedGeneration = set.metadata.generation,
        updateRevision = revision, collisionCount = 0,
        currentRevision = (all_new or not before.currentRevision) and revision or before.currentRevision }
    end)
end

local function look(cluster, key)
  local namespace, name = key:match "^(.-)/(.*)$"
  local set = inside.view(cluster, SET, namespace, name)
  if not set or set.metadata.deletionTimestamp then return end
  local revision, in_order = revision_of(set), set.spec.podManagementPolicy ~= "Parallel"
  local by_number, beyond = sort(cluster, set)
  local whole, problem = scale_up(cluster, set, by_number, revision, in_order)
  if (whole or not in_order) and scale_down(cluster, set, beyond, in_order) and whole then
    update(cluster, set, by_number, revision)
  end
  report(cluster, set, revision)
  if problem then error(problem, 0) end
end

---@param cluster lab.Cluster
---@return lab.Controller
function M.start(cluster)
  return base.new(cluster, {
    name = "statefulsets", pause = 0.01,
    on = pods.follow(cluster, "StatefulSet", SET, "pods"),
    look = function(key) look(cluster, key) end,
  })
end

return M
