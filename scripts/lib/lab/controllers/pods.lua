-- lab.controllers.pods: what the controllers that own pods share: finding, making, counting them.
-- Not a controller.
--   pods.owned(cluster, namespace, uid) -> pods

local clock = require "lab.clock"
local conditions = require "lab.conditions"
local inside = require "lab.inside"
local json = require "json"
local match = require "lab.match"
local store = require "lab.store"

local M = {}

local MANAGER = "kube-controller-manager"

---@return string? key "namespace/name" of the owner of a kind
---@return string? uid of it
---@return boolean controlled whether there is an owner of any kind
function M.owner_key(record, kind)
  if not store.mentions(record, '"ownerReferences"') then return nil, nil, false end
  local owner = inside.controller_of(store.view(record))
  if owner and owner.kind == kind then return record.namespace .. "/" .. owner.name, owner.uid, true end
  return nil, nil, owner ~= nil
end

-- The owners whose selector an object without one matches: one of them may take it.
local function add_takers(cluster, owners, record, add)
  local taken = cluster.store.collections[owners]
  if not record.labels or not taken or taken.count == 0 then return end
  for _, owner in ipairs(taken:records(record.namespace)) do
    if match.selects(store.view(owner).spec.selector, record.labels) then add(owner.key) end
  end
end

---What writes mean to a controller whose objects own others: one of its own is looked at, and the owner of those, or
---who may become the owner.
---@param cluster lab.Cluster
---@param kind string of the owners
---@param owners string their collection
---@param owned string the collection of what they own
---@return fun(collection: string, event: lab.Event, add: fun(key: string))
function M.follow(cluster, kind, owners, owned)
  return function(collection, event, add)
    if collection == owners then
      if not event.removed then add(event.record.key) end
    elseif collection == owned then
      local before = event.previous and M.owner_key(event.previous, kind)
      local key, _, controlled = M.owner_key(event.record, kind)
      if before then add(before) end
      if key then add(key) end
      if not controlled and not event.removed then add_takers(cluster, owners, event.record, add) end
    end
  end
end

---The objects of a namespace that an owner controls, in the order of their names.
---@return table[] objects only for reading
function M.owned(cluster, collection, namespace, uid)
  local list = {}
  for _, record in ipairs(cluster.store:collection(collection):records(namespace)) do
    if store.mentions(record, uid) then
      local object = store.view(record)
      local owner = inside.controller_of(object)
      if owner and owner.uid == uid then list[#list + 1] = object end
    end
  end
  return list
end

---Whether a pod has been ready for as long as is asked.
---@param pod table
---@param seconds number
---@param now number
---@return boolean
---@return number? left seconds until it will have been
function M.is_available(pod, seconds, now)
  if not M.is_ready(pod) then return false end
  if seconds <= 0 then return true end
  for _, condition in ipairs(pod.status.conditions) do
    if condition.type == "Ready" then
      local left = (clock.parse(condition.lastTransitionTime) or now) + seconds - now
      return left <= 0, left > 0 and left or nil
    end
  end
end

-- Takes an object that nobody controls; whether it was there to be taken.
local function adopt(cluster, collection, object, reference, change)
  local m, taken = object.metadata, false
  inside.change(cluster, collection, m.namespace, m.name, nil, MANAGER, function(new)
    if new.metadata.uid ~= m.uid or new.metadata.deletionTimestamp or inside.controller_of(new) then return false end
    new.metadata.ownerReferences = new.metadata.ownerReferences or json.array {}
    table.insert(new.metadata.ownerReferences, reference)
    if change then change(new) end
    taken = true
  end)
  return taken
end

local function release(cluster, collection, object, uid)
  local m = object.metadata
  inside.change(cluster, collection, m.namespace, m.name, nil, MANAGER, function(new)
    local left = json.array {}
    for _, owner in ipairs(new.metadata.ownerReferences or {}) do
      if owner.uid ~= uid then left[#left + 1] = owner end
    end
    new.metadata.ownerReferences = #left > 0 and left or nil
  end)
end

-- Whether an object is an owner's: one that its selector no longer matches is let go, one that nobody owns is taken.
local function is_claimed(cluster, collection, stored, owner, object, change)
  local reference = inside.controller_of(object)
  local matches = match.selects(owner.spec.selector, object.metadata.labels)
  local leaves = owner.metadata.deletionTimestamp
  if reference then
    if reference.uid ~= owner.metadata.uid or matches then return reference.uid == owner.metadata.uid end
    if not leaves then release(cluster, collection, object, owner.metadata.uid) end
    return false
  end
  if not matches or leaves or object.metadata.deletionTimestamp then return false end
  return adopt(cluster, collection, object, inside.owner(cluster, stored, owner), change)
end

---The objects of a namespace that an owner controls, after it has let go those that its selector does not match, and
---taken those that it matches and nobody controls.
---@param collection string of the objects
---@param stored string collection of the owner
---@param owner table with a selector
---@param change fun(object: table)? what else is done to one that is taken
---@return table[] objects only for reading
function M.claim(cluster, collection, stored, owner, change)
  local list, uid = {}, owner.metadata.uid
  for _, record in ipairs(cluster.store:collection(collection):records(owner.metadata.namespace)) do
    local mine = store.mentions(record, uid)
    if mine or record.labels and match.selects(owner.spec.selector, record.labels) then
      if is_claimed(cluster, collection, stored, owner, store.view(record), change) then
        local object = inside.view(cluster, collection, record.namespace, record.name)
        list[#list + 1] = object and object.metadata.uid == record.uid and object or nil
      end
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
  return conditions.holds(pod.status, "Ready")
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

-- Small numbers are given up first: what has no node yet, then what is not ready, then what costs less to lose.
local function rank(pod)
  if (pod.spec.nodeName or "") == "" then return 0 end
  local phase = pod.status and pod.status.phase
  if phase == "Pending" then return 1 end
  return M.is_ready(pod) and 3 or 2
end

local function cost(pod)
  return math.tointeger(tonumber((pod.metadata.annotations or {})["controller.kubernetes.io/pod-deletion-cost"] or ""))
    or 0
end

local function ready_since(pod)
  local ready = conditions.find(pod.status, "Ready")
  return ready and ready.status == "True" and ready.lastTransitionTime or nil
end

local function restarts(pod)
  local most = 0
  for _, s in ipairs(pod.status and pod.status.containerStatuses or {}) do
    most = math.max(most, s.restartCount or 0)
  end
  return most
end

-- What is compared, in this order: a greater value stays longer. Of times, which stand in tables, the older one stays.
local function keys_of(pod, beside)
  return { rank(pod), cost(pod), -beside, { ready_since(pod) or "" }, -restarts(pod),
           { pod.metadata.creationTimestamp } }
end

---Pods in the order in which they are given up: those that have come least far first.
---@param list table[]
---@param beside (fun(pod: table): integer)? how many of their kind are on the pod's node
function M.sort_for_removal(list, beside)
  local keys = {}
  for _, pod in ipairs(list) do keys[pod] = keys_of(pod, beside and beside(pod) or 0) end
  table.sort(list, function(a, b)
    for i, x in ipairs(keys[a]) do
      local y = keys[b][i]
      if type(x) == "table" then
        if x[1] ~= y[1] then return x[1] > y[1] end
      elseif x ~= y then
        return x < y
      end
    end
    return a.metadata.name < b.metadata.name
  end)
end

return M
