-- lab.kfp.v1: the older API, as a view of the same objects.
-- Not for what v1 alone had (metrics, templates).
--   v1.create_run(state, request)

local body = require "lab.kfp.body"
local experiments = require "lab.kfp.experiments"
local failure = require "lab.kfp.failure"
local json = require "json"
local lists = require "lab.kfp.lists"
local pipelines = require "lab.kfp.pipelines"
local runs = require "lab.kfp.runs"

local M = {}

local EXPERIMENT = { id = "string", name = "string", description = "string", created_at = "time",
  resource_references = "any", storage_state = "any" }
local SPEC = { pipeline_id = "string", pipeline_name = "string", workflow_manifest = "string",
  pipeline_manifest = "string", parameters = "any", runtime_config = "struct" }
local RUN = { id = "string", name = "string", storage_state = "any", description = "string", pipeline_spec = SPEC,
  resource_references = "any", service_account = "string", created_at = "time", scheduled_at = "time",
  finished_at = "time", status = "string", error = "string", metrics = "any" }
local STATUS = { PENDING = "Pending", RUNNING = "Running", SUCCEEDED = "Succeeded", FAILED = "Failed",
  CANCELING = "Terminating", SKIPPED = "Skipped" }

-- A request for the newer API with another body.
local function with(request, given)
  return setmetatable({ body = json.encode(given) }, { __index = request })
end

local function show_experiment(one)
  return { id = one.experiment_id, name = one.display_name, description = one.description, created_at = one.created_at,
    storage_state = "STORAGESTATE_" .. one.storage_state }
end

function M.create_experiment(state, request)
  local given = body.decode(request.body, EXPERIMENT)
  return show_experiment(experiments.create(state, with(request,
    { display_name = given.name, description = given.description })))
end

-- v1 says `op`, v2 `operation`.
local function newer_filter(query)
  local filter = query.filter and json.try.decode(query.filter)
  if type(filter) ~= "table" then return query end
  for _, predicate in ipairs(filter.predicates or {}) do predicate.operation, predicate.op = predicate.op, nil end
  return setmetatable({ filter = json.encode(filter) }, { __index = query })
end

function M.list_experiments(state, request)
  request = setmetatable({ query = newer_filter(request.query) }, { __index = request })
  local page, total, token = experiments.list(state, request)
  for i, one in ipairs(page) do page[i] = show_experiment(one) end
  return page, total, token
end

function M.get_experiment(state, request)
  return show_experiment(experiments.get(state, request))
end

function M.upload(state, request)
  local shown = pipelines.upload(state, request)
  local versions = pipelines.versions_of(state, shown.pipeline_id)
  local last = versions[#versions]
  return { id = shown.pipeline_id, name = shown.name, description = shown.description, created_at = shown.created_at,
    default_version = { id = last.pipeline_version_id, name = last.name, created_at = last.created_at } }
end

local function owner_of(references, kind)
  for _, one in ipairs(type(references) == "table" and references or {}) do
    if one.key and one.key.type == kind then return one.key.id end
  end
  return nil
end

local function show_run(run)
  return { run = { id = run.run_id, name = run.display_name, description = run.description,
    created_at = run.created_at, scheduled_at = run.scheduled_at, finished_at = run.finished_at,
    service_account = run.service_account, status = STATUS[run.state], storage_state = "STORAGESTATE_"
      .. run.storage_state, pipeline_spec = { pipeline_id = run.pipeline_version_reference
      and run.pipeline_version_reference.pipeline_id },
    resource_references = json.array { { key = { type = "EXPERIMENT", id = run.experiment_id },
      relationship = "OWNER" } } }, pipeline_runtime = json.object {} }
end

function M.create_run(state, request)
  local given = body.decode(request.body, RUN)
  local spec = given.pipeline_spec or {}
  local version = owner_of(given.resource_references, "PIPELINE_VERSION")
  return show_run(runs.create(state, with(request, { display_name = given.name, description = given.description,
    service_account = given.service_account, experiment_id = owner_of(given.resource_references, "EXPERIMENT"),
    runtime_config = spec.runtime_config,
    pipeline_version_reference = (spec.pipeline_id or version)
      and { pipeline_id = spec.pipeline_id or state.versions[version].pipeline_id, pipeline_version_id = version } })))
end

function M.get_run(state, request)
  return show_run(runs.get(state, request))
end

function M.list_runs(state, request)
  local id = request.query["resource_reference_key.id"]
  if id then experiments.find(state, id) end
  local rows = {}
  for _, run in pairs(state.runs) do
    if not id or run.experiment_id == id then rows[#rows + 1] = run end
  end
  local page, total, token = lists.page(rows, newer_filter(request.query), lists.RUN)
  for i, run in ipairs(page) do page[i] = show_run(run).run end
  return page, total, token
end

function M.unknown()
  failure.raise(5, "Not Found")
end

return M
