-- lab.demo.experiment: an experiment of one trial, as scenes play it.
-- Not for tuning anything.
--   experiment.create(on, "team-a", container); experiment.over(on, "team-a") -> "Succeeded", message

local M = {}

local NAME <const> = "tune"
local TRIAL <const> = "katib.kubeflow.org/trial"

local SEARCH = {
  objective = { type = "maximize", objectiveMetricName = "accuracy" }, parallelTrialCount = 1, maxTrialCount = 1,
  maxFailedTrialCount = 0, algorithm = { algorithmName = "random" },
  parameters = { { name = "lr", parameterType = "double", feasibleSpace = { min = "0.1", max = "0.2" } } },
}

---Makes the experiment.
---@param on lab.Stage
---@param namespace string
---@param container table the training; it is called main
---@param template table? further fields of the pod's spec; labels for the pod
function M.create(on, namespace, container, template)
  local job = on.job(namespace, NAME, container, template)
  job.metadata, job.spec.template.spec.containers[1].name = nil, "main"
  local spec = { trialTemplate = { primaryContainerName = "main", retain = true, trialSpec = job,
    trialParameters = { { name = "lr", reference = "lr" } } } }
  for key, value in pairs(SEARCH) do spec[key] = value end
  on:creates { apiVersion = "kubeflow.org/v1beta1", kind = "Experiment",
    metadata = { name = NAME, namespace = namespace }, spec = spec }
end

---The pod of the trial.
---@param on lab.Stage
---@param namespace string
---@return table?
function M.pod(on, namespace)
  return on.client:list("pods", { namespace = namespace, labels = TRIAL })[1]
end

---Tells what its containers do.
---@param on lab.Stage
---@param namespace string
function M.tell(on, namespace)
  local pod = M.pod(on, namespace)
  for _, field in ipairs { "initContainerStatuses", "containerStatuses" } do
    for _, status in ipairs(pod and pod.status[field] or {}) do
      local state = status.state.terminated and "ended with " .. status.state.terminated.exitCode
        or status.state.running and "runs" or "waits"
      local message = status.state.terminated and status.state.terminated.message
      on:hears("container %s: %s%s", status.name, state, message and ": " .. message or "")
    end
  end
end

---Whether the training has ended.
---@param on lab.Stage
---@param namespace string
---@return boolean
function M.has_trained(on, namespace)
  local pod = M.pod(on, namespace)
  for _, status in ipairs(pod and pod.status and pod.status.containerStatuses or {}) do
    if status.name == "main" and status.state.terminated then return true end
  end
  return false
end

---How the experiment has ended, and what it says of that; nil when it goes on.
---@param on lab.Stage
---@param namespace string
---@return string? condition, string? message
function M.over(on, namespace)
  local found = on.client:get("experiments", NAME, { namespace = namespace })
  for _, condition in ipairs(found.status and found.status.conditions or {}) do
    local over = condition.type == "Succeeded" or condition.type == "Failed"
    if over and condition.status == "True" then return condition.type, condition.message end
  end
end

---Waits until it is over, tells what became of its containers and of itself, and says whether it has succeeded.
---@param on lab.Stage
---@param namespace string
---@param seconds number? that it is waited for
---@return boolean
function M.finish(on, namespace, seconds)
  on:eventually(function() return M.over(on, namespace) end, seconds)
  M.tell(on, namespace)
  local state, message = M.over(on, namespace)
  on:hears("Experiment tune: %s", message or "goes on")
  return state == "Succeeded"
end

return M
