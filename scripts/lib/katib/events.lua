-- Event files of TensorFlow, as Katib's collector for them reads them: the scalars that a training wrote.
-- Not for images, graphs and histograms: those are passed over.
--   local found, unavailable = events.metrics("/var/log/katib/tfevent", { "accuracy", "test/loss" }, print)
--
-- A file is a row of records (length, its checksum, an Event, its checksum). What comes before a bad record counts.

local decimal = require "katib.decimal"
local errors = require "errors"
local fs = require "fs"
local hash = require "hash"
local message = require "grpc.proto".message
local metrics = require "katib.metrics"

local M = {}

-- --- messages ----------------------------------------------------------------------------------------

local SESSION_START = 1
local FLOAT, DOUBLE, HALF, BFLOAT, BOOL = 1, 2, 19, 14, 10
-- Where a tensor's numbers are, and how they lie in its content, by type.
local KINDS = {
  [FLOAT] = { "floats", "<f" }, [DOUBLE] = { "doubles", "<d" }, [3] = { "ints", "<i4" }, [4] = { "ints", "<I1" },
  [5] = { "ints", "<i2" }, [6] = { "ints", "<i1" }, [9] = { "longs", "<i8" }, [BOOL] = { "bools", "<I1" },
  [17] = { "ints", "<I2" }, [22] = { "words", "<I4" }, [23] = { "unsigned", "<I8" },
  [HALF] = { "halves", "<I2" }, [BFLOAT] = { "halves", "<I2" },
}

local Event

local function event_message()
  if Event then return Event end
  local dimension = message { size = { 1, "int64" } }
  local function list(number, kind) return { number, kind, repeated = true } end
  local tensor = message { type = { 1, "enum" }, shape = { 2, message { dimensions = list(2, dimension) } },
    content = { 4, "bytes" }, floats = list(5, "float"), doubles = list(6, "double"), ints = list(7, "int32"),
    longs = list(10, "int64"), bools = list(11, "bool"), halves = list(13, "int32"), words = list(16, "uint32"),
    unsigned = list(17, "uint64") }
  local value = message { tag = { 1, "string" }, simple = { 2, "float" }, tensor = { 8, tensor } }
  Event = message { time = { 1, "double" }, step = { 2, "int64" }, version = { 3, "string" },
    summary = { 5, message { values = list(1, value) } }, session = { 7, message { status = { 1, "enum" } } } }
  return Event
end

-- --- numbers -----------------------------------------------------------------------------------------

local function as_float(value) return (string.unpack("<f", string.pack("<f", value))) end

-- The nearest number that has half the width of a float.
local function as_half(value)
  local _, exponent = ("%a"):format(value):match "^(.*)p(.*)$"
  local unit = 2.0 ^ (math.max(math.tointeger(tonumber(exponent)), -14) - 10)
  local whole = value / unit
  local low = math.floor(whole)
  local up = whole - low > 0.5 or whole - low == 0.5 and low % 2 == 1
  return (low + (up and 1 or 0)) * unit
end

local function as_brain(value) -- a float without its lower half
  local bits = string.unpack("<I4", string.pack("<f", value))
  bits = bits + 0x7fff + (bits >> 16 & 1)
  return (string.unpack("<f", string.pack("<I4", bits & 0xffff0000)))
end

local function half(bits)
  local sign, exponent, fraction = bits >> 15 == 1 and -1 or 1, bits >> 10 & 31, bits & 1023
  if exponent == 31 then return fraction == 0 and sign * math.huge or 0 / 0 end
  if exponent == 0 then return sign * (fraction * 2.0 ^ -24) end
  return sign * (1 + fraction / 1024) * 2.0 ^ (exponent - 15)
end

local function number_text(kind, number)
  if kind == BOOL then return (number == true or number == 1) and "True" or "False" end
  if kind == HALF then return decimal.python_text(half(number), as_half) end
  if kind == BFLOAT then return decimal.python_text(string.unpack("<f", string.pack("<I4", number << 16)), as_brain) end
  if kind == FLOAT then return decimal.python_text(number, as_float) end
  if kind == DOUBLE then return decimal.python_text(number) end
  return ("%d"):format(number)
end

-- The text of a tensor that is one number; nil of others.
local function scalar(tensor)
  local kind = KINDS[tensor.type or 0]
  for _, dimension in ipairs(tensor.shape and tensor.shape.dimensions or {}) do
    if dimension.size ~= 1 then return nil end
  end
  if not kind then return nil end
  local number = (tensor[kind[1]] or {})[1]
  local content = tensor.content or ""
  if content ~= "" then
    if #content ~= string.packsize(kind[2]) then return nil end
    number = string.unpack(kind[2], content)
  end
  if number == nil then number = tensor.type <= DOUBLE and 0.0 or 0 end
  return number_text(tensor.type, number)
end

-- --- records -----------------------------------------------------------------------------------------

local function masked(text)
  local sum = hash.crc32c(text)
  return ((sum >> 15 | sum << 17) + 0xa282ead8) & 0xffffffff
end

local function fail(offset, format, ...)
  return { code = "Events", offset = offset, message = ("the record at byte %d "):format(offset) .. format:format(...) }
end

-- The next record; nil at the end, and what is wrong when that is not where it should be.
local function next_record(bytes, at)
  local left = #bytes - at + 1
  if left == 0 then return nil end
  if left < 12 then return nil, fail(at - 1, "is cut off") end
  local length, sum = string.unpack("<I8I4", bytes, at)
  if masked(bytes:sub(at, at + 7)) ~= sum then return nil, fail(at - 1, "has a wrong checksum of its length") end
  if length < 0 or length > left - 16 then return nil, fail(at - 1, "is cut off") end
  local data = bytes:sub(at + 12, at + 11 + length)
  if masked(data) ~= string.unpack("<I4", bytes, at + 12 + length) then
    return nil, fail(at - 1, "has a wrong checksum of its data")
  end
  return data, nil, at + 16 + length
end

-- A training that began anew at a step: what it had written from there on is void.
local function forget(list, step)
  for i = #list, 1, -1 do
    if list[i].step >= step then table.remove(list, i) end
  end
end

local function add_event(list, tags, event)
  if event.session and event.session.status == SESSION_START then
    if list.started then forget(list, event.step or 0) end
    list.started = true
  end
  for _, value in ipairs(event.summary and event.summary.values or {}) do
    local tag = value.tag or ""
    if not tags[tag] then
      tags[tag] = true
      tags[#tags + 1] = tag
    end
    local text = value.simple and decimal.python_text(value.simple, as_float) or value.tensor and scalar(value.tensor)
    if text then
      list[#list + 1] = { tag = tag, value = text, step = event.step or 0, time = event.time or 0 }
    end
  end
end

---The scalars of an event file, as far as it can be read.
---@param bytes string
---@return {tag: string, value: string, step: integer, time: number}[] scalars
---@return string[] tags in the order in which they came
---@return table? problem where it cannot be read on: an error table with offset
function M.read(bytes)
  local list, tags, at = {}, {}, 1
  while true do
    local data, problem, after = next_record(bytes, at)
    if not data then
      list.started = nil
      return list, tags, problem
    end
    local ok, event = pcall(function() return event_message():decode(data) end)
    if not ok then return list, tags, fail(at - 1, "is no Event: %s", errors.text(event)) end
    add_event(list, tags, event)
    at = after
  end
end

-- --- a directory ---------------------------------------------------------------------------------------

local function files(directory, list)
  for _, name in ipairs(fs.list(directory)) do
    local path = fs.join(directory, name)
    local stat = fs.stat(path)
    if stat and stat.type == "directory" then
      files(path, list)
    elseif name:find("tfevents", 1, true) then
      list[#list + 1] = path
    end
  end
  table.sort(list)
  return list
end

local function ends_with(text, tail) return tail == "" or text:sub(-#tail) == tail end

-- A name may say in which folder its file is: "test/accuracy".
local function is_meant(name, tag, folder)
  local parent, short = name:match "^(.*)/([^/]*)$"
  return tag:sub(1, #(short or name)) == (short or name) and (not parent or ends_with(folder, parent))
end

local function add_scalars(found, name, tag, scalars)
  for _, one in ipairs(scalars) do
    if one.tag == tag then
      found[#found + 1] = { name = name, value = one.value,
        timestamp = os.date("!%Y-%m-%dT%H:%M:%SZ", math.floor(one.time)) }
    end
  end
end

-- Tag by tag, as the collector goes through them.
local function add_file(found, path, names, on_problem)
  local scalars, tags, problem = M.read(fs.read(path))
  if problem then
    problem.path = path
    on_problem(("%s: %s"):format(path, problem.message))
  end
  for _, tag in ipairs(tags) do
    for _, name in ipairs(names) do
      if is_meant(name, tag, fs.dirname(path)) then add_scalars(found, name, tag, scalars) end
    end
  end
end

---The metrics in the event files below a directory. Without one of the objective's: a single entry "unavailable".
---@param directory string
---@param names string[] the objective first; "folder/name" where the file's folder matters
---@param on_problem fun(text: string)? hears of each file that cannot be read to its end
---@return {name: string, value: string, timestamp: string}[] found, boolean unavailable
function M.metrics(directory, names, on_problem)
  local found = {}
  for _, path in ipairs(fs.exists(directory) and files(directory, {}) or {}) do
    add_file(found, path, names, on_problem or function() end)
  end
  for _, entry in ipairs(found) do
    if entry.name == names[1] then return found, false end
  end
  return { { name = names[1], value = metrics.UNAVAILABLE, timestamp = metrics.NO_TIME } }, true
end

return M
