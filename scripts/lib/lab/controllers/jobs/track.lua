-- lab.controllers.jobs.track: counts the pods of a job that have ended, says so in its status, and ends the job.
-- Not for whether it is over.
--   track.run(cluster, round, over)

local conditions = require "lab.conditions"
local indexes = require "lab.controllers.jobs.indexes"
local inside = require "lab.inside"
local json = require "json"
local making = require "lab.controllers.jobs.making"
local pods = require "lab.controllers.pods"
local policies = require "lab.controllers.jobs.policies"

local M = {}

-- --- conditions -------------------------------------------------------------------------------------

---@return table? condition that holds
function M.holds(status, kind)
  local condition = conditions.find(status, kind)
  return condition and condition.status == "True" and condition or nil
end

-- Says that something holds, or no longer does; whether that is new.
local function set_condition(cluster, status, kind, value, reason, message)
  local one = conditions.find(status, kind)
  if not one and value == "False" then return false end
  if one and one.status == value and one.reason == reason and one.message == message then return false end
  if not one then
    one = { type = kind }
    status.conditions = status.conditions or json.array {}
    table.insert(status.conditions, one)
  end
  local now = cluster:time()
  one.status, one.reason, one.message, one.lastProbeTime, one.lastTransitionTime = value, reason, message, now, now
  return true
end

-- --- counting ---------------------------------------------------------------------------------------

-- The pods that may go: those that have ended, and all when the job is over or leaves.
local function to_release(round, over)
  local list = {}
  for _, pod in ipairs(round.pods) do
    if making.has_finalizer(pod) then
      local ended = pod.status and pod.status.phase == "Succeeded"
        or policies.has_failed(round.job, pod) and round.replaced[indexes.of(pod) or -1] ~= pod
      if ended or over or round.job.metadata.deletionTimestamp then list[#list + 1] = pod end
    end
  end
  return list
end

-- As what a pod that goes is counted, if at all.
local function kind_of(round, pod, over)
  if round.noted[pod.metadata.uid] then return nil end
  if pod.status and pod.status.phase == "Succeeded" then
    return not indexes.indexed(round.job) and "succeeded" or nil
  end
  local failed = policies.has_failed(round.job, pod) or over and over.kind ~= "SuccessCriteriaMet"
  if not failed or not indexes.valid(round.job, pod) then return nil end
  local _, counts = policies.of_failure(round.job, pod)
  return counts and "failed" or nil
end

local function some(value) return value > 0 and value or nil end

local function report_pods(cluster, job, status)
  local active, ready, leaving = 0, 0, 0
  for _, pod in ipairs(pods.owned(cluster, "pods", job.metadata.namespace, job.metadata.uid)) do
    if pods.is_active(pod) then
      active = active + 1
      if pods.is_ready(pod) then ready = ready + 1 end
    elseif pod.metadata.deletionTimestamp and not pods.is_finished(pod) then
      leaving = leaving + 1
    end
  end
  status.active, status.ready, status.terminating = some(active), ready, leaving
  return leaving
end

local function change_status(cluster, job, change)
  local m = job.metadata
  inside.change(cluster, making.JOB, m.namespace, m.name, "status", making.MANAGER, function(new)
    if new.metadata.uid ~= m.uid then return false end
    new.status = new.status or {}
    change(new.status, new)
  end)
end

-- First what will be counted stands in the status.
local function note(cluster, round, release, over)
  local job, said = round.job, nil
  change_status(cluster, job, function(s)
    local lists = s.uncountedTerminatedPods or {}
    for _, pod in ipairs(release) do
      local kind = kind_of(round, pod, over)
      if kind then
        lists[kind] = lists[kind] or json.array {}
        table.insert(lists[kind], pod.metadata.uid)
      end
    end
    s.uncountedTerminatedPods = json.object(lists)
    if indexes.indexed(job) then
      s.completedIndexes, s.succeeded = indexes.text(round.done), some(round.successes)
      if s.completedIndexes == "" then s.completedIndexes = nil end
      s.failedIndexes = round.lost and indexes.text(round.lost) or nil
    end
    report_pods(cluster, job, s)
    if over then
      set_condition(cluster, s, over.kind, "True", over.reason, over.message)
    elseif not job.metadata.deletionTimestamp then
      if job.spec.suspend then
        said = set_condition(cluster, s, "Suspended", "True", "JobSuspended", "Job suspended") and "Suspended" or nil
      else
        said = set_condition(cluster, s, "Suspended", "False", "JobResumed", "Job resumed") and "Resumed" or nil
      end
    end
    if job.spec.suspend and not over then s.startTime = nil
    elseif not s.startTime then s.startTime = cluster:time() end
  end)
  if said then making.say(cluster, job, "Normal", said, "Job " .. said:lower()) end
end

-- Then what has been let go is counted; a job that is over and has no pod left ends.
local function settle(cluster, round, over)
  local job, kept = round.job, {}
  for _, pod in ipairs(pods.owned(cluster, "pods", job.metadata.namespace, job.metadata.uid)) do
    kept[pod.metadata.uid] = making.has_finalizer(pod)
  end
  local final = nil
  change_status(cluster, job, function(s)
    local lists, waiting = s.uncountedTerminatedPods or {}, 0
    for _, kind in ipairs { "succeeded", "failed" } do
      local left = json.array {}
      for _, uid in ipairs(lists[kind] or {}) do
        if kept[uid] then left[#left + 1] = uid else s[kind] = (s[kind] or 0) + 1 end
      end
      lists[kind] = #left > 0 and left or nil
      waiting = waiting + #left
    end
    s.uncountedTerminatedPods = json.object(lists)
    local leaving = report_pods(cluster, job, s)
    if not over or waiting > 0 or leaving > 0 then return end
    final = over.kind == "FailureTarget" and "Failed" or "Complete"
    set_condition(cluster, s, final, "True", over.reason, over.message)
    if final == "Complete" then s.completionTime = cluster:time() end
  end)
  if final == "Complete" then
    making.say(cluster, job, "Normal", "Completed", "Job completed")
  elseif final then
    making.say(cluster, job, "Warning", over.reason, over.message)
  end
end

---@param round lab.JobRound
---@param over {kind: string, reason: string, message: string}? what ends the job
function M.run(cluster, round, over)
  local release = to_release(round, over)
  note(cluster, round, release, over)
  for _, pod in ipairs(release) do making.drop_finalizer(cluster, pod) end
  settle(cluster, round, over)
end

return M
