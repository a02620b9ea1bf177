-- lab.kinds: the built-in kinds that the lab serves, as a table that discovery and routing read.
-- Not for custom resources (lab.crd adds them) and not for rules about a kind (lab.rules).
--   for _, group in ipairs(kinds.groups) do … end

local M = {}

-- A row: plural, kind, and what is not the rule. The rule is: namespaced, all verbs, no short names.
--   cluster     it belongs to no namespace
--   status      it has a status subresource, and spec and status are written apart
--   generation  its generation counts changes of what is not metadata or status
--   verbs       "create": only that; "read": get and list
--   also        other subresources: name -> {verbs, kind, group, version}
local SCALE = { "get patch update", "Scale", "autoscaling", "v1" }

---@class lab.KindGroup
---@field group string
---@field version string
---@field rows table[]
M.groups = {
  { group = "", version = "v1", rows = {
    { "bindings", "Binding", verbs = "create", singular = "binding" },
    { "configmaps", "ConfigMap", short = "cm" },
    { "endpoints", "Endpoints", short = "ep", singular = "endpoints" },
    { "events", "Event", short = "ev" },
    { "limitranges", "LimitRange", short = "limits" },
    { "namespaces", "Namespace", short = "ns", cluster = true, status = true,
      verbs = "create delete get list patch update watch", also = { finalize = { "update", "Namespace" } } },
    { "nodes", "Node", short = "no", cluster = true, status = true },
    { "persistentvolumeclaims", "PersistentVolumeClaim", short = "pvc", status = true },
    { "persistentvolumes", "PersistentVolume", short = "pv", cluster = true, status = true },
    { "pods", "Pod", short = "po", categories = "all", status = true, generation = true, also = {
      binding = { "create", "Binding" }, ephemeralcontainers = { "get patch update", "Pod" },
      eviction = { "create", "Eviction", "policy", "v1" }, exec = { "create get", "PodExecOptions" },
      log = { "get", "Pod" }, attach = { "create get", "PodAttachOptions" },
      portforward = { "create get", "PodPortForwardOptions" }, resize = { "get patch update", "Pod" } } },
    { "podtemplates", "PodTemplate", generation = true },
    { "replicationcontrollers", "ReplicationController", short = "rc", categories = "all", status = true,
      generation = true, also = { scale = SCALE } },
    { "resourcequotas", "ResourceQuota", short = "quota", status = true },
    { "secrets", "Secret" },
    { "serviceaccounts", "ServiceAccount", short = "sa",
      also = { token = { "create", "TokenRequest", "authentication.k8s.io", "v1" } } },
    { "services", "Service", short = "svc", categories = "all", status = true },
  } },
  { group = "apps", version = "v1", rows = {
    { "controllerrevisions", "ControllerRevision" },
    { "daemonsets", "DaemonSet", short = "ds", categories = "all", status = true, generation = true },
    { "deployments", "Deployment", short = "deploy", categories = "all", status = true, generation = true,
      also = { scale = SCALE } },
    { "replicasets", "ReplicaSet", short = "rs", categories = "all", status = true, generation = true,
      also = { scale = SCALE } },
    { "statefulsets", "StatefulSet", short = "sts", categories = "all", status = true, generation = true,
      also = { scale = SCALE } },
  } },
  { group = "events.k8s.io", version = "v1", rows = { { "events", "Event", short = "ev", stored = "events" } } },
  { group = "authentication.k8s.io", version = "v1", rows = {
    { "selfsubjectreviews", "SelfSubjectReview", cluster = true, verbs = "create" },
    { "tokenreviews", "TokenReview", cluster = true, verbs = "create" },
  } },
  { group = "authorization.k8s.io", version = "v1", rows = {
    { "localsubjectaccessreviews", "LocalSubjectAccessReview", verbs = "create" },
    { "selfsubjectaccessreviews", "SelfSubjectAccessReview", cluster = true, verbs = "create" },
    { "selfsubjectrulesreviews", "SelfSubjectRulesReview", cluster = true, verbs = "create" },
    { "subjectaccessreviews", "SubjectAccessReview", cluster = true, verbs = "create" },
  } },
  { group = "batch", version = "v1", rows = {
    { "cronjobs", "CronJob", short = "cj", categories = "all", status = true, generation = true },
    { "jobs", "Job", categories = "all", status = true, generation = true },
  } },
  { group = "networking.k8s.io", version = "v1", rows = {
    { "ingressclasses", "IngressClass", cluster = true, generation = true },
    { "ingresses", "Ingress", short = "ing", status = true, generation = true, singular = "ingress" },
    { "networkpolicies", "NetworkPolicy", short = "netpol", generation = true, singular = "networkpolicy" },
  } },
  { group = "policy", version = "v1", rows = {
    { "poddisruptionbudgets", "PodDisruptionBudget", short = "pdb", status = true, generation = true },
  } },
  { group = "rbac.authorization.k8s.io", version = "v1", rows = {
    { "clusterrolebindings", "ClusterRoleBinding", cluster = true },
    { "clusterroles", "ClusterRole", cluster = true },
    { "rolebindings", "RoleBinding" },
    { "roles", "Role" },
  } },
  { group = "storage.k8s.io", version = "v1", rows = {
    { "csidrivers", "CSIDriver", cluster = true },
    { "csinodes", "CSINode", cluster = true, status = true },
    { "storageclasses", "StorageClass", short = "sc", cluster = true },
    { "volumeattachments", "VolumeAttachment", cluster = true, status = true },
  } },
  { group = "admissionregistration.k8s.io", version = "v1", rows = {
    { "mutatingwebhookconfigurations", "MutatingWebhookConfiguration", cluster = true, generation = true,
      categories = "api-extensions" },
    { "validatingadmissionpolicies", "ValidatingAdmissionPolicy", cluster = true, status = true, generation = true,
      categories = "api-extensions", singular = "validatingadmissionpolicy" },
    { "validatingadmissionpolicybindings", "ValidatingAdmissionPolicyBinding", cluster = true, generation = true,
      categories = "api-extensions" },
    { "validatingwebhookconfigurations", "ValidatingWebhookConfiguration", cluster = true, generation = true,
      categories = "api-extensions" },
  } },
  { group = "apiextensions.k8s.io", version = "v1", rows = {
    { "customresourcedefinitions", "CustomResourceDefinition", short = "crd crds", cluster = true, status = true,
      generation = true, categories = "api-extensions" },
  } },
  { group = "scheduling.k8s.io", version = "v1", rows = {
    { "priorityclasses", "PriorityClass", short = "pc", cluster = true, generation = true },
  } },
  { group = "coordination.k8s.io", version = "v1", rows = { { "leases", "Lease" } } },
  { group = "discovery.k8s.io", version = "v1", rows = {
    { "endpointslices", "EndpointSlice", generation = true },
  } },
}

M.ALL_VERBS = { "create", "delete", "deletecollection", "get", "list", "patch", "update", "watch" }

---A text of words as a list.
---@param text string?
---@return string[]?
function M.words(text)
  if not text then return nil end
  local list = {}
  for word in text:gmatch "%S+" do list[#list + 1] = word end
  return list
end

---@class lab.Resource what requests are about
---@field group string
---@field version string
---@field plural string
---@field singular string
---@field kind string
---@field namespaced boolean
---@field verbs string[]
---@field may table<string, boolean> the verbs as a set
---@field short string[]?
---@field categories string[]?
---@field status boolean whether status is written apart
---@field generation boolean
---@field subresources table<string, {verbs: string[], kind: string, group: string, version: string}>
---@field stored string name of the collection
---@field custom table? what lab.crd knows of a custom resource

local function subresources_of(row)
  local list = {}
  if row.status then list.status = { verbs = { "get", "patch", "update" }, kind = row[2], group = "", version = "" } end
  for name, entry in pairs(row.also or {}) do
    list[name] = { verbs = M.words(entry[1]), kind = entry[2], group = entry[3] or "", version = entry[4] or "" }
  end
  return list
end

---@param group lab.KindGroup
---@param row table
---@return lab.Resource
function M.resource(group, row)
  local verbs = row.verbs and M.words(row.verbs) or M.ALL_VERBS
  local may = {}
  for _, verb in ipairs(verbs) do may[verb] = true end
  return {
    group = group.group, version = group.version, plural = row[1], kind = row[2],
    singular = row.singular or row[2]:lower(), namespaced = not row.cluster, verbs = verbs, may = may,
    short = M.words(row.short), categories = M.words(row.categories), status = row.status or false,
    generation = row.generation or false, subresources = subresources_of(row),
    convert_out = row.stored == "events" and function(object)
      return require("lab.rules.events").events.from_core(object)
    end or nil,
    stored = row.stored or (group.group == "" and row[1] or group.group .. "/" .. row[1]),
  }
end

return M
