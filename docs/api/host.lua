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
---@return table<string, string> # versions of the libraries that are linked in, by name
function host.libraries() end
---@return table<string, any> # what the command line says of connections: kubeconfig, context, namespace, as,
---  as_groups, readonly, dry_run, approve, exec_plugins
function host.options() end
---@return string[] # names of the bundled scripts, sorted
function host.scripts() end

---For `kfhost test` only.
host.testing = {}
---Runs fn as the main task of a loop of its own, whose time moves only by advance.
---@param fn fun(...): any
---@return boolean ok, any result what fn returned first, or the error
---@return {tasks: integer, timers: integer, watches: integer} left what it left on its loop
function host.testing.run(fn, ...) end
---Lets time pass; timers that become due fire in their order, and tasks run in between.
---@param seconds number|string
function host.testing.advance(seconds) end

return host
