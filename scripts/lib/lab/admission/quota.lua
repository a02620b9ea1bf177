-- lab.admission.quota: ResourceQuota: what a namespace may hold, counted when something is written.
-- Not for limits of one object (lab.admission.limits).
--   quota.charge(ctx, resource, object, old)

local meta = require "lab.meta"
local quantities = require "lab.quantities"
local status = require "lab.status"
local store = require "lab.store"

local M = {}

-- --- what an object uses --------------------------------------------------------------------------

local COUNTED = {
  pods = "pods", services = "services", secrets = "secrets", configmaps = "configmaps",
  persistentvolumeclaims = "persistentvolumeclaims", replicationcontrollers = "replicationcontrollers",
  resourcequotas = "resourcequotas",
}

local function add(usage, name, value)
  usage[name] = usage[name] and quantities.add(usage[name], value) or value
end

local function larger(a, b) return quantities.compare(a, b) >= 0 and a or b end

-- The sum over containers, or the largest init container where that is more.
local function pod_amounts(spec, map_name)
  local total = {}
  for _, container in ipairs(spec.containers or {}) do
    for name, value in pairs((container.resources or {})[map_name] or {}) do add(total, name, value) end
  end
  for _, container in ipairs(spec.initContainers or {}) do
    for name, value in pairs((container.resources or {})[map_name] or {}) do
      if container.restartPolicy == "Always" then
        add(total, name, value)
      else
        total[name] = total[name] and larger(total[name], value) or value
      end
    end
  end
  return total
end

local function pod_usage(pod, usage)
  local phase = pod.status and pod.status.phase
  if phase == "Succeeded" or phase == "Failed" then return end
  usage.pods = "1"
  for name, value in pairs(pod_amounts(pod.spec, "requests")) do
    usage[name] = value
    usage["requests." .. name] = value
  end
  for name, value in pairs(pod_amounts(pod.spec, "limits")) do usage["limits." .. name] = value end
end

local function claim_usage(claim, usage)
  usage.persistentvolumeclaims = "1"
  local size = claim.spec.resources.requests and claim.spec.resources.requests.storage
  if size then
    usage["requests.storage"] = size
    local class = claim.spec.storageClassName
    if class and class ~= "" then
      usage[class .. ".storageclass.storage.k8s.io/requests.storage"] = size
      usage[class .. ".storageclass.storage.k8s.io/persistentvolumeclaims"] = "1"
    end
  end
end

---@param resource lab.Resource
---@param object table
---@return table<string, string> amounts by the names that quotas use
function M.usage(resource, object)
  local usage = { ["count/" .. status.resource_name(resource)] = "1" }
  if resource.stored == "pods" then
    pod_usage(object, usage)
  elseif resource.stored == "persistentvolumeclaims" then
    claim_usage(object, usage)
  else
    local name = COUNTED[resource.stored]
    if name then usage[name] = "1" end
    if resource.stored == "services" then
      local kind = object.spec.type
      if kind == "NodePort" or kind == "LoadBalancer" then usage["services.nodeports"] = "1" end
      if kind == "LoadBalancer" then usage["services.loadbalancers"] = "1" end
    end
  end
  return usage
end

-- --- what is used ---------------------------------------------------------------------------------

-- The resource whose objects a name of a quota counts.
local function source_of(registry, name)
  local counted = name:match "^count/(.*)$"
  if counted then
    local plural, group = counted:match "^([^.]+)%.?(.*)$"
    return registry:any(group, plural)
  end
  if COUNTED[name] then return registry:any("", name) end
  if name:find "^services%." then return registry:any("", "services") end
  if name:find "storageclass%.storage%.k8s%.io" or name == "requests.storage" then
    return registry:any("", "persistentvolumeclaims")
  end
  return registry:any("", "pods")
end

local SCOPES = {
  Terminating = function(pod) return pod.spec.activeDeadlineSeconds ~= nil end,
  NotTerminating = function(pod) return pod.spec.activeDeadlineSeconds == nil end,
  BestEffort = function(pod) return pod.status and pod.status.qosClass == "BestEffort" end,
  NotBestEffort = function(pod) return not pod.status or pod.status.qosClass ~= "BestEffort" end,
  PriorityClass = function(pod) return (pod.spec.priorityClassName or "") ~= "" end,
}

local function has_class(pod, values)
  for _, one in ipairs(values or {}) do
    if one == pod.spec.priorityClassName then return true end
  end
  return false
end

local function meets(expression, pod)
  local within = SCOPES[expression.scopeName]
  if expression.operator == "In" then return has_class(pod, expression.values) end
  if expression.operator == "NotIn" then return not has_class(pod, expression.values) end
  return within ~= nil and within(pod) == (expression.operator ~= "DoesNotExist")
end

-- Whether a quota is about an object: scopes are about pods only.
local function in_scope(quota, resource, object)
  local spec = quota.spec or {}
  local scopes = spec.scopes or {}
  local expressions = spec.scopeSelector and spec.scopeSelector.matchExpressions or {}
  if #scopes + #expressions > 0 and resource.stored ~= "pods" then return false end
  for _, scope in ipairs(scopes) do
    if SCOPES[scope] and not SCOPES[scope](object) then return false end
  end
  for _, expression in ipairs(expressions) do
    if not meets(expression, object) then return false end
  end
  return true
end

---What a namespace uses of the amounts that a quota names.
---@param cluster lab.Cluster
---@param namespace string
---@param quota table
---@return table<string, string>
function M.used(cluster, namespace, quota)
  local used, sources = {}, {}
  for name in pairs(quota.spec and quota.spec.hard or {}) do
    used[name] = "0"
    local resource = source_of(cluster.registry, name)
    if resource then sources[resource.stored] = resource end
  end
  for stored, resource in pairs(sources) do
    for _, record in ipairs(cluster.store:collection(stored):records(namespace)) do
      local object = store.view(record)
      for name, value in pairs(in_scope(quota, resource, object) and M.usage(resource, object) or {}) do
        if used[name] then used[name] = quantities.add(used[name], value) end
      end
    end
  end
  return used
end

-- --- the check ------------------------------------------------------------------------------------

-- Amounts that each container must say when a quota counts them.
local function check_said(quota, resource, object)
  if resource.stored ~= "pods" then return end
  local missing = {}
  for _, name in ipairs(meta.sorted_names(quota.spec.hard)) do
    local map_name, amount = name:match "^(%a+)%.(.+)$"
    if not map_name and (name == "cpu" or name == "memory") then map_name, amount = "requests", name end
    if (map_name == "requests" or map_name == "limits") and (amount == "cpu" or amount == "memory") then
      local containers = {}
      for _, container in ipairs(object.spec.containers) do
        local map = container.resources and container.resources[map_name] or {}
        if map[amount] == nil then containers[#containers + 1] = container.name end
      end
      if #containers > 0 then missing[#missing + 1] = ("%s for: %s"):format(name, table.concat(containers, ",")) end
    end
  end
  if #missing > 0 then
    status.forbidden(resource, object.metadata.name, ("failed quota: %s: must specify %s"):format(
      quota.metadata.name, table.concat(missing, "; ")))
  end
end

local function check_quota(ctx, quota, resource, object, old)
  local hard = quota.spec.hard or {}
  if not old then check_said(quota, resource, object) end
  local wanted = M.usage(resource, object)
  local before = old and M.usage(resource, old) or {}
  local used
  local over = {}
  for _, name in ipairs(meta.sorted_names(hard)) do
    local amount = wanted[name]
    if amount and before[name] then amount = quantities.subtract(amount, before[name]) end
    if amount and quantities.value(amount) > 0 then
      used = used or M.used(ctx.cluster, object.metadata.namespace, quota)
      if quantities.compare(quantities.add(used[name], amount), hard[name]) > 0 then
        over[#over + 1] = { name, amount, used[name], hard[name] }
      end
    end
  end
  if #over == 0 then return end
  local columns = { {}, {}, {} }
  for i, row in ipairs(over) do
    for column = 1, 3 do columns[column][i] = row[1] .. "=" .. row[column + 1] end
  end
  status.forbidden(resource, object.metadata.name, ("exceeded quota: %s, requested: %s, used: %s, limited: %s"):format(
    quota.metadata.name, table.concat(columns[1], ","), table.concat(columns[2], ","), table.concat(columns[3], ",")))
end

function M.charge(ctx, resource, object, old)
  local namespace = object.metadata.namespace
  if not namespace then return end
  local records = ctx.cluster.store:collection("resourcequotas"):records(namespace)
  if #records == 0 or resource.stored == "resourcequotas" then return end
  for _, record in ipairs(records) do
    local quota = store.view(record)
    if in_scope(quota, resource, object) then check_quota(ctx, quota, resource, object, old) end
  end
end

-- Usage is counted from what there is; the status of quotas follows by lab.controllers.quotas.
function M.release() end

return M
