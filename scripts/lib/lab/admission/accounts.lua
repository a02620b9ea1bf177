-- lab.admission.accounts: the service account of a pod, and the volume with its token.
-- Not for making accounts (lab.controllers.namespaces).
--   accounts.mutate(ctx, attributes)

local ids = require "lab.ids"
local json = require "json"
local status = require "lab.status"
local store = require "lab.store"

local M = {}

local TOKEN_PATH = "/var/run/secrets/kubernetes.io/serviceaccount"

local function token_volume(name)
  return {
    name = name,
    projected = { defaultMode = 420, sources = json.array {
      { serviceAccountToken = { expirationSeconds = 3607, path = "token" } },
      { configMap = { name = "kube-root-ca.crt", items = json.array { { key = "ca.crt", path = "ca.crt" } } } },
      { downwardAPI = { items = json.array { { path = "namespace",
        fieldRef = { apiVersion = "v1", fieldPath = "metadata.namespace" } } } } },
    } },
  }
end

local function has_mount(container)
  for _, mount in ipairs(container.volumeMounts or {}) do
    if mount.mountPath == TOKEN_PATH then return true end
  end
  return false
end

local function add_token(spec)
  local name
  for _, volume in ipairs(spec.volumes or {}) do
    if volume.name:sub(1, 16) == "kube-api-access-" then name = volume.name end
  end
  local used = false
  local fresh = name or "kube-api-access-" .. ids.letters(5)
  for _, field in ipairs { "initContainers", "containers" } do
    for _, container in ipairs(spec[field] or {}) do
      if not has_mount(container) then
        container.volumeMounts = container.volumeMounts or json.array {}
        table.insert(container.volumeMounts, { name = fresh, readOnly = true, mountPath = TOKEN_PATH })
        used = true
      end
    end
  end
  if used and not name then
    spec.volumes = spec.volumes or json.array {}
    table.insert(spec.volumes, token_volume(fresh))
  end
end

function M.mutate(ctx, a)
  local spec = a.object.spec
  if (spec.serviceAccountName or "") == "" then spec.serviceAccountName = "default" end
  spec.serviceAccount = spec.serviceAccountName
  local record = ctx.cluster.store:collection("serviceaccounts"):get(a.namespace, spec.serviceAccountName)
  if not record then
    status.forbidden(a.resource, a.object.metadata.name, ('error looking up service account %s/%s: serviceaccount "%s" '
      .. "not found"):format(a.namespace, spec.serviceAccountName, spec.serviceAccountName))
  end
  local account = store.view(record)
  local mounts = spec.automountServiceAccountToken
  if mounts == nil then mounts = account.automountServiceAccountToken end
  if mounts ~= false then add_token(spec) end
  if account.imagePullSecrets and not spec.imagePullSecrets then
    spec.imagePullSecrets = json.decode(json.encode(account.imagePullSecrets))
  end
end

return M
