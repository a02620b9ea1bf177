-- lab.controllers.pods: what the controllers that own pods share: finding, making, counting them.
-- Not a controller.
--   pods.owned(cluster, namespace, uid) -> pods

local inside = require "lab.inside"
local json = require "json"
local store = require "lab.store"

local M = {}

---@return string? key "namespace/name" of the owner of a kind
function M.owner_key(record, kind)
  if not record.bytes:find('"ownerReferences"', 1, true) then return nil end
  local owner = inside.controller_of(store.view(record))
  if owner and owner.kind == kind then return record.namespace .. "/" .. owner.name, owner.uid end
end

---What writes mean to a controller whose objects own others: one of its own is looked at, and the owner of those.
---@param kind string of the owners
---@param owners string their collection
---@param owned string the collection of what they own
---@return fun(collection: string, event: lab.Event, add: fun(key: string))
function M.follow(kind, owners, owned)
  return function(collection, event, add)
    if collection == owners then
      if not event.removed then add(event.record.key) end
    elseif collection == owned then
      local key = M.owner_key(event.record, kind)
      if key then add(key) end
    end
  end
end

---The objects of a namespace that an owner controls, in the order of their names.
---@return table[] objects only for reading
function M.owned(cluster, collection, namespace, uid)
  local list = {}
  for _, record in ipairs(cluster.store:collection(collection):records(namespace)) do
    if record.bytes:find(uid, 1, true) then
      local object = store.view(record)
      local owner = inside.controller_of(object)
      if owner and owner.uid == uid then list[#list + 1] = object end
    end
  end
  return list
end

function M.is_finished(pod)
  local phase = pod.status and pod.status.phase
  return phase == "Succeeded" or phase == "Failed"
end

---Pods that run or will run.
function M.is_active(pod) return not M.is_finished(pod) and not pod.metadata.deletionTimestamp end

function M.is_ready(pod)
  for _, condition in ipairs(pod.status and pod.status.conditions or {}) do
    if condition.type == "Ready" then return condition.status == "True" end
  end
  return false
end

---Makes a pod of a template.
---@param owner table the owner reference
---@return table? pod, lab.Status? problem
function M.create(cluster, namespace, template, owner, base_name, change)
  local pod = { metadata = { generateName = base_name, namespace = namespace,
                             ownerReferences = json.array { owner } } }
  local copy = json.decode(json.encode(template))
  pod.spec = copy.spec
  pod.metadata.labels = copy.metadata and copy.metadata.labels
  pod.metadata.annotations = copy.metadata and copy.metadata.annotations
  pod.metadata.finalizers = copy.metadata and copy.metadata.finalizers
  if change then change(pod) end
  return inside.create(cluster, "pods", pod, "kube-controller-manager")
end

local function rank(pod)
  if (pod.spec.nodeName or "") == "" then return 0 end
  local phase = pod.status and pod.status.phase
  if phase == "Pending" then return 1 end
  return M.is_ready(pod) and 3 or 2
end

---Pods in the order in which they are given up: those that have come least far first.
function M.sort_for_removal(list)
  table.sort(list, function(a, b)
    local x, y = rank(a), rank(b)
    if x ~= y then return x < y end
    if a.metadata.creationTimestamp ~= b.metadata.creationTimestamp then
      return a.metadata.creationTimestamp > b.metadata.creationTimestamp
    end
    return a.metadata.name < b.metadata.name
  end)
end

return M
