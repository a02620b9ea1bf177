-- lab.kfp.v1_pipelines: the older API's pipelines and versions, as a view of the same objects.
-- Not for what is in a pipeline (lab.kfp.pipelines).
--   v1_pipelines.upload(state, request)

local body = require "lab.kfp.body"
local failure = require "lab.kfp.failure"
local json = require "json"
local lists = require "lab.kfp.lists"
local pipelines = require "lab.kfp.pipelines"
local v1 = require "lab.kfp.v1"
local workflow = require "kfp.workflow"
local yaml = require "yaml"

local M = {}

local PIPELINE = { id = "string", name = "string", description = "string", created_at = "time",
  parameters = v1.PARAMETERS, url = body.URL, error = "string", default_version = "any",
  resource_references = v1.REFERENCES }
local VERSION = { id = "string", name = "string", created_at = "time", parameters = v1.PARAMETERS,
  code_source_url = "string", package_url = body.URL, resource_references = v1.REFERENCES, description = "string" }

-- The parameters of a workflow; an IR's are not shown.
local function parameters_of(version)
  local arguments = ((version.pipeline_spec or {}).spec or {}).arguments or {}
  return arguments.parameters
end

local function show_version(version)
  return { id = version.pipeline_version_id, name = version.name, created_at = version.created_at,
    description = version.description ~= "" and version.description or nil, parameters = parameters_of(version),
    code_source_url = version.code_source_url,
    resource_references = json.array { v1.reference("PIPELINE", version.pipeline_id) } }
end

-- The last version, unless another was chosen.
local function default_version(state, pipeline)
  local versions = pipelines.versions_of(state, pipeline.pipeline_id)
  return state.versions[pipeline.default_version or ""] or versions[#versions]
end

local function show(state, id)
  local pipeline = state.pipelines[id]
  local version = default_version(state, pipeline)
  local namespace = pipeline.namespace ~= "" and pipeline.namespace or nil
  return { id = id, name = pipeline.name, description = pipeline.description, created_at = pipeline.created_at,
    parameters = version and parameters_of(version), default_version = version and show_version(version),
    resource_references = namespace and json.array { v1.reference("NAMESPACE", namespace) } or nil }
end

function M.upload(state, request)
  return show(state, pipelines.upload(state, request).pipeline_id)
end

function M.upload_version(state, request)
  return show_version(pipelines.upload_version(state, request))
end

function M.create(state, request)
  local given = body.decode(request.body, PIPELINE)
  local asked = { name = given.name, description = given.description,
    namespace = v1.owner_of(given.resource_references, "NAMESPACE") }
  return show(state, pipelines.add_fetched(state, request, { pipeline = asked,
    pipeline_version = { package_url = given.url } }, "Failed to create a pipeline (v1beta1)").pipeline_id)
end

function M.get(state, request)
  local before = ("Failed to get a pipeline (v1beta1) %s"):format(request.id)
  pipelines.find(state, request.id, before)
  return show(state, pipelines.get(state, request).pipeline_id)
end

function M.list(state, request)
  local _, id = v1.asked_owner(request)
  local page, total, token = pipelines.list(state, v1.newer(request, { namespace = id }))
  for i, one in ipairs(page) do page[i] = show(state, one.pipeline_id) end
  return page, total, token
end

-- namespaces/NAMESPACE/pipelines/NAME; "-" is no namespace.
function M.by_name(state, request)
  local query = { namespace = request.id ~= "-" and request.id or "" }
  return show(state, pipelines.by_name(state, v1.with(request, { id = request.inner, query = query })).pipeline_id)
end

function M.set_default(state, request)
  local pipeline = pipelines.find(state, request.id)
  pipeline.default_version = pipelines.find_version(state, request.inner).pipeline_version_id
  return {}
end

local function template_of(version)
  local spec = version.pipeline_spec
  return { template = workflow.is(spec) and json.encode(spec) or yaml.encode(spec) }
end

function M.template(state, request)
  local version = default_version(state, pipelines.find(state, request.id))
  return template_of(version or failure.missing("PipelineVersion", request.id))
end

function M.version_template(state, request)
  return template_of(pipelines.find_version(state, request.id))
end

function M.get_version(state, request)
  return show_version(pipelines.find_version(state, request.id))
end

function M.list_versions(state, request)
  local id = request.query["resource_key.id"] or ""
  pipelines.find(state, id, "Failed to list pipeline versions (v1beta1)")
  local page, total, token = lists.page(pipelines.versions_of(state, id), v1.newer(request).query, lists.VERSION)
  for i, one in ipairs(page) do page[i] = show_version(one) end
  return page, total, token
end

function M.create_version(state, request)
  local given = body.decode(request.body, VERSION)
  local id = v1.owner_of(given.resource_references, "PIPELINE") or ""
  local before = "Failed to create a pipeline version (v1beta1)"
  local pipeline = pipelines.find(state, id, before)
  return show_version(pipelines.add_fetched_version(state, request, pipeline, given, before))
end

function M.delete_version(state, request)
  return pipelines.delete_version(state, v1.with(request, { inner = request.id }))
end

return M
