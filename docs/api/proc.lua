---@meta proc.core
-- What scripts/lib/proc.lua is built from; use `require "proc"`.

local core = {}

---@class proc.Options: string[] the command's words
---@field shell string? a line for /bin/sh instead of words
---@field cwd string?
---@field env table<string, string|number|false>? added to ours; false takes a name away
---@field clear_env boolean? start from an empty environment
---@field stdin string? "null" (default), "pipe", "inherit", {file = path}, or any other text: that is its input
---@field stdout "pipe"|"inherit"|"null"|{file: string}|nil default "pipe"
---@field stderr "pipe"|"inherit"|"null"|"stdout"|{file: string}|nil default "inherit"
---@field grace number|string|nil seconds between TERM and KILL of stop(); default 10
---@field ends_group boolean? when it ends, what is left of its group is killed and its streams end
---@field ends_all boolean? as ends_group, and whatever it has started ends with it, wherever that has gone
---@field terminal boolean? it gets the terminal, if we have one: it may read keys, and Ctrl-C is its own
---@field rlimits {cpu: integer?, memory: integer?, files: integer?, file_size: integer?, core: integer?, stack: integer?}? seconds, bytes

---@class proc.Exit
---@field code integer? exit code, unless a signal ended it
---@field signal integer?
---@field seconds number wall time
---@field cpu_seconds number
---@field max_rss integer bytes

---@class proc.Process
---@field pid integer
local Process = {}
---@param stream "stdout"|"stderr"|nil
---@param timeout number|string|nil
---@return string? bytes nil at the end; raises "Timeout"
function Process:read(stream, timeout) end
---@param stream "stdout"|"stderr"|nil
---@param timeout number|string|nil
---@return string? line without its end, nil at the end; raises "Timeout"
function Process:read_line(stream, timeout) end
---@param stream "stdout"|"stderr"|nil
---@return fun(): string?
function Process:lines(stream) end
---@param text string waits while too much is unwritten; raises "Closed"
function Process:write(text) end
function Process:close_stdin() end
---@param timeout number|string|nil
---@return proc.Exit # raises "Timeout"; what the process prints meanwhile is kept for read
function Process:wait(timeout) end
---@param signal string|integer "TERM", "KILL", "INT", … or a number; to the whole group
function Process:kill(signal) end
---TERM now, KILL after the grace.
function Process:stop() end

---Starts a process in its own group. It runs until it ends, is stopped, or this program ends; a
---cancelled task that waits on it stops it, and so does the end of a <close> variable's scope.
---@param options proc.Options
---@return proc.Process # raises the errno's name ("ENOENT") when it cannot be started
function core.spawn(options) end
---@param name string
---@return string? path of the program that a command of that name starts
function core.which(name) end

return core
