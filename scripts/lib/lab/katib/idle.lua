-- lab.katib.idle: the containers of Katib's services in a lab: they are there, and do nothing, since the lab's
-- controller answers in their place.
--   builtin = "lab.katib.idle" in lab/images.lua

local task = require "task"

local M = {}

---@param context table
function M.run(context)
  context.say "the lab's controller answers in place of this service"
  task.event():wait()
  return 0
end

return M
