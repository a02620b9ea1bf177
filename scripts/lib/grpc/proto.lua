-- grpc.proto: messages of Protocol Buffers (proto3) as Lua tables, by a table that names their fields.
-- Not for .proto files, services, groups or extensions.
--   local Point = proto.message { x = { 1, "int32" }, y = { 2, "int32" } }; local bytes = Point:encode { x = 1 }

local errors = require "errors"
local json = require "json"

local M = {}

local VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
local DEPTH = 100

local function fail(message, ...)
  errors.raise { code = "Proto", message = message:format(...) }
end

-- --- numbers on the wire --------------------------------------------------------------------------

local function write_varint(value)
  if value >= 0 and value < 0x80 then return string.char(value) end
  local bytes = {}
  repeat
    local low = value & 0x7f
    value = value >> 7
    bytes[#bytes + 1] = string.char(value ~= 0 and low | 0x80 or low)
  until value == 0
  return table.concat(bytes)
end

local function read_varint(bytes, at)
  local value, shift = 0, 0
  while true do
    local byte = bytes:byte(at)
    if not byte or shift > 63 then fail "a number is cut off or too long" end
    value = value | (byte & 0x7f) << shift
    at = at + 1
    if byte < 0x80 then return value, at end
    shift = shift + 7
  end
end

local function signed32(value)
  value = value & 0xffffffff
  return value >= 0x80000000 and value - 0x100000000 or value
end

local function identity(value) return value end

-- Each type: how it lies on the wire, what is written for a value, what a read number means, the default.
local function integer(read, write)
  return { wire = VARINT, read = read, zero = 0, write = write or identity }
end

local function zigzag(value) return (value << 1) ~ (value >> 63 ~= 0 and -1 or 0) end
local function unzigzag(value) return (value >> 1) ~ -(value & 1) end

local function packed(wire, format, zero)
  return { wire = wire, format = format, zero = zero }
end

local TYPES = {
  int32 = integer(signed32), int64 = integer(identity), uint64 = integer(identity), enum = integer(signed32),
  uint32 = integer(function(value) return value & 0xffffffff end),
  sint32 = integer(function(value) return signed32(unzigzag(value)) end, zigzag), sint64 = integer(unzigzag, zigzag),
  bool = { wire = VARINT, zero = false, read = function(value) return value ~= 0 end,
    write = function(value) return value and 1 or 0 end },
  double = packed(FIXED64, "<d", 0), fixed64 = packed(FIXED64, "<I8", 0), sfixed64 = packed(FIXED64, "<i8", 0),
  float = packed(FIXED32, "<f", 0), fixed32 = packed(FIXED32, "<I4", 0), sfixed32 = packed(FIXED32, "<i4", 0),
  string = { wire = BYTES, zero = "" }, bytes = { wire = BYTES, zero = "" },
}

-- --- writing --------------------------------------------------------------------------------------

local encode

local function write_value(kind, value, path)
  if kind.fields then return encode(kind, value, path) end
  if kind.wire == BYTES then
    if type(value) ~= "string" then error(("%s: text expected, got %s"):format(path, type(value)), 0) end
    return value
  end
  if kind.format then return string.pack(kind.format, value) end
  if kind.zero == 0 and math.type(value) ~= "integer" then
    error(("%s: integer expected, got %s"):format(path, tostring(value)), 0)
  end
  return write_varint(kind.write(value))
end

local function add_field(out, field, value, path)
  local kind = field.kind
  local bytes = write_value(kind, value, path)
  out[#out + 1] = write_varint(field.number << 3 | kind.wire)
  if kind.wire == BYTES then out[#out + 1] = write_varint(#bytes) end
  out[#out + 1] = bytes
end

local function add_repeated(out, field, list, path)
  if field.kind.wire == BYTES then
    for i, value in ipairs(list) do add_field(out, field, value, ("%s[%d]"):format(path, i)) end
  elseif #list > 0 then
    local pieces = {}
    for i, value in ipairs(list) do pieces[i] = write_value(field.kind, value, path) end
    local bytes = table.concat(pieces)
    out[#out + 1] = write_varint(field.number << 3 | BYTES) .. write_varint(#bytes) .. bytes
  end
end

local function add_map(out, field, map, path)
  local keys = {}
  for key in pairs(map) do keys[#keys + 1] = key end
  table.sort(keys, function(a, b) return tostring(a) < tostring(b) end)
  for _, key in ipairs(keys) do add_field(out, field, { key = key, value = map[key] }, path) end
end

function encode(message, value, path)
  if type(value) ~= "table" then error(("%s: table expected, got %s"):format(path, type(value)), 0) end
  local out = {}
  for _, field in ipairs(message.order) do
    local given = value[field.name]
    local at = path .. "." .. field.name
    local absent = given == nil or given == json.null or (given == field.kind.zero and not field.optional)
    if not absent then
      local add = field.map and add_map or field.repeated and add_repeated or add_field
      add(out, field, given, at)
    end
  end
  for name in pairs(value) do
    if not message.fields[name] then error(("%s: the message has no field '%s'"):format(path, name), 0) end
  end
  return table.concat(out)
end

-- --- reading --------------------------------------------------------------------------------------

local decode

local function read_bytes(bytes, at)
  local length
  length, at = read_varint(bytes, at)
  if length < 0 or at + length - 1 > #bytes then fail "a field is cut off" end
  return bytes:sub(at, at + length - 1), at + length
end

local function read_fixed(bytes, at, format, size)
  if at + size - 1 > #bytes then fail "a number is cut off" end
  return string.unpack(format, bytes, at), at + size
end

-- A value as it lies on the wire, of any type.
local function read_raw(bytes, at, wire)
  if wire == VARINT then return read_varint(bytes, at) end
  if wire == BYTES then return read_bytes(bytes, at) end
  if wire == FIXED64 then return read_fixed(bytes, at, "c8", 8) end
  if wire == FIXED32 then return read_fixed(bytes, at, "c4", 4) end
  fail("a field of wire type %d", wire)
end

local function understand(kind, raw, depth)
  if kind.fields then return decode(kind, raw, depth + 1) end
  if kind.format then return (string.unpack(kind.format, raw)) end
  if kind.read then return kind.read(raw) end
  return raw
end

local function read_packed(field, bytes, list)
  local at = 1
  while at <= #bytes do
    local raw
    raw, at = read_raw(bytes, at, field.kind.wire)
    list[#list + 1] = understand(field.kind, raw, 0)
  end
end

local function put(field, value, raw, wire, depth)
  local name = field.name
  if field.repeated and not value[name] then value[name] = json.array {} end
  if wire == field.kind.wire then
    local got = understand(field.kind, raw, depth)
    if field.map then
      value[name] = value[name] or {}
      value[name][got.key == nil and field.key_zero or got.key] = got.value == nil and field.value_zero or got.value
    elseif field.repeated then table.insert(value[name], got)
    else value[name] = got
    end
  elseif wire == BYTES and field.repeated then
    read_packed(field, raw, value[name])
  end
end

function decode(message, bytes, depth)
  if depth > DEPTH then fail "messages are nested too deep" end
  local value, at = {}, 1
  while at <= #bytes do
    local tag, raw
    tag, at = read_varint(bytes, at)
    local field, wire = message.by_number[tag >> 3], tag & 7
    raw, at = read_raw(bytes, at, wire)
    if field then put(field, value, raw, wire, depth) end
  end
  return value
end

-- --- messages -------------------------------------------------------------------------------------

---@class grpc.Message
local Message = {}
Message.__index = Message

---@param value table
---@return string bytes raises a text when a value is not of its field's type
function Message:encode(value)
  return encode(self, value, "message")
end

---@param bytes string
---@return table value fields that are not there are nil; of a repeated one too; raises "Proto"
function Message:decode(bytes)
  return decode(self, bytes, 0)
end

local function kind_of(name)
  local kind = type(name) == "table" and name or TYPES[name]
  if not kind then error(("there is no type '%s'"):format(tostring(name)), 4) end
  return kind
end

local function new_field(name, given)
  local field = { name = name, number = given[1], repeated = given.repeated, optional = given.optional }
  if given.map then
    field.map = true
    field.kind = M.message { key = { 1, given.map[1] }, value = { 2, given.map[2] } }
    field.key_zero, field.value_zero = kind_of(given.map[1]).zero, kind_of(given.map[2]).zero
  else
    field.kind = kind_of(given[2])
  end
  return field
end

---Describes a message.
---@param fields table<string, table> {number, type, repeated=, optional=} or {number, map = {key, value}}; a type is
---  a name of proto3 ("string", "int64", "enum", …) or another message; optional: zero values are written too
---@return grpc.Message
function M.message(fields)
  local message = setmetatable({ fields = {}, by_number = {}, order = {}, wire = BYTES }, Message)
  for name, given in pairs(fields) do
    local field = new_field(name, given)
    message.fields[name] = field
    message.by_number[field.number] = field
    table.insert(message.order, field)
  end
  table.sort(message.order, function(a, b) return a.number < b.number end)
  return message
end

return M
