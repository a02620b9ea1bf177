-- Analyzers of what objects refer to: selectors, hosts, services, patches. A part of istio.analyze.
local authentication = require "istio.authentication"
local hosts = require "istio.analyze.hosts"
local inject = require "istio.inject"
local match = require "istio.match"
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

local function by_namespace(sidecars)
  local default, selecting = {}, {}
  for _, sidecar in ipairs(sidecars) do
    local place = authentication.namespace(sidecar)
    if not (sidecar.spec or {}).workloadSelector then
      default[place] = default[place] or {}
      table.insert(default[place], sidecar)
    elseif next(read.selector_labels(sidecar) or {}) then selecting[#selecting + 1] = sidecar end
  end
  return default, selecting
end

function M.sidecars(a)
  local default, selecting = by_namespace(authentication.of_kind(a.objects, "Sidecar"))
  for place, list in pairs(default) do
    for _, sidecar in ipairs(#list > 1 and list or {}) do
      a:add("IST0111", "error", sidecar, "namespace %s has %d Sidecars without a selector", place, #list)
    end
  end
  local by_pod = {}
  for _, sidecar in ipairs(selecting) do
    local found = #a.pods == 0 -- nothing is known of pods
    for _, pod in ipairs(read.workloads(a, authentication.namespace(sidecar))) do
      if authentication.selects(read.selector_labels(sidecar), pod.labels) then
        found = true
        by_pod[pod] = by_pod[pod] or {}
        table.insert(by_pod[pod], sidecar)
      end
    end
    if not found then a:add("IST0101", "error", sidecar, "no pod of its namespace has the labels that it selects") end
  end
  for pod, list in pairs(by_pod) do
    for _, sidecar in ipairs(#list > 1 and list or {}) do
      a:add("IST0110", "error", sidecar, "%d Sidecars select the same workload %s", #list, read.title(pod.object))
    end
  end
end

local SELECTING = { "AuthorizationPolicy", "PeerAuthentication", "RequestAuthentication", "EnvoyFilter" }

-- Whether a policy has a workload; one that selects nothing has all of its namespace, and in the root of the mesh.
local function has_workload(a, object, labels, root)
  local place = authentication.namespace(object)
  if not labels and (place == root or object.kind ~= "AuthorizationPolicy") then return true end
  for _, pod in ipairs(a.pods) do
    local here = (place == root or pod.namespace == place) and authentication.selects(labels, pod.labels)
    if here and (object.kind ~= "AuthorizationPolicy" or read.in_mesh(a, pod)) then return true end
  end
  return false
end

function M.selectors(a)
  if #a.pods == 0 then return end
  local root = a.options.root_namespace or "istio-system"
  for _, kind in ipairs(SELECTING) do
    for _, object in ipairs(authentication.of_kind(a.objects, kind)) do
      local spec = object.spec or {}
      local elsewhere = spec.targetRef or #(spec.targetRefs or {}) > 0
      if not elsewhere and not has_workload(a, object, read.selector_labels(object), root) then
        a:add("IST0127", "warning", object, "no workload of the mesh has the labels that it selects")
      end
    end
  end
end

local function fits_namespace(pattern, name)
  return pattern:lower() == name:lower() or match.text(pattern, name)
end

-- Namespaces that an AuthorizationPolicy names and that are not there.
function M.namespaces(a)
  if next(a.namespaces) == nil then return end
  for _, policy in ipairs(authentication.of_kind(a.objects, "AuthorizationPolicy")) do
    for _, rule in ipairs((policy.spec or {}).rules or {}) do
      for _, from in ipairs(rule.from or {}) do
        for _, field in ipairs { "namespaces", "notNamespaces" } do
          for _, pattern in ipairs((from.source or {})[field] or {}) do
            local found = pattern == "*"
            for name in pairs(a.namespaces) do found = found or fits_namespace(pattern, name) end
            if not found then a:add("IST0101", "error", policy, "there is no namespace %s", pattern) end
          end
        end
      end
    end
  end
end

local UNVERIFIED = "TLS mode %s without caCertificates: nobody verifies the server%s"

local function check_tls(a, rule, tls, code, where)
  local mode = (tls or {}).mode
  if mode ~= "SIMPLE" and mode ~= "MUTUAL" then return end
  -- The credential is read where a workload is selected, and brings the authority along.
  local credential = (tls.credentialName or "") ~= "" and next((rule.spec.workloadSelector or {}).matchLabels or {})
  if (tls.caCertificates or "") == "" and not credential then
    a:add(code, "warning", rule, UNVERIFIED, mode, where)
  end
end

local TOPOLOGY = { "topology.kubernetes.io/region", "topology.kubernetes.io/zone", "topology.istio.io/subzone" }

-- The labels of each workload, and those that it has of its node.
local function labels_on_nodes(a)
  local nodes, list = {}, {}
  for _, node in ipairs(read.of_kind(a.objects, "Node")) do nodes[node.metadata.name] = node end
  for i, pod in ipairs(read.workloads(a, "*")) do
    local labels, node = {}, nodes[pod.spec.nodeName]
    for key, value in pairs(pod.labels) do labels[key] = value end
    if node then
      labels["kubernetes.io/hostname"] = node.metadata.name
      for _, key in ipairs(TOPOLOGY) do labels[key] = read.labels_of(node)[key] or labels[key] end
    end
    list[i] = labels
  end
  return list
end

local function check_subsets(a, rule, workloads)
  if #a.pods == 0 then return end
  for _, subset in ipairs(rule.spec.subsets or {}) do
    local found = false
    for _, labels in ipairs(workloads) do found = found or authentication.selects(subset.labels, labels) end
    if not found then a:add("IST0173", "error", rule, "subset %s selects no pod", tostring(subset.name)) end
  end
end

function M.destinations(a)
  local services, workloads = #read.of_kind(a.objects, "Service") > 0, labels_on_nodes(a)
  for _, rule in ipairs(authentication.of_kind(a.objects, "DestinationRule")) do
    local spec = rule.spec or {}
    local known = not services or not spec.host or hosts.find(a, spec.host, authentication.namespace(rule))
    if not known then a:add("IST0174", "warning", rule, "there is no service for the host %s", spec.host)
    else check_subsets(a, rule, workloads) end
    check_tls(a, rule, (spec.trafficPolicy or {}).tls, "IST0128", "")
    for _, level in ipairs((spec.trafficPolicy or {}).portLevelSettings or {}) do
      check_tls(a, rule, level.tls, "IST0129", (" on port %s"):format(tostring((level.port or {}).number)))
    end
  end
end

local PROTOCOLS = { "http", "http2", "https", "grpc", "grpc-web", "tcp", "tls", "mongo", "mysql", "redis", "udp",
  "hbone" }
local WELL_KNOWN = { [25] = true, [53] = true, [3306] = true, [27017] = true } -- the server speaks first: TCP

local function is_protocol(name)
  name = name:lower()
  for _, protocol in ipairs(PROTOCOLS) do
    if name == protocol or name:sub(1, #protocol + 1) == protocol .. "-" then return true end
  end
  return false
end

local APP_PROTOCOLS = { ["kubernetes.io/h2c"] = true, ["kubernetes.io/ws"] = true, ["kubernetes.io/wss"] = true }

local function names_protocol(port)
  if port.protocol == "UDP" then return true end
  local said = port.appProtocol or ""
  if said ~= "" then return is_protocol(said) or APP_PROTOCOLS[said] == true end
  return is_protocol(port.name or "") or (port.name or "") == "" and WELL_KNOWN[port.port] == true
end

function M.services(a)
  for _, service in ipairs(read.of_kind(a.objects, "Service")) do
    local external = (service.spec or {}).type == "ExternalName"
    local skipped = read.is_system(authentication.namespace(service))
    for _, port in ipairs(not skipped and (service.spec or {}).ports or {}) do
      if external and (port.name == "tcp" or not names_protocol(port)) then
        a:add("IST0150", "warning", service, "port %s of an ExternalName service: the proxy may not pass TCP on",
          tostring(port.name or port.port))
      elseif not names_protocol(port) then
        a:add("IST0118", "info", service, "port %s (%s) names no protocol: it is guessed", tostring(port.name or ""),
          tostring(port.port))
      end
    end
  end
end

-- --- webhooks -----------------------------------------------------------------------------------------------------

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

-- --- webhooks of several installations ----------------------------------------------------------------------------

local REVISION, INJECTION, POD = "istio.io/rev", "istio-injection", "sidecar.istio.io/inject"

local function revisions_in(selector, found)
  local direct = ((selector or {}).matchLabels or {})[REVISION]
  if direct then found[direct] = true end
  for _, expression in ipairs((selector or {}).matchExpressions or {}) do
    for _, value in ipairs(expression.key == REVISION and expression.values or {}) do found[value] = true end
  end
end

-- The injectors among the objects, each webhook with its configuration, and the revisions that they speak of.
local function injectors(a)
  local list, revisions = {}, {}
  for _, configuration in ipairs(read.of_kind(a.objects, "MutatingWebhookConfiguration")) do
    local own, found = false, { }
    if read.labels_of(configuration)[REVISION] then found[read.labels_of(configuration)[REVISION]] = true end
    for _, webhook in ipairs(configuration.webhooks or {}) do
      own = own or tostring(webhook.name):find "istio%.io$" ~= nil
      revisions_in(webhook.namespaceSelector, found)
      revisions_in(webhook.objectSelector, found)
    end
    for _, webhook in ipairs((own or next(found)) and configuration.webhooks or {}) do
      list[#list + 1] = { configuration = configuration, webhook = webhook }
    end
    for revision in pairs(found) do revisions[revision] = true end
  end
  return list, revisions
end

-- All labels that decide: each value of one key, without a revision and with each.
local function label_sets(key, values, revisions)
  local sets = {}
  for _, value in ipairs { false, table.unpack(values) } do
    sets[#sets + 1] = { [key] = value or nil }
    for revision in pairs(revisions) do sets[#sets + 1] = { [key] = value or nil, [REVISION] = revision } end
  end
  return sets
end

-- No pod may be injected twice.
function M.overlaps(a)
  local list, revisions = injectors(a)
  local pods, told = label_sets(POD, { "true", "false" }, revisions), {}
  for _, namespace in ipairs(label_sets(INJECTION, { "enabled", "disabled" }, revisions)) do
    for _, pod in ipairs(pods) do
      local matching = {}
      for _, one in ipairs(list) do
        local fits = inject.selects(one.webhook.namespaceSelector, namespace)
          and inject.selects(one.webhook.objectSelector, pod)
        if fits then matching[#matching + 1] = one end
      end
      for _, one in ipairs(#matching > 1 and matching or {}) do
        if not told[one] then
          a:add("IST0139", "error", one.configuration, "webhook %s overlaps with others: a pod may be injected twice",
            tostring(one.webhook.name))
        end
        told[one] = true
      end
    end
  end
end

return M
