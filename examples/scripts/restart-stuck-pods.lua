-- Restarts pods that have been stuck for some time: waiting for an image, crashing again and again, or failed.
-- A pod is deleted only when something will make it again, and only if it is still the one that was looked at.
--   kfhost restart-stuck-pods.lua [MINUTES] [NAMESPACE]      kfhost --dry-run restart-stuck-pods.lua 30
local kube = require "kube"
local time = require "kube.time"

local minutes, namespace = tonumber(arg[1] or 10), arg[2] or "*"
local c = kube.connect()

local STUCK = { CrashLoopBackOff = true, ImagePullBackOff = true, ErrImagePull = true, CreateContainerError = true }

-- Why a pod is stuck, or nil.
local function reason_of(pod)
  if pod.status.phase == "Failed" then return pod.status.reason or "Failed" end
  for _, container in ipairs(pod.status.containerStatuses or {}) do
    local waiting = container.state and container.state.waiting
    if waiting and STUCK[waiting.reason] then return waiting.reason end
  end
end

-- Jobs count failures themselves; a pod without an owner would not come back.
local function comes_back(pod)
  local owner = (pod.metadata.ownerReferences or {})[1]
  return owner ~= nil and owner.kind ~= "Job"
end

local restarted = 0
for pod in c:each("pods", { namespace = namespace }) do
  local reason = reason_of(pod)
  local age = os.time() - time.parse(pod.metadata.creationTimestamp)
  if reason and comes_back(pod) and age >= minutes * 60 then
    local where = { namespace = pod.metadata.namespace, uid = pod.metadata.uid }
    local deleted, problem = c.try:delete("pods", pod.metadata.name, where)
    print(("%s/%s: %s for %s: %s"):format(pod.metadata.namespace, pod.metadata.name, reason, time.age(age),
      deleted and "restarted" or problem.message))
    if deleted then restarted = restarted + 1 end
  end
end
print(restarted .. " restarted")
