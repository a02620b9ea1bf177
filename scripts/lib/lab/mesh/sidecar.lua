-- lab.mesh.sidecar: the program of an istio-proxy container: its ports, its readiness, its end.
-- Not the proxy itself: the lab carries the connections, and this program tells it when it may.
--   sidecar.run { address = "0.0.0.0", own = "127.0.0.1" }
--
-- Ready late (KFHOST_PROXY_DELAY seconds after the start); ends at once by POST /quitquitquit from the pod's
-- own localhost, and after its drain by SIGTERM or SIGINT, always with exit code 0.

local errors = require "errors"
local json = require "json"
local net = require "net"
local pod = require "pod"
local server = require "server"
local task = require "task"

local M = {}

local function seconds(name, default)
  local value = os.getenv(name)
  return value and value ~= "" and task.seconds(tonumber(value) or value) or default
end

local function say(text)
  io.stdout:write(os.date "!%Y-%m-%dT%H:%M:%S.000000Z", "\tinfo\t", text, "\n")
  io.stdout:flush()
end

-- --- the line to the lab ----------------------------------------------------------------------------

-- "active" asks how many connections there are.
local function active(self)
  if not self.line then return 0 end
  local ok, answer = pcall(function()
    self.line:write "active\n"
    return self.line:read(5)
  end)
  return ok and math.tointeger(tonumber((answer or ""):match "%d+")) or 0
end

local function tell(self, word)
  if self.line then pcall(self.line.write, self.line, word .. "\n") end
end

-- --- its end ----------------------------------------------------------------------------------------

local function stop(self, why)
  say(why)
  tell(self, "gone")
  self.ended:set()
end

local function drain(self)
  if self.draining then return end
  self.draining = true
  say "Agent draining Proxy for termination"
  tell(self, "draining")
end

-- After its drain the proxy ends; a second signal, or one after /drain, ends it at once.
local function terminate(self)
  if self.draining then return stop(self, "Agent draining bypassed") end
  drain(self)
  if os.getenv "EXIT_ON_ZERO_ACTIVE_CONNECTIONS" == "true" then
    task.sleep(seconds("MINIMUM_DRAIN_DURATION", 5) * self.scale)
    while active(self) > 0 do task.sleep(math.max(0.02, self.scale)) end
    return stop(self, "There are no more active connections. terminating proxy...")
  end
  task.sleep(seconds("TERMINATION_DRAIN_DURATION_SECONDS", 5) * self.scale)
  stop(self, "Graceful termination period complete, terminating remaining proxies.")
end

-- --- its ports --------------------------------------------------------------------------------------

local function text(status, body)
  return { status = status, headers = { ["Content-Type"] = "text/plain" }, body = body }
end

local function from_here(request) return request.peer.address:match "^127%." ~= nil end

local function only_post(request, act)
  if not from_here(request) then return text(403, "Only requests from localhost are allowed\n") end
  if request.method ~= "POST" then return text(405, "") end
  task.spawn(act)
  return text(200, "OK")
end

local function probe_application(self, path)
  local probe = self.probers[path]
  if not probe then return text(404, "") end
  local port = (probe.httpGet or probe.tcpSocket or probe.grpc or {}).port
  local timeout = probe.timeoutSeconds or 1
  if not probe.httpGet then
    local socket = net.try.connect { address = self.application, port = port, timeout = timeout }
    if socket then socket:close() end
    return text(socket and 200 or 500, "")
  end
  local get = probe.httpGet
  local answer = require("http").try.request { timeout = timeout, insecure = true, proxy = "",
    url = ("%s://%s:%d%s"):format((get.scheme or "HTTP"):lower(), self.application, port, get.path or "/") }
  return text(answer and answer.status or 500, "")
end

local function serve_agent(self, request)
  local path = request.path
  if path == "/quitquitquit" then
    return only_post(request, function() stop(self, "The envoy proxy is told to quit") end)
  elseif path == "/drain" then
    return only_post(request, function() drain(self) end)
  elseif path == "/healthz/ready" then
    return text(self.ready and 200 or 503, "")
  elseif path:match "^/app%-health/" then
    return probe_application(self, path)
  elseif path == "/stats/prometheus" or path == "/metrics" then
    return text(200, ("envoy_server_live %d\n"):format(self.ready and 1 or 0))
  end
  return text(404, "404 page not found\n")
end

local function serve_admin(self, request)
  if request.path == "/quitquitquit" then
    if request.method ~= "POST" then return text(405, "Method Not Allowed") end
    task.spawn(stop, self, "Envoy is told to quit")
    return text(200, "OK\n")
  elseif request.path == "/ready" then
    return text(self.ready and 200 or 503, self.ready and "LIVE\n" or "PRE_INITIALIZING\n")
  end
  return text(404, "invalid path.\n")
end

-- Envoy's own listeners exist when it is ready.
local function serve_health(self, request)
  return text(request.path == "/healthz/ready" and (self.ready and 200 or 503) or 404, "")
end

local function listen(self, address, port, handler)
  self.servers[#self.servers + 1] = server.listen { address = address, port = port, on_error = function() end,
    handler = function(request) return handler(self, request) end }
end

-- --- its life ---------------------------------------------------------------------------------------

local function become_ready(self)
  task.sleep(seconds("KFHOST_PROXY_DELAY", 1) * self.scale)
  local path = os.getenv "KFHOST_PROXY_SOCKET"
  self.line = path and net.try.connect { path = path } or nil
  tell(self, "ready")
  if self.line then self.line:read(10) end -- the lab catches connections from now on
  self.ready = true
  listen(self, self.address, 15021, serve_health)
  listen(self, self.address, 15090, serve_agent)
  say "Envoy proxy is ready"
end

---Runs until the proxy ends.
---@param options {address: string, own: string, application: string} addresses of its ports, of its admin port,
---  and of the containers' programs
function M.run(options)
  local signals = pod.signals()
  local self = { address = options.address, application = options.application, servers = {}, ended = task.event(),
    scale = seconds("KFHOST_TIME_SCALE", 1), probers = json.decode(os.getenv "ISTIO_KUBE_APP_PROBERS" or "{}") }
  say(("Starting proxy agent; proxy role: ips=[%s] type=sidecar id=%s.%s"):format(options.application,
    os.getenv "POD_NAME" or "", os.getenv "POD_NAMESPACE" or ""))
  listen(self, self.address, 15020, serve_agent)
  listen(self, options.own, 15000, serve_admin)
  local start = task.spawn(become_ready, self)
  local watcher = task.spawn(function()
    while signals:wait() do task.spawn(terminate, self) end
  end)
  self.ended:wait()
  task.sleep(0.01) -- the answer to who told it so goes out
  start:cancel()
  watcher:cancel()
  signals:close()
  for _, one in ipairs(self.servers) do one:close() end
  if self.line then self.line:close() end
  os.exit(0)
end

M.errors = errors

return M
