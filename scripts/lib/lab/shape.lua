-- lab.shape: how each place in an object is kept: as one value, by its members, by keys, as a set.
-- Not for validation. Built-in kinds by kube.schema, custom ones by their own schema.
--   local s = shape.of(resource); shape.child(s, "spec")

local json = require "json"
local schema = require "kube.schema"

local M = {}

---@class lab.Shape
---@field kind "struct"|"map"|"list"|"value"|"any"
---@field atomic boolean
---@field list "map"|"set"|nil
---@field keys string[]?

local ANY = { kind = "any", atomic = false }
local VALUE = { kind = "value", atomic = true }
M.ANY = ANY

-- --- built-in kinds -----------------------------------------------------------------------------------

local wrapped = setmetatable({}, { __mode = "k" })

local function of_field(field)
  if not field then return ANY end
  local known = wrapped[field]
  if known then return known end
  local shape
  if field.type == "struct" then
    local named = schema.type(field.name)
    shape = { kind = "struct", atomic = field.atomic or named and named.atomic or false, type = named }
  elseif field.type == "map" then
    shape = { kind = "map", atomic = field.atomic or false, of = field.of }
  elseif field.type == "list" then
    local by_parts = field.list == "map" or field.list == "set"
    shape = { kind = "list", atomic = not by_parts, list = by_parts and field.list or nil, keys = field.keys,
              of = field.of, defaults = field.keys and field.of and field.of.type == "struct" and field.of.name }
  elseif field.type == "any" then
    shape = ANY
  else
    shape = VALUE
  end
  wrapped[field] = shape
  return shape
end

-- --- custom resources -----------------------------------------------------------------------------------

local of_schema

local function custom_list(s)
  local kind = s["x-kubernetes-list-type"]
  local by_parts = kind == "map" or kind == "set"
  return { kind = "list", atomic = not by_parts, list = by_parts and kind or nil,
           keys = s["x-kubernetes-list-map-keys"], schema = s }
end

of_schema = function(s)
  if type(s) ~= "table" then return ANY end
  local known = wrapped[s]
  if known then return known end
  local shape
  if s.type == "array" then
    shape = custom_list(s)
  elseif s.type == "object" or s.properties or s["x-kubernetes-preserve-unknown-fields"] then
    shape = { kind = s.properties and "struct" or "map", atomic = s["x-kubernetes-map-type"] == "atomic", schema = s }
  elseif s.type then
    shape = VALUE
  else
    shape = ANY
  end
  wrapped[s] = shape
  return shape
end

local META = of_field { type = "struct", name = "meta.v1.ObjectMeta" }

---The shape of a resource's objects.
---@param resource lab.Resource
---@return lab.Shape
function M.of(resource)
  if resource.custom then
    local inner = of_schema(resource.custom.schema or { type = "object" })
    return { kind = "struct", atomic = false, root = inner, custom = true }
  end
  local version = resource.group == "" and resource.version or resource.group .. "/" .. resource.version
  local name = schema.kind(version .. "/" .. resource.kind)
  return name and { kind = "struct", atomic = false, type = schema.type(name) } or ANY
end

-- --- going down -----------------------------------------------------------------------------------------

---The shape below a name.
---@param shape lab.Shape
---@param name string
---@return lab.Shape
---@return boolean declared whether the name is a field, not a key of a map
function M.child(shape, name)
  if shape.root then
    if name == "metadata" then return META, true end
    return M.child(shape.root, name)
  end
  if shape.type then
    local field = shape.type.fields[name]
    return of_field(field), field ~= nil
  end
  if shape.of then return of_field(shape.of), false end
  local s = shape.schema
  if s then
    if s.properties and s.properties[name] then return of_schema(s.properties[name]), true end
    if type(s.additionalProperties) == "table" then return of_schema(s.additionalProperties), false end
  end
  return ANY, false
end

---The shape of a list's items.
function M.item(shape)
  if shape.of then return of_field(shape.of) end
  if shape.schema then return of_schema(shape.schema.items) end
  return ANY
end

-- Keys that items may leave out, and what is meant then.
local KEY_DEFAULTS = { protocol = "TCP" }

local encode_options = { sort = true }

---The name of an item of a list: `k:{…}` or `v:…`; nil when a key is missing.
---@param shape lab.Shape
---@param item any
---@return string?
function M.item_name(shape, item)
  if shape.list == "set" then return "v:" .. json.encode(item, encode_options) end
  local keys = shape.keys or {}
  if #keys == 1 and type(item) == "table" and type(item[keys[1]]) == "string" then
    local value = item[keys[1]]
    if not value:find '[%c"\\<>&\x80-\xff]' then return ('k:{"%s":"%s"}'):format(keys[1], value) end
  end
  local key = json.object {}
  for _, name in ipairs(shape.keys or {}) do
    local value = type(item) == "table" and item[name]
    if value == nil or value == false then value = KEY_DEFAULTS[name] end
    if value == nil then return nil end
    key[name] = value
  end
  return "k:" .. json.encode(key, encode_options)
end

---How a value is kept where a shape does not say.
function M.parts(shape, value)
  if shape.atomic or shape.kind == "value" or type(value) ~= "table" then return "one" end
  if json.is_array(value) then return shape.list and "items" or "one" end
  return "members"
end

return M
