-- lab.controllers.deployments.status: what a deployment says of its rollout: numbers, Available, Progressing.
-- Not for the rollout itself.
--   local seconds = status.report(cluster, deployment, new, all, scale)

local clock = require "lab.clock"
local conditions = require "lab.conditions"
local inside = require "lab.inside"
local json = require "json"
local sets = require "lab.controllers.deployments.sets"

local M = {}

-- --- conditions ---------------------------------------------------------------------------------------

-- What is said again with the same reason stays as it is, unless there is progress to be noted.
local function set(cluster, status, kind, value, reason, message, again)
  local one = conditions.find(status, kind)
  if one and one.status == value and one.reason == reason and not again then return end
  local now = cluster:time()
  local new = { type = kind, status = value, reason = reason, message = message, lastUpdateTime = now,
                lastTransitionTime = one and one.status == value and one.lastTransitionTime or now }
  status.conditions = status.conditions or json.array {}
  local _, at = conditions.find(status, kind)
  status.conditions[at or #status.conditions + 1] = new
end

local function drop(status, kind)
  local _, at = conditions.find(status, kind)
  if at then table.remove(status.conditions, at) end
end

---Says at once how a rollout begins: "NewReplicaSetCreated", "FoundNewReplicaSet", "ReplicaSetCreateError",
---"DeploymentPaused", "DeploymentResumed".
function M.begin(cluster, deployment, value, reason, message)
  if not deployment.spec.progressDeadlineSeconds then return end
  local m = deployment.metadata
  inside.change(cluster, sets.DEPLOYMENT, m.namespace, m.name, "status", sets.MANAGER, function(object)
    object.status = object.status or {}
    set(cluster, object.status, "Progressing", value, reason, message)
  end)
end

---@return boolean
function M.has_begun(deployment) return conditions.find(deployment.status, "Progressing") ~= nil end

---Says that a deployment is paused, or goes on.
function M.pause(cluster, deployment)
  local known = conditions.find(deployment.status, "Progressing")
  local said = known and known.reason == "DeploymentPaused"
  if known and known.reason == "ProgressDeadlineExceeded" then return end
  if deployment.spec.paused and not said then
    M.begin(cluster, deployment, "Unknown", "DeploymentPaused", "Deployment is paused")
  elseif said and not deployment.spec.paused then
    M.begin(cluster, deployment, "Unknown", "DeploymentResumed", "Deployment is resumed")
  end
end

-- --- progress -----------------------------------------------------------------------------------------

local function value(number) return number or 0 end

local function is_complete(deployment, s)
  local wanted = deployment.spec.replicas
  return value(s.updatedReplicas) == wanted and value(s.replicas) == wanted and value(s.availableReplicas) == wanted
end

local function is_progress(before, s)
  return value(s.updatedReplicas) > value(before.updatedReplicas)
    or value(s.replicas) - value(s.updatedReplicas) < value(before.replicas) - value(before.updatedReplicas)
    or value(s.readyReplicas) > value(before.readyReplicas)
    or value(s.availableReplicas) > value(before.availableReplicas)
end

-- Seconds until a rollout has been without progress for too long.
local function patience(cluster, deployment, s, scale)
  local known = conditions.find(s, "Progressing")
  if not known or known.reason == "NewReplicaSetAvailable" or known.reason == "ProgressDeadlineExceeded" then
    return nil
  end
  return clock.parse(known.lastUpdateTime) + deployment.spec.progressDeadlineSeconds * scale - cluster:now()
end

local function judge(cluster, deployment, new, before, s, scale)
  if not deployment.spec.progressDeadlineSeconds then return drop(s, "Progressing") end
  local known = conditions.find(s, "Progressing")
  local was_complete = known and known.reason == "NewReplicaSetAvailable"
  if was_complete and value(s.replicas) == value(s.updatedReplicas) then return end
  local what = new and ('ReplicaSet "%s"'):format(new.metadata.name)
    or ('Deployment "%s"'):format(deployment.metadata.name)
  if is_complete(deployment, s) then
    set(cluster, s, "Progressing", "True", "NewReplicaSetAvailable", what .. " has successfully progressed.")
  elseif is_progress(before, s) then
    set(cluster, s, "Progressing", "True", "ReplicaSetUpdated", what .. " is progressing.", true)
  else
    local left = patience(cluster, deployment, s, scale)
    if left and left <= 0 then
      set(cluster, s, "Progressing", "False", "ProgressDeadlineExceeded", what .. " has timed out progressing.")
    end
  end
end

-- Why pods cannot be made, as the sets say it; the new one's word goes first.
local function failure_of(new, all)
  local found
  for _, one in ipairs(all) do
    local failure = conditions.find(one.status or {}, "ReplicaFailure")
    if failure and (one == new or not found) then found = failure end
  end
  return found
end

local function some(number) return number > 0 and number or nil end

local function count(s, new, all)
  local replicas, available = sets.total(all, "replicas", true), sets.total(all, "availableReplicas", true)
  s.replicas, s.availableReplicas = some(replicas), some(available)
  s.updatedReplicas = some(new and new.status and new.status.replicas or 0)
  s.readyReplicas = some(sets.total(all, "readyReplicas", true))
  s.unavailableReplicas = some(math.max(0, sets.total(all, "replicas") - available))
  s.terminatingReplicas = sets.total(all, "terminatingReplicas", true)
  return available
end

---Writes a deployment's status.
---@param new table? the set of its template
---@param all table[] all its sets
---@param scale number of the lab's waits
---@return number? seconds until it may have to be written again
function M.report(cluster, deployment, new, all, scale)
  local m, left = deployment.metadata, nil
  inside.change(cluster, sets.DEPLOYMENT, m.namespace, m.name, "status", sets.MANAGER, function(object)
    local before = object.status or {}
    local s = json.decode(json.encode(before))
    s.observedGeneration = deployment.metadata.generation
    local available = count(s, new, all)
    local _, unavailable = sets.bounds(object)
    local enough = available >= object.spec.replicas - unavailable
    set(cluster, s, "Available", enough and "True" or "False",
      enough and "MinimumReplicasAvailable" or "MinimumReplicasUnavailable",
      enough and "Deployment has minimum availability." or "Deployment does not have minimum availability.")
    if not deployment.spec.paused then judge(cluster, deployment, new, before, s, scale) end
    local failure = failure_of(new, all)
    if failure then
      set(cluster, s, "ReplicaFailure", failure.status, failure.reason, failure.message)
    else
      drop(s, "ReplicaFailure")
    end
    left = deployment.spec.progressDeadlineSeconds and not deployment.spec.paused
      and patience(cluster, deployment, s, scale) or nil
    object.status = s
  end)
  return left
end

return M
