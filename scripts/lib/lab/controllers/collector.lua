-- lab.controllers.collector: what nobody owns any more goes; foreground and orphan deletions are finished.
-- Not for deletions themselves (lab.deletes).
--   require "lab.controllers.collector".start(cluster)

local base = require "lab.controllers.base"
local inside = require "lab.inside"
local store = require "lab.store"

local M = {}

-- What is known of owners: which objects there are by their uid, and who depends on whom.
local function new_graph() return { live = {}, dependents = {} } end

local function owners_of(record)
  if not store.mentions(record, '"ownerReferences"') then return nil end
  return store.view(record).metadata.ownerReferences
end

local function place(collection, record) return { collection, record.namespace, record.name, record.uid } end

local function note(graph, collection, event, add)
  local record = event.record
  local uid = record.uid
  if event.removed then
    graph.live[uid] = nil
    if graph.dependents[uid] then add("owner " .. uid) end
    for _, owner in ipairs(owners_of(event.previous) or {}) do
      local list = graph.dependents[owner.uid]
      if list then
        list[uid] = nil
        if next(list) == nil then graph.dependents[owner.uid] = nil end
      end
      add("owner " .. owner.uid)
    end
    return
  end
  graph.live[uid] = graph.live[uid] or place(collection, record)
  for _, owner in ipairs(owners_of(record) or {}) do
    local list = graph.dependents[owner.uid] or {}
    graph.dependents[owner.uid] = list
    list[uid] = true
    local there = graph.live[owner.uid]
    if not there or there[2] and there[2] ~= record.namespace then add("object " .. uid) end
  end
  if store.mentions(record, '"deletionTimestamp"')
    and (store.mentions(record, '"foregroundDeletion"') or store.mentions(record, '"orphan"')) then
    add("owner " .. uid)
  end
end

-- --- one object whose owners may be gone ------------------------------------------------------------

local function has(list, wanted)
  for _, one in ipairs(list or {}) do
    if one == wanted then return true end
  end
  return false
end

-- Whether an owner is there; what cannot be known counts as there: a kind that is not known, and an owner in some
-- namespace of what belongs to the cluster.
local function is_there(cluster, graph, owner, namespace)
  local resource = cluster.registry:of_kind(owner.apiVersion or "", owner.kind or "")
  if not resource or resource.namespaced and not namespace then return true end
  local where = graph.live[owner.uid]
  return where ~= nil and (where[2] == nil or where[2] == namespace)
end

local function is_leaving(cluster, graph, uid)
  local where = graph.live[uid]
  local object = where and inside.view(cluster, where[1], where[2], where[3])
  return object ~= nil and object.metadata.deletionTimestamp ~= nil
    and has(object.metadata.finalizers, "foregroundDeletion")
end

-- The owners of an object that are there, those that wait for it to go first, and those that are gone.
local function sort_owners(cluster, graph, object, namespace)
  local there, waiting, gone = {}, {}, {}
  for _, owner in ipairs(object.metadata.ownerReferences or {}) do
    local into = not is_there(cluster, graph, owner, namespace) and gone
      or is_leaving(cluster, graph, owner.uid) and waiting or there
    into[#into + 1] = owner
  end
  return there, waiting, gone
end

-- An object stays while one of its owners does, and names only these then.
local function check_object(cluster, graph, uid)
  local where = graph.live[uid]
  if not where then return end
  local object = inside.view(cluster, where[1], where[2], where[3])
  if not object or object.metadata.uid ~= uid or object.metadata.deletionTimestamp then return end
  local there, waiting, gone = sort_owners(cluster, graph, object, where[2])
  if #waiting + #gone == 0 then return end
  if #there > 0 then
    inside.change(cluster, where[1], where[2], where[3], nil, "kube-controller-manager", function(new)
      local left = sort_owners(cluster, graph, new, where[2])
      new.metadata.ownerReferences = #left > 0 and left or nil
    end)
  else
    local policy = #waiting > 0 and graph.dependents[uid] and "Foreground" or "Background"
    inside.delete(cluster, where[1], where[2], where[3], { propagation = policy, uid = uid })
  end
end

-- --- one owner --------------------------------------------------------------------------------------

local function drop_finalizer(cluster, where, name)
  inside.change(cluster, where[1], where[2], where[3], nil, "kube-controller-manager", function(object)
    local list = {}
    for _, one in ipairs(object.metadata.finalizers or {}) do
      if one ~= name then list[#list + 1] = one end
    end
    object.metadata.finalizers = #list > 0 and list or nil
  end)
end

local function orphan(cluster, graph, where, uid)
  for dependent in pairs(graph.dependents[uid] or {}) do
    local there = graph.live[dependent]
    if there then
      inside.change(cluster, there[1], there[2], there[3], nil, "kube-controller-manager", function(object)
        local left = {}
        for _, owner in ipairs(object.metadata.ownerReferences or {}) do
          if owner.uid ~= uid then left[#left + 1] = owner end
        end
        object.metadata.ownerReferences = #left > 0 and left or nil
      end)
    end
  end
  graph.dependents[uid] = nil
  drop_finalizer(cluster, where, "orphan")
end

-- Whether a dependent still holds its owner up.
local function blocks(object, uid)
  for _, owner in ipairs(object.metadata.ownerReferences or {}) do
    if owner.uid == uid then return owner.blockOwnerDeletion == true end
  end
  return false
end

local function foreground(cluster, graph, where, uid)
  local waiting, dependents = false, {}
  for dependent in pairs(graph.dependents[uid] or {}) do dependents[#dependents + 1] = dependent end
  for _, dependent in ipairs(dependents) do
    check_object(cluster, graph, dependent)
    local there = graph.live[dependent]
    local object = there and inside.view(cluster, there[1], there[2], there[3])
    if object and blocks(object, uid) then waiting = true end
  end
  if not waiting then drop_finalizer(cluster, where, "foregroundDeletion") end
end

local function check_owner(cluster, graph, uid)
  local where = graph.live[uid]
  if not where then
    local list = {}
    for dependent in pairs(graph.dependents[uid] or {}) do list[#list + 1] = dependent end
    for _, dependent in ipairs(list) do check_object(cluster, graph, dependent) end
    return
  end
  local object = inside.view(cluster, where[1], where[2], where[3])
  if not object or not object.metadata.deletionTimestamp then return end
  if has(object.metadata.finalizers, "orphan") then
    orphan(cluster, graph, where, uid)
  elseif has(object.metadata.finalizers, "foregroundDeletion") then
    foreground(cluster, graph, where, uid)
  end
end

---@param cluster lab.Cluster
---@return lab.Controller
function M.start(cluster)
  local graph = new_graph()
  -- Owners first: what is there must be known before anybody is taken for an orphan.
  for name, c in pairs(cluster.store.collections) do
    for _, record in ipairs(c:records()) do graph.live[record.uid] = place(name, record) end
  end
  return base.new(cluster, {
    name = "collector",
    on = function(collection, event, add) note(graph, collection, event, add) end,
    look = function(key)
      local kind, uid = key:match "^(%a+) (.*)$"
      if kind == "owner" then check_owner(cluster, graph, uid) else check_object(cluster, graph, uid) end
    end,
  })
end

return M
