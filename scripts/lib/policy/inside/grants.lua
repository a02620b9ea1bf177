-- policy.inside.grants: what a policy file may ask for in policy.grant: kinds by name, verbs by name.
-- Not for checking a call (policy.inside.handlers).
--   grants.check { reads = { "pods" }, writes = { { resource = "pods", verbs = { "patch" } } } }

local resources = require "policy.inside.resources"

local M = {}

-- `bind` lets give out a role, and so names which; `escalate`, `impersonate` and stars let anything be given out.
local VERBS = { create = true, update = true, patch = true, delete = true, deletecollection = true, get = true,
  list = true, watch = true, bind = true }

local function check_resource(name, level)
  if type(name) ~= "string" then error("policy.grant: a resource is a name such as \"pods\"", level + 1) end
  local ok, parsed = pcall(resources.parse, name)
  if not ok then error("policy.grant: " .. tostring(parsed):gsub("^[^:]+:%d+: ", ""), level + 1) end
  local all = parsed.plural .. (parsed.group or "") .. (parsed.subresource or "")
  if all:find("*", 1, true) then
    error(("policy.grant: '%s' is no kind: rights are declared kind by kind"):format(name), level + 1)
  end
end

local function check_write(write, level)
  if type(write) ~= "table" or type(write.resource) ~= "string" or type(write.verbs) ~= "table" then
    error("policy.grant: each of writes is {resource = \"…\", verbs = {…}}", level + 1)
  end
  check_resource(write.resource, level + 1)
  for _, verb in ipairs(write.verbs) do
    if not VERBS[verb] then
      error(("policy.grant: '%s' is no verb that can be granted"):format(tostring(verb)), level + 1)
    end
    if verb == "bind" and not (type(write.names) == "table" and write.names[1]) then
      error("policy.grant: bind needs the names of the roles: {…, verbs = {\"bind\"}, names = {…}}", level + 1)
    end
  end
  if #write.verbs == 0 then error(("policy.grant: no verb for %s"):format(write.resource), level + 1) end
end

---@param spec table of policy.grant; raises at the caller's caller what cannot be granted
function M.check(spec)
  for _, name in ipairs(spec.reads or {}) do check_resource(name, 3) end
  for _, name in ipairs(spec.follows or {}) do check_resource(name, 3) end
  for _, write in ipairs(spec.writes or {}) do check_write(write, 3) end
end

return M
