-- lab.network.hostports: a container's hostPort, on this machine's loopback only.
-- Not for services of type NodePort, which pods reach by a node's address.
--   hostports.open(switch, sandbox) -> problems

local net = require "net"
local pump = require "lab.network.pump"
local task = require "task"

local M = {}

local function serve(switch, sandbox, socket, port)
  sandbox.open[socket] = true
  local target = { address = sandbox.ip, port = port }
  local ok, other = pcall(switch.open, switch, target, sandbox.node_address or sandbox.ip)
  if ok then
    sandbox.open[other] = true
    pump.both(socket, other)
    sandbox.open[other] = nil
  else
    socket:reset()
  end
  sandbox.open[socket] = nil
end

local function accept(switch, sandbox, listening, port)
  while true do
    local ok, socket = pcall(listening.accept, listening)
    if not ok or not socket then return end
    task.spawn(serve, switch, sandbox, socket, port)
  end
end

---Listens for a pod.
---@param switch lab.Switch
---@param sandbox table
---@return string[] problems of ports that somebody else has
function M.open(switch, sandbox)
  local problems = {}
  sandbox.host_ports = {}
  for _, container in ipairs(sandbox.pod.spec.containers) do
    for _, port in ipairs(container.ports or {}) do
      if port.hostPort and (port.protocol or "TCP") == "TCP" then
        local listening, problem = net.try.listen { port = port.hostPort }
        if listening then
          table.insert(sandbox.host_ports, listening)
          task.spawn(accept, switch, sandbox, listening, port.containerPort)
        else
          problems[#problems + 1] = ("port %d of 127.0.0.1: %s"):format(port.hostPort, problem.message)
        end
      end
    end
  end
  return problems
end

---@param sandbox table
function M.close(sandbox)
  for _, listening in ipairs(sandbox.host_ports or {}) do listening:close() end
end

return M
