-- lab.controllers.namespaces: a new namespace gets its account and root certificate; a going one is emptied.
-- Not for refusing what is created in a going one (lab.admission.namespaces).
--   require "lab.controllers.namespaces".start(cluster)

local base = require "lab.controllers.base"
local bootstrap = require "lab.bootstrap"
local json = require "json"
local store = require "lab.store"
local subresources = require "lab.subresources"

local M = {}

local DESCRIPTION = "The certificate of the lab's own authority, by which pods know its API."

local function furnish(cluster, name)
  local accounts = cluster.store:collection "serviceaccounts"
  if not accounts:get(name, "default") then
    bootstrap.put(cluster, "", "v1", "serviceaccounts", { metadata = { name = "default", namespace = name } })
  end
  local maps = cluster.store:collection "configmaps"
  if not maps:get(name, "kube-root-ca.crt") then
    bootstrap.put(cluster, "", "v1", "configmaps", {
      metadata = { name = "kube-root-ca.crt", namespace = name,
                   annotations = { ["kubernetes.io/description"] = DESCRIPTION } },
      data = { ["ca.crt"] = cluster.options.ca or "" },
    })
  end
end

-- --- emptying -------------------------------------------------------------------------------------

-- All namespaced kinds that keep something, pods first.
local function kinds_of(cluster)
  local list, seen = {}, {}
  for _, group in ipairs(cluster.registry.order) do
    local version = group.order[1]
    for _, plural in ipairs(version.order) do
      local resource = version.resources[plural]
      if resource.namespaced and resource.may.deletecollection and not seen[resource.stored] then
        seen[resource.stored] = true
        table.insert(list, resource.stored == "pods" and 1 or #list + 1, resource)
      end
    end
  end
  return list
end

local function path_of(resource, namespace)
  local head = resource.group == "" and "/api/" .. resource.version
    or ("/apis/%s/%s"):format(resource.group, resource.version)
  return ("%s/namespaces/%s/%s"):format(head, namespace, resource.plural)
end

-- Deletes what is there: pods first, and what they may need when they are gone. What is left, by kind and by finalizer.
local function empty(cluster, name)
  local kinds, finalizers, left = {}, {}, 0
  for _, resource in ipairs(kinds_of(cluster)) do
    local c = cluster:collection(resource)
    for _, record in ipairs(c:records(name)) do
      if not store.view(record).metadata.deletionTimestamp then
        cluster:call("DELETE", path_of(resource, name) .. "/" .. record.name,
          { body = { propagationPolicy = "Background" }, manager = "kube-controller-manager" })
      end
    end
    local rest = c:records(name)
    if #rest > 0 then
      kinds[#kinds + 1] = ("%s has %d resource instances"):format(
        resource.group == "" and resource.plural .. "." or resource.plural .. "." .. resource.group, #rest)
      left = left + #rest
      for _, record in ipairs(rest) do
        for _, finalizer in ipairs(store.view(record).metadata.finalizers or {}) do
          finalizers[finalizer] = (finalizers[finalizer] or 0) + 1
        end
      end
    end
    if resource.stored == "pods" and left > 0 then break end
  end
  return left, kinds, finalizers
end

local function condition(cluster, kind, on, reason, message)
  return { type = kind, status = on and "True" or "False", reason = reason, message = message,
           lastTransitionTime = cluster:time() }
end

local function conditions(cluster, left, kinds, finalizers)
  local texts = {}
  for name, count in pairs(finalizers) do texts[#texts + 1] = ("%s in %d resource instances"):format(name, count) end
  table.sort(texts)
  return {
    condition(cluster, "NamespaceDeletionDiscoveryFailure", false, "ResourcesDiscovered",
      "All resources successfully discovered"),
    condition(cluster, "NamespaceDeletionGroupVersionParsingFailure", false, "ParsedGroupVersions",
      "All legacy kube types successfully parsed"),
    condition(cluster, "NamespaceDeletionContentFailure", false, "ContentDeleted",
      "All content successfully deleted, may be waiting on finalization"),
    condition(cluster, "NamespaceContentRemaining", left > 0, left > 0 and "SomeResourcesRemain" or "ContentRemoved",
      left > 0 and "Some resources are remaining: " .. table.concat(kinds, ", ")
        or "All content successfully removed"),
    condition(cluster, "NamespaceFinalizersRemaining", #texts > 0,
      #texts > 0 and "SomeFinalizersRemain" or "ContentHasNoFinalizers",
      #texts > 0 and "Some content in the namespace has finalizers remaining: " .. table.concat(texts, ", ")
        or "All content-preserving finalizers finished"),
  }
end

local function same_state(list, wanted)
  for _, one in ipairs(wanted) do
    local found = false
    for _, there in ipairs(list or {}) do
      found = found or there.type == one.type and there.status == one.status and there.message == one.message
    end
    if not found then return false end
  end
  return true
end

local function collect(cluster, record, self)
  local name = record.name
  local left, kinds, finalizers = empty(cluster, name)
  local c = cluster.store:collection "namespaces"
  record = c:get(nil, name)
  if not record then return end
  local object = store.object(record)
  if left > 0 then
    local wanted = conditions(cluster, left, kinds, finalizers)
    if not same_state(object.status.conditions, wanted) then
      object.status.conditions = object.status.conditions or json.array {}
      for _, one in ipairs(wanted) do subresources.set_condition(object.status.conditions, one) end
      cluster.store:write(c, record, object, cluster.rules.namespaces.fields(object))
    end
    self:later(name, 0.5)
    return
  end
  if object.metadata.finalizers and #object.metadata.finalizers > 0 then
    if object.spec.finalizers == nil then return end -- whoever set them takes them away
    object.spec.finalizers = nil
    cluster.store:write(c, record, object, cluster.rules.namespaces.fields(object))
    return
  end
  for _, finalizer in ipairs(object.spec.finalizers or {}) do
    if finalizer ~= "kubernetes" then return end -- another controller's, who calls finalize
  end
  object.spec.finalizers = nil
  cluster.store:remove(c, record, object)
end

local function look(cluster, name, self)
  local record = cluster.store:collection("namespaces"):get(nil, name)
  if not record then return end
  if store.view(record).metadata.deletionTimestamp then
    collect(cluster, record, self)
  else
    furnish(cluster, name)
  end
end

---@param cluster lab.Cluster
---@return lab.Controller
function M.start(cluster)
  local self = base.new(cluster, {
    name = "namespaces",
    on = function(collection, event, add)
      if collection == "namespaces" then
        if not event.removed then add(event.record.name) end
      elseif collection == "serviceaccounts" and event.removed or collection == "configmaps" and event.removed then
        local name = event.record.name
        if name == "default" or name == "kube-root-ca.crt" then add(event.record.namespace) end
      end
    end,
    look = function(name, self) look(cluster, name, self) end,
  })
  for _, record in ipairs(cluster.store:collection("namespaces"):records()) do furnish(cluster, record.name) end
  return self
end

return M
