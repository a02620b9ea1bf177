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

---@param options {root: string, port: integer?, multi_user: boolean?, engine: "local"|"none"|nil, images: table?,
---  jobs: integer?, cwd: string?, namespace: string?, log: fun(text: string)?,
---  on_event: fun(run: table, event: table)?}
---  root: folder of the runs; cwd: the steps' working directory
---@return lab.Pipelines
function M.start(options)
  local engine = options.engine ~= "none" and engines.new { root = options.root, images = options.images,
    jobs = options.jobs, cwd = options.cwd, log = options.log,
    on_event = options.on_event } or nil
  local state = states.new { multi_user = options.multi_user, namespace = options.namespace, engine = engine }
  local listening = server.listen { port = options.port or 0, max_body = MOST,
    handler = function(request) return api.handle(state, request) end }
  return setmetatable({ state = state, server = listening, port = listening.port,
    url = ("http://127.0.0.1:%d"):format(listening.port) }, Pipelines)
end

---Ends runs and connections.
function Pipelines:close()
  for _, run in pairs(self.state.runs) do
    if self.state.engine then self.state.engine:stop(run) end
  end
  self.server:close()
end

return M
