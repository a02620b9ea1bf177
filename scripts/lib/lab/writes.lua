-- lab.writes: what every write goes through between its body and the store.
-- Not for decoding bodies (lab.decode) nor for deletions (lab.deletes).
--   writes.create(ctx, object) -> bytes      writes.update(ctx, { make = function(old) … end }) -> bytes
--
-- Create: defaults, system fields, mutating admission, validation, validating admission, the store.
-- Update: the new object from the old one, the split of spec and status, then the same.

local ids = require "lab.ids"
local managed = require "lab.managed"
local meta = require "lab.meta"
local status = require "lab.status"
local store = require "lab.store"

local M = {}

local function rules_of(ctx, resource) return ctx.cluster.rules[resource.stored] or {} end

local function same(a, b)
  if a == b then return true end
  if type(a) ~= "table" or type(b) ~= "table" then return false end
  for key, value in pairs(a) do
    if not same(value, b[key]) then return false end
  end
  for key in pairs(b) do
    if a[key] == nil then return false end
  end
  return true
end
M.same = same

-- Whether anything but metadata and status differs.
local function spec_differs(resource, a, b)
  for key, value in pairs(a) do
    if key ~= "metadata" and not (resource.status and key == "status") and not same(value, b[key]) then return true end
  end
  for key in pairs(b) do
    if a[key] == nil and key ~= "metadata" and not (resource.status and key == "status") then return true end
  end
  return false
end

-- --- the parts of a write -------------------------------------------------------------------------

-- Fills in what is missing, prunes and checks a custom object's structure.
local function default(ctx, resource, object, old)
  if resource.custom then
    require("lab.structural").default(resource.custom.schema, object)
    return
  end
  local rules = rules_of(ctx, resource)
  if rules.default then rules.default(object, ctx, old) end
end

local function shape(ctx, resource, object)
  if not resource.custom then return end
  local owners = object.metadata.managedFields
  meta.tidy(object.metadata)
  object.metadata.managedFields = owners
  local structural = require "lab.structural"
  local unknown = structural.prune(resource.custom.schema, object)
  if ctx.request.body and #unknown > 1 then unknown = require("lab.scan").in_order(ctx.request.body, unknown) end
  require("lab.decode").report(ctx, unknown)
end

local function validate(ctx, resource, object, old, subresource)
  local causes = status.causes()
  meta.check(resource, object, causes)
  if old then meta.check_update(object, old, causes) end
  if resource.custom then
    ctx.cluster.crds:validate(resource, object, old, causes, subresource)
  else
    local rules = rules_of(ctx, resource)
    if old and rules.validate_update then
      rules.validate_update(object, old, causes, ctx, subresource)
    elseif rules.validate then
      rules.validate(object, causes, ctx, old)
    end
  end
  -- Events of both groups are one kind inside.
  status.check(resource.stored == "events" and { group = "", kind = "Event" } or resource, object.metadata.name, causes)
  local rules = rules_of(ctx, resource)
  if rules.warn and not subresource then rules.warn(object, ctx.warnings, ctx) end
end

local function fields_of(ctx, resource, object)
  if resource.custom then return ctx.cluster.crds:fields(resource, object) end
  local rules = rules_of(ctx, resource)
  return rules.fields and rules.fields(object)
end

---Puts an object into the store.
---@return lab.Record
function M.commit(ctx, resource, record, object)
  local cluster = ctx.cluster
  return cluster.store:write(cluster:collection(resource), record, object, fields_of(ctx, resource, object))
end

-- --- create ---------------------------------------------------------------------------------------

local function system_fields(ctx, resource, object)
  local m = object.metadata
  if m.resourceVersion and m.resourceVersion ~= "" and m.resourceVersion ~= "0" then
    status.plain_500 "resourceVersion should not be set on objects to be created"
  end
  if m.generateName and m.generateName ~= "" and (m.name or "") == "" then m.name = ids.name(m.generateName) end
  m.uid, m.creationTimestamp = ids.uid(), ctx.cluster:time()
  m.deletionTimestamp, m.deletionGracePeriodSeconds, m.resourceVersion = nil, nil, nil
  if resource.generation or resource.custom then m.generation = 1 end
  meta.tidy(m)
end

local function attributes(ctx, resource, operation, object, old, subresource)
  return {
    operation = operation, resource = resource, subresource = subresource, object = object, old = old,
    name = ctx.route.name or object and object.metadata.name, namespace = resource.namespaced and ctx.route.namespace
      or (resource.stored == "namespaces" and object and object.metadata.name) or nil,
    options = ctx.options, dry_run = ctx.dry_run, user = ctx.user,
  }
end

---Runs mutating admission, and what follows a mutation.
local function mutate(ctx, a)
  if ctx.cluster.admission:mutate(ctx, a) then
    if a.resource.custom then shape(ctx, a.resource, a.object) end
    default(ctx, a.resource, a.object, a.old)
    meta.tidy(a.object.metadata)
  end
  return a.object
end

---@param ctx lab.Context
---@param object table with metadata.namespace filled in
---@param resource lab.Resource?
---@return string bytes as stored, or as they would be
function M.create(ctx, object, resource)
  resource = resource or ctx.resource
  local rules = rules_of(ctx, resource)
  shape(ctx, resource, object)
  default(ctx, resource, object)
  managed.created(ctx, resource, object)
  local a = attributes(ctx, resource, "CREATE", object)
  object = mutate(ctx, a)
  system_fields(ctx, resource, object)
  if resource.custom and resource.subresources.status then object.status = nil end
  if rules.prepare_create then rules.prepare_create(object, ctx) end
  if rules.finish_create then rules.finish_create(object, ctx) end
  validate(ctx, resource, object)
  ctx.cluster.admission:validate(ctx, a)
  return M.insert(ctx, resource, object)
end

---Stores a new object that has passed everything else.
---@return string bytes
function M.insert(ctx, resource, object)
  local m = object.metadata
  local c = ctx.cluster:collection(resource)
  local there = c:get(m.namespace, m.name)
  if there then
    local deleting = store.view(there).metadata.deletionTimestamp ~= nil
    status.already_exists(resource, m.name, deleting)
  end
  local rules = rules_of(ctx, resource)
  if rules.allocate then rules.allocate(object, ctx) end
  if ctx.dry_run then return store.encode(object) end
  ctx.cluster.admission:charge(ctx, resource, object)
  local record = M.commit(ctx, resource, nil, object)
  if rules.after then rules.after(ctx, object, nil) end
  return store.bytes(record)
end

-- --- update ---------------------------------------------------------------------------------------

-- Kinds that cannot be replaced without saying which version is replaced.
local NEEDS_VERSION = {
  ["apiextensions.k8s.io/customresourcedefinitions"] = true, ["coordination.k8s.io/leases"] = true,
  ["policy/poddisruptionbudgets"] = true, ["admissionregistration.k8s.io/validatingwebhookconfigurations"] = true,
  ["admissionregistration.k8s.io/mutatingwebhookconfigurations"] = true,
  ["admissionregistration.k8s.io/validatingadmissionpolicies"] = true,
  ["admissionregistration.k8s.io/validatingadmissionpolicybindings"] = true,
}

local function check_version(resource, object, old, whole)
  local version = object.metadata.resourceVersion
  if version and version ~= "" and version ~= "0" then
    if version ~= old.metadata.resourceVersion then status.conflict(resource, old.metadata.name) end
    return
  end
  if whole and (resource.custom or NEEDS_VERSION[resource.stored]) then
    local causes = status.causes()
    causes:invalid("metadata.resourceVersion", 0, "must be specified for an update")
    status.check(resource, old.metadata.name, causes)
  end
end

local function check_uid(resource, object, old, whole)
  local uid = object.metadata.uid
  if uid == nil or uid == "" then
    object.metadata.uid = old.metadata.uid
  elseif uid ~= old.metadata.uid and whole then
    local where = resource.namespaced and old.metadata.namespace .. "/" .. old.metadata.name or old.metadata.name
    status.conflict(resource, old.metadata.name, ("StorageError: invalid object, Code: 4, Key: /registry/%s/%s, "
      .. "ResourceVersion: 0, AdditionalErrorMsg: Precondition failed: UID in precondition: %s, UID in object meta: %s")
      :format(resource.stored, where, uid, old.metadata.uid))
  end
end

local KEPT = { "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "generation" }

-- What the server owns stays; spec and status are written apart.
local function prepare_update(ctx, resource, object, old, subresource)
  local m = object.metadata
  for _, name in ipairs(KEPT) do m[name] = old.metadata[name] end
  m.resourceVersion = old.metadata.resourceVersion
  meta.tidy(m)
  local rules = rules_of(ctx, resource)
  local has_status = resource.status or resource.custom and resource.subresources.status
  if has_status then
    if subresource == "status" then
      for key in pairs(object) do
        if key ~= "metadata" and key ~= "status" and key ~= "kind" and key ~= "apiVersion" then object[key] = nil end
      end
      for key, value in pairs(old) do
        if key ~= "metadata" and key ~= "status" then object[key] = value end
      end
      if resource.custom then
        local fields = m.managedFields
        object.metadata = store.copy(old).metadata
        object.metadata.managedFields = fields
      end
    elseif not subresource then
      object.status = old.status
    end
  end
  if rules.prepare_update then rules.prepare_update(object, old, ctx, subresource) end
  if old.metadata.generation and (resource.generation or resource.custom) and subresource ~= "status"
    and subresource ~= "binding"
    and (spec_differs(resource.custom and { status = has_status } or resource, object, old)
      or resource.stored == "apps/deployments" and not same(m.annotations, old.metadata.annotations)) then
    object.metadata.generation = old.metadata.generation + 1
  end
end

-- Removes an object whose last finalizer has just gone.
local function finish(ctx, resource, record, object)
  local m = object.metadata
  if m.deletionTimestamp and not m.finalizers and (m.deletionGracePeriodSeconds or 0) == 0
    and not (resource.stored == "namespaces" and #(object.spec and object.spec.finalizers or {}) > 0) then
    -- Watches see it as it was stored; who removed the last finalizer sees what he asked for.
    ctx.cluster.store:remove(ctx.cluster:collection(resource), record)
    local rules = rules_of(ctx, resource)
    if rules.after then rules.after(ctx, nil, object) end
    return store.encode(object)
  end
end

local function attempt(ctx, resource, record, options)
  local old = store.object(record)
  old.kind, old.apiVersion = resource.kind, resource.group == "" and resource.version
    or resource.group .. "/" .. resource.version
  local object, entered = options.make(old, record)
  object.kind, object.apiVersion = old.kind, old.apiVersion
  local subresource = options.subresource
  check_uid(resource, object, old, options.whole)
  check_version(resource, object, old, options.whole and not options.no_version)
  if entered and resource.custom then shape(ctx, resource, object) end
  default(ctx, resource, object, old)
  if not options.applied then managed.updated(ctx, resource, object, old, subresource) end
  local a = attributes(ctx, resource, "UPDATE", object, old, subresource)
  if options.review then
    options.review(a, object, old)
    ctx.cluster.admission:mutate(ctx, a)
  else
    object = mutate(ctx, a)
  end
  prepare_update(ctx, resource, object, old, subresource)
  validate(ctx, resource, object, old, subresource)
  ctx.cluster.admission:validate(ctx, a)
  return object, old
end

-- Whether an update changes nothing; that somebody owns the same again does not count.
local function is_same(object, old, record)
  if store.same(record, store.encode(object)) then return true end
  local owners = object.metadata.managedFields
  if not managed.same_but_times(owners, old.metadata.managedFields) then return false end
  object.metadata.managedFields = old.metadata.managedFields
  if store.same(record, store.encode(object)) then return true end
  object.metadata.managedFields = owners
  return false
end

---@class lab.UpdateOptions
---@field make fun(old: table, record: lab.Record): table, boolean? the new object, made afresh for each try; whether a
---  client entered it
---@field whole boolean? it is a replacement, not a patch
---@field subresource string?
---@field resource lab.Resource? default: that of the request
---@field name string? default: that of the request
---@field review fun(a: table, object: table, old: table)? what admission sees instead

---Replaces an object by one made from it; when it has changed before that is stored, of what it has become: who names
---another version than that hears of it then.
---@param ctx lab.Context
---@param options lab.UpdateOptions
---@return string bytes as stored, or as they would be
function M.update(ctx, options)
  local resource = options.resource or ctx.resource
  local c = ctx.cluster:collection(resource)
  local namespace = resource.namespaced and (options.namespace or ctx.route.namespace) or nil
  local name = options.name or ctx.route.name
  for _ = 1, 20 do
    local record = c:get(namespace, name)
    if not record then status.not_found(resource, name) end
    local object, old = attempt(ctx, resource, record, options)
    if c:get(namespace, name) == record then
      object.metadata.resourceVersion = old.metadata.resourceVersion
      if is_same(object, old, record) then return store.bytes(record) end
      if ctx.dry_run then return store.encode(object) end
      ctx.cluster.admission:charge(ctx, resource, object, old)
      local rules = rules_of(ctx, resource)
      local removed = finish(ctx, resource, record, object)
      if removed then return removed end
      local written = M.commit(ctx, resource, record, object)
      if rules.after then rules.after(ctx, object, old) end
      return store.bytes(written)
    end
  end
  status.conflict(resource, name)
end

M.attributes, M.validate, M.mutate = attributes, validate, mutate

return M
