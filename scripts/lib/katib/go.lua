-- Values as Go prints them: in the messages of the webhooks, and in the text that a template is filled in.
-- Not for JSON that anybody else reads: json.encode writes that.
--   go.json({ b = 1, a = "<" })  --> {"a":"\u003c","b":1}
local decimal = require "katib.decimal"
local json = require "json"
local sorted_keys = require "kfhost.keys".sorted
local types = require "katib.types"

local M = {}

local ESCAPES = { ["<"] = "\\u003c", [">"] = "\\u003e", ["&"] = "\\u0026" }

local function escape(text)
  return (text:gsub("[<>&]", ESCAPES):gsub("\u{2028}", "\\u2028"):gsub("\u{2029}", "\\u2029"))
end

---JSON as encoding/json writes a map: sorted keys, characters of HTML escaped.
---@param value any
---@return string
function M.json(value)
  return escape(json.encode(value, { sort = true }))
end

local function is_empty(value)
  return value == nil or value == "" or value == 0 or value == false or (type(value) == "table" and next(value) == nil)
end

local typed_json

local function list_json(element, value)
  local parts = {}
  for i, item in ipairs(value) do parts[i] = typed_json(element, item) end
  return "[" .. table.concat(parts, ",") .. "]"
end

local function struct_json(kind, value)
  local parts = {}
  for _, field in ipairs(types.fields(kind)) do
    local member = value[field.name]
    if member == json.null then member = nil end
    local left_out = member == nil or (is_empty(member) and types.form(field.type) ~= "struct")
    if not (field.optional and left_out) then
      parts[#parts + 1] = ('"%s":%s'):format(field.name, typed_json(field.type, member))
    end
  end
  return "{" .. table.concat(parts, ",") .. "}"
end

local NOTHING = { s = '""', i = "0", f = "0", b = "false", struct = true }

function typed_json(kind, value)
  local form, element = types.form(kind)
  if form == "struct" then return struct_json(kind, value or {}) end
  if value == nil then return NOTHING[form] or "null" end
  if form == "list" then return list_json(element, value) end
  return M.json(value)
end

---JSON as encoding/json writes a struct: fields in their order, empty ones left out.
---@param kind string a type of katib.types
---@param value any
---@return string
function M.typed_json(kind, value)
  return typed_json(kind, value)
end

---As fmt prints an untyped value with %v.
---@param value any
---@return string
function M.value(value)
  if value == nil or value == json.null then return "<nil>" end
  if math.type(value) == "float" then return decimal.go_value(value) end
  if type(value) ~= "table" then return tostring(value) end
  local parts = {}
  if json.is_array(value) then
    for i, item in ipairs(value) do parts[i] = M.value(item) end
    return "[" .. table.concat(parts, " ") .. "]"
  end
  for _, key in ipairs(sorted_keys(value)) do parts[#parts + 1] = key .. ":" .. M.value(value[key]) end
  return "map[" .. table.concat(parts, " ") .. "]"
end

---As fmt prints a value of a type with %v: structs as {a b c}.
---@param kind string
---@param value any
---@return string
function M.typed(kind, value)
  local form, element = types.form(kind)
  local parts = {}
  if form == "list" then
    for i, item in ipairs(value or {}) do parts[i] = M.typed(element, item) end
    return "[" .. table.concat(parts, " ") .. "]"
  elseif form == "struct" then
    for i, field in ipairs(types.fields(kind)) do parts[i] = M.typed(field.type, (value or {})[field.name]) end
    return "{" .. table.concat(parts, " ") .. "}"
  elseif form == "s" then
    return value or ""
  end
  return M.value(value)
end

---A text in Go's quotes (%q).
---@param text string
---@return string
function M.quote(text)
  return '"' .. text:gsub('[\\"]', "\\%0"):gsub("%c", function(c)
    local short = ({ ["\n"] = "\\n", ["\t"] = "\\t", ["\r"] = "\\r" })[c]
    return short or ("\\x%02x"):format(c:byte())
  end) .. '"'
end

return M
