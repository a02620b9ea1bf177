-- lab.node.streams: commands in containers, containers' own streams, and their ports, over WebSockets.
-- Not for logs (lab.node.logs).
--   streams.exec(nodes, ctx, pod, container)

local errors = require "errors"
local json = require "json"
local net = require "net"
local proc = require "proc"
local route = require "lab.route"
local status = require "lab.status"
local task = require "task"

local M = {}

local STDIN, STDOUT, STDERR, ERROR, RESIZE, CLOSE = 0, 1, 2, 3, 4, 255
local PROTOCOLS = { "v5.channel.k8s.io", "v4.channel.k8s.io" }

-- --- what they share ----------------------------------------------------------------------------------

---The container of a worker.
function M.container(worker, name)
  for _, list in ipairs { worker and worker.init or {}, worker and worker.main or {} } do
    for _, c in ipairs(list) do
      if c.name == name then return c end
    end
  end
end

local function running(nodes, pod, name)
  local worker = nodes.workers[pod.metadata.uid]
  local c = M.container(worker, name)
  if not c or not c.process or c.process.finished then
    status.raise(500, "InternalError", ("Internal error occurred: unable to upgrade connection: container not found "
      .. '("%s")'):format(name), { causes = { { message = "container not found" } } })
  end
  return c, worker
end

local function want_websocket(ctx)
  if not (ctx.headers.upgrade or ""):lower():find "websocket" then
    status.bad_request "the lab speaks WebSocket for streams, not SPDY: use a current kubectl or client"
  end
end

local function exit_status(exit)
  local code = exit.code or 128 + (exit.signal or 9)
  if code == 0 then return { metadata = json.object {}, status = "Success" } end
  return { metadata = json.object {}, status = "Failure", reason = "NonZeroExitCode",
           message = ("command terminated with non-zero exit code: exit status %d"):format(code),
           details = { causes = { { reason = "ExitCode", message = tostring(code) } } } }
end

local function send(socket, channel, bytes)
  return pcall(socket.send, socket, string.char(channel) .. bytes, "binary")
end

-- Messages of the client: its input, the end of it, the size of its window.
local function feed(socket, sink)
  while true do
    local ok, data = pcall(socket.receive, socket)
    if not ok or data == nil then return end
    local channel = data:byte(1)
    if channel == STDIN then
      pcall(sink.write, data:sub(2))
    elseif channel == CLOSE and data:byte(2) == STDIN then
      pcall(sink.close)
    elseif channel == RESIZE then
      local decoded, size = pcall(json.decode, data:sub(2))
      if decoded and type(size) == "table" then pcall(sink.resize, size.Height or 24, size.Width or 80) end
    end
  end
end

-- --- commands -----------------------------------------------------------------------------------------

local function pump(socket, read, channel)
  while true do
    local ok, bytes = pcall(read)
    if not ok or bytes == nil then return end
    if not send(socket, channel, bytes) then return end
  end
end

-- With a terminal of its own: one stream, echoed and edited by the kernel.
local function exec_in_terminal(socket, options)
  local terminal <close>, path = net.terminal()
  options.stdin, options.stdout, options.stderr = { file = path }, { file = path }, "stdout"
  local child = proc.spawn(options)
  local reader = task.spawn(pump, socket, function() return terminal:read() end, STDOUT)
  local feeder = task.spawn(feed, socket, {
    write = function(bytes) terminal:write(bytes) end,
    close = function() terminal:write "\4" end,
    resize = function(rows, columns) terminal:resize(rows, columns) end,
  })
  local exit = child:wait()
  pcall(reader.wait, reader, 5)
  return exit, feeder
end

local function exec_in_pipes(socket, options, wants_input)
  options.stdin, options.stdout, options.stderr = wants_input and "pipe" or "null", "pipe", "pipe"
  local child = proc.spawn(options)
  local readers = {
    task.spawn(pump, socket, function() return child:read "stdout" end, STDOUT),
    task.spawn(pump, socket, function() return child:read "stderr" end, STDERR),
  }
  local feeder = task.spawn(feed, socket, {
    write = function(bytes) child:write(bytes) end, close = function() child:close_stdin() end,
    resize = function() end,
  })
  local exit = child:wait()
  for _, reader in ipairs(readers) do pcall(reader.wait, reader, 5) end
  return exit, feeder
end

---@return table? response nothing: the connection was taken over
function M.exec(nodes, ctx, pod, name)
  local c, worker = running(nodes, pod, name)
  want_websocket(ctx)
  local command = ctx.query.command or {}
  if #command == 0 then status.bad_request "you must specify at least 1 command for the container" end
  local tty = route.is_on(ctx.query, "tty")
  local options = c.process:command(worker.sandbox, command, tty)
  local socket = require("ws").accept(ctx.request, { protocols = PROTOCOLS })
  local exit, feeder
  if tty then
    exit, feeder = exec_in_terminal(socket, options)
  else
    exit, feeder = exec_in_pipes(socket, options, route.is_on(ctx.query, "stdin"))
  end
  send(socket, ERROR, json.encode(exit_status(exit)))
  feeder:cancel()
  pcall(socket.close, socket)
  return nil
end

-- --- a container's own streams ------------------------------------------------------------------------

---@return table? response nothing: the connection was taken over
function M.attach(nodes, ctx, pod, name)
  local c = running(nodes, pod, name)
  want_websocket(ctx)
  local process = c.process
  local socket = require("ws").accept(ctx.request, { protocols = PROTOCOLS })
  local function hear(bytes) send(socket, STDOUT, bytes) end
  process.listeners[hear] = true
  local over = task.event()
  local wants_input = route.is_on(ctx.query, "stdin") and c.spec.stdin
  local feeder = task.spawn(function()
    feed(socket, {
      write = function(bytes) if wants_input then process:write(bytes) end end,
      close = function() if wants_input and c.spec.stdinOnce then process:close_input() end end,
      resize = function(rows, columns) process:resize(rows, columns) end,
    })
    over:set()
  end)
  local watcher = task.spawn(function()
    process.ended:wait()
    over:set()
  end)
  over:wait()
  watcher:cancel()
  process.listeners[hear] = nil
  if process.finished then
    send(socket, ERROR, json.encode { metadata = json.object {}, status = "Success" })
  end
  feeder:cancel()
  pcall(socket.close, socket)
  return nil
end

-- --- ports --------------------------------------------------------------------------------------------

local function open_port(worker, port)
  local sandbox = worker.sandbox
  if sandbox.link then return sandbox.link:connect("127.0.0.1", port, "") end
  local ok, socket = pcall(net.connect, { address = sandbox.ip, port = port, timeout = 5 })
  return ok and socket or net.connect { port = port, timeout = 5 }
end

local REFUSED = 'error forwarding port %d to pod %s, uid : failed to execute portforward in network namespace "": '
  .. 'failed to connect to localhost:%d inside namespace "", IPv4: dial tcp4 127.0.0.1:%d: connect: %s'

-- One connection to each of the ports: an even channel for its bytes, an odd one for what goes wrong.
local function forward_one(worker, pod, socket, port, channel)
  local head = string.pack("<I2", port)
  send(socket, channel, head)
  send(socket, channel + 1, head)
  local ok, connection = pcall(open_port, worker, port)
  if not ok then
    if not errors.is(connection) then error(connection, 0) end
    send(socket, channel + 1, REFUSED:format(port, pod.metadata.uid, port, port, "connection refused"))
    return nil
  end
  task.spawn(function()
    pump(socket, function() return connection:read() end, channel)
    pcall(socket.close, socket)
  end)
  return connection
end

---@return table? response nothing: the connection was taken over
function M.portforward(nodes, ctx, pod)
  local worker = nodes.workers[pod.metadata.uid]
  if not worker or not worker.sandbox then
    status.bad_request("unable to forward port because pod is not running. Current status=%s", pod.status.phase)
  end
  want_websocket(ctx)
  local list = {}
  for _, text in ipairs(ctx.query.ports or {}) do
    for word in text:gmatch "[^,]+" do
      local port = math.tointeger(tonumber(word))
      if not port or port < 1 or port > 65535 then status.bad_request('unable to parse "%s" as a port', word) end
      list[#list + 1] = port
    end
  end
  if #list == 0 then status.bad_request 'query parameter "ports" is required' end
  local socket = require("ws").accept(ctx.request, { protocols = { "v4.channel.k8s.io" } })
  local connections = {}
  for i, port in ipairs(list) do
    connections[(i - 1) * 2] = forward_one(worker, pod, socket, port, (i - 1) * 2)
  end
  while true do
    local ok, data = pcall(socket.receive, socket)
    if not ok or data == nil then break end
    local connection = connections[data:byte(1)]
    if connection and not pcall(connection.write, connection, data:sub(2)) then break end
  end
  for _, connection in pairs(connections) do connection:close() end
  return nil
end

return M
