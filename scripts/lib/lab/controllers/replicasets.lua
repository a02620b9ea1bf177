-- lab.controllers.replicasets: as many pods as a replica set asks for.
-- Not for rollouts (lab.controllers.deployments).
--   require "lab.controllers.replicasets".start(cluster)

local base = require "lab.controllers.base"
local inside = require "lab.inside"
local pods = require "lab.controllers.pods"

local M = {}

local SET = "apps/replicasets"

-- How many pods share a node.
local function beside(list)
  local count = {}
  for _, pod in ipairs(list) do
    local node = pod.spec.nodeName or ""
    count[node] = (count[node] or 0) + 1
  end
  return function(pod) return count[pod.spec.nodeName or ""] end
end

local function scale(cluster, set, active)
  local wanted = set.spec.replicas or 1
  local about = inside.with_kind(cluster, SET, set)
  for _ = #active + 1, wanted do
    local pod, problem = pods.create(cluster, set.metadata.namespace, set.spec.template,
      inside.owner(cluster, SET, set), set.metadata.name .. "-")
    if not pod then
      base.event(cluster, about, "Warning", "FailedCreate", "Error creating: " .. problem.body.message,
        "replicaset-controller")
      return problem
    end
    base.event(cluster, about, "Normal", "SuccessfulCreate", "Created pod: " .. pod.metadata.name,
      "replicaset-controller")
  end
  if #active > wanted then
    pods.sort_for_removal(active, beside(active))
    for i = 1, #active - wanted do
      local pod = active[i]
      inside.delete(cluster, "pods", pod.metadata.namespace, pod.metadata.name, { uid = pod.metadata.uid })
      base.event(cluster, about, "Normal", "SuccessfulDelete", "Deleted pod: " .. pod.metadata.name,
        "replicaset-controller")
    end
  end
end

local function report(cluster, set, problem)
  local active, ready, leaving = 0, 0, 0
  for _, pod in ipairs(pods.owned(cluster, "pods", set.metadata.namespace, set.metadata.uid)) do
    if pods.is_active(pod) then
      active = active + 1
      if pods.is_ready(pod) then ready = ready + 1 end
    elseif pod.metadata.deletionTimestamp then
      leaving = leaving + 1
    end
  end
  inside.change(cluster, SET, set.metadata.namespace, set.metadata.name, "status", "kube-controller-manager",
    function(new)
      local conditions
      if problem then
        conditions = { { type = "ReplicaFailure", status = "True", reason = "FailedCreate",
                         message = problem.body.message, lastTransitionTime = cluster:time() } }
      end
      new.status = {
        replicas = active, fullyLabeledReplicas = active > 0 and active or nil,
        readyReplicas = ready > 0 and ready or nil, availableReplicas = ready > 0 and ready or nil,
        terminatingReplicas = leaving, observedGeneration = set.metadata.generation, conditions = conditions,
      }
    end)
end

local function look(cluster, key)
  local namespace, name = key:match "^(.-)/(.*)$"
  local set = inside.view(cluster, SET, namespace, name)
  if not set then return end
  local problem
  if not set.metadata.deletionTimestamp then
    local active = {}
    for _, pod in ipairs(pods.claim(cluster, "pods", SET, set)) do
      if pods.is_active(pod) then active[#active + 1] = pod end
    end
    problem = scale(cluster, set, active)
  end
  report(cluster, set, problem)
  if problem then error(problem, 0) end
end

---@param cluster lab.Cluster
---@return lab.Controller
function M.start(cluster)
  return base.new(cluster, {
    name = "replicasets", pause = 0.01,
    on = pods.follow(cluster, "ReplicaSet", SET, "pods"),
    look = function(key) look(cluster, key) end,
  })
end

return M
