-- lab.scheduling.preemption: pods of lower priority give way to one that fits nowhere.
-- Not for whether a pod fits.
--   local node, victims = preemption.find(pod, nodes, loads, refuses)

local base = require "lab.controllers.base"
local inside = require "lab.inside"
local json = require "json"
local room = require "lab.scheduling.room"
local subresources = require "lab.subresources"

local M = {}

local function priority(pod) return pod.spec.priority or 0 end

local function load_of(list)
  local load = room.empty()
  for _, pod in ipairs(list) do room.put(load, pod) end
  return load
end

-- The fewest pods of lower priority without which the pod fits on a node: the most important ones stay.
local function victims_on(pod, node, load, refuses)
  local stay, lower = {}, {}
  for _, other in ipairs(load.pods) do
    table.insert(priority(other) < priority(pod) and lower or stay, other)
  end
  if #lower == 0 or refuses(node, load_of(stay)) then return nil end
  table.sort(lower, function(a, b)
    if priority(a) ~= priority(b) then return priority(a) > priority(b) end
    return (a.status.startTime or "") < (b.status.startTime or "")
  end)
  local victims = {}
  for _, other in ipairs(lower) do
    stay[#stay + 1] = other
    if refuses(node, load_of(stay)) then
      stay[#stay] = nil
      victims[#victims + 1] = other
    end
  end
  return victims
end

-- Of two nodes the one whose most important victim matters less, then where they sum up to less, then fewer.
local function cost_of(victims)
  local sum = 0
  for _, pod in ipairs(victims) do sum = sum + priority(pod) end
  return { victims[1] and priority(victims[1]) or -math.huge, sum, #victims }
end

local function cheaper(a, b)
  for i, x in ipairs(a) do
    if x ~= b[i] then return x < b[i] end
  end
  return false
end

---The node where the least has to give way.
---@param nodes table<string, table>
---@param loads table<string, lab.Load>
---@param refuses fun(node: table, load: lab.Load): any why the pod may not be on a node with such a load
---@return string? node name
---@return table[]? victims
function M.find(pod, nodes, loads, refuses)
  if pod.spec.preemptionPolicy == "Never" then return nil end
  local best, best_victims, best_cost
  local names = {}
  for name in pairs(nodes) do names[#names + 1] = name end
  table.sort(names)
  for _, name in ipairs(names) do
    local victims = loads[name] and victims_on(pod, nodes[name], loads[name], refuses)
    local cost = victims and cost_of(victims)
    if cost and (not best or cheaper(cost, best_cost)) then best, best_victims, best_cost = name, victims, cost end
  end
  return best, best_victims
end

-- Whether pods are already leaving that node for this pod.
---@return boolean
function M.is_under_way(pod, loads)
  local name = pod.status and pod.status.nominatedNodeName or ""
  for _, other in ipairs(name ~= "" and loads[name] and loads[name].pods or {}) do
    if other.metadata.deletionTimestamp and priority(other) < priority(pod) then return true end
  end
  return false
end

local function evict(cluster, pod, victim, node)
  local m = victim.metadata
  inside.change(cluster, "pods", m.namespace, m.name, "status", "kube-scheduler", function(object)
    object.status.conditions = object.status.conditions or json.array {}
    subresources.set_condition(object.status.conditions, { type = "DisruptionTarget", status = "True",
      reason = "PreemptionByScheduler", message = "default-scheduler: preempting to accommodate a higher priority pod",
      lastProbeTime = json.null, lastTransitionTime = cluster:time() })
  end)
  base.event(cluster, inside.with_kind(cluster, "pods", victim), "Normal", "Preempted",
    ("Preempted by pod %s on node %s"):format(pod.metadata.uid, node), "default-scheduler")
  inside.delete(cluster, "pods", m.namespace, m.name, { uid = m.uid })
end

---Makes the victims go, and says where the pod is to be.
function M.run(cluster, pod, node, victims)
  local m = pod.metadata
  inside.change(cluster, "pods", m.namespace, m.name, "status", "kube-scheduler", function(object)
    object.status.nominatedNodeName = node
  end)
  for _, victim in ipairs(victims) do evict(cluster, pod, victim, node) end
end

return M
