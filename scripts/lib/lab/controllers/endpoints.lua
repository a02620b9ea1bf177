-- lab.controllers.endpoints: the addresses of the pods behind each service, as Endpoints and EndpointSlice.
-- Not for carrying traffic.
--   require "lab.controllers.endpoints".start(cluster)

local base = require "lab.controllers.base"
local inside = require "lab.inside"
local json = require "json"
local match = require "lab.match"
local pods = require "lab.controllers.pods"
local store = require "lab.store"

local M = {}

local SLICE = "discovery.k8s.io/endpointslices"
local MANAGER = "kube-controller-manager"

local function number_of(port, pod)
  if math.type(port.targetPort) == "integer" then return port.targetPort end
  for _, container in ipairs(pod.spec.containers) do
    for _, one in ipairs(container.ports or {}) do
      if one.name == port.targetPort then return one.containerPort end
    end
  end
end

local function target(pod, namespace)
  return { kind = "Pod", namespace = namespace, name = pod.metadata.name, uid = pod.metadata.uid }
end

local function members(cluster, service)
  local namespace = service.metadata.namespace
  local list = {}
  for _, record in ipairs(cluster.store:collection("pods"):records(namespace)) do
    if match.equal(service.spec.selector, record.labels) then
      local pod = store.view(record)
      if not pods.is_finished(pod) and pod.status and (pod.status.podIP or "") ~= "" then list[#list + 1] = pod end
    end
  end
  return list
end

-- A pod that names the service as its subdomain has a name of its own there.
local function hostname(service, pod)
  return pod.spec.subdomain == service.metadata.name and pod.spec.hostname or nil
end

local function endpoints_of(service, list)
  local ready, waiting = json.array {}, json.array {}
  local all = service.spec.publishNotReadyAddresses
  for _, pod in ipairs(list) do
    if all or not pod.metadata.deletionTimestamp then
      local into = (all or pods.is_ready(pod)) and ready or waiting
      into[#into + 1] = { ip = pod.status.podIP, nodeName = pod.spec.nodeName, hostname = hostname(service, pod),
                          targetRef = target(pod, service.metadata.namespace) }
    end
  end
  if #ready + #waiting == 0 then return nil end
  local ports = json.array {}
  for i, port in ipairs(service.spec.ports or {}) do
    ports[i] = { name = port.name, port = number_of(port, list[1]) or port.port, protocol = port.protocol }
  end
  return json.array { { addresses = #ready > 0 and ready or nil, notReadyAddresses = #waiting > 0 and waiting or nil,
                        ports = #ports > 0 and ports or nil } }
end

local function slice_of(service, list)
  local ports, endpoints = json.array {}, json.array {}
  for i, port in ipairs(service.spec.ports or {}) do
    ports[i] = { name = port.name or "", protocol = port.protocol,
                 port = list[1] and number_of(port, list[1]) or port.port }
  end
  for i, pod in ipairs(list) do
    local leaving = pod.metadata.deletionTimestamp ~= nil
    local ready = pods.is_ready(pod)
    endpoints[i] = { addresses = json.array { pod.status.podIP }, nodeName = pod.spec.nodeName,
                     hostname = hostname(service, pod),
                     targetRef = target(pod, service.metadata.namespace),
                     conditions = { serving = ready, terminating = leaving,
                       ready = service.spec.publishNotReadyAddresses or ready and not leaving } }
  end
  return ports, endpoints
end

-- A service's labels, by whom the object is kept, and whether the service has no address.
local function labels_of(service, manager, value)
  local labels = { [manager] = value }
  for name, text in pairs(service.metadata.labels or {}) do labels[name] = text end
  if service.spec.clusterIP == "None" then labels["service.kubernetes.io/headless"] = "" end
  return labels
end

local function put(cluster, stored, object, fill)
  local m = object.metadata
  local there = inside.change(cluster, stored, m.namespace, m.name, nil, MANAGER, fill)
  if not there then
    fill(object)
    inside.create(cluster, stored, object, MANAGER)
  end
end

local function look(cluster, key)
  local namespace, name = key:match "^(.-)/(.*)$"
  local service = inside.view(cluster, "services", namespace, name)
  if not service or not service.spec.selector then return end
  local list = members(cluster, service)
  put(cluster, "endpoints", { metadata = { name = name, namespace = namespace } }, function(object)
    object.metadata.labels = labels_of(service, "endpoints.kubernetes.io/managed-by", "endpoint-controller")
    object.subsets = endpoints_of(service, list)
  end)
  local ports, endpoints = slice_of(service, list)
  put(cluster, SLICE, { metadata = { name = name .. "-lab", namespace = namespace,
    ownerReferences = json.array { inside.owner(cluster, "services", service) } }, addressType = "IPv4" },
    function(object)
      local labels = labels_of(service, "endpointslice.kubernetes.io/managed-by", "endpointslice-controller.k8s.io")
      labels["kubernetes.io/service-name"] = name
      object.metadata.labels, object.ports, object.endpoints = labels, ports, endpoints
    end)
end

---@param cluster lab.Cluster
---@return lab.Controller
function M.start(cluster)
  local services = cluster.store:collection "services"
  return base.new(cluster, {
    name = "endpoints",
    on = function(collection, event, add)
      local record = event.record
      if collection == "services" then
        if event.removed then
          inside.delete(cluster, "endpoints", record.namespace, record.name)
        else
          add(record.key)
        end
      elseif collection == "pods" and services.count > 1 then
        for _, service in ipairs(services:records(record.namespace)) do
          local selector = store.view(service).spec.selector
          if match.equal(selector, record.labels) then add(service.key) end
        end
      end
    end,
    look = function(key) look(cluster, key) end,
  })
end

return M
