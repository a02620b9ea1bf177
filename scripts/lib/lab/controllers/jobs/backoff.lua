-- lab.controllers.jobs.backoff: how long a job waits after failures: 10 s, twice as long each time, at most 10 minutes.
-- Not for whether it has failed too often.
--   backoff.note(record, ended, failed, succeeded); backoff.left(record, now, scale)

local clock = require "lab.clock"

local M = {}

local FIRST, LONGEST = 10, 600

---When a pod has ended, as far as can be seen.
---@param pod table
---@param now number
---@return number seconds since 1970
function M.end_of(pod, now)
  local last
  for _, s in ipairs(pod.status and pod.status.containerStatuses or {}) do
    local ended = s.state and s.state.terminated and clock.parse(s.state.terminated.finishedAt)
    if ended then last = math.max(last or 0, ended) end
  end
  if last then return last end
  for _, condition in ipairs(pod.status and pod.status.conditions or {}) do
    if condition.type == "Ready" and condition.status == "False" and condition.lastTransitionTime then
      last = clock.parse(condition.lastTransitionTime)
    end
  end
  local deleted = clock.parse(pod.metadata.deletionTimestamp)
  if deleted then return deleted - (pod.metadata.deletionGracePeriodSeconds or 0) end
  return last or now
end

---@param failures integer since the last success
---@param last number? when the last of them was
---@param now number
---@param scale number of the lab's waits
---@return number seconds
function M.wait(failures, last, now, scale)
  if failures == 0 or not last then return 0 end
  return math.max(0, last + math.min(FIRST * 2 ^ (failures - 1), LONGEST) * scale - now)
end

---Notes pods that have ended since the last look.
---@param record {failures: integer, last: number?}
---@param failed table[] pods
---@param succeeded table[] pods
function M.note(record, failed, succeeded, now)
  local success
  for _, pod in ipairs(succeeded) do success = math.max(success or 0, M.end_of(pod, now)) end
  if success then record.failures, record.last = 0, nil end
  for _, pod in ipairs(failed) do
    local ended = M.end_of(pod, now)
    if not success or ended > success then
      record.failures, record.last = record.failures + 1, math.max(record.last or 0, ended)
    end
  end
end

return M
