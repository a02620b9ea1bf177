-- lab.network.targets: who answers at an address and port: a service's pods, a pod, a node's port, the lab itself.
-- Not for connecting (lab.network.switch).
--   targets.find(cluster, "10.96.0.17", 80) -> { address = "10.244.0.3", port = 8080, service = … } or nil, why

local inside = require "lab.inside"
local store = require "lab.store"

local M = {}

local API = "10.96.0.1" -- the service `kubernetes`
local SLICE = "discovery.k8s.io/endpointslices"

---@class lab.Target
---@field address string? of a pod; nil: a port of this machine
---@field port integer
---@field service table? by whose address it was found
---@field service_port table?

-- Places of a service's port that are ready, of its slices or else of its Endpoints.
local function places(cluster, service, port)
  local m, list = service.metadata, {}
  local function add(endpoints, ports)
    for _, one in ipairs(ports or {}) do
      if (one.name or "") == (port.name or "") then
        for _, address in ipairs(endpoints) do list[#list + 1] = { address = address, port = one.port } end
      end
    end
  end
  for _, record in ipairs(cluster.store:collection(SLICE):records(m.namespace)) do
    if (record.labels or {})["kubernetes.io/service-name"] == m.name then
      local slice, ready = store.view(record), {}
      for _, endpoint in ipairs(slice.endpoints or {}) do
        local wanted = service.spec.publishNotReadyAddresses or (endpoint.conditions or {}).ready ~= false
        if wanted then table.move(endpoint.addresses, 1, #endpoint.addresses, #ready + 1, ready) end
      end
      add(ready, slice.ports)
    end
  end
  if #list > 0 then return list end
  local endpoints = inside.view(cluster, "endpoints", m.namespace, m.name)
  for _, subset in ipairs(endpoints and endpoints.subsets or {}) do
    local ready = {}
    for i, address in ipairs(subset.addresses or {}) do ready[i] = address.ip end
    add(ready, subset.ports)
  end
  return list
end

local turns = setmetatable({}, { __mode = "k" }) -- by cluster: services take their pods by turns

local function one_of(cluster, service, port)
  local list = places(cluster, service, port)
  if #list == 0 then
    return nil, ("no endpoints of %s/%s are ready"):format(service.metadata.namespace, service.metadata.name)
  end
  local turn = (turns[cluster] or 0) + 1
  turns[cluster] = turn
  local place = list[turn % #list + 1]
  return { address = place.address, port = place.port, service = service, service_port = port }
end

local function by_service(cluster, matches)
  for _, record in ipairs(cluster.store:collection("services"):records()) do
    local service = store.view(record)
    for _, port in ipairs(service.spec.ports or {}) do
      if matches(service, port) then return one_of(cluster, service, port) end
    end
  end
  return nil, "no service listens there"
end

---@param cluster lab.Cluster
---@param address string
---@param port integer
---@return lab.Target?
---@return string? why there is none
function M.find(cluster, address, port)
  if address == API then return { port = cluster.port } end
  if address:match "^10%.96%." then
    return by_service(cluster, function(service, one)
      return service.spec.clusterIP == address and one.port == port
    end)
  elseif address:match "^10%.0%." then
    return by_service(cluster, function(_, one) return one.nodePort == port end)
  end
  return { address = address, port = port }
end

---The address of a name, for clients that give one: "web", "web.team-a", "web.team-a.svc.cluster.local".
---@param cluster lab.Cluster
---@param name string
---@param namespace string of who asks
---@return string?
---@return string? why there is none
function M.address(cluster, name, namespace)
  if name:match "^[%d.]+$" then return name end
  for _, entry in ipairs(require("lab.network.names").list(cluster, namespace)) do
    for _, one in ipairs(entry.names) do
      if one == name then return entry.address end
    end
  end
  return nil, ("the lab knows no name %s"):format(name)
end

return M
