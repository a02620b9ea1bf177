-- lab.controllers.quotas: what a namespace uses, in the status of its quotas.
-- Not for refusing what is too much (lab.admission.quota).
--   require "lab.controllers.quotas".start(cluster)

local base = require "lab.controllers.base"
local inside = require "lab.inside"
local quota = require "lab.admission.quota"

local M = {}

local function look(cluster, namespace)
  local c = cluster.store:collection "resourcequotas"
  for _, record in ipairs(c:records(namespace)) do
    inside.change(cluster, "resourcequotas", namespace, record.name, "status", "kube-controller-manager",
      function(object)
        object.status = { hard = object.spec and object.spec.hard or {}, used = quota.used(cluster, namespace, object) }
      end)
  end
end

---@param cluster lab.Cluster
---@return lab.Controller
function M.start(cluster)
  local quotas = cluster.store:collection "resourcequotas"
  return base.new(cluster, {
    name = "quotas",
    on = function(_, event, add)
      local namespace = event.record.namespace
      if namespace and quotas.count > 0 and quotas.spaces[namespace]
        and next(quotas.spaces[namespace].records) ~= nil then
        add(namespace)
      end
    end,
    look = function(namespace) look(cluster, namespace) end,
  })
end

return M
