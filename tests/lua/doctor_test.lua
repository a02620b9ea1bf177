-- The doctor: each fault is found and named, one at a time and all at once; a healthy Kubeflow and harmless
-- variations of it give no finding.
local test = require "test"
local doctor = require "doctor"
local hash = require "hash"
local x509 = require "x509"
local support = dofile "tests/lua/support/doctor.lua"

local kubeflow, FAULTS, examine, codes = support.kubeflow, support.faults, support.examine, support.codes
local deployment, ended_trial, event = support.deployment, support.ended_trial, support.event
local object, NOW = kubeflow.object, kubeflow.NOW

-- --- faults ------------------------------------------------------------------------------------------------

local function found_alone(fault)
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
for _, list in ipairs { FAULTS, support.alone } do
  for _, fault in ipairs(list) do found_alone(fault) end
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

test("pods of one owner with one fault are one finding, which says how many there are", function()
  local k = kubeflow.new()
  for index = 1, 3 do
    k:add(object("v1", "Pod", "team-a", "caller-" .. index, { labels = { ["access-ml-pipeline"] = "true" },
      spec = { containers = { { name = "istio-proxy" } } } })).metadata.ownerReferences = { {
      kind = "ReplicaSet", name = "caller", uid = "1", controller = true } }
  end
  local findings = examine(k)
  test.same(codes(findings), { "no-token Pod team-a/caller-1" })
  test.equal(findings[1].what,
    "the label access-ml-pipeline asks for a token, and the pod has none (and so 2 more of its owner)")
end)

test("what releases an object names it as kubectl finds it", function()
  local k = kubeflow.new()
  local function going(version, kind, namespace, name, finalizers)
    local spec = { finalizers = { "kubernetes" } } -- a namespace has its own there
    local metadata = k:add(object(version, kind, namespace, name, { spec = spec })).metadata
    metadata.deletionTimestamp, metadata.finalizers = "2026-09-01T00:00:00Z", finalizers
  end
  going("kubeflow.org/v1beta1", "Trial", "team-a", "old", { "clean-metrics-in-db" })
  going("kubeflow.org/v1", "Profile", nil, "gone", { "profile-finalizer" })
  going("v1", "Namespace", nil, "gone", nil)
  going("v1", "PersistentVolumeClaim", "team-a", "kept", { "example.com/hold" })
  local commands = {}
  for index, finding in ipairs(examine(k)) do
    commands[index] = finding.where .. ": " .. finding.fix:match "`(.-)`":gsub(" %-%-type.*", "")
  end
  test.same(commands, { "Namespace gone: kubectl get namespace gone -o yaml",
    "PersistentVolumeClaim team-a/kept: kubectl patch persistentvolumeclaim -n team-a kept",
    "Profile gone: kubectl patch profile.v1.kubeflow.org gone",
    "Trial team-a/old: kubectl patch trial.v1beta1.kubeflow.org -n team-a old" })
end)

local function pod_of(k) return kubeflow.trial_pod(k.experiment) end

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
  ["/bin/sh -c in an experiment that has succeeded"] = function(k)
    pod_of(k).spec.containers[1].command = { "/bin/sh", "-c" }
    k.experiment.status = { conditions = { { type = "Succeeded", status = "True" } } }
  end,
  ["a Push collector in a restricted namespace without Katib's label"] = function(k)
    label(k, "katib.kubeflow.org/metrics-collector-injection", nil)
    label(k, "pod-security.kubernetes.io/enforce", "restricted")
    k.experiment.spec.metricsCollectorSpec = { collector = { kind = "Push" } }
  end,
  ["restricted enforced, and Katib gives its collector a security context"] = function(k)
    label(k, "pod-security.kubernetes.io/enforce", "restricted")
    local data = k:get("ConfigMap", "kubeflow", "katib-config").data
    data["katib-config.yaml"] = "init:\n  controller:\n    injectSecurityContext: true\n" .. data["katib-config.yaml"]
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
  ["a ReadWriteMany claim that its driver cannot serve for another reason, now"] = function(k)
    k:add(object("storage.k8s.io/v1", "StorageClass", nil, "site", { provisioner = "csi.site.example" }))
    local shared = claim(k, "shared", { "ReadWriteMany" }, "Pending")
    shared.spec.storageClassName = "site"
    k:add(event(shared, "ProvisioningFailed", "no space is left on the filer"))
  end,
  ["ReadWriteMany claims that go away, or have their volume already"] = function(k)
    claim(k, "going", { "ReadWriteMany" }, "Pending").metadata.deletionTimestamp =
      os.date("!%Y-%m-%dT%H:%M:%SZ", NOW - 60)
    claim(k, "chosen", { "ReadWriteMany" }, "Pending").spec.volumeName = "pv-1"
  end,
  ["pods on two nodes share a claim that is for many"] = function(k)
    local data = k:get("PersistentVolumeClaim", "team-a", "data")
    data.spec.accessModes = { "ReadWriteOnce", "ReadWriteMany" }
    support.data_user(k, "waits", "node-2", "Pending")
  end,
  ["pods on two nodes share a claim of a class that does not attach its volumes"] = function(k)
    k:add(object("storage.k8s.io/v1", "StorageClass", nil, "nfs", { provisioner = "nfs.csi.k8s.io" }))
    k:get("PersistentVolumeClaim", "team-a", "data").spec.storageClassName = "nfs"
    support.data_user(k, "waits", "node-2", "Pending")
  end,
  ["a pod waits on the node that has its volume"] = function(k) support.data_user(k, "waits", "node-1", "Pending") end,
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
  ["PodDefaults for the same pods that say the same"] = function(k)
    local spec = k:get("PodDefault", "team-a", "access-ml-pipeline").spec
    spec.labels = { tier = "a" }
    k:add(object("kubeflow.org/v1alpha1", "PodDefault", "team-a", "again", { spec = { selector = spec.selector,
      env = spec.env, volumes = spec.volumes, volumeMounts = spec.volumeMounts, labels = { tier = "a" } } }))
  end,
  ["PodDefaults that disagree, for pods with a label and pods without it"] = function(k)
    for operator, value in pairs { Exists = "1", DoesNotExist = "2" } do
      k:add(object("kubeflow.org/v1alpha1", "PodDefault", "team-a", operator:lower(), { spec = {
        selector = { matchExpressions = { { key = "gpu", operator = operator } } },
        env = { { name = "GPU", value = value } } } }))
    end
  end,
  ["PodDefaults that disagree, for the same label of other values"] = function(k)
    for _, size in ipairs { "large", "small" } do
      k:add(object("kubeflow.org/v1alpha1", "PodDefault", "team-a", size, { spec = {
        selector = { matchLabels = { size = size } }, env = { { name = "SIZE", value = size } } } }))
    end
  end,
  ["a deletion that has just begun"] = function(k)
    local trial = k:add(object("kubeflow.org/v1beta1", "Trial", "team-a", "going", { spec = {} }))
    trial.metadata.finalizers = { "clean-metrics-in-db" }
    trial.metadata.deletionTimestamp = os.date("!%Y-%m-%dT%H:%M:%SZ", NOW - 60)
  end,
  ["a claim whose deletion waits for the pod that uses it"] = function(k)
    local data = k:get("PersistentVolumeClaim", "team-a", "data")
    data.metadata.finalizers = { "kubernetes.io/pvc-protection" }
    data.metadata.deletionTimestamp = os.date("!%Y-%m-%dT%H:%M:%SZ", NOW - 3600)
  end,
  ["a volume that was let go a while ago"] = function(k)
    local waiting = pod(k, "second", {}, "Pending")
    k:add(event(waiting, "FailedAttachVolume", "Multi-Attach error for volume")).lastTimestamp =
      os.date("!%Y-%m-%dT%H:%M:%SZ", NOW - 3600)
  end,
  ["a deleted pod's old event, and a job that got its pod at last"] = function(k)
    k:get("Namespace", nil, "team-a").metadata.labels["pod-security.kubernetes.io/enforce"] = "baseline"
    local job = k:add(object("batch/v1", "Job", "team-a", "host", { status = { active = 1 }, spec = { template = {
      spec = { hostNetwork = true, containers = { { name = "main" } } } } } }))
    k:add(event(job, "FailedCreate", "violates PodSecurity baseline"))
    k:add(event(object("v1", "Pod", "team-a", "gone", {}), "FailedAttachVolume", "Multi-Attach error"))
  end,
  ["a job that its level refused once: it is over, or would pass now"] = function(k)
    label(k, "pod-security.kubernetes.io/enforce", "baseline")
    for name, status in pairs { over = { conditions = { { type = "Failed", status = "True" } } }, passes = {} } do
      local job = k:add(object("batch/v1", "Job", "team-a", name, { status = status, spec = { template = {
        spec = { hostNetwork = name == "over", containers = { { name = "main" } } } } } }))
      k:add(event(job, "FailedCreate", "violates PodSecurity baseline"))
    end
  end,
  ["a notebook whose pod gets its token from a PodDefault by a label of the notebook"] = function(k)
    k:add(object("kubeflow.org/v1", "Notebook", "team-a", "mine", { labels = { ["access-ml-pipeline"] = "true" },
      spec = { template = { spec = { containers = { { name = "mine", env = { { name = "KF_PIPELINES_SA_TOKEN_PATH",
        value = "/var/run/secrets/kubeflow/pipelines/token" } } } } } } } }))
  end,
  ["a filter that asks for the identity"] = function(k)
    k:add(object("networking.istio.io/v1alpha3", "EnvoyFilter", "team-a", "rbac", { spec = { configPatches = { {
      applyTo = "HTTP_FILTER", match = { context = "SIDECAR_OUTBOUND" }, patch = { operation = "ADD", value = {
        rules = { policies = { x = { principals = { { header = { name = "kubeflow-userid",
          exact_match = "user@example.com" } } } } } } } } } } } }))
  end,
  ["a share of a driver that has block devices, too, and a device as such for many"] = function(k)
    k:add(object("storage.k8s.io/v1", "StorageClass", nil, "vsan-file", { provisioner = "csi.vsphere.vmware.com",
      parameters = { ["csi.storage.k8s.io/fstype"] = "nfs4" } }))
    claim(k, "share", { "ReadWriteMany" }, "Pending").spec.storageClassName = "vsan-file"
    claim(k, "device", { "ReadWriteMany" }, "Pending").spec.volumeMode = "Block"
  end,
  ["a class that is not there, for a claim that is bound or wants none"] = function(k)
    claim(k, "old", { "ReadWriteOnce" }, "Bound").spec.storageClassName = "gone"
    claim(k, "static", { "ReadWriteOnce" }, "Pending").spec.storageClassName = ""
  end,
  ["a pod that expected a token, and is over"] = function(k)
    pod(k, "over", { containers = { { name = "main", env = {
      { name = "KF_PIPELINES_SA_TOKEN_PATH", value = "/x/token" } } } } }, "Succeeded")
  end,
  ["an experiment with a sidecar that is over"] = function(k)
    k:get("ConfigMap", "kubeflow", "katib-config").data = {}
    local old = k:add(kubeflow.experiment "native")
    kubeflow.trial_pod(old).metadata.labels = {}
    old.status = { conditions = { { type = "Succeeded", status = "True" } } }
  end,
  ["an experiment with a sidecar that our policy ends"] = function(k)
    k:get("ConfigMap", "kubeflow", "katib-config").data = {}
    kubeflow.trial_pod(k:add(kubeflow.experiment "native")).metadata.labels = {}
    k:add(object("admissionregistration.k8s.io/v1", "MutatingWebhookConfiguration", nil, "zz-kfhost-policy", {
      webhooks = { kubeflow.webhook("trial-labels.policy.kfhost.io", "katib-controller") } }))
  end,
  ["a job of a user that imports what an older Kale had"] = function(k)
    k:add(object("batch/v1", "Job", "team-a", "mine", { spec = { template = { spec = { containers = { { name = "main",
      command = { "python3", "-c", "import kfputils" } } } } } } }))
  end,
  ["an experiment with a classic sidecar"] = function(k)
    k:get("Deployment", "istio-system", "istiod").spec.template.spec.containers[1].env[1].value = "false"
    support.waiting(k)
  end,
  ["an experiment with a classic sidecar, as an older istiod gives it"] = function(k)
    local istiod = k:get("Deployment", "istio-system", "istiod").spec.template.spec.containers[1]
    istiod.image, istiod.env = "docker.io/istio/pilot:1.26.3", nil
    support.waiting(k)
  end,
  ["an experiment with a classic sidecar, as another pod has it"] = function(k)
    k:remove("Deployment", "istio-system", "istiod")
    support.waiting(k)
  end,
  ["STRICT, and a plain pod that is over"] = function(k)
    k:remove("Experiment", "team-a", "tune")
    k:add(object("security.istio.io/v1", "PeerAuthentication", "kubeflow", "default", {
      spec = { mtls = { mode = "STRICT" } } }))
    pod(k, "plain", { containers = { { name = "main" } } }, "Succeeded")
  end,
  ["a program that has just been started"] = function(k)
    k:add(deployment("kubeflow", "katib-ui", "x", { conditions = { { type = "Available", status = "False",
      lastTransitionTime = os.date("!%Y-%m-%dT%H:%M:%SZ", NOW - 5) } } }))
  end,
  ["calls of a webhook that failed, long ago or for what is there by now"] = function(k)
    local job = k:add(object("batch/v1", "Job", "team-a", "late", { status = { conditions = {
      { type = "Complete", status = "True" } } }, spec = {} }))
    local said = 'failed calling webhook "mutator.pod.katib.kubeflow.org": x509: unknown authority'
    k:add(event(job, "FailedCreate", said)).lastTimestamp = os.date("!%Y-%m-%dT%H:%M:%SZ", NOW - 60)
    k:add(event(object("apps/v1", "StatefulSet", "team-a", "n", {}), "FailedCreate", said)).lastTimestamp =
      os.date("!%Y-%m-%dT%H:%M:%SZ", NOW - 7200)
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
  ["a token for Pipelines at a place of the pod's own"] = function(k)
    local token = kubeflow.token_volume()
    support.meshed(k, "own", { volumeMounts = { { name = token.name, mountPath = "/own" } } }, { token },
      { ["access-ml-pipeline"] = "true" })
  end,
  ["no rule for peers without identity, where only pods with a sidecar call"] = function(k)
    k:get("AuthorizationPolicy", "kubeflow", "ml-pipeline").spec.rules = { { from = { { source = {
      namespaces = { "team-a" } } } } } }
    k:remove("Experiment", "team-a", "tune")
    pod(k, "plain", { containers = { { name = "main" } } })
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
