-- lab.rules.podwarnings: what a client is warned of in a pod or a template, though it is valid.
-- Not for what is refused (lab.rules.podcheck).
--   podwarnings.add(pod, "", warnings)      podwarnings.add(job.spec.template, "spec.template.", warnings)

local sorted = require "kfhost.keys".sorted

local M = {}

local LABELS = {
  ["beta.kubernetes.io/arch"] = 'deprecated since v1.14; use "kubernetes.io/arch" instead',
  ["beta.kubernetes.io/os"] = 'deprecated since v1.14; use "kubernetes.io/os" instead',
  ["failure-domain.beta.kubernetes.io/region"] = 'deprecated since v1.17; use "topology.kubernetes.io/region" instead',
  ["failure-domain.beta.kubernetes.io/zone"] = 'deprecated since v1.17; use "topology.kubernetes.io/zone" instead',
  ["beta.kubernetes.io/instance-type"] = 'deprecated since v1.17; use "node.kubernetes.io/instance-type" instead',
}

local SECCOMP = 'non-functional in v1.27+; use the "seccompProfile" field instead'
local SECCOMP_POD = "seccomp.security.alpha.kubernetes.io/pod"
local SECCOMP_CONTAINER = "container.seccomp.security.alpha.kubernetes.io/"

-- Calls a function with each container and its path.
local function each_container(spec, at, visit)
  for _, list in ipairs { "initContainers", "containers", "ephemeralContainers" } do
    for i, container in ipairs(spec[list] or {}) do visit(container, ("%s%s[%d]"):format(at, list, i - 1)) end
  end
end

-- --- places in a pod ----------------------------------------------------------------------------------------------

local function nodes(spec, at, say)
  for _, name in ipairs(sorted(spec.nodeSelector)) do
    if LABELS[name] then say("%snodeSelector[%s]: %s", at, name, LABELS[name]) end
  end
  for i, constraint in ipairs(spec.topologySpreadConstraints or {}) do
    local here = ("%stopologySpreadConstraints[%d]"):format(at, i - 1)
    local deprecated = LABELS[constraint.topologyKey]
    if deprecated then say("%s.topologyKey: %s is %s", here, constraint.topologyKey, deprecated) end
    if not constraint.labelSelector then
      say("%s.labelSelector: a null labelSelector results in matching no pod", here)
    end
  end
end

local function duplicates(spec, at, say)
  local seen = {}
  for i, alias in ipairs(spec.hostAliases or {}) do
    if seen[alias.ip] then say('%shostAliases[%d].ip: duplicate ip "%s"', at, i - 1, alias.ip) end
    seen[alias.ip or ""] = true
  end
  seen = {}
  for i, secret in ipairs(spec.imagePullSecrets or {}) do
    local name = secret.name or ""
    if seen[name] then say('%simagePullSecrets[%d].name: duplicate name "%s"', at, i - 1, name) end
    seen[name] = true
  end
  for i, secret in ipairs(spec.imagePullSecrets or {}) do
    if (secret.name or "") == "" then say('%simagePullSecrets[%d].name: invalid empty name ""', at, i - 1) end
  end
end

-- A quantity in thousandths is one of a fraction of a byte.
local function fractions(map, field, say)
  for _, name in ipairs { "memory", "ephemeral-storage" } do
    local value = map and map[name]
    if type(value) == "string" and value:find "m$" then
      say('%s[%s]: fractional byte value "%s" is invalid, must be an integer', field, name, value)
    end
  end
end

-- A variable may repeat a name only to add to its value.
local function environment(container, field, say)
  local seen = {}
  for i, variable in ipairs(container.env or {}) do
    local reference = ("$(%s)"):format(variable.name)
    local value = variable.value or ""
    local adds = not variable.valueFrom and value ~= reference and value:find(reference, 1, true)
    if seen[variable.name] and not adds then
      say('%s.env[%d]: hides previous definition of "%s", which may be dropped when using apply', field, i - 1,
        variable.name)
    end
    seen[variable.name] = true
  end
end

local function profile_of(one)
  return type(one.securityContext) == "table" and one.securityContext.seccompProfile
end

local function containers(spec, annotations, at, meta, say)
  each_container(spec, at, function(container, field)
    local key = SECCOMP_CONTAINER .. (container.name or "")
    if annotations[key] and not profile_of(container) then say("%sannotations[%s]: %s", meta, key, SECCOMP) end
    local resources = container.resources or {}
    fractions(resources.limits, field .. ".resources.limits", say)
    fractions(resources.requests, field .. ".resources.requests", say)
    environment(container, field, say)
  end)
end

local function compare_ports(port, other, field, other_field, say)
  local host, other_host = port.hostPort or 0, other.hostPort or 0
  local ip, other_ip = port.hostIP or "", other.hostIP or ""
  if ip == other_ip and host == other_host then
    say("%s: duplicate port definition with %s", field, other_field)
  elseif host == 0 or other_host == 0 then
    say("%s: overlapping port definition with %s", field, other_field)
  elseif host == other_host and (ip == "") ~= (other_ip == "") then
    say("%s: dangerously ambiguous port definition with %s", field, other_field)
  end
end

local function ports(spec, at, say)
  local all = {}
  each_container(spec, at, function(container, field)
    for i, port in ipairs(container.ports or {}) do
      local here = ("%s.ports[%d]"):format(field, i - 1)
      local key = ("%s/%s"):format(port.containerPort, port.protocol or "TCP")
      all[key] = all[key] or {}
      for _, other in ipairs(all[key]) do compare_ports(port, other.port, here, other.field, say) end
      table.insert(all[key], { port = port, field = here })
    end
  end)
end

local function affinities(spec, at, say)
  for _, kind in ipairs { "podAffinity", "podAntiAffinity" } do
    local affinity = spec.affinity and spec.affinity[kind] or {}
    local here = ("%saffinity.%s."):format(at, kind)
    for i, term in ipairs(affinity.requiredDuringSchedulingIgnoredDuringExecution or {}) do
      if not term.labelSelector then
        say("%srequiredDuringSchedulingIgnoredDuringExecution[%d].labelSelector: a null labelSelector results in "
          .. "matching no pod", here, i - 1)
      end
    end
    for i, term in ipairs(affinity.preferredDuringSchedulingIgnoredDuringExecution or {}) do
      if not (term.podAffinityTerm or {}).labelSelector then
        say("%spreferredDuringSchedulingIgnoredDuringExecution[%d].podAffinityTerm.labelSelector: a null labelSelector "
          .. "results in matching no pod", here, i - 1)
      end
    end
  end
end

---Adds the warnings about a pod or a template, in the order of the API server.
---@param pod table with metadata and spec
---@param prefix string path of it, with its dot
---@param warnings string[]
function M.add(pod, prefix, warnings)
  local spec = pod.spec
  if type(spec) ~= "table" then return end
  local at, meta = prefix .. "spec.", prefix .. "metadata."
  local annotations = type(pod.metadata) == "table" and pod.metadata.annotations or {}
  local function say(form, ...) warnings[#warnings + 1] = form:format(...) end
  nodes(spec, at, say)
  duplicates(spec, at, say)
  if annotations[SECCOMP_POD] and not profile_of(spec) then say("%sannotations[%s]: %s", meta, SECCOMP_POD, SECCOMP) end
  containers(spec, annotations, at, meta, say)
  ports(spec, at, say)
  if (spec.terminationGracePeriodSeconds or 0) < 0 then
    say("%sterminationGracePeriodSeconds: must be >= 0; negative values are invalid and will be treated as 1", at)
  end
  affinities(spec, at, say)
end

return M
