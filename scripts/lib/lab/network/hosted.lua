-- lab.network.hosted: what the lab itself serves as a service of the cluster: Pipelines, Katib's database.
-- Not for pods' services. Each has an address of a workload, which a mesh knows by its labels and account.
--   hosted.put(cluster, { namespace = "kubeflow", name = "ml-pipeline", ports = { { name = "http", port = 8888,
--     local_port = 40213 } }, labels = { app = "ml-pipeline" }, account = "ml-pipeline", sidecar = true })

local inside = require "lab.inside"
local json = require "json"

local M = {}

local MANAGER = "kfhost-lab"
local SLICE = "discovery.k8s.io/endpointslices"

---@class lab.Hosted
---@field namespace string
---@field name string
---@field ports table<integer, integer> of this machine, by those of the cluster
---@field labels table<string, string>
---@field account string
---@field sidecar boolean?

local function put(cluster, stored, object, fill)
  local m = object.metadata
  if not inside.change(cluster, stored, m.namespace, m.name, nil, MANAGER, fill) then
    fill(object)
    local made, problem = inside.create(cluster, stored, object, MANAGER)
    if not made then error(problem, 0) end
  end
end

local function put_service(cluster, options, ports)
  local there = inside.view(cluster, "services", options.namespace, options.name)
  if there then return end
  put(cluster, "services", { metadata = { name = options.name, namespace = options.namespace,
    labels = options.labels } }, function(object) object.spec = { type = "ClusterIP", ports = ports } end)
end

local function put_addresses(cluster, options, address, ports)
  local named, m = json.array {}, { namespace = options.namespace, name = options.name }
  for i, port in ipairs(ports) do named[i] = { name = port.name, port = port.port, protocol = "TCP" } end
  put(cluster, "endpoints", { metadata = m }, function(object)
    object.subsets = json.array { { addresses = json.array { { ip = address } }, ports = named } }
  end)
  local labels = { ["kubernetes.io/service-name"] = options.name, ["endpointslice.kubernetes.io/managed-by"] = MANAGER }
  put(cluster, SLICE, { metadata = { namespace = m.namespace, name = options.name .. "-lab", labels = labels },
    addressType = "IPv4" }, function(object)
    object.ports = named
    object.endpoints = json.array { { addresses = json.array { address }, conditions = { ready = true } } }
  end)
end

---Makes a service of something that listens on a port of this machine.
---@param cluster lab.Cluster
---@param options {namespace: string, name: string, labels: table<string, string>, account: string, sidecar: boolean?,
---  ports: {name: string, port: integer, local_port: integer}[]}
function M.put(cluster, options)
  cluster.hosted = cluster.hosted or {}
  local count = 0
  for _ in pairs(cluster.hosted) do count = count + 1 end
  local address = ("10.245.0.%d"):format(count + 1)
  local ports, map = json.array {}, {}
  for i, port in ipairs(options.ports) do
    ports[i] = { name = port.name, port = port.port, protocol = "TCP", targetPort = port.port }
    map[port.port] = port.local_port
  end
  put_service(cluster, options, ports)
  put_addresses(cluster, options, address, ports)
  cluster.hosted[address] = { namespace = options.namespace, name = options.name, ports = map,
    labels = options.labels, account = options.account, sidecar = options.sidecar }
end

return M
