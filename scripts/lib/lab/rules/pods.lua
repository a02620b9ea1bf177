-- lab.rules.pods: pods and pod templates.
-- Not for running them.
--   return { pods = { default = …, validate = … } }

local json = require "json"
local podcheck = require "lab.rules.podcheck"
local podwarnings = require "lab.rules.podwarnings"
local podspec = require "lab.rules.podspec"
local writes = require "lab.writes"

local pods = {
  field_list = { "spec.nodeName", "spec.restartPolicy", "spec.schedulerName", "spec.serviceAccountName",
                 "spec.hostNetwork", "status.phase", "status.podIP", "status.podIPs", "status.nominatedNodeName" },
}

function pods.fields(pod)
  local spec, status = pod.spec, pod.status or {}
  return {
    ["spec.nodeName"] = spec.nodeName or "", ["spec.restartPolicy"] = spec.restartPolicy,
    ["spec.schedulerName"] = spec.schedulerName, ["spec.serviceAccountName"] = spec.serviceAccountName or "",
    ["spec.hostNetwork"] = spec.hostNetwork and "true" or "false", ["status.phase"] = status.phase or "",
    ["status.podIP"] = status.podIP or "", ["status.podIPs"] = status.podIP or "",
    ["status.nominatedNodeName"] = status.nominatedNodeName or "",
  }
end

function pods.default(pod)
  pod.spec = pod.spec or {}
  podspec.default(pod.spec)
  podspec.requests_from_limits(pod.spec)
  for _, condition in ipairs(pod.status and pod.status.conditions or {}) do
    condition.lastProbeTime = condition.lastProbeTime or json.null
    condition.lastTransitionTime = condition.lastTransitionTime or json.null
  end
  for _, field in ipairs { "initContainerStatuses", "containerStatuses" } do
    for _, s in ipairs(pod.status and pod.status[field] or {}) do
      s.state, s.lastState = s.state or json.object {}, s.lastState or json.object {}
    end
  end
  if pod.spec.enableServiceLinks == nil then pod.spec.enableServiceLinks = true end
end

function pods.prepare_create(pod)
  pod.status = { phase = "Pending", qosClass = podspec.quality(pod.spec) }
  if pod.spec.schedulingGates and #pod.spec.schedulingGates > 0 then
    pod.status.conditions = json.array { { type = "PodScheduled", status = "False", reason = "SchedulingGated",
      message = "Scheduling is blocked due to non-empty scheduling gates", lastProbeTime = json.null,
      lastTransitionTime = json.null, observedGeneration = 1 } }
  end
end

function pods.finish_create(pod)
  pod.status.qosClass = podspec.quality(pod.spec)
end

function pods.prepare_update(pod, old, _, subresource)
  if subresource == "status" then
    pod.status = pod.status or {}
    pod.status.qosClass = old.status and old.status.qosClass
  elseif subresource == "ephemeralcontainers" then
    local added = pod.spec.ephemeralContainers
    pod.spec = json.decode(json.encode(old.spec))
    pod.spec.ephemeralContainers = added
    pod.status = old.status
  elseif subresource == "resize" then
    local wanted = pod.spec.containers
    pod.spec = json.decode(json.encode(old.spec))
    for i, container in ipairs(pod.spec.containers) do
      if wanted[i] then container.resources = wanted[i].resources end
    end
    pod.status = old.status
  end
end

function pods.validate(pod, causes)
  podcheck.spec(pod.spec, "spec", causes)
end

local FORBIDDEN = "pod updates may not change fields other than `spec.containers[*].image`,"
  .. "`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing "
  .. "tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)"

-- The old spec with what may change taken over from the new one.
local function with_allowed(spec, old)
  local copy = json.decode(json.encode(old))
  for _, field in ipairs { "containers", "initContainers" } do
    for i, container in ipairs(copy[field] or {}) do
      local new = spec[field] and spec[field][i]
      if new then container.image = new.image end
    end
  end
  if spec.activeDeadlineSeconds then copy.activeDeadlineSeconds = spec.activeDeadlineSeconds end
  if #(spec.tolerations or {}) >= #(old.tolerations or {}) then copy.tolerations = spec.tolerations end
  if old.schedulingGates then
    copy.schedulingGates = spec.schedulingGates
    copy.nodeSelector, copy.affinity = spec.nodeSelector, spec.affinity
  end
  return copy
end

function pods.validate_update(pod, old, causes, _, subresource)
  podcheck.spec(pod.spec, "spec", causes)
  if subresource then return end
  if #causes == 0 and not writes.same(with_allowed(pod.spec, old.spec), pod.spec) then
    causes:forbidden("spec", FORBIDDEN)
  end
end

function pods.warn(pod, warnings) podwarnings.add(pod, "", warnings) end

local templates = {}

function templates.default(template)
  if template.template then
    template.template.spec = template.template.spec or {}
    podspec.default(template.template.spec)
  end
end

function templates.validate(template, causes)
  podcheck.spec(template.template and template.template.spec, "template.spec", causes)
end

return { pods = pods, podtemplates = templates }
