-- lab.controllers: what makes the cluster live: each controller is a file that can be read as documentation.
-- Not for the API.
--   controllers.start(cluster, options); controllers.stop(cluster)

local M = {}

local ALL = { "namespaces", "collector", "quotas", "disruption", "replicasets", "deployments",
              "statefulsets", "daemonsets", "jobs", "cronjobs", "endpoints", "taints" }

-- What only a lab with nodes has.
local OF_NODES = { "lab.controllers.ephemeral", "lab.controllers.volumes", "lab.scheduler", "lab.nodes" }

---Starts the controllers of a cluster.
---@param cluster lab.Cluster
---@param options table
function M.start(cluster, options)
  cluster.controllers = {}
  for _, name in ipairs(ALL) do
    cluster.controllers[#cluster.controllers + 1] = require("lab.controllers." .. name).start(cluster, options)
  end
  if options.nodes == 0 then return end
  for _, name in ipairs(OF_NODES) do
    cluster.controllers[#cluster.controllers + 1] = require(name).start(cluster, options)
  end
end

---@param cluster lab.Cluster
function M.stop(cluster)
  for _, controller in ipairs(cluster.controllers or {}) do controller:stop() end
  cluster.controllers = nil
end

return M
