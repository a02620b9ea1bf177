-- Analyzers of injection: namespaces, pods, annotations. A part of istio.analyze.
local inject = require "istio.inject"
local read = require "istio.analyze.read"

local M = {}

local SYSTEM = { ["istio-system"] = true }

function M.namespaces(a)
  for name, namespace in pairs(a.namespaces) do
    local labels = read.labels_of(namespace)
    local injection, revision = labels["istio-injection"], labels["istio.io/rev"]
    local plain = not injection and not revision and labels["istio.io/dataplane-mode"] ~= "ambient"
    if plain and not SYSTEM[name] and not inject.IGNORED[name] then
      a:add("IST0102", "info", namespace, "the namespace is not enabled for Istio injection")
    elseif injection and revision then
      a:add("IST0123", "warning", namespace,
        "the labels istio-injection and istio.io/rev conflict: the first one counts")
    end
  end
end

function M.pods(a)
  for _, pod in ipairs(a.pods) do
    local namespace = a.namespaces[pod.namespace]
    local wanted = namespace and read.labels_of(namespace)["istio-injection"] == "enabled"
    if pod.object.kind == "Pod" and wanted and not read.has_proxy(pod) then
      local yes = inject.would_inject(namespace, pod.pod, a.options.injection)
      if yes then a:add("IST0103", "warning", pod.object, "the pod has no sidecar, though it should have one") end
    end
    for _, container in ipairs(pod.spec.containers or {}) do
      local user = (container.securityContext or {}).runAsUser or (pod.spec.securityContext or {}).runAsUser
      if user == 1337 and container.name ~= "istio-proxy" then
        a:add("IST0144", "warning", pod.object, "user 1337 is the proxy's own: traffic of container %s passes it by",
          tostring(container.name))
      end
      local auto = container.image == "auto" and namespace
      if auto and not inject.would_inject(namespace, pod.pod, a.options.injection) then
        a:add("IST0146", "error", pod.object, "the image auto is replaced by injection only, and there is none")
      end
    end
  end
end

local KNOWN_ANNOTATIONS = {
  ["sidecar.istio.io/"] = { "inject", "status", "interceptionMode", "proxyCPU", "proxyCPULimit", "proxyMemory",
    "proxyMemoryLimit", "logLevel", "componentLogLevel", "agentLogLevel", "proxyImage", "proxyImageType",
    "rewriteAppHTTPProbers", "bootstrapOverride", "userVolume", "userVolumeMount", "nativeSidecar",
    "statsInclusionPrefixes",
    "statsInclusionSuffixes", "statsInclusionRegexps", "extraStatTags", "discoveryAddress", "controlPlaneAuthPolicy" },
  ["traffic.sidecar.istio.io/"] = { "includeOutboundIPRanges", "excludeOutboundIPRanges", "includeInboundPorts",
    "excludeInboundPorts", "includeOutboundPorts", "excludeOutboundPorts", "excludeInterfaces", "kubevirtInterfaces" },
  ["readiness.status.sidecar.istio.io/"] = { "initialDelaySeconds", "periodSeconds", "failureThreshold",
    "applicationPorts" },
}

local function is_number_list(value)
  return value == "" or value == "*" or value:find "^%d[%d, ]*$" ~= nil
end

local ANNOTATION_VALUES = {
  ["sidecar.istio.io/inject"] = function(v) return v == "true" or v == "false" end,
  ["sidecar.istio.io/nativeSidecar"] = function(v) return v == "true" or v == "false" end,
  ["traffic.sidecar.istio.io/includeInboundPorts"] = is_number_list,
  ["traffic.sidecar.istio.io/excludeInboundPorts"] = is_number_list,
  ["traffic.sidecar.istio.io/excludeOutboundPorts"] = is_number_list,
  ["readiness.status.sidecar.istio.io/initialDelaySeconds"] = function(v) return v:find "^%d+$" ~= nil end,
  ["readiness.status.sidecar.istio.io/periodSeconds"] = function(v) return v:find "^%d+$" ~= nil end,
  ["readiness.status.sidecar.istio.io/failureThreshold"] = function(v) return v:find "^%d+$" ~= nil end,
}

local function is_known_annotation(key)
  for prefix, names in pairs(KNOWN_ANNOTATIONS) do
    if key:sub(1, #prefix) == prefix then
      for _, name in ipairs(names) do
        if key == prefix .. name then return true end
      end
      return false
    end
  end
  return true
end

function M.annotations(a)
  for _, pod in ipairs(a.pods) do
    for key, value in pairs(pod.annotations) do
      local valid = ANNOTATION_VALUES[key]
      if not is_known_annotation(key) then a:add("IST0108", "warning", pod.object, "unknown annotation %s", key)
      elseif valid and not valid(tostring(value)) then
        a:add("IST0125", "warning", pod.object, "the value %q of annotation %s means nothing", tostring(value), key)
      end
      if key == "sidecar.istio.io/inject" then
        a:add("IST0135", "info", pod.object, "the annotation %s is deprecated: use the label", key)
      end
    end
  end
  for _, object in ipairs(a.objects) do
    for key in pairs((object.metadata or {}).annotations or {}) do
      local of_pods = key:find "^traffic%.sidecar%.istio%.io/" or key:find "^sidecar%.istio%.io/"
      if of_pods and object.kind ~= "Pod" then
        a:add("IST0107", "warning", object, "the annotation %s has no effect here, only on a pod", key)
      end
    end
  end
end

return M
