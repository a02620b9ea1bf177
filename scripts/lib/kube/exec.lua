-- kube.exec: runs a command in a container, with its input and output, over a WebSocket (v5, v4).
-- Not for logs, and not for copying many files.
--   local result = c:exec { pod = "web-0", command = { "cat", "/etc/hostname" } }; print(result.code, result.stdout)

local channels = require "kube.channels"
local errors = require "errors"
local failure = require "kube.failure"
local json = require "json"
local task = require "task"

local M = {}

local STDIN <const>, STDOUT <const>, STDERR <const>, STATUS <const>, RESIZE <const>, CLOSE <const> = 0, 1, 2, 3, 4, 255
local V5, V4 = "v5.channel.k8s.io", "v4.channel.k8s.io"
local PIECE <const> = 32 * 1024

local OPTIONS = {}
for name in ([[ pod name namespace container command stdin stdout stderr tty size timeout ]]):gmatch "%S+" do
  OPTIONS[name] = true
end

local function check(options)
  if type(options) ~= "table" then error("exec: a table expected", 3) end
  for name in pairs(options) do
    if not OPTIONS[name] then error(("exec: unknown option '%s'"):format(tostring(name)), 3) end
  end
  if type(options.pod or options.name) ~= "string" then error("exec: pod expected", 3) end
  local command = options.command
  if type(command) ~= "table" or #command == 0 then error("exec: command expected, such as { \"ls\", \"/\" }", 3) end
end

local function query_of(options)
  return {
    command = options.command, container = options.container, stdin = options.stdin ~= nil and "true" or nil,
    stdout = "true", stderr = not options.tty and "true" or nil, tty = options.tty and "true" or nil,
  }
end

-- --- input ------------------------------------------------------------------------------------------------

---Tells the terminal's size.
---@param socket table
---@param size {width: integer, height: integer}
local function resize(socket, size)
  socket:send(string.char(RESIZE) .. json.encode { Width = size.width, Height = size.height }, "binary")
end

-- A piece is a text, or a new size of the terminal.
local function send_input(socket, text)
  if type(text) == "table" then return resize(socket, text) end
  for at = 1, #text, PIECE do
    socket:send(string.char(STDIN) .. text:sub(at, at + PIECE - 1), "binary")
  end
end

-- Sends what there is and closes the command's input, which only v5 can.
local function feed(socket, options)
  local input = options.stdin
  if type(input) == "string" then send_input(socket, input)
  else for piece in input do send_input(socket, piece) end end
  if socket.protocol == V5 then socket:send(string.char(CLOSE, STDIN), "binary") end
end

-- --- output -----------------------------------------------------------------------------------------------

-- What becomes of a channel's bytes: kept, or handed to a function.
local function collector(sink)
  local pieces = {}
  if type(sink) == "function" then return sink, function() return nil end end
  return function(text) pieces[#pieces + 1] = text end, function() return table.concat(pieces) end
end

-- The exit code that a Status tells; other failures are raised.
local function exit_code(text, about)
  local status = json.try.decode(text)
  if type(status) ~= "table" then
    errors.raise { code = "Protocol", message = "exec: the command's status is no JSON" }
  end
  if status.status == "Success" then return 0 end
  local causes = type(status.details) == "table" and status.details.causes or {}
  for _, cause in ipairs(type(causes) == "table" and causes or {}) do
    if cause.reason == "ExitCode" then return math.tointeger(tonumber(cause.message)) end
  end
  error(failure.of_status(status, about), 0)
end

local function read_all(socket, sinks, about)
  local code
  while true do
    local data = socket:receive()
    if data == nil then break end
    local channel, bytes = data:byte(1), data:sub(2)
    if sinks[channel] and #bytes > 0 then sinks[channel](bytes)
    elseif channel == STATUS and #bytes > 0 then code = exit_code(bytes, about) end
  end
  if code then return code end
  errors.raise {
    code = "Connection", message = ("exec in pod '%s': the connection ended before the command did"):format(about.name),
    verb = "exec", namespace = about.namespace, name = about.name, context = about.context, server = about.server,
  }
end

local function run(client, options, socket)
  local on_stdout, stdout = collector(options.stdout)
  local on_stderr, stderr = collector(options.stderr)
  local about = {
    verb = "exec", resource = "pods/exec", namespace = options.namespace or client.namespace,
    name = options.pod or options.name, context = client.context, server = client.server, user = client.user,
  }
  if options.tty and options.size then resize(socket, options.size) end
  local feeder = options.stdin ~= nil and task.spawn(function()
    local ok, problem = pcall(feed, socket, options)
    if not ok and not errors.is(problem) then error(problem, 0) end -- the command may end before its input
  end)
  local ok, code = pcall(read_all, socket, { [STDOUT] = on_stdout, [STDERR] = on_stderr }, about)
  if feeder then
    feeder:cancel()
    pcall(feeder.wait, feeder) -- from now on what it read from is somebody else's
  end
  if not ok then error(code, 0) end
  return { code = code, stdout = stdout(), stderr = stderr() }
end

---Runs a command in a pod to its end.
---@param options {pod: string, command: string[], namespace: string?, container: string?,
---  stdin: string|(fun(): string|{width: integer, height: integer}|nil)|nil (a table is a new size),
---  stdout: (fun(text: string))?, stderr: (fun(text: string))?, tty: boolean?,
---  size: {width: integer, height: integer}?, timeout: number|string|nil}
---@return {code: integer, stdout: string?, stderr: string?} # output that went to a function is not kept
---raises "Timeout" (the connection is closed), and what the server says
function M:exec(options)
  check(options)
  local socket = channels.open(self, options.pod or options.name, options, "exec", query_of(options), { V5, V4 })
  local closer <close> = setmetatable({}, { __close = function() socket:close() end }) -- luacheck: ignore
  if not options.timeout then return run(self, options, socket) end
  return task.timeout(options.timeout, run, self, options, socket)
end

return M
