-- lab.katib.idle: the containers of Katib's services in a lab: they are there, and do nothing, since the lab's
-- controller answers in their place: connections to their ports are passed to it.
--   builtin = "lab.katib.idle" in lab/images.lua

local config = require "lab.katib.config"
local task = require "task"

local M = {}

---@param context table
function M.run(context)
  context.say "the lab's controller answers in place of this service"
  local port = context.cluster.katib and context.cluster.katib.port
  context.sandbox.served = { [config.SUGGESTION_PORT] = port, [config.STOPPING_PORT] = port }
  task.event():wait()
  return 0
end

return M
