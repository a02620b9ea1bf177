-- lab.kubeflow.profiles: what the profile controller makes of a Profile: a namespace with its owner, accounts,
-- bindings, quota and mesh policy; and the PodDefault by which its pods reach Pipelines.
-- Not for who may make profiles.
--   profiles.look(client, profile)

local json = require "json"

local M = {}

M.KIND = "profiles.v1.kubeflow.org"
local FINALIZER = "profile-finalizer"
local GATEWAY = "cluster.local/ns/istio-system/sa/istio-ingressgateway-service-account"
local UI = "cluster.local/ns/kubeflow/sa/ml-pipeline-ui"
local NOTEBOOKS = "cluster.local/ns/kubeflow/sa/notebook-controller-service-account"
local RBAC = "rbac.authorization.k8s.io"

M.LABELS = { ["istio-injection"] = "enabled", ["app.kubernetes.io/part-of"] = "kubeflow-profile",
  ["katib.kubeflow.org/metrics-collector-injection"] = "enabled", ["pipelines.kubeflow.org/enabled"] = "true",
  ["serving.kubeflow.org/inferenceservice"] = "enabled" }

local function owner_of(profile)
  return { apiVersion = profile.apiVersion, kind = "Profile", name = profile.metadata.name,
    uid = profile.metadata.uid, controller = true, blockOwnerDeletion = true }
end

-- --- the parts ------------------------------------------------------------------------------------------------

local function namespace_of(profile)
  return { apiVersion = "v1", kind = "Namespace", metadata = { name = profile.metadata.name, labels = M.LABELS,
    annotations = { owner = profile.spec.owner.name }, ownerReferences = { owner_of(profile) } } }
end

local function account(profile, name)
  return { apiVersion = "v1", kind = "ServiceAccount", metadata = { name = name, namespace = profile.metadata.name,
    ownerReferences = { owner_of(profile) } } }
end

local function binding(profile, name, role, subject, annotations)
  return { apiVersion = RBAC .. "/v1", kind = "RoleBinding", metadata = { name = name,
    namespace = profile.metadata.name, annotations = annotations, ownerReferences = { owner_of(profile) } },
    roleRef = { apiGroup = RBAC, kind = "ClusterRole", name = role }, subjects = { subject } }
end

local function account_subject(profile, name)
  return { kind = "ServiceAccount", name = name, namespace = profile.metadata.name }
end

local function owner_subject(profile)
  local owner = profile.spec.owner
  return { kind = owner.kind, name = owner.name, apiGroup = owner.apiGroup or (owner.kind ~= "ServiceAccount" and RBAC
    or nil), namespace = owner.namespace }
end

local function quota(profile)
  return { apiVersion = "v1", kind = "ResourceQuota", metadata = { name = "kf-resource-quota",
    namespace = profile.metadata.name, ownerReferences = { owner_of(profile) } },
    spec = profile.spec.resourceQuotaSpec }
end

local function policy(profile)
  return { apiVersion = "security.istio.io/v1", kind = "AuthorizationPolicy", metadata = {
    name = "ns-owner-access-istio", namespace = profile.metadata.name, ownerReferences = { owner_of(profile) },
    annotations = { user = profile.spec.owner.name, role = "admin" } },
    spec = { rules = {
      { from = { { source = { principals = { GATEWAY, UI } } } },
        when = { { key = "request.headers[kubeflow-userid]", values = { profile.spec.owner.name } } } },
      { when = { { key = "source.namespace", values = { profile.metadata.name } } } },
      { to = { { operation = { paths = { "/healthz", "/metrics", "/wait-for-drain" } } } } },
      { from = { { source = { principals = { NOTEBOOKS } } } },
        to = { { operation = { methods = { "GET" }, paths = { "*/api/kernels" } } } } },
    } } }
end

---The PodDefault that gives pods a token for Pipelines.
---@param namespace string
---@return table
function M.pod_default(namespace)
  local directory = "/var/run/secrets/kubeflow/pipelines"
  return { apiVersion = "kubeflow.org/v1alpha1", kind = "PodDefault", metadata = { name = "access-ml-pipeline",
    namespace = namespace }, spec = { desc = "Allow access to Kubeflow Pipelines",
    selector = { matchLabels = { ["access-ml-pipeline"] = "true" } },
    env = { { name = "KF_PIPELINES_SA_TOKEN_PATH", value = directory .. "/token" } },
    volumes = { { name = "volume-kf-pipeline-token", projected = { sources = { { serviceAccountToken = {
      path = "token", expirationSeconds = 7200, audience = "pipelines.kubeflow.org" } } } } } },
    volumeMounts = { { name = "volume-kf-pipeline-token", mountPath = directory, readOnly = true } } } }
end

local function parts_of(profile)
  local list = {
    account(profile, "default-editor"), account(profile, "default-viewer"),
    binding(profile, "default-editor", "kubeflow-edit", account_subject(profile, "default-editor")),
    binding(profile, "default-viewer", "kubeflow-view", account_subject(profile, "default-viewer")),
    binding(profile, "namespaceAdmin", "kubeflow-admin", owner_subject(profile),
      { user = profile.spec.owner.name, role = "admin" }),
    policy(profile), M.pod_default(profile.metadata.name),
  }
  if profile.spec.resourceQuotaSpec and next(profile.spec.resourceQuotaSpec.hard or {}) then
    list[#list + 1] = quota(profile)
  end
  return list
end

-- --- the controller -------------------------------------------------------------------------------------------

local function set_condition(client, profile, kind, message)
  local conditions = profile.status and profile.status.conditions or {}
  local last = conditions[#conditions]
  if last and last.type == kind and last.message == message then return end
  local list = table.move(conditions, 1, #conditions, 1, json.array {})
  list[#list + 1] = { type = kind, status = "True", message = message }
  client:patch(M.KIND, profile.metadata.name, { status = { conditions = list } },
    { subresource = "status", type = "merge" })
end

-- The namespace, with labels that were not set otherwise; false and why when it is somebody else's.
local function ensure_namespace(client, profile)
  local wanted = namespace_of(profile)
  local found = client.try:get("namespaces", profile.metadata.name)
  if not found then
    client.try:create(wanted)
    return true
  end
  local owner = (found.metadata.annotations or {}).owner
  if owner ~= profile.spec.owner.name then
    return false, ("namespace already exist, but not owned by profile creator %s"):format(profile.spec.owner.name)
  end
  local missing = json.object {}
  for key, value in pairs(wanted.metadata.labels) do
    if (found.metadata.labels or {})[key] == nil then missing[key] = value end
  end
  if next(missing) then
    client:patch("namespaces", profile.metadata.name, { metadata = { labels = missing } }, { type = "merge" })
  end
  return true
end

local function drop_quota(client, profile)
  local spec = profile.spec.resourceQuotaSpec
  if not spec or not next(spec.hard or {}) then
    client.try:delete("resourcequotas", "kf-resource-quota", { namespace = profile.metadata.name })
  end
end

local function change_finalizer(client, profile, list)
  profile.metadata.finalizers = list
  client:update(profile)
end

---Brings one profile in order.
---@param client table of kube.connect
---@param profile table
function M.look(client, profile)
  if profile.metadata.deletionTimestamp then
    if profile.metadata.finalizers then change_finalizer(client, profile, nil) end
    return
  end
  if not profile.metadata.finalizers then return change_finalizer(client, profile, { FINALIZER }) end
  local mine, why = ensure_namespace(client, profile)
  if not mine then return set_condition(client, profile, "Failed", why) end
  for _, object in ipairs(parts_of(profile)) do client:apply(object, { force = true }) end
  drop_quota(client, profile)
  set_condition(client, profile, "Successful", "")
end

return M
