-- lab.scheduling.spread: topologySpreadConstraints: no domain has many more of the pods than another.
-- Not for constraints that only prefer (ScheduleAnyway).
--   local why = spread.refuses(pod, node, nodes, loads, fits)

local match = require "lab.match"

local M = {}

local WHY = "node(s) didn't match pod topology spread constraints"

local function label(node, key) return (node.metadata.labels or {})[key] end

local function selector_of(constraint, pod)
  local selector = constraint.labelSelector
  if not constraint.matchLabelKeys then return selector end
  local labels = {}
  for name, value in pairs(selector and selector.matchLabels or {}) do labels[name] = value end
  for _, key in ipairs(constraint.matchLabelKeys) do labels[key] = (pod.metadata.labels or {})[key] end
  return { matchLabels = labels, matchExpressions = selector and selector.matchExpressions }
end

local function counts_on(load, selector, namespace)
  local count = 0
  for _, other in ipairs(load and load.pods or {}) do
    if other.metadata.namespace == namespace and not other.metadata.deletionTimestamp
      and match.selects(selector, other.metadata.labels) then
      count = count + 1
    end
  end
  return count
end

-- How many of the pods are in each domain that the pod may go to.
local function domains(pod, constraint, all, nodes, loads, fits)
  local counts, selector = {}, selector_of(constraint, pod)
  for name, node in pairs(nodes) do
    local whole = true
    for _, one in ipairs(all) do whole = whole and label(node, one.topologyKey) ~= nil end
    if whole and (constraint.nodeAffinityPolicy == "Ignore" or fits(node)) then
      local domain = label(node, constraint.topologyKey)
      counts[domain] = (counts[domain] or 0) + counts_on(loads[name], selector, pod.metadata.namespace)
    end
  end
  return counts, match.selects(selector, pod.metadata.labels) and 1 or 0
end

---Why a pod may not be on a node.
---@param pod table
---@param node table
---@param nodes table<string, table>
---@param loads table<string, lab.Load>
---@param fits fun(node: table): boolean whether the pod's affinity and selector allow a node
---@return string?
function M.refuses(pod, node, nodes, loads, fits)
  local hard = {}
  for _, one in ipairs(pod.spec.topologySpreadConstraints or {}) do
    if one.whenUnsatisfiable ~= "ScheduleAnyway" then hard[#hard + 1] = one end
  end
  for _, constraint in ipairs(hard) do
    local domain = label(node, constraint.topologyKey)
    if not domain then return WHY .. " (missing required label)" end
    local counts, itself = domains(pod, constraint, hard, nodes, loads, fits)
    local least, number = math.huge, 0
    for _, count in pairs(counts) do least, number = math.min(least, count), number + 1 end
    if number < (constraint.minDomains or 1) then least = 0 end
    if counts[domain] and counts[domain] + itself - least > constraint.maxSkew then return WHY end
  end
end

return M
