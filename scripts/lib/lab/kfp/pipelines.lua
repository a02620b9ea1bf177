-- lab.kfp.pipelines: pipelines, their versions, and uploads.
-- Not for runs.
--   pipelines.upload(state, request)

local body = require "lab.kfp.body"
local failure = require "lab.kfp.failure"
local fetched = require "lab.kfp.fetched"
local json = require "json"
local kfp = require "kfp"
local lists = require "lab.kfp.lists"
local multipart = require "lab.kfp.multipart"
local packages = require "lab.kfp.packages"
local states = require "lab.kfp.state"
local yaml = require "yaml"

local M = {}

local UPLOAD = "Failed to create a pipeline and a pipeline version"
local UPLOAD_VERSION = "Failed to create a pipeline version"
local TAGS = "Failed to parse tags query parameter. Expected JSON object with string keys and values"
local MOST_TAGS, LONGEST_TAG, LONGEST_NAME = 20, 63, 128

local function filled(text)
  if text and text ~= "" then return text end
  return nil
end

local function tags_or_nil(tags)
  return tags and next(tags) and tags or nil
end

---@return table shown
function M.show(pipeline)
  return { pipeline_id = pipeline.pipeline_id, display_name = pipeline.display_name, name = pipeline.name,
    description = filled(pipeline.description), created_at = pipeline.created_at,
    namespace = filled(pipeline.namespace), tags = tags_or_nil(pipeline.tags) }
end

---@return table shown
function M.show_version(version)
  return { pipeline_id = version.pipeline_id, pipeline_version_id = version.pipeline_version_id,
    display_name = version.display_name, name = version.name, description = filled(version.description),
    created_at = version.created_at, package_url = version.package_url,
    code_source_url = filled(version.code_source_url),
    pipeline_spec = version.pipeline_spec, tags = tags_or_nil(version.tags) }
end

---@return table pipeline raises 404
function M.find(state, id, before)
  return state.pipelines[id] or failure.missing("Pipeline", id, before or "Failed to get a pipeline")
end

---@return table[] versions of a pipeline, the oldest first
function M.versions_of(state, id)
  local rows = states.rows(state.versions, function(row) return row.pipeline_id == id end)
  table.sort(rows, function(a, b) return a.order < b.order end)
  return rows
end

---@return string? id of the newest version
function M.latest_id(state, id)
  local versions = M.versions_of(state, id)
  return versions[1] and versions[#versions].pipeline_version_id
end

-- --- what is uploaded ---------------------------------------------------------------------------------------

local function parse_tags(text)
  if not text or text == "" then return {} end
  local tags = json.try.decode(text)
  if type(tags) ~= "table" or json.is_array(tags) and next(tags) then failure.upload(400, TAGS, true) end
  local count = 0
  for key, value in pairs(tags) do
    if type(value) ~= "string" then failure.upload(400, TAGS, true) end
    count = count + 1
    if key:find(".", 1, true) then failure.upload(400, ("tag key %q must not contain '.' character"):format(key)) end
    for what, one in pairs { key = key, value = value } do
      if #one > LONGEST_TAG then
        failure.upload(400, ("tag %s %q exceeds maximum length of 63 characters"):format(what, one))
      end
    end
  end
  if count > MOST_TAGS then
    failure.upload(400, ("number of tags (%d) exceeds maximum of 20 per entity"):format(count))
  end
  return tags
end

-- The text of the uploaded file, and its name.
local function uploaded(request)
  local part = multipart.part(request.body, request.headers["content-type"] or "", "uploadfile")
  if not part then failure.upload(400, "Failed to read pipeline from file", true) end
  local text = packages.read(part.filename, part.content)
  if not text then failure.upload(400, "Failed to read a pipeline spec file", true) end
  return text, part.filename
end

-- The spec as it is stored: bare, or with the platform's document beside it.
local function spec_of(text)
  local one = text:find "^%s*{" and json.try.decode(text)
  local documents = one and { one } or yaml.try.decode_all(text, { plain_booleans = true }) or {}
  local spec, platform
  for _, document in ipairs(documents) do
    if document.platforms and not document.pipelineInfo then platform = document else spec = document end
  end
  if platform then return { pipeline_spec = spec, platform_spec = platform } end
  return spec
end

-- Some findings carry detail that the server's answer has only behind its first words.
local function first_words(message)
  return message:match "^(unknown template format)" or message
end

local function check_upload(text, what)
  if text == "" then failure.upload(500, what) end
  for _, finding in ipairs(kfp.validate(text)) do
    if finding.severity == "error" and finding.stage == "upload" then
      failure.upload(400, first_words(finding.message))
    end
  end
end

local order = 0

local function add_version(state, pipeline, fields)
  order = order + 1
  local version = { pipeline_version_id = states.uuid(), pipeline_id = pipeline.pipeline_id, created_at = states.now(),
    order = order }
  for field, value in pairs(fields) do version[field] = value end
  state.versions[version.pipeline_version_id] = version
  return version
end

-- Without a namespace any that has the name.
local function named(state, name, namespace)
  for _, one in pairs(state.pipelines) do
    if one.name == name and (namespace == nil or one.namespace == namespace) then return one end
  end
  return nil
end

function M.upload(state, request)
  local query = request.query
  local text, filename = uploaded(request)
  local tags = parse_tags(query.tags)
  local name = filled(query.name) or filled(query.display_name) or filename
  if utf8.len(name) and utf8.len(name) > LONGEST_NAME then
    failure.plain(400, "Invalid input error: Pipeline.Name length cannot exceed 128")
  end
  check_upload(text, UPLOAD)
  local namespace = state.multi_user and query.namespace or ""
  request.allow_upload("create", "pipelines", namespace, "Failed to create a pipeline")
  if named(state, name, namespace) then failure.upload(409, UPLOAD) end
  local pipeline = { pipeline_id = states.uuid(), name = name, display_name = filled(query.display_name) or name,
    description = query.description, created_at = states.now(), namespace = namespace, tags = tags }
  state.pipelines[pipeline.pipeline_id] = pipeline
  add_version(state, pipeline, { name = name, display_name = pipeline.display_name, tags = tags,
    description = query.description, code_source_url = query.code_source_url, pipeline_spec = spec_of(text) })
  return M.show(pipeline)
end

function M.upload_version(state, request)
  local query = request.query
  local text, filename = uploaded(request)
  local pipeline = state.pipelines[query.pipelineid or ""]
  if not pipeline then failure.upload(400, UPLOAD_VERSION, true) end
  request.allow_upload("update", "pipelines", pipeline.namespace, UPLOAD_VERSION)
  local name = filled(query.name) or filled(query.display_name) or filename
  check_upload(text, UPLOAD_VERSION)
  for _, version in ipairs(M.versions_of(state, pipeline.pipeline_id)) do
    if version.name == name then failure.upload(409, UPLOAD_VERSION) end
  end
  return M.show_version(add_version(state, pipeline, { name = name, display_name = filled(query.display_name) or name,
    description = query.description, code_source_url = query.code_source_url, tags = parse_tags(query.tags),
    pipeline_spec = spec_of(text) }))
end

-- --- pipelines ----------------------------------------------------------------------------------------------

function M.create(state, request)
  local given = body.decode(request.body, body.PIPELINE)
  local name = filled(given.name) or filled(given.display_name)
  if not name then failure.invalid("Failed to create a pipeline due to server error", "name is required") end
  local namespace = state.multi_user and given.namespace or ""
  request.allow("create", "pipelines", namespace)
  if named(state, name, namespace) then
    local short = ("Failed to create a new pipeline. The name %s already exist. Please specify a new name"):format(name)
    failure.raise(6, short, "Failed to create a pipeline due to server error: Failed to create a pipeline in "
      .. "PipelineStore: Already exist error: " .. short)
  end
  local pipeline = { pipeline_id = states.uuid(), name = name, display_name = filled(given.display_name) or name,
    description = given.description, created_at = states.now(), namespace = namespace, tags = given.tags or {} }
  state.pipelines[pipeline.pipeline_id] = pipeline
  return M.show(pipeline)
end

-- What an address holds, when it is a pipeline.
local function fetched_spec(state, version, before)
  local url = ((version or {}).package_url or {}).pipeline_url
  local text = fetched.read(state, url, before)
  for _, finding in ipairs(kfp.validate(text)) do
    if finding.severity == "error" and finding.stage == "upload" then
      failure.invalid(before, first_words(finding.message))
    end
  end
  return spec_of(text)
end

---Makes a pipeline and its first version of what an address holds.
---@param state table
---@param request table
---@param given table pipeline, pipeline_version
---@param before string what is being done
---@return table pipeline
function M.add_fetched(state, request, given, before)
  local asked, version = given.pipeline or {}, given.pipeline_version or {}
  local name = filled(asked.name) or filled(asked.display_name)
  local namespace = state.multi_user and asked.namespace or ""
  request.allow("create", "pipelines", namespace)
  local spec = fetched_spec(state, version, before)
  if not name then failure.invalid(before, "name is required") end
  if named(state, name, namespace) then
    local short = ("Failed to create a new pipeline. The name %s already exists. Please specify a new name")
      :format(name)
    failure.raise(6, short, ("%s: %s: Already exist error: %s"):format(before, UPLOAD, short))
  end
  local pipeline = { pipeline_id = states.uuid(), name = name, display_name = filled(asked.display_name) or name,
    description = asked.description, created_at = states.now(), namespace = namespace, tags = asked.tags or {} }
  state.pipelines[pipeline.pipeline_id] = pipeline
  add_version(state, pipeline, { name = name, display_name = pipeline.display_name, description = asked.description,
    package_url = version.package_url, code_source_url = version.code_source_url, tags = version.tags,
    pipeline_spec = spec })
  return pipeline
end

function M.create_with_version(state, request)
  local given = body.decode(request.body, body.CREATE_PIPELINE)
  return M.show(M.add_fetched(state, request, given, "Failed to create a pipeline"))
end

function M.get(state, request)
  local pipeline = M.find(state, request.id)
  if pipeline.namespace ~= "" then request.allow("get", "pipelines", pipeline.namespace, pipeline.name) end
  return M.show(pipeline)
end

function M.by_name(state, request)
  local namespace = state.multi_user and (request.query.namespace or "") or ""
  if namespace ~= "" then request.allow("get", "pipelines", namespace, request.id) end
  local pipeline = named(state, request.id, namespace) or namespace == "" and named(state, request.id)
  if pipeline then return M.show(pipeline) end
  local short = ("Namespace/Pipeline %s/%s not found"):format(namespace, request.id)
  return failure.raise(5, short, ("Failed to get a pipeline with name %s and namespace %s. Check error stack.: Failed "
    .. "to get a pipeline named %s in namespace %s: ResourceNotFoundError: %s"):format(request.id, namespace,
    request.id, namespace, short))
end

function M.list(state, request)
  local namespace = state.multi_user and (request.query.namespace or "")
  if namespace and namespace ~= "" then request.allow("list", "pipelines", namespace) end
  local rows = states.rows(state.pipelines, namespace and function(row) return row.namespace == namespace end)
  return lists.page(rows, request.query, lists.PIPELINE)
end

function M.patch(state, request)
  local before = ("Failed to update pipeline %s. Check error stack"):format(request.id)
  local pipeline = M.find(state, request.id, before)
  request.allow("update", "pipelines", pipeline.namespace)
  local given = body.decode(request.body, body.PIPELINE)
  pipeline.display_name = filled(given.display_name) or pipeline.display_name
  if given.tags then pipeline.tags = given.tags end
  return M.show(pipeline)
end

function M.delete(state, request)
  local pipeline = M.find(state, request.id, "Failed to delete pipeline")
  local namespace = pipeline.namespace ~= "" and pipeline.namespace or state.namespace
  request.allow("delete", "pipelines", namespace, pipeline.name)
  local versions = M.versions_of(state, request.id)
  if #versions > 0 and request.query.cascade ~= "true" then
    failure.invalid("Failed to delete pipeline", ("Failed to delete pipeline with id %s as it has existing pipeline "
      .. "versions (e.g. %s). Set cascade=true to delete all versions"):format(request.id,
      versions[1].pipeline_version_id))
  end
  for _, version in ipairs(versions) do state.versions[version.pipeline_version_id] = nil end
  state.pipelines[request.id] = nil
  return {}
end

-- --- versions -----------------------------------------------------------------------------------------------

function M.list_versions(state, request)
  M.find(state, request.id, "Failed to list pipeline versions")
  return lists.page(M.versions_of(state, request.id), request.query, lists.VERSION)
end

---@return table version raises 404
function M.find_version(state, id, before)
  return state.versions[id] or failure.missing("PipelineVersion", id, before or "Failed to get a pipeline version")
end

function M.get_version(state, request)
  return M.show_version(M.find_version(state, request.inner))
end

---Makes a version of what an address holds.
---@param state table
---@param request table
---@param pipeline table
---@param given table as body.VERSION
---@param before string what is being done
---@return table version
function M.add_fetched_version(state, request, pipeline, given, before)
  request.allow("update", "pipelines", pipeline.namespace)
  local spec = fetched_spec(state, given, before)
  local name = filled(given.name) or filled(given.display_name)
  if not name then failure.invalid(before, "name is required") end
  for _, version in ipairs(M.versions_of(state, pipeline.pipeline_id)) do
    if version.name == name then
      local short = ("Failed to create a new pipeline version. The name %s already exist. Specify a new name")
        :format(name)
      failure.raise(6, short, before .. ". Check error stack: Failed to create pipeline version in PipelineStore: "
        .. "Already exist error: " .. short)
    end
  end
  return add_version(state, pipeline, { name = name, display_name = filled(given.display_name) or name,
    description = given.description, package_url = given.package_url, code_source_url = given.code_source_url,
    tags = given.tags, pipeline_spec = spec })
end

function M.create_version(state, request)
  M.find(state, request.id, UPLOAD_VERSION)
  local given = body.decode(request.body, body.VERSION)
  if not given.package_url then
    failure.invalid(UPLOAD_VERSION, "Failed to create a pipeline version. Package URL is nil")
  end
  return M.show_version(M.add_fetched_version(state, request, M.find(state, request.id), given, UPLOAD_VERSION))
end

function M.patch_version(state, request)
  local version = M.find_version(state, request.inner)
  local given = body.decode(request.body, body.VERSION)
  version.display_name = filled(given.display_name) or version.display_name
  if given.tags then version.tags = given.tags end
  return M.show_version(version)
end

function M.delete_version(state, request)
  M.find_version(state, request.inner, "Failed to delete pipeline version")
  state.versions[request.inner] = nil
  return {}
end

return M
