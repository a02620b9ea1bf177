-- lab.types: bodies of built-in kinds against their types: unknown fields go, wrong types are refused as Go does.
-- Not for what values may be (lab.rules) nor for custom resources (lab.structural).
--   types.check(resource, object) -> paths of unknown fields

local clock = require "lab.clock"
local json = require "json"
local quantities = require "lab.quantities"
local schema = require "kube.schema"
local status = require "lab.status"

local M = {}

---The kind of a JSON value, as Go names it.
function M.json_name(value)
  if value == nil or value == json.null then return "null" end
  if type(value) == "table" then return json.is_array(value) and "array" or "object" end
  if type(value) == "boolean" then return "bool" end
  return type(value)
end

local GO = { string = "string", boolean = "bool", int32 = "int32", int64 = "int64", float = "float64",
             bytes = "[]uint8", int_or_string = "intstr.IntOrString" }

local function go_struct(name)
  local version, short = name:match "%.([^.]+)%.([^.]+)$"
  return version and version .. "." .. short or name
end

local function go_type(field)
  if field.type == "list" then return "[]" .. go_type(field.of) end
  if field.type == "map" then return "map[string]" .. go_type(field.of) end
  if field.type == "struct" then return go_struct(field.name) end
  return GO[field.type] or field.type
end

-- Where a walk is: the kind, the path with indices for clients, the names for Go's message.
---@class lab.types.Walk
---@field resource lab.Resource
---@field unknown string[]

-- The names on the way down stand in the walk itself; a number is the index of an item.
local function path_of(walk, last)
  local parts = {}
  for i = 1, walk.depth do
    local step = walk[i]
    if type(step) == "number" then
      parts[#parts + 1] = ("[%d]"):format(step)
    else
      parts[#parts + 1] = (#parts > 0 and "." or "") .. step
    end
  end
  if last then parts[#parts + 1] = (#parts > 0 and "." or "") .. last end
  return table.concat(parts)
end

-- The same without indices and keys of maps, after the kind: how Go names a field.
local function go_path(walk)
  local parts = { walk.resource.kind }
  for i = 1, walk.depth do
    if type(walk[i]) ~= "number" and not walk.keys[i] then parts[#parts + 1] = walk[i] end
  end
  return table.concat(parts, ".")
end

local function refuse(walk, text)
  local r = walk.resource
  status.bad_request('%s in version "%s" cannot be handled as a %s: %s', r.kind, r.version, r.kind, text)
end

local function wrong_type(walk, value, field)
  refuse(walk, ("json: cannot unmarshal %s into Go struct field %s of type %s"):format(
    M.json_name(value), go_path(walk), go_type(field)))
end

local function check_time(walk, value, micro)
  if value == "" and not micro then return end
  if clock.parse(value) then return end
  local layout = micro and "2006-01-02T15:04:05.000000Z07:00" or "2006-01-02T15:04:05Z07:00"
  refuse(walk, ('parsing time "%s" as "%s": cannot parse "%s" as "2006"'):format(value, layout, value))
end

-- What most values are, as type() says it; the rest is looked at closely.
local PLAIN = { string = "string", boolean = "boolean", bytes = "string", duration = "string", float = "number",
                int_or_string = "string" }

local SCALARS = {
  string = function(value) return type(value) == "string" end,
  boolean = function(value) return type(value) == "boolean" end,
  int32 = function(value) return math.type(value) == "integer" end,
  int64 = function(value) return math.type(value) == "integer" end,
  float = function(value) return type(value) == "number" end,
  bytes = function(value) return type(value) == "string" end,
  duration = function(value) return type(value) == "string" end,
  int_or_string = function(value) return type(value) == "string" or math.type(value) == "integer" end,
}

local function is_object(value)
  return type(value) == "table" and (not json.is_array(value) or next(value) == nil)
end

local check_value

local null = json.null

-- What Go leaves out of plain fields, as it does what is empty.
local ZERO = { [0] = true, [false] = true, [""] = true }
local EMPTIES = { list = true, map = true }

-- Nulls go too: to Go a null is the same as an absent field.
local function check_struct(walk, value, name)
  local known = schema.type(name)
  if not known then return end
  local fields = known.fields
  local depth = walk.depth + 1
  for key, inner in pairs(value) do
    local field = fields[key]
    if not field then
      walk.unknown[#walk.unknown + 1] = path_of(walk, key)
      value[key] = nil
    elseif inner == null then
      value[key] = nil
    elseif field.left_out and ZERO[inner] and not walk.as_it_is then
      value[key] = nil
    elseif PLAIN[field.type] ~= type(inner) then
      walk[depth], walk.keys[depth], walk.depth = key, false, depth
      check_value(walk, inner, field)
      walk.depth = depth - 1
      -- Go leaves out what is empty, but where a field is written always; an empty list of owners resets them.
      if EMPTIES[field.type] and next(inner) == nil and not field.written and key ~= "managedFields"
        and not walk.as_it_is then
        value[key] = nil
      end
    end
  end
end

-- Members of a map or items of a list, by their keys.
local function check_all(walk, value, field, offset)
  local depth = walk.depth + 1
  local plain = PLAIN[field.type]
  for key, one in pairs(value) do
    if one == null then
      if offset == 0 then value[key] = nil end
    elseif plain ~= type(one) then
      walk[depth], walk.keys[depth], walk.depth = offset == 0 and key or key - offset, true, depth
      check_value(walk, one, field)
      walk.depth = depth - 1
    end
  end
end

check_value = function(walk, value, field)
  local kind = field.type
  local scalar = SCALARS[kind]
  if scalar then
    if not scalar(value) then wrong_type(walk, value, field) end
  elseif kind == "struct" then
    if not is_object(value) then wrong_type(walk, value, field) end
    check_struct(walk, value, field.name)
  elseif kind == "list" then
    if type(value) ~= "table" or not json.is_array(value) and next(value) ~= nil then
      wrong_type(walk, value, field)
    end
    check_all(walk, value, field.of, 1)
  elseif kind == "map" then
    if not is_object(value) then wrong_type(walk, value, field) end
    check_all(walk, value, field.of, 0)
  elseif kind == "quantity" then
    if type(value) ~= "string" and type(value) ~= "number" then wrong_type(walk, value, field) end
    local ok = pcall(quantities.tidy, value)
    if not ok then refuse(walk, quantities.PATTERN) end
  elseif kind == "time" or kind == "micro_time" then
    if type(value) ~= "string" then wrong_type(walk, value, field) end
    check_time(walk, value, kind == "micro_time")
  end
end

---Checks an object of a built-in kind, and drops what its type does not know.
---@param resource lab.Resource
---@param object table
---@param as_it_is boolean? what is empty stays, and nothing is added
---@return string[] paths of what was dropped
function M.check(resource, object, as_it_is)
  local version = resource.group == "" and resource.version or resource.group .. "/" .. resource.version
  local name = schema.kind(version .. "/" .. resource.kind)
  local walk = { resource = resource, unknown = {}, depth = 0, keys = {}, as_it_is = as_it_is }
  if name then check_struct(walk, object, name) end
  local spec = name and not as_it_is and schema.type(name).fields.spec
  if spec and spec.written and object.spec == nil then object.spec = json.object {} end
  return walk.unknown
end

return M
