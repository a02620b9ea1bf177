-- kube.port_forward: a port of this machine that leads to a port of a pod; a WebSocket for each connection.
-- Not for services (take one of their pods), and not for UDP.
--   local forward <close> = c:port_forward { pod = "web-0", port = 8080 }; print(forward.port)

local channels = require "kube.channels"
local errors = require "errors"
local guard = require "kube.guard"
local log = require "kube.log"
local server = require "server"
local task = require "task"

local M = {}

local PROTOCOL = "v4.channel.k8s.io"
local DATA <const>, ERROR <const> = 0, 1

-- Reads messages of the pod: the first one of each channel is the port, in two bytes.
local function from_pod(socket, connection, forward)
  local begun = {}
  while true do
    local data = socket:receive()
    if data == nil then return end
    local channel, bytes = data:byte(1), data:sub(2)
    if not begun[channel] then begun[channel] = true
    elseif channel == ERROR then
      local message = ("port %d of pod '%s': %s"):format(forward.remote, forward.pod, bytes)
      errors.raise { code = "Connection", message = message }
    elseif channel == DATA and #bytes > 0 then connection:write(bytes) end
  end
end

local function to_pod(socket, connection)
  while true do
    local bytes = connection:read()
    if bytes == nil then return end
    socket:send(string.char(DATA) .. bytes, "binary")
  end
end

local function serve(client, forward, connection)
  local socket = channels.open(client, forward.pod, forward.options, "portforward", { ports = forward.remote },
    { PROTOCOL })
  local closer <close> = setmetatable({}, { __close = function() -- luacheck: ignore
    socket:close()
    connection:close()
  end })
  local up = task.spawn(function() pcall(to_pod, socket, connection) socket:close() end)
  local ok, problem = pcall(from_pod, socket, connection, forward)
  up:cancel()
  if not ok then error(problem, 0) end
end

local forward_methods = {}
forward_methods.__index = forward_methods

---Ends it and its connections.
function forward_methods:close()
  self.listener:close()
end

forward_methods.__close = forward_methods.close

---Opens a port here that leads into a pod.
---@param options {pod: string, port: integer, local_port: integer?, namespace: string?, address: string?}
---@return {port: integer} forward close it
function M:port_forward(options)
  if type(options) ~= "table" or type(options.pod) ~= "string" or math.type(options.port) ~= "integer" then
    error("port_forward: pod and port expected", 2)
  end
  guard.admit(self, { method = "GET", verb = "portforward", resource = "pods", name = options.pod,
    namespace = options.namespace or self.namespace, subresource = "portforward" })
  local forward = setmetatable({ pod = options.pod, remote = options.port, options = options }, forward_methods)
  forward.listener = server.listen {
    address = options.address or "127.0.0.1", port = options.local_port or 0, raw = true,
    handler = function(request)
      local ok, problem = pcall(serve, self, forward, request:upgrade { status = 0 })
      if ok or errors.is(problem, "Cancelled") or errors.is(problem, "Closed") then return end
      log.warn(self.log, errors.text(problem))
    end,
  }
  forward.port = forward.listener.port
  return forward
end

return M
