-- lab.kfp.v1_jobs: recurring runs as the older API's jobs.
-- Not for what they do (lab.kfp.recurring).
--   v1_jobs.create(state, request)

local body = require "lab.kfp.body"
local json = require "json"
local recurring = require "lab.kfp.recurring"
local v1 = require "lab.kfp.v1"

local M = {}

local JOB = { id = "string", name = "string", description = "string", pipeline_spec = v1.SPEC,
  resource_references = v1.REFERENCES, service_account = "string", max_concurrency = "int64", trigger = body.TRIGGER,
  mode = "any", created_at = "time", updated_at = "time", status = "string", error = "string", enabled = "bool",
  no_catchup = "bool" }

local function show(state, id)
  local one = state.recurring[id]
  local shown = recurring.show(one)
  local spec, reference = v1.show_source(state, one)
  local references = json.array { v1.reference("NAMESPACE", one.namespace),
    v1.reference("EXPERIMENT", one.experiment_id) }
  if reference then
    table.insert(references, v1.reference("PIPELINE", reference.pipeline_id, "CREATOR"))
    table.insert(references, v1.reference("PIPELINE_VERSION", reference.pipeline_version_id, "CREATOR"))
  end
  return { id = id, name = one.display_name, description = one.description, pipeline_spec = spec,
    resource_references = references, service_account = one.service_account, trigger = shown.trigger,
    max_concurrency = shown.max_concurrency, created_at = one.created_at, updated_at = one.updated_at,
    status = "STATUS_UNSPECIFIED", enabled = one.mode == "ENABLE" or nil, no_catchup = shown.no_catchup }
end

function M.create(state, request)
  local given = body.decode(request.body, JOB)
  local asked = v1.asked(state, given)
  asked.max_concurrency, asked.trigger, asked.no_catchup = given.max_concurrency, given.trigger, given.no_catchup
  asked.mode = given.enabled and "ENABLE" or "DISABLE"
  return show(state, recurring.create(state, v1.with(request, { body = json.encode(asked) })).recurring_run_id)
end

function M.get(state, request)
  return show(state, recurring.get(state, request).recurring_run_id)
end

function M.list(state, request)
  local kind, id = v1.asked_owner(request)
  local page, total, token = recurring.list(state, v1.newer(request, {
    experiment_id = kind == "EXPERIMENT" and id or nil, namespace = kind == "NAMESPACE" and id or nil }))
  for i, one in ipairs(page) do page[i] = show(state, one.recurring_run_id) end
  return page, total, token
end

return M
