-- lab.node.builtin: containers that are no processes but tasks of the lab, as lab/images.lua says of their image.
-- Not for what they do.
--   builtin.start(runtime, { module = "lab.katib.idle", … }) -> lab.Process

local clock = require "lab.clock"
local errors = require "errors"
local fs = require "fs"
local task = require "task"

local M = {}

local process = {}
process.__index = process

function process:signal_first() self:kill() end

function process:kill()
  if not self.finished then self.task:cancel() end
end

function process:wait(timeout) return self.finished ~= nil or self.ended:wait(timeout) end

function process:command() error(("%s runs in the lab itself: nothing else can run in it"):format(self.name), 0) end

function process.wait_first() end

local function run(self, module, context)
  local ok, code = pcall(require(module).run, context)
  if not ok and not errors.is(code, "Cancelled") then context.say(errors.text(code)) end
  self.exit_code = ok and code or 143
  self.finished = context.cluster:now()
  self.ended:set()
end

---@param runtime lab.Runtime
---@param options {module: string, sandbox: table, container: table, place: string}
---@return lab.Process
function M.start(runtime, options)
  local log, message = fs.join(options.place, "log"), fs.join(options.place, "termination-log")
  fs.write(log, "")
  fs.write(message, "")
  local cluster = runtime.cluster
  local self = setmetatable({ builtin = true, name = options.container.name, pid = 0, started = cluster:now(),
    log = log, message = message, values = {}, ended = task.event(), confined = false, place = options.place }, process)
  local context = { cluster = cluster, sandbox = options.sandbox,
    say = function(line)
      fs.append(log, ("%s %s\n"):format(clock.micro(cluster:now_exact()), line))
      if cluster.log_written then cluster.log_written:set() end
    end }
  self.task = task.spawn(run, self, options.module, context)
  return self
end

return M
