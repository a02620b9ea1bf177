-- lab.node.process: one container that runs or has run: its output, its input, its end.
-- Not for what it sees of the world (lab.node.runtime).
--   local p = process.start(runtime, { options = …, log = path, … }); p:signal_first "TERM"; p:wait(30)

local clock = require "lab.clock"
local fs = require "fs"
local host = require "host"
local json = require "json"
local net = require "net"
local pod = require "pod"
local proc = require "proc"
local task = require "task"

local M = {}

local SIGNALS = { TERM = 15, KILL = 9, INT = 2, HUP = 1, QUIT = 3, USR1 = 10, USR2 = 12 }
local LONGEST = 16384 -- of a line of a log

---@class lab.Process a container that runs or has run
---@field started number seconds since 1970
---@field finished number?
---@field exit_code integer?
---@field signal integer?
---@field log string path of its log
---@field message string path of its termination message
---@field start_error string? why its command was never started
---@field listeners table<fun(bytes: string), boolean> who hears its output as it comes
local process = {}
process.__index = process

---@param values table<string, string>
---@return string[] NAME=VALUE, sorted
function M.pairs_of(values)
  local list = {}
  for name, value in pairs(values) do list[#list + 1] = name .. "=" .. value end
  table.sort(list)
  return list
end

---Where a command is: its name is looked for along the container's own path, not this program's.
---@param name string
---@param path string
---@return string
function M.program(name, path)
  if name:find("/", 1, true) then return name end
  for directory in path:gmatch "[^:]+" do
    local place = fs.join(directory, name)
    if fs.exists(place) then return place end
  end
  return name
end

-- --- output -------------------------------------------------------------------------------------------

---Adds a line to its log, with its time, as container runtimes write it.
---@param text string
function process:say(text)
  pcall(fs.append, self.log, ("%s %s\n"):format(clock.micro(self.cluster:now_exact()), text))
  if self.cluster.log_written then self.cluster.log_written:set() end
end

-- What it prints, to its end: as it comes to those who listen, and line by line to the log.
local function follow(self, read)
  local rest = ""
  while true do
    local ok, bytes = pcall(read)
    if not ok or bytes == nil then break end
    for listener in pairs(self.listeners) do listener(bytes) end
    rest = rest .. bytes
    for line in rest:gmatch "([^\n]*)\n" do self:say(line) end
    rest = rest:match "[^\n]*$"
    if #rest > LONGEST then
      self:say(rest)
      rest = ""
    end
  end
  if rest ~= "" then self:say(rest) end
end

-- --- input --------------------------------------------------------------------------------------------

---Types or writes bytes to the container, if it takes input.
---@param bytes string
function process:write(bytes)
  if self.terminal then return self.terminal:write(bytes) end
  self.child:write(bytes)
end

---Ends its input.
function process:close_input()
  if self.terminal then return self.terminal:write "\4" end
  self.child:close_stdin()
end

---@param rows integer
---@param columns integer
function process:resize(rows, columns)
  if self.terminal then self.terminal:resize(rows, columns) end
end

-- --- its end ------------------------------------------------------------------------------------------

---Sends a signal to the first process only.
---@param name string "TERM", "KILL" …
function process:signal_first(name)
  if self.finished then return end
  pod.kill(self.pid, SIGNALS[name] or 15)
end

---Kills all processes.
function process:kill()
  if self.finished then return end
  local first = self.shares and self:inner_pid()
  if first then pod.kill(-first, SIGNALS.KILL) end -- a namespace that others share does not end with it
  self.child:kill "KILL"
end

---@param timeout number?
---@return boolean whether it has ended
function process:wait(timeout) return self.finished ~= nil or self.ended:wait(timeout) end

-- --- what runs in it ----------------------------------------------------------------------------------

---The first process of a confined container, as this machine numbers it.
function process:inner_pid()
  local ok, text = pcall(fs.read, ("/proc/%d/task/%d/children"):format(self.pid, self.pid))
  return ok and math.tointeger(tonumber(text:match "%d+"))
end

-- The first process, once it is there: what sets the container up starts it at last.
local function started_pid(self)
  for _ = 1, 3000 do
    local pid = self:inner_pid()
    if pid or self.finished then return pid end
    self.ended:wait(0.01)
  end
end

---Waits until its command runs. Who shares its processes may look for it from then on.
function process:wait_first()
  if not (self.confined and self.shares) then return end
  local helper = fs.try.read(("/proc/%d/cmdline"):format(self.pid))
  for _ = 1, 3000 do
    local pid = self:inner_pid()
    if self.finished or pid and fs.try.read(("/proc/%d/cmdline"):format(pid)) ~= helper then return end
    self.ended:wait(0.01)
  end
end

-- A terminal becomes a plain command's own by a session of its own.
local function plain_command(self, list, tty)
  local options = table.move(list, 1, #list, tty and 4 or 1, tty and { "setsid", "-c", "-w" } or {})
  local first = tty and 4 or 1
  options[first] = M.program(options[first], self.values.PATH)
  options.env, options.clear_env, options.cwd = self.values, true, self.values.KFHOST_ROOT
  return options
end

---The options of one more command in a container that runs.
---@param sandbox table
---@param list string[]
---@param tty boolean? whether it gets a terminal
---@return table options for proc.spawn
function process:command(sandbox, list, tty)
  if not self.confined then return plain_command(self, list, tty) end
  local spec = fs.join(self.place, "exec-" .. require("hash").random_hex(4) .. ".json")
  fs.write(spec, json.encode {
    holder = sandbox.link.pid, process = started_pid(self), argv = json.array(list),
    environment = json.array(M.pairs_of(self.values)), directory = "/",
  })
  return { host.executable(), "-e", ("require('lab.container').exec(%q)"):format(spec), clear_env = true,
           env = { PATH = "/usr/bin:/bin" } }
end

-- --- its start ----------------------------------------------------------------------------------------

-- A container with a terminal has one stream for all; without one, input is taken only if it says so.
local function connect(options, container)
  if not container.tty then
    options.stdin, options.stderr = container.stdin and "pipe" or "null", "stdout"
    return nil
  end
  local terminal, path = net.terminal()
  options.stdin, options.stdout, options.stderr = { file = path }, { file = path }, "stdout"
  return terminal
end

local function to_the_end(self, runtime)
  local terminal, child = self.terminal, self.child
  follow(self, function()
    if terminal then return terminal:read() end
    return child:read "stdout"
  end)
  local ok, exit = pcall(child.wait, child)
  if terminal then terminal:close() end
  self.finished = self.cluster:now()
  self.signal = ok and exit.signal or nil
  self.exit_code = not ok and 137 or exit.code or 128 + (exit.signal or 9)
  self.start_error = self.exit_code == 128 and fs.try.read(self.failure) or nil
  runtime.running[self] = nil
  self.ended:set()
end

---Starts a container.
---@param runtime lab.Runtime
---@param start {options: table, container: table, log: string, message: string, failure: string, values: table,
---  confined: boolean, shares: boolean?, place: string} options of proc.spawn
---@return lab.Process
function M.start(runtime, start)
  local terminal = connect(start.options, start.container)
  fs.write(start.log, "")
  local child = proc.spawn(start.options)
  local self = setmetatable({ cluster = runtime.cluster, child = child, pid = child.pid, terminal = terminal,
    started = runtime.cluster:now(), log = start.log, message = start.message, failure = start.failure,
    values = start.values, confined = start.confined, shares = start.shares, place = start.place,
    ended = task.event(), listeners = {} }, process)
  runtime.running[self] = true
  task.spawn(to_the_end, self, runtime)
  return self
end

return M
