-- lab.controllers.jobs.making: a job's pods are made and given up.
-- Not for how many there are to be.
--   making.pod(cluster, job, index, annotations); making.give_up(cluster, job, pod)

local base = require "lab.controllers.base"
local indexes = require "lab.controllers.jobs.indexes"
local inside = require "lab.inside"
local json = require "json"
local pods = require "lab.controllers.pods"

local M = {}

M.JOB, M.MANAGER = "batch/jobs", "kube-controller-manager"
M.TRACKING = "batch.kubernetes.io/job-tracking"

---Says something about a job.
function M.say(cluster, job, kind, reason, message)
  base.event(cluster, inside.with_kind(cluster, M.JOB, job), kind, reason, message, "job-controller")
end

---@return boolean whether a pod still has to be counted
function M.has_finalizer(pod)
  for _, name in ipairs(pod.metadata.finalizers or {}) do
    if name == M.TRACKING then return true end
  end
  return false
end

---Lets a pod go.
function M.drop_finalizer(cluster, pod)
  inside.change(cluster, "pods", pod.metadata.namespace, pod.metadata.name, nil, M.MANAGER, function(object)
    if object.metadata.uid ~= pod.metadata.uid or not M.has_finalizer(object) then return false end
    local list = json.array {}
    for _, name in ipairs(object.metadata.finalizers) do
      if name ~= M.TRACKING then list[#list + 1] = name end
    end
    object.metadata.finalizers = #list > 0 and list or nil
  end)
end

local function add_variable(container)
  container.env = container.env or json.array {}
  for _, variable in ipairs(container.env) do
    if variable.name == "JOB_COMPLETION_INDEX" then return end
  end
  table.insert(container.env, { name = "JOB_COMPLETION_INDEX", valueFrom = { fieldRef = {
    fieldPath = ("metadata.labels['%s']"):format(indexes.NAME) } } })
end

local function set_index(pod, job, index, annotations)
  local m = pod.metadata
  m.annotations, m.labels = m.annotations or {}, m.labels or {}
  m.annotations[indexes.NAME], m.labels[indexes.NAME] = tostring(index), tostring(index)
  for name, value in pairs(annotations or {}) do m.annotations[name] = value end
  m.generateName = ("%s-%d-"):format(job.metadata.name, index)
  pod.spec.hostname = ("%s-%d"):format(job.metadata.name, index)
  for _, field in ipairs { "initContainers", "containers" } do
    for _, container in ipairs(pod.spec[field] or {}) do add_variable(container) end
  end
end

---Makes a pod.
---@param index integer? of an Indexed job
---@param annotations table<string, string>? what the pod remembers of its index
---@return lab.Status? problem
function M.pod(cluster, job, index, annotations)
  local pod, problem = pods.create(cluster, job.metadata.namespace, job.spec.template,
    inside.owner(cluster, M.JOB, job), job.metadata.name .. "-", function(new)
      new.metadata.finalizers = new.metadata.finalizers or json.array {}
      if not M.has_finalizer(new) then table.insert(new.metadata.finalizers, M.TRACKING) end
      if index then set_index(new, job, index, annotations) end
    end)
  if pod then
    M.say(cluster, job, "Normal", "SuccessfulCreate", "Created pod: " .. pod.metadata.name)
  else
    M.say(cluster, job, "Warning", "FailedCreate", "Error creating: " .. problem.body.message)
  end
  return problem
end

---Deletes a pod that stays to be counted.
function M.delete(cluster, job, pod)
  if inside.delete(cluster, "pods", pod.metadata.namespace, pod.metadata.name, { uid = pod.metadata.uid }) then
    M.say(cluster, job, "Normal", "SuccessfulDelete", "Deleted pod: " .. pod.metadata.name)
  end
end

---Deletes a pod that there need not be: its end is no failure.
function M.give_up(cluster, job, pod)
  M.drop_finalizer(cluster, pod)
  M.delete(cluster, job, pod)
end

return M
