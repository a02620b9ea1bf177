-- lab.controllers.jobs.round: what one look at a job finds: its pods, and how many have succeeded and failed.
-- Not for what is done then.
--   local round = require "lab.controllers.jobs.round".new(cluster, job)

local indexes = require "lab.controllers.jobs.indexes"
local json = require "json"
local making = require "lab.controllers.jobs.making"
local pods = require "lab.controllers.pods"
local policies = require "lab.controllers.jobs.policies"

local M = {}

---@class lab.JobRound what one look at a job has found
---@field job table
---@field pods table[] all that it owns
---@field active table[] those that run or will
---@field leaving table[] those that are being deleted and have not ended
---@field noted table<string, string> uid -> "succeeded" | "failed", of pods that are being counted
---@field succeeded table[] new ones
---@field failed table[] new ones
---@field failures integer all that count
---@field successes integer
---@field done table<integer, boolean> indexes that have succeeded
---@field lost table<integer, boolean>? indexes that have failed for good, where indexes have limits of their own
---@field replaced table<integer, table> the failed pod that the next one of its index remembers
---@field wake number? seconds until the next look

local function noted_of(status)
  local noted = {}
  for _, kind in ipairs { "succeeded", "failed" } do
    for _, uid in ipairs((status.uncountedTerminatedPods or {})[kind] or {}) do noted[uid] = kind end
  end
  return noted
end

local function sort_pods(round)
  for _, pod in ipairs(round.pods) do
    if pods.is_active(pod) then
      table.insert(round.active, pod)
    elseif pod.metadata.deletionTimestamp and not pods.is_finished(pod) then
      table.insert(round.leaving, pod)
    end
    if making.has_finalizer(pod) and not round.noted[pod.metadata.uid] and indexes.valid(round.job, pod) then
      local phase = pod.status and pod.status.phase
      if phase == "Succeeded" then
        table.insert(round.succeeded, pod)
      elseif policies.has_failed(round.job, pod) then
        table.insert(round.failed, pod)
      end
    end
  end
end

local function count(round)
  local status, waiting = round.job.status or {}, { succeeded = 0, failed = 0 }
  for _, kind in pairs(round.noted) do waiting[kind] = waiting[kind] + 1 end
  round.successes = (status.succeeded or 0) + waiting.succeeded + #round.succeeded
  round.failures = (status.failed or 0) + waiting.failed
  for _, pod in ipairs(round.failed) do
    local _, counts = policies.of_failure(round.job, pod)
    if counts then round.failures = round.failures + 1 end
  end
end

-- Of two failed pods of an index the one that knows of more failures.
local function note_replaced(round, pod)
  local index = indexes.of(pod)
  if round.done[index] or round.lost[index] then return end
  for _, other in ipairs(round.active) do
    if indexes.of(other) == index then return end
  end
  local known = round.replaced[index]
  if not known or policies.failures_of_index(known) <= policies.failures_of_index(pod) then
    round.replaced[index] = pod
  end
end

local function count_indexes(round)
  local job, status = round.job, round.job.status or {}
  round.done = indexes.read(status.completedIndexes, job.spec.completions)
  for _, pod in ipairs(round.succeeded) do round.done[indexes.of(pod)] = true end
  round.successes = indexes.count(round.done)
  if not job.spec.backoffLimitPerIndex then return end
  round.lost = indexes.read(status.failedIndexes, job.spec.completions)
  local failed = {}
  for _, pod in ipairs(round.pods) do
    if making.has_finalizer(pod) and indexes.valid(job, pod) and policies.has_failed(job, pod) then
      failed[#failed + 1] = pod
      if policies.ends_index(job, pod) then round.lost[indexes.of(pod)] = true end
    end
  end
  for _, pod in ipairs(failed) do note_replaced(round, pod) end
end

---@return lab.JobRound
function M.new(cluster, job)
  local round = { job = job, pods = pods.claim(cluster, "pods", making.JOB, job, function(pod)
    pod.metadata.finalizers = pod.metadata.finalizers or json.array {}
    table.insert(pod.metadata.finalizers, making.TRACKING)
  end), noted = noted_of(job.status or {}), active = {}, leaving = {}, succeeded = {}, failed = {}, done = {},
    replaced = {} }
  sort_pods(round)
  count(round)
  if indexes.indexed(job) then count_indexes(round) end
  return round
end

return M
