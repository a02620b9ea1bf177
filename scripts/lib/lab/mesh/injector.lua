-- lab.mesh.injector: the webhook that adds sidecars to pods, registered as Istio registers it.
-- Not for what it adds (lab.mesh.template). Which pods reach it the selectors of its webhooks say.
--   local i = injector.start(cluster, authority, {}); i:close()

local hash = require "hash"
local inside = require "lab.inside"
local istio = require "istio"
local json = require "json"
local kube = require "kube"
local server = require "server"
local template = require "lab.mesh.template"
local x509 = require "x509"

local M = {}

local NAME = "istio-sidecar-injector"
local DOMAIN = ".sidecar-injector.istio.io"

-- --- the registration -------------------------------------------------------------------------------

local INJECT, REVISION, NAMESPACE = "sidecar.istio.io/inject", "istio.io/rev", "istio-injection"

local function is(key, operator, value) return { key = key, operator = operator, values = value and { value } } end

-- Namespace and pod of each entry, as an installation of the default revision has them.
local ENTRIES = {
  { "rev.namespace", { is(REVISION, "In", "default"), is(NAMESPACE, "DoesNotExist") },
    { is(INJECT, "NotIn", "false") } },
  { "rev.object", { is(REVISION, "DoesNotExist"), is(NAMESPACE, "DoesNotExist") },
    { is(INJECT, "NotIn", "false"), is(REVISION, "In", "default") } },
  { "namespace", { is(NAMESPACE, "In", "enabled") }, { is(INJECT, "NotIn", "false") } },
  { "object", { is(NAMESPACE, "DoesNotExist"), is(REVISION, "DoesNotExist") },
    { is(INJECT, "In", "true"), is(REVISION, "DoesNotExist") } },
}

---The webhook configuration.
---@param url string? without one, Istio's own service
---@param bundle string? base64
---@return table
function M.configuration(url, bundle)
  local hooks = json.array {}
  for i, entry in ipairs(ENTRIES) do
    hooks[i] = { name = entry[1] .. DOMAIN, clientConfig = url and { url = url, caBundle = bundle } or {
        service = { name = "istiod", namespace = "istio-system", path = "/inject", port = 443 } },
      rules = { { operations = { "CREATE" }, apiGroups = { "" }, apiVersions = { "v1" }, resources = { "pods" } } },
      failurePolicy = "Fail", sideEffects = "None", admissionReviewVersions = { "v1" },
      reinvocationPolicy = "Never", namespaceSelector = { matchExpressions = entry[2] },
      objectSelector = { matchExpressions = entry[3] } }
  end
  return { metadata = { name = NAME, labels = { app = "sidecar-injector", [REVISION] = "default" } }, webhooks = hooks }
end

-- --- the answer -------------------------------------------------------------------------------------

local function mutate(cluster, config, request)
  local pod = request.object
  local namespace = inside.view(cluster, "namespaces", nil, request.namespace) or { metadata = { name = "" } }
  local yes = istio.would_inject({ name = request.namespace, labels = namespace.metadata.labels }, pod)
  if not yes or (pod.metadata.annotations or {})["sidecar.istio.io/status"] then return nil end
  local before = json.encode(pod)
  template.inject(pod, request.namespace, config)
  return json.encode(kube.patch.diff(json.decode(before), json.decode(json.encode(pod))))
end

local function review(cluster, config, request)
  local asked = json.decode(request.body).request
  local patch = mutate(cluster, config, asked)
  return { headers = { ["Content-Type"] = "application/json" }, body = json.encode {
    apiVersion = "admission.k8s.io/v1", kind = "AdmissionReview", response = { uid = asked.uid, allowed = true,
      patch = patch and hash.base64(patch) or nil, patchType = patch and "JSONPatch" or nil } } }
end

local HOOKS = "admissionregistration.k8s.io/mutatingwebhookconfigurations"

local function register(cluster, made)
  local there = inside.change(cluster, HOOKS, nil, NAME, nil, "istiod", function(object)
    object.webhooks = made.webhooks
  end)
  if there then return end
  local done, problem = inside.create(cluster, HOOKS, made, "istiod")
  if not done then error(problem, 0) end
end

---Serves the webhook and registers it.
---@param cluster lab.Cluster
---@param authority table of x509
---@param config lab.MeshConfig
---@return server.Server
function M.start(cluster, authority, config)
  local pair = x509.issue(authority, { name = "istiod", usage = "server", names = { "127.0.0.1",
    "istiod.istio-system.svc" } })
  local listening = server.listen { certificate = pair.certificate, key = pair.key, handler = function(request)
    return review(cluster, config, request)
  end }
  local url = ("https://127.0.0.1:%d/inject"):format(listening.port)
  register(cluster, M.configuration(url, hash.base64(authority.certificate)))
  return listening
end

return M
