-- lab.kubeflow.poddefaults: what the PodDefault webhook makes of a pod: what fits by labels is merged in; what
-- contradicts refuses the pod.
-- Not for finding PodDefaults (lab.kubeflow.tenants).
--   local changed, problem = poddefaults.apply(pod, list)

local json = require "json"
local kube = require "kube"

local M = {}

local PREFIX = "poddefault.admission.kubeflow.org/"
local MIRROR = "kubernetes.io/config.mirror"

local function same(a, b) return json.encode(a, { sort = true }) == json.encode(b, { sort = true }) end

-- --- merging lists ----------------------------------------------------------------------------------------------

-- Adds what is new by its keys; what is there with another value is a conflict.
local function merge(target, field, additions, keys, what, problems)
  if not additions or #additions == 0 then return end
  target[field] = target[field] or json.array {}
  for _, one in ipairs(additions) do
    local known
    for _, other in ipairs(target[field]) do
      for _, key in ipairs(keys) do
        if one[key] ~= nil and other[key] == one[key] then known = known or other end
      end
    end
    if not known then
      table.insert(target[field], one)
    elseif not same(known, one) then
      problems[#problems + 1] = ("merging %s has a conflict on %s: %s does not match %s"):format(what,
        tostring(one[keys[1]]), json.encode(one, { sort = true }), json.encode(known, { sort = true }))
    end
  end
end

local function merge_map(metadata, field, additions, problems)
  if not additions then return end
  metadata[field] = metadata[field] or json.object {}
  for key, value in pairs(additions) do
    local known = metadata[field][key]
    if known ~= nil and known ~= value then
      problems[#problems + 1] = ("merging %s has a conflict on %s: %s does not match %s"):format(field, key, value,
        known)
    else
      metadata[field][key] = value
    end
  end
end

local function merge_container(container, spec, problems)
  local what = " for container " .. container.name
  merge(container, "env", spec.env, { "name" }, "env" .. what, problems)
  merge(container, "volumeMounts", spec.volumeMounts, { "name", "mountPath" }, "volume mounts" .. what, problems)
  if spec.envFrom then
    container.envFrom = container.envFrom or json.array {}
    table.move(spec.envFrom, 1, #spec.envFrom, #container.envFrom + 1, container.envFrom)
  end
  if container.name == "istio-proxy" then return end
  if spec.command and not container.command then container.command = spec.command end
  if spec.args and not container.args then container.args = spec.args end
end

-- --- one pod ----------------------------------------------------------------------------------------------------

local function is_excluded(pod)
  local annotations = pod.metadata.annotations or {}
  return annotations[PREFIX .. "exclude"] == "true" or annotations[MIRROR] ~= nil
end

local function selector_text(selector)
  local parts = {}
  for key, value in pairs(selector.matchLabels or {}) do parts[#parts + 1] = key .. "=" .. value end
  local words = { In = "%s in (%s)", NotIn = "%s notin (%s)", Exists = "%s", DoesNotExist = "!%s" }
  for _, one in ipairs(selector.matchExpressions or {}) do
    parts[#parts + 1] = words[one.operator]:format(one.key, table.concat(one.values or {}, ","))
  end
  return table.concat(parts, ",")
end

local function matching(pod, list)
  local found = {}
  for _, one in ipairs(list) do
    local text = selector_text(one.spec.selector or {})
    if text == "" or kube.selector(text):matches(pod.metadata.labels or {}) then found[#found + 1] = one end
  end
  return found
end

local function merge_pod(pod, spec, problems)
  merge(pod.spec, "volumes", spec.volumes, { "name" }, "volumes", problems)
  merge(pod.spec, "tolerations", spec.tolerations, { "key" }, "tolerations", problems)
  merge(pod.spec, "imagePullSecrets", spec.imagePullSecrets, { "name" }, "image pull secrets", problems)
  merge(pod.spec, "initContainers", spec.initContainers, { "name" }, "init containers", problems)
  merge_map(pod.metadata, "labels", spec.labels, problems)
  merge_map(pod.metadata, "annotations", spec.annotations, problems)
  for _, container in ipairs(pod.spec.containers) do merge_container(container, spec, problems) end
  merge(pod.spec, "containers", spec.sidecars, { "name" }, "sidecars", problems)
  if (spec.serviceAccountName or "") ~= "" then pod.spec.serviceAccountName = spec.serviceAccountName end
  if spec.automountServiceAccountToken ~= nil then
    pod.spec.automountServiceAccountToken = spec.automountServiceAccountToken
  end
end

---Merges the PodDefaults that fit into a pod.
---@param pod table changed
---@param list table[] PodDefaults of its namespace
---@return table? pod nil when they contradict
---@return string? problem
function M.apply(pod, list)
  if is_excluded(pod) then return pod end
  local fit, problems, names = matching(pod, list), {}, {}
  for _, one in ipairs(fit) do
    merge_pod(pod, one.spec, problems)
    names[#names + 1] = one.metadata.name
  end
  if #problems > 0 then
    return nil, ("conflict occurred while applying poddefaults: %s on pod: %s err: [%s]"):format(
      table.concat(names, ","), pod.metadata.name or "", table.concat(problems, ", "))
  end
  for _, one in ipairs(fit) do
    pod.metadata.annotations = pod.metadata.annotations or json.object {}
    pod.metadata.annotations[PREFIX .. "poddefault-" .. one.metadata.name] = one.metadata.resourceVersion or ""
  end
  return pod
end

return M
