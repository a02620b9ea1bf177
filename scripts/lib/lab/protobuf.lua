-- lab.protobuf: bodies in Kubernetes' form of Protocol Buffers, which typed Go clients send (kubectl create).
-- Not for answers: those are JSON, which such clients accept too.
--   protobuf.decode(body) -> object

local clock = require "lab.clock"
local fields = require "lab.protobuf_fields"
local hash = require "hash"
local json = require "json"
local schema = require "kube.schema"
local status = require "lab.status"

local M = {}

M.MEDIA = "application/vnd.kubernetes.protobuf"

local MAGIC = "k8s\0"

local function malformed() status.bad_request "the object provided is unrecognized: its protobuf form is malformed" end

-- --- the wire -------------------------------------------------------------------------------------------

local function varint(text, at)
  local value, shift = 0, 0
  while true do
    local byte = text:byte(at)
    if not byte or shift > 63 then malformed() end
    value = value | (byte & 127) << shift
    at = at + 1
    if byte < 128 then return value, at end
    shift = shift + 7
  end
end

-- Calls visit(number, value) for each field: a number, or the bytes of what has a length.
local function each(text, visit)
  local at = 1
  while at <= #text do
    local key
    key, at = varint(text, at)
    local number, kind = key >> 3, key & 7
    local value
    if kind == 0 then
      value, at = varint(text, at)
    elseif kind == 2 then
      local size
      size, at = varint(text, at)
      if size < 0 or at + size - 1 > #text then malformed() end
      value = text:sub(at, at + size - 1)
      at = at + size
    elseif kind == 1 or kind == 5 then
      local size = kind == 1 and 8 or 4
      if at + size - 1 > #text then malformed() end
      value = string.unpack(kind == 1 and "<d" or "<f", text, at)
      at = at + size
    else
      malformed()
    end
    visit(number, value)
  end
end

local function only(text, wanted)
  local found
  each(text, function(number, value)
    if number == wanted then found = value end
  end)
  return found
end

-- --- types ----------------------------------------------------------------------------------------------

local numbers = {} -- type -> number -> name

local function names_of(type_name)
  local known = numbers[type_name]
  if known then return known end
  known = {}
  local last = 0
  for word in (fields[type_name] or ""):gmatch "%S+" do
    local number, name = word:match "^(%d+):(.*)$"
    last = number and math.tointeger(number) or last + 1
    known[last] = name or word
  end
  numbers[type_name] = known
  return known
end

local function int32(value) return (value + 0x80000000 & 0xffffffff) - 0x80000000 end

local function time_text(bytes, micro)
  local seconds, nanos = 0, 0
  each(bytes, function(number, value)
    if number == 1 then seconds = value elseif number == 2 then nanos = value end
  end)
  if seconds == 0 and nanos == 0 then return nil end -- a time that was never set
  return micro and clock.micro(seconds + nanos / 1e9) or clock.text(seconds)
end

local function int_or_string(bytes)
  local kind, number, text = 0, 0, ""
  each(bytes, function(which, value)
    if which == 1 then kind = value elseif which == 2 then number = value elseif which == 3 then text = value end
  end)
  return kind == 0 and int32(number) or text
end

local function raw_json(bytes)
  local text = only(bytes, 1)
  return text and text ~= "" and json.decode(text) or json.object {}
end

local message

local READ = {
  string = function(value) return value end,
  bytes = function(value) return hash.base64(value) end,
  boolean = function(value) return value ~= 0 end,
  int32 = int32, int64 = function(value) return value end, float = function(value) return value end,
  quantity = function(value) return only(value, 1) or "0" end,
  time = function(value) return time_text(value, false) end,
  micro_time = function(value) return time_text(value, true) end,
  duration = function(value) return ("%ds"):format((only(value, 1) or 0) // 1000000000) end,
  int_or_string = int_or_string, any = raw_json,
}

local function read(field, value)
  if field.type == "struct" then return message(field.name, value) end
  if field.type == "list" then -- a list in a map: a message of its own
    local list = json.array {}
    each(value, function(_, one) list[#list + 1] = read(field.of, one) end)
    return list
  end
  return READ[field.type](value)
end

message = function(type_name, bytes)
  local known = schema.type(type_name)
  local names = names_of(type_name)
  local object = json.object {}
  each(bytes, function(number, value)
    local name = names[number]
    local field = name and known.fields[name]
    if not field then return end
    if field.type == "list" then
      object[name] = object[name] or json.array {}
      table.insert(object[name], read(field.of, value))
    elseif field.type == "map" then
      object[name] = object[name] or json.object {}
      local inner = only(value, 2)
      object[name][only(value, 1) or ""] = inner ~= nil and read(field.of, inner)
        or (field.of.type == "string" and "" or read(field.of, ""))
    else
      object[name] = read(field, value)
    end
  end)
  return object
end

-- What Go writes even when nothing was set: an absent text is the same to it.
local function without_empty(value)
  for key, inner in pairs(value) do
    if inner == "" then
      value[key] = nil
    elseif type(inner) == "table" and key ~= "data" and key ~= "labels" and key ~= "annotations" then
      without_empty(inner)
    end
  end
  return value
end

---The object that a body holds.
---@param body string
---@return table raises BadRequest
function M.decode(body)
  if body:sub(1, 4) ~= MAGIC then malformed() end
  local meta, raw = "", ""
  each(body:sub(5), function(number, value)
    if number == 1 then meta = value elseif number == 2 then raw = value end
  end)
  local version, kind = only(meta, 1) or "", only(meta, 2) or ""
  local type_name = schema.kind(version .. "/" .. kind) or kind == "DeleteOptions" and "meta.v1.DeleteOptions"
  if not type_name then
    status.bad_request('no kind "%s" is registered for version "%s"', kind, version)
  end
  local object = without_empty(message(type_name, raw))
  object.apiVersion, object.kind = version, kind
  return object
end

return M
