-- policy.inside.set: what the policy files of a sandbox have declared.
-- Not for reviews: policy.inside.review asks these policies.
--   set.current   the file that loads now    set.policies, set.watches, set.schedules, set.tests

local M = {
  files = {}, -- {stem, name, config, specs, grants}
  policies = {}, -- mutate and validate, in the order of their declaration
  watches = {},
  schedules = {},
  explains = {},
  tests = {},
  names = {},
  current = nil,
}

---@param name string
---@param level integer of the caller in the sense of error
function M.claim(name, level)
  if type(name) ~= "string" or #name > 63 or not name:find "^[a-z0-9][a-z0-9-]*$" or name:find "%-$" then
    error("a policy needs a name of at the most 63 lower-case letters, digits and inner dashes", level + 1)
  end
  if M.names[name] then error(("there is a policy '%s' already"):format(name), level + 1) end
  M.names[name] = true
end

return M
