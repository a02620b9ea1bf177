-- lab.kfp.runs: runs of the KFP API: created, followed, ended.
-- Not for executing them (lab.kfp.engine).
--   runs.create(state, request)

local body = require "lab.kfp.body"
local errors = require "errors"
local experiments = require "lab.kfp.experiments"
local failure = require "lab.kfp.failure"
local json = require "json"
local kfp = require "kfp"
local lists = require "lab.kfp.lists"
local pipelines = require "lab.kfp.pipelines"
local refusal = require "lab.kfp.refusal"
local states = require "lab.kfp.state"
local time = require "kube.time"

local M = {}

local MOST_BYTES = 2097152
local FINAL = { SUCCEEDED = true, FAILED = true, SKIPPED = true, CANCELED = true }

---@return table shown
function M.show(run)
  local shown = {}
  for _, field in ipairs { "experiment_id", "run_id", "display_name", "storage_state", "description", "pipeline_spec",
    "pipeline_version_reference", "runtime_config", "service_account", "created_at", "scheduled_at", "finished_at",
    "state", "error", "recurring_run_id", "state_history" } do
    shown[field] = run[field]
  end
  if run.task_details and #run.task_details > 0 then shown.run_details = { task_details = run.task_details } end
  return shown
end

---A run has a new state; the same one again changes nothing.
function M.set_state(run, state, problem)
  if run.state == state then return end
  run.state = state
  run.state_history = run.state_history or json.array {}
  table.insert(run.state_history, { update_time = states.now(), state = state })
  if FINAL[state] then run.finished_at, run.was_final = states.now(), true end
  run.error = problem and { code = 13, message = problem } or nil
  if run.on_change then run:on_change() end
end

---@return table run raises 404
function M.find(state, id, before)
  local chain = before and ("%s: Failed to fetch run %s"):format(before, id) or ("Failed to fetch run %s"):format(id)
  return state.runs[id] or failure.missing("Run", id, chain)
end

-- --- what is run --------------------------------------------------------------------------------------------

local CREATE = "Failed to create a run"

local function version_of(state, reference)
  if reference.pipeline_version_id then return state.versions[reference.pipeline_version_id] end
  local versions = pipelines.versions_of(state, reference.pipeline_id)
  return versions[#versions]
end

local function unwrapped(spec)
  if spec.pipeline_spec then return spec.pipeline_spec, spec.platform_spec end
  return spec, nil
end

-- The spec and the reference of a run or a recurring run.
---@return table spec, table? platform, table? reference
function M.source(state, given, what)
  if given.pipeline_spec then
    local spec, platform = unwrapped(given.pipeline_spec)
    return spec, platform, nil
  end
  local reference = given.pipeline_version_reference
  if not reference then
    failure.internal(what .. ": InternalServerError: Failed to fetch a template: empty pipeline spec manifest")
  end
  local version = version_of(state, reference)
  if not version then
    failure.internal(("%s: InternalServerError: Failed to fetch a pipeline version: ResourceNotFoundError: %s not "
      .. "found"):format(what, reference.pipeline_version_id or reference.pipeline_id))
  end
  local spec, platform = unwrapped(version.pipeline_spec)
  return spec, platform, { pipeline_id = reference.pipeline_id, pipeline_version_id = version.pipeline_version_id }
end

---@param reference table? of source
---@return string? name of the version, which stays known when the version is gone
function M.version_name(state, reference)
  local version = reference and state.versions[reference.pipeline_version_id]
  return version and version.name
end

---Refuses a spec that the server refuses when a run is made of it; and values that do not fit.
function M.check(spec, given, what, platform)
  local parameters = given.runtime_config and given.runtime_config.parameters or {}
  for _, finding in ipairs(kfp.validate(spec, { parameters = parameters, platform = platform })) do
    if finding.severity == "error" and finding.stage ~= "run" then refusal.raise(finding, spec, what) end
  end
end

local function namespace_of(state, experiment)
  return state.multi_user and experiment.namespace or state.namespace
end

-- What etcd takes, by way of gRPC.
local function check_size(bytes)
  if bytes > MOST_BYTES then
    failure.internal(("%s: InternalServerError: Failed to create a workflow for (): rpc error: code = "
      .. "ResourceExhausted desc = trying to send message larger than max (%d vs. %d)"):format(CREATE, bytes,
      MOST_BYTES))
  end
end

-- A run has a workflow; the real server makes one even where the run's id turns out to be taken.
local function add_workflow(state, run, metadata)
  local workflows = state.workflows
  if not workflows then
    run.workflow = require "lab.kfp.workflows".name(run)
    return
  end
  local made, problem = errors.try(workflows):create(run, metadata)
  if not made then
    failure.internal(("%s: InternalServerError: Failed to create a workflow for (): %s"):format(CREATE,
      errors.text(problem)))
  end
  run.workflow = made
  run.on_change = function() workflows:changed(run) end
end

---Makes a run that may be made.
---@param state table
---@param given table as body.RUN
---@param experiment table
---@param options {size: integer?, stored: table?, scheduled_at: integer?, workflow: table?}? size: of the request, in
---  bytes; stored: spec, platform and version_name of the pipeline, where its source is not looked for; workflow: name,
---  labels, ownerReferences
---@return table run raises what the server answers
function M.add(state, given, experiment, options)
  options = options or {}
  local stored = options.stored or {}
  local spec, platform, reference = stored.spec, stored.platform, given.pipeline_version_reference
  if not spec then spec, platform, reference = M.source(state, given, CREATE) end
  M.check(spec, given, CREATE, platform)
  check_size(options.size or 0)
  local id, now = given.run_id or states.uuid(), states.now()
  local run = { experiment_id = experiment.experiment_id, run_id = id, display_name = given.display_name,
    storage_state = "AVAILABLE", description = given.description, pipeline_spec = given.pipeline_spec,
    pipeline_version_reference = reference, runtime_config = given.runtime_config, created_at = now,
    service_account = given.service_account or (state.multi_user and "default-editor" or "pipeline-runner"),
    scheduled_at = options.scheduled_at and time.text(options.scheduled_at) or now, finished_at = states.EPOCH,
    recurring_run_id = given.recurring_run_id, namespace = namespace_of(state, experiment), spec = spec,
    platform = platform, version_name = stored.version_name or M.version_name(state, reference),
    task_details = json.array {} }
  add_workflow(state, run, options.workflow)
  if state.runs[id] then
    failure.internal(("%s: InternalServerError: Failed to store run %s: Error 1062 (23000): Duplicate entry '%s' for "
      .. "key 'run_details.PRIMARY'"):format(CREATE, id, id))
  end
  M.set_state(run, "PENDING")
  experiment.last_run_created_at = now
  state.runs[id] = run
  if state.engine then state.engine:start(run) end
  return run
end

---@return table run raises what the server answers
function M.create(state, request)
  local given = body.decode(request.body, body.RUN)
  if given.plugins_output then
    local short = "plugins_output is server-owned and populated exclusively via plugin lifecycle hooks"
    failure.raise(10, short, CREATE .. ": BadRequestError: " .. short)
  end
  if (given.display_name or "") == "" then
    failure.internal(CREATE .. ": InternalServerError: Run name cannot be empty")
  end
  local experiment_id = given.experiment_id or request.query.experiment_id or state.default_experiment
  if (experiment_id or "") == "" then
    failure.invalid("Failed to create a new run", "Experiment id can not be empty in multi-user mode")
  end
  local experiment = experiments.find(state, experiment_id or "", CREATE .. ": Failed to fetch experiment")
  request.allow("create", "runs", experiment.namespace)
  return M.show(M.add(state, given, experiment, { size = #request.body }))
end

function M.get(state, request)
  local run = M.find(state, request.id)
  request.allow("get", "runs", run.namespace)
  return M.show(run)
end

function M.list(state, request)
  local id, namespace = request.query.experiment_id, request.query.namespace
  if id and id ~= "" then
    local experiment = experiments.find(state, id, "Failed to list runs: Failed to fetch experiment")
    request.allow("list", "runs", experiment.namespace)
  elseif state.multi_user then
    if (namespace or "") == "" then
      failure.invalid("Failed to list runs", "A run cannot have an empty namespace in multi-user mode")
    end
    request.allow("list", "runs", namespace)
  end
  local rows = states.rows(state.runs, function(run)
    if id and id ~= "" then return run.experiment_id == id end
    return not state.multi_user or run.namespace == namespace
  end)
  return lists.page(rows, request.query, lists.RUN)
end

-- --- what is done with a run ----------------------------------------------------------------------------------

function M.archive(state, request)
  local run = M.find(state, request.id,
    ("Failed to archive a run: Failed to archive run %s as it failed to be retrieved"):format(request.id))
  request.allow("archive", "runs", run.namespace)
  run.storage_state = "ARCHIVED"
  return {}
end

function M.unarchive(state, request)
  local run = M.find(state, request.id, "Failed to unarchive a run")
  request.allow("unarchive", "runs", run.namespace)
  local experiment = state.experiments[run.experiment_id]
  if experiment and experiment.storage_state == "ARCHIVED" then
    local short = ("Failed to unarchive run %s as experiment %s must be un-archived first"):format(run.run_id,
      run.experiment_id)
    failure.raise(9, short, "Failed to unarchive a run: FailedPreconditionError: " .. short)
  end
  run.storage_state = "AVAILABLE"
  return {}
end

function M.terminate(state, request)
  local run = M.find(state, request.id, ("Failed to terminate a run: Failed to terminate run %s due to error "
    .. "fetching the run"):format(request.id))
  request.allow("terminate", "runs", run.namespace, run.workflow)
  if run.state == "CANCELING" or FINAL[run.state] then
    failure.invalid(("Failed to terminate a run: Failed to terminate run %s"):format(run.run_id),
      ("Failed to terminate a run %s. Row not found"):format(run.run_id))
  end
  run.state = "CANCELING" -- which is no part of its history
  if run.was_final then -- its workflow is gone, though a late report has moved the run again
    failure.internal(("Failed to terminate a run: InternalServerError: Failed to terminate run %s due to error "
      .. "terminating its workflow"):format(run.run_id))
  end
  if run.on_change then run:on_change() end
  if state.engine then state.engine:stop(run) end
  return {}
end

function M.retry(state, request)
  local run = M.find(state, request.id, ("Failed to retry a run: Failed to retry run %s due to error fetching the run")
    :format(request.id))
  request.allow("retry", "runs", run.namespace, run.workflow)
  local before = ("Failed to retry a run: Failed to retry run %s: BadRequestError: "):format(run.run_id)
  if run.state ~= "FAILED" then
    local short = run.state == "PENDING" and "The workflow status is empty" or "Workflow must be Failed/Error to retry"
    failure.raise(10, short, before .. short .. ": workflow cannot be retried")
  end
  M.set_state(run, "RUNNING")
  run.finished_at, run.was_final = states.EPOCH, false
  if state.engine then state.engine:start(run) end
  return {}
end

function M.delete(state, request)
  local run = M.find(state, request.id,
    ("Failed to delete a run: Failed to delete run %s as it does not exist"):format(request.id))
  request.allow("delete", "runs", run.namespace, run.workflow)
  if state.engine then state.engine:stop(run) end
  if state.workflows then state.workflows:delete(run) end
  state.runs[request.id] = nil
  return {}
end

return M
