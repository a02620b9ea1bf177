-- lab.controllers.deployments: a replica set for each template, and pods passed from the old ones to the new.
-- Not for pods themselves (lab.controllers.replicasets).
--   require "lab.controllers.deployments".start(cluster)

local base = require "lab.controllers.base"
local hash = require "hash"
local inside = require "lab.inside"
local json = require "json"
local pods = require "lab.controllers.pods"
local subresources = require "lab.subresources"
local writes = require "lab.writes"

local M = {}

local DEPLOYMENT, SET = "apps/deployments", "apps/replicasets"
local HASH = "pod-template-hash"
local REVISION = "deployment.kubernetes.io/revision"
local MANAGER = "kube-controller-manager"

-- --- replica sets -----------------------------------------------------------------------------------

-- A template without the label that tells replica sets apart.
local function bare(template)
  local copy = json.decode(json.encode(template))
  if copy.metadata and copy.metadata.labels then copy.metadata.labels[HASH] = nil end
  return copy
end

local function find_new(deployment, sets)
  local wanted = bare(deployment.spec.template)
  for _, set in ipairs(sets) do
    if writes.same(bare(set.spec.template), wanted) then return set end
  end
end

local function hash_of(deployment)
  local text = json.encode(bare(deployment.spec.template), { sort = true })
    .. (deployment.status and deployment.status.collisionCount or "")
  local letters = "bcdfghjklmnpqrstvwxz2456789"
  return (hash.sha256(text):sub(1, 20):gsub("%x%x", function(pair)
    local at = tonumber(pair, 16) % #letters + 1
    return letters:sub(at, at)
  end))
end

local function revision_of(set) return tonumber((set.metadata.annotations or {})[REVISION] or 0) or 0 end

local function next_revision(sets)
  local last = 0
  for _, set in ipairs(sets) do last = math.max(last, revision_of(set)) end
  return last + 1
end

local function bound(value, total, up)
  if type(value) == "string" then
    local share = (tonumber(value:match "^(%d+)%%$") or 0) * total / 100
    return math.tointeger(up and math.ceil(share) or math.floor(share))
  end
  return value or 0
end

-- How many pods more than asked for there may be, and how many fewer.
local function bounds(deployment)
  local spec = deployment.spec
  if spec.strategy.type ~= "RollingUpdate" then return 0, spec.replicas end
  local rolling = spec.strategy.rollingUpdate or {}
  local surge = bound(rolling.maxSurge, spec.replicas, true)
  local unavailable = bound(rolling.maxUnavailable, spec.replicas, false)
  if surge == 0 and unavailable == 0 then unavailable = 1 end
  return surge, unavailable
end

local function annotations_of(deployment, revision)
  local surge = bounds(deployment)
  local list = {}
  for name, value in pairs(deployment.metadata.annotations or {}) do
    if name ~= "kubectl.kubernetes.io/last-applied-configuration" then list[name] = value end
  end
  list[REVISION] = tostring(revision)
  list["deployment.kubernetes.io/desired-replicas"] = tostring(deployment.spec.replicas)
  list["deployment.kubernetes.io/max-replicas"] = tostring(deployment.spec.replicas + surge)
  return list
end

local function make_set(cluster, deployment, sets, replicas)
  local m = deployment.metadata
  local mark = hash_of(deployment)
  local template = json.decode(json.encode(deployment.spec.template))
  template.metadata = template.metadata or {}
  template.metadata.labels = template.metadata.labels or {}
  template.metadata.labels[HASH] = mark
  local selector = json.decode(json.encode(deployment.spec.selector))
  selector.matchLabels = selector.matchLabels or {}
  selector.matchLabels[HASH] = mark
  local set, problem = inside.create(cluster, SET, {
    metadata = { name = m.name .. "-" .. mark, namespace = m.namespace,
                 labels = json.decode(json.encode(template.metadata.labels)),
                 annotations = annotations_of(deployment, next_revision(sets)),
                 ownerReferences = json.array { inside.owner(cluster, DEPLOYMENT, deployment) } },
    spec = { replicas = replicas, selector = selector, template = template,
             minReadySeconds = deployment.spec.minReadySeconds },
  }, MANAGER)
  if not set then error(problem, 0) end
  if replicas > 0 then
    base.event(cluster, inside.with_kind(cluster, DEPLOYMENT, deployment), "Normal", "ScalingReplicaSet",
      ("Scaled up replica set %s from 0 to %d"):format(set.metadata.name, replicas), "deployment-controller")
  end
  return set
end

local function set_size(cluster, deployment, set, replicas)
  local before = set.spec.replicas
  if before == replicas then return end
  inside.change(cluster, SET, set.metadata.namespace, set.metadata.name, nil, MANAGER, function(new)
    new.spec.replicas = replicas
    new.metadata.annotations = new.metadata.annotations or {}
    local surge = bounds(deployment)
    new.metadata.annotations["deployment.kubernetes.io/desired-replicas"] = tostring(deployment.spec.replicas)
    new.metadata.annotations["deployment.kubernetes.io/max-replicas"] = tostring(deployment.spec.replicas + surge)
  end)
  base.event(cluster, inside.with_kind(cluster, DEPLOYMENT, deployment), "Normal", "ScalingReplicaSet",
    ("Scaled %s replica set %s from %d to %d"):format(replicas > before and "up" or "down", set.metadata.name, before,
      replicas), "deployment-controller")
end

-- --- rollout ----------------------------------------------------------------------------------------

local function total(sets, field, of_status)
  local sum = 0
  for _, set in ipairs(sets) do sum = sum + ((of_status and set.status or set.spec)[field] or 0) end
  return sum
end

-- Gives up pods of old sets, first those that serve nobody, as far as enough stay available.
local function shrink_old(cluster, deployment, new, old, all)
  local _, unavailable = bounds(deployment)
  local least = deployment.spec.replicas - unavailable
  local new_missing = new.spec.replicas - (new.status and new.status.availableReplicas or 0)
  local spare = total(all, "replicas") - least - new_missing
  for _, set in ipairs(old) do
    local idle = set.spec.replicas - (set.status and set.status.availableReplicas or 0)
    local down = math.min(spare, idle, set.spec.replicas)
    if down > 0 then
      set_size(cluster, deployment, set, set.spec.replicas - down)
      spare = spare - down
    end
  end
  local available = total(all, "availableReplicas", true)
  for _, set in ipairs(old) do
    local current = inside.view(cluster, SET, set.metadata.namespace, set.metadata.name) or set
    local down = math.min(available - least, current.spec.replicas)
    if down > 0 then
      set_size(cluster, deployment, current, current.spec.replicas - down)
      available = available - down
    end
  end
end

local function roll(cluster, deployment, new, old, all)
  local wanted = deployment.spec.replicas
  if deployment.spec.strategy.type == "Recreate" then
    for _, set in ipairs(old) do set_size(cluster, deployment, set, 0) end
    if total(old, "replicas", true) == 0 then set_size(cluster, deployment, new, wanted) end
    return
  end
  local surge = bounds(deployment)
  local now = new.spec.replicas
  if now > wanted then
    set_size(cluster, deployment, new, wanted)
  elseif now < wanted then
    local room = wanted + surge - total(all, "replicas")
    if room > 0 then set_size(cluster, deployment, new, math.min(wanted, now + room)) end
  end
  if total(old, "replicas") > 0 then
    shrink_old(cluster, deployment, inside.view(cluster, SET, new.metadata.namespace, new.metadata.name) or new, old,
      all)
  end
end

local function forget_old(cluster, deployment, old)
  local limit = deployment.spec.revisionHistoryLimit or 10
  local idle = {}
  for _, set in ipairs(old) do
    if set.spec.replicas == 0 and (set.status and set.status.replicas or 0) == 0 and not set.metadata.deletionTimestamp
    then
      idle[#idle + 1] = set
    end
  end
  table.sort(idle, function(a, b) return revision_of(a) < revision_of(b) end)
  for i = 1, #idle - limit do
    inside.delete(cluster, SET, idle[i].metadata.namespace, idle[i].metadata.name, { propagation = "Background" })
  end
end

-- --- status -----------------------------------------------------------------------------------------

local function condition(cluster, kind, on, reason, message)
  return { type = kind, status = on and "True" or "False", reason = reason, message = message,
           lastUpdateTime = cluster:time(), lastTransitionTime = cluster:time() }
end

local function keep_times(list, new)
  for _, old in ipairs(list) do
    local same = old.type == new.type and old.status == new.status
    if same and old.reason == new.reason and old.message == new.message then return old end
    if old.type == new.type and old.status == new.status then new.lastTransitionTime = old.lastTransitionTime end
  end
  return new
end

local function report(cluster, deployment)
  local m = deployment.metadata
  local sets = pods.owned(cluster, SET, m.namespace, m.uid)
  local new = find_new(deployment, sets)
  local surge, unavailable = bounds(deployment)
  inside.change(cluster, DEPLOYMENT, m.namespace, m.name, "status", MANAGER, function(object)
    local s = object.status or {}
    local replicas, ready = total(sets, "replicas", true), total(sets, "readyReplicas", true)
    local available = total(sets, "availableReplicas", true)
    local updated = new and new.status and new.status.replicas or 0
    local function some(value) return value > 0 and value or nil end
    s.observedGeneration = object.metadata.generation
    s.replicas, s.updatedReplicas, s.readyReplicas = some(replicas), some(updated), some(ready)
    s.availableReplicas = some(available)
    s.unavailableReplicas = some(math.max(0, total(sets, "replicas") - available))
    s.terminatingReplicas = total(sets, "terminatingReplicas", true)
    local list = s.conditions or json.array {}
    local wanted = object.spec.replicas
    local enough = available >= wanted - unavailable
    subresources.set_condition(list, keep_times(list, condition(cluster, "Available", enough,
      enough and "MinimumReplicasAvailable" or "MinimumReplicasUnavailable",
      enough and "Deployment has minimum availability." or "Deployment does not have minimum availability.")))
    if new then
      local done = updated == wanted and available == wanted and replicas == wanted
      subresources.set_condition(list, keep_times(list, condition(cluster, "Progressing", true,
        done and "NewReplicaSetAvailable" or "ReplicaSetUpdated",
        ('ReplicaSet "%s" %s'):format(new.metadata.name,
          done and "has successfully progressed." or "is progressing."))))
    end
    s.conditions = list
    object.status = s
  end)
  return surge
end

local function mark_revision(cluster, deployment, set, sets)
  local newest = true
  for _, other in ipairs(sets) do
    if other ~= set and revision_of(other) >= revision_of(set) then newest = false end
  end
  local revision = newest and revision_of(set) or next_revision(sets)
  if not newest then
    inside.change(cluster, SET, set.metadata.namespace, set.metadata.name, nil, MANAGER, function(object)
      object.metadata.annotations = object.metadata.annotations or {}
      object.metadata.annotations[REVISION] = tostring(revision)
    end)
  end
  local m = deployment.metadata
  if (m.annotations or {})[REVISION] ~= tostring(revision) then
    -- Through the status, as the real controller: that leaves the generation alone.
    inside.change(cluster, DEPLOYMENT, m.namespace, m.name, "status", MANAGER, function(object)
      object.metadata.annotations = object.metadata.annotations or {}
      object.metadata.annotations[REVISION] = tostring(revision)
    end)
  end
end

local function look(cluster, key)
  local namespace, name = key:match "^(.-)/(.*)$"
  local deployment = inside.view(cluster, DEPLOYMENT, namespace, name)
  if not deployment or deployment.metadata.deletionTimestamp then return end
  local sets = pods.owned(cluster, SET, namespace, deployment.metadata.uid)
  local new = find_new(deployment, sets)
  local old = {}
  for _, set in ipairs(sets) do
    if set ~= new then old[#old + 1] = set end
  end
  if not deployment.spec.paused then
    if not new then
      local surge = bounds(deployment)
      local room = deployment.spec.strategy.type == "Recreate" and (total(old, "replicas", true) == 0
        and deployment.spec.replicas or 0) or deployment.spec.replicas + surge - total(old, "replicas")
      new = make_set(cluster, deployment, sets, math.max(0, math.min(deployment.spec.replicas, room)))
      sets[#sets + 1] = new
    end
    mark_revision(cluster, deployment, new, sets)
    roll(cluster, deployment, new, old, sets)
    forget_old(cluster, deployment, old)
  elseif new then
    set_size(cluster, deployment, new, deployment.spec.replicas)
  end
  report(cluster, inside.view(cluster, DEPLOYMENT, namespace, name) or deployment)
end

---@param cluster lab.Cluster
---@return lab.Controller
function M.start(cluster)
  return base.new(cluster, {
    name = "deployments", pause = 0.01,
    on = pods.follow(cluster, "Deployment", DEPLOYMENT, SET),
    look = function(key) look(cluster, key) end,
  })
end

return M
