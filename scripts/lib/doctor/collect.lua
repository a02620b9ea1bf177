-- doctor.collect: the objects that the checks look at, read from a cluster in pages. It only reads.
-- Not for judging (doctor). A kind that is not installed, or that may not be read, is told.
--   local seen = collect.all(client); seen.objects, seen.not_checked, seen.not_installed

local errors = require "errors"
local json = require "json"
local sorted_keys = require "kfhost.keys".sorted
local task = require "task"
local trim = require "doctor.trim"

local M = {}

local RBAC, ADMISSION = "rbac.authorization.k8s.io", "admissionregistration.k8s.io"

---@class doctor.Kind
---@field [1] string as kube knows it
---@field [2] string its kind
---@field part string? of Kubeflow, which is not installed where the kind is not known
---@field fields string? only these objects
---@field cluster boolean? it has no namespaces

---@type doctor.Kind[]
local KINDS = {
  { "namespaces", "Namespace", cluster = true }, { "pods", "Pod" }, { "services", "Service" },
  { "events", "Event", fields = "type=Warning" }, { "configmaps", "ConfigMap", fields = "metadata.name=katib-config" },
  { "persistentvolumeclaims", "PersistentVolumeClaim" }, { "resourcequotas", "ResourceQuota" },
  { "deployments.apps", "Deployment" }, { "statefulsets.apps", "StatefulSet" }, { "jobs.batch", "Job" },
  { "rolebindings." .. RBAC, "RoleBinding" },
  { "storageclasses.storage.k8s.io", "StorageClass", cluster = true },
  { "mutatingwebhookconfigurations." .. ADMISSION, "MutatingWebhookConfiguration", cluster = true },
  { "validatingwebhookconfigurations." .. ADMISSION, "ValidatingWebhookConfiguration", cluster = true },
  { "profiles.kubeflow.org", "Profile", part = "Kubeflow's profiles", cluster = true },
  { "poddefaults.kubeflow.org", "PodDefault", part = "Kubeflow's PodDefaults" },
  { "notebooks.kubeflow.org", "Notebook", part = "Kubeflow's notebooks" },
  { "experiments.kubeflow.org", "Experiment", part = "Katib" }, { "trials.kubeflow.org", "Trial", part = "Katib" },
  { "suggestions.kubeflow.org", "Suggestion", part = "Katib" },
  { "authorizationpolicies.security.istio.io", "AuthorizationPolicy", part = "Istio" },
  { "peerauthentications.security.istio.io", "PeerAuthentication", part = "Istio" },
  { "requestauthentications.security.istio.io", "RequestAuthentication", part = "Istio" },
  { "envoyfilters.networking.istio.io", "EnvoyFilter", part = "Istio" },
}

-- --- one kind ----------------------------------------------------------------------------------------------

local function read(client, kind, namespace, timeout)
  local found = {}
  for object in client:each(kind[1], { namespace = not kind.cluster and (namespace or "*") or nil,
    fields = kind.fields, timeout = timeout }) do
    found[#found + 1] = trim.object(object)
  end
  return found
end

local function unseen(kind, problem, where)
  return { kind = kind[2], what = kind[1]:match "^[^.]+" .. (where or ""), reason = errors.text(problem),
    code = problem.code }
end

-- Where not all namespaces may be read, one that was asked for may.
local function read_one(client, kind, problem, options)
  if not options.namespace or kind.cluster or not errors.is(problem, "Forbidden") then
    return { unseen = unseen(kind, problem) }
  end
  local ok, found = pcall(read, client, kind, options.namespace, options.timeout)
  if not ok then return { unseen = unseen(kind, problem) } end
  found.unseen = unseen(kind, problem, " outside " .. options.namespace)
  return found
end

-- What is read of a kind; `missing` when there is no such kind, `unseen` when something of it may not be read.
local function look(client, kind, options)
  local ok, found = pcall(read, client, kind, nil, options.timeout)
  if ok then return found end
  if not errors.is(found) or errors.is(found, "Cancelled") then error(found, 0) end
  if errors.is(found, "NotFound") then return { missing = kind.part } end
  return read_one(client, kind, found, options)
end

-- --- certificates ------------------------------------------------------------------------------------------

-- The namespaces of the services that webhooks call: there are their certificates.
local function webhook_places(objects)
  local places = {}
  for _, object in ipairs(objects) do
    for _, webhook in ipairs(type(object.webhooks) == "table" and object.webhooks or {}) do
      local service = (webhook.clientConfig or {}).service
      if service then places[service.namespace] = true end
    end
  end
  return sorted_keys(places)
end

local function read_certificates(client, namespace, options)
  local kind = { "secrets", "Secret" }
  local ok, found = pcall(read, client, kind, namespace, options.timeout)
  if ok then return found end
  if not errors.is(found) or errors.is(found, "Cancelled") then error(found, 0) end
  return { unseen = unseen(kind, found, " in " .. namespace .. " (certificates of webhooks)") }
end

-- --- all ---------------------------------------------------------------------------------------------------

-- Adds what jobs bring to what was seen.
local function gather(seen, jobs, missing)
  for _, found in ipairs(task.all(jobs)) do
    table.move(found, 1, #found, #seen.objects + 1, seen.objects)
    seen.not_checked[#seen.not_checked + 1] = found.unseen
    if found.missing then missing[found.missing] = true end
  end
end

-- A name that was mistyped is not a healthy namespace.
local function note_namespace(seen, name)
  for _, entry in ipairs(seen.not_checked) do
    if entry.kind == "Namespace" then return end
  end
  for _, object in ipairs(name and seen.objects or {}) do
    if object.kind == "Namespace" and object.metadata.name == name then return end
  end
  if name then
    table.insert(seen.not_checked, { kind = "Namespace", what = "namespace " .. name, code = "NotFound",
      reason = "there is no such namespace" })
  end
end

---All objects that the checks look at.
---@param client table
---@param options {namespace: string?, timeout: number|string|nil,
---  on_kind: fun(kind: string, done: integer, all: integer)?}? namespace: enough where others may not be read;
---  timeout: of one answer
---@return {objects: table[], not_checked: {kind: string, what: string, reason: string, code: string}[],
---  not_installed: string[], nothing: boolean} nothing: not one kind could be read
function M.all(client, options)
  options = options or {}
  local seen, missing, jobs, done = { objects = {}, not_checked = {} }, {}, {}, 0
  for index, kind in ipairs(KINDS) do
    jobs[index] = function()
      local found = look(client, kind, options)
      done = done + 1
      if options.on_kind then options.on_kind(kind[1]:match "^[^.]+", done, #KINDS) end
      return found
    end
  end
  gather(seen, jobs, missing)
  jobs = {}
  for index, namespace in ipairs(webhook_places(seen.objects)) do
    jobs[index] = function() return read_certificates(client, namespace, options) end
  end
  gather(seen, jobs, missing)
  note_namespace(seen, options.namespace)
  seen.not_installed, seen.nothing = sorted_keys(missing), #seen.not_checked >= #KINDS and #seen.objects == 0
  return seen
end

---The kinds that are read.
---@return doctor.Kind[]
function M.kinds()
  return KINDS
end

-- What /version says; nil when it says nothing.
local function version_of(client, timeout)
  local ok, answer = pcall(client.request, client, "GET", "/version", { timeout = timeout })
  return ok and answer.status == 200 and json.try.decode(answer.body) or nil
end

---What is to be known of the cluster beside its objects.
---@param client table
---@param timeout number|string|nil of one answer
---@return {version: table?, server: string, context: string?, user: table?}
function M.about(client, timeout)
  local known, user = pcall(task.timeout, timeout or 30, function() return client:whoami() end)
  return {
    version = version_of(client, timeout), server = client.server, context = client.context,
    user = known and { username = user.username, groups = user.groups } or nil,
  }
end

return M
