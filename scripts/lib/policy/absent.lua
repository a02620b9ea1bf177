-- policy.absent: informers of kinds that a cluster may not have (yet): until it has one there are none of its objects.
-- Not for other failures, which are raised as they are.
--   followed.informer = absent.informer(client, { kind = "profiles.kubeflow.org", … }, log, function(informer) … end)

local errors = require "errors"
local task = require "task"

local M = {}

local LOOK_SECONDS = 30 -- between two looks whether the kind has come

local Absent = {}
Absent.__index = Absent

function Absent.sync() end

function Absent.get() return nil end

function Absent.list() return {} end

function Absent.again() end

function Absent.is_live() return true end

function Absent.stats() return { synced = true, objects = 0 } end

function Absent:stop()
  self.task:cancel()
end

-- The informer, or nil when the server does not know the kind.
local function try(client, options)
  local known, problem = pcall(client.resource, client, options.kind)
  if not known and errors.is(problem, "NotFound") then return nil end
  return client:informer(options) -- what else is wrong is the informer's to bear
end

---An informer, or what stands for it until there is one.
---@param client table of kube.connect
---@param options table of client:informer
---@param log fun(message: string)
---@param found fun(informer: table) the kind has come
---@param pause number? seconds between two looks
---@return table informer
function M.informer(client, options, log, found, pause)
  pause = pause or LOOK_SECONDS
  local there = try(client, options)
  if there then return there end
  log(("the cluster has no %s: it is looked for every %g s"):format(options.kind, pause))
  return setmetatable({ task = task.spawn(function()
    local informer
    repeat
      task.sleep(pause)
      informer = try(client, options)
    until informer
    log(("the cluster has %s now"):format(options.kind))
    found(informer)
  end) }, Absent)
end

return M
