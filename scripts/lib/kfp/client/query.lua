-- The query of a request: encoding, and filters as KFP reads them.
-- Not for sending: see client.
--   query.filter { state = "FAILED", { "created_at", ">", "2026-01-01T00:00:00Z" } }
local errors = require "errors"
local json = require "json"

local M = {}

---@param text string
---@return string
function M.escape(text)
  return (tostring(text):gsub("[^%w%-._~]", function(c) return ("%%%02X"):format(c:byte()) end))
end

---@param values table<string, any> nil and "" are left out
---@return string # "?a=b", or "" when there is nothing
function M.encode(values)
  local parts = {}
  for name, value in pairs(values) do
    if value ~= nil and value ~= "" then parts[#parts + 1] = M.escape(name) .. "=" .. M.escape(value) end
  end
  table.sort(parts)
  return #parts > 0 and "?" .. table.concat(parts, "&") or ""
end

local OPERATIONS = {
  ["="] = "EQUALS", ["~="] = "NOT_EQUALS", ["!="] = "NOT_EQUALS", [">"] = "GREATER_THAN",
    [">="] = "GREATER_THAN_EQUALS",
  ["<"] = "LESS_THAN", ["<="] = "LESS_THAN_EQUALS", ["in"] = "IN", ["contains"] = "IS_SUBSTRING",
}

local function is_time(value)
  return type(value) == "string" and value:find "^%d%d%d%d%-%d%d%-%d%dT" ~= nil
end

local function typed(predicate, value)
  if type(value) == "table" then
    local numbers = type(value[1]) == "number"
    predicate[numbers and "long_values" or "string_values"] = { values = json.array { table.unpack(value) } }
  elseif type(value) == "number" then
    predicate.long_value = value
  elseif is_time(value) and predicate.key:find "_at$" then
    predicate.timestamp_value = value
  else
    predicate.string_value = tostring(value)
  end
end

local function predicate_of(key, operator, value)
  local operation = OPERATIONS[operator]
  if not operation then
    errors.raise { code = "InvalidArgument", message = ("a filter knows no operator %q"):format(tostring(operator)) }
  end
  local predicate = { key = key, operation = operation }
  typed(predicate, value)
  return predicate
end

---The JSON text of a filter.
---@param filter string|table a text as it is; members are equalities; elements are {key, operator, value} with one of
---  = ~= > >= < <= in contains
---@return string? # nil without a filter
function M.filter(filter)
  if filter == nil or type(filter) == "string" then return filter end
  local predicates, keys = json.array {}, {}
  for key in pairs(filter) do
    if type(key) == "string" then keys[#keys + 1] = key end
  end
  table.sort(keys)
  for _, key in ipairs(keys) do
    local value = filter[key]
    predicates[#predicates + 1] = predicate_of(key, type(value) == "table" and "in" or "=", value)
  end
  for _, entry in ipairs(filter) do predicates[#predicates + 1] = predicate_of(entry[1], entry[2], entry[3]) end
  return json.encode({ predicates = predicates }, { sort = true })
end

return M
