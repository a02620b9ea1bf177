-- lab.network.switch: carries the connections of pods: to other pods, services, and the lab's own API.
-- Not for deciding who may (lab.mesh). What is not in the cluster cannot be reached from a pod.
--   local s = switch.new(cluster); s:add(sandbox); s:remove(sandbox)

local errors = require "errors"
local hostports = require "lab.network.hostports"
local link = require "lab.network.link"
local names = require "lab.network.names"
local net = require "net"
local pump = require "lab.network.pump"
local targets = require "lab.network.targets"
local task = require "task"

local M = {}

---@class lab.Switch
---@field by_address table<string, table> sandboxes
local switch = {}
switch.__index = switch

---@param cluster lab.Cluster
---@return lab.Switch
function M.new(cluster)
  return setmetatable({ cluster = cluster, by_address = {} }, switch)
end

-- --- connecting -------------------------------------------------------------------------------------

---Connects to a target.
---@param target lab.Target
---@param source string address that it is to come from
---@return net.Socket # raises the errno's name
function switch:open(target, source)
  if not target.address then return net.connect { port = target.port, timeout = 5 } end
  local hosted = (self.cluster.hosted or {})[target.address]
  if hosted then
    local port = hosted.ports[target.port]
    if not port then errors.raise { code = "ECONNREFUSED", message = "nothing is served there" } end
    return net.connect { port = port, timeout = 5 }
  end
  local sandbox = self.by_address[target.address]
  if not sandbox or sandbox.removed then errors.raise { code = "EHOSTUNREACH", message = "there is no such pod" } end
  local served = (sandbox.served or {})[target.port] -- by the lab, in place of a process of the pod
  if served then return net.connect { port = served, timeout = 5 } end
  if sandbox.alone then return sandbox.link:connect("127.0.0.1", target.port, "") end
  if sandbox.link then return sandbox.link:connect(target.address, target.port, source) end
  return net.connect { address = sandbox.ip, port = target.port, timeout = 5 }
end

-- Without a mesh: whoever is found is connected to.
local function carry(self, sandbox, socket, target)
  local other = self:open(target, sandbox.ip)
  sandbox.open[other] = true
  pump.both(socket, other)
  sandbox.open[other] = nil
end

---Carries one connection of a pod to its end.
---@param sandbox table
---@param socket net.Socket
---@param address string
---@param port integer
function switch:serve(sandbox, socket, address, port)
  sandbox.open[socket] = true
  local ok, problem = pcall(function()
    local mesh = self.cluster.mesh
    if mesh then return mesh:carry(sandbox, socket, address, port) end
    local target, why = targets.find(self.cluster, address, port)
    if not target then errors.raise { code = "ECONNREFUSED", message = why } end
    carry(self, sandbox, socket, target)
  end)
  if not ok then
    socket:reset()
    if not errors.is(problem) then self:fail(problem) end
  end
  sandbox.open[socket] = nil
end

function switch:fail(problem)
  if self.cluster.options.on_error then self.cluster.options.on_error(nil, errors.text(problem)) end
end

-- --- pods -------------------------------------------------------------------------------------------

-- Takes connections until the listening socket is closed.
local function accept(self, sandbox, listening)
  while true do
    local ok, socket = pcall(listening.accept, listening)
    if not ok or not socket then return end
    local address, port = socket:destination()
    task.spawn(function() self:serve(sandbox, socket, address, port) end)
  end
end

---A pod's connections are caught from now on; nothing when they are already.
function switch:listen(sandbox)
  if not sandbox.link or sandbox.alone or sandbox.listening or sandbox.removed then return end
  local listening = sandbox.link:listen("127.0.0.1", link.PORT)
  sandbox.listening = listening
  task.spawn(accept, self, sandbox, listening)
end

---A pod's connections are refused from now on; those that are open are cut when `cut`.
function switch.refuse(_, sandbox, cut)
  if sandbox.listening then sandbox.listening:close() end
  sandbox.listening = nil
  for socket in pairs(cut and sandbox.open or {}) do socket:reset() end
end

---@param sandbox table of lab.node.runtime, with link or without
function switch:add(sandbox)
  sandbox.open = {}
  self.by_address[sandbox.ip] = sandbox
  if not sandbox.link or sandbox.alone then require("lab.network.proxy").start(self, sandbox) end
  sandbox.host_port_problems = hostports.open(self, sandbox)
  local mesh = self.cluster.mesh
  if not (mesh and mesh:adopt(sandbox)) then self:listen(sandbox) end
end

---Ends all connections of a pod.
function switch:remove(sandbox)
  sandbox.removed = true
  if self.by_address[sandbox.ip] == sandbox then self.by_address[sandbox.ip] = nil end
  self:refuse(sandbox, true)
  hostports.close(sandbox)
  if sandbox.proxy then sandbox.proxy:close() end
  if sandbox.mesh then
    sandbox.mesh.listening:close()
    if sandbox.mesh.line then sandbox.mesh.line:close() end
  end
end

-- --- names ------------------------------------------------------------------------------------------

-- The file is mounted into containers: its bytes are replaced in place, and it never gets shorter, so that
-- who reads it meanwhile does not find it empty.
local function write_hosts(path, text)
  local file = io.open(path, "r+b") or assert(io.open(path, "w+b"))
  local size = file:seek "end"
  file:seek "set"
  file:setvbuf("full", 1 << 20)
  file:write(text, ("\n"):rep(size - #text))
  file:close()
end

---Writes the names into a pod's hosts file, if they changed.
function switch:name(sandbox)
  local text = names.hosts(self.cluster, sandbox)
  if text == sandbox.hosts_text then return end
  sandbox.hosts_text = text
  write_hosts(sandbox.directory .. "/hosts", text)
end

---Writes the names of all pods again.
function switch:rename()
  for _, sandbox in pairs(self.by_address) do
    if not sandbox.removed then self:name(sandbox) end
  end
end

return M
