-- lab.admission.security: Pod Security: what a namespace's labels enforce, warn of and audit.
-- Not for the checks themselves: those are kube.pod_security.
--   security.validate(ctx, attributes)

local kube = require "kube"
local status = require "lab.status"
local store = require "lab.store"

local M = {}

local PREFIX = "pod-security.kubernetes.io/"

-- Where a kind's pod template is.
local TEMPLATES = {
  ["apps/deployments"] = true, ["apps/replicasets"] = true, ["apps/statefulsets"] = true, ["apps/daemonsets"] = true,
  ["batch/jobs"] = true, replicationcontrollers = true,
}

local function pod_of(resource, object)
  if resource.stored == "pods" then return object end
  if TEMPLATES[resource.stored] then return object.spec.template end
  if resource.stored == "batch/cronjobs" then
    local job = object.spec.jobTemplate
    return job and job.spec and job.spec.template
  end
  if resource.stored == "podtemplates" then return object.template end
end

-- The level and version that a namespace asks for in a mode; the cluster may have one for those that say nothing.
local function wanted(labels, mode, default)
  local level = labels and labels[PREFIX .. mode] or default
  if not level or level == "privileged" then return nil end
  return level, labels[PREFIX .. mode .. "-version"] or "latest"
end

-- What is wrong, as one text; nil when nothing is.
local function faults(pod, level, version, short)
  local found = kube.pod_security(pod, level, { version = version })
  if #found == 0 then return nil end
  local texts = {}
  for i, fault in ipairs(found) do
    texts[i] = short and fault.reason or fault.message
  end
  return table.concat(texts, ", ")
end

local function check_namespace(ctx, a)
  local level, version = wanted(a.object.metadata.labels, "enforce")
  local old_level, old_version = nil, nil
  if a.old then old_level, old_version = wanted(a.old.metadata.labels, "enforce", ctx.cluster.pod_security) end
  local relaxed = old_level == "restricted" and level == "baseline" and version == old_version
  if not level or level == old_level or relaxed then return end
  local groups, order = {}, {}
  for _, record in ipairs(ctx.cluster.store:collection("pods"):records(a.object.metadata.name)) do
    local text = faults(store.view(record), level, version, true)
    if text then
      if not groups[text] then
        groups[text] = {}
        order[#order + 1] = text
      end
      table.insert(groups[text], record.name)
    end
  end
  if #order == 0 then return end
  local warnings = ctx.warnings
  warnings[#warnings + 1] = ('existing pods in namespace "%s" violate the new PodSecurity enforce level "%s:%s"')
    :format(a.object.metadata.name, level, version)
  for _, text in ipairs(order) do
    local names = groups[text]
    local more = #names > 1 and (" (and %d other pod%s)"):format(#names - 1, #names > 2 and "s" or "") or ""
    warnings[#warnings + 1] = ("%s%s: %s"):format(names[1], more, text)
  end
end

-- Updates that do not touch what is checked pass.
local function unchanged(a)
  if not a.old then return false end
  local writes = require "lab.writes"
  local new, old = pod_of(a.resource, a.object), pod_of(a.resource, a.old)
  return writes.same(new and new.spec, old and old.spec)
end

function M.validate(ctx, a)
  if a.resource.stored == "namespaces" and not a.subresource then return check_namespace(ctx, a) end
  if not a.namespace or a.subresource and a.subresource ~= "ephemeralcontainers" then return end
  local record = ctx.cluster.store:collection("namespaces"):get(nil, a.namespace)
  local labels = record and record.labels or {}
  if not record then return end
  local warn_level, warn_version = wanted(labels, "warn")
  local exempt = a.namespace == "kube-system"
  local level, version = wanted(labels, "enforce", not exempt and ctx.cluster.pod_security or nil)
  if not warn_level and not level then return end
  local pod = pod_of(a.resource, a.object)
  if not pod or not pod.spec or unchanged(a) then return end
  if a.resource.stored == "pods" and level then
    local text = faults(pod, level, version)
    if text then
      status.forbidden(a.resource, a.object.metadata.name,
        ('violates PodSecurity "%s:%s": %s'):format(level, version, text))
    end
  end
  if warn_level then
    local text = faults(pod, warn_level, warn_version)
    if text then
      ctx.warnings[#ctx.warnings + 1] = ('would violate PodSecurity "%s:%s": %s'):format(warn_level, warn_version, text)
    end
  end
end

return M
