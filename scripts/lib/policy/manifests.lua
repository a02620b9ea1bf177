-- policy.manifests: what a cluster needs to serve a set of policies, as objects for `kubectl apply -f -`.
-- Not for the lab, where `kfhost policy serve` registers itself.
--   manifests.objects(set, { image = "registry.site/kfhost:1" })

local errors = require "errors"
local json = require "json"
local report = require "policy.serve.report"
local rights = require "policy.rights"
local webhooks = require "policy.webhooks"

local M = {}

local PORT, OPS_PORT = 8443, 8081
local CONFIG_MAP = 1 << 20 -- bytes that one holds
local LEAVE = "5" -- seconds until no endpoint names a pod that ends

local function labels_of(options)
  return { ["app.kubernetes.io/name"] = options.name, ["app.kubernetes.io/part-of"] = "kfhost" }
end

local function object(api_version, kind, options, more)
  local result = { apiVersion = api_version, kind = kind,
    metadata = { name = options.name, namespace = options.namespace, labels = labels_of(options) } }
  for field, value in pairs(more or {}) do result[field] = value end
  return result
end

local function cluster_wide(api_version, kind, options, more)
  local result = object(api_version, kind, options, more)
  result.metadata.name, result.metadata.namespace = webhooks.cluster_name(options.name, options.namespace), nil
  return result
end

local function needs_lead(description)
  return #rights.reads(description) + #description.watches + #description.schedules > 0
end

-- The configurations of the release: with all webhooks, or empty, for the leader to fill when every replica can answer.
local function configurations_of(description, options)
  if options.webhooks ~= "when-served" then
    return webhooks.configurations(description, { name = options.name, namespace = options.namespace,
      client = function(path)
        return { service = { name = options.name, namespace = options.namespace, path = path, port = 443 } }
      end })
  end
  local list = {}
  for i, place in ipairs(webhooks.places(options.name, options.namespace)) do
    list[i] = webhooks.configuration(place)
  end
  return list
end

-- With those that this set has nothing for: the set before it may have had.
local function all_configurations(description, options)
  local list, there = configurations_of(description, options), {}
  for _, one in ipairs(list) do there[one.metadata.name] = one end
  for i, place in ipairs(webhooks.places(options.name, options.namespace)) do
    list[i] = there[place.name] or webhooks.configuration(place, json.array {})
  end
  return list
end

-- What the process itself needs in the cluster: caBundle in its configurations, or all that these hold.
local function own_rules(description, options)
  local names, rules = {}, {}
  for _, one in ipairs(configurations_of(description, options)) do
    names[one.kind] = names[one.kind] or {}
    table.insert(names[one.kind], one.metadata.name)
  end
  for kind, list in pairs(names) do
    local resource = kind == "MutatingWebhookConfiguration" and "mutatingwebhookconfigurations"
      or "validatingwebhookconfigurations"
    rules[#rules + 1] = { apiGroups = { "admissionregistration.k8s.io" }, resources = { resource },
      resourceNames = list, verbs = { "get", "patch" } }
  end
  table.sort(rules, function(a, b) return a.resources[1] < b.resources[1] end)
  return rules
end

-- What it needs in its own namespace: its certificate, its lease, and where it says how it is.
local function role(description, options)
  local rules = {
    { apiGroups = { "" }, resources = { "configmaps" }, resourceNames = { report.name(options.name) },
      verbs = needs_lead(description) and { "get", "patch" } or { "patch" } },
    { apiGroups = { "" }, resources = { "secrets" }, verbs = { "create" } },
    { apiGroups = { "" }, resources = { "secrets" }, resourceNames = { options.name .. "-certificates" },
      verbs = { "get", "update" } },
  }
  if needs_lead(description) then
    rules[#rules + 1] = { apiGroups = { "coordination.k8s.io" }, resources = { "leases" }, verbs = { "create" } }
    rules[#rules + 1] = { apiGroups = { "coordination.k8s.io" }, resources = { "leases" },
      resourceNames = { options.name }, verbs = { "get", "update" } }
  end
  return object("rbac.authorization.k8s.io/v1", "Role", options, { rules = rules })
end

local function binding(kind, options)
  local make = kind == "ClusterRole" and cluster_wide or object
  return make("rbac.authorization.k8s.io/v1", kind .. "Binding", options, {
    roleRef = { apiGroup = "rbac.authorization.k8s.io", kind = kind,
      name = kind == "ClusterRole" and webhooks.cluster_name(options.name, options.namespace) or options.name },
    subjects = { { kind = "ServiceAccount", name = options.name, namespace = options.namespace } } })
end

local function refuse(format, ...)
  errors.raise { code = "Config", message = format:format(...) }
end

-- What a ConfigMap cannot hold is told here, and not by the API server, or by what is missing in the cluster.
local function check_key(data, file)
  local key = file.stem .. ".lua"
  if not key:find "^[%w._-]+$" then
    refuse("the file '%s' travels in a ConfigMap, where a name has letters, digits, '-', '_' and '.' only", key)
  end
  if data[key] then refuse("two files are called '%s', and one ConfigMap is to hold them: rename one", key) end
end

local function check_size(data)
  local bytes = 0
  for key, text in pairs(data) do bytes = bytes + #key + #text end
  if bytes <= CONFIG_MAP then return end
  refuse("the files and settings have %d bytes, a ConfigMap holds %d: serve them as several releases (--name)", bytes,
    CONFIG_MAP)
end

-- That of a Service, and of what is called after it.
local function check_name(name)
  if not name or #name <= 40 and name:find "^%l[%l%d-]*$" and not name:find "%-$" then return end
  refuse("'%s' cannot be the name of a release: at the most 40 lower-case letters, digits and inner dashes", name)
end

-- The policy files travel in a ConfigMap; bundled ones are in the image.
local function files_of(set)
  local data, arguments = {}, {}
  for _, file in ipairs(set.list) do
    if file.name:find "^@kfhost/" then
      arguments[#arguments + 1] = file.stem
    else
      check_key(data, file)
      data[file.stem .. ".lua"] = file.text
      arguments[#arguments + 1] = "/etc/kfhost/policies/" .. file.stem .. ".lua"
    end
  end
  return data, arguments
end

local function probe(path, period)
  return { httpGet = { path = path, port = "ops" }, periodSeconds = period, timeoutSeconds = 5 }
end

local function field(name, path)
  return { name = name, valueFrom = { fieldRef = { fieldPath = path } } }
end

local function command_of(description, options, arguments)
  local command = { "policy", "serve", "--address", "$(POD_IP)", "--port", tostring(PORT), "--ops-port",
    tostring(OPS_PORT), "--service", "--release", options.name, "--own-namespace", "$(POD_NAMESPACE)", "--workers",
    tostring(options.workers), "--leave", LEAVE }
  if needs_lead(description) then command[#command + 1] = "--leader-election" end
  if options.webhooks == "when-served" then table.move({ "--register", "true" }, 1, 2, #command + 1, command) end
  for _, group in ipairs(options.bypass_groups or {}) do
    table.move({ "--bypass-group", group }, 1, 2, #command + 1, command)
  end
  if options.certificate_days then
    table.move({ "--certificate-days", tostring(options.certificate_days) }, 1, 2, #command + 1, command)
  end
  if next(options.configs or {}) then
    table.move({ "--config", "/etc/kfhost/policies/config.yaml" }, 1, 2, #command + 1, command)
  end
  return table.move(arguments, 1, #arguments, #command + 1, command)
end

local function container(description, options, arguments)
  return { name = "kfhost", image = options.image, args = command_of(description, options, arguments),
    env = { field("POD_IP", "status.podIP"), field("POD_NAME", "metadata.name"),
      field("POD_NAMESPACE", "metadata.namespace") },
    ports = { { name = "webhook", containerPort = PORT }, { name = "ops", containerPort = OPS_PORT } },
    readinessProbe = probe("/readyz", 5), livenessProbe = probe("/healthz", 20),
    resources = { requests = { cpu = "50m", memory = "64Mi" }, limits = { memory = "256Mi" } },
    securityContext = { allowPrivilegeEscalation = false, readOnlyRootFilesystem = true, runAsNonRoot = true,
      capabilities = { drop = { "ALL" } }, seccompProfile = { type = "RuntimeDefault" } },
    volumeMounts = { { name = "policies", mountPath = "/etc/kfhost/policies", readOnly = true } } }
end

local function deployment(set, options, arguments)
  local labels = labels_of(options)
  return object("apps/v1", "Deployment", options, { spec = {
    replicas = options.replicas, selector = { matchLabels = labels },
    template = { metadata = { labels = labels }, spec = {
      serviceAccountName = options.name, terminationGracePeriodSeconds = 45,
      securityContext = { runAsNonRoot = true, runAsUser = 65532, seccompProfile = { type = "RuntimeDefault" } },
      topologySpreadConstraints = { { maxSkew = 1, topologyKey = "kubernetes.io/hostname",
        whenUnsatisfiable = "ScheduleAnyway", labelSelector = { matchLabels = labels } } },
      containers = { container(set.description, options, arguments) },
      volumes = { { name = "policies", configMap = { name = options.name } } } } } } })
end

local function network_policy(options)
  return object("networking.k8s.io/v1", "NetworkPolicy", options, { spec = {
    podSelector = { matchLabels = labels_of(options) }, policyTypes = { "Ingress" },
    ingress = { { ports = { { port = PORT, protocol = "TCP" }, { port = OPS_PORT, protocol = "TCP" } } } } } })
end

-- Each replica says how it is in a line of it.
local function status_map(options)
  local map = object("v1", "ConfigMap", options)
  map.metadata.name = report.name(options.name)
  return map
end

---@param set policy.Set
---@param options {image: string, name: string?, namespace: string?, replicas: integer?, workers: integer?,
---  configs: table?, bypass_groups: string[]?, certificate_days: number?, webhooks: "at-once"|"when-served"|nil}
---  webhooks: when-served: the configurations are empty, and the leader fills them
---@return table[] objects in the order in which they can be applied; the webhooks last
function M.objects(set, options)
  check_name(options.name)
  options = { image = options.image, name = options.name or "kfhost-policy", configs = options.configs,
    namespace = options.namespace or "kfhost-system", replicas = options.replicas or 2, workers = options.workers or 2,
    bypass_groups = options.bypass_groups, certificate_days = options.certificate_days, webhooks = options.webhooks }
  local description = set.description
  local data, arguments = files_of(set)
  if next(options.configs or {}) then data["config.yaml"] = require "yaml".encode(options.configs) end
  check_size(data)
  local rules = rights.rules(description)
  for _, rule in ipairs(own_rules(description, options)) do rules[#rules + 1] = rule end
  local labels = labels_of(options)
  local objects = {
    { apiVersion = "v1", kind = "Namespace", metadata = { name = options.namespace,
      labels = { ["pod-security.kubernetes.io/enforce"] = "restricted", ["app.kubernetes.io/part-of"] = "kfhost" } } },
    object("v1", "ServiceAccount", options),
    cluster_wide("rbac.authorization.k8s.io/v1", "ClusterRole", options, { rules = rules }),
    binding("ClusterRole", options), role(description, options), binding("Role", options),
    object("v1", "ConfigMap", options, { data = json.object(data) }),
    status_map(options),
    object("v1", "Service", options, { spec = { selector = labels,
      ports = { { name = "webhook", port = 443, targetPort = "webhook" } } } }),
    network_policy(options),
    object("policy/v1", "PodDisruptionBudget", options,
      { spec = { minAvailable = 1, selector = { matchLabels = labels } } }),
    deployment(set, options, arguments),
  }
  return table.move(all_configurations(description, options), 1, 3, #objects + 1, objects)
end

return M
