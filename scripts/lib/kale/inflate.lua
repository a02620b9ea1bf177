-- kale.inflate: the bytes in a zlib stream, for looking into compiled pipelines.
-- Not for large data: it is plain Lua.
--   inflate.zlib(hash.deflate "text") --> "text"

local M = {}

local LENGTHS = { 3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 15, 17, 19, 23, 27, 31, 35, 43, 51, 59, 67, 83, 99, 115, 131, 163,
  195, 227, 258 }
local LENGTH_BITS = { 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 0 }
local DISTANCES = { 1, 2, 3, 4, 5, 7, 9, 13, 17, 25, 33, 49, 65, 97, 129, 193, 257, 385, 513, 769, 1025, 1537, 2049,
  3073, 4097, 6145, 8193, 12289, 16385, 24577 }
local ORDER = { 16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15 }

-- --- bits -----------------------------------------------------------------------------------------------------

local function take(reader, count)
  while reader.count < count do
    local byte = reader.bytes:byte(reader.at)
    if not byte then error("the stream is cut off", 0) end
    reader.bits, reader.count, reader.at = reader.bits | byte << reader.count, reader.count + 8, reader.at + 1
  end
  local value = reader.bits & ((1 << count) - 1)
  reader.bits, reader.count = reader.bits >> count, reader.count - count
  return value
end

-- --- codes ----------------------------------------------------------------------------------------------------

-- A canonical Huffman code as symbols by length and value.
local function code_of(lengths, first, last)
  local counts, code, next_code, map = {}, 0, {}, {}
  for i = first, last do counts[lengths[i]] = (counts[lengths[i]] or 0) + 1 end
  counts[0] = 0
  for length = 1, 15 do
    code = (code + (counts[length - 1] or 0)) << 1
    next_code[length], map[length] = code, {}
  end
  for i = first, last do
    local length = lengths[i]
    if length > 0 then
      map[length][next_code[length]] = i - first
      next_code[length] = next_code[length] + 1
    end
  end
  return map
end

local function symbol(reader, map)
  local code = 0
  for length = 1, 15 do
    code = code << 1 | take(reader, 1)
    local found = map[length][code]
    if found then return found end
  end
  error("no such code", 0)
end

local function fixed()
  local lengths, distances = {}, {}
  for i = 0, 287 do lengths[i] = i < 144 and 8 or i < 256 and 9 or i < 280 and 7 or 8 end
  for i = 0, 29 do distances[i] = 5 end
  return code_of(lengths, 0, 287), code_of(distances, 0, 29)
end

local REPEATS = { [16] = { 2, 3 }, [17] = { 3, 3 }, [18] = { 7, 11 } }

local function dynamic(reader)
  local literals, distances, codes = take(reader, 5) + 257, take(reader, 5) + 1, take(reader, 4) + 4
  local short = {}
  for i = 0, 18 do short[i] = 0 end
  for i = 1, codes do short[ORDER[i]] = take(reader, 3) end
  local map, lengths, at = code_of(short, 0, 18), {}, 0
  while at < literals + distances do
    local found = symbol(reader, map)
    local again = REPEATS[found]
    local value = found == 16 and lengths[at - 1] or again and 0 or found
    for _ = 1, again and take(reader, again[1]) + again[2] or 1 do
      lengths[at] = value
      at = at + 1
    end
  end
  return code_of(lengths, 0, literals - 1), code_of(lengths, literals, literals + distances - 1)
end

-- --- blocks ---------------------------------------------------------------------------------------------------

local function copy(out, length, distance)
  local from = #out - distance
  if from < 0 then error("a distance reaches before the text", 0) end
  for i = 1, length do out[#out + 1] = out[from + i] end
end

local function coded(reader, out, literals, distances)
  while true do
    local found = symbol(reader, literals)
    if found == 256 then return end
    if found < 256 then
      out[#out + 1] = string.char(found)
    else
      local at = found - 256
      local length = LENGTHS[at] + take(reader, LENGTH_BITS[at])
      local which = symbol(reader, distances)
      copy(out, length, DISTANCES[which + 1] + take(reader, which < 4 and 0 or which // 2 - 1))
    end
  end
end

local function stored(reader, out)
  take(reader, reader.count % 8)
  local length = take(reader, 16)
  take(reader, 16)
  for _ = 1, length do out[#out + 1] = string.char(take(reader, 8)) end
end

---@param bytes string
---@return string # raises a text when it is no such stream
function M.zlib(bytes)
  local reader, out = { bytes = bytes, at = 3, bits = 0, count = 0 }, {}
  if (bytes:byte(1) or 0) & 15 ~= 8 then error("it is no zlib stream", 0) end
  repeat
    local last, kind = take(reader, 1), take(reader, 2)
    if kind == 0 then stored(reader, out)
    elseif kind == 1 then coded(reader, out, fixed())
    elseif kind == 2 then coded(reader, out, dynamic(reader))
    else error("there is no such kind of block", 0) end
  until last == 1
  return table.concat(out)
end

return M
