-- doctor.namespaces: profiles and their owners, quotas, bindings, and what cannot go away.
-- A room of checks; see doctor.

local kube = require "kube"
local time = require "kube.time"
local world = require "doctor.world"

local M = {}

local get, list = world.get, world.list
local STUCK <const> = 300 -- seconds that a deletion may take

-- The quota of a profile is written by its controller.
local function quota_fix(w, quota)
  local namespace, name = quota.metadata.namespace, quota.metadata.name
  local profile = w:profiles()[namespace] and name == "kf-resource-quota"
  return profile and ("raise it: `kubectl edit profile %s` (spec.resourceQuotaSpec); or delete what is done")
    :format(namespace) or ("raise it: `kubectl edit resourcequota -n %s %s`; or delete what is done")
    :format(namespace, name)
end

---Quotas that leave no room.
function M.quotas(w)
  for _, quota in ipairs(w:of "ResourceQuota") do
    local used, full = list(get(quota, "status", "used")), {}
    for resource, hard in pairs(list(get(quota, "status", "hard"))) do
      local have, most = used[resource], kube.quantity(hard)
      if have and most:sign() > 0 and kube.quantity(have) >= most then
        full[#full + 1] = ("%s %s of %s"):format(resource, have, hard)
      end
    end
    table.sort(full)
    if #full > 0 then
      w:add("quota-full", "warning", quota, {
        what = "nothing is left of " .. table.concat(full, ", "),
        why = "new pods and claims of this namespace are refused: exceeded quota",
        fix = quota_fix(w, quota),
      })
    end
  end
end

-- The kind as kubectl knows it, whoever else has one of that name.
local function resource_of(object)
  local group = object.apiVersion:match "^(.+)/"
  return object.kind:lower() .. (group and "." .. object.apiVersion:match "/(.+)$" .. "." .. group or "")
end

local function release_command(object)
  local metadata = object.metadata
  if object.kind == "Namespace" and #list(metadata.finalizers) == 0 then
    return ("`kubectl get namespace %s -o yaml` says in its conditions what is left in it"):format(metadata.name)
  end
  local where = metadata.namespace and (" -n %s"):format(metadata.namespace) or ""
  return ("`kubectl patch %s%s %s --type json -p '[{\"op\":\"remove\",\"path\":\"/metadata/finalizers\"}]'`"):format(
    resource_of(object), where, metadata.name)
end

-- A claim that pods still use is protected by right.
local function is_in_use(w, object, finalizers)
  if object.kind ~= "PersistentVolumeClaim" or #finalizers > 1 or finalizers[1] ~= "kubernetes.io/pvc-protection" then
    return false
  end
  return not w:knows "Pod" or #w:users_of_claim(object.metadata.namespace, object.metadata.name) > 0
end

---Objects whose deletion waits for a finalizer that nobody takes off.
function M.finalizers(w)
  for _, object in ipairs(w.objects) do
    local metadata = object.metadata
    local since = metadata.deletionTimestamp and time.parse(metadata.deletionTimestamp)
    local finalizers = list(metadata.finalizers)
    if object.kind == "Namespace" and #finalizers == 0 then finalizers = list(get(object, "spec", "finalizers")) end
    if since and #finalizers > 0 and w.now - since > STUCK and not is_in_use(w, object, finalizers) then
      w:add("stuck-finalizer", "warning", object, {
        what = ("its deletion was asked for %s ago, and %s holds it"):format(time.age(w.now - since),
          table.concat(finalizers, ", ")),
        why = "the object, and the namespace around it, never goes away",
        fix = "find the controller that owns the finalizer and let it work; if it is gone for good: "
          .. release_command(object),
      })
    end
  end
end

-- Whether the roles of a binding are Kubeflow's, which its own services look up by user.
local ROLES = { ["kubeflow-edit"] = true, ["kubeflow-view"] = true, ["kubeflow-admin"] = true }

local function user_binding(binding)
  return ([[
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata:
  name: user-NAME
  namespace: %s
  annotations: {role: %s, user: NAME@EXAMPLE.COM}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: %s}
subjects:
- {apiGroup: rbac.authorization.k8s.io, kind: User, name: NAME@EXAMPLE.COM}
]]):format(binding.metadata.namespace, binding.roleRef.name:gsub("^kubeflow%-", ""), binding.roleRef.name)
end

---Bindings for groups only: Pipelines and the dashboard ask by user.
function M.group_bindings(w)
  for _, binding in ipairs(w:of "RoleBinding") do
    local subjects = list(binding.subjects)
    local groups = 0
    for _, subject in ipairs(subjects) do
      local accounts = (subject.name or ""):find "^system:serviceaccounts"
      if subject.kind == "Group" and not accounts then groups = groups + 1 end
    end
    if w:profiles()[binding.metadata.namespace] and ROLES[get(binding, "roleRef", "name")] and groups > 0
      and groups == #subjects then
      w:add("group-binding", "warning", binding, {
        what = ("all its subjects are groups (%s)"):format(subjects[1].name),
        why = "Pipelines, Katib's UI and the dashboard ask by the user's name alone: members of the group get 403",
        fix = ("bind each user of the group by a manifest, then `kubectl delete rolebinding -n %s %s`"):format(
          binding.metadata.namespace, binding.metadata.name), manifest = user_binding(binding),
      })
    end
  end
end

---The owner that a profile names is the one that its namespace says.
function M.owners(w)
  for name, profile in pairs(w:profiles()) do
    local owner = get(profile, "spec", "owner", "name")
    local namespace = w.namespaces[name]
    local said = get(namespace, "metadata", "annotations", "owner")
    if namespace and owner and said ~= owner then
      w:add("owner-mismatch", "error", namespace, {
        what = ("its annotation owner says %s, its profile %s"):format(said or "nothing", owner),
        why = "the profile controller leaves such a namespace alone: no bindings, no policies, condition Failed",
        fix = ("`kubectl annotate --overwrite namespace %s owner=%s`"):format(name, owner),
      })
    end
  end
end

return M
