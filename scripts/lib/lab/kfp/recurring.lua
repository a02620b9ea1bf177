-- lab.kfp.recurring: recurring runs of the KFP API: made, shown, switched on and off.
-- Not for their runs: where there is a cluster, lab.kfp.schedules makes them of the objects there.
--   recurring.create(state, request)

local body = require "lab.kfp.body"
local errors = require "errors"
local experiments = require "lab.kfp.experiments"
local failure = require "lab.kfp.failure"
local lists = require "lab.kfp.lists"
local runs = require "lab.kfp.runs"
local schedule = require "lab.kfp.schedule"
local states = require "lab.kfp.state"

local M = {}

local CREATE = "Failed to create a recurring run"

local function shown_trigger(trigger)
  if not trigger then return {} end
  local periodic = trigger.periodic_schedule
  if not periodic then return { cron_schedule = trigger.cron_schedule } end
  return { periodic_schedule = { start_time = periodic.start_time, end_time = periodic.end_time,
    interval_second = ("%d"):format(periodic.interval_second or 0) } }
end

---@return table shown
function M.show(one)
  local shown = {}
  for _, field in ipairs { "recurring_run_id", "display_name", "description", "pipeline_spec",
    "pipeline_version_reference", "runtime_config", "service_account", "mode", "status", "created_at", "updated_at",
    "namespace", "experiment_id" } do
    shown[field] = one[field]
  end
  shown.max_concurrency = ("%d"):format(one.max_concurrency)
  shown.no_catchup = one.no_catchup or nil
  shown.trigger = shown_trigger(one.trigger)
  return shown
end

local function check_cron(cron)
  local words = "Schedule cron is not a supported format(https://godoc.org/github.com/robfig/cron). Error: "
  if cron == "" then failure.invalid(CREATE, words .. "Empty spec string") end
  local count = select(2, cron:gsub("%S+", ""))
  if not cron:find "^@" and (count < 5 or count > 6) then
    failure.invalid(CREATE, ("%sExpected 5 to 6 fields, found %d: %s"):format(words, count, cron))
  end
  local ok, problem = pcall(schedule.cron, cron)
  if not ok then failure.invalid(CREATE, words .. errors.text(problem)) end
end

local function check_trigger(trigger)
  if not trigger then return end
  if trigger.cron_schedule then return check_cron(trigger.cron_schedule.cron or "") end
  local interval = trigger.periodic_schedule and trigger.periodic_schedule.interval_second or 0
  if trigger.periodic_schedule and interval < 1 then
    failure.invalid(CREATE, ("Found invalid period schedule interval %d. Set at interval to least 1 second")
      :format(interval))
  end
end

local function reference_of(state, given)
  local reference = given.pipeline_version_reference
  if not reference then return nil end
  if not state.pipelines[reference.pipeline_id or ""] then
    failure.missing("Pipeline", reference.pipeline_id or "", CREATE)
  end
  return reference
end

-- Where there is a cluster, a recurring run is known by its object's uid.
local function add_object(state, one)
  if not state.schedules then
    one.recurring_run_id = states.uuid()
    return
  end
  local made, problem = pcall(function()
    one.recurring_run_id, one.object_name = state.schedules:create(one)
  end)
  if made then return end
  failure.internal(("%s: InternalServerError: Failed to create a recurring run: %s"):format(CREATE,
    errors.text(problem)))
end

function M.create(state, request)
  local given = body.decode(request.body, body.RECURRING)
  if (given.display_name or "") == "" then
    failure.internal(CREATE .. ": InternalServerError: Recurring run's name cannot be empty")
  end
  local concurrency = given.max_concurrency or 0
  if concurrency < 1 or concurrency > 10 then
    failure.invalid(CREATE, ("Max concurrency of a recurring run must be at least 1 and at most 10. Received %d")
      :format(concurrency))
  end
  local experiment = experiments.find(state, given.experiment_id or state.default_experiment or "",
    CREATE .. ": Failed to fetch experiment")
  request.allow("create", "jobs", experiment.namespace)
  check_trigger(given.trigger)
  if not given.pipeline_spec and not given.pipeline_version_reference then
    failure.compiler "Cannot create a job with an empty pipeline ID"
  end
  local reference = reference_of(state, given)
  local floats = reference and not reference.pipeline_version_id -- its runs will be those of the latest version
  local spec, platform, used = runs.source(state, given, CREATE)
  runs.check(spec, given, CREATE, platform)
  local mode = given.mode == "ENABLE" and "ENABLE" or "DISABLE"
  local now = states.now()
  local one = { display_name = given.display_name, description = given.description,
    pipeline_spec = given.pipeline_spec, pipeline_version_reference = reference, runtime_config = given.runtime_config,
    service_account = given.service_account or not floats
      and (state.multi_user and "default-editor" or "pipeline-runner") or nil,
    max_concurrency = concurrency, trigger = given.trigger, mode = mode, status = mode .. "D", created_at = now,
    updated_at = now, spec = spec, platform = platform, version_name = runs.version_name(state, used),
    no_catchup = given.no_catchup,
    experiment_id = experiment.experiment_id,
    namespace = state.multi_user and experiment.namespace or state.namespace }
  add_object(state, one)
  state.recurring[one.recurring_run_id] = one
  if state.schedules then state.schedules:look_again() end
  return M.show(one)
end

local function find(state, id, before)
  return state.recurring[id] or failure.missing("Job", id, before or "Failed to fetch a recurring run")
end

function M.get(state, request)
  local one = find(state, request.id)
  request.allow("get", "jobs", one.namespace, one.display_name)
  return M.show(one)
end

function M.list(state, request)
  local id = request.query.experiment_id
  if id and id ~= "" then experiments.find(state, id, "Failed to list jobs: Failed to fetch experiment") end
  local namespace = state.multi_user and (request.query.namespace or "")
  if namespace == "" and not (id and id ~= "") then
    failure.invalid("Failed to list jobs", "a recurring run cannot have an empty namespace in multi-user mode")
  end
  if namespace then request.allow("list", "jobs", namespace) end
  local rows = states.rows(state.recurring, function(one)
    if id and id ~= "" then return one.experiment_id == id end
    return not namespace or one.namespace == namespace
  end)
  return lists.page(rows, request.query, lists.RECURRING)
end

---@param one table a recurring run
---@param mode "ENABLE"|"DISABLE"
function M.set_mode(state, one, mode)
  one.mode, one.status, one.updated_at = mode, mode .. "D", states.now()
  if state.schedules then state.schedules:set_enabled(one, mode == "ENABLE") end
end

local function switch(state, request, verb, mode)
  local one = find(state, request.id, ("Failed to %s a recurring run"):format(verb))
  request.allow(verb, "jobs", one.namespace, one.display_name)
  M.set_mode(state, one, mode)
  return {}
end

function M.enable(state, request)
  return switch(state, request, "enable", "ENABLE")
end

function M.disable(state, request)
  return switch(state, request, "disable", "DISABLE")
end

function M.delete(state, request)
  local one = find(state, request.id, "Failed to delete a recurring run")
  request.allow("delete", "jobs", one.namespace, one.display_name)
  if state.schedules then state.schedules:delete(one, request.query.propagation_policy) end
  state.recurring[request.id] = nil
  return {}
end

return M
