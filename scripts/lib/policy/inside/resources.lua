-- policy.inside.resources: names of resources as policies write them, and the kinds behind them.
-- Not for discovery: a kind that is not in the table is taken by its name's rule.
--   resources.parse "jobs.batch" -> { plural = "jobs", group = "batch" }

local M = {}

-- group/version: kind=plural …; a leading * marks kinds without a namespace.
local TABLE = [[
/v1: Pod=pods Service=services ConfigMap=configmaps Secret=secrets ServiceAccount=serviceaccounts Event=events
/v1: PersistentVolumeClaim=persistentvolumeclaims Endpoints=endpoints LimitRange=limitranges
/v1: ResourceQuota=resourcequotas PodTemplate=podtemplates ReplicationController=replicationcontrollers
/v1: *Namespace=namespaces *Node=nodes *PersistentVolume=persistentvolumes
apps/v1: Deployment=deployments StatefulSet=statefulsets DaemonSet=daemonsets ReplicaSet=replicasets
batch/v1: Job=jobs CronJob=cronjobs
autoscaling/v2: HorizontalPodAutoscaler=horizontalpodautoscalers
policy/v1: PodDisruptionBudget=poddisruptionbudgets
networking.k8s.io/v1: Ingress=ingresses NetworkPolicy=networkpolicies
rbac.authorization.k8s.io/v1: Role=roles RoleBinding=rolebindings *ClusterRole=clusterroles
rbac.authorization.k8s.io/v1: *ClusterRoleBinding=clusterrolebindings
storage.k8s.io/v1: *StorageClass=storageclasses *VolumeAttachment=volumeattachments *CSINode=csinodes
coordination.k8s.io/v1: Lease=leases
events.k8s.io/v1: Event=events
admissionregistration.k8s.io/v1: *MutatingWebhookConfiguration=mutatingwebhookconfigurations
admissionregistration.k8s.io/v1: *ValidatingWebhookConfiguration=validatingwebhookconfigurations
apiextensions.k8s.io/v1: *CustomResourceDefinition=customresourcedefinitions
kubeflow.org/v1: *Profile=profiles Notebook=notebooks PyTorchJob=pytorchjobs TFJob=tfjobs MPIJob=mpijobs
kubeflow.org/v1alpha1: PodDefault=poddefaults
kubeflow.org/v1beta1: Experiment=experiments Trial=trials Suggestion=suggestions
trainer.kubeflow.org/v1alpha1: TrainJob=trainjobs
argoproj.io/v1alpha1: Workflow=workflows WorkflowTemplate=workflowtemplates
security.istio.io/v1: AuthorizationPolicy=authorizationpolicies PeerAuthentication=peerauthentications
security.istio.io/v1: RequestAuthentication=requestauthentications
networking.istio.io/v1: VirtualService=virtualservices DestinationRule=destinationrules Sidecar=sidecars
networking.istio.io/v1alpha3: EnvoyFilter=envoyfilters
snapshot.storage.k8s.io/v1: VolumeSnapshot=volumesnapshots
]]

---@class policy.Resource
---@field group string
---@field version string
---@field kind string
---@field plural string
---@field namespaced boolean

local by_kind, by_plural = {}, {}
for line in TABLE:gmatch "[^\n]+" do
  local group, version, rest = line:match "^(.-)/(%S+): (.*)$"
  for star, kind, plural in rest:gmatch "(%*?)(%w+)=(%w+)" do
    local entry = { group = group, version = version, kind = kind, plural = plural, namespaced = star == "" }
    by_kind[group .. "/" .. kind] = entry
    by_plural[plural .. "." .. group] = entry
    by_plural[plural] = by_plural[plural] or entry
  end
end

-- The plural that Kubernetes' own tools would guess from a kind.
local function guess_plural(kind)
  local lower = kind:lower()
  if lower:find "[sx]$" or lower:find "[cs]h$" then return lower .. "es" end
  if lower:find "[^aeiou]y$" then return lower:sub(1, -2) .. "ies" end
  return lower .. "s"
end

---@param api_version string "v1", "batch/v1"
---@param kind string
---@return policy.Resource
function M.of_kind(api_version, kind)
  local group, version = api_version:match "^(.-)/?([^/]+)$"
  local known = by_kind[group .. "/" .. kind]
  local plural = known and known.plural or guess_plural(kind)
  local namespaced = not known or known.namespaced
  return { group = group, version = version, kind = kind, plural = plural, namespaced = namespaced }
end

---@param text string "pods", "jobs.batch", "pods/exec", "Pod", "*"
---@return {plural: string, group: string?, subresource: string?, kind: string?} selector group nil: any group
function M.parse(text)
  local name, subresource = text:match "^([^/]+)/?(.*)$"
  if not name then error(("'%s' names no resource"):format(text), 2) end
  if subresource == "" then subresource = nil end
  if name == "*" then return { plural = "*", subresource = subresource } end
  local plural, group = name:match "^([^.]+)%.(.+)$"
  plural = plural or name
  if plural:find "^%u" then
    for _, entry in pairs(by_plural) do
      if entry.kind == plural and (not group or group == entry.group) then
        return { plural = entry.plural, group = entry.group, subresource = subresource }
      end
    end
    error(("kind '%s' is not known here: write plural.group"):format(name), 2)
  end
  if not group then
    local entry = by_plural[plural]
    if not entry then error(("resource '%s' is not known here: write it as %s.GROUP"):format(plural, plural), 2) end
    group = entry.group
  end
  return { plural = plural, group = group, subresource = subresource }
end

---@param plural string
---@param group string
---@return policy.Resource? known
function M.of_plural(plural, group)
  return by_plural[plural .. "." .. group]
end

return M
