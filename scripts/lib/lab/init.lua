-- lab: a small Kubernetes cluster in this process, on loopback, for learning, demonstrations and tests.
-- Not Kubernetes: the same scripts run there unchanged.
--   local running = require "lab".serve.start {}; print(running.url)

local PARTS = { api = "lab.api", serve = "lab.serve" }

return setmetatable({}, {
  __index = function(self, name)
    local part = PARTS[name]
    if not part then return nil end
    local value = require(part)
    rawset(self, name, value)
    return value
  end,
})
