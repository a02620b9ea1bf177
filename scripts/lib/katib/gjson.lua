-- GJSON paths, as Katib's success and failure conditions are written.
-- Not for JSONPath: kube.jsonpath. Multipaths, literals and most modifiers are refused.
--   gjson.get('status.conditions.#(type=="Complete")#|#(status=="True")#', job)
local errors = require "errors"
local json = require "json"
local sorted_keys = require "kfhost.keys".sorted

local M = {}

local function fail(path, message)
  errors.raise { code = "Condition", message = ("%s: %s"):format(message, path), path = path }
end

local get

-- --- reading a path -----------------------------------------------------------------------------------

-- The end of a query that begins at its parenthesis; texts in quotes and inner queries are passed over.
local function query_end(path, at)
  local depth, quoted = 0, false
  while at <= #path do
    local c = path:sub(at, at)
    if c == "\\" then at = at + 1
    elseif c == '"' then quoted = not quoted
    elseif not quoted and (c == "(" or c == "[") then depth = depth + 1
    elseif not quoted and (c == ")" or c == "]") then
      depth = depth - 1
      if depth == 0 then return at end
    end
    at = at + 1
  end
  fail(path, "a query without an end")
end

---@class katib.Step
---@field key string without escapes
---@field wild string? a Lua pattern, for * and ?
---@field query string?
---@field all boolean

-- One component: the step, what separates it from the rest ("." "|" or ""), and the rest.
local function split(path)
  if path:find "^[{%[!]" then fail(path, "multipaths and literals are not understood") end
  local step, at = { key = "", all = false }, 1
  if path:find "^#[%(%[]" then
    local last = query_end(path, 2)
    step.query, at = path:sub(3, last - 1), last + 1
    if path:sub(at, at) == "#" then step.all, at = true, at + 1 end
  end
  local key, wild, is_wild = {}, {}, false
  while at <= #path do
    local c = path:sub(at, at)
    if c == "." or c == "|" then break end
    local literal = c == "\\"
    if literal then
      at = at + 1
      c = path:sub(at, at)
    end
    key[#key + 1] = c
    local star = not literal and (c == "*" and ".*" or c == "?" and ".")
    is_wild = is_wild or star
    wild[#wild + 1] = star or c:gsub("%W", "%%%0")
    at = at + 1
  end
  step.key = table.concat(key)
  if is_wild then step.wild = "^" .. table.concat(wild) .. "$" end
  return step, path:sub(at, at), path:sub(at + 1)
end

-- --- queries ----------------------------------------------------------------------------------------------

local OPERATORS = { "==", "!=", "<=", ">=", "!%", "=", "<", ">", "%" }

-- Left side, operator and right side of a query; the operator is "" when it asks only whether there is a value.
local function parse_query(query)
  local at = 1
  while at <= #query do
    local c = query:sub(at, at)
    if c == "\\" then at = at + 1
    elseif c == "(" or c == "[" then at = query_end(query, at)
    elseif c:find "[=!<>%%]" then
      for _, operator in ipairs(OPERATORS) do
        if query:sub(at, at + #operator - 1) == operator then
          local right = query:sub(at + #operator):match "^%s*(.-)%s*$"
          local left = query:sub(1, at - 1):match "^%s*(.-)%s*$"
          return left, operator == "==" and "=" or operator, right
        end
      end
    end
    at = at + 1
  end
  return query:match "^%s*(.-)%s*$", "", ""
end

local function glob(text, pattern)
  local escaped = pattern:gsub("[^%w*?]", "%%%0"):gsub("[*?]", { ["*"] = ".*", ["?"] = "." })
  return text:find("^" .. escaped .. "$") ~= nil
end

local compare = {
  ["="] = function(a, b) return a == b end,
  ["!="] = function(a, b) return a ~= b end,
  ["<"] = function(a, b) return a < b end,
  ["<="] = function(a, b) return a <= b end,
  [">"] = function(a, b) return a > b end,
  [">="] = function(a, b) return a >= b end,
}

local function compare_text(value, operator, right)
  if operator == "%" then return glob(value, right) end
  if operator == "!%" then return not glob(value, right) end
  return compare[operator](value, right)
end

local function compare_boolean(value, operator, right)
  if operator == "=" then return right == tostring(value) end
  if operator == "!=" then return right ~= tostring(value) end
  if operator == ">" then return value and right == "false" end
  if operator == ">=" then return value or right == "false" end
  if operator == "<" then return not value and right == "true" end
  return operator == "<=" and (not value or right == "true")
end

local function unquote(text)
  if text:sub(1, 1) ~= '"' then return text end
  return (text:match '^"(.*)"$' or text:sub(2)):gsub("\\(.)", "%1")
end

local function matches(element, left, operator, right)
  local value = element
  if left ~= "" then value = get(left, element) end
  if value == nil then return false end
  if operator == "" then return true end
  right = unquote(right)
  if type(value) == "string" then return compare_text(value, operator, right) end
  if type(value) == "boolean" then return compare_boolean(value, operator, right) end
  if type(value) == "number" and compare[operator] then return compare[operator](value, tonumber(right) or 0) end
  return false
end

local function select(list, step)
  local left, operator, right = parse_query(step.query)
  local found = json.array {}
  for _, element in ipairs(list) do
    if matches(element, left, operator, right) then
      if not step.all then return element end
      found[#found + 1] = element
    end
  end
  return step.all and found or nil
end

-- --- walking -------------------------------------------------------------------------------------------------

local modifiers = {
  this = function(value) return value end,
  valid = function(value) return value end,
  keys = function(value) return json.is_array(value) and value or json.array(sorted_keys(value)) end,
  values = function(value)
    local list = json.array {}
    for i, key in ipairs(sorted_keys(value)) do list[i] = value[key] end
    return list
  end,
  reverse = function(value)
    if not json.is_array(value) then return value end
    local list = json.array {}
    for i = #value, 1, -1 do list[#list + 1] = value[i] end
    return list
  end,
}

local function modify(step, value, path)
  local apply = modifiers[step.key:match "^@(%l+)$"]
  if not apply then fail(path, "this modifier is not understood") end
  return type(value) == "table" and apply(value) or value
end

local function member(object, step)
  if not step.wild then return object[step.key] end
  for _, key in ipairs(sorted_keys(object)) do
    if key:find(step.wild) then return object[key] end
  end
end

-- The rest of a path for each element; those that have nothing there are left out.
local function map(list, rest, selected)
  local inner, piped = rest, nil
  local at = 1
  while at <= #rest do
    local c = rest:sub(at, at)
    if c == "\\" then at = at + 1
    elseif c == "(" then at = query_end(rest, at)
    elseif c == "|" then
      inner, piped = rest:sub(1, at - 1), rest:sub(at + 1)
      break
    end
    at = at + 1
  end
  local found = json.array {}
  for _, element in ipairs(list) do found[#found + 1] = get(inner, element) end
  -- Of a query, an empty list stays one, whatever follows.
  if piped and not (selected and #found == 0) then return get(piped, found) end
  return found
end

local function from_list(list, step, separator, rest)
  if step.query then
    local found = select(list, step)
    if found ~= nil and step.all and separator == "." then return map(found, rest, true) end
    if found == nil or separator == "" then return found end
    return get(rest, found)
  elseif step.key == "#" then
    if separator == "." then return map(list, rest) end
    if separator == "" then return #list end
    return get(rest, #list)
  end
  local index = step.key:find "^%d+$" and math.tointeger(tonumber(step.key))
  if not index then return nil end
  local found = list[index + 1]
  if found == nil or separator == "" then return found end
  return get(rest, found)
end

---The value at a path, or nil. Null counts as a value.
---@param path string
---@param value any
---@return any # raises "Condition" for what is not understood
function get(path, value)
  local step, separator, rest = split(path)
  if step.key:sub(1, 1) == "@" then
    local modified = modify(step, value, path)
    if separator == "" then return modified end
    return get(rest, modified)
  end
  if type(value) ~= "table" then return nil end
  if json.is_array(value) then return from_list(value, step, separator, rest) end
  if step.query then return nil end
  local found = member(value, step)
  if found == nil or separator == "" then return found end
  return get(rest, found)
end

M.get = get

---Whether a condition holds: it gives an object, or a list with something in it.
---@param expression string
---@param object table
---@return boolean holds, table? first the object that made it hold: its reason and message are shown
function M.condition(expression, object)
  local found = get(expression, object)
  if type(found) ~= "table" then return false end
  if not json.is_array(found) then return true, found end
  if #found == 0 then return false end
  return true, type(found[1]) == "table" and found[1] or nil
end

return M
