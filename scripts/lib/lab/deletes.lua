-- lab.deletes: what a deletion does: preconditions, grace, finalizers, propagation.
-- Not for collecting what the deleted object owned (lab.controllers.collector).
--   local gone, bytes = deletes.run(ctx, record, options)

local clock = require "lab.clock"
local status = require "lab.status"
local store = require "lab.store"
local writes = require "lab.writes"

local M = {}

local function check_preconditions(resource, record, options)
  local wanted = options.preconditions
  if type(wanted) ~= "table" then return end
  local kind = { group = resource.group, plural = resource.kind }
  if type(wanted.uid) == "string" and wanted.uid ~= record.uid then
    status.conflict(kind, record.name, ("the UID in the precondition (%s) does not match the UID in record (%s). The "
      .. "object might have been deleted and then recreated"):format(wanted.uid, record.uid))
  end
  local version = ("%d"):format(record.revision)
  if type(wanted.resourceVersion) == "string" and wanted.resourceVersion ~= version then
    status.conflict(kind, record.name, ("the ResourceVersion in the precondition (%s) does not match the "
      .. "ResourceVersion in record (%s). The object might have been modified"):format(wanted.resourceVersion, version))
  end
end

-- Kinds whose dependents stay when nobody says otherwise.
local ORPHANS = { ["batch/jobs"] = true, replicationcontrollers = true }

local JOB_WARNING = "child pods are preserved by default when jobs are deleted; set propagationPolicy=Background to "
  .. "remove them or set propagationPolicy=Orphan to suppress this warning"

local function policy_of(ctx, resource, options)
  if options.propagationPolicy then return options.propagationPolicy end
  if options.orphanDependents ~= nil then return options.orphanDependents and "Orphan" or "Background" end
  if not ORPHANS[resource.stored] then return nil end
  if resource.stored == "batch/jobs" then ctx.warnings[#ctx.warnings + 1] = JOB_WARNING end
  return "Orphan"
end

local OF_POLICY = { Foreground = "foregroundDeletion", Orphan = "orphan" }

-- The finalizers after a deletion with a policy.
local function finalizers_for(object, policy)
  local list = {}
  for _, name in ipairs(object.metadata.finalizers or {}) do
    local garbage = name == "foregroundDeletion" or name == "orphan"
    if not garbage or (policy == nil and garbage) then list[#list + 1] = name end
  end
  if policy and OF_POLICY[policy] then list[#list + 1] = OF_POLICY[policy] end
  return list
end

-- Seconds that a pod has to end.
local function grace_of(resource, object, options)
  if resource.stored ~= "pods" then return 0 end
  local grace = options.gracePeriodSeconds
  if grace == nil then grace = object.spec and object.spec.terminationGracePeriodSeconds or 30 end
  local phase = object.status and object.status.phase
  if not (object.spec and object.spec.nodeName) or object.spec.nodeName == "" or phase == "Failed"
    or phase == "Succeeded" then
    return 0
  end
  return math.max(grace, 0)
end

local WITHOUT_GRACE = { namespaces = true, ["apiextensions.k8s.io/customresourcedefinitions"] = true }

-- Marks an object for deletion; whether that changed it.
local function mark(ctx, object, grace)
  local m = object.metadata
  if m.deletionTimestamp then
    local left = m.deletionGracePeriodSeconds or 0
    if grace >= left then return false end
    local started = clock.parse(m.deletionTimestamp) - left
    m.deletionTimestamp = clock.text(started + grace)
    m.deletionGracePeriodSeconds = grace
    return true
  end
  m.deletionTimestamp = clock.text(ctx.cluster:now() + grace)
  if WITHOUT_GRACE[ctx.resource.stored] then return true end
  m.deletionGracePeriodSeconds = grace
  if m.generation then m.generation = m.generation + 1 end
  return true
end

local function keeps(resource, object, grace)
  if object.metadata.finalizers and #object.metadata.finalizers > 0 then return true end
  if grace > 0 then return true end
  return resource.stored == "namespaces" and #(object.spec and object.spec.finalizers or {}) > 0
end

local function remove(ctx, resource, record, object)
  ctx.cluster.store:remove(ctx.cluster:collection(resource), record, object)
  local rules = ctx.cluster.rules[resource.stored] or {}
  if rules.after then rules.after(ctx, nil, object) end
  ctx.cluster.admission:release(ctx, resource, object)
end

local function whole(resource, record)
  local object = store.object(record)
  object.kind = resource.kind
  object.apiVersion = resource.group == "" and resource.version or resource.group .. "/" .. resource.version
  return object
end

-- The options of a deletion as admission sees them: with the grace that was found.
local function with_grace(options, grace)
  local copy = { kind = "DeleteOptions", apiVersion = "meta.k8s.io/v1" }
  for name, value in pairs(options or {}) do copy[name] = value end
  copy.gracePeriodSeconds = grace
  return copy
end

-- A pod goes in two writes, however short its grace: it is marked, then removed.
local function remove_pod(ctx, resource, record, object, a)
  mark(ctx, object, 0)
  local marked = ctx.dry_run and object or nil
  if not marked then
    record = writes.commit(ctx, resource, record, object)
    marked = whole(resource, record)
  end
  if a then
    a.old = marked
    ctx.cluster.admission:validate(ctx, a)
  end
  local bytes = store.encode(marked)
  if not ctx.dry_run then remove(ctx, resource, record, store.object(record)) end
  return true, bytes
end

---@param ctx lab.Context
---@param record lab.Record
---@param options table DeleteOptions
---@return boolean gone whether it was removed
---@return string bytes of the object afterwards, or as it was last
function M.run(ctx, record, options)
  local resource = ctx.resource
  check_preconditions(resource, record, options)
  local object = whole(resource, record)
  local a = writes.attributes(ctx, resource, "DELETE", nil, object)
  a.namespace = record.namespace or resource.stored == "namespaces" and record.name or nil
  if resource.stored == "pods" and ctx.route.verb == "delete" then
    a.options = with_grace(a.options, grace_of(resource, object, options))
  end
  ctx.cluster.admission:mutate(ctx, a)
  if ctx.route.verb == "deletecollection" then ctx.cluster.admission:validate(ctx, a) end
  ctx.cluster.admission:validate(ctx, a)
  local c = ctx.cluster:collection(resource)
  local current = c:get(record.namespace, record.name)
  if not current then status.not_found(resource, record.name) end
  if current ~= record then
    record = current
    check_preconditions(resource, record, options)
    object = whole(resource, record)
  end
  return M.mark_or_remove(ctx, record, object, options, a)
end

---The deletion itself, after admission.
function M.mark_or_remove(ctx, record, object, options, a)
  local resource = ctx.resource
  local rules = ctx.cluster.rules[resource.stored] or {}
  local grace = grace_of(resource, object, options)
  local finalizers = finalizers_for(object, policy_of(ctx, resource, options))
  if rules.finalizers then rules.finalizers(object, finalizers) end
  object.metadata.finalizers = #finalizers > 0 and finalizers or nil
  if not keeps(resource, object, grace) then
    if resource.stored == "pods" then return remove_pod(ctx, resource, record, object, a) end
    local bytes = store.bytes(record)
    if not ctx.dry_run then remove(ctx, resource, record, object) end
    return true, bytes
  end
  local changed = mark(ctx, object, grace)
  if rules.on_delete then rules.on_delete(object, ctx) end
  object.metadata.resourceVersion = ("%d"):format(record.revision)
  if not changed and store.same(record, store.encode(object)) then return false, store.bytes(record) end
  if ctx.dry_run then return false, store.encode(object) end
  local bytes = store.bytes(writes.commit(ctx, resource, record, object))
  if rules.after_mark then rules.after_mark(object, ctx) end
  return false, bytes
end

return M
