-- policy.inside.config: the settings that a policy file declares, and the values that a site gives them.
-- Not for reading files: the values come as a table.
--   config.resolve({ rwx_class = { type = "string" } }, { rwx_class = "nfs" }) -> { rwx_class = "nfs" }

local times = require "policy.inside.times"
local values = require "policy.inside.values"

local M = {}

local function is_list(value)
  if type(value) ~= "table" then return false end
  local count = 0
  for key in pairs(value) do
    if math.type(key) ~= "integer" then return false end
    count = count + 1
  end
  return count == #value
end

local function is_map(value)
  if type(value) ~= "table" then return false end
  for key in pairs(value) do
    if type(key) ~= "string" then return false end
  end
  return true
end

local function is_quantity(value)
  if type(value) == "number" then return true end
  return type(value) == "string" and pcall(require "kube".quantity, value)
end

local TYPES = {
  string = function(value) return type(value) == "string" end,
  int = function(value) return math.type(value) == "integer" end,
  number = function(value) return type(value) == "number" end,
  bool = function(value) return type(value) == "boolean" end,
  duration = function(value) return times.seconds(value) ~= nil end,
  quantity = is_quantity,
  list = is_list,
  map = is_map,
}

local FIELDS = { type = true, enum = true, default = true, required = true, doc = true }

local function fail(format, ...)
  error({ code = "Config", message = format:format(...) }, 0)
end

local function check_value(key, spec, value)
  if not TYPES[spec.type](value) then
    fail("%s must be of type %s, not %s", key, spec.type, type(value))
  end
  if spec.enum and not values.contains(spec.enum, value) then
    local allowed = {}
    for i, one in ipairs(spec.enum) do allowed[i] = tostring(one) end
    fail("%s must be one of %s, not %s", key, table.concat(allowed, ", "), tostring(value))
  end
end

---Checks a declaration; raises with the place of the caller's caller.
---@param specs table<string, table> {KEY = {type=, enum=, default=, required=, doc=}}
function M.check(specs)
  for key, spec in pairs(specs) do
    if type(key) ~= "string" or type(spec) ~= "table" or not TYPES[spec.type] then
      local known = table.concat(values.sorted_keys(TYPES), ", ")
      error(("policy.config: %s needs a type: one of %s"):format(tostring(key), known), 3)
    end
    for field in pairs(spec) do
      if not FIELDS[field] then error(("policy.config: %s has an unknown field '%s'"):format(key, field), 3) end
    end
    if spec.default ~= nil then check_value(key, spec, spec.default) end
  end
end

---@param specs table<string, table>
---@param given table<string, any>
---@return table<string, any> config raises {code="Config"} for an unknown key, a wrong type, a missing value
function M.resolve(specs, given)
  for _, key in ipairs(values.sorted_keys(given)) do
    if not specs[key] then
      local known = values.sorted_keys(specs)
      fail("unknown setting '%s'%s", key, #known > 0 and (": there are " .. table.concat(known, ", ")) or "")
    end
  end
  local config = {}
  for _, key in ipairs(values.sorted_keys(specs)) do
    local spec, value = specs[key], given[key]
    if value == nil then value = values.copy(spec.default) end
    if value == nil and spec.required then fail("the setting '%s' is required: %s", key, spec.doc or spec.type) end
    if value ~= nil then check_value(key, spec, value) end
    config[key] = value
  end
  return config
end

return M
