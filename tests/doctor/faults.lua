-- Faults of a Kubeflow, each made in a lab by the writes that make it in a cluster, and the finding that names it.
-- Not for what is harmless (variations.lua).
--   for _, fault in ipairs(dofile "tests/doctor/faults.lua") do fault.make(lab) end

local hash = require "hash"
local x509 = require "x509"

local M = {}

local TEAM, OTHER <const> = "kubeflow-user-example-com", "team-b"
local ADMISSION <const> = "admissionregistration.k8s.io/v1"

-- --- objects -----------------------------------------------------------------------------------------------

local function object(version, kind, namespace, name, fields)
  local made = { apiVersion = version, kind = kind, metadata = { name = name, namespace = namespace } }
  for key, value in pairs(fields) do
    if key == "labels" or key == "annotations" or key == "finalizers" then made.metadata[key] = value
    else made[key] = value end
  end
  return made
end
M.object = object

---A pod that sleeps.
function M.pod(name, more)
  local spec = { terminationGracePeriodSeconds = 0, containers = { { name = "main", image = "busybox",
    command = { "sleep", "10000" } } } }
  local container = spec.containers[1]
  for key, value in pairs(more or {}) do
    if key == "env" or key == "volumeMounts" or key == "resources" then container[key] = value
    elseif key ~= "labels" and key ~= "namespace" then spec[key] = value end
  end
  return object("v1", "Pod", more and more.namespace or TEAM, name, { labels = more and more.labels, spec = spec })
end

local SAFE <const> = { runAsNonRoot = true, runAsUser = 1000, allowPrivilegeEscalation = false,
  capabilities = { drop = { "ALL" } }, seccompProfile = { type = "RuntimeDefault" } }

---An experiment of one trial that never reports anything.
---@param more {namespace: string?, command: string[]?, args: string[]?, labels: table?, collector: string?}?
function M.experiment(name, more)
  more = more or {}
  return object("kubeflow.org/v1beta1", "Experiment", more.namespace or TEAM, name, { spec = {
    objective = { type = "maximize", objectiveMetricName = "accuracy" }, algorithm = { algorithmName = "random" },
    metricsCollectorSpec = more.collector and { collector = { kind = more.collector } } or nil,
    parallelTrialCount = 1, maxTrialCount = 1, maxFailedTrialCount = 1,
    parameters = { { name = "lr", parameterType = "double", feasibleSpace = { min = "0.1", max = "1" } } },
    trialTemplate = { primaryContainerName = "main",
      trialParameters = { { name = "rate", reference = "lr" } },
      trialSpec = { apiVersion = "batch/v1", kind = "Job", spec = { backoffLimit = 0, template = {
        metadata = { labels = more.labels or { ["sidecar.istio.io/inject"] = "false" } },
        spec = { restartPolicy = "Never", terminationGracePeriodSeconds = 0, containers = { { name = "main",
          image = "busybox", securityContext = SAFE, command = more.command or { "sh", "-c" },
          args = more.args or { "sleep 10000; echo ${trialParameters.rate}" } } } } } } } } } })
end

---The volume of a token.
function M.token_volume(audience)
  return { name = "volume-kf-pipeline-token", projected = { sources = { { serviceAccountToken = {
    path = "token", expirationSeconds = 7200, audience = audience } } } } }
end

---A configuration whose webhook is asked about nothing in this lab.
function M.webhooks(name, client_config, more)
  local webhook = { name = "x." .. name:gsub("%W", "-") .. ".test", failurePolicy = "Fail", sideEffects = "None",
    admissionReviewVersions = { "v1" }, clientConfig = client_config,
    namespaceSelector = { matchLabels = { ["kubernetes.io/metadata.name"] = "no-such-namespace" } },
    rules = { { resources = { "pods" }, operations = { "CREATE" }, apiGroups = { "" }, apiVersions = { "v1" } } } }
  for key, value in pairs(more or {}) do webhook[key] = value end
  return object(ADMISSION, "MutatingWebhookConfiguration", nil, name, { webhooks = { webhook } })
end

-- A service in kubeflow whose webhook serves a certificate; the configuration for it.
local function service_webhook(lab, name, certificate, authority, more)
  lab:create(object("v1", "Service", "kubeflow", name, { spec = { ports = { { port = 443 } } } }))
  lab:create(object("v1", "Secret", "kubeflow", name .. "-cert", { type = "kubernetes.io/tls", data = {
    ["tls.crt"] = hash.base64(certificate.certificate), ["tls.key"] = hash.base64(certificate.key) } }))
  lab:create(M.webhooks(name, { service = { name = name, namespace = "kubeflow", path = "/mutate" },
    caBundle = hash.base64(authority.certificate) }, more))
end
M.service_webhook = service_webhook

---An authority, and a certificate of it for a service in kubeflow.
function M.certificate(name, not_after)
  local now = os.time()
  local authority = x509.authority { name = "webhooks", not_before = now - 1e6, not_after = now + 1e7 }
  return authority, x509.issue(authority, { name = name, names = { name .. ".kubeflow.svc" }, not_before = now - 1e6,
    not_after = not_after or now + 1e6 })
end

local function deployment(name, image, more)
  local spec = { replicas = more and more.replicas or 0, selector = { matchLabels = { app = name } },
    template = { metadata = { labels = { app = name } },
      spec = { containers = { { name = "main", image = image } } } } }
  return object("apps/v1", "Deployment", "kubeflow", name, { spec = spec })
end
M.deployment = deployment

---A claim.
function M.claim(name, mode, more)
  local spec = { accessModes = { mode }, resources = { requests = { storage = "1Gi" } } }
  for key, value in pairs(more or {}) do
    if key ~= "namespace" then spec[key] = value end
  end
  return object("v1", "PersistentVolumeClaim", more and more.namespace or TEAM, name, { spec = spec })
end

---A pod on a node with a claim.
function M.claim_user(name, node, claim)
  return M.pod(name, { nodeName = node, labels = { ["sidecar.istio.io/inject"] = "false" },
    volumes = { { name = "d", persistentVolumeClaim = { claimName = claim } } },
    volumeMounts = { { name = "d", mountPath = "/data" } } })
end

---Waits until a pod runs.
function M.running(lab, name)
  lab:until_(name .. " runs", function()
    local pod = lab.client:get("pods", name, { namespace = TEAM })
    return pod.status and pod.status.phase == "Running"
  end)
end

-- Waits until a trial of an experiment has its job.
local function has_job(lab, name)
  lab:until_("a job of " .. name, function()
    for _, job in ipairs(lab.client:list("jobs", { namespace = TEAM })) do
      if job.metadata.name:find(name .. "-", 1, true) == 1 then return true end
    end
  end)
end
M.has_job = has_job

local function binding(name, role, subject)
  return object("rbac.authorization.k8s.io/v1", "RoleBinding", TEAM, name, { roleRef = {
    apiGroup = "rbac.authorization.k8s.io", kind = "ClusterRole", name = role }, subjects = { subject } })
end
M.binding = binding

-- --- the faults of the issue ---------------------------------------------------------------------------------

M.list = {
  { "no token volume", { "no-token Pod team-c/caller" }, function(lab) -- a namespace without PodDefaults
    lab:create(object("v1", "Namespace", nil, "team-c", { labels = {} }))
    lab:create(M.pod("caller", { namespace = "team-c", labels = { ["access-ml-pipeline"] = "true" } }))
  end },
  { "wrong audience", { "wrong-audience PodDefault " .. TEAM .. "/access-ml-pipeline" }, function(lab)
    lab:change("PodDefault", TEAM, "access-ml-pipeline", function(default)
      default.spec.volumes = { M.token_volume "istio-ca" }
    end)
  end },
  { "KFP policy absent", { "kfp-policy-absent Service kubeflow/ml-pipeline" }, function(lab)
    lab:delete("AuthorizationPolicy", "kubeflow", "ml-pipeline")
  end },
  { "forged-header EnvoyFilter", { "forged-header EnvoyFilter " .. TEAM .. "/add-header" }, function(lab)
    lab:create(object("networking.istio.io/v1alpha3", "EnvoyFilter", TEAM, "add-header", { spec = { configPatches = { {
      applyTo = "VIRTUAL_HOST", match = { context = "SIDECAR_OUTBOUND", routeConfiguration = { vhost = {
        name = "ml-pipeline.kubeflow.svc.cluster.local:8888", route = { name = "default" } } } },
      patch = { operation = "MERGE", value = { request_headers_to_add = { { append = true,
        header = { key = "kubeflow-userid", value = "user@example.com" } } } } } } } } }))
  end },
  { "STRICT in kubeflow", { "strict-mtls PeerAuthentication kubeflow/default" }, function(lab)
    lab:create(object("security.istio.io/v1", "PeerAuthentication", "kubeflow", "default", {
      spec = { mtls = { mode = "STRICT" } } }))
    lab:create(M.pod("plain", { labels = { ["sidecar.istio.io/inject"] = "false" } }))
  end },
  { "wrong caBundle of a webhook in kubeflow", { "wrong-ca MutatingWebhookConfiguration katib-like" }, function(lab)
    local _, certificate = M.certificate "katib-like"
    service_webhook(lab, "katib-like", certificate, (M.certificate "katib-like"))
  end },
  { "wrong caBundle of Katib's own webhook", { "wrong-ca ValidatingWebhookConfiguration katib.kubeflow.org" },
    function(lab)
      local other = M.certificate "x"
      lab:change("validatingwebhookconfigurations", nil, "katib.kubeflow.org", function(configuration)
        for _, webhook in ipairs(configuration.webhooks) do
          webhook.clientConfig.caBundle = hash.base64(other.certificate)
        end
      end)
    end, last = true }, -- after that no experiment can be made
  { "expired certificate", { "certificate-expired MutatingWebhookConfiguration cache-webhook" }, function(lab)
    local authority, certificate = M.certificate("cache-webhook", os.time() - 60)
    service_webhook(lab, "cache-webhook", certificate, authority)
  end },
  { "a webhook before what it depends on", { "webhook-order MutatingWebhookConfiguration apod.mutator.keeyzar.de" },
    function(lab)
      lab:create(M.webhooks("apod.mutator.keeyzar.de", { url = "https://127.0.0.1:1/mutate" }))
    end },
  { "native sidecar without waitAllProcesses: false", { "collector-waits Experiment " .. TEAM .. "/native" },
    function(lab)
        lab:create(M.experiment("native", { labels = { team = "a" } }))
    end },
  { "no label for Katib's injection", { "katib-injection-label Namespace " .. TEAM }, function(lab)
    lab:create(M.experiment "unmeasured")
    lab:change("namespaces", nil, TEAM, function(namespace)
      namespace.metadata.labels["katib.kubeflow.org/metrics-collector-injection"] = require("json").null
    end)
  end },
  { "a /bin/sh -c trial", { "trial-shell Experiment " .. TEAM .. "/shell" }, function(lab)
    lab:create(M.experiment("shell", { command = { "/bin/sh", "-c" } }))
    has_job(lab, "shell")
  end },
  { "one experiment name in two namespaces", { "experiment-name Experiment " .. OTHER .. "/twice" }, function(lab)
    lab:create(M.experiment "twice")
    lab:create(M.experiment("twice", { namespace = OTHER }))
  end },
  { "ReadWriteMany Pending", { "rwx-pending PersistentVolumeClaim " .. TEAM .. "/shared" }, function(lab)
    lab:create(M.claim("shared", "ReadWriteMany"))
  end },
  { "multi-attach", { "multi-attach Pod " .. TEAM .. "/second" }, function(lab)
    lab:create(M.claim("data", "ReadWriteOnce"))
    lab:create(M.claim_user("first", lab.nodes[1], "data"))
    M.running(lab, "first")
    lab:create(M.claim_user("second", lab.nodes[2], "data"))
  end },
  { "quota full", { "quota-full ResourceQuota " .. OTHER .. "/kf-resource-quota" }, function(lab)
    lab:create(object("v1", "ResourceQuota", OTHER, "kf-resource-quota", { spec = {
      hard = { ["requests.storage"] = "1Gi" } } }))
    lab:create(M.claim("models", "ReadWriteOnce", { namespace = OTHER }))
  end },
  { "restricted level against the collector", { "collector-restricted Namespace " .. OTHER }, function(lab)
    lab:change("namespaces", nil, OTHER, function(namespace)
      namespace.metadata.labels["pod-security.kubernetes.io/enforce"] = "restricted"
    end)
    lab:create(M.experiment("hardened", { namespace = OTHER }))
  end },
  { "PodDefault conflict", { "poddefault-conflict PodDefault " .. TEAM .. "/other" }, function(lab)
    lab:create(object("kubeflow.org/v1alpha1", "PodDefault", TEAM, "other", { spec = {
      selector = { matchLabels = { ["access-ml-pipeline"] = "true" } }, desc = "x",
      env = { { name = "KF_PIPELINES_SA_TOKEN_PATH", value = "/elsewhere" } } } }))
  end },
  { "stuck finalizer", { "stuck-finalizer PersistentVolumeClaim " .. TEAM .. "/held" }, function(lab)
    local claim = M.claim("held", "ReadWriteOnce")
    claim.metadata.finalizers = { "example.com/hold" }
    claim = lab:create(claim)
    lab:ago(3600, function() lab.client:delete("persistentvolumeclaims", "held", { namespace = TEAM }) end)
    lab:before_undo(function()
      lab.client.try:patch("persistentvolumeclaims", claim.metadata.name, {
        metadata = { finalizers = require("json").null } }, { namespace = TEAM, type = "merge" })
    end)
  end },
  { "group-only RoleBinding", { "group-binding RoleBinding " .. TEAM .. "/contributors" }, function(lab)
    lab:create(binding("contributors", "kubeflow-edit", { kind = "Group", name = "data-science",
      apiGroup = "rbac.authorization.k8s.io" }))
  end },
  { "Profile owner mismatch", { "owner-mismatch Namespace " .. TEAM }, function(lab)
    lab:change("namespaces", nil, TEAM, function() end) -- taken back is also what the remedy does
    lab:change("Profile", nil, TEAM, function(profile) profile.spec.owner.name = "other@example.com" end)
  end },
  { "an older Kale's trial job", { "older-kale Experiment " .. TEAM .. "/old-kale" }, function(lab)
    lab:create(M.experiment("old-kale", { args = {
      "sleep 10000 || RATE=${trialParameters.rate} python3 -u -c "
        .. "'from kale.common.katibutils import create_and_wait_kfp_run'" } }))
    has_job(lab, "old-kale")
  end },
}

-- --- more of what the doctor knows --------------------------------------------------------------------------

M.more = {
  { "programs of two releases", { "version-skew Deployment kubeflow/ml-pipeline-ui" }, function(lab)
    lab:create(deployment("ml-pipeline", "ghcr.io/kubeflow/kfp-api-server:2.15.0"))
    lab:create(deployment("ml-pipeline-ui", "ghcr.io/kubeflow/kfp-frontend:2.4.1"))
  end },
  { "a Pipelines before 2", { "pipelines-version Deployment kubeflow/ml-pipeline" }, function(lab)
    lab:create(deployment("ml-pipeline", "gcr.io/ml-pipeline/api-server:1.8.5"))
  end },
  { "a program that is down", { "component-down Deployment kubeflow/katib-ui" }, function(lab)
    lab:ago(3600, function()
      lab:create(deployment("katib-ui", "registry.example/none:1", { replicas = 1 }))
      lab:until_("it is said to be down", function()
        local status = lab.client:get("deployments", "katib-ui", { namespace = "kubeflow" }).status
        for _, condition in ipairs(status.conditions or {}) do
          if condition.type == "Available" then return true end
        end
        return false
      end)
    end)
  end },
  { "a webhook without its service", { "webhook-service MutatingWebhookConfiguration gone" }, function(lab)
    lab:create(M.webhooks("gone", { service = { name = "gone", namespace = "kubeflow" } }))
  end },
  { "Pipelines that refuse a profile", { "kfp-refused Namespace " .. TEAM, "kfp-refused Namespace " .. OTHER },
    function(lab)
      lab:change("AuthorizationPolicy", "kubeflow", "ml-pipeline", function(policy)
        policy.spec.rules = { { from = { { source = { namespaces = { "istio-system" } } } } } }
      end)
    end },
}

return M
