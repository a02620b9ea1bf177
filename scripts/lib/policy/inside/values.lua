-- policy.inside.values: small things that reviews do with plain values.
-- Not for patches: kube.patch makes and applies those.
--   values.copy(object)   values.at(object, "spec.template.spec")   values.subset(want, object)

local M = {}

---@param value any
---@return any copy deep; marks of arrays and objects are kept
M.copy = require "json".copy

---@param value any
---@param path string names and list places (from 0), by dots: "spec.containers.0.image"
---@return any value nil when some step is not there
function M.at(value, path)
  for step in path:gmatch "[^.]+" do
    if type(value) ~= "table" then return nil end
    local inner = value[step]
    if inner == nil and step:find "^%d+$" then inner = value[math.tointeger(step) + 1] end
    value = inner
  end
  return value
end

local function is_list(value)
  return value[1] ~= nil
end

---In what is wanted: nothing may be there.
M.absent = setmetatable({}, { __name = "absent" })

---Whether `value` has everything that `want` says; lists are compared whole, element by element.
---@param want any
---@param value any
---@param path string? where we are, for the answer
---@return string? problem the first difference, nil when there is none
function M.subset(want, value, path)
  path = path or ""
  if want == M.absent then return value ~= nil and path .. " is there" or nil end
  if type(want) ~= "table" or type(value) ~= "table" then
    if want == value then return nil end
    return ("%s is %s, not %s"):format(path == "" and "the value" or path, tostring(value), tostring(want))
  end
  if is_list(want) and #want ~= #value then
    return ("%s has %d elements, not %d"):format(path, #value, #want)
  end
  for key, inner in pairs(want) do
    local place = type(key) == "number" and ("%s[%d]"):format(path, key - 1) or (path .. "." .. tostring(key))
    local problem = M.subset(inner, value[key], place)
    if problem then return problem end
  end
  return nil
end

---@param list any[]?
---@param value any
---@return boolean whether the list has the value; false without a list
function M.contains(list, value)
  if type(list) ~= "table" then return false end
  for _, element in ipairs(list) do
    if element == value then return true end
  end
  return false
end

---@param map table
---@return string[] keys sorted
function M.sorted_keys(map)
  local keys = {}
  for key in pairs(map) do keys[#keys + 1] = key end
  table.sort(keys, function(a, b) return tostring(a) < tostring(b) end)
  return keys
end

return M
