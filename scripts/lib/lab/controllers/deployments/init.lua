-- lab.controllers.deployments: a replica set for each template, and pods passed from the old ones to the new.
-- Not for pods themselves (lab.controllers.replicasets).
--   require "lab.controllers.deployments".start(cluster)

local base = require "lab.controllers.base"
local inside = require "lab.inside"
local pods = require "lab.controllers.pods"
local sets = require "lab.controllers.deployments.sets"
local status = require "lab.controllers.deployments.status"

local M = {}

local DEPLOYMENT, SET = sets.DEPLOYMENT, sets.SET

local function current(cluster, set)
  return inside.view(cluster, SET, set.metadata.namespace, set.metadata.name) or set
end

-- --- the set of the template ----------------------------------------------------------------------------

local function make(cluster, deployment, old, replicas)
  local set, problem = sets.make(cluster, deployment, old, replicas)
  if set then
    status.begin(cluster, deployment, "True", "NewReplicaSetCreated",
      ('Created new replica set "%s"'):format(set.metadata.name))
    return set
  end
  status.begin(cluster, deployment, "False", "ReplicaSetCreateError",
    ("Failed to create new replica set %q: %s"):format(deployment.metadata.name, problem.body.message))
  error(problem, 0)
end

-- --- rolling --------------------------------------------------------------------------------------------

local function room(deployment, all)
  local surge = sets.bounds(deployment)
  return deployment.spec.replicas + surge - sets.total(all, "replicas")
end

local function grow_new(cluster, deployment, new, all)
  local wanted, now = deployment.spec.replicas, new.spec.replicas
  if now > wanted then
    sets.resize(cluster, deployment, new, wanted)
  elseif now < wanted then
    local more = room(deployment, all)
    if more > 0 then sets.resize(cluster, deployment, new, math.min(wanted, now + more)) end
  end
end

-- Gives up pods of old sets, first those that serve nobody, as far as enough stay available.
local function shrink_old(cluster, deployment, new, old, all)
  local _, unavailable = sets.bounds(deployment)
  local least = deployment.spec.replicas - unavailable
  local new_missing = new.spec.replicas - (new.status and new.status.availableReplicas or 0)
  local spare = sets.total(all, "replicas") - least - new_missing
  if spare <= 0 then return end
  table.sort(old, function(a, b) return a.metadata.creationTimestamp < b.metadata.creationTimestamp end)
  for _, set in ipairs(old) do
    local idle = set.spec.replicas - (set.status and set.status.availableReplicas or 0)
    local down = math.min(spare, idle, set.spec.replicas)
    if down > 0 then
      sets.resize(cluster, deployment, set, set.spec.replicas - down)
      spare = spare - down
    end
  end
  local available = sets.total(all, "availableReplicas", true)
  for _, one in ipairs(old) do
    local set = current(cluster, one)
    local down = math.min(available - least, set.spec.replicas)
    if down > 0 then
      sets.resize(cluster, deployment, set, set.spec.replicas - down)
      available = available - down
    end
  end
end

local function roll(cluster, deployment, new, old)
  new = new or make(cluster, deployment, old, math.max(0, math.min(deployment.spec.replicas, room(deployment, old))))
  local all = table.move(old, 1, #old, 2, { new })
  sets.mark(cluster, deployment, new, old)
  grow_new(cluster, deployment, current(cluster, new), all)
  all[1] = current(cluster, new)
  if sets.total(old, "replicas") > 0 then shrink_old(cluster, deployment, all[1], old, all) end
end

-- --- recreating -----------------------------------------------------------------------------------------

-- Whether pods of other sets are still there, those included that are on their way out.
local function old_pods_run(cluster, old)
  for _, set in ipairs(old) do
    if (set.status and set.status.replicas or 0) > 0 then return true end
    for _, pod in ipairs(pods.owned(cluster, "pods", set.metadata.namespace, set.metadata.uid)) do
      if not pods.is_finished(pod) then return true end
    end
  end
  return false
end

local function recreate(cluster, deployment, new, old)
  if new then sets.mark(cluster, deployment, new, old) end
  if sets.total(old, "replicas") > 0 then
    for _, set in ipairs(old) do
      if set.spec.replicas > 0 then sets.resize(cluster, deployment, set, 0) end
    end
    return
  end
  if old_pods_run(cluster, old) then return end
  new = new and current(cluster, new) or make(cluster, deployment, old, deployment.spec.replicas)
  if new.spec.replicas ~= deployment.spec.replicas then
    sets.resize(cluster, deployment, new, deployment.spec.replicas)
  end
end

-- --- another size in the middle of a rollout --------------------------------------------------------------

local function round(number) return math.tointeger(math.floor(number + 0.5)) end

-- Sets of both templates share what is added or taken away by their sizes; what is left over is the largest one's.
local function scale_by_share(cluster, deployment, active)
  local surge = sets.bounds(deployment)
  local allowed = deployment.spec.replicas > 0 and deployment.spec.replicas + surge or 0
  local change, done = allowed - sets.total(active, "replicas"), 0
  table.sort(active, function(a, b)
    if a.spec.replicas ~= b.spec.replicas then return a.spec.replicas > b.spec.replicas end
    return (a.metadata.creationTimestamp > b.metadata.creationTimestamp) == (change > 0)
  end)
  local sizes = {}
  for i, set in ipairs(active) do
    local share = round(set.spec.replicas * allowed / (sets.most(set) or deployment.spec.replicas)) - set.spec.replicas
    share = change > 0 and math.max(0, math.min(share, change - done)) or math.min(0, math.max(share, change - done))
    if change == 0 then share = 0 end
    sizes[i], done = set.spec.replicas + share, done + share
  end
  sizes[1] = math.max(0, sizes[1] + change - done)
  for i, set in ipairs(active) do sets.resize(cluster, deployment, set, sizes[i]) end
end

local function scale(cluster, deployment, new, all)
  local active = {}
  for _, set in ipairs(all) do
    if set.spec.replicas > 0 then active[#active + 1] = set end
  end
  if #active <= 1 then
    local one = active[1] or new
    if one then sets.resize(cluster, deployment, one, deployment.spec.replicas) end
  elseif deployment.spec.strategy.type == "RollingUpdate" then
    scale_by_share(cluster, deployment, active)
  end
end

-- --- one look -------------------------------------------------------------------------------------------

local function look(cluster, key, self, time_scale)
  local namespace, name = key:match "^(.-)/(.*)$"
  local deployment = inside.view(cluster, DEPLOYMENT, namespace, name)
  if not deployment or deployment.metadata.deletionTimestamp then return end
  status.pause(cluster, deployment)
  local all = pods.claim(cluster, SET, DEPLOYMENT, deployment)
  local new, old = sets.find(deployment, all), {}
  for _, set in ipairs(all) do
    if set ~= new then old[#old + 1] = set end
  end
  if new and not status.has_begun(deployment) then
    status.begin(cluster, deployment, "True", "FoundNewReplicaSet",
      ('Found new replica set "%s"'):format(new.metadata.name))
  end
  local rolls = deployment.spec.strategy.type == "RollingUpdate"
  if deployment.spec.paused or rolls and sets.was_scaled(deployment, all) then
    scale(cluster, deployment, new, all)
  else
    (rolls and roll or recreate)(cluster, deployment, new, old)
  end
  deployment = inside.view(cluster, DEPLOYMENT, namespace, name)
  if not deployment then return end
  all = pods.owned(cluster, SET, namespace, deployment.metadata.uid)
  new = sets.find(deployment, all)
  local left = status.report(cluster, deployment, new, all, time_scale)
  sets.forget(cluster, deployment, old)
  if left then self:later(key, math.max(left, 0.01)) end
end

---@param cluster lab.Cluster
---@param options {time_scale: number?}
---@return lab.Controller
function M.start(cluster, options)
  local time_scale = options.time_scale or 1
  local follow = pods.follow(cluster, "Deployment", DEPLOYMENT, SET)
  return base.new(cluster, {
    name = "deployments", pause = 0.01,
    on = function(collection, event, add)
      follow(collection, event, add)
      -- Who makes new pods only when the old ones are gone hears of their going.
      if collection == "pods" and event.removed then
        local set_key = pods.owner_key(event.record, "ReplicaSet")
        local set = set_key and inside.view(cluster, SET, set_key:match "^(.-)/", set_key:match "/(.*)$")
        local owner = set and inside.controller_of(set)
        if owner and owner.kind == "Deployment" then add(set.metadata.namespace .. "/" .. owner.name) end
      end
    end,
    look = function(key, self) look(cluster, key, self, time_scale) end,
  })
end

return M
