-- istio.analyze.poddefaults: where two PodDefaults contradict each other, so that their webhook refuses a pod of both.
-- Not for whether they are for the same pods.
--   poddefaults.contradictions(one.spec, other.spec) -> { "env TOKEN_PATH", … }

local json = require "json"
local sorted_keys = require "kfhost.keys".sorted

local M = {}

local LISTS = { { "env", "name" }, { "volumes", "name" }, { "volumeMounts", "name" }, { "volumeMounts", "mountPath" },
  { "tolerations", "key" }, { "initContainers", "name" }, { "sidecars", "name" } }
local MAPS = { "labels", "annotations" }

local function part(spec, name)
  local value = type(spec) == "table" and spec[name]
  return type(value) == "table" and value or {}
end

local function differ(x, y) return json.encode(x, { sort = true }) ~= json.encode(y, { sort = true }) end

---What two PodDefaults say differently.
---@param first any the spec of one
---@param second any
---@return string[] # "part name" of each; empty when they can be merged
function M.contradictions(first, second)
  local found = {}
  for _, list in ipairs(LISTS) do
    local name, key = list[1], list[2]
    for _, x in ipairs(part(first, name)) do
      for _, y in ipairs(part(second, name)) do
        local is_one = x[key] ~= nil and x[key] == y[key]
        if is_one and differ(x, y) then found[#found + 1] = ("%s %s"):format(name, x[key]) end
      end
    end
  end
  for _, name in ipairs(MAPS) do
    local values, others = part(first, name), part(second, name)
    for _, key in ipairs(sorted_keys(values)) do
      if others[key] ~= nil and others[key] ~= values[key] then found[#found + 1] = ("%s %s"):format(name, key) end
    end
  end
  return found
end

return M
