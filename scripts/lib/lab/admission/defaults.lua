-- lab.admission.defaults: tolerations and priority of pods, the class of claims.
-- Not for defaults that need no other object (lab.rules).
--   defaults.tolerations(pod)

local json = require "json"
local status = require "lab.status"
local store = require "lab.store"

local M = {}

local function tolerates(list, key)
  for _, t in ipairs(list) do
    if (t.key == key or (t.key or "") == "" and t.operator == "Exists")
      and (t.effect == "NoExecute" or (t.effect or "") == "") then
      return true
    end
  end
  return false
end

---Pods stay five minutes on a node that is lost.
function M.tolerations(pod)
  local list = pod.spec.tolerations or json.array {}
  for _, key in ipairs { "node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable" } do
    if not tolerates(list, key) then
      list[#list + 1] = { key = key, operator = "Exists", effect = "NoExecute", tolerationSeconds = 300 }
    end
  end
  pod.spec.tolerations = list
end

local function default_priority(ctx)
  for _, record in ipairs(ctx.cluster.store:collection("scheduling.k8s.io/priorityclasses"):records()) do
    local class = store.view(record)
    if class.globalDefault then return class end
  end
end

function M.priority(ctx, pod)
  local spec = pod.spec
  local name = spec.priorityClassName or ""
  local class
  if name ~= "" then
    local record = ctx.cluster.store:collection("scheduling.k8s.io/priorityclasses"):get(nil, name)
    if not record then
      status.forbidden({ group = "", plural = "pods" }, pod.metadata.name,
        ("no PriorityClass with name %s was found"):format(name))
    end
    class = store.view(record)
  else
    class = default_priority(ctx)
    if class then spec.priorityClassName = class.metadata.name end
  end
  spec.priority = class and class.value or 0
  spec.preemptionPolicy = class and class.preemptionPolicy or "PreemptLowerPriority"
end

local DEFAULT = "storageclass.kubernetes.io/is-default-class"

---The newest class that is marked as the default.
---@return table? class
function M.default_class(cluster)
  local found
  for _, record in ipairs(cluster.store:collection("storage.k8s.io/storageclasses"):records()) do
    local class = store.view(record)
    local marks = class.metadata.annotations or {}
    if marks[DEFAULT] == "true" and (not found
      or class.metadata.creationTimestamp > found.metadata.creationTimestamp) then
      found = class
    end
  end
  return found
end

function M.class(ctx, claim)
  if claim.spec.storageClassName ~= nil then return end
  local marks = claim.metadata.annotations or {}
  if marks["volume.beta.kubernetes.io/storage-class"] then return end
  local class = M.default_class(ctx.cluster)
  if class then claim.spec.storageClassName = class.metadata.name end
end

return M
