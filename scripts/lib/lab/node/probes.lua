-- lab.node.probes: startup, readiness and liveness of containers.
-- Not for what follows from them (lab.node.worker).
--   probes.check(process, sandbox, probe) -> boolean, text

local proc = require "proc"

local M = {}

local function exec(process, sandbox, probe, timeout)
  local options = process:command(sandbox, probe.exec.command)
  options.stdin, options.stderr = "null", "stdout"
  local child = proc.spawn(options)
  local ok, exit = pcall(child.wait, child, timeout)
  if not ok then
    child:kill "KILL"
    return false, "command timed out"
  end
  local read, text = pcall(child.read, child, "stdout", 1)
  return exit.code == 0, read and text or ""
end

local function port_of(container, port)
  if math.type(port) == "integer" then return port end
  for _, one in ipairs(container.ports or {}) do
    if one.name == port then return one.containerPort end
  end
  return math.tointeger(tonumber(port))
end

-- Inside a pod's own network only a process in it can ask: curl-like, by this program.
local function inside_network(process, sandbox, code, timeout)
  local host = require "host"
  local options = process:command(sandbox, { process.confined and "/kfhost/kfhost" or host.executable(), "-e", code })
  options.stdin, options.stderr = "null", "stdout"
  local child = proc.spawn(options)
  local ok, exit = pcall(child.wait, child, timeout + 1)
  if not ok then
    child:kill "KILL"
    return false, "timed out"
  end
  local read, text = pcall(child.read, child, "stdout", 1)
  return exit.code == 0, read and text and text:match "^[^\n]*" or ""
end

local HTTP = [[local r = require('http').try.request{url=%q, timeout=%f, insecure=true, proxy=''}
print(r and 'HTTP probe failed with statuscode: '..r.status or 'connection refused')
os.exit(r and r.status >= 200 and r.status < 400 and 0 or 1)]]

local TCP = [[local c = require('http').try.connect{url='http://%s:%d', connect_timeout=%f, proxy=''}
print('dial tcp: connect: connection refused') os.exit(c and 0 or 1)]]

---Asks once.
---@param process lab.Process
---@param sandbox table
---@param container table
---@param probe table
---@return boolean ok, string text
function M.check(process, sandbox, container, probe)
  local timeout = probe.timeoutSeconds or 1
  if probe.exec then return exec(process, sandbox, probe, timeout) end
  local address = "127.0.0.1"
  if probe.httpGet then
    local get = probe.httpGet
    local url = ("%s://%s:%d%s"):format((get.scheme or "HTTP"):lower(), get.host or address,
      port_of(container, get.port) or 80, get.path or "/")
    return inside_network(process, sandbox, HTTP:format(url, timeout), timeout)
  elseif probe.tcpSocket then
    local port = port_of(container, probe.tcpSocket.port) or 80
    return inside_network(process, sandbox, TCP:format(address, port, timeout), timeout)
  end
  return false, "the lab has no such probe"
end

return M
