-- lab.kubeflow.roles: the roles of a multi-user Kubeflow: admin, edit and view, and what is aggregated into them.
-- Not for who has them (RoleBindings of a profile: lab.kubeflow.profiles).
--   roles.all() -> ClusterRole objects
--
-- view is part of edit, edit of admin. What may change who reaches whom (policies of Istio) is in none of them.

local json = require "json"

local M = {}

local LABEL = "rbac.authorization.kubeflow.org/aggregate-to-"
local READ, WRITE = "get list watch", "create delete deletecollection patch update"

local function words(text)
  local list = json.array {}
  for word in text:gmatch "%S+" do list[#list + 1] = word end
  return list
end

local function rule(group, resources, verbs)
  return { apiGroups = json.array { group }, resources = words(resources), verbs = words(verbs) }
end

-- A role with rules, or one that is put together of those with a label.
local function role(name, into, rules, from)
  local labels = {}
  for word in into:gmatch "%S+" do labels[LABEL .. word] = "true" end
  local made = { apiVersion = "rbac.authorization.k8s.io/v1", kind = "ClusterRole", rules = json.array(rules or {}),
    metadata = { name = name, labels = next(labels) and labels or nil } }
  if from then
    made.aggregationRule = { clusterRoleSelectors = json.array { { matchLabels = { [LABEL .. from] = "true" } } } }
  end
  return made
end

local WORKLOADS = "daemonsets deployments deployments/scale replicasets replicasets/scale statefulsets "
  .. "statefulsets/scale"
local EXTENSIONS = "daemonsets deployments deployments/scale ingresses networkpolicies replicasets replicasets/scale "
  .. "replicationcontrollers/scale"

local function of_kubernetes()
  local streams = "pods/attach pods/exec pods/portforward pods/proxy"
  return {
    role("kubeflow-kubernetes-admin", "kubeflow-admin", {
      rule("authorization.k8s.io", "localsubjectaccessreviews", "create"),
      rule("rbac.authorization.k8s.io", "rolebindings roles", WRITE .. " " .. READ) }),
    role("kubeflow-kubernetes-edit", "kubeflow-edit", {
      rule("", streams .. " secrets services/proxy", READ), rule("", "pods " .. streams, WRITE),
      rule("", "configmaps endpoints persistentvolumeclaims replicationcontrollers replicationcontrollers/scale "
        .. "secrets serviceaccounts services services/proxy", WRITE),
      rule("apps", WORKLOADS .. " deployments/rollback", WRITE),
      rule("autoscaling", "horizontalpodautoscalers", WRITE), rule("batch", "cronjobs jobs", WRITE),
      rule("extensions", EXTENSIONS .. " deployments/rollback", WRITE),
      rule("policy", "poddisruptionbudgets", WRITE),
      rule("networking.k8s.io", "ingresses networkpolicies", WRITE) }),
    role("kubeflow-kubernetes-view", "kubeflow-view", {
      rule("", "configmaps endpoints persistentvolumeclaims persistentvolumeclaims/status pods "
        .. "replicationcontrollers replicationcontrollers/scale serviceaccounts services services/status", READ),
      rule("", "bindings events limitranges namespaces/status pods/log pods/status replicationcontrollers/status "
        .. "resourcequotas resourcequotas/status", READ),
      rule("", "namespaces", READ),
      rule("apps", WORKLOADS .. " controllerrevisions daemonsets/status deployments/status replicasets/status "
        .. "statefulsets/status", READ),
      rule("autoscaling", "horizontalpodautoscalers horizontalpodautoscalers/status", READ),
      rule("batch", "cronjobs cronjobs/status jobs jobs/status", READ),
      rule("extensions", EXTENSIONS .. " daemonsets/status deployments/status ingresses/status replicasets/status",
        READ),
      rule("policy", "poddisruptionbudgets poddisruptionbudgets/status", READ),
      rule("networking.k8s.io", "ingresses ingresses/status networkpolicies", READ) }),
  }
end

local function of_pipelines()
  local group = "pipelines.kubeflow.org"
  return {
    role("kubeflow-pipelines-edit", "kubeflow-edit", nil, "kubeflow-pipelines-edit"),
    role("kubeflow-pipelines-view", "kubeflow-pipelines-edit kubeflow-view", nil, "kubeflow-pipelines-view"),
    role("aggregate-to-kubeflow-pipelines-edit", "kubeflow-pipelines-edit", {
      rule(group, "pipelines pipelineversions", "create delete update"),
      rule(group, "experiments", "archive create delete unarchive"),
      rule(group, "runs", "archive create delete retry terminate unarchive reportMetrics readArtifact"),
      rule(group, "jobs", "create delete disable enable"),
      rule("kubeflow.org", "scheduledworkflows", "*"),
      rule("argoproj.io", "cronworkflows cronworkflows/finalizers workflows workflows/finalizers "
        .. "workfloweventbindings workflowtemplates workflowtaskresults", "*") }),
    role("aggregate-to-kubeflow-pipelines-view", "kubeflow-pipelines-view", {
      rule(group, "pipelines pipelineversions experiments jobs", "get list"),
      rule(group, "runs", "get list readArtifact"), rule("kubeflow.org", "viewers", "create get delete"),
      rule(group, "visualizations", "create") }),
  }
end

local function of_katib()
  local kinds = "experiments trials suggestions"
  return {
    role("kubeflow-katib-admin", "kubeflow-admin", nil, "kubeflow-katib-admin"),
    role("kubeflow-katib-edit", "kubeflow-edit kubeflow-katib-admin", {
      rule("kubeflow.org", kinds, READ .. " " .. WRITE), rule("", "pods", "list"), rule("", "pods/log", "get") }),
    role("kubeflow-katib-view", "kubeflow-view", { rule("kubeflow.org", kinds, READ) }),
  }
end

-- Of notebooks, PodDefaults and what one may see of the mesh: not among what is compared with the manifests.
local function of_others()
  local list = {}
  for _, kind in ipairs { "notebooks", "poddefaults" } do
    local rules = { rule("kubeflow.org", ("%s %s/status"):format(kind, kind), READ .. " " .. WRITE) }
    list[#list + 1] = role(("kubeflow-%s-edit"):format(kind), "kubeflow-edit", rules)
    list[#list + 1] = role(("kubeflow-%s-view"):format(kind), "kubeflow-view", {
      rule("kubeflow.org", ("%s %s/status"):format(kind, kind), READ) })
  end
  list[#list + 1] = role("kubeflow-istio-view", "kubeflow-view", {
    rule("security.istio.io", "*", READ), rule("networking.istio.io", "*", READ) })
  return list
end

---The roles that kubeflow/manifests publishes.
---@return table[] ClusterRoles
function M.published()
  local list = {
    role("kubeflow-admin", "", nil, "kubeflow-admin"), role("kubeflow-edit", "kubeflow-admin", nil, "kubeflow-edit"),
    role("kubeflow-view", "kubeflow-edit", nil, "kubeflow-view"),
  }
  for _, part in ipairs { of_kubernetes(), of_pipelines(), of_katib() } do
    table.move(part, 1, #part, #list + 1, list)
  end
  return list
end

---@return table[] ClusterRoles
function M.all()
  local list, others = M.published(), of_others()
  return table.move(others, 1, #others, #list + 1, list)
end

return M
