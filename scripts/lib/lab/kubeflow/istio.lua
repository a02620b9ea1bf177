-- lab.kubeflow.istio: the policies of a multi-user Kubeflow: who reaches which of its services, and how.
-- Not for profiles (lab.kubeflow.profiles).
--   istio.all { issuer = "https://kubernetes.default.svc.cluster.local" } -> objects

local json = require "json"

local M = {}

local KUBEFLOW, ROOT = "kubeflow", "istio-system"
local GATEWAY = "cluster.local/ns/istio-system/sa/istio-ingressgateway-service-account"
local USER, GROUPS, TOKEN = "kubeflow-userid", "kubeflow-groups", "authorization"

local function object(group, version, kind, namespace, name, spec)
  return { apiVersion = group .. ".istio.io/" .. version, kind = kind, spec = spec,
    metadata = { name = name, namespace = namespace } }
end

local function policy(namespace, name, labels, rules, more)
  local spec = { selector = labels and { matchLabels = labels } or nil, rules = rules and json.array(rules) or nil }
  for key, value in pairs(more or {}) do spec[key] = value end
  return object("security", "v1", "AuthorizationPolicy", namespace, name, json.object(spec))
end

local function header(name, there)
  return { key = ("request.headers[%s]"):format(name), [there and "values" or "notValues"] = { "*" } }
end

local function from(...)
  return { from = { { source = { principals = { ... } } } } }
end

local function account(name) return ("cluster.local/ns/%s/sa/%s"):format(KUBEFLOW, name) end

local function of_pipelines()
  local own = from(account "ml-pipeline", account "ml-pipeline-ui", account "ml-pipeline-persistenceagent",
    account "ml-pipeline-scheduledworkflow", account "ml-pipeline-viewer-crd-service-account",
    account "kubeflow-pipelines-cache")
  local list = {
    -- A token, and nobody's name beside it: Pipelines reads the token itself.
    policy(KUBEFLOW, "ml-pipeline-ui", { app = "ml-pipeline-ui" }, { from(GATEWAY),
      { when = { header(TOKEN, true), header(USER, false) } } }),
    policy(KUBEFLOW, "ml-pipeline", { app = "ml-pipeline" }, { own, { when = { header(USER, false) } } }),
    policy(KUBEFLOW, "ml-pipeline-visualizationserver", { app = "ml-pipeline-visualizationserver" }, { own }),
    policy(KUBEFLOW, "service-cache-server", { app = "cache-server" }, { json.object {} }),
  }
  for _, name in ipairs { "ml-pipeline-ui", "ml-pipeline", "ml-pipeline-visualizationserver" } do
    list[#list + 1] = object("networking", "v1", "DestinationRule", KUBEFLOW, name, {
      host = ("%s.%s.svc.cluster.local"):format(name, KUBEFLOW), trafficPolicy = { tls = { mode = "ISTIO_MUTUAL" } } })
  end
  return list
end

local SIGN_IN = { "/dex/*", "/dex/**", "/oauth2/*" }

-- A token's claims become the headers that Kubeflow's services read.
local function claims(name, issuer, user)
  return object("security", "v1", "RequestAuthentication", ROOT, name, {
    selector = { matchLabels = { app = "istio-ingressgateway" } },
    jwtRules = { { issuer = issuer, forwardOriginalToken = true,
      fromHeaders = { { name = "Authorization", prefix = "Bearer " } },
      outputClaimToHeaders = { { header = USER, claim = user }, { header = GROUPS, claim = "groups" } } } } })
end

local function of_the_edge(issuer)
  local gateway = { app = "istio-ingressgateway" }
  return {
    policy(ROOT, "global-deny-all"),
    policy(ROOT, "istio-ingressgateway", { app = "istio-ingressgateway", istio = "ingressgateway" },
      { json.object {} }, { action = "ALLOW" }),
    policy(ROOT, "istio-ingressgateway-require-jwt", gateway, { {
      from = { { source = { notRequestPrincipals = { "*" } } } },
      to = { { operation = { notPaths = SIGN_IN } } } } }, { action = "DENY" }),
    policy(ROOT, "istio-ingressgateway-oauth2-proxy", gateway, { { when = { header(TOKEN, false) },
      to = { { operation = { notPaths = SIGN_IN } } } } },
      { action = "CUSTOM", provider = { name = "oauth2-proxy" } }),
    claims("dex-jwt", "http://dex.auth.svc.cluster.local:5556/dex", "email"),
    claims("m2m-token-issuer", issuer, "sub"),
  }
end

local function sidecar(namespace, name, hosts, app)
  return object("networking", "v1", "Sidecar", namespace, name, {
    workloadSelector = app and { labels = { app = app } } or nil, egress = { { hosts = hosts } } })
end

local function of_the_rest()
  return {
    policy(KUBEFLOW, "profiles-kfam", { ["kustomize.component"] = "profiles" }, { from(account "centraldashboard") },
      { action = "ALLOW" }),
    policy(KUBEFLOW, "katib-ui", { ["katib.kubeflow.org/component"] = "ui" }, { from(GATEWAY) }, { action = "ALLOW" }),
    sidecar(ROOT, "default", { "./*", "kubeflow/*", "kubeflow-system/*", "knative-serving/*", "knative-eventing/*",
      "istio-system/*" }),
    sidecar(KUBEFLOW, "notebook-controller-exception", { "*/*" }, "notebook-controller"),
    sidecar(KUBEFLOW, "ml-pipeline-ui-exception", { "*/*" }, "ml-pipeline-ui"),
  }
end

---@param options {issuer: string} of the cluster's own tokens
---@return table[] objects
function M.all(options)
  local list = {}
  for _, part in ipairs { of_pipelines(), of_the_edge(options.issuer), of_the_rest() } do
    table.move(part, 1, #part, #list + 1, list)
  end
  return list
end

return M
