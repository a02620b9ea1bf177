-- A server that has only the API v1beta1 (KFP 1.x): what the client asks in the newer one's words is asked in the
-- older one's, and its answers are read back. Not for deciding which a server has: see client. A part of kfp.client.
--   local run = older.request(client, "GET", "/apis/v2beta1/runs/x", {})
local errors = require "errors"
local json = require "json"
local reply = require "kfp.client.reply"
local shapes = require "kfp.client.older_shapes"
local workflow = require "kfp.workflow"

local M = {}

local BASE = "/apis/v1beta1/"

local function ask(client, method, path, options)
  return client:ask(method, BASE .. path, options)
end

local function unsupported(what)
  errors.raise { code = "Unsupported", message = ("the server has only the API v1beta1, which cannot %s"):format(what) }
end

-- --- lists ------------------------------------------------------------------------------------------------------

local KEYS = { display_name = "name", experiment_id = "id", pipeline_id = "id", pipeline_version_id = "id",
  run_id = "id", recurring_run_id = "id", state = "status" }

local function older_text(text)
  return shapes.STATUS[text] or text
end

local function older_filter(text)
  local filter = text and json.try.decode(text)
  if type(filter) ~= "table" or type(filter.predicates) ~= "table" then return text end
  for _, predicate in ipairs(filter.predicates) do
    predicate.op, predicate.operation = predicate.op or predicate.operation, nil
    local is_state = predicate.key == "state"
    predicate.key = KEYS[predicate.key] or predicate.key
    if is_state and predicate.string_value then predicate.string_value = older_text(predicate.string_value) end
    local values = is_state and (predicate.string_values or {}).values or {}
    for i, value in ipairs(values) do values[i] = older_text(value) end
  end
  return json.encode(filter, { sort = true })
end

local function older_sort(text)
  return text and text:gsub("^[%w_]+", KEYS) or nil
end

-- The query of a list; whose it is goes by a reference.
local function list_query(query, reference, kind, id)
  local asked = { page_size = query.page_size, page_token = query.page_token, sort_by = older_sort(query.sort_by),
    filter = older_filter(query.filter) }
  if kind and id and id ~= "" then asked[reference .. ".type"], asked[reference .. ".id"] = kind, id end
  return asked
end

-- Asks for a page; `kind` and `id` say whose: an experiment before a namespace.
local function list(client, path, query, read, keys)
  local kind = query.experiment_id and "EXPERIMENT" or query.namespace and "NAMESPACE" or keys.owner
  local id = query.experiment_id or query.namespace or keys.id
  local answer = ask(client, "GET", path, { query = list_query(query, keys.reference or "resource_reference_key", kind,
    id) })
  local items = json.array {}
  for i, item in ipairs(reply.list(answer, keys.from)) do items[i] = read(item) end
  return { [keys.to] = items, next_page_token = answer.next_page_token, total_size = answer.total_size }
end

-- --- what is asked -----------------------------------------------------------------------------------------------

-- Whether a pipeline is a workflow of Argo's: its parameters are texts then.
local function is_workflow(client, reference)
  local version = reference.pipeline_version_id
  local path = version and "pipeline_versions/" .. version or "pipelines/" .. reference.pipeline_id
  local template = ask(client, "GET", path .. "/templates", {}).template or ""
  local documents = require "yaml".try.decode_all(template, { plain_booleans = true })
  for _, document in ipairs(documents or {}) do
    if type(document) == "table" and workflow.is(document) then return true end
  end
  return false
end

local function run_body(client, object)
  local reference = object.pipeline_version_reference
  local given = (object.runtime_config or {}).parameters or {}
  return shapes.run_body(object, reference and next(given) ~= nil and is_workflow(client, reference))
end

local ROUTES = {}

-- route(METHOD, PATTERN of the newer path below its base, function(client, options, captures…))
local function route(method, pattern, fn)
  ROUTES[#ROUTES + 1] = { method = method, pattern = "^" .. pattern .. "$", fn = fn }
end

-- Asks with the same method for the same thing under another path.
local function passed_on(method, pattern, path, read)
  route(method, pattern, function(client, options, id)
    local answer = ask(client, method, path:format(id), { body = options.body })
    return read and read(answer) or answer
  end)
end

passed_on("GET", "healthz", "healthz")

-- Experiments.
route("GET", "experiments", function(client, options)
  return list(client, "experiments", options.query, shapes.experiment, { from = "experiments", to = "experiments" })
end)
route("POST", "experiments", function(client, options)
  return shapes.experiment(ask(client, "POST", "experiments", { body = shapes.experiment_body(options.body) }))
end)
passed_on("GET", "experiments/([^/:]+)", "experiments/%s", shapes.experiment)
passed_on("DELETE", "experiments/([^/:]+)", "experiments/%s")
passed_on("POST", "experiments/([^/:]+):archive", "experiments/%s:archive")
passed_on("POST", "experiments/([^/:]+):unarchive", "experiments/%s:unarchive")

-- Pipelines. There is none without a version, so none can be made without a file or an address.
route("GET", "pipelines", function(client, options)
  return list(client, "pipelines", options.query, shapes.pipeline, { from = "pipelines", to = "pipelines" })
end)
route("POST", "pipelines", function() unsupported "make a pipeline without a version" end)
route("POST", "pipelines/create", function(client, options)
  return shapes.pipeline(ask(client, "POST", "pipelines", { body = shapes.pipeline_body(options.body) }))
end)
route("GET", "pipelines/names/([^/:]+)", function(client, options, name)
  local namespace = (options.query or {}).namespace
  if namespace == nil or namespace == "" then namespace = "-" end
  return shapes.pipeline(ask(client, "GET", ("namespaces/%s/pipelines/%s"):format(namespace, name), {}))
end)
passed_on("GET", "pipelines/([^/:]+)", "pipelines/%s", shapes.pipeline)
passed_on("DELETE", "pipelines/([^/:]+)", "pipelines/%s")
route("PATCH", "pipelines/.+", function() unsupported "change a pipeline" end)

-- Versions.
route("GET", "pipelines/([^/]+)/versions", function(client, options, pipeline)
  local keys = { from = "versions", to = "pipeline_versions", reference = "resource_key", owner = "PIPELINE",
    id = pipeline }
  return list(client, "pipeline_versions", options.query, shapes.version, keys)
end)
route("POST", "pipelines/([^/]+)/versions", function(client, options, pipeline)
  return shapes.version(ask(client, "POST", "pipeline_versions", {
    body = shapes.version_body(options.body, pipeline),
  }))
end)
route("GET", "pipelines/[^/]+/versions/([^/:]+)", function(client, _, id)
  return shapes.version(ask(client, "GET", "pipeline_versions/" .. id, {}))
end)
route("DELETE", "pipelines/[^/]+/versions/([^/:]+)", function(client, _, id)
  return ask(client, "DELETE", "pipeline_versions/" .. id, {})
end)

-- Runs.
route("GET", "runs", function(client, options)
  return list(client, "runs", options.query, shapes.run, { from = "runs", to = "runs" })
end)
route("POST", "runs", function(client, options)
  return shapes.run_detail(ask(client, "POST", "runs", { body = run_body(client, options.body) }))
end)
passed_on("GET", "runs/([^/:]+)", "runs/%s", shapes.run_detail)
passed_on("DELETE", "runs/([^/:]+)", "runs/%s")
for verb, path in pairs { archive = "runs/%s:archive", unarchive = "runs/%s:unarchive",
  terminate = "runs/%s/terminate", retry = "runs/%s/retry" } do
  passed_on("POST", "runs/([^/:]+):" .. verb, path)
end
route("GET", "runs/([^/]+)/nodes/([^/]+)/artifacts/([^/]+):read", function(client, _, run, node, name)
  return ask(client, "GET", ("runs/%s/nodes/%s/artifacts/%s:read"):format(run, node, name), {})
end)

-- Recurring runs are jobs.
route("GET", "recurringruns", function(client, options)
  return list(client, "jobs", options.query, shapes.job, { from = "jobs", to = "recurringRuns" })
end)
route("POST", "recurringruns", function(client, options)
  local body = shapes.job_body(options.body, run_body(client, options.body))
  return shapes.job(ask(client, "POST", "jobs", { body = body }))
end)
passed_on("GET", "recurringruns/([^/:]+)", "jobs/%s", shapes.job)
passed_on("DELETE", "recurringruns/([^/:]+)", "jobs/%s")
passed_on("POST", "recurringruns/([^/:]+):enable", "jobs/%s/enable")
passed_on("POST", "recurringruns/([^/:]+):disable", "jobs/%s/disable")

---Asks an older server what the newer one would be asked.
---@param client kfp.Client
---@param method string
---@param path string of the newer API
---@param options {query: table?, body: table?, timeout: any}
---@return table # as the newer API has it; raises "Unsupported" for what the older one lacks
function M.request(client, method, path, options)
  local rest = path:match "^/apis/v2beta1/(.*)$"
  options.query = options.query or {}
  for _, one in ipairs(ROUTES) do
    local captures = one.method == method and rest and table.pack(rest:match(one.pattern))
    if captures and captures[1] then return one.fn(client, options, table.unpack(captures)) end
  end
  return unsupported(("answer %s %s"):format(method, path))
end

return M
