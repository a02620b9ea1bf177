-- lab.kfp.schedules: the ScheduledWorkflow object of each recurring run in the lab's cluster, and the controller that
-- makes runs when they are due.
-- Not for what such an object says (lab.kfp.schedule).
--   state.schedules = schedules.start(client, state, { now = os.time }); state.schedules:stop()

local errors = require "errors"
local json = require "json"
local macros = require "lab.kfp.macros"
local runs = require "lab.kfp.runs"
local schedule = require "lab.kfp.schedule"
local states = require "lab.kfp.state"
local task = require "task"
local workflows = require "lab.kfp.workflows"

local M = {}

local KIND, WORKFLOWS = "scheduledworkflows.kubeflow.org", "workflows.argoproj.io"
local LONGEST = 10 -- seconds between two looks: the cluster's clock may be set

---@class lab.Schedules
local Schedules = {}
Schedules.__index = Schedules

-- --- the object of a recurring run -----------------------------------------------------------------------------------

local function trigger_of(trigger)
  local cron, periodic = (trigger or {}).cron_schedule, (trigger or {}).periodic_schedule
  if cron then
    return { cronSchedule = { cron = cron.cron, startTime = cron.start_time, endTime = cron.end_time } }
  end
  if not periodic then return json.object {} end
  return { periodicSchedule = { intervalSecond = periodic.interval_second, startTime = periodic.start_time,
    endTime = periodic.end_time } }
end

-- Values are texts of JSON there.
local function parameters_of(row)
  local names, list = {}, json.array {}
  local values = (row.runtime_config or {}).parameters or {}
  for name in pairs(values) do names[#names + 1] = name end
  table.sort(names)
  for i, name in ipairs(names) do list[i] = { name = name, value = json.encode(values[name]) } end
  return #list > 0 and list or nil
end

local function spec_of(row)
  local reference = row.pipeline_version_reference or {}
  local floats = row.pipeline_version_reference and not reference.pipeline_version_id
  local workflow = { parameters = parameters_of(row) }
  if not floats then
    workflow.spec = json.encode { apiVersion = "argoproj.io/v1alpha1", kind = "Workflow",
      metadata = { generateName = workflows.prefix(row), namespace = row.namespace },
      spec = { entrypoint = "entrypoint", serviceAccountName = row.service_account } }
  end
  return { enabled = row.mode == "ENABLE" or nil, experimentId = row.experiment_id,
    maxConcurrency = row.max_concurrency, noCatchup = row.no_catchup or false, pipelineId = reference.pipeline_id,
    pipelineVersionId = reference.pipeline_version_id, serviceAccount = row.service_account,
    pipelineName = not floats and (row.version_name or (row.spec.pipelineInfo or {}).name) or nil,
    trigger = trigger_of(row.trigger), workflow = json.object(workflow) }
end

---Makes the object of a recurring run.
---@param row table
---@return string uid, string name # raises what the cluster refuses
function Schedules:create(row)
  local made = self.client:create { apiVersion = "kubeflow.org/v1beta1", kind = "ScheduledWorkflow",
    metadata = { generateName = schedule.prefix(row.display_name), namespace = row.namespace },
    spec = spec_of(row), status = { trigger = json.object {} } }
  return made.metadata.uid, made.metadata.name
end

---@param row table
---@param enabled boolean
function Schedules:set_enabled(row, enabled)
  row.writing = true
  local made = errors.try(self.client):patch(KIND, row.object_name, { spec = { enabled = enabled } }, { type = "merge",
    namespace = row.namespace })
  row.writing, row.version = false, made and tonumber(made.metadata.resourceVersion) or row.version
end

---@param row table
---@param policy string? of KFP, "ORPHAN"
function Schedules:delete(row, policy)
  local known = { FOREGROUND = "Foreground", BACKGROUND = "Background", ORPHAN = "Orphan" }
  errors.try(self.client):delete(KIND, row.object_name, { namespace = row.namespace,
    propagation = known[policy or ""] })
end

-- --- what is said of it elsewhere ------------------------------------------------------------------------------------

-- Whether the recurring run knows better: the object was read before the API itself changed it.
local function is_old(row, object)
  local version = tonumber(object.metadata.resourceVersion)
  return row.writing or row.version and version and version < row.version
end

---What was changed in the object holds for the recurring run, as when the persistence agent reports it.
---@param row table
---@param object table
function M.take_over(row, object)
  if is_old(row, object) then return end
  local spec = object.spec or {}
  local mode = spec.enabled and "ENABLE" or "DISABLE"
  if mode ~= row.mode then row.mode, row.status, row.updated_at = mode, mode .. "D", states.now() end
  row.max_concurrency = math.tointeger(tonumber(spec.maxConcurrency)) or row.max_concurrency
  local cron, periodic = (spec.trigger or {}).cronSchedule, (spec.trigger or {}).periodicSchedule
  if cron then
    row.trigger = { cron_schedule = { cron = cron.cron, start_time = cron.startTime, end_time = cron.endTime } }
  elseif periodic then
    row.trigger = { periodic_schedule = { interval_second = math.tointeger(tonumber(periodic.intervalSecond)),
      start_time = periodic.startTime, end_time = periodic.endTime } }
  end
end

-- --- runs ------------------------------------------------------------------------------------------------------------

local function values_of(object, about)
  local values = json.object {}
  for _, one in ipairs((object.spec.workflow or {}).parameters or {}) do
    local value = json.try.decode(one.value or "")
    if value == nil then value = one.value end
    values[one.name] = macros.fill(value, about)
  end
  return next(values) and { parameters = values } or nil
end

-- What a run of this schedule is of: what was stored with it, or the latest version of its pipeline.
local function source_of(row, object)
  local spec = object.spec
  local given = { pipeline_spec = row and row.pipeline_spec }
  if spec.pipelineId then
    given.pipeline_version_reference = { pipeline_id = spec.pipelineId, pipeline_version_id = spec.pipelineVersionId }
  end
  local pinned = row and not (spec.pipelineId and not spec.pipelineVersionId)
  return given, pinned and row or nil
end

-- Whether there is something to run: an object may be of a pipeline that only an earlier lab knew.
local function is_known(self, object)
  return self.state.recurring[object.metadata.uid] ~= nil or self.state.pipelines[object.spec.pipelineId or ""] ~= nil
end

local function run_of(self, object, at, now)
  local row, metadata = self.state.recurring[object.metadata.uid], object.metadata
  local index, name, id = schedule.last_index(object) + 1, schedule.next_name(object), states.uuid()
  local given, pinned = source_of(row, object)
  given.run_id, given.display_name, given.recurring_run_id = id, name, row and metadata.uid or nil
  given.runtime_config = values_of(object, { scheduled = at, now = now, index = index, id = id })
  given.service_account = object.spec.serviceAccount
  return given, { stored = pinned, scheduled_at = at, workflow = { name = name,
    labels = { [schedule.OF] = metadata.name, [schedule.EPOCH] = ("%d"):format(at),
      [schedule.INDEX] = ("%d"):format(index), [schedule.OWNED] = "true" },
    ownerReferences = json.array { { apiVersion = "kubeflow.org/v1beta1", kind = "ScheduledWorkflow",
      name = metadata.name, uid = metadata.uid, controller = true, blockOwnerDeletion = true } } } }
end

-- Makes the run that is due, unless its workflow is there: then it was made before that could be noted.
local function submit(self, object, at, now)
  local state = self.state
  local given, options = run_of(self, object, at, now)
  if self.client.try:get(WORKFLOWS, given.display_name, { namespace = object.metadata.namespace }) then return true end
  local experiment = state.experiments[object.spec.experimentId or state.default_experiment or ""]
    or { experiment_id = object.spec.experimentId, namespace = object.metadata.namespace }
  local ok, problem = pcall(runs.add, state, given, experiment, options)
  if errors.is(problem, "Cancelled") then error(problem, 0) end
  if not ok then self.log(("schedule %s: %s"):format(object.metadata.name, errors.text(problem))) end
  return ok
end

-- --- the controller --------------------------------------------------------------------------------------------------

local function write_status(self, object, look)
  local labels, status = schedule.status(object, look)
  local now = object.metadata.labels or {}
  local same = json.encode(status, { sort = true }) == json.encode(object.status or {}, { sort = true })
  for name, value in pairs(labels) do same = same and now[name] == value end
  if same then return end
  for name, value in pairs(now) do labels[name] = labels[name] or value end
  errors.try(self.client):patch(KIND, object.metadata.name, json.array {
    { op = "add", path = "/status", value = status }, { op = "add", path = "/metadata/labels", value = labels },
  }, { type = "json", namespace = object.metadata.namespace })
end

-- One look at a schedule: when the next one is to be, in seconds from now; nil when only a change can bring one.
local function look(self, object)
  local metadata, now = object.metadata, math.floor(self.now())
  if metadata.deletionTimestamp then return nil end
  local row = self.state.recurring[metadata.uid]
  if row then M.take_over(row, object) end
  local list = self.client:list(WORKFLOWS, { namespace = metadata.namespace, labels = ("%s=%s"):format(schedule.OF,
    metadata.name) })
  local active, completed = schedule.history(object, list)
  local at = schedule.next(object, now)
  local due = schedule.is_due(object, at, now, #active) and is_known(self, object)
  local submitted = due and submit(self, object, at, now)
  write_status(self, object, { submitted = submitted, at = at, active = active, completed = completed })
  if submitted then return 0 end
  if not at or not object.spec.enabled then return nil end
  return due and LONGEST or at > now and at - now or nil
end

local function look_at_all(self)
  local wait
  for _, object in ipairs(self.client:list(KIND, { namespace = "*" })) do
    local ok, seconds = pcall(look, self, object)
    if not ok then
      if errors.is(seconds, "Cancelled") then error(seconds, 0) end
      if not self.stopped then self.log(errors.text(seconds)) end
      seconds = LONGEST
    end
    if seconds then wait = math.min(wait or LONGEST, seconds) end
  end
  return wait
end

local function watch(self)
  while not self.stopped do
    self.changed:clear()
    local ok, wait = pcall(look_at_all, self)
    if not ok and errors.is(wait, "Cancelled") then return end
    if not ok then wait = LONGEST end
    if not self.stopped and wait ~= 0 then self.changed:wait(wait) end
  end
end

---Something is new: the schedules are looked at again.
function Schedules:look_again()
  self.changed:set()
end

function Schedules:stop()
  self.stopped = true
  for _, one in ipairs(self.informers) do one:stop() end
  self.changed:set()
  pcall(self.task.wait, self.task, 15)
end

---@param client table of kube.connect
---@param state table of lab.kfp.state
---@param options {now: fun(): number, log: fun(text: string)?}
---@return lab.Schedules
function M.start(client, state, options)
  local self = setmetatable({ client = client, state = state, now = options.now, changed = task.event(),
    log = options.log or function() end }, Schedules)
  local function again() self.changed:set() end
  self.informers = {
    client:informer { kind = KIND, namespace = "*", handler = again },
    client:informer { kind = WORKFLOWS, namespace = "*", labels = schedule.OWNED .. "=true", handler = again },
  }
  self.task = task.spawn(watch, self)
  return self
end

return M
