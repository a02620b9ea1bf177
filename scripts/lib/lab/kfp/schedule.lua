-- lab.kfp.schedule: what a ScheduledWorkflow says: when its next run is due, what that is called, what its status is.
-- Not for making runs (lab.kfp.schedules).
--   local at = schedule.next(object, os.time()); schedule.is_due(object, at, os.time(), 0)

local clock = require "lab.clock"
local cron = require "policy.inside.cron"
local json = require "json"
local zones = require "policy.zone"

local M = {}

local GROUP = "scheduledworkflows.kubeflow.org"
M.OF, M.EPOCH, M.INDEX = GROUP .. "/scheduledWorkflowName", GROUP .. "/workflowEpoch", GROUP .. "/workflowIndex"
M.OWNED = GROUP .. "/isOwnedByScheduledWorkflow"

local MOST_AT_ONCE, MOST_HISTORY, HISTORY = 10, 100, 10

-- --- times --------------------------------------------------------------------------------------------------------

---A cron line as KFP's controller reads it: seconds first; of five fields the last, the day of the week, is open.
---@param text string
---@return fun(after: integer): integer? next # raises a text that says what is wrong
function M.cron(text)
  local every = text:match "^@every%s+(%S+)$"
  if every then
    local seconds = math.max(1, math.floor(require "task".seconds(every)))
    return function(after) return after + seconds end
  end
  local zone, line = text:match "^TZ=(%S+)%s+(.*)$"
  line = line or text
  if select(2, line:gsub("%S+", "")) == 5 then line = line .. " *" end
  local times, place = cron.parse(line), zone and zones.open(zone) or nil
  return function(after) return times:next(after, place) end
end

local function periodic(seconds)
  return function(after) return after + seconds end
end

-- The schedule and its step: from one time to the next.
local function trigger_of(object)
  local trigger = object.spec.trigger or {}
  if trigger.periodicSchedule then
    local interval = tonumber(trigger.periodicSchedule.intervalSecond) or 1
    return trigger.periodicSchedule, periodic(math.max(1, math.floor(interval)))
  end
  if not trigger.cronSchedule then return nil end
  local ok, step = pcall(M.cron, trigger.cronSchedule.cron or "")
  return trigger.cronSchedule, ok and step or function() return nil end
end

local function status_trigger(object)
  return (object.status or {}).trigger or {}
end

-- The last of the times that are due: those before it are left out.
local function last_due(first, step, now, ends)
  local at = first
  while true do
    local following = step(at)
    if not following or following > now or ends and following > ends then return at end
    at = following
  end
end

---@param object table a ScheduledWorkflow
---@param now integer seconds since 1970
---@return integer? time of the next run, which may be over; nil when there is none
function M.next(object, now)
  local last = clock.parse(status_trigger(object).lastTriggeredTime)
  local created = math.floor(clock.parse(object.metadata.creationTimestamp) or now)
  local given, step = trigger_of(object)
  if not given then
    if last then return nil end
    return created -- once, at once
  end
  local starts, ends = clock.parse(given.startTime), clock.parse(given.endTime)
  local from = last or starts or created
  if starts and starts > from then from = starts end
  local at = step(math.floor(from))
  if not at or ends and at > ends then return nil end
  return object.spec.noCatchup and last_due(at, step, now, ends) or at
end

local function between(low, high, value, otherwise)
  return math.min(high, math.max(low, tonumber(value) or otherwise))
end

---@param at integer? of next
---@param active integer how many of its runs are under way
---@return boolean
function M.is_due(object, at, now, active)
  if not at or at > now or not object.spec.enabled then return false end
  return active < between(1, MOST_AT_ONCE, object.spec.maxConcurrency, 1)
end

-- --- names --------------------------------------------------------------------------------------------------------

local function fnv32a(text)
  local value = 2166136261
  for i = 1, #text do value = ((value ~ text:byte(i)) * 16777619) & 0xffffffff end
  return value
end

---@return integer index of the last run
function M.last_index(object)
  return math.tointeger(tonumber(status_trigger(object).lastWorkflowIndex)) or 0
end

---@return string name of the next run's workflow, the same however often it is asked
function M.next_name(object)
  local id = ("%s-%d"):format(object.metadata.name, M.last_index(object) + 1)
  return ("%s-%d"):format(id, fnv32a(id))
end

---@param name string of a recurring run
---@return string prefix of its object's name
function M.prefix(name)
  local plain = name:lower():gsub("[^a-z0-9-]", "")
  return plain == "" and "job-" or plain:sub(1, 25)
end

-- --- status -------------------------------------------------------------------------------------------------------

local function condition_of(object, active)
  local kind, message
  local trigger = object.spec.trigger or {}
  if not trigger.cronSchedule and not trigger.periodicSchedule then
    local over = status_trigger(object).lastTriggeredTime and active == 0
    kind = over and "Succeeded" or "Running"
    message = "The one-off schedule " .. (over and "has succeeded." or "is running.")
  else
    kind = object.spec.enabled and "Enabled" or "Disabled"
    message = ("The schedule is %s."):format(kind:lower())
  end
  return { type = kind, status = "True", reason = kind, message = message }
end

local function workflow_status(workflow)
  local metadata, status = workflow.metadata, workflow.status or {}
  local epoch = tonumber(metadata.labels[M.EPOCH])
  return { name = metadata.name, namespace = metadata.namespace, uid = metadata.uid, phase = status.phase,
    message = status.message, createdAt = metadata.creationTimestamp, startedAt = status.startedAt,
    finishedAt = status.finishedAt, index = math.tointeger(tonumber(metadata.labels[M.INDEX])),
    scheduledAt = epoch and clock.text(epoch) or metadata.creationTimestamp }
end

---The workflows of a schedule, the latest first.
---@param object table
---@param workflows table[]
---@return table[] active, table[] completed not more than the schedule keeps
function M.history(object, workflows)
  local active, completed = json.array {}, json.array {}
  local oldest = M.last_index(object) - between(0, MOST_HISTORY, object.spec.maxHistory, HISTORY)
  for _, workflow in ipairs(workflows) do
    local one = workflow_status(workflow)
    if workflow.metadata.labels["workflows.argoproj.io/completed"] ~= "true" then table.insert(active, one)
    elseif (one.index or 0) > oldest then table.insert(completed, one) end
  end
  local function later(a, b) return a.scheduledAt > b.scheduledAt end
  table.sort(active, later)
  table.sort(completed, later)
  return active, completed
end

---What the controller writes after a look.
---@param object table
---@param look {submitted: boolean, at: integer?, active: table[], completed: table[]}
---@return table labels, table status
function M.status(object, look)
  local condition = condition_of(object, #look.active)
  local trigger = status_trigger(object)
  local status = { conditions = json.array { condition }, workflowHistory = json.object {},
    trigger = json.object { lastTriggeredTime = trigger.lastTriggeredTime, nextTriggeredTime = look.at
      and clock.text(look.at), lastWorkflowIndex = trigger.lastWorkflowIndex } }
  if #look.active > 0 then status.workflowHistory.active = look.active end
  if #look.completed > 0 then status.workflowHistory.completed = look.completed end
  if look.submitted then
    status.trigger.lastTriggeredTime, status.trigger.lastWorkflowIndex = clock.text(look.at), M.last_index(object) + 1
    local following = M.next({ spec = object.spec, metadata = object.metadata, status = status }, 0)
    status.trigger.nextTriggeredTime = following and clock.text(following) or nil
  end
  return { [GROUP .. "/enabled"] = tostring(object.spec.enabled == true), [GROUP .. "/status"] = condition.type },
    status
end

return M
