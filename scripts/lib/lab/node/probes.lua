-- lab.node.probes: startup, readiness and liveness of containers: a command, HTTP, TCP, gRPC.
-- Not for what follows from them (lab.node.worker).
--   probes.check(worker, container, probe) -> boolean, text

local errors = require "errors"
local forward = require "lab.network.forward"

local M = {}

local LARGEST = 10240 -- of what a command prints

local function exec(worker, c, probe, timeout)
  local options = c.process:command(worker.sandbox, probe.exec.command)
  options.stdin, options.stderr = "null", "stdout"
  local exit, text = worker.nodes.runtime:run(options, timeout)
  if not exit then
    return false, ("command timed out: %q timed out after %gs"):format(table.concat(probe.exec.command, " "), timeout)
  end
  return exit.code == 0, text:sub(1, LARGEST)
end

local function port_of(container, port)
  if math.type(port) == "integer" then return port end
  for _, one in ipairs(container.ports or {}) do
    if one.name == port then return one.containerPort end
  end
  return math.tointeger(tonumber(port))
end

local WORDS = { ECONNREFUSED = "connection refused", EHOSTUNREACH = "no route to host", ETIMEDOUT = "i/o timeout" }

local function dial(worker, port, problem)
  return ("dial tcp %s:%d: connect: %s"):format(worker.sandbox.ip, port, WORDS[problem.code] or problem.message)
end

local function tcp(worker, c, probe)
  local port = port_of(c.spec, probe.tcpSocket.port) or 80
  local ok, socket = pcall(forward.open, worker.nodes.runtime.switch, worker.sandbox, port)
  if not ok then return false, dial(worker, port, socket) end
  socket:close()
  return true, ""
end

local function http(worker, c, probe, timeout)
  local get = probe.httpGet
  local port = port_of(c.spec, get.port) or 80
  local url = ("%s://%s:%d%s"):format((get.scheme or "HTTP"):lower(), worker.sandbox.ip, port,
    (get.path or "/"):gsub("^[^/]", "/%0"))
  local headers = { ["User-Agent"] = "kube-probe/1.37", Connection = "close" }
  for _, one in ipairs(get.httpHeaders or {}) do headers[one.name] = one.value end
  local ok, response = pcall(forward.through, worker.nodes.runtime.switch, worker.sandbox, port, function(path)
    return require("http").request { url = url, unix_socket = path, timeout = timeout, insecure = true, proxy = "",
      headers = headers, http2 = false, max_body = LARGEST * 100 }
  end)
  if ok then
    local good = response.status >= 200 and response.status < 400
    return good, good and "" or ("HTTP probe failed with statuscode: %d"):format(response.status)
  end
  if not errors.is(response) or errors.is(response, "Cancelled") then error(response, 0) end
  if response.code == "Timeout" then
    return false, ('Get "%s": context deadline exceeded (Client.Timeout exceeded while awaiting headers)'):format(url)
  end
  return false, ('Get "%s": %s'):format(url, WORDS[response.code] and dial(worker, port, response) or "EOF")
end

local HEALTH = "/grpc.health.v1.Health/Check"
local STATES = { [0] = "UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN" }

local function grpc(worker, _, probe, timeout)
  local port, service = probe.grpc.port, probe.grpc.service or ""
  local ok, reply = pcall(forward.through, worker.nodes.runtime.switch, worker.sandbox, port, function(path)
    local client <close> = require("grpc").connect { address = ("%s:%d"):format(worker.sandbox.ip, port),
      unix_socket = path }
    return client:call(HEALTH, service == "" and "" or "\10" .. string.pack("s1", service), { timeout = timeout })
  end)
  if not ok then
    if not errors.is(reply) or errors.is(reply, "Cancelled") then error(reply, 0) end
    if reply.status == "UNIMPLEMENTED" then
      return false, "error: this server does not implement the grpc health protocol (grpc.health.v1.Health)"
    end
    return false, ('timeout: failed to connect service "%s:%d" within %gs'):format(worker.sandbox.ip, port, timeout)
  end
  local state = reply:byte(1) == 8 and STATES[reply:byte(2)] or STATES[0]
  return state == "SERVING", state == "SERVING" and "" or ('service unhealthy (responded with "%s")'):format(state)
end

---Asks once.
---@param worker lab.Worker
---@param c table the container, running
---@param probe table
---@return boolean ok, string text
function M.check(worker, c, probe)
  local timeout = probe.timeoutSeconds or 1
  for kind, ask in pairs { exec = exec, httpGet = http, tcpSocket = tcp, grpc = grpc } do
    if probe[kind] then return ask(worker, c, probe, timeout) end
  end
  return false, "the lab has no such probe"
end

return M
