-- lab.scheduling.room: what pods ask of a node, and whether there is that much: amounts, places, host ports.
-- Not for volumes (lab.controllers.volumes).
--   local reasons = room.refuses(pod, node, load)

local pod_containers = require "kube.containers"
local quantities = require "lab.quantities"
local store = require "lab.store"

local M = {}

-- --- what is asked for ------------------------------------------------------------------------------------

local function add(into, amounts)
  for name, amount in pairs(amounts or {}) do
    into[name] = (into[name] or 0) + (type(amount) == "number" and amount or quantities.number(amount))
  end
  return into
end

local function most(into, amounts)
  for name, amount in pairs(amounts) do into[name] = math.max(into[name] or 0, amount) end
end

local function requests_of(container) return container.resources and container.resources.requests end

---What a pod asks for: what its containers and sidecars ask for together, or an init container with the sidecars
---started before it, where that is more; and its overhead.
---@param pod table
---@return table<string, number>
function M.requests(pod)
  local running, sidecars, starting = {}, {}, {}
  for _, container in ipairs(pod.spec.initContainers or {}) do
    if container.restartPolicy == "Always" then
      add(sidecars, requests_of(container))
      most(starting, sidecars)
    else
      most(starting, add(add({}, sidecars), requests_of(container)))
    end
  end
  for _, container in ipairs(pod.spec.containers or {}) do add(running, requests_of(container)) end
  add(running, sidecars)
  most(running, starting)
  return add(running, pod.spec.overhead)
end

-- "address protocol" and number of each host port.
local function host_ports(pod)
  local list = {}
  for _, one in ipairs(pod_containers.of(pod.spec)) do
    for _, port in ipairs(one.container.ports or {}) do
      if (port.hostPort or 0) > 0 then
        list[#list + 1] = { port.hostIP or "0.0.0.0", port.protocol or "TCP", port.hostPort }
      end
    end
  end
  return list
end

-- --- what is there ----------------------------------------------------------------------------------------

---@class lab.Load what is on a node
---@field pods table[]
---@field used table<string, number>

---@return lab.Load
function M.empty() return { pods = {}, used = {} } end

---@param load lab.Load
---@param pod table
function M.put(load, pod)
  load.pods[#load.pods + 1] = pod
  add(load.used, M.requests(pod))
end

---What is on each node.
---@return table<string, lab.Load>
function M.loads(cluster)
  local loads = {}
  for _, record in ipairs(cluster.store:collection("pods"):records()) do
    local name, phase = record.fields["spec.nodeName"], record.fields["status.phase"]
    if name ~= "" and phase ~= "Succeeded" and phase ~= "Failed" then
      loads[name] = loads[name] or M.empty()
      M.put(loads[name], store.view(record))
    end
  end
  return loads
end

local function ports_clash(pod, load)
  local wanted = host_ports(pod)
  if #wanted == 0 then return false end
  for _, other in ipairs(load.pods) do
    for _, taken in ipairs(host_ports(other)) do
      for _, one in ipairs(wanted) do
        local same_address = one[1] == taken[1] or one[1] == "0.0.0.0" or taken[1] == "0.0.0.0"
        if same_address and one[2] == taken[2] and one[3] == taken[3] then return true end
      end
    end
  end
  return false
end

-- What a node does not say that it has is not missed where everybody has it.
local EVERYWHERE = { cpu = true, memory = true, ["ephemeral-storage"] = true }

---Why a pod has no room on a node.
---@param load lab.Load
---@return string[]? reasons
function M.refuses(pod, node, load)
  local reasons, room = {}, node.status and node.status.allocatable or {}
  if room.pods and #load.pods + 1 > quantities.number(room.pods) then reasons[1] = "Too many pods" end
  for name, amount in pairs(M.requests(pod)) do
    local there = room[name] and quantities.number(room[name]) or EVERYWHERE[name] and math.huge or 0
    if amount > 0 and (load.used[name] or 0) + amount > there then reasons[#reasons + 1] = "Insufficient " .. name end
  end
  if ports_clash(pod, load) then
    reasons[#reasons + 1] = "node(s) didn't have free ports for the requested pod ports"
  end
  return #reasons > 0 and reasons or nil
end

return M
