-- Analyzers of gateways and routes: what they name must be there. A part of istio.analyze.
local authentication = require "istio.authentication"
local hosts = require "istio.analyze.hosts"
local read = require "istio.analyze.read"

local M = {}

-- --- gateways -------------------------------------------------------------------------------------------------

-- The gateway that each installation has, whether it is among the objects or not.
local function is_default(labels)
  return next(labels, next(labels)) == nil and labels.istio == "ingressgateway"
end

local function selected_by(a, labels)
  local list = {}
  for _, pod in ipairs(read.workloads(a, "*")) do
    if authentication.selects(labels, pod.labels) then list[#list + 1] = pod end
  end
  return list
end

local function has_secret(a, namespace, name)
  for _, secret in ipairs(read.of_kind(a.objects, "Secret")) do
    if secret.metadata.name == name and authentication.namespace(secret) == namespace then return true end
  end
  return false
end

-- The certificates of a gateway lie in its pods' namespace.
local function check_credentials(a, gateway, pods)
  local place = pods[1] and pods[1].namespace or "istio-system"
  for _, server in ipairs((gateway.spec or {}).servers or {}) do
    local name = (server.tls or {}).credentialName or ""
    if name ~= "" and not has_secret(a, place, name) then
      a:add("IST0101", "error", gateway, "there is no secret %s in the gateway's namespace %s", name, place)
    end
  end
end

function M.gateways(a)
  local secrets = #read.of_kind(a.objects, "Secret") > 0
  for _, gateway in ipairs(authentication.of_kind(a.objects, "Gateway")) do
    local labels = (gateway.spec or {}).selector or {}
    local pods = selected_by(a, labels)
    if #a.pods > 0 and next(labels) and #pods == 0 and not is_default(labels) then
      a:add("IST0101", "error", gateway, "no pod has the labels that it selects")
    end
    if secrets then check_credentials(a, gateway, pods) end
  end
end

-- --- routes ---------------------------------------------------------------------------------------------------

local function gateway_names(a)
  local names = {}
  for _, gateway in ipairs(authentication.of_kind(a.objects, "Gateway")) do
    names[authentication.title(gateway)] = true
  end
  return names
end

local function check_gateways(a, service, names)
  for _, name in ipairs((service.spec or {}).gateways or {}) do
    local full = name:find("/", 1, true) and name or authentication.namespace(service) .. "/" .. name
    if name ~= "mesh" and not names[full] then
      a:add("IST0101", "error", service, "there is no gateway %s", name)
    end
  end
end

-- The places that a route leads to, mirrors too.
local function destinations_of(service)
  local list = {}
  for _, kind in ipairs { "http", "tcp", "tls" } do
    for _, route in ipairs((service.spec or {})[kind] or {}) do
      for _, one in ipairs(route.route or {}) do list[#list + 1] = one.destination end
      if route.mirror then list[#list + 1] = route.mirror end
      for _, one in ipairs(route.mirrors or {}) do list[#list + 1] = one.destination end
    end
  end
  return list
end

local function check_destination(a, service, destination)
  local host, number = destination.host or "", (destination.port or {}).number
  local found = hosts.find(a, host, authentication.namespace(service))
  if not found then return a:add("IST0101", "error", service, "there is no host %s", host) end
  local there = number == nil or #found.ports == 0
  for _, port in ipairs(found.ports) do there = there or port == number end
  if not there then a:add("IST0101", "error", service, "host %s has no port %s", host, tostring(number)) end
end

local function has_subset(a, destination, namespace)
  local host = authentication.full_name(destination.host or "", namespace)
  for _, rule in ipairs(authentication.of_kind(a.objects, "DestinationRule")) do
    if authentication.full_name((rule.spec or {}).host or "", authentication.namespace(rule)) == host then
      for _, subset in ipairs(rule.spec.subsets or {}) do
        if subset.name == destination.subset then return true end
      end
    end
  end
  return false
end

function M.virtual_services(a)
  local names, services = gateway_names(a), #read.of_kind(a.objects, "Service") > 0
  for _, service in ipairs(authentication.of_kind(a.objects, "VirtualService")) do
    check_gateways(a, service, names)
    for _, destination in ipairs(destinations_of(service)) do
      if services then check_destination(a, service, destination) end
      local subset = (destination.subset or "") ~= ""
      if subset and not has_subset(a, destination, authentication.namespace(service)) then
        a:add("IST0101", "error", service, "host %s has no subset %s", tostring(destination.host), destination.subset)
      end
    end
  end
end

return M
