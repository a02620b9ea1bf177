-- lab.kubeflow.crds: the resource definitions of profiles, PodDefaults, notebooks, workflows and schedules, and the one
-- of Istio's that a profile needs. They carry no schema.
-- Not for Katib's (lab.katib.crds).
--   for _, crd in ipairs(crds.all()) do … end

local json = require "json"

local M = {}

local function crd(group, kind, plural, scope, versions, without_status, short)
  local list = json.array {}
  for i, version in ipairs(versions) do
    list[i] = { name = version, served = true, storage = i == 1,
      subresources = not without_status and { status = json.object {} } or nil,
      schema = { openAPIV3Schema = { type = "object", ["x-kubernetes-preserve-unknown-fields"] = true } } }
  end
  return { apiVersion = "apiextensions.k8s.io/v1", kind = "CustomResourceDefinition",
    metadata = { name = plural .. "." .. group }, spec = { group = group, scope = scope, versions = list,
      names = { kind = kind, plural = plural, singular = kind:lower(), listKind = kind .. "List",
        shortNames = short and json.array { short } or nil } } }
end

---@return table[] definitions
function M.all()
  return { crd("kubeflow.org", "Profile", "profiles", "Cluster", { "v1", "v1beta1" }),
    crd("argoproj.io", "Workflow", "workflows", "Namespaced", { "v1alpha1" }, true),
    crd("kubeflow.org", "ScheduledWorkflow", "scheduledworkflows", "Namespaced", { "v1beta1" }, true, "swf"),
    crd("kubeflow.org", "PodDefault", "poddefaults", "Namespaced", { "v1alpha1" }),
    crd("kubeflow.org", "Notebook", "notebooks", "Namespaced", { "v1", "v1beta1" }),
    crd("security.istio.io", "AuthorizationPolicy", "authorizationpolicies", "Namespaced", { "v1", "v1beta1" }) }
end

return M
