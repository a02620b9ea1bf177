-- Uploading a pipeline once: its versions are named by what is in them. A part of kfp.client.
local errors = require "errors"
local hash = require "hash"
local query = require "kfp.client.query"
local reply = require "kfp.client.reply"
local workflow = require "kfp.workflow"
local yaml = require "yaml"

local M = {}

---A form with one file.
---@param name string of the file
---@param text string
---@return string body, string content_type
function M.form(name, text)
  local boundary = "kfhost-" .. hash.sha256(text):sub(1, 24)
  while text:find(boundary, 1, true) do boundary = boundary .. "x" end
  local head = ('--%s\r\nContent-Disposition: form-data; name="uploadfile"; filename="%s"\r\n'
    .. "Content-Type: application/octet-stream\r\n\r\n"):format(boundary, name:gsub('["\r\n]', "_"))
  return head .. text .. ("\r\n--%s--\r\n"):format(boundary), "multipart/form-data; boundary=" .. boundary
end

local function text_of(ir)
  return type(ir) == "string" and ir or yaml.encode(ir)
end

local function name_of(ir, options)
  if options.name then return options.name end
  local decoded = type(ir) == "string" and yaml.try.decode_all(ir, { plain_booleans = true }) or { ir }
  for _, document in ipairs(decoded or {}) do
    local info, metadata = document.pipelineInfo, document.metadata
    if info then return info.name end
    if metadata and workflow.is(document) then return metadata.name or metadata.generateName:gsub("%-$", "") end
  end
  return require "kfp".decode(ir).pipelineInfo.name
end

-- A refused request may mean that somebody else was faster.
local function find_pipeline(client, name, options)
  local found, problem = client.pipelines.try:by_name(name, { namespace = options.namespace })
  if found then return found end
  if not errors.is(problem, "NotFound") then error(problem, 0) end
end

-- Sends a file and returns the object that comes back.
local function send_file(client, verb, text, values)
  local body, kind = M.form("pipeline.yaml", text)
  local path = ("/apis/%s/pipelines/%s%s"):format(client.api or "v2beta1", verb, query.encode(values))
  local response, request = client:send("POST", path, { body = body, headers = { ["Content-Type"] = kind } })
  return reply.value(response, request)
end

local errors_of = errors.try { send_file = send_file }

-- The older API makes a pipeline only by its first file.
local function create_pipeline(client, name, text, options)
  if client.api == "v1beta1" then
    local made, problem = errors_of.send_file(client, "upload", text, { name = name,
      description = options.description, namespace = options.namespace })
    return made and { pipeline_id = made.id }, problem
  end
  return client.pipelines.try:create { name = name, display_name = options.display_name or name,
    namespace = options.namespace, description = options.description }
end

local function ensure_pipeline(client, name, text, options)
  local pipeline = find_pipeline(client, name, options)
  if pipeline then return pipeline end
  local made, problem = create_pipeline(client, name, text, options)
  if made then return made end
  if not errors.is(problem, "AlreadyExists") then error(problem, 0) end
  return find_pipeline(client, name, options) or error(problem, 0)
end

local function find_version(client, pipeline_id, name)
  return client.versions:page({ pipeline_id = pipeline_id, filter = { name = name } })[1]
end

local function send_version(client, pipeline_id, name, text, options)
  local made, problem = errors_of.send_file(client, "upload_version", text,
    { name = name, pipelineid = pipeline_id, description = options.description })
  return made and { pipeline_version_id = made.pipeline_version_id or made.id }, problem
end

---@param client kfp.Client
---@param ir string|table
---@param options {name: string?, description: string?, namespace: string?}
---@return {pipeline_id: string, version_id: string, name: string, created: boolean}
function M.upload(client, ir, options)
  local text = text_of(ir)
  options = setmetatable({ namespace = options.namespace or client.namespace }, { __index = options })
  local pipeline = ensure_pipeline(client, name_of(ir, options), text, options)
  local name, id = "sha256-" .. hash.sha256(text):sub(1, 20), reply.string(pipeline, "pipeline_id")
  local version, created = find_version(client, id, name), false
  if not version then
    local problem
    version, problem = send_version(client, id, name, text, options)
    created = version ~= nil
    if not version and not errors.is(problem, "AlreadyExists") then error(problem, 0) end
    version = version or find_version(client, id, name) or error(problem, 0)
  end
  return { pipeline_id = id, version_id = reply.string(version, "pipeline_version_id"), name = name, created = created }
end

return M
