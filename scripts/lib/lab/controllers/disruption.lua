-- lab.controllers.disruption: how many pods a disruption budget still lets go.
-- Not for evictions (lab.subresources).
--   require "lab.controllers.disruption".start(cluster)

local base = require "lab.controllers.base"
local clock = require "lab.clock"
local inside = require "lab.inside"
local json = require "json"
local match = require "lab.match"
local pods = require "lab.controllers.pods"
local store = require "lab.store"
local subresources = require "lab.subresources"

local M = {}

local BUDGET = "policy/poddisruptionbudgets"

local function amount(value, total)
  if type(value) == "string" then return math.ceil((tonumber(value:match "^(%d+)%%$") or 0) * total / 100) end
  return value
end

local SIZED = { ReplicaSet = "apps/replicasets", StatefulSet = "apps/statefulsets",
                ReplicationController = "replicationcontrollers", Deployment = "apps/deployments" }

-- How many pods the one that made a pod wants: its deployment, where it has one.
local function wanted_by_owner(cluster, object)
  local owner = inside.controller_of(object)
  local stored = owner and SIZED[owner.kind]
  local maker = stored and inside.view(cluster, stored, object.metadata.namespace, owner.name)
  if not maker then return nil end
  local uid, wanted = wanted_by_owner(cluster, maker)
  if uid then return uid, wanted end
  return owner.uid, maker.spec.replicas or 1
end

-- How many pods there are to be, by those that make them; pods that nobody makes are none of them.
local function expected_pods(cluster, list)
  local sizes, sum = {}, 0
  for _, pod in ipairs(list) do
    local uid, wanted = wanted_by_owner(cluster, pod)
    if uid then sizes[uid] = wanted end
  end
  for _, wanted in pairs(sizes) do sum = sum + wanted end
  return sum
end

local function pods_of(cluster, budget)
  local list, healthy, gone = {}, 0, budget.status and budget.status.disruptedPods or {}
  for _, record in ipairs(cluster.store:collection("pods"):records(budget.metadata.namespace)) do
    if match.selects(budget.spec.selector, record.labels) then
      local pod = store.view(record)
      if not pods.is_finished(pod) then
        list[#list + 1] = pod
        if pods.is_ready(pod) and not pod.metadata.deletionTimestamp and not gone[pod.metadata.name] then
          healthy = healthy + 1
        end
      end
    end
  end
  return list, healthy
end

local function numbers(cluster, budget)
  local list, healthy = pods_of(cluster, budget)
  local least, most = budget.spec.minAvailable, budget.spec.maxUnavailable
  local expected = math.type(least) == "integer" and #list or expected_pods(cluster, list)
  local desired = least ~= nil and amount(least, expected) or math.max(0, expected - (amount(most, expected) or 1))
  local allowed = expected > 0 and math.max(0, math.tointeger(healthy - desired) or 0) or 0
  return expected, healthy, desired, allowed
end

local PATIENCE = 120 -- seconds in which an evicted pod has to be on its way

-- Pods that were evicted count as gone until they are.
local function still_there(cluster, budget)
  local left
  for name, time in pairs(budget.status and budget.status.disruptedPods or {}) do
    local pod = inside.view(cluster, "pods", budget.metadata.namespace, name)
    local waits = (clock.parse(time) or 0) + PATIENCE > cluster:now()
    if pod and not pod.metadata.deletionTimestamp and waits then
      left = left or {}
      left[name] = time
    end
  end
  return left
end

local function look(cluster, key)
  local namespace, name = key:match "^(.-)/(.*)$"
  local budget = inside.view(cluster, BUDGET, namespace, name)
  if not budget then return end
  local expected, healthy, desired, allowed = numbers(cluster, budget)
  inside.change(cluster, BUDGET, namespace, name, "status", "kube-controller-manager", function(object)
    local s = object.status or {}
    object.status = s
    s.observedGeneration = object.metadata.generation
    s.disruptedPods = still_there(cluster, object)
    s.expectedPods, s.currentHealthy = expected, healthy
    s.desiredHealthy, s.disruptionsAllowed = math.tointeger(desired), allowed
    local list = s.conditions or json.array {}
    local before = list[1] and list[1].status
    local now = allowed > 0 and "True" or "False"
    if before ~= now then
      subresources.set_condition(list, { type = "DisruptionAllowed", status = now,
        reason = allowed > 0 and "SufficientPods" or "InsufficientPods", message = "",
        lastTransitionTime = cluster:time(), observedGeneration = object.metadata.generation })
    end
    s.conditions = list
  end)
end

---@param cluster lab.Cluster
---@return lab.Controller
function M.start(cluster)
  local budgets = cluster.store:collection(BUDGET)
  return base.new(cluster, {
    name = "disruption",
    on = function(collection, event, add)
      if collection == BUDGET then
        if not event.removed then add(event.record.key) end
      elseif collection == "pods" and budgets.count > 0 then
        for _, record in ipairs(budgets:records(event.record.namespace)) do add(record.key) end
      end
    end,
    look = function(key) look(cluster, key) end,
  })
end

return M
