-- lab.controllers.replicasets: as many pods as a replica set asks for.
-- Not for rollouts (lab.controllers.deployments).
--   require "lab.controllers.replicasets".start(cluster)

local base = require "lab.controllers.base"
local inside = require "lab.inside"
local match = require "lab.match"
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

local function resize(cluster, set, active)
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

-- What there is of a set's pods, and seconds until one more may be available.
local function count(cluster, set, scale)
  local n, wait = { active = 0, labelled = 0, ready = 0, available = 0, leaving = 0 }, nil
  local labels = set.spec.template.metadata and set.spec.template.metadata.labels
  for _, pod in ipairs(pods.owned(cluster, "pods", set.metadata.namespace, set.metadata.uid)) do
    if pods.is_active(pod) then
      local available, left = pods.is_available(pod, (set.spec.minReadySeconds or 0) * scale, cluster:now())
      n.active = n.active + 1
      if match.equal(labels, pod.metadata.labels) then n.labelled = n.labelled + 1 end
      if pods.is_ready(pod) then n.ready = n.ready + 1 end
      if available then n.available = n.available + 1 end
      if left then wait = math.min(wait or left, left) end
    elseif pod.metadata.deletionTimestamp and not pods.is_finished(pod) then
      n.leaving = n.leaving + 1
    end
  end
  return n, wait
end

local function failure_of(cluster, before, problem)
  if not problem then return nil end
  -- Said once: each try has another pod's name in its text, and a new text would be a reason to try again at once.
  if before and before.conditions and before.conditions[1] then return before.conditions end
  return { { type = "ReplicaFailure", status = "True", reason = "FailedCreate", message = problem.body.message,
             lastTransitionTime = cluster:time() } }
end

local function some(value) return value > 0 and value or nil end

local function report(cluster, set, problem, scale)
  local n, wait = count(cluster, set, scale)
  inside.change(cluster, SET, set.metadata.namespace, set.metadata.name, "status", "kube-controller-manager",
    function(new)
      new.status = {
        replicas = n.active, fullyLabeledReplicas = some(n.labelled), readyReplicas = some(n.ready),
        availableReplicas = some(n.available), terminatingReplicas = n.leaving,
        observedGeneration = set.metadata.generation, conditions = failure_of(cluster, new.status, problem),
      }
    end)
  return wait
end

local function look(cluster, key, self, scale)
  local namespace, name = key:match "^(.-)/(.*)$"
  local set = inside.view(cluster, SET, namespace, name)
  if not set then return end
  local problem
  if not set.metadata.deletionTimestamp then
    local active = {}
    for _, pod in ipairs(pods.claim(cluster, "pods", SET, set)) do
      if pods.is_active(pod) then active[#active + 1] = pod end
    end
    problem = resize(cluster, set, active)
  end
  local wait = report(cluster, set, problem, scale)
  if wait then self:later(key, math.max(wait, 0.01)) end
  if problem then error(problem, 0) end
end

---@param cluster lab.Cluster
---@param options {time_scale: number?}
---@return lab.Controller
function M.start(cluster, options)
  local scale = options.time_scale or 1
  return base.new(cluster, {
    name = "replicasets", pause = 0.01,
    on = pods.follow(cluster, "ReplicaSet", SET, "pods"),
    look = function(key, self) look(cluster, key, self, scale) end,
  })
end

return M
