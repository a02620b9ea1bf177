-- vsphere.nodes: what a node is good for: whether it is well, whether a pod may run there, how many disks it takes.
-- Not for which node it is to be (vsphere.placement). Plain functions over the view of vsphere.placement.
--   local why = nodes.refuses(pod, node); local left = nodes.free_places(pod, "node-1", view)

local claims = require "vsphere.claims"

local M = {}

---Why a node is nothing to be bound to; nil when it is well.
---@param node table?
---@return string?
function M.trouble(node)
  if not node then return "is not there" end
  for _, taint in ipairs(node.spec and node.spec.taints or {}) do
    if taint.key == "node.kubernetes.io/out-of-service" then return "is out of service" end
  end
  for _, condition in ipairs(node.status and node.status.conditions or {}) do
    if condition.type == "Ready" and condition.status ~= "True" then return "is not ready" end
  end
  if node.spec and node.spec.unschedulable then return "is cordoned" end
  return nil
end

-- --- whether a pod may run there: what it says itself, and what the node bears ------------------------------

local function contains(list, value)
  for _, one in ipairs(list or {}) do
    if one == value then return true end
  end
  return false
end

local function number(text) return tonumber(text) end

local operators = {
  In = function(value, values) return value ~= nil and contains(values, value) end,
  NotIn = function(value, values) return not contains(values, value) end,
  Exists = function(value) return value ~= nil end,
  DoesNotExist = function(value) return value == nil end,
  Gt = function(value, values) return value ~= nil and number(value) > number(values[1]) end,
  Lt = function(value, values) return value ~= nil and number(value) < number(values[1]) end,
}

local function all_hold(expressions, values)
  for _, one in ipairs(expressions or {}) do
    local operator = operators[one.operator]
    local ok, holds = pcall(operator or function() return true end, values[one.key], one.values)
    if ok and not holds then return false end
  end
  return true
end

local function fits_affinity(pod, node)
  local affinity = pod.spec.affinity and pod.spec.affinity.nodeAffinity
  local required = affinity and affinity.requiredDuringSchedulingIgnoredDuringExecution
  if not required then return true end
  for _, term in ipairs(required.nodeSelectorTerms or {}) do
    local is_empty = #(term.matchExpressions or {}) + #(term.matchFields or {}) == 0
    local holds = all_hold(term.matchExpressions, node.metadata.labels or {})
      and all_hold(term.matchFields, { ["metadata.name"] = node.metadata.name })
    if holds and not is_empty then return true end
  end
  return false
end

local function is_tolerated(pod, taint)
  for _, one in ipairs(pod.spec.tolerations or {}) do
    local any_value = one.operator == "Exists"
    local key = one.key == taint.key or any_value and (one.key or "") == ""
    local value = any_value or (one.value or "") == (taint.value or "")
    if key and value and ((one.effect or "") == "" or one.effect == taint.effect) then return true end
  end
  return false
end

---Why a pod may not run on a node: by its own selector or affinity, or for a taint of the node; nil when it may.
---@param pod table
---@param node table
---@return string?
function M.refuses(pod, node)
  for key, value in pairs(pod.spec.nodeSelector or {}) do
    local there = (node.metadata.labels or {})[key]
    if there ~= value then return ("its node selector asks for %s=%s"):format(key, value) end
  end
  if not fits_affinity(pod, node) then return "its node affinity asks for another node" end
  for _, taint in ipairs(node.spec and node.spec.taints or {}) do
    local keeps_off = taint.effect == "NoSchedule" or taint.effect == "NoExecute"
    if keeps_off and not is_tolerated(pod, taint) then
      return ("it does not tolerate the taint %s"):format(taint.key)
    end
  end
  return nil
end

-- --- disks --------------------------------------------------------------------------------------------------

-- The claims of a pod that are disks, or may be: of one that is not known, nothing else is known either.
local function disks_of(pod, view)
  local list = {}
  for _, volume in ipairs(pod.spec.volumes or {}) do
    local name, own = claims.of_volume(pod, volume), volume.ephemeral and volume.ephemeral.volumeClaimTemplate
    local claim = name and (view.claims[name] or own)
    if name and (not claim or claims.is_disk(claim, view.config)) then list[name] = claim or {} end
  end
  return list
end

---How many disks a node takes beside those that it has and those that a pod brings: negative when they are too many.
---@param pod table
---@param node_name string
---@param view table
---@return integer
function M.free_places(pod, node_name, view)
  local there, count = {}, 0
  for _, attachment in ipairs(view.attachments) do
    local spec = attachment.spec
    if spec.nodeName == node_name and spec.attacher == view.config.driver then
      there[spec.source.persistentVolumeName or ""] = true
      count = count + 1
    end
  end
  for _, claim in pairs(disks_of(pod, view)) do
    local volume = claim.spec and claim.spec.volumeName
    if not (volume and there[volume]) then count = count + 1 end
  end
  return (view.limits[node_name] or view.config.max_volumes) - count
end

return M
