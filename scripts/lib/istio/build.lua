-- Objects of Istio that a profile needs, made so that they mean one thing only.
-- Not for applying them.
--   local policy = build.allow("team", "from-kfp", { principals = { build.principal("kubeflow", "ml-pipeline") } })
local M = {}

local SECURITY, NETWORKING = "security.istio.io/v1", "networking.istio.io/v1"

---@param namespace string
---@param account string
---@param trust_domain string? cluster.local
---@return string
function M.principal(namespace, account, trust_domain)
  return ("%s/ns/%s/sa/%s"):format(trust_domain or "cluster.local", namespace, account)
end

local function object(version, kind, namespace, name, spec)
  return { apiVersion = version, kind = kind, metadata = { name = name, namespace = namespace }, spec = spec }
end

local function selector(labels)
  return labels and { matchLabels = labels } or nil
end

---An ALLOW policy of one rule. For principals of a profile, forbid_header keeps out requests that name a user
---themselves.
---@param namespace string
---@param name string
---@param rule table principals, namespaces, paths, methods, ports: lists; forbid_header
---@param labels table? of the workload; all of the namespace without
---@return table
function M.allow(namespace, name, rule, labels)
  local entry = {}
  if rule.principals or rule.namespaces then
    entry.from = { { source = { principals = rule.principals, namespaces = rule.namespaces } } }
  end
  if rule.paths or rule.methods or rule.ports then
    entry.to = { { operation = { paths = rule.paths, methods = rule.methods, ports = rule.ports } } }
  end
  if rule.forbid_header then
    entry.when = { { key = ("request.headers[%s]"):format(rule.forbid_header), notValues = { "*" } } }
  end
  return object(SECURITY, "AuthorizationPolicy", namespace, name, {
    action = "ALLOW", selector = selector(labels), rules = { entry },
  })
end

---Nothing is allowed in a namespace but what other policies allow.
---@param namespace string
---@return table
function M.deny_all(namespace)
  return object(SECURITY, "AuthorizationPolicy", namespace, "deny-all", require "json".object {})
end

---@param namespace string
---@param mode "STRICT"|"PERMISSIVE"|"DISABLE"
---@param labels table?
---@param ports table<string, string>? modes by port; needs labels
---@return table
function M.peer_authentication(namespace, mode, labels, ports)
  local levels
  for port, port_mode in pairs(ports or {}) do
    levels = levels or {}
    levels[tostring(port)] = { mode = port_mode }
  end
  return object(SECURITY, "PeerAuthentication", namespace, labels and "workload" or "default", {
    selector = selector(labels), mtls = { mode = mode }, portLevelMtls = levels,
  })
end

---@param namespace string
---@param host string
---@param mode "ISTIO_MUTUAL"|"DISABLE"
---@return table
function M.destination_rule(namespace, host, mode)
  return object(NETWORKING, "DestinationRule", namespace, (host:match "^[^.]*"), {
    host = host, trafficPolicy = { tls = { mode = mode } },
  })
end

---@param namespace string
---@param hosts string[] "NAMESPACE/HOST"
---@param labels table?
---@return table
function M.sidecar(namespace, hosts, labels)
  return object(NETWORKING, "Sidecar", namespace, labels and "workload" or "default", {
    workloadSelector = labels and { labels = labels } or nil, egress = { { hosts = hosts } },
  })
end

---The policy of a profile's namespace, as the profile controller makes it: the owner through the gateway, the
---namespace itself, health checks, the notebook controller.
---@param profile {name: string, owner: string}
---@param settings table? header, prefix, gateway, ui, notebook_controller (principals)
---@return table
function M.profile_policy(profile, settings)
  settings = settings or {}
  local gateway = settings.gateway or M.principal("istio-system", "istio-ingressgateway-service-account")
  local ui = settings.ui or M.principal("kubeflow", "ml-pipeline-ui")
  local notebooks = settings.notebook_controller or M.principal("kubeflow", "notebook-controller-service-account")
  local spec = { action = "ALLOW", rules = {
    { from = { { source = { principals = { gateway, ui } } } }, when = { {
      key = ("request.headers[%s]"):format(settings.header or "kubeflow-userid"),
      values = { (settings.prefix or "") .. profile.owner },
    } } },
    { when = { { key = "source.namespace", values = { profile.name } } } },
    { to = { { operation = { paths = { "/healthz", "/metrics", "/wait-for-drain" } } } } },
    { from = { { source = { principals = { notebooks } } } },
      to = { { operation = { methods = { "GET" }, paths = { "*/api/kernels" } } } } },
  } }
  local policy = object(SECURITY, "AuthorizationPolicy", profile.name, "ns-owner-access-istio", spec)
  policy.metadata.annotations = { user = profile.owner, role = "admin" }
  return policy
end

return M
