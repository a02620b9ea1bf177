-- What tests of Pipelines share: a client whose server is a function, its answers, a pipeline of one step.
--   local support = dofile "tests/lua/support/kfp.lua"
--   local k = support.connect(function(request) return support.answer(200, { run_id = "x" }) end)
local client = require "kfp.client"
local json = require "json"
local test = require "test"

local M = {}

M.ENDPOINT = "http://kfp.test"

local function nothing() return nil end

---A client whose requests go to a function.
---@param transport fun(request: table): table
---@param options table? more for kfp.client
---@return kfp.Client
function M.connect(transport, options)
  local given = { endpoint = M.ENDPOINT, transport = transport, environment = nothing }
  for key, value in pairs(options or {}) do given[key] = value end
  return client.connect(given)
end

---A lab with a Kubeflow of one user, for as long as a function goes on.
---@param use fun(kube: table, kfp: kfp.Client)
---@param engine string? of the lab's Pipelines
function M.with_lab(use, engine)
  local cluster = require "lab.kubeflow".start { root = test.tmpdir(), nodes = 0, profiles = {}, engine = engine,
    images = { ["alpine:*"] = { command = {} } } }
  local k = client.connect { endpoint = cluster.pipelines.url, environment = nothing }
  local ok, problem = pcall(use, cluster.client, k)
  cluster:close()
  if not ok then error(problem, 0) end
end

---An answer as a transport gives it.
---@param status integer
---@param body string|table|nil
---@param kind string? of its content
---@return table
function M.answer(status, body, kind)
  return {
    status = status, headers = { ["content-type"] = kind or "application/json" },
    body = type(body) == "table" and json.encode(body) or body or "",
  }
end

---@param text string of an address
---@return string
function M.unescape(text)
  return (text:gsub("%%(%x%x)", function(digits) return string.char(tonumber(digits, 16)) end))
end

---A pipeline whose only step, "say", is a command of the shell in an image alpine:3.
---@param command string
---@return table
function M.pipeline(command)
  return { pipelineInfo = { name = "hello" }, schemaVersion = "2.1.0", sdkVersion = "kfp-2.15.2",
    components = { ["comp-say"] = { executorLabel = "exec-say" } },
    deploymentSpec = { executors = { ["exec-say"] = { container = { image = "alpine:3", command = { "sh", "-c" },
      args = { command } } } } },
    root = { dag = { tasks = { say = { taskInfo = { name = "say" }, componentRef = { name = "comp-say" } } } } } }
end

return M
