-- Types as server-side apply sees them: how each map and list of an object is owned and merged.
-- Built-in kinds get theirs from kube.schema, custom ones from the OpenAPI schema of their definition.
--   local t = types.of_kind "apps/v1/Deployment"; print(types.fields(t).spec.kind)
--
-- A type is {kind = "map", fields = {NAME = type}, zeros = {NAME = value}, element = type, atomic = bool},
-- {kind = "list", element = type,
-- list = "atomic" | "set" | "map", keys = {…}}, {kind = "scalar", default =} or {kind = "deduced"} (by the value).
local json = require "json"
local schema = require "kube.schema"

local M = {}

local SCALAR = { kind = "scalar" }
M.DEDUCED = { kind = "deduced" }
M.ATOMIC = { kind = "atomic" } -- any value, owned as one
local STRUCTS = {}

local of_field

local ZEROS = { struct = json.object {}, string = "", boolean = false, int32 = 0, int64 = 0, float = 0, quantity = "0",
                duration = "0s", int_or_string = 0 }

-- What Go writes for the fields of a struct that have no value, where it writes them at all.
local function zeros_of(described)
  local zeros = {}
  for name, facts in pairs(described.fields) do
    if facts.written then
      local zero = ZEROS[facts.type]
      if zero == nil then zero = json.null end
      zeros[name] = zero
    end
  end
  return zeros
end

-- The type of a built-in struct; its fields are made when they are asked for.
local function of_struct(name, atomic)
  local key = name .. (atomic and "/A" or "")
  local found = STRUCTS[key]
  if found then return found end
  local described = schema.type(name)
  local fields = setmetatable({}, {
    __index = function(self, field)
      local facts = described.fields[field]
      if not facts then return nil end
      local made = of_field(facts)
      rawset(self, field, made)
      return made
    end,
  })
  found = { kind = "map", fields = fields, atomic = atomic or described.atomic or false, zeros = zeros_of(described) }
  STRUCTS[key] = found
  return found
end

function of_field(facts)
  if facts.type == "struct" then return of_struct(facts.name, facts.atomic) end
  if facts.type == "list" then
    return { kind = "list", element = of_field(facts.of), list = facts.list or "atomic", keys = facts.keys }
  end
  if facts.type == "map" then return { kind = "map", element = of_field(facts.of), atomic = facts.atomic or false } end
  if facts.type == "any" then return M.ATOMIC end
  if facts.default then return { kind = "scalar", default = json.decode(facts.default) } end
  return SCALAR
end

---The type of a built-in kind ("apps/v1/Deployment"); nil when it is not built in.
function M.of_kind(kind)
  local name = schema.kind(kind)
  return name and of_struct(name) or nil
end

-- --- OpenAPI --------------------------------------------------------------------------------------

local of_openapi

local function of_array(described)
  local kind = described["x-kubernetes-list-type"] or "atomic"
  return { kind = "list", element = described.items and of_openapi(described.items) or M.DEDUCED, list = kind,
    keys = described["x-kubernetes-list-map-keys"] }
end

local function of_object(described)
  local type_ = { kind = "map", atomic = described["x-kubernetes-map-type"] == "atomic", lenient = true }
  if described.properties then
    type_.fields = {}
    for name, property in pairs(described.properties) do type_.fields[name] = of_openapi(property) end
  end
  local more = described.additionalProperties
  if type(more) == "table" then type_.element = of_openapi(more) end
  if more == true or described["x-kubernetes-preserve-unknown-fields"] then type_.element = M.DEDUCED end
  if described["x-kubernetes-embedded-resource"] then
    type_.fields = type_.fields or {}
    type_.fields.apiVersion, type_.fields.kind = SCALAR, SCALAR
    type_.fields.metadata = of_struct "meta.v1.ObjectMeta"
    type_.element = type_.element or M.DEDUCED
  end
  if not type_.fields and not type_.element then type_.element = M.DEDUCED end
  return type_
end

function of_openapi(described)
  if described["x-kubernetes-int-or-string"] then return SCALAR end
  if described.type == "array" then return of_array(described) end
  if described.type == "object" or described.properties or described.additionalProperties then
    return of_object(described)
  end
  if not described.type then return M.DEDUCED end
  if described.default ~= nil then return { kind = "scalar", default = described.default } end
  return SCALAR
end

---The type of a custom resource from the openAPIV3Schema of its version (nil: everything by its value).
function M.of_openapi(described)
  local type_ = described and of_object(described) or { kind = "map", element = M.DEDUCED, fields = {} }
  type_.fields = type_.fields or {}
  type_.fields.apiVersion, type_.fields.kind = SCALAR, SCALAR
  type_.fields.metadata = of_struct "meta.v1.ObjectMeta"
  return type_
end

-- --- reading --------------------------------------------------------------------------------------

---The type of a map's member; `declared` tells whether the schema names it.
function M.member(type_, name)
  local field = type_.fields and type_.fields[name]
  if field then return field, true end
  return type_.element or M.DEDUCED, false
end

local LIST = { kind = "list", list = "atomic", element = M.DEDUCED }
local MAP = { kind = "map", element = M.DEDUCED, atomic = false }
local ATOMIC_MAP = { kind = "map", element = M.DEDUCED, atomic = true }

---The type for a value at hand: what is deduced, or does not fit the value, follows the value.
function M.resolve(type_, value)
  local kind = type(value) == "table" and (json.is_array(value) and "list" or "map") or "scalar"
  if type_.kind == "atomic" then return kind == "list" and LIST or kind == "map" and ATOMIC_MAP or SCALAR end
  if type_.kind == kind then return type_ end
  if value == json.null or value == nil then return type_.kind == "deduced" and SCALAR or type_ end
  -- An empty table of a script may be a list as well.
  if type_.kind == "list" and kind == "map" and next(value) == nil then return type_ end
  return kind == "list" and LIST or kind == "map" and MAP or SCALAR
end

return M
