-- policy.uninstall: takes a release out of a cluster, and gives back what its policies hold: finalizers, gates.
-- Not for labels and fields that policies wrote: these are the objects' own by now.
--   uninstall.run(client, { release = "kfhost-policy", namespace = "kfhost-system", say = print })

local errors = require "errors"
local json = require "json"
local reports = require "policy.serve.report"
local status = require "policy.status"
local registration = require "policy.serve.registration"
local webhooks = require "policy.webhooks"

local M = {}

local OURS = "^[%w.-]*%f[%w]kfhost%.io/" -- names of finalizers and gates: kfhost.io/…, storage.kfhost.io/…
local GONE = "60s"

-- What `manifests` installs, in the order in which it goes.
local PROCESSES = { "deployments.apps" }
local REST = {
  { "services" }, { "poddisruptionbudgets.policy" }, { "networkpolicies.networking.k8s.io" },
  { "configmaps", "" }, { "configmaps", "-status" }, { "secrets", "-certificates" }, { "leases.coordination.k8s.io" },
  { "rolebindings.rbac.authorization.k8s.io" }, { "roles.rbac.authorization.k8s.io" },
  { "clusterrolebindings.rbac.authorization.k8s.io", cluster = true },
  { "clusterroles.rbac.authorization.k8s.io", cluster = true }, { "serviceaccounts" },
}

-- Does something to one object; a failure is told, and the rest goes on.
local function attempt(run, what, object, act)
  if not run.dry_run then
    local ok, problem = pcall(act)
    if not ok then
      if not errors.is(problem) or problem.code == "Cancelled" then error(problem, 0) end
      if problem.code == "NotFound" then return end
      run.failed = run.failed + 1
      return run.warn(("%s %s: %s"):format(object.kind, object.metadata.name, errors.text(problem)))
    end
  end
  run.say(what, object)
end

local function delete(run, kind, name, namespace, propagation)
  local there, problem = run.client.try:get(kind, name, { namespace = namespace })
  if not there then
    if problem.status == 404 then return nil end
    error(problem, 0)
  end
  attempt(run, "deleted", there, function()
    run.client:delete(kind, name, { namespace = namespace, propagation = propagation or "Background" })
  end)
  return there
end

-- --- what objects hold ------------------------------------------------------------------------------------------

local function is_ours(name)
  return name:find(OURS) ~= nil
end

local function kept_of(list, goes)
  local kept = json.array {}
  for _, one in ipairs(list or {}) do
    if not goes(one) then kept[#kept + 1] = one end
  end
  return kept
end

local function restore(run, kind, object)
  local metadata = object.metadata
  local finalizers = kept_of(metadata.finalizers, function(one) return is_ours(one) and not run.others[one] end)
  local gates = kind == "pods" and kept_of(object.spec.schedulingGates, function(one)
    return is_ours(one.name)
  end)
  local patch = {}
  if #finalizers < #(metadata.finalizers or {}) then patch.finalizers = finalizers end
  local ungated = gates and #gates < #(object.spec.schedulingGates or {})
  if not patch.finalizers and not ungated then return end
  -- The version: whoever writes meanwhile is not overwritten, and the object is looked at again.
  local body = { metadata = { resourceVersion = metadata.resourceVersion, finalizers = patch.finalizers },
    spec = ungated and { schedulingGates = gates } or nil }
  attempt(run, ungated and "gate lifted" or "finalizer removed", object, function()
    run.client:patch(kind, metadata.name, body, { namespace = metadata.namespace, type = "merge" })
  end)
end

-- Every kind that can be listed and changed: finalizers may be on any.
local function kinds_of(client)
  local kinds, seen = {}, {}
  for _, resource in ipairs(client.discovery:all(true)) do
    local verbs = {}
    for _, verb in ipairs(resource.verbs or {}) do verbs[verb] = true end
    local kind = resource.group ~= "" and resource.plural .. "." .. resource.group or resource.plural
    if verbs.list and verbs.patch and not seen[kind] then
      seen[kind] = true
      kinds[#kinds + 1] = kind
    end
  end
  table.sort(kinds)
  return kinds
end

-- What releases that live hold by watches of their own is theirs.
local function finalizers_of_others(run)
  local names = {}
  local ok, others = pcall(reports.others, run.client, run)
  if not ok then
    if not errors.is(others) or others.code == "Cancelled" then error(others, 0) end
    run.warn("other releases are not known: " .. errors.text(others))
    return names
  end
  for _, other in ipairs(others) do
    for _, name in ipairs(status.is_silent(other) and {} or other.finalizers or {}) do names[name] = true end
  end
  return names
end

local function restore_all(run)
  run.others = finalizers_of_others(run)
  for _, kind in ipairs(kinds_of(run.client)) do
    local ok, problem = pcall(function()
      for object in run.client:each(kind, { namespace = "*" }) do restore(run, kind, object) end
    end)
    if not ok then
      if not errors.is(problem) or problem.code == "Cancelled" then error(problem, 0) end
      run.failed = run.failed + 1
      run.warn(("%s: %s"):format(kind, errors.text(problem)))
    end
  end
end

-- --- the whole --------------------------------------------------------------------------------------------------

local function stop_processes(run)
  for _, kind in ipairs(PROCESSES) do
    if delete(run, kind, run.release, run.namespace, "Foreground") and not run.dry_run then
      local _, problem = run.client.try:wait { kind = kind, name = run.release, namespace = run.namespace,
        deleted = true, timeout = GONE }
      if problem then run.warn(("%s is still there: %s"):format(kind, errors.text(problem))) end
    end
  end
end

---@param client table of kube.connect
---@param options {release: string, namespace: string, dry_run: boolean?, keep_namespace: boolean?,
---  say: fun(what: string, object: table), warn: fun(text: string)}
---@return integer failed how many objects could not be changed
function M.run(client, options)
  local run = { client = client, failed = 0 }
  for field, value in pairs(options) do run[field] = value end
  for _, object in ipairs(status.configurations(client, options)) do
    delete(run, registration.KINDS[object.kind], object.metadata.name)
  end
  stop_processes(run)
  restore_all(run)
  for _, one in ipairs(REST) do
    local name = one.cluster and webhooks.cluster_name(options.release, options.namespace)
      or options.release .. (one[2] or "")
    delete(run, one[1], name, not one.cluster and options.namespace or nil)
  end
  local namespace = not options.keep_namespace and client.try:get("namespaces", options.namespace)
  if namespace and (namespace.metadata.labels or {})["app.kubernetes.io/part-of"] == "kfhost" then
    delete(run, "namespaces", options.namespace)
  end
  return run.failed
end

return M
