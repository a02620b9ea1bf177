-- lab.controllers.disruption: how many pods a disruption budget still lets go.
-- Not for evictions (lab.subresources).
--   require "lab.controllers.disruption".start(cluster)

local base = require "lab.controllers.base"
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

local function look(cluster, key)
  local namespace, name = key:match "^(.-)/(.*)$"
  local budget = inside.view(cluster, BUDGET, namespace, name)
  if not budget then return end
  local expected, healthy = 0, 0
  for _, record in ipairs(cluster.store:collection("pods"):records(namespace)) do
    if match.selects(budget.spec.selector, record.labels) then
      local pod = store.view(record)
      if not pods.is_finished(pod) then
        expected = expected + 1
        if pods.is_ready(pod) and not pod.metadata.deletionTimestamp then healthy = healthy + 1 end
      end
    end
  end
  local desired = budget.spec.minAvailable ~= nil and amount(budget.spec.minAvailable, expected)
    or math.max(0, expected - (amount(budget.spec.maxUnavailable, expected) or 1))
  local allowed = math.max(0, math.tointeger(healthy - desired) or 0)
  if expected == 0 then allowed = 0 end
  inside.change(cluster, BUDGET, namespace, name, "status", "kube-controller-manager", function(object)
    local s = object.status or {}
    object.status = s
    s.observedGeneration = object.metadata.generation
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
