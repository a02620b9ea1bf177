-- lab.kubeflow.roles: the cluster roles of a Kubeflow: what viewers, editors and owners of a namespace may do.
-- Not for binding them (lab.kubeflow.profiles).
--   for _, role in ipairs(roles.all()) do client:apply(role, { force = true }) end

local M = {}

local READ = { "get", "list", "watch" }
local WRITE = { "create", "delete", "deletecollection", "patch", "update" }

local function both()
  local verbs = table.move(READ, 1, #READ, 1, {})
  return table.move(WRITE, 1, #WRITE, #verbs + 1, verbs)
end

local function rule(groups, resources, verbs) return { apiGroups = groups, resources = resources, verbs = verbs } end

local OWN = { "experiments", "trials", "suggestions", "notebooks", "notebooks/status", "poddefaults" }
local PIPELINES = { "experiments", "jobs", "pipelines", "pipelines/versions", "runs", "viewers", "visualizations" }
local CORE = { "pods", "pods/attach", "pods/exec", "pods/portforward", "pods/proxy", "configmaps", "secrets",
  "serviceaccounts", "services", "services/proxy", "persistentvolumeclaims", "endpoints" }

local VIEW = {
  rule({ "" }, { "pods", "pods/log", "pods/status", "configmaps", "serviceaccounts", "services",
    "persistentvolumeclaims", "endpoints", "events", "namespaces", "resourcequotas" }, READ),
  rule({ "apps", "batch", "networking.k8s.io", "policy", "autoscaling" }, { "*" }, READ),
  rule({ "kubeflow.org" }, OWN, READ), rule({ "pipelines.kubeflow.org" }, PIPELINES, { "get", "list", "readArtifact" }),
  rule({ "security.istio.io", "networking.istio.io" }, { "*" }, READ),
  rule({ "argoproj.io" }, { "workflows" }, READ),
}

local EDIT = {
  rule({ "" }, CORE, both()), rule({ "apps", "batch", "networking.k8s.io", "policy", "autoscaling" }, { "*" }, both()),
  rule({ "kubeflow.org" }, OWN, both()), rule({ "argoproj.io" }, { "workflows" }, both()),
  rule({ "pipelines.kubeflow.org" }, PIPELINES, { "archive", "create", "delete", "disable", "enable", "get", "list",
    "readArtifact", "reportMetrics", "retry", "terminate", "unarchive", "update" }),
}

local ADMIN = {
  rule({ "rbac.authorization.k8s.io" }, { "roles", "rolebindings" }, both()),
  rule({ "authorization.k8s.io" }, { "localsubjectaccessreviews" }, { "create" }),
}

local function role(name, ...)
  local rules = {}
  for _, list in ipairs { ... } do table.move(list, 1, #list, #rules + 1, rules) end
  return { apiVersion = "rbac.authorization.k8s.io/v1", kind = "ClusterRole", metadata = { name = name },
    rules = rules }
end

---@return table[] roles
function M.all()
  return { role("kubeflow-view", VIEW), role("kubeflow-edit", VIEW, EDIT), role("kubeflow-admin", VIEW, EDIT, ADMIN) }
end

return M
