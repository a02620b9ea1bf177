-- policy.inside.verify: the validating check that a mutation held: whoever comes after it may have undone it.
-- Not for mutations that another webhook may change: they ask for it by `verify = true`.
--   set.policies[#set.policies + 1] = verify.of(mutation)

local values = require "policy.inside.values"

local M = {}

-- Asks the mutation once more: nothing should be left to do. What it says besides was said the first time.
local function check_of(apply)
  return function(req)
    local object = req.object
    if object == nil then return end
    req.object = values.copy(object)
    apply(req)
    local operations = require "kube".patch.diff(object, req.object)
    req.object, req._said.warnings = object, {}
    if #operations == 0 then return end
    local paths = {}
    for i, operation in ipairs(operations) do paths[i] = operation.path end
    return req:deny("what it sets did not hold, another webhook has changed it: %s", table.concat(paths, ", "))
  end
end

---@param mutation table as it stands in policy.inside.set
---@return table validation of the same name, match and mode
function M.of(mutation)
  local validation = {}
  for field, value in pairs(mutation) do validation[field] = value end
  validation.kind, validation.handler = "validate", check_of(mutation.handler)
  validation.doc = "refuses what the mutation of this name would still change"
  return validation
end

return M
