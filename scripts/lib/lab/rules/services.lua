-- lab.rules.services: services with their addresses, endpoints, ingresses, network policies.
-- Not for carrying traffic.
--   return { services = … }

local json = require "json"
local status = require "lab.status"

local services = { field_list = { "spec.clusterIP", "spec.type" } }

local function or_default(object, name, value)
  if object[name] == nil then object[name] = value end
end

function services.fields(object)
  return { ["spec.clusterIP"] = object.spec.clusterIP or "", ["spec.type"] = object.spec.type or "" }
end

function services.default(object)
  local spec = object.spec or {}
  object.spec = spec
  or_default(spec, "type", "ClusterIP")
  or_default(spec, "sessionAffinity", "None")
  for _, port in ipairs(spec.ports or {}) do
    or_default(port, "protocol", "TCP")
    if port.targetPort == nil or port.targetPort == 0 or port.targetPort == "" then port.targetPort = port.port end
  end
  if spec.sessionAffinity == "ClientIP" and not spec.sessionAffinityConfig then
    spec.sessionAffinityConfig = { clientIP = { timeoutSeconds = 10800 } }
  end
  if spec.type == "ExternalName" then return end
  or_default(spec, "internalTrafficPolicy", "Cluster")
  if spec.type == "NodePort" or spec.type == "LoadBalancer" then
    or_default(spec, "externalTrafficPolicy", "Cluster")
  end
  if spec.type == "LoadBalancer" then or_default(spec, "allocateLoadBalancerNodePorts", true) end
end

function services.prepare_create(object)
  object.status = { loadBalancer = json.object {} }
end

-- What was given out stays when an update does not say it.
function services.prepare_update(object, old)
  local spec, before = object.spec, old.spec
  if spec.type == "ExternalName" then return end
  if (spec.clusterIP or "") == "" and (before.clusterIP or "") ~= "" then
    spec.clusterIP, spec.clusterIPs = before.clusterIP, before.clusterIPs
  end
  or_default(spec, "clusterIPs", before.clusterIPs)
  or_default(spec, "ipFamilies", before.ipFamilies)
  or_default(spec, "ipFamilyPolicy", before.ipFamilyPolicy)
end

local function check_port(port, at, several, causes)
  if several and (port.name or "") == "" then causes:required(at .. ".name") end
  if math.type(port.port) ~= "integer" or port.port < 1 or port.port > 65535 then
    causes:invalid(at .. ".port", port.port or 0, "must be between 1 and 65535, inclusive")
  end
  if port.protocol ~= "TCP" and port.protocol ~= "UDP" and port.protocol ~= "SCTP" then
    causes:unsupported(at .. ".protocol", port.protocol, { "SCTP", "TCP", "UDP" })
  end
end

local TYPES = { ClusterIP = true, NodePort = true, LoadBalancer = true, ExternalName = true }

function services.validate(object, causes)
  local spec = object.spec
  local ports = spec.ports or {}
  if #ports == 0 and spec.type ~= "ExternalName" and spec.clusterIP ~= "None" then causes:required("spec.ports") end
  local names, pairs_seen = {}, {}
  for i, port in ipairs(ports) do
    local at = ("spec.ports[%d]"):format(i - 1)
    check_port(port, at, #ports > 1, causes)
    if port.name then
      if names[port.name] then causes:duplicate(at .. ".name", port.name) end
      names[port.name] = true
    end
    local key = ("%s/%s"):format(port.protocol, port.port)
    if pairs_seen[key] then causes:duplicate(at, { port = port.port, protocol = port.protocol }) end
    pairs_seen[key] = true
  end
  if not TYPES[spec.type] then
    causes:unsupported("spec.type", spec.type, { "ClusterIP", "ExternalName", "LoadBalancer", "NodePort" })
  end
end

function services.validate_update(object, old, causes)
  services.validate(object, causes)
  local before = old.spec
  if before.type ~= "ExternalName" and object.spec.type ~= "ExternalName" and (before.clusterIP or "") ~= ""
    and object.spec.clusterIP ~= before.clusterIP then
    causes:invalid("spec.clusterIPs[0]", json.array { object.spec.clusterIP }, "may not change once set")
  end
end

-- --- addresses ------------------------------------------------------------------------------------

local function used_addresses(ctx)
  local used = {}
  for _, record in ipairs(ctx.cluster.store:collection("services"):records()) do
    used[record.fields["spec.clusterIP"]] = true
  end
  return used
end

local function free_address(ctx)
  local used = used_addresses(ctx)
  local cluster = ctx.cluster
  repeat
    local n = (cluster.next_address or 10) + 1
    cluster.next_address = n
    local address = ("10.96.%d.%d"):format(n // 250, n % 250 + 1)
    if not used[address] then return address end
  until false
end

function services.allocate(object, ctx)
  local spec = object.spec
  if spec.type == "ExternalName" then return end
  if (spec.clusterIP or "") == "" then
    spec.clusterIP = free_address(ctx)
  elseif spec.clusterIP ~= "None" and used_addresses(ctx)[spec.clusterIP] then
    local causes = status.causes()
    causes:invalid("spec.clusterIPs", json.array { spec.clusterIP },
      ("failed to allocate IP %s: provided IP is already allocated"):format(spec.clusterIP))
    status.check({ group = "", kind = "Service" }, object.metadata.name, causes)
  end
  spec.clusterIPs = json.array { spec.clusterIP }
  or_default(spec, "ipFamilies", json.array { "IPv4" })
  or_default(spec, "ipFamilyPolicy", "SingleStack")
  if spec.type == "NodePort" or spec.type == "LoadBalancer" then
    for _, port in ipairs(spec.ports or {}) do
      if not port.nodePort then
        ctx.cluster.next_node_port = (ctx.cluster.next_node_port or 29999) + 1
        port.nodePort = ctx.cluster.next_node_port
      end
    end
  end
end

local ingresses = {}

function ingresses.prepare_create(object) object.status = { loadBalancer = json.object {} } end

local netpols = {}

function netpols.default(object)
  local spec = object.spec or {}
  object.spec = spec
  or_default(spec, "podSelector", json.object {})
  if not spec.policyTypes then
    spec.policyTypes = json.array(spec.egress and { "Ingress", "Egress" } or { "Ingress" })
  end
  for _, direction in ipairs { "ingress", "egress" } do
    for _, rule in ipairs(spec[direction] or {}) do
      for _, port in ipairs(rule.ports or {}) do or_default(port, "protocol", "TCP") end
    end
  end
end

local slices = {}

function slices.default(object)
  for _, port in ipairs(object.ports or {}) do
    or_default(port, "name", "")
    or_default(port, "protocol", "TCP")
  end
end

return {
  services = services, ["networking.k8s.io/ingresses"] = ingresses, ["networking.k8s.io/networkpolicies"] = netpols,
  ["discovery.k8s.io/endpointslices"] = slices,
}
