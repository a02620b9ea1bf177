-- kube.builtin: the kinds that every cluster has since Kubernetes 1.21, so that asking for pods costs one request.
-- Not the whole list: kube.discovery asks the server for all that is not here.
--   builtin.resources() -> { { group = "apps", version = "v1", kind = "Deployment", plural = "deployments", … } }

local M = {}

-- plural, kind, short names; a plural with ! is not namespaced; subresources after /.
local TABLE = {
  { "", "v1", [[
    bindings Binding
    componentstatuses! ComponentStatus cs
    configmaps ConfigMap cm
    endpoints Endpoints ep
    events Event ev
    limitranges LimitRange limits
    namespaces! Namespace ns /finalize /status
    nodes! Node no /proxy /status
    persistentvolumeclaims PersistentVolumeClaim pvc /status
    persistentvolumes! PersistentVolume pv /status
    pods Pod po /attach /binding /ephemeralcontainers /eviction /exec /log /portforward /proxy /resize /status
    podtemplates PodTemplate
    replicationcontrollers ReplicationController rc /scale /status
    resourcequotas ResourceQuota quota /status
    secrets Secret
    serviceaccounts ServiceAccount sa /token
    services Service svc /proxy /status]] },
  { "apps", "v1", [[
    controllerrevisions ControllerRevision
    daemonsets DaemonSet ds /status
    deployments Deployment deploy /scale /status
    replicasets ReplicaSet rs /scale /status
    statefulsets StatefulSet sts /scale /status]] },
  { "batch", "v1", [[
    cronjobs CronJob cj /status
    jobs Job /status]] },
  { "autoscaling", "v1", [[
    horizontalpodautoscalers HorizontalPodAutoscaler hpa /status]] },
  { "networking.k8s.io", "v1", [[
    ingressclasses! IngressClass
    ingresses Ingress ing /status
    networkpolicies NetworkPolicy netpol]] },
  { "policy", "v1", [[
    poddisruptionbudgets PodDisruptionBudget pdb /status]] },
  { "rbac.authorization.k8s.io", "v1", [[
    clusterrolebindings! ClusterRoleBinding
    clusterroles! ClusterRole
    rolebindings RoleBinding
    roles Role]] },
  { "storage.k8s.io", "v1", [[
    csidrivers! CSIDriver
    csinodes! CSINode
    storageclasses! StorageClass sc
    volumeattachments! VolumeAttachment /status]] },
  { "coordination.k8s.io", "v1", [[
    leases Lease]] },
  { "apiextensions.k8s.io", "v1", [[
    customresourcedefinitions! CustomResourceDefinition crd,crds /status]] },
  { "apiregistration.k8s.io", "v1", [[
    apiservices! APIService /status]] },
  { "admissionregistration.k8s.io", "v1", [[
    mutatingwebhookconfigurations! MutatingWebhookConfiguration
    validatingwebhookconfigurations! ValidatingWebhookConfiguration]] },
  { "authentication.k8s.io", "v1", [[
    tokenreviews! TokenReview]] },
  { "authorization.k8s.io", "v1", [[
    localsubjectaccessreviews LocalSubjectAccessReview
    selfsubjectaccessreviews! SelfSubjectAccessReview
    selfsubjectrulesreviews! SelfSubjectRulesReview
    subjectaccessreviews! SubjectAccessReview]] },
  { "certificates.k8s.io", "v1", [[
    certificatesigningrequests! CertificateSigningRequest csr /approval /status]] },
  { "scheduling.k8s.io", "v1", [[
    priorityclasses! PriorityClass pc]] },
  { "discovery.k8s.io", "v1", [[
    endpointslices EndpointSlice]] },
  { "events.k8s.io", "v1", [[
    events Event ev]] },
}

local function resource(group, version, line)
  local plural, kind, rest = line:match "^%s*(%S+)%s+(%S+)%s*(.*)$"
  local made = {
    group = group, version = version, plural = plural:gsub("!$", ""), kind = kind, singular = kind:lower(),
    namespaced = not plural:find "!$", short = {}, subresources = {},
  }
  for word in rest:gmatch "%S+" do
    if word:find "^/" then made.subresources[word:sub(2)] = true
    else for short in word:gmatch "[^,]+" do table.insert(made.short, short) end end
  end
  return made
end

local list

---@return kube.Resource[] in the order in which names are looked for
function M.resources()
  if list then return list end
  list = {}
  for _, group in ipairs(TABLE) do
    for line in group[3]:gmatch "[^\n]+" do list[#list + 1] = resource(group[1], group[2], line) end
  end
  return list
end

return M
