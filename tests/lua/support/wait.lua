-- support.wait: waits until a function gives something; by looks, for in some tests time is virtual.
--   local wait_until = dofile "tests/lua/support/wait.lua"; local pod = wait_until("the pod", function() … end)
local task = require "task"

local LOOKS <const> = 50 -- in a second

---@generic T
---@param what string that is waited for
---@param check fun(): T?
---@param seconds integer? after which it is given up; a minute
---@return T
return function(what, check, seconds)
  for _ = 1, (seconds or 60) * LOOKS do
    local value = check()
    if value then return value end
    task.sleep(1 / LOOKS)
  end
  error("it never came: " .. what, 2)
end
