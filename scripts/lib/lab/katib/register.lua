-- lab.katib.register: where Katib is found in a lab: its kinds, its webhooks, its database and services over gRPC.
-- Not for what they answer.
--   register.kinds(client, crds.all()); local servers = register.serve(controller, lab.authority)

local grpc = require "grpc"
local hash = require "hash"
local hosted = require "lab.network.hosted"
local review = require "lab.katib.review"
local server = require "server"
local x509 = require "x509"

local M = {}

local NAME = "katib.kubeflow.org"
local INJECTION = { matchLabels = { ["katib.kubeflow.org/metrics-collector-injection"] = "enabled" } }

---Makes resource definitions and waits until they are served.
---@param client table
---@param list table[]
function M.kinds(client, list)
  for _, crd in ipairs(list) do
    local made, problem = client.try:create(crd)
    if not made and problem.code ~= "AlreadyExists" then error(problem, 0) end
  end
  for _, crd in ipairs(list) do
    client:wait { kind = "customresourcedefinitions", name = crd.metadata.name, condition = "Established",
      timeout = "10s" }
  end
end

-- --- webhooks -----------------------------------------------------------------------------------------------

local function hook(name, url, bundle, rule, extra)
  local made = { name = name .. "." .. NAME, clientConfig = { url = url, caBundle = bundle }, rules = { rule },
    sideEffects = "None", admissionReviewVersions = { "v1" }, failurePolicy = "Fail", timeoutSeconds = 10 }
  for key, value in pairs(extra or {}) do made[key] = value end
  return made
end

local function rule(group, version, resource, operations)
  return { apiGroups = { group }, apiVersions = { version }, resources = { resource }, operations = operations }
end

local function configurations(url, bundle)
  local experiments = rule("kubeflow.org", "v1beta1", "experiments", { "CREATE", "UPDATE" })
  local version, kind = "admissionregistration.k8s.io/v1", "WebhookConfiguration"
  return {
    { apiVersion = version, kind = "Validating" .. kind, metadata = { name = NAME }, webhooks = {
      hook("validator.experiment", url .. "/validate-experiment", bundle, experiments) } },
    { apiVersion = version, kind = "Mutating" .. kind, metadata = { name = NAME }, webhooks = {
      hook("defaulter.experiment", url .. "/mutate-experiment", bundle, experiments),
      hook("mutator.pod", url .. "/mutate-pod", bundle, rule("", "v1", "pods", { "CREATE" }),
        { namespaceSelector = INJECTION }) } },
  }
end

local function serve_webhooks(controller, authority)
  local pair = x509.issue(authority, { name = "katib-controller", usage = "server", names = { "127.0.0.1",
    "katib-controller.kubeflow.svc" } })
  local listening = server.listen { port = 0, certificate = pair.certificate, key = pair.key,
    handler = review.new { get = function(...)
      if select(4, ...) == nil then return nil end
      return controller:get_any(...)
    end } }
  for _, object in ipairs(configurations(("https://127.0.0.1:%d"):format(listening.port),
    hash.base64(authority.certificate))) do
    controller.client:apply(object, { force = true })
  end
  return listening
end

-- --- gRPC ---------------------------------------------------------------------------------------------------

-- The service by which pods know the database; where this machine finds it stands in an annotation.
local function put_database(controller, cluster, port)
  if cluster then
    hosted.put(cluster, { namespace = "kubeflow", name = "katib-db-manager", account = "default",
      labels = { ["katib.kubeflow.org/component"] = "db-manager" },
      ports = { { name = "api", port = 6789, local_port = port } } })
    controller.client:patch("services", "katib-db-manager",
      { metadata = { annotations = { ["lab.kfhost/address"] = ("127.0.0.1:%d"):format(port) } } },
      { namespace = "kubeflow", type = "merge" })
  end
  controller.port = port
  controller.database_address = ("127.0.0.1:%d"):format(port)
end

local MOST = 256 << 20 -- bytes of a message; the real one takes what there is
local CHECKED = { [""] = true, ["grpc.health.v1.Health"] = true, ["manager.v1beta1.Suggestion"] = true } -- services

-- What was reported from outside makes the controller look, too.
local function methods_of(controller)
  local methods = controller.database:methods()
  for path, method in pairs(controller.service:methods()) do methods[path] = method end
  local path = "/api.v1.beta1.DBManager/ReportObservationLog"
  local report = methods[path]
  methods[path] = function(bytes)
    local answer = report(bytes)
    local trial = require "katib.database".messages().Report:decode(bytes).trial_name
    if trial then controller:reported(trial) end
    return answer
  end
  local function serving(bytes)
    local service = bytes:match "^\n.(.*)$" or ""
    if not CHECKED[service] then
      grpc.fail("UNKNOWN", "grpc.health.v1.Health can only be accepted if you specify service name.")
    end
    return "\8\1" -- status: SERVING
  end
  methods["/grpc.health.v1.Health/Check"], methods["/manager.v1beta1.Suggestion/Check"] = serving, serving
  return methods
end

---Starts the servers of Katib.
---@param controller lab.KatibController
---@param options {authority: table?, cluster: lab.Cluster?} without an authority there are no webhooks
---@return table[] servers
function M.serve(controller, options)
  local wire = grpc.serve { methods = methods_of(controller), address = "127.0.0.1", max_message = MOST }
  put_database(controller, options.cluster, wire.port)
  local list = { wire }
  if options.authority then list[2] = serve_webhooks(controller, options.authority) end
  return list
end

return M
