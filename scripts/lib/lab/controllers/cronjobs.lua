-- lab.controllers.cronjobs: jobs at the times that a schedule names.
-- Not for schedules of policies (policy.timetable). The lab's clock counts, and --time-scale does not change it.
--   require "lab.controllers.cronjobs".start(cluster)

local base = require "lab.controllers.base"
local clock = require "lab.clock"
local cron = require "policy.inside.cron"
local inside = require "lab.inside"
local json = require "json"
local pods = require "lab.controllers.pods"
local zones = require "policy.zone"

local M = {}

local CRON, JOB, MANAGER = "batch/cronjobs", "batch/jobs", "cronjob-controller"
local LONGEST, TOO_MANY = 10, 100 -- seconds between two looks; times that may have been missed
local STAMP = "batch.kubernetes.io/cronjob-scheduled-timestamp"

-- --- times --------------------------------------------------------------------------------------------

-- Kubernetes' lines have no seconds; shorthands stay as they are.
local function parsed(schedule)
  local zone, line = schedule:match "^C?R?O?N?_?TZ=(%S+)%s+(.*)$"
  line = line or schedule
  return cron.parse(line:match "^@" and line or "0 " .. line), zone
end

-- The last time that is due, and the next one.
local function due(cluster, object)
  local times, zone = parsed(object.spec.schedule)
  zone = zone or object.spec.timeZone
  local place = zone and zones.open(zone)
  local now = cluster:now()
  local status = object.status or {}
  local after = clock.parse(status.lastScheduleTime or object.metadata.creationTimestamp)
  local deadline = object.spec.startingDeadlineSeconds
  if deadline then after = math.max(after, now - deadline) end
  local last, count = nil, 0
  local at = times:next(math.floor(after), place)
  while at and at <= now do
    last, count = at, count + 1
    at = times:next(at, place)
  end
  return last, at, count
end

-- --- jobs ---------------------------------------------------------------------------------------------

local function finished(job)
  for _, condition in ipairs(job.status and job.status.conditions or {}) do
    if (condition.type == "Complete" or condition.type == "Failed") and condition.status == "True" then
      return condition.type, condition.lastTransitionTime
    end
  end
end

local function reference(job)
  return { apiVersion = "batch/v1", kind = "Job", name = job.metadata.name, namespace = job.metadata.namespace,
           uid = job.metadata.uid, resourceVersion = job.metadata.resourceVersion }
end

local function make(cluster, object, time)
  local template = json.decode(json.encode(object.spec.jobTemplate))
  local m = template.metadata or {}
  m.name = ("%s-%d"):format(object.metadata.name, time // 60)
  m.namespace = object.metadata.namespace
  m.annotations = m.annotations or {}
  m.annotations[STAMP] = clock.text(time)
  m.ownerReferences = json.array { inside.owner(cluster, CRON, object) }
  return inside.create(cluster, JOB, { metadata = m, spec = template.spec }, "kube-controller-manager")
end

-- Finished jobs beyond what is to be kept, the oldest first.
local function forget(cluster, object, jobs)
  local by_end = { Complete = {}, Failed = {} }
  for _, job in ipairs(jobs) do
    local how = finished(job)
    if how and not job.metadata.deletionTimestamp then table.insert(by_end[how], job) end
  end
  local limits = { Complete = object.spec.successfulJobsHistoryLimit or 3,
                   Failed = object.spec.failedJobsHistoryLimit or 1 }
  for how, list in pairs(by_end) do
    table.sort(list, function(a, b) return a.metadata.name < b.metadata.name end)
    for i = 1, #list - limits[how] do
      inside.delete(cluster, JOB, list[i].metadata.namespace, list[i].metadata.name, { propagation = "Background" })
    end
  end
end

-- --- one look -----------------------------------------------------------------------------------------

local function start(cluster, object, time, active)
  local about = inside.with_kind(cluster, CRON, object)
  if #active > 0 and object.spec.concurrencyPolicy == "Forbid" then
    base.event(cluster, about, "Normal", "JobAlreadyActive",
      "Not starting job because prior execution is running and concurrency policy is Forbid", MANAGER)
    return nil
  elseif object.spec.concurrencyPolicy == "Replace" then
    for _, job in ipairs(active) do
      inside.delete(cluster, JOB, job.metadata.namespace, job.metadata.name, { propagation = "Background" })
      base.event(cluster, about, "Normal", "SuccessfulDelete", "Deleted job " .. job.metadata.name, MANAGER)
    end
  end
  local job, problem = make(cluster, object, time)
  if job then
    base.event(cluster, about, "Normal", "SuccessfulCreate", "Created job " .. job.metadata.name, MANAGER)
  elseif problem.body.reason ~= "AlreadyExists" then
    base.event(cluster, about, "Warning", "FailedCreate", "Error creating job: " .. problem.body.message, MANAGER)
    error(problem, 0)
  end
  return true
end

local function report(cluster, object, started)
  local m = object.metadata
  local active, last = json.array {}, nil
  for _, job in ipairs(pods.owned(cluster, JOB, m.namespace, m.uid)) do
    local how, time = finished(job)
    if not how then active[#active + 1] = reference(job) end
    if how == "Complete" and (not last or time > last) then last = time end
  end
  inside.change(cluster, CRON, m.namespace, m.name, "status", "kube-controller-manager", function(new)
    local s = new.status or {}
    new.status = s
    s.active = #active > 0 and active or nil
    s.lastScheduleTime = started and clock.text(started) or s.lastScheduleTime
    if last and (not s.lastSuccessfulTime or last > s.lastSuccessfulTime) then s.lastSuccessfulTime = last end
  end)
end

local function look(cluster, key, controller)
  local namespace, name = key:match "^(.-)/(.*)$"
  local object = inside.view(cluster, CRON, namespace, name)
  if not object or object.metadata.deletionTimestamp then return end
  local jobs, active = pods.owned(cluster, JOB, namespace, object.metadata.uid), {}
  for _, job in ipairs(jobs) do
    if not finished(job) and not job.metadata.deletionTimestamp then active[#active + 1] = job end
  end
  local about = inside.with_kind(cluster, CRON, object)
  for _, one in ipairs(object.status and object.status.active or {}) do
    local job = inside.view(cluster, JOB, namespace, one.name)
    local how = job and finished(job)
    if how then
      base.event(cluster, about, "Normal", "SawCompletedJob", ("Saw completed job: %s, condition: %s"):format(one.name,
        how), MANAGER)
    end
  end
  forget(cluster, object, jobs)
  local started
  if not object.spec.suspend then
    local last, next_time, missed = due(cluster, object)
    if missed > TOO_MANY then
      base.event(cluster, about, "Warning", "TooManyMissedTimes", "too many missed start times. Set or decrease "
        .. ".spec.startingDeadlineSeconds or check clock skew", MANAGER)
    end
    if last and start(cluster, object, last, active) then started = last end
    if next_time then controller:later(key, math.min(math.max(next_time - cluster:now(), 0.1), LONGEST)) end
  end
  report(cluster, object, started)
end

---@param cluster lab.Cluster
---@return lab.Controller
function M.start(cluster)
  return base.new(cluster, {
    name = "cronjobs",
    on = pods.follow(cluster, "CronJob", CRON, JOB),
    look = function(key, self) look(cluster, key, self) end,
  })
end

return M
