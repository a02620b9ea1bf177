---@meta pod
-- The parts of Linux that a pod of the lab is made of. Errors have the errno's name as their code;
-- pod.try.NAME returns nil and the error instead of raising it.

local pod = {}

---@alias pod.Namespace "user"|"self"|"mnt"|"pid"|"net"|"ipc"|"uts"

---New namespaces for this process (pid: for its children). In a new user namespace this user is root, or, for "self",
---who he was.
---@param ... pod.Namespace
function pod.unshare(...) end
---@param pid integer
---@param ... pod.Namespace of that process
function pod.enter(pid, ...) end
---Brings up the loopback device.
function pod.loopback() end
---Gives lo the address of a pod; each TCP connection to 10.0.0.0/8, but to that address, then arrives at
---127.0.0.1:port, where net's socket:destination() tells what was meant.
---@param address string IPv4
---@param port integer
function pod.network(address, port) end
---@param name string
function pod.hostname(name) end
---@param source string
---@param target string
---@param type string file system, "" for none
---@param data string options of the file system, "" for none
---@param ... "bind"|"rec"|"private"|"slave"|"remount"|"ro"|"nosuid"|"nodev"|"noexec"
function pod.mount(source, target, type, data, ...) end
---The mount point becomes /, and what was / can be reached no more.
---@param root string
function pod.pivot(root) end
---@class pod.Signals
local Signals = {}
---@param timeout number|string|nil
---@return "TERM"|"INT"|nil # nil when the time is up
function Signals:wait(timeout) end
function Signals:close() end
---From now on SIGTERM and SIGINT do not end the program; wait gives them.
---@return pod.Signals
function pod.signals() end
---@param pid integer a process, or a group of them with a minus sign
---@param signal integer
---@return boolean # whether there was such a process
function pod.kill(pid, signal) end
---Starts the first process of a new pid namespace that others are to share; it ends with this one.
---@return integer pid as this process numbers it
function pod.pause() end
---Runs a command as the first process of a new pid namespace, passes signals on to it, and ends as it
---ends: it never returns.
---@param argv string[]
---@param environment string[] NAME=VALUE
---@param directory string
---@param group boolean? in a pid namespace that others share: what the command leaves behind in its group is killed
function pod.run(argv, environment, directory, group) end

---This process becomes a command, with the environment it has: it never returns.
---@param argv string[]
---@param directory string
function pod.exec(argv, directory) end

return pod
