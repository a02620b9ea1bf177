-- The metrics of a run, from wherever they are: lines that its steps printed for us, by the server or by their pods;
-- the metadata store; artifacts of KFP 3.0; what an older server was told. A part of kfp.client.
--   local list, source = metrics.of(runs, id, { kube = c, namespace = "team" })
local errors = require "errors"
local json = require "json"
local sorted_keys = require "kfhost.keys".sorted

local M = {}

-- What tasks are called, by their nodes.
local function names_by_node(tasks)
  local names = {}
  for _, entry in ipairs(tasks) do names[entry.node or ""] = entry.name end
  return names
end

-- --- lines -----------------------------------------------------------------------------------------------------

---Whether a line of a step's log is for programs: it says a metric.
---@param line string
---@return boolean
function M.is_line(line) return line:find "^KFHOST%-METRIC " ~= nil end

local function add_lines(list, name, text)
  for line in text:gmatch "KFHOST%-METRIC (%b{})" do
    local metric = json.try.decode(line)
    if metric and metric.name then
      list[#list + 1] = { task = name, name = metric.name, value = metric.value, step = metric.step,
        time = metric.time }
    end
  end
end

local function from_logs(runs, id, tasks)
  local list = {}
  local read = errors.try { log = require "kfp.client.runs".read_log }.log
  for _, entry in ipairs(tasks) do
    local text = entry.node and read(runs, id, entry.node)
    if text then add_lines(list, entry.name, text) end
  end
  return list
end

-- Steps run as pods that carry the run's id; the id of a node is not the name of its pod.
local function from_pods(options, id, tasks)
  local list, names = {}, names_by_node(tasks)
  local kube = errors.try(options.kube)
  for _, pod in ipairs(kube:list("pods", { namespace = options.namespace, labels = "pipeline/runid=" .. id }) or {}) do
    local node = (pod.metadata.annotations or {})["workflows.argoproj.io/node-id"]
    local text = kube:logs { name = pod.metadata.name, namespace = options.namespace, container = "main" }
    if type(text) == "string" then add_lines(list, names[node] or node, text) end
  end
  return list
end

-- --- the metadata store ----------------------------------------------------------------------------------------

local SERVICE = "/ml_metadata.MetadataStoreService/"

local kinds

local function messages()
  if kinds then return kinds end
  local message = require "grpc.proto".message
  local value = message { integer = { 1, "int64", optional = true }, double = { 2, "double", optional = true },
    text = { 3, "string" } }
  local artifact = message { id = { 1, "int64" }, name = { 7, "string" }, type = { 8, "string" },
    properties = { 5, map = { "string", value } } }
  local context = message { id = { 1, "int64" } }
  kinds = { Find = message { type_name = { 1, "string" }, context_name = { 2, "string" } },
    Found = message { context = { 1, context } }, List = message { context_id = { 1, "int64" } },
    Listed = message { artifacts = { 1, artifact, repeated = true } } }
  return kinds
end

local function caller(address)
  if type(address) == "function" then return address end
  local client = require "grpc".connect { address = address }
  return function(path, bytes) return client:call(path, bytes, { timeout = "10s" }) end
end

local function numbers_of(list, artifact)
  local properties = artifact.properties or {}
  local shown = properties.display_name
  for _, name in ipairs(sorted_keys(properties)) do
    local value = properties[name].double or properties[name].integer
    if value then list[#list + 1] = { task = shown and shown.text or artifact.name, name = name, value = value } end
  end
end

local function from_metadata(address, id)
  local list, kind, call = {}, messages(), caller(address)
  local found = kind.Found:decode(call(SERVICE .. "GetContextByTypeAndName",
    kind.Find:encode { type_name = "system.PipelineRun", context_name = id }))
  if not found.context then return list end
  local listed = kind.Listed:decode(call(SERVICE .. "GetArtifactsByContext",
    kind.List:encode { context_id = found.context.id }))
  for _, artifact in ipairs(listed.artifacts or {}) do
    if artifact.type == "system.Metrics" then numbers_of(list, artifact) end
  end
  return list
end

-- --- KFP 3.0 -----------------------------------------------------------------------------------------------------

-- There a metric is an artifact of its own.
local function from_artifacts(runs, id)
  local list, client, escape = {}, runs.client, require "kfp.client.query".escape
  local links = client:request("GET", "/apis/v2beta1/artifact_tasks", { query = { run_ids = id, page_size = 200 } })
  local seen = {}
  for _, link in ipairs(links.artifact_tasks or {}) do
    if link.artifact_id and not seen[link.artifact_id] then
      seen[link.artifact_id] = true
      local artifact = client:request("GET", "/apis/v2beta1/artifacts/" .. escape(link.artifact_id))
      if artifact.type == "Metric" and tonumber(artifact.number_value) then
        list[#list + 1] = { task = link.task_id, name = artifact.name, value = tonumber(artifact.number_value),
          time = artifact.created_at }
      end
    end
  end
  return list
end

-- Metrics that were reported to an older server, which keeps them with the run.
local function reported(run, tasks)
  local list, names = {}, names_by_node(tasks)
  for i, metric in ipairs(run.metrics or {}) do
    list[i] = { task = names[metric.node_id] or metric.node_id, name = metric.name, value = metric.number_value }
  end
  return list
end

-- --- all of them ----------------------------------------------------------------------------------------------------

---The metrics of a run, from the first source that has some.
---@param runs table
---@param id string
---@param options {kube: table?, namespace: string?, metadata: string|function|nil}? kube: a client that may read pods;
---  metadata: "host:port" of the metadata store. Without them these two are not asked
---@return {task: string, name: string, value: number, step: integer?, time: string?}[] metrics
---@return "logs"|"pods"|"metadata"|"artifacts"|"run" source
function M.of(runs, id, options)
  options = options or {}
  local run = runs:get(id)
  local tasks = runs:tasks(run)
  local sources = { { "logs", function() return from_logs(runs, id, tasks) end },
    { "pods", options.kube and function() return from_pods(options, id, tasks) end },
    { "metadata", options.metadata and function() return from_metadata(options.metadata, id) end },
    { "artifacts", run.tasks and not run.run_details and function() return from_artifacts(runs, id) end },
    { "run", run.metrics and function() return reported(run, tasks) end } }
  for _, source in ipairs(sources) do
    local ok, list = true, nil
    if source[2] then ok, list = pcall(source[2]) end
    if not ok and (not errors.is(list) or list.code == "Cancelled") then error(list, 0) end
    if ok and list and #list > 0 then return list, source[1] end
  end
  return {}, "logs"
end

return M
