-- lab.kfp.v1: the older API's experiments and runs, as a view of the same objects.
-- Not for pipelines (lab.kfp.v1_pipelines) and jobs (lab.kfp.v1_jobs).
--   v1.create_run(state, request)

local body = require "lab.kfp.body"
local experiments = require "lab.kfp.experiments"
local failure = require "lab.kfp.failure"
local json = require "json"
local lists = require "lab.kfp.lists"
local pipelines = require "lab.kfp.pipelines"
local runs = require "lab.kfp.runs"
local sorted_keys = require "kfhost.keys".sorted
local states = require "lab.kfp.state"
local workflow = require "kfp.workflow"
local workflows = require "lab.kfp.workflows"
local yaml = require "yaml"

local M = {}

M.PARAMETERS = { list_of = { name = "string", value = "string" } }
M.REFERENCES = { list_of = { key = { type = "any", id = "string" }, name = "string", relationship = "any" } }
local METRICS = { list_of = { name = "string", node_id = "string", number_value = "any", format = "any" } }

local EXPERIMENT = { id = "string", name = "string", description = "string", created_at = "time",
  resource_references = M.REFERENCES, storage_state = "any" }
local SPEC = { pipeline_id = "string", pipeline_name = "string", workflow_manifest = "string",
  pipeline_manifest = "string", parameters = M.PARAMETERS, runtime_config = "struct" }
local RUN = { id = "string", name = "string", storage_state = "any", description = "string", pipeline_spec = SPEC,
  resource_references = M.REFERENCES, service_account = "string", created_at = "time", scheduled_at = "time",
  finished_at = "time", status = "string", error = "string", metrics = "any" }
M.SPEC = SPEC
local STATUS = { PENDING = "Pending", RUNNING = "Running", SUCCEEDED = "Succeeded", FAILED = "Failed",
  CANCELING = "Terminating", SKIPPED = "Skipped" }

-- --- references ---------------------------------------------------------------------------------------------

---A request with other fields.
---@param request table
---@param fields table
---@return table
function M.with(request, fields)
  return setmetatable(fields, { __index = request })
end

---@param kind string "EXPERIMENT"
---@param id string?
---@param relationship string? default "OWNER"
---@return table
function M.reference(kind, id, relationship)
  return { key = { type = kind, id = id }, relationship = relationship or "OWNER" }
end

---@param references any
---@param kind string
---@return string? id
function M.owner_of(references, kind)
  for _, one in ipairs(type(references) == "table" and references or {}) do
    if one.key and one.key.type == kind then return one.key.id end
  end
  return nil
end

---The request for a list in the newer words: v1 says `op` in a filter, v2 `operation`; and whose by a reference.
---@param request table
---@param more table<string, string>? of the query
---@return table
function M.newer(request, more)
  local query = setmetatable(more or {}, { __index = request.query })
  request = M.with(request, { query = query })
  local filter = query.filter and json.try.decode(query.filter)
  if type(filter) ~= "table" then return request end
  for _, predicate in ipairs(filter.predicates or {}) do
    if predicate.operation then
      local short = ("failed to parse valid filter from %s: proto: (line 1:18): unknown field \"operation\"")
        :format(json.encode(query.filter))
      failure.invalid("Failed to create list options", short)
    end
    predicate.operation, predicate.op = predicate.op, nil
  end
  query.filter = json.encode(filter)
  return request
end

---Whose a list is to be.
---@param request table
---@return string? kind "EXPERIMENT" or "NAMESPACE"
---@return string? id
function M.asked_owner(request)
  return request.query["resource_reference_key.type"], request.query["resource_reference_key.id"]
end

-- --- experiments ----------------------------------------------------------------------------------------------

---@param one table as the newer API shows it
---@return table
function M.show_experiment(one)
  return { id = one.experiment_id, name = one.display_name, created_at = one.created_at,
    description = one.description ~= "" and one.description or nil,
    resource_references = json.array { M.reference("NAMESPACE", one.namespace ~= "" and one.namespace or nil) },
    storage_state = "STORAGESTATE_" .. one.storage_state }
end

function M.create_experiment(state, request)
  local given = body.decode(request.body, EXPERIMENT)
  return M.show_experiment(experiments.create(state, M.with(request, { body = json.encode { display_name = given.name,
    description = given.description, namespace = M.owner_of(given.resource_references, "NAMESPACE") } })))
end

function M.list_experiments(state, request)
  local _, id = M.asked_owner(request)
  return experiments.list(state, M.newer(request, { namespace = id }))
end

function M.get_experiment(state, request)
  return M.show_experiment(experiments.get(state, request))
end

-- --- runs -------------------------------------------------------------------------------------------------------

local function list_of(parameters)
  local list = json.array {}
  for _, name in ipairs(sorted_keys(parameters)) do list[#list + 1] = { name = name, value = parameters[name] } end
  return list
end

-- What a run, or a recurring run, was made of.
---@param state table
---@param one table
---@return table spec, table? version_reference
function M.show_source(state, one)
  local reference = one.pipeline_version_reference
  local version = reference and state.versions[reference.pipeline_version_id or ""]
  local spec = one.spec or one.pipeline_spec or version and version.pipeline_spec or {}
  local shown = { pipeline_id = reference and reference.pipeline_id,
    pipeline_name = version and version.name or one.version_name }
  local parameters = (one.runtime_config or {}).parameters
  if workflow.is(spec) then
    shown.workflow_manifest = json.encode(spec)
    shown.parameters = one.parameter_list or parameters and list_of(parameters)
  else
    shown.pipeline_manifest, shown.runtime_config = yaml.encode(spec), one.runtime_config
  end
  return shown, reference
end

---@param run table a row
---@return table
function M.show_run(state, run)
  local spec, reference = M.show_source(state, run)
  local references = json.array { M.reference("EXPERIMENT", run.experiment_id) }
  if reference then
    references[2] = M.reference("PIPELINE_VERSION", reference.pipeline_version_id, "CREATOR")
  end
  return { id = run.run_id, name = run.display_name, description = run.description, created_at = run.created_at,
    scheduled_at = run.scheduled_at, finished_at = run.finished_at, service_account = run.service_account,
    status = STATUS[run.state], pipeline_spec = spec, resource_references = references, metrics = run.reported,
    error = run.error and run.error.message,
    storage_state = run.storage_state ~= "AVAILABLE" and "STORAGESTATE_" .. run.storage_state or nil }
end

-- The run's workflow: as it was reported, else with a node for each task.
local function workflow_of(run)
  return json.encode(run.reported_workflow or { apiVersion = "argoproj.io/v1alpha1", kind = "Workflow",
    metadata = { name = run.workflow, namespace = run.namespace, labels = { ["pipeline/runid"] = run.run_id } },
    status = { phase = STATUS[run.state], nodes = workflows.nodes(run) } })
end

local function show_detail(state, id)
  local run = state.runs[id]
  local manifest = workflow.is(run.spec) and "workflow_manifest" or "pipeline_manifest"
  return { run = M.show_run(state, run), pipeline_runtime = { [manifest] = workflow_of(run) } }
end

local CREATE = "Failed to create a new v1beta1 run"

local function check_names(spec, parameters)
  local known = {}
  for _, one in ipairs(((spec.spec or {}).arguments or {}).parameters or {}) do known[one.name] = true end
  for name in pairs(parameters) do
    if not known[name] then
      failure.invalid(CREATE .. ": Failed to generate the ExecutionSpec: Failed to verify parameters",
        "Unrecognized input parameter: " .. name)
    end
  end
end

local function source_of(state, given)
  local spec, values = given.pipeline_spec or {}, {}
  local version = M.owner_of(given.resource_references, "PIPELINE_VERSION")
  local manifest = spec.workflow_manifest or spec.pipeline_manifest
  for _, one in ipairs(spec.parameters or {}) do values[one.name or ""] = one.value or "" end
  local source = { pipeline_spec = manifest and yaml.decode(manifest, { plain_booleans = true }),
    runtime_config = spec.runtime_config }
  if not manifest and (spec.pipeline_id or version) then
    local pipeline = spec.pipeline_id or state.versions[version] and state.versions[version].pipeline_id
    source.pipeline_version_reference = { pipeline_id = pipeline, pipeline_version_id = version
      or pipelines.latest_id(state, pipeline) }
  end
  if next(values) then
    local known, _, _ = runs.source(state, source, CREATE)
    if workflow.is(known) then check_names(known, values) end
    source.runtime_config = { parameters = values }
  end
  return source
end

---What a run and a recurring run are asked for with alike, in the newer API's words.
---@param state table
---@param given table
---@return table
function M.asked(state, given)
  local asked = source_of(state, given)
  asked.display_name, asked.description, asked.service_account = given.name, given.description, given.service_account
  asked.experiment_id = M.owner_of(given.resource_references, "EXPERIMENT")
  return asked
end

function M.create_run(state, request)
  local given = body.decode(request.body, RUN)
  if (given.name or "") == "" then
    failure.internal "Failed to create a v1beta1 run due to conversion error: Run name cannot be empty"
  end
  local id = runs.create(state, M.with(request, { body = json.encode(M.asked(state, given)) })).run_id
  state.runs[id].parameter_list = (given.pipeline_spec or {}).parameters -- also where a name comes twice
  return show_detail(state, id)
end

function M.get_run(state, request)
  return show_detail(state, runs.get(state, request).run_id)
end

function M.list_runs(state, request)
  request = M.newer(request)
  local kind, id = M.asked_owner(request)
  if kind == "NAMESPACE" and state.multi_user then request.allow("list", "runs", id or "") end
  local by_experiment = id and kind ~= "NAMESPACE"
  if by_experiment then experiments.find(state, id) end
  local rows = states.rows(state.runs, function(run)
    if by_experiment then return run.experiment_id == id end
    return not state.multi_user or run.namespace == id
  end)
  local page, total, token = lists.page(rows, request.query, lists.RUN)
  for i, run in ipairs(page) do page[i] = M.show_run(state, run) end
  return page, total, token
end

-- --- metrics that the persistence agent reports -----------------------------------------------------------------

local METRIC = "^%a[-_%w]*$"

local function report(run, one)
  local name, node = one.name or "", one.node_id or ""
  local result = { metric_name = name, metric_node_id = node, status = "OK" }
  if #name > 64 or not name:find(METRIC) or not name:find "%w$" then
    result.status = "INVALID_ARGUMENT"
    return result
  end
  for _, known in ipairs(run.reported) do
    if known.name == name and known.node_id == node then
      result.status = "DUPLICATE_REPORTING"
      result.message = ("Failed to create a run metric. Same metric has been reported before: %s/%s"):format(node, name)
      return result
    end
  end
  table.insert(run.reported, { name = name, node_id = node, number_value = one.number_value, format = one.format })
  return result
end

function M.report_metrics(state, request)
  local run = runs.find(state, request.id, "Failed to report v1beta1 run metrics")
  run.reported = run.reported or json.array {}
  local results = json.array {}
  for i, one in ipairs(body.decode(request.body, { metrics = METRICS, run_id = "string" }).metrics or {}) do
    results[i] = report(run, one)
  end
  return { results = results }
end

return M
