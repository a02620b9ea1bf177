-- kale.waiting: why the pod of a trial does not start: what scheduler, kubelet and Job controller say of it.
-- Not for what its program does once it runs: see kale.trials.
--   print(waiting.reason(client, "team-a", "digits-b28cb-2gwnwslx")) --> main: ErrImagePull: …

local errors = require "errors"

local M = {}

local ON_ITS_WAY = { ContainerCreating = true, PodInitializing = true }

local function of_containers(pod)
  local status = pod.status or {}
  for _, list in ipairs { status.initContainerStatuses or {}, status.containerStatuses or {} } do
    for _, one in ipairs(list) do
      local wait = one.state and one.state.waiting
      if wait and wait.reason and not ON_ITS_WAY[wait.reason] then
        return ("%s: %s%s"):format(one.name, wait.reason, wait.message and ": " .. wait.message or "")
      end
    end
  end
end

local function of_pod(pod)
  for _, condition in ipairs((pod.status or {}).conditions or {}) do
    if condition.type == "PodScheduled" and condition.status == "False" then
      return ("%s: %s"):format(condition.reason or "Unschedulable", condition.message or "")
    end
  end
  return of_containers(pod)
end

local function of_job(client, namespace, name)
  local events = client:list("events", { namespace = namespace, fields = "involvedObject.name=" .. name })
  for _, event in ipairs(events or {}) do
    if event.reason == "FailedCreate" then return event.message end
  end
end

---@param client table of kube.connect
---@param namespace string
---@param trial string whose Job has the same name
---@return string? reason nil: nothing stands in its way, or it may not be looked at
function M.reason(client, namespace, trial)
  client = errors.try(client)
  local pods = client:list("pods", { namespace = namespace, labels = "job-name=" .. trial })
  for _, pod in ipairs(pods or {}) do
    local reason = of_pod(pod)
    if reason then return reason end
  end
  return pods and #pods == 0 and of_job(client, namespace, trial) or nil
end

return M
