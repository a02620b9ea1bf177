-- support.doctor: faults of the healthy Kubeflow of support.kubeflow, each with the finding that names it.
-- Not for faults that are made in a lab (tests/doctor).
--   for _, fault in ipairs(dofile("tests/lua/support/doctor.lua").faults) do fault[3](kubeflow.new()) end

local doctor = require "doctor"
local hash = require "hash"
local kubeflow = dofile "tests/lua/support/kubeflow.lua"
local x509 = require "x509"

local object, NOW = kubeflow.object, kubeflow.NOW

-- --- faults -----------------------------------------------------------------------------------------------

local function pod_of(k) return kubeflow.trial_pod(k.experiment) end

local function event(about, reason, message)
  return object("v1", "Event", about.metadata.namespace, about.metadata.name .. ".1", {
    involvedObject = { kind = about.kind, name = about.metadata.name, namespace = about.metadata.namespace },
    reason = reason, message = message, type = "Warning",
  })
end

-- An experiment with sidecars, for whose end its collectors wait.
local function waiting(k)
  k:get("ConfigMap", "kubeflow", "katib-config").data = {}
  kubeflow.trial_pod(k:add(kubeflow.experiment "native")).metadata.labels = {}
end

local function waiting_claim(k, name, mode)
  return k:add(object("v1", "PersistentVolumeClaim", "team-a", name, { spec = { accessModes = { mode } },
    status = { phase = "Pending" } }))
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
  { "a Lua filter for any direction that writes the identity", "forged-header EnvoyFilter team-a/script", function(k)
    k:add(object("networking.istio.io/v1alpha3", "EnvoyFilter", "team-a", "script", { spec = { configPatches = { {
      applyTo = "HTTP_FILTER", patch = { operation = "INSERT_BEFORE", value = { typed_config = { inlineCode = [[
        function envoy_on_request(handle) handle:headers():replace("Kubeflow-UserID", "user@example.com") end]] } } },
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
  { "native sidecar without waitAllProcesses: false", "collector-waits Experiment team-a/native", waiting },
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
    waiting_claim(k, "shared", "ReadWriteMany")
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
  { "PodDefaults of which one is for all pods of the other, and no pod is there",
    "poddefault-conflict PodDefault team-a/gpu-large", function(k)
      local function default(name, labels, tier)
        k:add(object("kubeflow.org/v1alpha1", "PodDefault", "team-a", name, { spec = {
          selector = { matchLabels = labels }, labels = { tier = tier } } }))
      end
      default("gpu", { gpu = "true" }, "a")
      default("gpu-large", { gpu = "true", size = "large" }, "b")
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
  { "an older Kale's job that nothing owns", "older-kale Job team-a/orphan", function(k)
    k:add(object("batch/v1", "Job", "team-a", "orphan", { spec = { template = { spec = { containers = { { name = "main",
      command = { "python3 -u -c 'from kale.common.kfputils import create_and_wait_kfp_run'" } } } } } } }))
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

-- A pod with a sidecar.
local function meshed(k, name, container, volumes, labels)
  container.name = "main"
  return k:add(object("v1", "Pod", "team-a", name, { labels = labels,
    spec = { containers = { container, { name = "istio-proxy" } }, volumes = volumes } }))
end

-- A pod on a node with the claim that the notebook has on node-1.
local function data_user(k, name, node, phase)
  return k:add(object("v1", "Pod", "team-a", name, { status = { phase = phase }, spec = { nodeName = node,
    containers = { { name = "istio-proxy" } },
    volumes = { { name = "d", persistentVolumeClaim = { claimName = "data" } } } } }))
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
  { "pods of a job that their namespace refuses", "pod-security Job hosts/host", function(k)
    k:add(object("v1", "Namespace", nil, "hosts", { labels = { ["pod-security.kubernetes.io/enforce"] = "baseline" } }))
    local job = k:add(object("batch/v1", "Job", "hosts", "host", { spec = { template = { spec = { hostNetwork = true,
      containers = { { name = "main" } } } } } }))
    k:add(event(job, "FailedCreate", 'violates PodSecurity "baseline:latest": host namespaces (hostNetwork=true)'))
  end },
  { "a class that is not there", "storage-class PersistentVolumeClaim team-a/typo", function(k)
    k:add(object("v1", "PersistentVolumeClaim", "team-a", "typo", { spec = { accessModes = { "ReadWriteOnce" },
      storageClassName = "vsphre" }, status = { phase = "Pending" } }))
  end },
  { "a container that expects a token where nothing is mounted", "no-token Pod team-a/expects", function(k)
    meshed(k, "expects", { env = { { name = "KF_PIPELINES_SA_TOKEN_PATH", value = "/own/token" } } })
  end },
  { "a trial's container where kale trial finds no token, and no PodDefault brings one", "no-token Job team-a/trial",
    function(k)
      k:add(object("batch/v1", "Job", "team-a", "trial", { spec = { template = { spec = { containers = { {
        name = "main", env = { { name = "KFHOST_TRIAL", value = "x" } } } } } } } }))
    end },
  { "a labelled pod whose token is for something else", "no-token Pod team-a/vault", function(k)
    local token = kubeflow.token_volume "vault"
    meshed(k, "vault", { volumeMounts = { { name = token.name, mountPath = "/vault" } } }, { token },
      { ["access-ml-pipeline"] = "true" })
  end },
  { "a token for something else where a container looks for one", "wrong-audience Pod team-a/elsewhere", function(k)
    local token = kubeflow.token_volume "vault"
    meshed(k, "elsewhere", { volumeMounts = { { name = token.name, mountPath = "/own" } },
      env = { { name = "KF_PIPELINES_SA_TOKEN_PATH", value = "/own/token" } } }, { token })
  end },
  { "a claim for many that the driver of its class refuses", "rwx-pending PersistentVolumeClaim team-a/many",
    function(k)
      k:add(object("storage.k8s.io/v1", "StorageClass", nil, "site", { provisioner = "csi.site.example" }))
      local claim = waiting_claim(k, "many", "ReadWriteMany")
      claim.spec.storageClassName = "site"
      k:add(event(claim, "ProvisioningFailed", "rpc error: code = InvalidArgument desc = access mode is not supported"))
    end },
  { "a trial whose metrics never came", "stuck-trial Trial team-a/tune-x", function(k) ended_trial(k, 3600) end },
}
table.move(MORE_FAULTS, 1, #MORE_FAULTS, #FAULTS + 1, FAULTS)

-- Faults that others hide, or that leave nothing to break.
local ALONE = {
  { "calls of a webhook that fail by its certificate", "wrong-ca MutatingWebhookConfiguration katib.kubeflow.org",
    function(k)
      k:remove("Secret", "kubeflow", "katib-webhook-cert") -- which may be out of sight
      k:add(event(object("apps/v1", "StatefulSet", "team-a", "n", {}), "FailedCreate", 'failed calling webhook "mutator'
        .. '.pod.katib.kubeflow.org": tls: x509: certificate signed by unknown authority')).lastTimestamp =
        os.date("!%Y-%m-%dT%H:%M:%SZ", NOW - 60)
    end },
  { "calls of a webhook that nobody answers", "webhook-failing MutatingWebhookConfiguration katib.kubeflow.org",
    function(k)
      k:add(event(object("apps/v1", "StatefulSet", "team-a", "n", {}), "FailedCreate", 'failed calling webhook "mutator'
        .. '.pod.katib.kubeflow.org": connect: connection refused')).lastTimestamp =
        os.date("!%Y-%m-%dT%H:%M:%SZ", NOW - 60)
    end },
  { "native sidecars by the release of istiod", "collector-waits Experiment team-a/native", function(k)
    local istiod = k:get("Deployment", "istio-system", "istiod").spec.template.spec.containers[1]
    istiod.image, istiod.env = "docker.io/istio/pilot:1.27.0", nil
    waiting(k)
  end },
  { "native sidecars by a pod that has one, where istiod is out of sight", "collector-waits Experiment team-a/native",
    function(k)
      k:remove("Deployment", "istio-system", "istiod")
      local spec = k:get("Pod", "team-a", "notebook-0").spec
      spec.initContainers = { table.remove(spec.containers, 1) }
      waiting(k)
    end },
  { "a claim for the default class, where none is the default", "storage-class PersistentVolumeClaim team-a/any",
    function(k)
      for _, class in ipairs(k.objects) do
        if class.kind == "StorageClass" then class.metadata.annotations = nil end
      end
      waiting_claim(k, "any", "ReadWriteOnce")
    end },
  { "a volume for one node that pods want on two", "multi-attach PersistentVolumeClaim team-a/data", function(k)
    data_user(k, "waits", "node-2", "Pending")
  end },
  { "a caller without a sidecar whom no rule admits", "plaintext-refused Service kubeflow/ml-pipeline", function(k)
    k:get("AuthorizationPolicy", "kubeflow", "ml-pipeline").spec.rules = { { from = { { source = {
      namespaces = { "team-a" } } } } } }
  end },
}

---What is wrong with it, and which checks were broken.
local function examine(k)
  return doctor.examine(k.objects, { now = NOW })
end

---"code where" of each finding.
local function codes(findings)
  local list = {}
  for index, finding in ipairs(findings) do list[index] = finding.code .. " " .. finding.where end
  return list
end

---A report of these findings.
local function report_of(findings, more)
  local made = { findings = findings, not_checked = {}, not_installed = {}, about = {} }
  for key, value in pairs(more or {}) do made[key] = value end
  return made
end

return { faults = FAULTS, alone = ALONE, kubeflow = kubeflow, examine = examine, codes = codes, report_of = report_of,
  event = event, deployment = deployment, meshed = meshed, waiting = waiting, waiting_claim = waiting_claim,
  data_user = data_user, ended_trial = ended_trial }
