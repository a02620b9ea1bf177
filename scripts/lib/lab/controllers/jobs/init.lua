-- lab.controllers.jobs: pods of a job until enough have succeeded, or too many failed.
-- Not for running pods (lab.node).
--   require "lab.controllers.jobs".start(cluster)
--
-- A pod that has ended keeps a finalizer until it has been counted; what is being counted stands in
-- status.uncountedTerminatedPods, so that nothing is counted twice when the lab is stopped between.
-- A look at a job: what there is (round), whether it is over (decide), pods made or given up (manage, making),
-- what has ended counted (track).

local backoff = require "lab.controllers.jobs.backoff"
local base = require "lab.controllers.base"
local clock = require "lab.clock"
local indexes = require "lab.controllers.jobs.indexes"
local inside = require "lab.inside"
local making = require "lab.controllers.jobs.making"
local pods = require "lab.controllers.pods"
local policies = require "lab.controllers.jobs.policies"
local rounds = require "lab.controllers.jobs.round"
local store = require "lab.store"
local track = require "lab.controllers.jobs.track"

local M = {}

local JOB, TRACKING = making.JOB, making.TRACKING

local function is_over(job) return track.holds(job.status, "Complete") or track.holds(job.status, "Failed") end

-- --- whether it is over -----------------------------------------------------------------------------

local function target(kind, reason, message) return { kind = kind, reason = reason, message = message } end

local function restarts(owned)
  local sum = 0
  for _, pod in ipairs(owned) do
    for _, field in ipairs(pods.is_finished(pod) and {} or { "containerStatuses", "initContainerStatuses" }) do
      for _, s in ipairs(pod.status and pod.status[field] or {}) do sum = sum + (s.restartCount or 0) end
    end
  end
  return sum
end

local function failed_too_often(round)
  local spec = round.job.spec
  if round.failures > spec.backoffLimit then return true end
  return spec.template.spec.restartPolicy == "OnFailure" and restarts(round.pods) >= math.max(spec.backoffLimit, 1)
end

-- Seconds until a job has been active for too long.
local function time_left(cluster, job)
  local limit, started = job.spec.activeDeadlineSeconds, clock.parse(job.status and job.status.startTime)
  if not limit or job.spec.suspend then return nil end
  return (started or cluster:now()) + limit - cluster:now()
end

local function lost_indexes(round)
  if not round.lost then return nil end
  local spec, lost = round.job.spec, indexes.count(round.lost)
  if spec.maxFailedIndexes and lost > spec.maxFailedIndexes then
    return target("FailureTarget", "MaxFailedIndexesExceeded",
      "Job has exceeded the specified maximal number of failed indexes")
  elseif lost > 0 and lost + round.successes >= spec.completions then
    return target("FailureTarget", "FailedIndexes", "Job has failed indexes")
  end
end

-- What ends the job, if anything does: it stands in the status before the last pod has gone.
local function decide(cluster, round)
  local job = round.job
  for _, kind in ipairs { "SuccessCriteriaMet", "FailureTarget" } do
    local known = track.holds(job.status, kind)
    if known then return target(kind, known.reason, known.message) end
  end
  local message = policies.ends_job(job, round.pods)
  if message then return target("FailureTarget", "PodFailurePolicy", message) end
  if failed_too_often(round) then
    return target("FailureTarget", "BackoffLimitExceeded", "Job has reached the specified backoff limit")
  end
  local left = time_left(cluster, job)
  if left and left <= 0 then
    return target("FailureTarget", "DeadlineExceeded", "Job was active longer than specified deadline")
  end
  round.wake = left
  local lost = lost_indexes(round)
  if lost then return lost end
  message = policies.enough(job, round.done)
  return message and target("SuccessCriteriaMet", "SuccessPolicy", message) or nil
end

-- --- as many pods as there are to be ------------------------------------------------------------------

local function wanted(round)
  local spec = round.job.spec
  if not spec.completions then return round.successes > 0 and #round.active or spec.parallelism end
  return math.max(0, math.min(spec.parallelism, spec.completions - round.successes))
end

-- Of an Indexed job's pods those whose index is none, or is taken by one that has come further.
local function misplaced(round)
  if not indexes.indexed(round.job) then return {}, round.active end
  local of, out, left = {}, {}, {}
  for _, pod in ipairs(round.active) do
    local index = indexes.of(pod)
    if indexes.valid(round.job, pod) then
      of[index] = of[index] or {}
      table.insert(of[index], pod)
    else
      out[#out + 1] = pod
    end
  end
  for _, list in pairs(of) do
    pods.sort_for_removal(list)
    left[#left + 1] = table.remove(list)
    table.move(list, 1, #list, #out + 1, out)
  end
  return out, left
end

local function surplus(round, most)
  local out, left = misplaced(round)
  pods.sort_for_removal(left)
  local fewer = #round.active - most - #out
  for i = 1, fewer do out[#out + 1] = left[i] end
  return out
end

local function set_of(list)
  local set = {}
  for _, pod in ipairs(list) do
    local index = indexes.of(pod)
    if index then set[index] = true end
  end
  return set
end

-- The indexes that get pods now; where each has failures of its own, seconds until the next of the others may.
local function indexes_to_add(cluster, round, missing, scale)
  local job, now = round.job, cluster:now()
  local taken = { round.done, set_of(round.active), round.lost or {},
                  policies.waits_for_end(job) and set_of(round.leaving) or {} }
  local list, wait = {}, nil
  for _, index in ipairs(indexes.pending(missing, job.spec.completions, taken)) do
    local before = round.replaced[index]
    local left = before and backoff.wait(policies.failures_of_index(before) + 1, backoff.end_of(before, now), now,
      scale) or 0
    if left > 0 then wait = math.min(wait or left, left) else list[#list + 1] = index end
  end
  return list, wait
end

local function sooner(round, seconds)
  if seconds then round.wake = math.min(round.wake or seconds, seconds) end
end

local function add(cluster, round, missing, record, scale)
  local job = round.job
  local left = not job.spec.backoffLimitPerIndex
    and backoff.wait(record.failures, record.last, cluster:now(), scale) or 0
  if left > 0 then return sooner(round, left) end
  local list, wait
  if indexes.indexed(job) then
    list, wait = indexes_to_add(cluster, round, missing, scale)
    sooner(round, wait)
  end
  for i = 1, list and #list or missing do
    local index = list and list[i]
    round.problem = making.pod(cluster, job, index, job.spec.backoffLimitPerIndex
      and policies.memory_of_index(job, round.replaced[index]) or nil)
    if round.problem then return end
  end
end

-- Pods are made or given up, never both in one look.
local function manage(cluster, round, record, scale)
  local job = round.job
  local most = job.spec.suspend and 0 or wanted(round)
  local out = job.spec.suspend and round.active or surplus(round, most)
  for _, pod in ipairs(out) do making.give_up(cluster, job, pod) end
  if #out > 0 or job.spec.suspend then return end
  local missing = most - #round.active - (policies.waits_for_end(job) and #round.leaving or 0)
  if missing > 0 then add(cluster, round, missing, record, scale) end
end

-- --- one job ----------------------------------------------------------------------------------------

local function is_complete(round)
  local spec = round.job.spec
  if spec.completions then return round.successes >= spec.completions end
  return round.successes > 0 and #round.active == 0
end

local function sync(cluster, job, key, self, scale)
  local round = rounds.new(cluster, job)
  local record = self.records[key]
  if not record or record.uid ~= job.metadata.uid then record = { uid = job.metadata.uid, failures = 0 } end
  self.records[key] = record
  backoff.note(record, round.failed, round.succeeded, cluster:now())
  local over = decide(cluster, round)
  if over then
    for _, pod in ipairs(round.active) do making.delete(cluster, job, pod) end
  elseif not job.metadata.deletionTimestamp then
    manage(cluster, round, record, scale)
    if is_complete(round) then
      over = target("SuccessCriteriaMet", "CompletionsReached", "Reached expected number of succeeded pods")
    end
  end
  track.run(cluster, round, over)
  if round.wake and not over then self:later(key, math.max(round.wake, 0.01)) end
  if round.problem and not round.problem.body.message:find("is being terminated", 1, true) then
    error(round.problem, 0)
  end
end

local function expire(cluster, job, key, self)
  local ttl = job.spec.ttlSecondsAfterFinished
  if not ttl or job.metadata.deletionTimestamp then return end
  local left = clock.parse(is_over(job).lastTransitionTime) + ttl - cluster:now()
  if left > 0 then
    self:later(key, left)
  else
    inside.delete(cluster, JOB, job.metadata.namespace, job.metadata.name,
      { propagation = "Foreground", uid = job.metadata.uid })
  end
end

-- Nobody counts the pods of a job that is gone: they are let go.
local function release_orphans(cluster, namespace)
  for _, record in ipairs(cluster.store:collection "pods":records(namespace)) do
    if store.mentions(record, TRACKING) then
      local pod = store.view(record)
      local owner = inside.controller_of(pod)
      local job = owner and owner.kind == "Job" and inside.view(cluster, JOB, namespace, owner.name)
      if making.has_finalizer(pod) and not (job and job.metadata.uid == owner.uid) then
        making.drop_finalizer(cluster, pod)
      end
    end
  end
end

local function release_all(cluster, job)
  for _, pod in ipairs(pods.owned(cluster, "pods", job.metadata.namespace, job.metadata.uid)) do
    if making.has_finalizer(pod) then making.drop_finalizer(cluster, pod) end
  end
end

local function look(cluster, key, self, scale)
  local namespace, name = key:match "^(.-)/(.*)$"
  local job = name ~= "" and inside.view(cluster, JOB, namespace, name)
  if not job then
    self.records[key] = nil
    return release_orphans(cluster, namespace)
  end
  if (job.spec.managedBy or "kubernetes.io/job-controller") ~= "kubernetes.io/job-controller" then return end
  if is_over(job) then
    self.records[key] = nil
    release_all(cluster, job)
    return expire(cluster, job, key, self)
  end
  sync(cluster, job, key, self, scale)
end

---@param cluster lab.Cluster
---@param options {time_scale: number?}
---@return lab.Controller
function M.start(cluster, options)
  local scale = options.time_scale or 1
  local follow = pods.follow(cluster, "Job", JOB, "pods")
  local records = {} -- key -> failures since the last success
  return base.new(cluster, {
    name = "jobs",
    on = function(collection, event, add_key)
      follow(collection, event, add_key)
      if collection == JOB and event.removed then add_key(event.record.key) end
      local record = event.record
      if collection == "pods" and not pods.owner_key(record, "Job") and store.mentions(record, TRACKING) then
        add_key(record.namespace .. "/")
      end
    end,
    look = function(key, self)
      self.records = records
      look(cluster, key, self, scale)
    end,
  })
end

return M
