-- Analyzers of what objects refer to: selectors, hosts, services, patches. A part of istio.analyze.
local authentication = require "istio.authentication"
local read = require "istio.analyze.read"
local validate = require "istio.validate"

local M = {}

function M.schema(a)
  for _, object in ipairs(a.objects) do
    for _, finding in ipairs(validate.validate(object)) do
      local code = finding.severity == "error" and "IST0106" or "IST0133"
      a:add(code, finding.severity, object, "%s: %s", finding.path, finding.message)
    end
  end
end

function M.sidecars(a)
  local default, by_pod = {}, {}
  for _, sidecar in ipairs(authentication.of_kind(a.objects, "Sidecar")) do
    local place = authentication.namespace(sidecar)
    local labels = ((sidecar.spec or {}).workloadSelector or {}).labels
    if not labels then
      default[place] = default[place] or {}
      table.insert(default[place], sidecar)
    else
      for _, pod in ipairs(a.pods) do
        if pod.namespace == place and authentication.selects(labels, pod.labels) then
          by_pod[pod] = by_pod[pod] or {}
          table.insert(by_pod[pod], sidecar)
        end
      end
    end
  end
  for place, list in pairs(default) do
    for _, sidecar in ipairs(#list > 1 and list or {}) do
      a:add("IST0111", "error", sidecar, "namespace %s has %d Sidecars without a selector", place, #list)
    end
  end
  for pod, list in pairs(by_pod) do
    for _, sidecar in ipairs(#list > 1 and list or {}) do
      a:add("IST0110", "error", sidecar, "%d Sidecars select the same workload %s", #list, read.title(pod.object))
    end
  end
end

local SELECTING = { "AuthorizationPolicy", "PeerAuthentication", "RequestAuthentication", "Sidecar", "EnvoyFilter" }

function M.selectors(a)
  if #a.pods == 0 then return end
  local root = a.options.root_namespace or "istio-system"
  for _, kind in ipairs(SELECTING) do
    for _, object in ipairs(authentication.of_kind(a.objects, kind)) do
      local labels, place, found = read.selector_labels(object), authentication.namespace(object), false
      for _, pod in ipairs(a.pods) do
        local here = place == root or pod.namespace == place
        found = found or (here and authentication.selects(labels, pod.labels))
      end
      if labels and next(labels) and not found then
        a:add("IST0127", "warning", object, "no workload has the labels that it selects")
      end
    end
  end
end

local function known_host(a, host, namespace)
  local full = authentication.full_name(host, namespace)
  if full:find("*", 1, true) then return true end
  local name, place = full:match "^([^.]+)%.([^.]+)%.svc%.cluster%.local$"
  for _, service in ipairs(read.of_kind(a.objects, "Service")) do
    if service.metadata.name == name and authentication.namespace(service) == place then return true end
  end
  for _, entry in ipairs(read.of_kind(a.objects, "ServiceEntry")) do
    for _, known in ipairs((entry.spec or {}).hosts or {}) do
      if require "istio.match".text(known, full) or known == host then return true end
    end
  end
  return false
end

function M.destinations(a)
  for _, rule in ipairs(authentication.of_kind(a.objects, "DestinationRule")) do
    local host = (rule.spec or {}).host
    local services = #read.of_kind(a.objects, "Service") > 0
    if services and host and not known_host(a, host, authentication.namespace(rule)) then
      a:add("IST0174", "warning", rule, "there is no service for the host %s", host)
    end
    local tls = ((rule.spec or {}).trafficPolicy or {}).tls or {}
    if tls.mode == "SIMPLE" and (tls.caCertificates or "") == "" and (tls.credentialName or "") == "" then
      a:add("IST0128", "warning", rule, "TLS without a certificate authority: nobody verifies the server")
    end
  end
end

local PROTOCOLS = { "http", "http2", "https", "grpc", "grpc-web", "tcp", "tls", "mongo", "mysql", "redis", "udp" }

local function names_protocol(port)
  if port.appProtocol then return true end
  for _, protocol in ipairs(PROTOCOLS) do
    local name = port.name or ""
    if name == protocol or name:sub(1, #protocol + 1) == protocol .. "-" then return true end
  end
  return false
end

function M.services(a)
  for _, service in ipairs(read.of_kind(a.objects, "Service")) do
    for _, port in ipairs((service.spec or {}).ports or {}) do
      if not names_protocol(port) and port.protocol ~= "UDP" then
        a:add("IST0118", "info", service, "port %s (%s) names no protocol: it is guessed", tostring(port.name or ""),
          tostring(port.port))
      end
    end
  end
end

function M.webhooks(a)
  local services = read.of_kind(a.objects, "Service")
  local there = {}
  for _, service in ipairs(services) do
    there[authentication.namespace(service) .. "/" .. service.metadata.name] = true
  end
  for _, kind in ipairs { "MutatingWebhookConfiguration", "ValidatingWebhookConfiguration" } do
    for _, configuration in ipairs(read.of_kind(a.objects, kind)) do
      for _, webhook in ipairs(configuration.webhooks or {}) do
        local service = (webhook.clientConfig or {}).service
        local key = service and ("%s/%s"):format(service.namespace or "default", service.name)
        if service and #services > 0 and not there[key] then
          a:add("IST0139", "error", configuration, "webhook %s calls service %s, which is not there", webhook.name, key)
        end
      end
    end
  end
end

-- --- EnvoyFilter ---------------------------------------------------------------------------------------------------

function M.envoy_filters(a)
  for _, filter in ipairs(authentication.of_kind(a.objects, "EnvoyFilter")) do
    for i, entry in ipairs((filter.spec or {}).configPatches or {}) do
      local operation, where = (entry.patch or {}).operation, ("patch %d"):format(i)
      local relative = operation == "INSERT_BEFORE" or operation == "INSERT_AFTER" or operation == "REPLACE"
      local of_routes = entry.applyTo == "ROUTE_CONFIGURATION" or entry.applyTo == "HTTP_ROUTE"
      if relative and (filter.spec.priority or 0) == 0 then
        a:add("IST0151", "warning", filter, "%s is relative to others (%s), and there is no priority", where, operation)
      end
      if operation == "REPLACE" and entry.applyTo ~= "HTTP_FILTER" and entry.applyTo ~= "NETWORK_FILTER" then
        a:add("IST0152", "error", filter, "%s: REPLACE is for HTTP_FILTER and NETWORK_FILTER only", where)
      elseif operation == "ADD" and of_routes then
        a:add("IST0153", "error", filter, "%s: ADD has no effect on %s", where, entry.applyTo)
      elseif operation == "REMOVE" and of_routes then
        a:add("IST0154", "error", filter, "%s: REMOVE has no effect on %s", where, entry.applyTo)
      end
      if relative and not ((entry.match or {}).listener or (entry.match or {}).routeConfiguration) then
        a:add("IST0155", "warning", filter, "%s is relative to others and names none", where)
      end
    end
  end
end

return M
