-- lab.controllers.jobs.policies: which pods have failed, what that means, and when a job has had enough successes.
-- Not for what is done then.
--   local action, counts, message = policies.of_failure(job, pod)

local indexes = require "lab.controllers.jobs.indexes"

local M = {}

-- Whether pods are replaced only when they have ended, not when they are on their way to it.
---@return boolean
function M.waits_for_end(job) return job.spec.podReplacementPolicy == "Failed" or job.spec.podFailurePolicy ~= nil end

---Whether a pod counts as failed: one that is being deleted does at once, unless the job waits for its end. One that
---never came to a node has no end to wait for.
---@return boolean
function M.has_failed(job, pod)
  local phase = pod.status and pod.status.phase
  if phase == "Failed" then return true end
  if phase == "Succeeded" or not pod.metadata.deletionTimestamp then return false end
  return not M.waits_for_end(job) or (pod.spec.nodeName or "") == ""
end

-- --- failures -----------------------------------------------------------------------------------------

local function matching_container(on, pod)
  for _, field in ipairs { "containerStatuses", "initContainerStatuses" } do
    for _, s in ipairs(pod.status and pod.status[field] or {}) do
      local code = s.state and s.state.terminated and s.state.terminated.exitCode
      if code and code ~= 0 and (not on.containerName or on.containerName == s.name) then
        local listed = false
        for _, value in ipairs(on.values or {}) do listed = listed or value == code end
        if listed == (on.operator == "In") then return s.name, code end
      end
    end
  end
end

local function matching_condition(patterns, pod)
  for _, pattern in ipairs(patterns) do
    for _, condition in ipairs(pod.status and pod.status.conditions or {}) do
      if condition.type == pattern.type and condition.status == (pattern.status or "True") then return pattern.type end
    end
  end
end

---What the job's policy says of a pod that has failed.
---@return "FailJob"|"FailIndex"|"Ignore"|"Count"|nil action nil when no rule matches
---@return boolean counts whether the failure counts
---@return string? message of FailJob
function M.of_failure(job, pod)
  local m = pod.metadata
  for i, rule in ipairs(job.spec.podFailurePolicy and job.spec.podFailurePolicy.rules or {}) do
    local text
    if rule.onExitCodes then
      local name, code = matching_container(rule.onExitCodes, pod)
      text = name and ("Container %s for pod %s/%s failed with exit code %d matching %s rule at index %d"):format(name,
        m.namespace, m.name, code, rule.action, i - 1)
    else
      local kind = matching_condition(rule.onPodConditions or {}, pod)
      text = kind and ("Pod %s/%s has condition %s matching %s rule at index %d"):format(m.namespace, m.name, kind,
        rule.action, i - 1)
    end
    if text then return rule.action, rule.action ~= "Ignore", rule.action == "FailJob" and text or nil end
  end
  return nil, true
end

---Why the policy ends the job, if one of the pods makes it.
---@return string? message
function M.ends_job(job, pods)
  if not job.spec.podFailurePolicy then return nil end
  for _, pod in ipairs(pods) do
    if M.has_failed(job, pod) then
      local _, _, message = M.of_failure(job, pod)
      if message then return message end
    end
  end
end

-- --- failures of an index ------------------------------------------------------------------------------

local FAILURES, IGNORED = "batch.kubernetes.io/job-index-failure-count",
  "batch.kubernetes.io/job-index-ignored-failure-count"

local function number_of(pod, name)
  return math.tointeger(tonumber((pod.metadata.annotations or {})[name] or "")) or 0
end

---Whether a failed pod is the last of its index.
---@return boolean
function M.ends_index(job, pod)
  if not M.has_failed(job, pod) then return false end
  local action, counts = M.of_failure(job, pod)
  return action == "FailIndex" or counts and number_of(pod, FAILURES) >= job.spec.backoffLimitPerIndex
end

---How often an index has failed, counted or not.
---@return integer
function M.failures_of_index(pod) return number_of(pod, FAILURES) + number_of(pod, IGNORED) end

---What a new pod of an index remembers of the one that it replaces.
---@param replaced table? pod
---@return table<string, string> annotations
function M.memory_of_index(job, replaced)
  local failures, ignored = 0, 0
  if replaced then
    failures, ignored = number_of(replaced, FAILURES), number_of(replaced, IGNORED)
    local _, counts = M.of_failure(job, replaced)
    if counts then failures = failures + 1 else ignored = ignored + 1 end
  end
  return { [FAILURES] = tostring(failures), [IGNORED] = ignored > 0 and tostring(ignored) or nil }
end

-- --- successes ----------------------------------------------------------------------------------------

local function is_met(rule, done, completions)
  local counted = done
  if rule.succeededIndexes then
    local asked, reached = indexes.read(rule.succeededIndexes, completions), {}
    for index in pairs(asked) do reached[index] = done[index] end
    if not rule.succeededCount then return indexes.count(reached) == indexes.count(asked) end
    counted = reached
  end
  return rule.succeededCount ~= nil and indexes.count(counted) >= rule.succeededCount
end

---Whether fewer successes than all are enough.
---@param done table<integer, boolean> indexes that have succeeded
---@return string? message
function M.enough(job, done)
  for i, rule in ipairs(job.spec.successPolicy and job.spec.successPolicy.rules or {}) do
    if is_met(rule, done, job.spec.completions) then return ("Matched rules at index %d"):format(i - 1) end
  end
end

return M
