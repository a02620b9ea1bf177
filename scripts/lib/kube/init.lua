-- Kubernetes: the client, and the exact functions that need no cluster (patches, selectors, …).
-- Its parts load when they are first used; what waits for a server is in the client, never here.
--   local kube = require "kube"; print(kube.patch.merge({a = 1}, {b = 2}).b)

-- The part of the library that has a name: a module, and the field of it (none: the module itself).
local PARTS = {
  patch = { "kube.core", "patch" },
  connect = { "kube.client", "connect" },
  kubeconfig = { "kube.kubeconfig", "load" },
  quantity = { "kube.core", "quantity" },
  selector = { "kube.selectors", "labels" },
  jsonpath = { "kube.core", "jsonpath" },
  apply = { "kube.apply" },
  pod_security = { "kube.pod_security" },
  field_selector = { "kube.selectors", "fields" },
}

local M = {}

return setmetatable(M, {
  __index = function(_, name)
    if name == "try" then
      rawset(M, name, require "errors".try(M))
      return M.try
    end
    local part = PARTS[name]
    if not part then return nil end
    local value = require(part[1])
    if part[2] then value = value[part[2]] end
    rawset(M, name, value)
    return value
  end,
})
