-- lab.mesh.agent: the command pilot-agent of the lab's istio-proxy containers.
-- Not Istio's: it knows proxy, request, wait, and takes istio-iptables for done.
--   agent.main { "request", "POST", "quitquitquit" }

local task = require "task"

local M = {}

local function ask(port, method, path, timeout)
  local address = os.getenv "KFHOST_PROXY_ADDRESS" or "127.0.0.1"
  return require("http").try.request { url = ("http://%s:%d/%s"):format(address, port, (path:gsub("^/", ""))),
    method = method, proxy = "", timeout = timeout }
end

-- pilot-agent request [--debug-port N] METHOD PATH
local function request(words)
  local port, rest = 15000, {}
  local i = 1
  while i <= #words do
    local value = words[i]:match "^%-%-debug%-port=(%d+)$"
    if words[i] == "--debug-port" then
      value, i = words[i + 1], i + 1
    end
    if value then port = math.tointeger(tonumber(value)) else rest[#rest + 1] = words[i] end
    i = i + 1
  end
  local answer, problem = ask(port, rest[1] or "GET", rest[2] or "", 60)
  if not answer then
    io.stderr:write("Error: ", problem.message, "\n")
    return 1
  end
  io.stdout:write(answer.body, "\n")
  return answer.status < 300 and 0 or 1
end

local function wait()
  for _ = 1, 1200 do
    local answer = ask(15021, "GET", "/healthz/ready", 5)
    if answer and answer.status == 200 then return 0 end
    task.sleep(0.05)
  end
  io.stderr:write "Error: timeout waiting for Envoy proxy to become ready\n"
  return 1
end

local function proxy()
  local own = os.getenv "KFHOST_PROXY_ADDRESS" -- of a pod without a network of its own
  require("lab.mesh.sidecar").run { address = own or "0.0.0.0", own = own or "127.0.0.1",
    application = os.getenv "INSTANCE_IP" or "127.0.0.1" }
  return 0
end

local COMMANDS = { request = request, wait = wait, proxy = proxy, ["istio-iptables"] = function() return 0 end }

---@param words string[]
---@return integer exit code
function M.main(words)
  local command = COMMANDS[words[1]]
  if not command then
    io.stderr:write(("Error: unknown command %q for \"pilot-agent\"\n"):format(words[1] or ""))
    return 1
  end
  return command({ table.unpack(words, 2) })
end

return M
