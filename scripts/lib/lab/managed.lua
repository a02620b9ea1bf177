-- lab.managed: who owns which fields (managedFields) of the lab's objects: kube.apply, told of the lab's resources.
-- Not for the rules of ownership themselves (kube.apply), nor for reading bodies.
--   managed.created(ctx, resource, object); local merged = managed.apply(ctx, resource, live, applied, force)

local apply = require "kube.apply"
local errors = require "errors"
local json = require "json"
local status = require "lab.status"

local M = {}

local types = setmetatable({}, { __mode = "k" })

local function version_of(resource)
  return resource.group == "" and resource.version or resource.group .. "/" .. resource.version
end

local function type_of(resource)
  local known = types[resource]
  if not known then
    known = not resource.custom and apply.type_of(version_of(resource) .. "/" .. resource.kind)
      or apply.type_of_openapi(resource.custom and resource.custom.schema)
    types[resource] = known
  end
  return known
end

-- Fields that a path cannot write are nobody's for having been sent through it.
local MAIN, NOTHING = { "status" }, {}
local STATUS, STATUS_ALONE = { "spec" }, { "spec", "metadata" }
local STATUS_OF = {
  ["apps/deployments"] = { "spec", "metadata.labels" },
  pods = { "spec", "metadata.deletionTimestamp", "metadata.ownerReferences" },
  ["apiextensions.k8s.io/customresourcedefinitions"] = STATUS_ALONE,
}

local function reset_of(resource, subresource)
  if subresource == "status" then return resource.custom and STATUS_ALONE or STATUS_OF[resource.stored] or STATUS end
  return not subresource and resource.subresources.status and MAIN or NOTHING
end

local function options_of(ctx, resource, subresource, force)
  return { manager = ctx.manager ~= "" and ctx.manager or "unknown", type = type_of(resource),
           time = ctx.cluster:time(), subresource = subresource, force = force,
           reset = reset_of(resource, subresource) }
end

local function with_kind(resource, object)
  object.kind, object.apiVersion = resource.kind, version_of(resource)
end

-- An object that does not fit its type belongs to nobody; validation will refuse it.
local function owners(old, object, options)
  local ok, list = pcall(apply.owners, old, object, options)
  if not ok and not errors.is(list, "Apply") then error(list, 0) end
  return ok and list or nil
end

-- An object in the form of a resource that shows it otherwise than it is kept.
local function in_form(resource, object)
  if not resource.convert_out or not object then return object end
  local copy = json.decode(json.encode(object))
  copy.new_style = nil
  with_kind(resource, copy)
  return resource.convert_out(copy)
end

local function is_reset(list)
  return type(list) == "table" and (#list == 0 or #list == 1 and next(list[1]) == nil)
end

---Notes who made an object.
---@param ctx lab.Context
---@param resource lab.Resource
---@param object table
---@param subresource string?
function M.created(ctx, resource, object, subresource)
  if ctx.applying then return end
  with_kind(resource, object)
  if is_reset(object.metadata.managedFields) then object.metadata.managedFields = nil end
  object.metadata.managedFields = owners(nil, in_form(resource, object), options_of(ctx, resource, subresource))
end

-- Paths that write objects without leaving a name.
local UNNAMED = { binding = true, eviction = true }

---Notes who changed an object.
---@param ctx lab.Context
---@param resource lab.Resource
---@param object table
---@param old table
---@param subresource string?
function M.updated(ctx, resource, object, old, subresource)
  if UNNAMED[subresource] then return end
  object.metadata.managedFields = owners(in_form(resource, old), in_form(resource, object),
    options_of(ctx, resource, subresource))
end

---Whether two lists of owners differ by times only.
function M.same_but_times(a, b)
  if not a or not b or #a ~= #b then return false end
  for i, entry in ipairs(a) do
    local other = b[i]
    for _, name in ipairs { "manager", "operation", "apiVersion", "subresource" } do
      if entry[name] ~= other[name] then return false end
    end
    if not apply.equal(entry.fieldsV1, other.fieldsV1) then return false end
  end
  return true
end

-- --- apply ----------------------------------------------------------------------------------------------

local function refuse(conflicts)
  local causes = {}
  for i, conflict in ipairs(conflicts) do
    causes[i] = { reason = "FieldManagerConflict", message = conflict.message, field = conflict.field }
  end
  status.raise(409, "Conflict", apply.message(conflicts), { causes = causes })
end

---Lays an applied object over the live one.
---@param ctx lab.Context
---@param resource lab.Resource
---@param live table? nil: it is new
---@param applied table
---@param force boolean
---@param subresource string?
---@return table merged with its managedFields; raises Conflict
function M.apply(ctx, resource, live, applied, force, subresource)
  local ok, merged, conflicts = pcall(apply.apply, live, applied, options_of(ctx, resource, subresource, force))
  if not ok then
    if not errors.is(merged, "Apply") then error(merged, 0) end
    local name = applied.metadata.name
    local where = resource.namespaced and applied.metadata.namespace .. "/" .. name or "/" .. name
    status.plain_500(("failed to create typed patch object (%s; %s, Kind=%s): %s"):format(where, applied.apiVersion,
      applied.kind, merged.message))
  end
  if not merged then refuse(conflicts) end
  return merged
end

return M
