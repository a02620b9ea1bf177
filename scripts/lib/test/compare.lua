-- test.compare: where two values differ, and how a value looks in a message.
-- Not for output that programs read: texts are cut, and what cannot be told apart is not shown.
--   compare.difference({ a = { 1 } }, { a = { 2 } }) -> ".a[1]: got 1, want 2"

local errors = require "errors"

local M = {}

local SHOWN_TEXT = 400 -- bytes of a text in a message
local SHOWN_FIELDS = 12 -- fields of a table in a message
local SHOWN_DEPTH = 3

local KIND_ORDER = { number = 1, string = 2 }

local function before(a, b)
  local kind_a, kind_b = type(a), type(b)
  if kind_a == kind_b and KIND_ORDER[kind_a] then return a < b end
  local order_a, order_b = KIND_ORDER[kind_a] or 3, KIND_ORDER[kind_b] or 3
  if order_a ~= order_b then return order_a < order_b end
  return tostring(a) < tostring(b)
end

local function sorted_keys(value)
  local keys = {}
  for key in next, value do keys[#keys + 1] = key end
  table.sort(keys, before)
  return keys
end

local function show_text(text)
  local cut = #text > SHOWN_TEXT and (" … (%d bytes)"):format(#text) or ""
  return ("%q"):format(text:sub(1, SHOWN_TEXT)):gsub("\\\n", "\\n"):gsub("\r", "\\r") .. cut
end

-- The step of a path: .name, [1], ["odd key"].
local function step(key)
  if type(key) == "string" and key:find "^[%a_][%w_]*$" then return "." .. key end
  return "[" .. M.show(key, SHOWN_DEPTH) .. "]"
end

local function show_table(value, depth)
  if depth >= SHOWN_DEPTH then return next(value) == nil and "{}" or "{…}" end
  local parts, expected = {}, 1
  for _, key in ipairs(sorted_keys(value)) do
    if #parts == SHOWN_FIELDS then
      parts[#parts + 1] = "…"
      break
    end
    local text = M.show(value[key], depth + 1)
    if key == expected then
      expected = expected + 1
    elseif type(key) == "string" and key:find "^[%a_][%w_]*$" then
      text = key .. " = " .. text
    else
      text = "[" .. M.show(key, depth + 1) .. "] = " .. text
    end
    parts[#parts + 1] = text
  end
  return #parts == 0 and "{}" or "{ " .. table.concat(parts, ", ") .. " }"
end

---The value as a reader of a failure wants to see it; error tables as their text.
---@param value any
---@param depth integer? how deep inside a table the value lies
---@return string text
function M.show(value, depth)
  local kind = type(value)
  if kind == "string" then return (show_text(value)) end
  if kind ~= "table" then return tostring(value) end
  if errors.is(value) then return "error " .. tostring(value) end
  return show_table(value, depth or 0)
end

-- Equal by ==, or both not a number.
local function is_equal(a, b)
  return rawequal(a, b) or a == b or (a ~= a and b ~= b)
end

-- Where two unequal texts part, for texts of several lines.
local function parting_line(got, want)
  local line, at = 0, 1
  while true do
    line = line + 1
    local got_line, want_line = got:match("[^\n]*", at), want:match("[^\n]*", at)
    if got_line ~= want_line then return line, got_line, want_line end
    at = at + #got_line + 1
    if at > #got + 1 or at > #want + 1 then return line + 1, got:sub(at), want:sub(at) end
  end
end

local function leaf(got, want, path)
  local place = path == "" and "" or path .. ": "
  if type(got) == "string" and type(want) == "string" and (got .. want):find "\n" then
    local line, got_line, want_line = parting_line(got, want)
    return ("%sline %d: got %s, want %s"):format(place, line, M.show(got_line), M.show(want_line))
  end
  return ("%sgot %s, want %s"):format(place, M.show(got), M.show(want))
end

-- Walks both values; `pairs_seen` keeps pairs under way, so that equal cycles are equal.
local function differ(got, want, path, pairs_seen)
  if type(got) ~= "table" or type(want) ~= "table" then
    return not is_equal(got, want) and leaf(got, want, path) or nil
  end
  if rawequal(got, want) then return nil end
  local seen = pairs_seen[got]
  if seen and seen[want] then return nil end
  pairs_seen[got] = seen or {}
  pairs_seen[got][want] = true
  for _, key in ipairs(sorted_keys(want)) do
    local found = differ(rawget(got, key), rawget(want, key), path .. step(key), pairs_seen)
    if found then return found end
  end
  for _, key in ipairs(sorted_keys(got)) do
    if rawget(want, key) == nil then return leaf(got[key], nil, path .. step(key)) end
  end
end

---The first place where two values differ; tables are compared by what they hold, not by metatable.
---@param got any
---@param want any
---@return string? difference nil when they are equal; such as ".steps[2].name: got "a", want "b""
function M.difference(got, want)
  return differ(got, want, "", {})
end

M.is_equal = is_equal

return M
