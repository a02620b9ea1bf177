-- doctor.collect: the objects that the checks look at, read from a cluster. It only reads.
-- Not for judging (doctor). A kind that is not installed is passed over; one that may not be read is told.
--   local objects, refused = collect.all(client)

local errors = require "errors"
local task = require "task"

local M = {}

local KINDS = { "namespaces", "pods", "services", "events", "configmaps", "secrets", "persistentvolumeclaims",
  "resourcequotas", "deployments.apps", "statefulsets.apps", "jobs.batch", "rolebindings.rbac.authorization.k8s.io",
  "storageclasses.storage.k8s.io", "mutatingwebhookconfigurations.admissionregistration.k8s.io",
  "validatingwebhookconfigurations.admissionregistration.k8s.io", "profiles.kubeflow.org", "poddefaults.kubeflow.org",
  "notebooks.kubeflow.org", "experiments.kubeflow.org", "trials.kubeflow.org", "suggestions.kubeflow.org",
  "authorizationpolicies.security.istio.io", "peerauthentications.security.istio.io",
  "requestauthentications.security.istio.io", "envoyfilters.networking.istio.io" }

-- Of secrets only certificates are kept, and never a key.
local function without_secrets(object)
  if object.kind ~= "Secret" then return object end
  local certificate = type(object.data) == "table" and object.data["tls.crt"]
  local metadata = { name = object.metadata.name, namespace = object.metadata.namespace,
    deletionTimestamp = object.metadata.deletionTimestamp, finalizers = object.metadata.finalizers }
  return { apiVersion = "v1", kind = "Secret", metadata = metadata, data = { ["tls.crt"] = certificate or nil } }
end

-- Objects of a list do not say their kind in themselves.
local function with_kind(object)
  if rawget(object, "kind") == nil then object.kind, object.apiVersion = object.kind, object.apiVersion end
  return object
end

---All objects that the checks look at.
---@param client table
---@return table[] objects, {kind: string, message: string}[] refused
function M.all(client)
  local objects, refused, jobs = {}, {}, {}
  for index, kind in ipairs(KINDS) do
    jobs[index] = function()
      local ok, found = pcall(client.list, client, kind, { namespace = "*" })
      if ok then return found end
      if errors.is(found, "NotFound") then return {} end
      if errors.is(found, "Forbidden") then return { refused = { kind = kind, message = found.message } } end
      error(found, 0)
    end
  end
  for _, found in ipairs(task.all(jobs)) do
    for _, object in ipairs(found) do objects[#objects + 1] = without_secrets(with_kind(object)) end
    refused[#refused + 1] = found.refused
  end
  return objects, refused
end

---What is to be known of the cluster beside its objects.
---@param client table
---@return {version: table?, server: string, context: string?, user: table?}
function M.about(client)
  local ok, version = pcall(client.request, client, "GET", "/version")
  local known, user = pcall(client.whoami, client)
  return {
    version = ok and version or nil, server = client.server, context = client.context,
    user = known and { username = user.username, groups = user.groups } or nil,
  }
end

return M
