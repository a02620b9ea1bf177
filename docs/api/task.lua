---@meta task.core
-- What scripts/lib/task.lua is built from; use `require "task"`.

local core = {}

---@class task.Task
local Task = {}
---Cancels: its wait, and every further one, raises "Cancelled"; closed by force after 10 s.
function Task:cancel() end
---@param timeout number|string|nil
---@return ... what its function returned; raises what it raised, or "Timeout"
function Task:wait(timeout) end
---@return "running"|"done"|"failed"
function Task:status() end

---@class task.Event
local Event = {}
---Whoever waits for it goes on, now and later.
function Event:set() end
---Later waits wait again.
function Event:clear() end
---@param timeout number|string|nil
---@return boolean # false when the time is up
function Event:wait(timeout) end

---Starts a task; an error in it is raised where it is waited for, else it ends the program.
---@param fn fun(...): ...
---@return task.Task
function core.spawn(fn, ...) end
---Starts a task that clears up: the program's end, by a signal too, does not cancel it nor what it spawns, but waits
---for it, for 10 s at most.
---@param fn fun(...): ...
---@return task.Task
function core.last(fn, ...) end
---@param seconds number|string
function core.sleep(seconds) end
---@return number # seconds, monotonic
function core.now() end
---@return task.Event
function core.event() end
---@return task.Task?
function core.current() end
---SIGINT cancels that task, and nothing else, until it has ended or this is called with nil. With false, a
---SIGINT that finds no task in the foreground waits for the next one.
---@param t task.Task|false|nil
function core.foreground(t) end
---@param duration number|string "1h30m", "500ms", 2.5
---@return number seconds
function core.seconds(duration) end

return core
