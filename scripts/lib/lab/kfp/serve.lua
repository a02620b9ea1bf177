-- lab.kfp.serve: the lab's KFP API on a port of its own.
-- Not for clusters: there Pipelines itself runs.
--   local pipelines = serve.start { root = "/tmp/lab/kfp" }; print(pipelines.url); pipelines:close()

local api = require "lab.kfp.api"
local engines = require "lab.kfp.engine"
local server = require "server"
local states = require "lab.kfp.state"

local M = {}

local MOST = 48 << 20 -- above what an upload may have: the API itself refuses what is too large

---@class lab.Pipelines
---@field url string
---@field port integer
---@field state table of lab.kfp.state
local Pipelines = {}
Pipelines.__index = Pipelines

-- What a request meets before it is looked at: nothing, an answer, or the end of its connection.
local function meet(self, request)
  local met = self.fault and self.fault(request)
  if not met then return api.handle(self.state, request) end
  if met == "reset" then
    if request.exchange then request.exchange:reset() end
    return { status = 500, headers = {}, body = "" }
  end
  return { status = met, headers = { ["content-type"] = "text/plain" }, body = "a fault of the lab\n" }
end

local function listen(self, port)
  self.server = server.listen { port = port, max_body = MOST,
    handler = function(request) return meet(self, request) end }
end

---@param options {root: string, port: integer?, multi_user: boolean?, engine: "local"|"none"|nil, images: table?,
---  jobs: integer?, cwd: string?, namespace: string?, log: fun(text: string)?,
---  on_event: fun(run: table, event: table)?, fault: (fun(request: table): integer|"reset"|nil)?}
---  root: folder of the runs; cwd: the steps' working directory; fault: a status, or "reset", instead of an answer
---@return lab.Pipelines
function M.start(options)
  local engine = options.engine ~= "none" and engines.new { root = options.root, images = options.images,
    jobs = options.jobs, cwd = options.cwd, log = options.log,
    on_event = options.on_event } or nil
  local state = states.new { multi_user = options.multi_user, namespace = options.namespace, engine = engine }
  local self = setmetatable({ state = state, fault = options.fault }, Pipelines)
  listen(self, options.port or 0)
  self.port = self.server.port
  self.url = ("http://127.0.0.1:%d"):format(self.port)
  return self
end

---Is away for some time: nobody listens. Runs go on.
---@param seconds number
function Pipelines:go_away(seconds)
  self.server:close()
  require "task".sleep(seconds)
  if not self.closed then listen(self, self.port) end
end

---Ends runs and connections; waits for the runs' steps.
function Pipelines:close()
  self.closed = true
  for _, run in pairs(self.state.runs) do
    if self.state.engine then self.state.engine:stop(run) end
  end
  for _, run in pairs(self.state.runs) do
    if run.task then pcall(run.task.wait, run.task, 15) end
  end
  if self.state.workflows then self.state.workflows:close(self.state.runs) end
  self.server:close()
end

return M
