-- Variations of a healthy Kubeflow that are harmless, each made in a lab by the writes that make it in a cluster.
-- Not for faults (faults.lua). Many are near misses: what would be a fault, were it not for one thing.
--   for _, one in ipairs(dofile "tests/doctor/variations.lua") do one[2](lab) end

local faults = dofile "tests/doctor/faults.lua"
local hash = require "hash"

local TEAM, OTHER <const> = "kubeflow-user-example-com", "team-b"
local object, pod, experiment, claim = faults.object, faults.pod, faults.experiment, faults.claim

local function label(lab, namespace, key, value)
  lab:change("namespaces", nil, namespace, function(one) one.metadata.labels[key] = value end)
end

local function peers(lab, namespace, mode, labels)
  lab:create(object("security.istio.io/v1", "PeerAuthentication", namespace, "x", { spec = {
    selector = labels and { matchLabels = labels } or nil, mtls = { mode = mode } } }))
end

local function filter(lab, namespace, context, value, more)
  local spec = { configPatches = { { applyTo = "HTTP_FILTER", match = { context = context },
    patch = { operation = "INSERT_BEFORE", value = value } } } }
  for key, field in pairs(more or {}) do spec[key] = field end
  lab:create(object("networking.istio.io/v1alpha3", "EnvoyFilter", namespace, "x", { spec = spec }))
end

local function lua_filter(code)
  return { name = "envoy.filters.http.lua", typed_config = { inlineCode = code } }
end

local function pod_default(name, labels, spec)
  spec.selector, spec.desc = { matchLabels = labels }, name
  return object("kubeflow.org/v1alpha1", "PodDefault", TEAM, name, { spec = spec })
end

local PLAIN = { ["sidecar.istio.io/inject"] = "false" }
local CALLER = { { name = "KF_PIPELINES_SA_TOKEN_PATH", value = "/var/run/secrets/kubeflow/pipelines/token" } }

return {
  { "a labelled pod that its PodDefault gives a token", function(lab)
    lab:create(pod("caller", { labels = { ["access-ml-pipeline"] = "true" } }))
  end },
  { "a Deployment whose pods get their token from a PodDefault", function(lab)
    local made = faults.deployment("caller", "busybox")
    made.metadata.namespace = TEAM
    made.spec.template.metadata.labels["access-ml-pipeline"] = "true"
    made.spec.template.spec.containers[1].env = CALLER
    lab:create(made)
  end },
  { "a token from a Secret of the site", function(lab)
    lab:create(object("v1", "Secret", TEAM, "own-token", { stringData = { token = "x" } }))
    lab:create(pod("own", { env = CALLER, volumes = { { name = "own", secret = { secretName = "own-token" } } },
      volumeMounts = { { name = "own", mountPath = "/var/run/secrets/kubeflow/pipelines" } } }))
  end },
  { "a token for something else beside that for Pipelines", function(lab)
    lab:create(pod("vault", { labels = { ["access-ml-pipeline"] = "true" }, volumes = { { name = "vault",
      projected = { sources = { { serviceAccountToken = { path = "token", audience = "vault" } } } } } },
      volumeMounts = { { name = "vault", mountPath = "/var/run/secrets/vault" } } }))
  end },
  { "more rules in the policy of Pipelines", function(lab)
    lab:change("AuthorizationPolicy", "kubeflow", "ml-pipeline", function(policy)
      table.insert(policy.spec.rules, { from = { { source = { namespaces = { "monitoring" } } } } })
    end)
  end },
  { "the policy of Pipelines under another name", function(lab)
    local policy = lab.client:get("AuthorizationPolicy", "ml-pipeline", { namespace = "kubeflow" })
    lab:create(object("security.istio.io/v1", "AuthorizationPolicy", "kubeflow", "site", { spec = policy.spec }))
    lab:delete("AuthorizationPolicy", "kubeflow", "ml-pipeline")
  end },
  { "STRICT in kubeflow, and no pod without a sidecar", function(lab) peers(lab, "kubeflow", "STRICT") end },
  { "STRICT in a profile", function(lab)
    peers(lab, TEAM, "STRICT")
    lab:create(pod("plain", { labels = PLAIN }))
  end },
  { "STRICT for another workload of kubeflow", function(lab)
    peers(lab, "kubeflow", "STRICT", { app = "minio" })
    lab:create(pod("plain", { labels = PLAIN }))
  end },
  { "PERMISSIVE in kubeflow", function(lab)
    peers(lab, "kubeflow", "PERMISSIVE")
    lab:create(pod("plain", { labels = PLAIN }))
  end },
  { "an EnvoyFilter that adds another header", function(lab)
    filter(lab, TEAM, "SIDECAR_OUTBOUND", { request_headers_to_add = {
      { header = { key = "x-trace", value = "1" } } } })
  end },
  { "an EnvoyFilter that takes the identity off", function(lab)
    filter(lab, TEAM, "SIDECAR_OUTBOUND", { request_headers_to_remove = { "kubeflow-userid" } })
  end },
  { "a Lua filter that reads the identity", function(lab)
    filter(lab, TEAM, "SIDECAR_OUTBOUND", lua_filter [[
      function envoy_on_request(handle)
        handle:logInfo(handle:headers():get("kubeflow-userid") or "nobody")
        handle:headers():remove("kubeflow-userid")
      end]])
  end },
  { "the gateway's filter that sets who has logged in", function(lab)
    filter(lab, "istio-system", "GATEWAY", lua_filter 'h:headers():replace("kubeflow-userid", user)',
      { workloadSelector = { labels = { istio = "ingressgateway" } } })
  end },
  { "a webhook with its certificate and authority", function(lab)
    local authority, certificate = faults.certificate "good"
    faults.service_webhook(lab, "good", certificate, authority)
  end },
  { "old and new authority in one bundle, and an old Secret beside the new one", function(lab)
    local authority, certificate = faults.certificate "renewed"
    local old, expired = faults.certificate("renewed", os.time() - 60)
    faults.service_webhook(lab, "renewed", certificate, { certificate = old.certificate .. authority.certificate })
    lab:create(object("v1", "Secret", "kubeflow", "renewed-old", { data = {
      ["tls.crt"] = hash.base64(expired.certificate) } }))
  end },
  { "a certificate that ends tomorrow", function(lab)
    local authority, certificate = faults.certificate("soon", os.time() + 86400)
    faults.service_webhook(lab, "soon", certificate, authority)
  end },
  { "a webhook whose authority is injected later", function(lab)
    local made = faults.webhooks("injected", { service = { name = "injected", namespace = "kubeflow" } },
      { failurePolicy = "Ignore" })
    lab:create(made)
  end },
  { "another mutating webhook on pods that sorts first", function(lab)
    lab:create(faults.webhooks("a-site-labels", { url = "https://127.0.0.1:1/mutate" }, { failurePolicy = "Ignore" }))
  end },
  { "a webhook that sorts first and is called again", function(lab)
    lab:create(faults.webhooks("apod.mutator.keeyzar.de", { url = "https://127.0.0.1:1/mutate" },
      { reinvocationPolicy = "IfNeeded" }))
  end },
  { "an experiment as kale tune writes it", function(lab) lab:create(experiment "tune") end },
  { "a trial by bash -c", function(lab) lab:create(experiment("bash", { command = { "bash", "-c" } })) end },
  { "a trial without a shell", function(lab)
    lab:create(experiment("direct", { command = { "sleep" }, args = { "10000", "${trialParameters.rate}" } }))
  end },
  { "two experiments of different names", function(lab)
    lab:create(experiment "one")
    lab:create(experiment("two", { namespace = OTHER }))
  end },
  { "baseline enforced, restricted warned of", function(lab)
    label(lab, TEAM, "pod-security.kubernetes.io/enforce", "baseline")
    label(lab, TEAM, "pod-security.kubernetes.io/warn", "restricted")
    lab:create(experiment "based")
  end },
  { "restricted in a namespace without experiments", function(lab)
    label(lab, OTHER, "pod-security.kubernetes.io/enforce", "restricted")
  end },
  { "no label for Katib where no experiment is", function(lab)
    label(lab, OTHER, "katib.kubeflow.org/metrics-collector-injection", require("json").null)
  end },
  { "a ReadWriteMany claim of a file server", function(lab)
    lab:create(claim("files", "ReadWriteMany", { storageClassName = "nfs" }))
  end },
  { "a ReadWriteMany claim that waits for its first pod", function(lab)
    lab:create(claim("late", "ReadWriteMany", { storageClassName = "vsan-default-storage-policy-latebinding" }))
  end },
  { "a ReadWriteOnce claim that waits for its first pod", function(lab)
    lab:create(claim("single", "ReadWriteOnce", { storageClassName = "vsan-default-storage-policy-latebinding" }))
  end },
  { "two pods of one node with one volume", function(lab)
    lab:create(claim("data", "ReadWriteOnce"))
    for _, name in ipairs { "first", "second" } do
      lab:create(faults.claim_user(name, lab.nodes[1], "data"))
      faults.running(lab, name)
    end
  end },
  { "a quota with room, and one of nothing", function(lab)
    lab:create(object("v1", "ResourceQuota", OTHER, "roomy", { spec = { hard = { ["requests.storage"] = "2Gi",
      ["requests.nvidia.com/gpu"] = "0" } } }))
    lab:create(claim("models", "ReadWriteOnce", { namespace = OTHER }))
  end },
  { "PodDefaults for different pods", function(lab)
    lab:create(pod_default("gpu", { gpu = "true" }, { env = { { name = CALLER[1].name, value = "/x" } } }))
  end },
  { "PodDefaults for the same pods that agree", function(lab)
    lab:create(pod_default("more", { ["access-ml-pipeline"] = "true" }, { env = { { name = "MORE", value = "1" } } }))
    lab:create(pod("both", { labels = { ["access-ml-pipeline"] = "true" } }))
  end },
  { "a deletion that has just begun", function(lab)
    local made = claim("going", "ReadWriteOnce")
    made.metadata.finalizers = { "example.com/hold" }
    lab:create(made)
    lab.client:delete("persistentvolumeclaims", "going", { namespace = TEAM })
    lab:before_undo(function()
      lab.client:patch("persistentvolumeclaims", "going", { metadata = { finalizers = require("json").null } },
        { namespace = TEAM, type = "merge" })
    end)
  end },
  { "a binding of a group beside those of users", function(lab)
    lab:create(object("rbac.authorization.k8s.io/v1", "ClusterRole", nil, "site-auditor", { rules = {
      { apiGroups = { "" }, resources = { "pods" }, verbs = { "get" } } } }))
    lab:create(faults.binding("auditors", "site-auditor", { kind = "Group", name = "audit",
      apiGroup = "rbac.authorization.k8s.io" }))
  end },
  { "a contributor", function(lab)
    lab:create(faults.binding("contributor", "kubeflow-edit", { kind = "User", name = "other@example.com",
      apiGroup = "rbac.authorization.k8s.io" }))
  end },
  { "programs of one release", function(lab)
    lab:create(faults.deployment("ml-pipeline", "ghcr.io/kubeflow/kfp-api-server:2.15.0"))
    lab:create(faults.deployment("ml-pipeline-ui", "ghcr.io/kubeflow/kfp-frontend:2.15.2"))
  end },
  { "a program of a user that is down", function(lab)
    local made = faults.deployment("web", "registry.example/none:1", { replicas = 1 })
    made.metadata.namespace = TEAM
    lab:create(made)
  end },
  { "a job that failed", function(lab)
    lab:create(object("batch/v1", "Job", TEAM, "failed", { spec = { backoffLimit = 0, template = {
      metadata = { labels = PLAIN }, spec = { restartPolicy = "Never",
        containers = { { name = "main", image = "busybox", command = { "false" } } } } } } }))
  end },
}
