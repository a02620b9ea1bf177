-- lab.network.forward: lets the lab's own clients (HTTP, TLS, gRPC) reach a port of a pod, by a unix socket.
-- Not for pods' own connections (lab.network.switch).
--   forward.through(switch, sandbox, 8080, function(path) return http.request { unix_socket = path, … } end)

local fs = require "fs"
local hash = require "hash"
local net = require "net"
local pump = require "lab.network.pump"
local task = require "task"

local M = {}

---Connects to a port of a pod, as its node does.
---@param switch lab.Switch
---@param sandbox table
---@param port integer
---@return net.Socket # raises "ECONNREFUSED"
function M.open(switch, sandbox, port)
  return switch:open({ address = sandbox.ip, port = port }, sandbox.node_address)
end

---Runs a function with the path of a unix socket behind which the port is.
---@param switch lab.Switch
---@param sandbox table
---@param port integer
---@param use fun(path: string): ...
---@return any # what it returned; raises what it raised, or what connecting raised
function M.through(switch, sandbox, port, use)
  local other = M.open(switch, sandbox, port)
  local path = fs.join(sandbox.directory, "to-" .. hash.random_hex(4))
  local listening = net.listen { path = path }
  local carrier = task.spawn(function()
    local ok, socket = pcall(listening.accept, listening)
    if ok and socket then pump.both(socket, other) end
  end)
  local results = table.pack(pcall(use, path))
  listening:close()
  pcall(fs.remove, path)
  other:close()
  carrier:cancel()
  if not results[1] then error(results[2], 0) end
  return table.unpack(results, 2, results.n)
end

return M
