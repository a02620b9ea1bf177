-- The objects of KFP's API v1beta1 and those of v2beta1, each as the other. Not for paths: see older.
--   local run = shapes.run_detail(answer)
local errors = require "errors"
local json = require "json"
local sorted_keys = require "kfhost.keys".sorted
local workflow = require "kfp.workflow"

local M = {}

-- A run's state, as the older API says it.
M.STATUS = { PENDING = "Pending", RUNNING = "Running", SUCCEEDED = "Succeeded", SKIPPED = "Skipped",
  CANCELING = "Terminating", FAILED = "Failed" }

local STATES = { Error = "FAILED", Omitted = "SKIPPED" }
for state, status in pairs(M.STATUS) do STATES[status] = state end

-- --- references: whose an object is, and what it was made of ------------------------------------------------------

local function ids_of(object)
  local ids = {}
  for _, one in ipairs(object.resource_references or {}) do
    local key = one.key or {}
    if key.type and key.id then ids[key.type] = key.id end
  end
  return ids
end

local function references(...)
  local list = json.array {}
  for _, one in ipairs { ... } do
    if one[2] then list[#list + 1] = { key = { type = one[1], id = one[2] }, relationship = one[3] or "OWNER" } end
  end
  return #list > 0 and list or nil
end

local function storage(state)
  return state and state:gsub("^STORAGESTATE_", "") or nil
end

-- --- reading ------------------------------------------------------------------------------------------------------

---@param given table of v1beta1
---@return table of v2beta1
function M.experiment(given)
  return { experiment_id = given.id, display_name = given.name, description = given.description,
    created_at = given.created_at, namespace = ids_of(given).NAMESPACE, storage_state = storage(given.storage_state) }
end

---@param given table
---@return table
function M.version(given)
  return { pipeline_version_id = given.id, name = given.name, display_name = given.name,
    description = given.description, created_at = given.created_at, pipeline_id = ids_of(given).PIPELINE,
    package_url = given.package_url, code_source_url = given.code_source_url, parameters = given.parameters }
end

---@param given table
---@return table
function M.pipeline(given)
  return { pipeline_id = given.id, name = given.name, display_name = given.name, description = given.description,
    created_at = given.created_at, namespace = ids_of(given).NAMESPACE, parameters = given.parameters,
    default_version = given.default_version and M.version(given.default_version) or nil }
end

local function runtime_of(spec)
  if spec.runtime_config then return spec.runtime_config end
  if not spec.parameters then return nil end
  local values = json.object {}
  for _, one in ipairs(spec.parameters) do values[one.name] = one.value end
  return { parameters = values }
end

local function version_reference(spec, ids)
  if not spec.pipeline_id and not ids.PIPELINE_VERSION then return nil end
  return { pipeline_id = spec.pipeline_id, pipeline_version_id = ids.PIPELINE_VERSION }
end

-- The pods of a workflow as the newer API's tasks.
local function tasks_of(run_id, manifest)
  local object = manifest and manifest ~= "" and json.try.decode(manifest, { duplicates = "last" }) or {}
  local details = json.array {}
  for id, node in pairs((object.status or {}).nodes or {}) do
    if node.type == "Pod" then
      details[#details + 1] = { run_id = run_id, task_id = id, pod_name = id, state = STATES[node.phase],
        display_name = node.displayName or node.name, start_time = node.startedAt, end_time = node.finishedAt,
        error = node.message and { message = node.message } or nil }
    end
  end
  table.sort(details, function(a, b) return (a.start_time or "") .. a.task_id < (b.start_time or "") .. b.task_id end)
  return #details > 0 and { task_details = details } or nil
end

---@param given table the run alone, as lists have it
---@return table
function M.run(given)
  local ids, spec = ids_of(given), given.pipeline_spec or {}
  local status = given.status
  return { run_id = given.id, display_name = given.name, description = given.description,
    experiment_id = ids.EXPERIMENT, namespace = ids.NAMESPACE, recurring_run_id = ids.JOB,
    pipeline_version_reference = version_reference(spec, ids), runtime_config = runtime_of(spec),
    service_account = given.service_account, created_at = given.created_at, scheduled_at = given.scheduled_at,
    finished_at = given.finished_at, storage_state = storage(given.storage_state) or "AVAILABLE",
    state = STATES[status] or (status == nil or status == "") and "PENDING" or "RUNTIME_STATE_UNSPECIFIED",
    error = given.error and given.error ~= "" and { message = given.error } or nil, metrics = given.metrics }
end

---@param given {run: table, pipeline_runtime: table?}
---@return table
function M.run_detail(given)
  local run = M.run(given.run or {})
  run.run_details = tasks_of(run.run_id, (given.pipeline_runtime or {}).workflow_manifest)
  return run
end

---@param given table
---@return table
function M.job(given)
  local one = M.run(given)
  local status = given.enabled and "ENABLED" or "DISABLED"
  return { recurring_run_id = given.id, display_name = given.name, description = given.description,
    experiment_id = one.experiment_id, namespace = one.namespace, runtime_config = one.runtime_config,
    pipeline_version_reference = one.pipeline_version_reference, service_account = given.service_account,
    max_concurrency = given.max_concurrency, trigger = given.trigger, no_catchup = given.no_catchup,
    created_at = given.created_at, updated_at = given.updated_at, status = status, mode = status:sub(1, -2) }
end

-- --- writing ------------------------------------------------------------------------------------------------------

---@param object table of v2beta1
---@return table of v1beta1
function M.experiment_body(object)
  return { name = object.display_name, description = object.description,
    resource_references = references { "NAMESPACE", object.namespace } }
end

---@param body {pipeline: table?, pipeline_version: table?}
---@return table
function M.pipeline_body(body)
  local pipeline, version = body.pipeline or {}, body.pipeline_version or {}
  return { name = pipeline.name or pipeline.display_name, description = pipeline.description,
    url = version.package_url, resource_references = references { "NAMESPACE", pipeline.namespace } }
end

---@param object table
---@param pipeline_id string
---@return table
function M.version_body(object, pipeline_id)
  return { name = object.name or object.display_name, description = object.description,
    package_url = object.package_url, code_source_url = object.code_source_url,
    resource_references = references { "PIPELINE", pipeline_id } }
end

-- A workflow takes texts only.
local function parameter_list(values)
  local list = json.array {}
  for i, name in ipairs(sorted_keys(values)) do
    local value = values[name]
    list[i] = { name = name, value = type(value) == "string" and value or json.encode(value) }
  end
  return #list > 0 and list or nil
end

local function manifest_of(spec)
  local yaml = require "yaml"
  if not spec.platform_spec then return yaml.encode(spec.pipeline_spec or spec) end
  return yaml.encode(spec.pipeline_spec) .. "---\n" .. yaml.encode(spec.platform_spec)
end

---@param object table a run of v2beta1
---@param as_texts boolean? the pipeline that is referred to is a workflow
---@return table
function M.run_body(object, as_texts)
  local reference, spec = object.pipeline_version_reference or {}, object.pipeline_spec
  local config = object.runtime_config
  local made = { pipeline_id = reference.pipeline_id }
  if spec and workflow.is(spec) then made.workflow_manifest = json.encode(spec)
  elseif spec then made.pipeline_manifest = manifest_of(spec) end
  if as_texts or made.workflow_manifest then made.parameters = parameter_list((config or {}).parameters or {})
  elseif config and (next(config.parameters or {}) or config.pipeline_root) then made.runtime_config = config end
  return { id = object.run_id, name = object.display_name, description = object.description, pipeline_spec = made,
    service_account = object.service_account, resource_references = references({ "EXPERIMENT", object.experiment_id },
      { "PIPELINE_VERSION", reference.pipeline_version_id, "CREATOR" }) }
end

---@param object table a recurring run of v2beta1
---@param body table of run_body
---@return table
function M.job_body(object, body)
  body.id, body.trigger, body.no_catchup = nil, object.trigger, object.no_catchup
  local most = object.max_concurrency
  body.max_concurrency = most and tostring(most) or nil
  body.enabled = object.mode == "ENABLE" or nil
  return body
end

-- An answer whose parts are of other types than the API's is nobody's fault here.
for _, name in ipairs { "experiment", "version", "pipeline", "run", "run_detail", "job" } do
  local read = M[name]
  M[name] = function(given)
    local ok, value = pcall(read, given)
    if ok then return value end
    if type(value) == "table" then error(value, 0) end
    errors.raise { code = "Protocol", message = ("the answer is no %s of the API v1beta1"):format(name:gsub("_", " ")) }
  end
end

return M
