-- lab.inside: reads and writes by the lab's own controllers, scheduler and nodes, past the network.
-- Not past the rules: admission, validation and ownership are those of any client.
--   inside.change(cluster, "pods", "default", "web", "status", "kubelet", function(pod) pod.status.phase = … end)

local deletes = require "lab.deletes"
local status = require "lab.status"
local store = require "lab.store"
local writes = require "lab.writes"

local M = {}

local USER = { name = "system:kube-controller-manager", groups = { "system:masters", "system:authenticated" } }

local resources = setmetatable({}, { __mode = "k" }) -- registry -> stored -> resource

---@param cluster lab.Cluster
---@param stored string such as "pods" or "apps/deployments"
---@return lab.Resource?
function M.resource(cluster, stored)
  local known = resources[cluster.registry] or {}
  resources[cluster.registry] = known
  local found = known[stored]
  if not found or found.custom then
    local group, plural = stored:match "^(.*)/(.*)$"
    found = cluster.registry:any(group or "", plural or stored)
    known[stored] = found
  end
  return found
end

local function context(cluster, stored, namespace, name, verb, manager, subresource)
  local resource = M.resource(cluster, stored)
  return {
    cluster = cluster, request = { internal = true }, headers = {}, query = {}, warnings = {}, resource = resource,
    user = USER, manager = manager, dry_run = false, validation = "Ignore",
    route = { verb = verb, resource = true, group = resource.group, version = resource.version,
              plural = resource.plural, namespace = namespace, name = name, subresource = subresource },
  }
end

local function version_of(resource)
  return resource.group == "" and resource.version or resource.group .. "/" .. resource.version
end

---@return table? object to be read only, without kind and apiVersion
function M.view(cluster, stored, namespace, name)
  local record = cluster.store:collection(stored):get(namespace, name)
  return record and store.view(record), record
end

---Changes an object, if it is there and the function changes it.
---@param cluster lab.Cluster
---@param stored string
---@param namespace string?
---@param name string
---@param subresource string? "status" …
---@param manager string
---@param change fun(object: table): false? what it returns false for stays as it is
---@return boolean whether it was there
function M.change(cluster, stored, namespace, name, subresource, manager, change)
  local ctx = context(cluster, stored, namespace, name, "update", manager, subresource)
  ctx.options = { kind = "UpdateOptions", apiVersion = "meta.k8s.io/v1", fieldManager = manager }
  local kept = {}
  local ok, problem = pcall(writes.update, ctx, { subresource = subresource, make = function(old)
    local object = store.copy(old)
    if change(object) == false then error(kept, 0) end
    return object
  end })
  if ok or problem == kept then return true end
  if status.is(problem) and problem.status == 404 then return false end
  error(problem, 0)
end

---Makes an object.
---@param object table with metadata
---@return table? made decoded; nil when it was refused
---@return lab.Status? problem
function M.create(cluster, stored, object, manager)
  local m = object.metadata
  local ctx = context(cluster, stored, m.namespace, m.name, "create", manager)
  ctx.options = { kind = "CreateOptions", apiVersion = "meta.k8s.io/v1", fieldManager = manager }
  object.kind, object.apiVersion = ctx.resource.kind, version_of(ctx.resource)
  local ok, bytes = pcall(writes.create, ctx, object)
  if ok then return store.object(store.of(bytes)) end
  if status.is(bytes) then return nil, bytes end
  error(bytes, 0)
end

---Deletes an object, if it is there.
---@param options {propagation: string?, uid: string?, grace: integer?}?
---@return boolean whether it was there
function M.delete(cluster, stored, namespace, name, options)
  options = options or {}
  local ctx = context(cluster, stored, namespace, name, "delete", "kube-controller-manager")
  local record = cluster.store:collection(stored):get(namespace, name)
  if not record then return false end
  ctx.options = { kind = "DeleteOptions", apiVersion = "meta.k8s.io/v1", propagationPolicy = options.propagation,
                  gracePeriodSeconds = options.grace,
                  preconditions = options.uid and { uid = options.uid } or nil }
  local ok, problem = pcall(deletes.run, ctx, record, ctx.options)
  if ok then return true end
  if status.is(problem) and (problem.status == 404 or problem.status == 409) then return false end
  error(problem, 0)
end

---An object as events and owner references name it.
---@return table object with kind and apiVersion
function M.with_kind(cluster, stored, object)
  local resource = M.resource(cluster, stored)
  return { kind = resource.kind, apiVersion = version_of(resource), metadata = object.metadata }
end

---The owner reference by which a controller owns what it makes.
function M.owner(cluster, stored, object)
  local resource = M.resource(cluster, stored)
  return { apiVersion = version_of(resource), kind = resource.kind, name = object.metadata.name,
           uid = object.metadata.uid, controller = true, blockOwnerDeletion = true }
end

---The owner that controls an object.
---@return table? reference
function M.controller_of(object)
  for _, owner in ipairs(object.metadata.ownerReferences or {}) do
    if owner.controller then return owner end
  end
end

return M
