-- support.kubeflow: the objects of a healthy Kubeflow of several users, for tests that break one thing in it.
-- Not a cluster: only what the doctor looks at, the profile team-a of user@example.com in full.
--   local k = dofile "tests/lua/support/kubeflow.lua".new(); k:get("Namespace", nil, "team-a").metadata.labels = {}

local hash = require "hash"
local x509 = require "x509"

local M = {}
M.NOW = 1790000000

local kubeflow = {}
kubeflow.__index = kubeflow

---Adds an object.
function kubeflow:add(object)
  self.objects[#self.objects + 1] = object
  return object
end

---@return table object
function kubeflow:get(kind, namespace, name)
  for _, object in ipairs(self.objects) do
    if object.kind == kind and object.metadata.namespace == namespace and object.metadata.name == name then
      return object
    end
  end
  error(("no %s %s"):format(kind, name), 2)
end

function kubeflow:remove(kind, namespace, name)
  local gone = self:get(kind, namespace, name)
  for index, object in ipairs(self.objects) do
    if object == gone then table.remove(self.objects, index) end
  end
end

local function object(version, kind, namespace, name, fields)
  local made = { apiVersion = version, kind = kind, metadata = { name = name, namespace = namespace } }
  for key, value in pairs(fields or {}) do
    if key == "labels" or key == "annotations" then made.metadata[key] = value else made[key] = value end
  end
  return made
end
M.object = object

-- --- the platform -------------------------------------------------------------------------------------

-- Made once: keys take time.
local authority = x509.authority { name = "webhooks", not_before = M.NOW - 1e6, not_after = M.NOW + 1e7 }

---A serving certificate of a webhook's service.
function M.certificate(not_after, by)
  return x509.issue(by or authority, {
    name = "webhook", names = { "katib-controller.kubeflow.svc" }, not_before = M.NOW - 1e6,
    not_after = not_after or M.NOW + 1e6,
  })
end
M.authority = authority

local function webhook(name, service, rules)
  return {
    name = name, failurePolicy = "Fail", reinvocationPolicy = "Never",
    clientConfig = { service = { name = service, namespace = "kubeflow", path = "/mutate" },
      caBundle = hash.base64(authority.certificate) },
    rules = rules or { {
      resources = { "pods" }, operations = { "CREATE" }, apiGroups = { "" }, apiVersions = { "v1" },
    } },
  }
end
M.webhook = webhook

local function add_platform(k)
  for _, name in ipairs { "kubeflow", "istio-system" } do
    k:add(object("v1", "Namespace", nil, name, { labels = { ["istio-injection"] = "enabled" } }))
  end
  k:add(object("apps/v1", "Deployment", "istio-system", "istiod", { spec = { template = { spec = { containers = {
    { name = "discovery", image = "pilot:1.28", env = { { name = "ENABLE_NATIVE_SIDECARS", value = "true" } } },
  } } } } }))
  for _, name in ipairs { "ml-pipeline", "katib-controller" } do
    k:add(object("v1", "Service", "kubeflow", name, { spec = { selector = { app = name },
      ports = { { name = "http", port = 8888 } } } }))
  end
  k:add(object("security.istio.io/v1", "AuthorizationPolicy", "istio-system", "global-deny-all", { spec = {} }))
  k:add(object("security.istio.io/v1", "AuthorizationPolicy", "kubeflow", "ml-pipeline", { spec = {
    selector = { matchLabels = { app = "ml-pipeline" } },
    rules = { { from = { { source = { principals = { "cluster.local/ns/istio-system/sa/gateway" } } } } },
      { when = { { key = "request.headers[kubeflow-userid]", notValues = { "*" } } } } },
  } }))
  k:add(object("v1", "ConfigMap", "kubeflow", "katib-config", { data = { ["katib-config.yaml"] = [[
runtime:
  metricsCollectors:
    - {kind: StdOut, image: collector, waitAllProcesses: false}
    - {kind: File, image: collector, waitAllProcesses: false}
]] } }))
  k:add(object("v1", "Secret", "kubeflow", "katib-webhook-cert", { data = {
    ["tls.crt"] = hash.base64(M.certificate().certificate) } }))
  k:add(object("admissionregistration.k8s.io/v1", "MutatingWebhookConfiguration", nil, "katib.kubeflow.org", {
    webhooks = { webhook("mutator.pod.katib.kubeflow.org", "katib-controller") } }))
  k:add(object("storage.k8s.io/v1", "StorageClass", nil, "vsphere", { provisioner = "csi.vsphere.vmware.com",
    annotations = { ["storageclass.kubernetes.io/is-default-class"] = "true" } }))
end

-- --- a profile -------------------------------------------------------------------------------------------

local function binding(name, role, subject)
  return object("rbac.authorization.k8s.io/v1", "RoleBinding", "team-a", name, {
    roleRef = { kind = "ClusterRole", name = role, apiGroup = "rbac.authorization.k8s.io" }, subjects = { subject },
  })
end

local function add_profile(k)
  k:add(object("kubeflow.org/v1", "Profile", nil, "team-a", { spec = { owner = { kind = "User",
    name = "user@example.com" } } }))
  k:add(object("v1", "Namespace", nil, "team-a", {
    labels = { ["istio-injection"] = "enabled", ["app.kubernetes.io/part-of"] = "kubeflow-profile",
      ["katib.kubeflow.org/metrics-collector-injection"] = "enabled" },
    annotations = { owner = "user@example.com" },
  }))
  k:add(binding("default-editor", "kubeflow-edit", { kind = "ServiceAccount", name = "default-editor",
    namespace = "team-a" }))
  k:add(binding("namespaceAdmin", "kubeflow-admin", { kind = "User", name = "user@example.com" }))
  k:add(object("kubeflow.org/v1alpha1", "PodDefault", "team-a", "access-ml-pipeline", { spec = {
    selector = { matchLabels = { ["access-ml-pipeline"] = "true" } },
    env = { { name = "KF_PIPELINES_SA_TOKEN_PATH", value = "/var/run/secrets/kubeflow/pipelines/token" } },
    volumes = { M.token_volume() },
    volumeMounts = { { name = "volume-kf-pipeline-token", mountPath = "/var/run/secrets/kubeflow/pipelines" } },
  } }))
  k:add(object("v1", "ResourceQuota", "team-a", "kf-resource-quota", {
    status = { hard = { cpu = "10", memory = "64Gi" }, used = { cpu = "9500m", memory = "10Gi" } } }))
  k:add(object("v1", "PersistentVolumeClaim", "team-a", "data", { spec = { accessModes = { "ReadWriteOnce" } },
    status = { phase = "Bound" } }))
end

---The volume of a token for Pipelines.
function M.token_volume(audience)
  return { name = "volume-kf-pipeline-token", projected = { sources = { { serviceAccountToken = {
    path = "token", expirationSeconds = 7200, audience = audience or "pipelines.kubeflow.org" } } } } }
end

---A pod that calls Pipelines; its token is in order.
function M.caller(name)
  return object("v1", "Pod", "team-a", name, {
    labels = { ["access-ml-pipeline"] = "true" },
    spec = { nodeName = "node-1", volumes = { M.token_volume(), { name = "data",
      persistentVolumeClaim = { claimName = "data" } } },
      containers = { { name = "istio-proxy", image = "proxy" }, { name = "main", image = "notebook",
        env = { { name = "KF_PIPELINES_SA_TOKEN_PATH", value = "/var/run/secrets/kubeflow/pipelines/token" } },
        volumeMounts = { { name = "volume-kf-pipeline-token", mountPath = "/var/run/secrets/kubeflow/pipelines" } },
      } } },
    status = { phase = "Running" },
  })
end

---An experiment whose trials are as `kale tune` writes them.
function M.experiment(name, namespace)
  return object("kubeflow.org/v1beta1", "Experiment", namespace or "team-a", name, { spec = {
    objective = { type = "maximize", objectiveMetricName = "accuracy" }, algorithm = { algorithmName = "random" },
    parameters = { { name = "lr", parameterType = "double", feasibleSpace = { min = "0.1", max = "1" } } },
    trialTemplate = { primaryContainerName = "main",
      trialParameters = { { name = "lr", reference = "lr" } },
      trialSpec = { apiVersion = "batch/v1", kind = "Job", spec = { template = {
        metadata = { labels = { ["sidecar.istio.io/inject"] = "false" } },
        spec = { restartPolicy = "Never", volumes = { { name = "token", projected = { sources = { {
            serviceAccountToken = { path = "token", audience = "pipelines.kubeflow.org" } } } } } },
          containers = { { name = "main", image = "kfhost", command = { "sh", "-c" },
            args = { "kfhost kale trial" }, env = { { name = "KFHOST_TRIAL", value = "{}" } },
            volumeMounts = { { name = "token", mountPath = "/var/run/secrets/kfhost/kfp" } } } } } } } } },
  } })
end

---The template of the pods of an experiment's trials.
function M.trial_pod(experiment)
  return experiment.spec.trialTemplate.trialSpec.spec.template
end

---A healthy Kubeflow.
function M.new()
  local self = setmetatable({ objects = {} }, kubeflow)
  add_platform(self)
  add_profile(self)
  self:add(M.caller "notebook-0")
  self.experiment = self:add(M.experiment "tune")
  return self
end

return M
