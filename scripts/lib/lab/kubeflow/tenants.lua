-- lab.kubeflow.tenants: profiles, PodDefaults and notebooks beside a lab's API: controllers and the webhook.
-- Not for what they decide (profiles, poddefaults, notebooks).
--   local tenants = tenants.start(client, { authority = lab.authority }); tenants:stop()

local crds = require "lab.kubeflow.crds"
local errors = require "errors"
local hash = require "hash"
local json = require "json"
local kube = require "kube"
local notebooks = require "lab.kubeflow.notebooks"
local poddefaults = require "lab.kubeflow.poddefaults"
local profiles = require "lab.kubeflow.profiles"
local register = require "lab.katib.register"
local roles = require "lab.kubeflow.roles"
local server = require "server"
local x509 = require "x509"

local M = {}

local WEBHOOK = "poddefaults-webhook-mutating-webhook-configuration"
local PATH = "/apply-poddefault"
local POD_DEFAULTS = "poddefaults.v1alpha1.kubeflow.org"

local Tenants = {}
Tenants.__index = Tenants

-- --- the webhook ------------------------------------------------------------------------------------------------

local function respond(uid, response)
  response.uid = uid
  return { status = 200, headers = { ["content-type"] = "application/json" }, body = json.encode {
    kind = "AdmissionReview", apiVersion = "admission.k8s.io/v1", response = response } }
end

local function review(self, request)
  if request.path ~= PATH then return { status = 404, body = "404 page not found\n" } end
  local asked = (json.try.decode(request.body or "") or {}).request
  if type(asked) ~= "table" then return { status = 400, body = "no review\n" } end
  local namespace = asked.object.metadata.namespace or asked.namespace
  local list = self.client:list(POD_DEFAULTS, { namespace = namespace })
  local after, problem = poddefaults.apply(json.decode(json.encode(asked.object)), list)
  if not after then return respond(asked.uid, { allowed = false, status = { message = problem } }) end
  local patch, response = kube.patch.diff(asked.object, after), { allowed = true }
  if #patch > 0 then
    response.patchType, response.patch = "JSONPatch", hash.base64(json.encode(json.array(patch)))
  end
  return respond(asked.uid, response)
end

local function serve(self, authority)
  local pair = x509.issue(authority, { name = "admission-webhook", usage = "server", names = { "127.0.0.1",
    "admission-webhook-service.kubeflow.svc" } })
  self.server = server.listen { port = 0, certificate = pair.certificate, key = pair.key,
    handler = function(request) return review(self, request) end }
  self.client:apply({ apiVersion = "admissionregistration.k8s.io/v1", kind = "MutatingWebhookConfiguration",
    metadata = { name = WEBHOOK }, webhooks = { { name = "admission-webhook-deployment.kubeflow.org",
      clientConfig = { url = ("https://127.0.0.1:%d%s"):format(self.server.port, PATH),
        caBundle = hash.base64(authority.certificate) },
      rules = { { apiGroups = { "" }, apiVersions = { "v1" }, resources = { "pods" }, operations = { "CREATE" } } },
      namespaceSelector = { matchLabels = { ["app.kubernetes.io/part-of"] = "kubeflow-profile" } },
      sideEffects = "None", admissionReviewVersions = { "v1" }, failurePolicy = "Fail" } } }, { force = true })
end

-- --- controllers ------------------------------------------------------------------------------------------------

-- An object is looked at as it stands, not as it was when something happened.
local function looker(self, kind, look)
  return function(_, object)
    if not object then return end
    local now = self.client.try:get(kind, object.metadata.name, { namespace = object.metadata.namespace })
    if not now then return end
    local ok, problem = pcall(look, self.client, now)
    if ok then return end
    if not errors.is(problem, "Cancelled") and not self.stopped then self.log(errors.text(problem)) end
    error(problem, 0)
  end
end

local function watch(self, kind, look)
  self.informers[#self.informers + 1] = self.client:informer { kind = kind, namespace = "*",
    handler = looker(self, kind, look) }
end

local function watch_pods(self)
  self.informers[#self.informers + 1] = self.client:informer { kind = "pods", namespace = "*",
    labels = "notebook-name", handler = function(_, object, last)
      local pod = object or last
      local name = pod and pod.metadata.labels["notebook-name"]
      local notebook = name and self.client.try:get(notebooks.KIND, name, { namespace = pod.metadata.namespace })
      if notebook then notebooks.look(self.client, notebook) end
    end }
end

---@param client table of kube.connect
---@param options {authority: table?, log: fun(text: string)?}? authority: of lab.serve, for the webhook
function M.start(client, options)
  options = options or {}
  local self = setmetatable({ client = client, informers = {}, log = options.log or function() end }, Tenants)
  register.kinds(client, crds.all())
  for _, role in ipairs(roles.all()) do client:apply(role, { force = true }) end
  if options.authority then serve(self, options.authority) end
  watch(self, profiles.KIND, profiles.look)
  watch(self, notebooks.KIND, notebooks.look)
  watch_pods(self)
  return self
end

---Makes a profile and waits for its namespace.
---@param name string
---@param owner string
function Tenants:profile(name, owner)
  self.client:apply({ apiVersion = "kubeflow.org/v1", kind = "Profile", metadata = { name = name },
    spec = { owner = { kind = "User", name = owner } } }, { force = true })
  self.client:wait { kind = profiles.KIND, name = name, condition = "Successful", timeout = "20s" }
end

function Tenants:stop()
  self.stopped = true
  for _, one in ipairs(self.informers) do one:stop() end
  if self.server then self.server:close() end
end

return M
