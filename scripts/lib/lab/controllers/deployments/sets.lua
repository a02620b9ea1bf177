-- lab.controllers.deployments.sets: a deployment's replica sets: finding, making, marking and sizing them.
-- Not for how many pods each is to have.
--   local set = sets.find(deployment, list); sets.resize(cluster, deployment, set, 3)

local base = require "lab.controllers.base"
local hash = require "hash"
local inside = require "lab.inside"
local json = require "json"
local writes = require "lab.writes"

local M = {}

M.DEPLOYMENT, M.SET, M.MANAGER = "apps/deployments", "apps/replicasets", "kube-controller-manager"

local HASH = "pod-template-hash"
local PREFIX = "deployment.kubernetes.io/"
local REVISION, HISTORY = PREFIX .. "revision", PREFIX .. "revision-history"
local DESIRED, MOST = PREFIX .. "desired-replicas", PREFIX .. "max-replicas"

-- Annotations that are a deployment's own, or a set's own.
local NOT_COPIED = { [REVISION] = true, [HISTORY] = true, [DESIRED] = true, [MOST] = true,
                     ["kubectl.kubernetes.io/last-applied-configuration"] = true,
                     ["deprecated.deployment.rollback.to"] = true }

---Says something about a deployment.
function M.say(cluster, deployment, kind, reason, message)
  base.event(cluster, inside.with_kind(cluster, M.DEPLOYMENT, deployment), kind, reason, message,
    "deployment-controller")
end

-- --- finding ------------------------------------------------------------------------------------------

-- A template without the label that tells replica sets apart.
local function bare(template)
  local copy = json.decode(json.encode(template))
  if copy.metadata and copy.metadata.labels then copy.metadata.labels[HASH] = nil end
  return copy
end

---@return table? set the oldest one of the deployment's template
function M.find(deployment, list)
  local wanted, found = bare(deployment.spec.template), nil
  for _, set in ipairs(list) do
    if writes.same(bare(set.spec.template), wanted) and (not found
      or set.metadata.creationTimestamp < found.metadata.creationTimestamp) then
      found = set
    end
  end
  return found
end

-- --- numbers ------------------------------------------------------------------------------------------

local function bound(value, total, up)
  if type(value) == "string" then
    local share = (tonumber(value:match "^(%d+)%%$") or 0) * total / 100
    return math.tointeger(up and math.ceil(share) or math.floor(share))
  end
  return value or 0
end

---How many pods more than asked for there may be, and how many fewer.
---@return integer surge, integer unavailable
function M.bounds(deployment)
  local spec = deployment.spec
  if spec.strategy.type ~= "RollingUpdate" then return 0, spec.replicas end
  local rolling = spec.strategy.rollingUpdate or {}
  local surge = bound(rolling.maxSurge, spec.replicas, true)
  local unavailable = bound(rolling.maxUnavailable, spec.replicas, false)
  if surge == 0 and unavailable == 0 then unavailable = 1 end
  return surge, math.min(unavailable, spec.replicas)
end

---@param of_status boolean? of what is, not of what is wanted
---@return integer
function M.total(list, field, of_status)
  local sum = 0
  for _, set in ipairs(list) do sum = sum + ((of_status and set.status or set.spec)[field] or 0) end
  return sum
end

---@return integer
function M.revision(set) return math.tointeger(tonumber((set.metadata.annotations or {})[REVISION] or 0)) or 0 end

---How many pods all sets had at most when a set was last sized.
---@return integer?
function M.most(set) return math.tointeger(tonumber((set.metadata.annotations or {})[MOST] or "")) end

---Whether a deployment's size has changed since its sets were sized.
---@return boolean
function M.was_scaled(deployment, list)
  for _, set in ipairs(list) do
    local desired = math.tointeger(tonumber((set.metadata.annotations or {})[DESIRED] or ""))
    if set.spec.replicas > 0 and desired and desired ~= deployment.spec.replicas then return true end
  end
  return false
end

-- --- marking ------------------------------------------------------------------------------------------

local function copied(annotations)
  local list = {}
  for name, value in pairs(annotations or {}) do
    if not NOT_COPIED[name] then list[name] = value end
  end
  return list
end

local function mark_size(annotations, deployment)
  annotations[DESIRED] = tostring(deployment.spec.replicas)
  annotations[MOST] = tostring(deployment.spec.replicas == 0 and 0 or deployment.spec.replicas + M.bounds(deployment))
end

local function next_revision(old)
  local last = 0
  for _, set in ipairs(old) do last = math.max(last, M.revision(set)) end
  return last + 1
end

-- The deployment says its revision, through its status, as the real controller: that leaves the generation alone.
local function mark_deployment(cluster, deployment, revision)
  local m = deployment.metadata
  if (m.annotations or {})[REVISION] == tostring(revision) then return end
  inside.change(cluster, M.DEPLOYMENT, m.namespace, m.name, "status", M.MANAGER, function(object)
    object.metadata.annotations = object.metadata.annotations or {}
    object.metadata.annotations[REVISION] = tostring(revision)
  end)
end

---Makes the current set the last revision, and gives it the deployment's annotations and minReadySeconds.
---@param old table[] the other sets
function M.mark(cluster, deployment, set, old)
  local revision = math.max(next_revision(old), M.revision(set))
  inside.change(cluster, M.SET, set.metadata.namespace, set.metadata.name, nil, M.MANAGER, function(object)
    local annotations = object.metadata.annotations or {}
    object.metadata.annotations = annotations
    for name, value in pairs(copied(deployment.metadata.annotations)) do annotations[name] = value end
    local before = annotations[REVISION]
    if before ~= tostring(revision) then
      annotations[HISTORY] = before and (annotations[HISTORY] and annotations[HISTORY] .. "," or "") .. before or nil
      annotations[REVISION] = tostring(revision)
    end
    object.spec.minReadySeconds = deployment.spec.minReadySeconds
  end)
  mark_deployment(cluster, deployment, revision)
end

-- --- making and sizing --------------------------------------------------------------------------------

local LETTERS = "bcdfghjklmnpqrstvwxz2456789"

local function hash_of(deployment)
  local text = json.encode(bare(deployment.spec.template), { sort = true })
    .. (deployment.status and deployment.status.collisionCount or "")
  return (hash.sha256(text):sub(1, 20):gsub("%x%x", function(pair)
    local at = tonumber(pair, 16) % #LETTERS + 1
    return LETTERS:sub(at, at)
  end))
end

---Makes the set of a deployment's template.
---@return table? set, lab.Status? problem
function M.make(cluster, deployment, old, replicas)
  local m, mark = deployment.metadata, hash_of(deployment)
  local template = json.decode(json.encode(deployment.spec.template))
  template.metadata = template.metadata or {}
  template.metadata.labels = template.metadata.labels or {}
  template.metadata.labels[HASH] = mark
  local selector = json.decode(json.encode(deployment.spec.selector))
  selector.matchLabels = selector.matchLabels or {}
  selector.matchLabels[HASH] = mark
  local annotations, revision = copied(m.annotations), next_revision(old)
  annotations[REVISION] = tostring(revision)
  mark_size(annotations, deployment)
  local set, problem = inside.create(cluster, M.SET, {
    metadata = { name = m.name .. "-" .. mark, namespace = m.namespace,
                 labels = json.decode(json.encode(template.metadata.labels)), annotations = annotations,
                 ownerReferences = json.array { inside.owner(cluster, M.DEPLOYMENT, deployment) } },
    spec = { replicas = replicas, selector = selector, template = template,
             minReadySeconds = deployment.spec.minReadySeconds },
  }, M.MANAGER)
  if not set then return nil, problem end
  if replicas > 0 then
    M.say(cluster, deployment, "Normal", "ScalingReplicaSet",
      ("Scaled up replica set %s from 0 to %d"):format(set.metadata.name, replicas))
  end
  mark_deployment(cluster, deployment, revision)
  return set
end

---Gives a set another number of pods.
function M.resize(cluster, deployment, set, replicas)
  local before = set.spec.replicas
  inside.change(cluster, M.SET, set.metadata.namespace, set.metadata.name, nil, M.MANAGER, function(new)
    new.spec.replicas = replicas
    new.metadata.annotations = new.metadata.annotations or {}
    mark_size(new.metadata.annotations, deployment)
  end)
  if before == replicas then return end
  M.say(cluster, deployment, "Normal", "ScalingReplicaSet", ("Scaled %s replica set %s from %d to %d"):format(
    replicas > before and "up" or "down", set.metadata.name, before, replicas))
end

---Deletes what is beyond the history that is to be kept, the oldest first.
function M.forget(cluster, deployment, old)
  local idle = {}
  for _, set in ipairs(old) do
    local s = set.status or {}
    if set.spec.replicas == 0 and (s.replicas or 0) == 0 and not set.metadata.deletionTimestamp
      and (s.observedGeneration or 0) >= set.metadata.generation then
      idle[#idle + 1] = set
    end
  end
  table.sort(idle, function(a, b) return M.revision(a) < M.revision(b) end)
  for i = 1, #idle - (deployment.spec.revisionHistoryLimit or 10) do
    inside.delete(cluster, M.SET, idle[i].metadata.namespace, idle[i].metadata.name, { propagation = "Background" })
  end
end

return M
