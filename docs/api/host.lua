---@meta host
-- Which program this is; and, for the test runner, a look into the loop.

local host = {}

---@type string the version
host.version = ""
---@return string # path of this program
function host.executable() end
---@return integer # this process
function host.pid() end
---@return boolean # whether garbage is collected all the time (--gc-stress)
function host.gc_stress() end
---The clock stands still and moves by host.advance; for tests.
---@param on boolean
function host.manual_time(on) end
---@param seconds number|string
function host.advance(seconds) end
---@return integer timers, integer watches # what the loop still waits for
function host.pending() end

return host
