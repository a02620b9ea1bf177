-- lab.node.streams: logs and commands in containers, as the API offers them.
-- Not for attach and port forwarding, which the lab does not have.
--   streams.log(nodes, ctx, pod, container) -> response

local clock = require "lab.clock"
local fs = require "fs"
local json = require "json"
local lists = require "lab.lists"
local proc = require "proc"
local route = require "lab.route"
local status = require "lab.status"
local task = require "task"

local M = {}

-- --- logs -----------------------------------------------------------------------------------------------

local function container_of(worker, name)
  for _, list in ipairs { worker.init, worker.main } do
    for _, c in ipairs(list) do
      if c.name == name then return c end
    end
  end
end

local function lines_of(text)
  local list = {}
  for line in text:gmatch "[^\n]*\n?" do
    if line ~= "" then list[#list + 1] = line end
  end
  return list
end

local function show(line, options)
  local time, text = line:match "^(%S+) (.*)$"
  if options.since and (clock.parse(time) or 0) < options.since then return nil end
  return options.timestamps and line or text
end

local function read_options(ctx)
  local since = lists.integer(ctx, "sinceSeconds")
  local since_time = lists.first(ctx, "sinceTime")
  return {
    timestamps = route.is_on(ctx.query, "timestamps"), tail = lists.integer(ctx, "tailLines"),
    limit = lists.integer(ctx, "limitBytes"), follow = route.is_on(ctx.query, "follow"),
    since = since and ctx.cluster:now() - since or since_time ~= "" and clock.parse(since_time) or nil,
  }
end

local HEADERS = { ["Content-Type"] = "text/plain", ["Cache-Control"] = "no-cache, private" }

local function select_text(text, options)
  local shown = {}
  for _, line in ipairs(lines_of(text)) do
    local part = show(line, options)
    if part then shown[#shown + 1] = part end
  end
  local first = options.tail and math.max(1, #shown - options.tail + 1) or 1
  local out = table.concat(shown, "", first)
  return options.limit and out:sub(1, options.limit) or out
end

local function follow(ctx, process, options, from)
  return function(writer)
    local at = from
    while true do
      local wake = ctx.cluster.log_written
      local text = fs.exists(process.log) and fs.read(process.log) or ""
      local last = #text - #(text:match "[^\n]*$")
      if last > at then
        local part = select_text(text:sub(at + 1, last), { timestamps = options.timestamps })
        at = last
        writer:write(part)
      elseif process.finished or ctx.cluster.closing then
        return
      else
        wake:clear()
        wake:wait(0.2)
      end
    end
  end
end

---@param nodes lab.Nodes
---@param ctx lab.Context
---@param pod table
---@param name string of the container
---@return table response
function M.log(nodes, ctx, pod, name)
  local worker = nodes.workers[pod.metadata.uid]
  local c = worker and container_of(worker, name)
  local previous = route.is_on(ctx.query, "previous")
  local process = c and (previous and c.previous or not previous and (c.process or c.last)) or nil
  if not process then
    if previous then
      status.bad_request('previous terminated container "%s" in pod "%s" not found', name, pod.metadata.name)
    end
    local why = c and c.waiting or "ContainerCreating"
    status.bad_request('container "%s" in pod "%s" is waiting to start: %s', name, pod.metadata.name,
      why:find "Image" and "trying and failing to pull image" or why)
  end
  local options = read_options(ctx)
  local text = fs.exists(process.log) and fs.read(process.log) or ""
  local whole = text:sub(1, #text - #(text:match "[^\n]*$"))
  local first = select_text(whole, options)
  if not options.follow then return { status = 200, headers = HEADERS, body = first } end
  local more = follow(ctx, process, options, #whole)
  return { status = 200, headers = HEADERS, stream = function(writer)
    if first ~= "" then writer:write(first) end
    more(writer)
  end }
end

-- --- commands -------------------------------------------------------------------------------------------

local STDIN, STDOUT, STDERR, ERROR, CLOSE = 0, 1, 2, 3, 255

local function exit_status(exit)
  local code = exit.code or 128 + (exit.signal or 9)
  if code == 0 then return { metadata = json.object {}, status = "Success" } end
  return { metadata = json.object {}, status = "Failure", reason = "NonZeroExitCode",
           message = ("command terminated with non-zero exit code: exit status %d"):format(code),
           details = { causes = { { reason = "ExitCode", message = tostring(code) } } } }
end

local function pump(socket, child, stream, channel)
  while true do
    local ok, bytes = pcall(child.read, child, stream)
    if not ok or bytes == nil then return end
    if not pcall(socket.send, socket, string.char(channel) .. bytes, "binary") then return end
  end
end

local function feed(socket, child)
  while true do
    local ok, data = pcall(socket.receive, socket)
    if not ok or data == nil then return end
    local channel = data:byte(1)
    if channel == STDIN then
      pcall(child.write, child, data:sub(2))
    elseif channel == CLOSE and data:byte(2) == STDIN then
      pcall(child.close_stdin, child)
    end
  end
end

local PROTOCOLS = { "v5.channel.k8s.io", "v4.channel.k8s.io" }

---@return table? response nothing: the connection was taken over
function M.exec(nodes, ctx, pod, name)
  local worker = nodes.workers[pod.metadata.uid]
  local c = worker and container_of(worker, name)
  if not c or not c.process or c.process.finished then
    status.raise(500, "InternalError", ("Internal error occurred: unable to upgrade connection: container not found "
      .. '("%s")'):format(name), { causes = { { message = "container not found" } } })
  end
  if not (ctx.headers.upgrade or ""):lower():find "websocket" then
    status.bad_request "the lab speaks WebSocket for commands, not SPDY: use a current kubectl or client"
  end
  local command = ctx.query.command or {}
  if #command == 0 then status.bad_request "you must specify at least 1 command for the container" end
  local options = c.process:command(worker.sandbox, command)
  local merged = route.is_on(ctx.query, "tty")
  options.stdin = route.is_on(ctx.query, "stdin") and "pipe" or "null"
  options.stdout, options.stderr = "pipe", merged and "stdout" or "pipe"
  local socket = require("ws").accept(ctx.request, { protocols = PROTOCOLS })
  local child = proc.spawn(options)
  local readers = { task.spawn(pump, socket, child, "stdout", STDOUT) }
  if not merged then readers[2] = task.spawn(pump, socket, child, "stderr", STDERR) end
  local feeder = task.spawn(feed, socket, child)
  local exit = child:wait()
  for _, reader in ipairs(readers) do pcall(reader.wait, reader, 5) end
  pcall(socket.send, socket, string.char(ERROR) .. json.encode(exit_status(exit)), "binary")
  feeder:cancel()
  pcall(socket.close, socket)
  return nil
end

return M
