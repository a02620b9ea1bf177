-- The doctor: each fault is found and named, one at a time and all at once; a healthy Kubeflow and harmless
-- variations of it give no finding.
local test = require "test"
local doctor = require "doctor"
local hash = require "hash"
local json = require "json"
local kubeflow = dofile "tests/lua/support/kubeflow.lua"
local report = require "doctor.report"
local x509 = require "x509"

local object, NOW = kubeflow.object, kubeflow.NOW

local function examine(k)
  return doctor.examine(k.objects, { now = NOW })
end

local function codes(findings)
  local list = {}
  for index, finding in ipairs(findings) do list[index] = finding.code .. " " .. finding.where end
  return list
end

-- --- faults -----------------------------------------------------------------------------------------------

local function pod_of(k) return kubeflow.trial_pod(k.experiment) end

local function event(about, reason, message)
  return object("v1", "Event", about.metadata.namespace, about.metadata.name .. ".1", {
    involvedObject = { kind = about.kind, name = about.metadata.name, namespace = about.metadata.namespace },
    reason = reason, message = message, type = "Warning",
  })
end

-- name, what breaks it, and the finding that names it
local FAULTS = {
  { "no token volume", "no-token Pod team-a/notebook-0", function(k)
    k:get("Pod", "team-a", "notebook-0").spec.volumes = {}
  end },
  { "wrong audience", "wrong-audience PodDefault team-a/access-ml-pipeline", function(k)
    k:get("PodDefault", "team-a", "access-ml-pipeline").spec.volumes = { kubeflow.token_volume "istio-ca" }
  end },
  { "KFP policy absent", "kfp-policy-absent Service kubeflow/ml-pipeline", function(k)
    k:remove("AuthorizationPolicy", "kubeflow", "ml-pipeline")
  end },
  { "forged-header EnvoyFilter", "forged-header EnvoyFilter team-a/add-header", function(k)
    k:add(object("networking.istio.io/v1alpha3", "EnvoyFilter", "team-a", "add-header", { spec = { configPatches = { {
      applyTo = "VIRTUAL_HOST", match = { context = "SIDECAR_OUTBOUND" },
      patch = { operation = "MERGE", value = { request_headers_to_add = { {
        header = { key = "kubeflow-userid", value = "user@example.com" }, append = true } } } },
    } } } }))
  end },
  { "STRICT in kubeflow", "strict-mtls PeerAuthentication kubeflow/default", function(k)
    k:add(object("security.istio.io/v1", "PeerAuthentication", "kubeflow", "default", {
      spec = { mtls = { mode = "STRICT" } } }))
    k:add(object("v1", "Pod", "team-a", "plain", { labels = { ["sidecar.istio.io/inject"] = "false" },
      spec = { containers = { { name = "main" } } } }))
  end },
  { "wrong caBundle", "wrong-ca MutatingWebhookConfiguration katib.kubeflow.org", function(k)
    local other = x509.authority { name = "other", not_before = NOW - 1e6, not_after = NOW + 1e7 }
    k:get("MutatingWebhookConfiguration", nil, "katib.kubeflow.org").webhooks[1].clientConfig.caBundle =
      hash.base64(other.certificate)
  end },
  { "expired certificate", "certificate-expired MutatingWebhookConfiguration kfp", function(k)
    local old = x509.issue(kubeflow.authority, { name = "x", names = { "kfp.kubeflow.svc" }, not_before = NOW - 1e6,
      not_after = NOW - 10 })
    k:add(object("v1", "Secret", "kubeflow", "kfp-cert", { data = { ["tls.crt"] = hash.base64(old.certificate) } }))
    k:add(object("v1", "Service", "kubeflow", "kfp", { spec = {} }))
    k:add(object("admissionregistration.k8s.io/v1", "MutatingWebhookConfiguration", nil, "kfp", {
      webhooks = { kubeflow.webhook("kfp.kubeflow.org", "kfp", {}) } }))
  end },
  { "a webhook before what it depends on", "webhook-order MutatingWebhookConfiguration apod.mutator.keeyzar.de",
    function(k)
      k:add(object("admissionregistration.k8s.io/v1", "MutatingWebhookConfiguration", nil, "apod.mutator.keeyzar.de", {
        webhooks = { kubeflow.webhook("apod.mutator.keeyzar.de", "katib-controller") } }))
    end },
  { "native sidecar without waitAllProcesses: false", "collector-waits Experiment team-a/native", function(k)
    k:get("ConfigMap", "kubeflow", "katib-config").data = {}
    kubeflow.trial_pod(k:add(kubeflow.experiment "native")).metadata.labels = {}
  end },
  { "no label for Katib's injection", "katib-injection-label Namespace team-a", function(k)
    k:get("Namespace", nil, "team-a").metadata.labels["katib.kubeflow.org/metrics-collector-injection"] = nil
  end },
  { "a /bin/sh -c trial", "trial-shell Experiment team-a/tune", function(k)
    pod_of(k).spec.containers[1].command = { "/bin/sh", "-c" }
  end },
  { "one experiment name in two namespaces", "experiment-name Experiment team-b/tune", function(k)
    k:add(kubeflow.experiment("tune", "team-b"))
  end },
  { "ReadWriteMany Pending", "rwx-pending PersistentVolumeClaim team-a/shared", function(k)
    k:add(object("v1", "PersistentVolumeClaim", "team-a", "shared", { spec = { accessModes = { "ReadWriteMany" } },
      status = { phase = "Pending" } }))
  end },
  { "multi-attach", "multi-attach Pod team-a/second", function(k)
    local pod = k:add(object("v1", "Pod", "team-a", "second", { spec = { containers = { { name = "istio-proxy" } } },
      status = { phase = "Pending" } }))
    k:add(event(pod, "FailedAttachVolume", 'Multi-Attach error for volume "pvc-1" Volume is already used by pod(s) a'))
  end },
  { "quota full", "quota-full ResourceQuota team-a/kf-resource-quota", function(k)
    k:get("ResourceQuota", "team-a", "kf-resource-quota").status.used.cpu = "10000m"
  end },
  { "restricted level against the collector", "collector-restricted Namespace team-a", function(k)
    k:get("Namespace", nil, "team-a").metadata.labels["pod-security.kubernetes.io/enforce"] = "restricted"
  end },
  { "PodDefault conflict", "poddefault-conflict PodDefault team-a/other", function(k)
    k:add(object("kubeflow.org/v1alpha1", "PodDefault", "team-a", "other", { spec = {
      selector = { matchLabels = { ["access-ml-pipeline"] = "true" } },
      env = { { name = "KF_PIPELINES_SA_TOKEN_PATH", value = "/elsewhere" } } } }))
  end },
  { "PodDefaults that meet in a pod", "poddefault-conflict PodDefault team-a/second", function(k)
    k:get("Pod", "team-a", "notebook-0").metadata.labels.gpu = "true"
    k:add(object("kubeflow.org/v1alpha1", "PodDefault", "team-a", "second", { spec = {
      selector = { matchLabels = { gpu = "true" } },
      volumes = { { name = "volume-kf-pipeline-token", emptyDir = {} } } } }))
  end },
  { "stuck finalizer", "stuck-finalizer Trial team-a/old", function(k)
    local trial = k:add(object("kubeflow.org/v1beta1", "Trial", "team-a", "old", { spec = {} }))
    trial.metadata.deletionTimestamp, trial.metadata.finalizers = "2026-09-01T00:00:00Z", { "clean-metrics-in-db" }
  end },
  { "group-only RoleBinding", "group-binding RoleBinding team-a/contributors", function(k)
    k:add(object("rbac.authorization.k8s.io/v1", "RoleBinding", "team-a", "contributors", {
      roleRef = { kind = "ClusterRole", name = "kubeflow-edit" }, subjects = { { kind = "Group", name = "data" } } }))
  end },
  { "Profile owner mismatch", "owner-mismatch Namespace team-a", function(k)
    k:get("Profile", nil, "team-a").spec.owner.name = "other@example.com"
  end },
  { "an older Kale's trial job", "older-kale Experiment team-a/old-kale", function(k)
    local old = k:add(kubeflow.experiment "old-kale")
    local container = kubeflow.trial_pod(old).spec.containers[1]
    container.command = { "python3 -u -c 'from kale.common.katibutils import create_and_wait_kfp_run'" }
    container.args, container.env = nil, {}
  end },
}

local function deployment(place, name, image, status)
  return object("apps/v1", "Deployment", place, name, { status = status, spec = { template = { spec = { containers = {
    { name = "main", image = image } } } } } })
end

local function ended_trial(k, since, status)
  k:add(object("batch/v1", "Job", "team-a", "tune-x", { status = { conditions = {
    { type = "Complete", status = "True", lastTransitionTime = os.date("!%Y-%m-%dT%H:%M:%SZ", NOW - since) } } } }))
  return k:add(object("kubeflow.org/v1beta1", "Trial", "team-a", "tune-x", { spec = {}, status = status }))
end

local MORE_FAULTS = {
  { "programs of two releases", "version-skew Deployment kubeflow/ml-pipeline-ui", function(k)
    k:add(deployment("kubeflow", "ml-pipeline", "ghcr.io/kubeflow/kfp-api-server:2.15.0"))
    k:add(deployment("kubeflow", "ml-pipeline-ui", "ghcr.io/kubeflow/kfp-frontend:2.4.1"))
  end },
  { "a Pipelines before 2", "pipelines-version Deployment kubeflow/ml-pipeline", function(k)
    k:add(deployment("kubeflow", "ml-pipeline", "gcr.io/ml-pipeline/api-server:1.8.5"))
  end },
  { "a program that is down", "component-down Deployment kubeflow/katib-db-manager", function(k)
    k:add(deployment("kubeflow", "katib-db-manager", "db", { conditions = { { type = "Available", status = "False",
      message = "Deployment does not have minimum availability." } } }))
  end },
  { "a trial whose metrics never came", "stuck-trial Trial team-a/tune-x", function(k) ended_trial(k, 3600) end },
}
table.move(MORE_FAULTS, 1, #MORE_FAULTS, #FAULTS + 1, FAULTS)

for _, fault in ipairs(FAULTS) do
  local name, expected, break_it = table.unpack(fault)
  test("found: " .. name, function()
    local k = kubeflow.new()
    break_it(k)
    local findings = examine(k)
    test.same(codes(findings), { expected })
    for _, field in ipairs { "what", "why", "fix", "severity", "code", "where" } do
      assert(#findings[1][field] > 3, field)
    end
  end)
end

test("native sidecars on a Kubernetes without them are found", function()
  local k = kubeflow.new()
  local function found(minor) return codes(doctor.examine(k.objects, {
    now = NOW, version = { major = "1", minor = minor } })) end
  test.same(found "28", { "native-sidecar-version Deployment istio-system/istiod" })
  test.same(found "28+", { "native-sidecar-version Deployment istio-system/istiod" })
  test.same(found "29", {})
end)

test("all faults at once are all found", function()
  local k, expected = kubeflow.new(), {}
  for _, fault in ipairs(FAULTS) do
    fault[3](k)
    expected[fault[2]] = true
  end
  for _, code in ipairs(codes(examine(k))) do expected[code] = nil end
  test.same(expected, {})
end)

-- --- health ------------------------------------------------------------------------------------------------

local function label(k, key, value) k:get("Namespace", nil, "team-a").metadata.labels[key] = value end
local function claim(k, name, modes, phase)
  return k:add(object("v1", "PersistentVolumeClaim", "team-a", name, { spec = { accessModes = modes },
    status = { phase = phase } }))
end
local function pod(k, name, spec, phase)
  spec.containers = spec.containers or { { name = "istio-proxy" } }
  return k:add(object("v1", "Pod", "team-a", name, { spec = spec, status = { phase = phase or "Running" } }))
end
local function data_user(node)
  return { nodeName = node, volumes = { { name = "d", persistentVolumeClaim = { claimName = "data" } } } }
end

local HARMLESS = {
  ["as it is"] = function() end,
  ["no Kubeflow at all"] = function(k) k.objects = { object("v1", "Namespace", nil, "default") } end,
  ["no mesh"] = function(k)
    for _, entry in ipairs { { "AuthorizationPolicy", "kubeflow", "ml-pipeline" },
      { "AuthorizationPolicy", "istio-system", "global-deny-all" }, { "Deployment", "istio-system", "istiod" } } do
      k:remove(table.unpack(entry))
    end
  end,
  ["no mesh, and the policy that each profile gets"] = function(k)
    for _, entry in ipairs { { "AuthorizationPolicy", "kubeflow", "ml-pipeline" },
      { "AuthorizationPolicy", "istio-system", "global-deny-all" }, { "Deployment", "istio-system", "istiod" } } do
      k:remove(table.unpack(entry))
    end
    k:add(object("security.istio.io/v1", "AuthorizationPolicy", "team-a", "ns-owner-access-istio", { spec = {} }))
  end,
  ["no profile yet"] = function(k) k:remove("Profile", nil, "team-a") end,
  ["no experiment"] = function(k) k:remove("Experiment", "team-a", "tune") end,
  ["STRICT, but all pods have a sidecar"] = function(k)
    k:remove("Experiment", "team-a", "tune")
    k:add(object("security.istio.io/v1", "PeerAuthentication", "kubeflow", "default", {
      spec = { mtls = { mode = "STRICT" } } }))
  end,
  ["PERMISSIVE in kubeflow"] = function(k)
    k:add(object("security.istio.io/v1", "PeerAuthentication", "kubeflow", "default", {
      spec = { mtls = { mode = "PERMISSIVE" } } }))
  end,
  ["STRICT in another namespace"] = function(k)
    k:add(object("security.istio.io/v1", "PeerAuthentication", "team-b", "default", {
      spec = { mtls = { mode = "STRICT" } } }))
  end,
  ["STRICT for another workload"] = function(k)
    k:add(object("security.istio.io/v1", "PeerAuthentication", "kubeflow", "minio", {
      spec = { selector = { matchLabels = { app = "minio" } }, mtls = { mode = "STRICT" } } }))
  end,
  ["STRICT for the mesh, PERMISSIVE for Pipelines"] = function(k)
    k:add(object("security.istio.io/v1", "PeerAuthentication", "istio-system", "default", {
      spec = { mtls = { mode = "STRICT" } } }))
    k:add(object("security.istio.io/v1", "PeerAuthentication", "kubeflow", "kfp", {
      spec = { selector = { matchLabels = { app = "ml-pipeline" } }, mtls = { mode = "PERMISSIVE" } } }))
  end,
  ["an EnvoyFilter that adds another header"] = function(k)
    k:add(object("networking.istio.io/v1alpha3", "EnvoyFilter", "team-a", "trace", { spec = { configPatches = { {
      applyTo = "VIRTUAL_HOST", match = { context = "SIDECAR_OUTBOUND" },
      patch = { operation = "MERGE", value = { request_headers_to_add = { { header = { key = "x-trace" } } } } },
    } } } }))
  end,
  ["the gateway's filter that sets the identity"] = function(k)
    k:add(object("networking.istio.io/v1alpha3", "EnvoyFilter", "istio-system", "login", { spec = { configPatches = { {
      applyTo = "HTTP_FILTER", match = { context = "GATEWAY" },
      patch = { value = { headers = { { header = { key = "kubeflow-userid" } } } } } } } } }))
  end,
  ["a webhook that sorts last"] = function(k)
    k:add(object("admissionregistration.k8s.io/v1", "MutatingWebhookConfiguration", nil, "zz-kfhost", {
      labels = { ["app.kubernetes.io/managed-by"] = "kfhost" },
      webhooks = { kubeflow.webhook("trial-sidecar.kfhost.io", "katib-controller") } }))
  end,
  ["a webhook that sorts first and is called again"] = function(k)
    local hook = kubeflow.webhook("trial-sidecar.kfhost.io", "katib-controller")
    hook.reinvocationPolicy = "IfNeeded"
    k:add(object("admissionregistration.k8s.io/v1", "MutatingWebhookConfiguration", nil, "a-kfhost", {
      labels = { ["app.kubernetes.io/managed-by"] = "kfhost" }, webhooks = { hook } }))
  end,
  ["a webhook by URL"] = function(k)
    local hook = kubeflow.webhook("x.example.com", "x")
    hook.clientConfig = { url = "https://127.0.0.1:1/x", caBundle = hook.clientConfig.caBundle }
    k:add(object("admissionregistration.k8s.io/v1", "ValidatingWebhookConfiguration", nil, "x", {
      webhooks = { hook } }))
  end,
  ["a webhook that fails open without its service"] = function(k)
    local hook = kubeflow.webhook("x.example.com", "gone")
    hook.failurePolicy = "Ignore"
    k:add(object("admissionregistration.k8s.io/v1", "ValidatingWebhookConfiguration", nil, "x", {
      webhooks = { hook } }))
  end,
  ["old and new authority in one bundle"] = function(k)
    local old = x509.authority { name = "old", not_before = NOW - 1e7, not_after = NOW - 1e6 }
    k:get("MutatingWebhookConfiguration", nil, "katib.kubeflow.org").webhooks[1].clientConfig.caBundle =
      hash.base64(old.certificate .. kubeflow.authority.certificate)
  end,
  ["a certificate that ends tomorrow"] = function(k)
    k:get("Secret", "kubeflow", "katib-webhook-cert").data["tls.crt"] =
      hash.base64(kubeflow.certificate(NOW + 86400).certificate)
  end,
  ["sh -c and bash -c"] = function(k) pod_of(k).spec.containers[1].command = { "bash", "-c" } end,
  ["a trial without a shell"] = function(k) pod_of(k).spec.containers[1].command = { "kfhost", "kale", "trial" } end,
  ["/bin/sh -c in a container that is not measured"] = function(k)
    table.insert(pod_of(k).spec.containers, { name = "helper", command = { "/bin/sh", "-c" }, args = { "sleep 1" } })
  end,
  ["a Push collector in a restricted namespace without Katib's label"] = function(k)
    label(k, "katib.kubeflow.org/metrics-collector-injection", nil)
    label(k, "pod-security.kubernetes.io/enforce", "restricted")
    k.experiment.spec.metricsCollectorSpec = { collector = { kind = "Push" } }
  end,
  ["baseline enforced, restricted warned of"] = function(k)
    label(k, "pod-security.kubernetes.io/enforce", "baseline")
    label(k, "pod-security.kubernetes.io/warn", "restricted")
  end,
  ["an experiment that is over in a namespace that changed"] = function(k)
    label(k, "katib.kubeflow.org/metrics-collector-injection", nil)
    k.experiment.status = { conditions = { { type = "Succeeded", status = "True" } } }
  end,
  ["two experiments of different names"] = function(k) k:add(kubeflow.experiment "tune-2") end,
  ["a ReadWriteMany claim that is bound"] = function(k) claim(k, "shared", { "ReadWriteMany" }, "Bound") end,
  ["a ReadWriteOnce claim that waits for its first pod"] = function(k)
    claim(k, "new", { "ReadWriteOnce" }, "Pending")
  end,
  ["a ReadWriteMany claim of a file server, on its way"] = function(k)
    k:add(object("storage.k8s.io/v1", "StorageClass", nil, "nfs", { provisioner = "nfs.csi.k8s.io" }))
    claim(k, "shared", { "ReadWriteMany" }, "Pending").spec.storageClassName = "nfs"
  end,
  ["two pods of one node share a claim"] = function(k) pod(k, "second", data_user "node-1") end,
  ["a pod of another node that has ended"] = function(k) pod(k, "done", data_user "node-2", "Succeeded") end,
  ["a quota of nothing that nobody uses"] = function(k)
    local status = k:get("ResourceQuota", "team-a", "kf-resource-quota").status
    status.hard["requests.nvidia.com/gpu"], status.used["requests.nvidia.com/gpu"] = "0", "0"
  end,
  ["a quota that is nearly full"] = function(k)
    k:get("ResourceQuota", "team-a", "kf-resource-quota").status.used.cpu = "9999m"
  end,
  ["PodDefaults for different pods"] = function(k)
    k:add(object("kubeflow.org/v1alpha1", "PodDefault", "team-a", "other", { spec = {
      selector = { matchLabels = { gpu = "true" } },
      env = { { name = "KF_PIPELINES_SA_TOKEN_PATH", value = "/x" } } } }))
  end,
  ["PodDefaults for the same pods that agree"] = function(k)
    k:add(object("kubeflow.org/v1alpha1", "PodDefault", "team-a", "other", { spec = {
      selector = { matchLabels = { ["access-ml-pipeline"] = "true" } }, env = { { name = "MORE", value = "1" } } } }))
  end,
  ["a deletion that has just begun"] = function(k)
    local trial = k:add(object("kubeflow.org/v1beta1", "Trial", "team-a", "going", { spec = {} }))
    trial.metadata.finalizers = { "clean-metrics-in-db" }
    trial.metadata.deletionTimestamp = os.date("!%Y-%m-%dT%H:%M:%SZ", NOW - 60)
  end,
  ["finalizers of what nobody deletes"] = function(k)
    k:get("PersistentVolumeClaim", "team-a", "data").metadata.finalizers = { "kubernetes.io/pvc-protection" }
  end,
  ["a trial whose job has just ended"] = function(k) ended_trial(k, 60) end,
  ["a trial that is over"] = function(k)
    ended_trial(k, 3600, { conditions = { { type = "Succeeded", status = "True" } } })
  end,
  ["programs of one release, by tag, patch and digest"] = function(k)
    k:add(deployment("kubeflow", "ml-pipeline", "ghcr.io/kubeflow/kfp-api-server:2.15.0"))
    k:add(deployment("kubeflow", "ml-pipeline-ui", "ghcr.io/kubeflow/kfp-frontend:2.15.2"))
    k:add(deployment("kubeflow", "cache-server", "ghcr.io/kubeflow/kfp-cache-server@sha256:01"))
    k:add(deployment("kubeflow", "site", "registry.example:5000/kfp-scheduled-workflow-controller"))
  end,
  ["a program of a user that is down"] = function(k)
    k:add(deployment("team-a", "web", "x", { conditions = { { type = "Available", status = "False" } } }))
  end,
  ["a group and a user in one binding"] = function(k)
    local bound = k:get("RoleBinding", "team-a", "namespaceAdmin")
    table.insert(bound.subjects, { kind = "Group", name = "data" })
  end,
  ["a binding of a group to a role of the site"] = function(k)
    k:add(object("rbac.authorization.k8s.io/v1", "RoleBinding", "team-a", "auditors", {
      roleRef = { kind = "Role", name = "read-logs" }, subjects = { { kind = "Group", name = "audit" } } }))
  end,
  ["a token for the API server beside that for Pipelines"] = function(k)
    table.insert(k:get("Pod", "team-a", "notebook-0").spec.volumes, { name = "api", projected = { sources = { {
      serviceAccountToken = { path = "token" } } } } })
  end,
  ["another audience that this Pipelines asks for"] = function(k)
    k:add(object("apps/v1", "Deployment", "kubeflow", "ml-pipeline", { spec = { template = { spec = { containers = { {
      name = "api", env = { { name = "TOKEN_REVIEW_AUDIENCE", value = "kfp.site" } } } } } } } }))
    k:remove("Experiment", "team-a", "tune")
    k:get("PodDefault", "team-a", "access-ml-pipeline").spec.volumes = { kubeflow.token_volume "kfp.site" }
    k:get("Pod", "team-a", "notebook-0").spec.volumes[1] = kubeflow.token_volume "kfp.site"
  end,
}

for name, vary in pairs(HARMLESS) do
  test("nothing is found: " .. name, function()
    local k = kubeflow.new()
    vary(k)
    test.same(codes(examine(k)), {})
  end)
end

local function report_of(findings, more)
  local made = { findings = findings, not_checked = {}, not_installed = {}, about = {} }
  for key, value in pairs(more or {}) do made[key] = value end
  return made
end

-- --- a cluster ---------------------------------------------------------------------------------------------

test("the doctor reads a cluster and sends nothing but questions", function()
  local r = dofile("tests/lua/support/repl.lua").new()
  r:make { apiVersion = "v1", kind = "Secret", metadata = { name = "s", namespace = "default" },
    data = { password = "eA==", ["tls.crt"] = "eA==" } }
  local methods, transport = {}, r.client.transport
  r.client.transport = { stream = transport.stream, request = transport.request }
  for _, name in ipairs { "request", "stream" } do
    r.client.transport[name] = function(_, options)
      methods[options.method or "GET"] = true
      return transport[name](transport, options)
    end
  end
  r:make(kubeflow.object("admissionregistration.k8s.io/v1", "ValidatingWebhookConfiguration", nil, "x", { webhooks = {
    { name = "x.test.io", sideEffects = "None", admissionReviewVersions = { "v1" }, failurePolicy = "Ignore",
      clientConfig = { service = { name = "x", namespace = "default" } } } } }))
  for method in pairs(methods) do methods[method] = nil end
  local seen = require("doctor.collect").all(r.client)
  local objects = seen.objects
  test.same({ methods, seen.not_checked }, { { GET = true }, {} })
  local secret
  for _, one in ipairs(objects) do
    assert(one.kind and one.metadata.name, "each object says what it is")
    if one.kind == "Secret" then secret = one end
  end
  test.same(secret.data, { ["tls.crt"] = "eA==" })
  test.same(doctor.examine(objects), {})
end)

-- A text, and what of it may not be seen: each stands where people put such things.
local CANARIES = {
  "DB_PASSWORD=canary", "password: canary word two", "  secret: 'canary \\' word'", '{"password":"can\\"ary"}',
  '{"auths":{"registry.example":{"auth":"Y2FuYXJ5OmNhbmFyeQ=="}}}', "token: >-\n  canary\n  canary\nnext: kept",
  "api_key = canary", "Authorization: Bearer canary", "authorization: Basic Y2FuYXJ5",
  "Cookie: authservice=canary; a=canary",
  "https://canary:canary@host/path", "postgres://canary@host", "curl https://h/?access_token=canary&x=kept",
  "https://h/?X-Amz-Signature=canary", "aws_secret_access_key = canary", "    client-key-data: Y2FuYXJ5",
  "machine h login me password canary", "<dbPassword>canary</dbPassword>", "hf_canarycanary", "ghp_canarycanary",
  "eyJjYW5hcnk.eyJjYW5hcnk.Y2FuYXJ5", "AccountKey=canary;EndpointSuffix=kept",
  "-----BEGIN RSA PRIVATE KEY-----\nY2FuYXJ5\n-----END RSA PRIVATE KEY-----",
  "-----BEGIN OPENSSH PRIVATE KEY-----\nY2FuYXJ5\ncut off",
  '\\"token\\": \\"canary\\"', "export MINIO_SECRET_KEY='canary'",
  "level=info password=\"canary two\" x=kept", "refresh-token:canary",
  "password: |\n    canary\n    canary\n",
}
local GONE = { "canary", "Y2FuYXJ5", "jYW5hcnk" }

test("what must not be seen is masked, wherever people put it; the rest of the text is left", function()
  local masked = require "doctor.masked"
  for _, text in ipairs(CANARIES) do
    local said = masked.text(text)
    for _, secret in ipairs(GONE) do assert(not said:find(secret, 1, true), text .. " became " .. said) end
    assert(said:find("(hidden)", 1, true), said)
    assert(not text:find "kept" or said:find "kept", text .. " became " .. said)
    test.equal(masked.text(said), said)
  end
  local plain = "epoch 3: accuracy=0.93 tokens=512 secretName: mysql\nkey: value\nimage: ghcr.io/a/b@sha256:01\n"
    .. "authors: me\nserviceAccountToken:\n  audience: kept\nmountPath: /var/run/secrets/token\n"
  test.equal(masked.text(plain), plain)
  local huge = ("x=1 "):rep(250000)
  test.equal(masked.text(huge), huge)
end)

test("arguments, variables, annotations and settings of objects are masked", function()
  local masked = require "doctor.masked"
  local said = json.encode(masked.object { apiVersion = "v1", kind = "Pod", metadata = { name = "p", annotations = {
    ["kubectl.kubernetes.io/last-applied-configuration"] = '{"x":"canary"}', note = "password=canary" } },
    spec = { volumes = { { name = "t", projected = { sources = { { serviceAccountToken = { path = "token" } } } } } },
      containers = { { name = "main", command = { "run", "--password", "canary", "--token=canary", "--name", "kept" },
        args = { "mysql://u:canary@db" }, env = { { name = "PGPASSWORD", value = "canary" },
          { name = "A", value = "kept" }, { name = "URL", value = "https://canary@h" } } } } } }, { sort = true })
  assert(not said:find("canary", 1, true), said)
  for _, kept in ipairs { '"--name","kept"', '"value":"kept"', '"path":"token"' } do
    assert(said:find(kept, 1, true), kept)
  end
end)

test("a bundle has findings, objects and logs, and no secret; only its owner may read it", function()
  local r, fs = dofile("tests/lua/support/repl.lua").new(), require "fs"
  r:make { apiVersion = "v1", kind = "Secret", metadata = { name = "s", namespace = "default" },
    data = { password = "Y2FuYXJ5" } }
  r:make { apiVersion = "v1", kind = "ConfigMap", metadata = { name = "katib-config", namespace = "default" }, data = {
    ["config.yaml"] = "other: kept\n" .. table.concat(CANARIES, "\n") } }
  local path = fs.join(test.tmpdir(), "support.tar.gz")
  local made = require("doctor.support").write(r.client, path, report_of({}, { about = { server = "lab" } }))
  local text = require("proc").run { "tar", "-xzOf", path }.stdout
  assert(text:find("other: kept", 1, true) and text:find("Nothing is wrong", 1, true))
  for _, secret in ipairs(GONE) do assert(not text:find(secret, 1, true), secret) end
  test.same({ made.logs, fs.exists(path .. ".partial"), fs.stat(path).mode & 63 }, { 0, false, 0 })
end)

-- --- reports -------------------------------------------------------------------------------------------------

test("a namespace's findings can be had alone", function()
  local k = kubeflow.new()
  for _, fault in ipairs(FAULTS) do fault[3](k) end
  local findings = doctor.examine(k.objects, { now = NOW, namespace = "team-b" })
  for _, finding in ipairs(findings) do
    assert(finding.namespace == nil or finding.namespace == "team-b", finding.where)
  end
  test.equal(findings[#findings].where, "Experiment team-b/tune")
end)

test("the report is text, JSON or a page, and the exit code says the worst", function()
  local k = kubeflow.new()
  test.equal(report.text(report_of(examine(k))), "Nothing is wrong that the doctor knows of.\n")
  test.equal(report.exit_code(report_of {}), 0)
  k:get("ResourceQuota", "team-a", "kf-resource-quota").status.used.cpu = "10"
  local findings = examine(k)
  test.equal(report.exit_code(report_of(findings)), 3)
  test.equal(report.text(report_of(findings), 100), [[
warning quota-full  ResourceQuota team-a/kf-resource-quota
  nothing is left of cpu 10 of 10
  why: new pods and claims of this namespace are refused: exceeded quota
  fix: raise it: `kubectl edit profile team-a` (spec.resourceQuotaSpec); or delete what is done

0 errors, 1 warning
]])
  test.equal(json.decode(report.json(report_of(findings))).findings[1].code, "quota-full")
  k:get("Profile", nil, "team-a").spec.owner.name = "<script>"
  local page = require("doctor.page").html(report_of(examine(k)))
  assert(page:find("its profile &lt;script&gt;", 1, true))
  test.equal(report.exit_code(report_of(examine(k))), 1)
end)

test("what could not be looked at is no finding, and is not silence", function()
  local seen = report_of({}, { not_checked = { { what = "secrets", reason = "Forbidden: may not list secrets" } },
    not_installed = { "Istio", "Katib" } })
  test.equal(report.exit_code(seen), 3)
  test.equal(report.text(seen, 100), [[
not checked: secrets: Forbidden: may not list secrets

not installed: Istio, Katib
Nothing is wrong in what could be looked at, 1 thing not checked.
]])
  local value = json.decode(report.json(seen))
  test.same({ value.errors, value.warnings, #value.findings, value.not_installed }, { 0, 0, 0, { "Istio", "Katib" } })
end)

test("lines of the report are as wide as the terminal, and no wider than can be read", function()
  local k = kubeflow.new()
  for _, fault in ipairs(FAULTS) do fault[3](k) end
  for _, columns in ipairs { 20, 40, 72, 300 } do
    for line in report.text(report_of(examine(k)), columns):gmatch "[^\n]+" do
      local widest = math.max(40, math.min(columns, 100))
      local is_title, of_manifest = not line:find "^%s", line:find "^       .*%l: " or line:find "^       %- "
      local is_word = not line:gsub("^%s*%a*:?%s*", ""):find "%s"
      assert(#line <= widest or is_title or of_manifest or is_word, line)
    end
  end
end)

-- --- the guide -------------------------------------------------------------------------------------------------

-- The codes that the checks use, as their sources name them.
local function codes_in_sources()
  local fs, found = require "fs", { connection = true }
  for _, name in ipairs(fs.list "scripts/lib/doctor") do
    local text = fs.read(fs.join("scripts/lib/doctor", name))
    for _, pattern in ipairs { 'w:add%("([%l%-]+)"', 'note%(notes, "([%l%-]+)"', 'KF%d+ = { "([%l%-]+)"',
      'or "([%l]+%-[%l%-]+)"\n' } do
      for code in text:gmatch(pattern) do found[code] = true end
    end
  end
  return found
end

test("the guide names each code, and no other", function()
  local text, known = require("fs").read "docs/guide/doctor.md", codes_in_sources()
  local named = {}
  for code in text:gmatch "\n| `([%l%-]+)` | %l+ |" do named[code] = true end
  test.same(named, known)
end)

-- Kinds whose definitions may let anything in; the API server sees to the shape of its own.
local LOOSE = { Profile = true, PodDefault = true, Experiment = true, Trial = true, Notebook = true,
  AuthorizationPolicy = true, PeerAuthentication = true, EnvoyFilter = true }
local ODD = { 1, "x", false, json.null, json.array {}, json.object {}, { 1 }, { x = { y = 1 } } }

-- Each value below in turn is something else.
local function spoil(value, look)
  for key, inner in pairs(value) do
    for _, odd in ipairs(ODD) do
      value[key] = odd
      look(key)
    end
    value[key] = inner
    if type(inner) == "table" then spoil(inner, look) end
  end
end

-- The API server sees to the metadata of every kind.
local function spoil_object(object_of, look)
  for _, field in ipairs(LOOSE[object_of.kind] and { "spec", "status" } or {}) do
    local part = { [field] = object_of[field] }
    setmetatable(object_of, { __index = part })
    object_of[field] = nil
    spoil(part, look)
    object_of[field] = part[field]
    setmetatable(object_of, nil)
  end
end

test("an object of another shape than expected stops no check", function()
  local k, stopped = kubeflow.new(), {}
  for _, fault in ipairs(FAULTS) do fault[3](k) end
  local around = { k:get("Namespace", nil, "team-a"), k:get("Service", "kubeflow", "ml-pipeline"),
    k:get("Deployment", "istio-system", "istiod"), k:get("Pod", "team-a", "notebook-0") }
  for _, object_of in ipairs(k.objects) do
    local few = table.move(around, 1, #around, 2, { object_of })
    spoil_object(object_of, function(key)
      for _, one in ipairs(select(2, doctor.examine(few, { now = NOW }))) do
        stopped[("%s.%s: %s"):format(object_of.kind, key, one.reason)] = true
      end
    end)
  end
  local list = {}
  for text in pairs(stopped) do list[#list + 1] = text end
  table.sort(list)
  test.same(list, {})
end)

test("a check that an object breaks is said to be not done; the others are done", function()
  local k = kubeflow.new()
  k:remove("AuthorizationPolicy", "kubeflow", "ml-pipeline")
  k:get("ResourceQuota", "team-a", "kf-resource-quota").status.hard.cpu = {}
  local findings, broken = examine(k)
  test.same(codes(findings), { "kfp-policy-absent Service kubeflow/ml-pipeline" })
  test.equal(broken[1].what, "check doctor.namespaces.quotas")
end)
