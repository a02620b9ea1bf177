-- Analyzers of annotations: unknown, in the wrong place, without meaning, going away. A part of istio.analyze.
local match = require "istio.match"

local M = {}

local INJECT = "sidecar.istio.io/inject"
local INGRESS_CLASS = "kubernetes.io/ingress.class"

-- By the kind of object that they belong to, by the part before the slash.
local KNOWN = {
  Pod = {
    ["alpha.istio.io"] = { "identity" },
    ["ambient.istio.io"] = { "redirection", "bypass-inbound-capture", "dns-capture" },
    ["inject.istio.io"] = { "templates" },
    ["istio.io"] = { "reroute-virtual-interfaces", "rev" },
    ["prometheus.istio.io"] = { "merge-metrics" },
    ["proxy.istio.io"] = { "config", "overrides" },
    ["readiness.status.sidecar.istio.io"] = { "initialDelaySeconds", "periodSeconds", "failureThreshold",
      "applicationPorts" },
    ["sidecar.istio.io"] = { "inject", "status", "interceptionMode", "proxyCPU", "proxyCPULimit", "proxyMemory",
      "proxyMemoryLimit", "logLevel", "componentLogLevel", "agentLogLevel", "proxyImage", "proxyImageType",
      "rewriteAppHTTPProbers", "bootstrapOverride", "userVolume", "userVolumeMount", "nativeSidecar", "enableCoreDump",
      "statsInclusionPrefixes", "statsInclusionSuffixes", "statsInclusionRegexps", "statsHistogramBuckets",
      "statsCompression", "statsEvictionInterval", "extraStatTags", "discoveryAddress", "controlPlaneAuthPolicy" },
    ["status.sidecar.istio.io"] = { "port" },
    ["traffic.sidecar.istio.io"] = { "includeOutboundIPRanges", "excludeOutboundIPRanges", "includeInboundPorts",
      "excludeInboundPorts", "includeOutboundPorts", "excludeOutboundPorts", "excludeInterfaces",
      "kubevirtInterfaces" },
  },
  Service = {
    ["alpha.istio.io"] = { "kubernetes-serviceaccounts", "canonical-serviceaccounts" },
    ["istio.io"] = { "for-service-account" },
    ["networking.istio.io"] = { "exportTo", "traffic-distribution" },
    ["traffic.istio.io"] = { "nodeSelector" },
  },
  Namespace = { ["topology.istio.io"] = { "controlPlaneClusters" } },
  Ingress = { ["kubernetes.io"] = { "ingress.class" } },
  AuthorizationPolicy = { ["istio.io"] = { "dry-run" } },
  Gateway = { ["gateway.istio.io"] = { "controller-version", "name-override", "service-account" } },
  GatewayClass = { ["ambient.istio.io"] = { "waypoint-inbound-binding" } },
  WorkloadEntry = { ["istio.io"] = { "autoRegistrationGroup", "workloadController", "connectedAt", "disconnectedAt" } },
  Any = {
    ["galley.istio.io"] = { "analyze-suppress" },
    ["install.operator.istio.io"] = { "chart-owner", "owner-generation", "version" },
    ["internal.istio.io"] = {},
  },
}

local BELONGS = {} -- kind by annotation
for kind, groups in pairs(KNOWN) do
  for group, names in pairs(groups) do
    for _, name in ipairs(names) do BELONGS[group .. "/" .. name] = kind end
  end
end

local DEPRECATED = { [INJECT] = ": use the label of the same name" }
for _, name in ipairs { "sidecar.istio.io/controlPlaneAuthPolicy", "sidecar.istio.io/discoveryAddress",
  "sidecar.istio.io/statsInclusionPrefixes", "sidecar.istio.io/statsInclusionSuffixes",
  "sidecar.istio.io/statsInclusionRegexps", "alpha.istio.io/kubernetes-serviceaccounts",
  "alpha.istio.io/canonical-serviceaccounts", "alpha.istio.io/identity" } do
  DEPRECATED[name] = ""
end

-- --- values -----------------------------------------------------------------------------------------------------

local function each(value, test)
  for part in (value .. ","):gmatch "([^,]*)," do
    if not test(part:match "^%s*(.-)%s*$") then return false end
  end
  return true
end

local function is_port(text)
  local number = text:find "^%d+$" and math.tointeger(tonumber(text))
  return number ~= nil and number ~= false and number <= 65535
end

local function are_ports(value) return value == "" or each(value, is_port) end
local function all_or_ports(value) return value == "*" or are_ports(value) end
local function all_or_ranges(value)
  return value == "*" or value == "" or each(value, function(one)
    return one:find("/", 1, true) ~= nil and match.block(one) ~= nil
  end)
end
local function is_bool(value) return value == "true" or value == "false" end
local function is_number(value)
  local number = value:find "^%d+$" and math.tointeger(tonumber(value))
  return number ~= nil and number ~= false and number <= 0xffffffff
end
local function is_mode(value) return value == "REDIRECT" or value == "TPROXY" or value == "NONE" end
local function is_map(value)
  local config = require "yaml".try.decode(value)
  return type(config) == "table"
end

local VALUES = {
  [INJECT] = is_bool, ["sidecar.istio.io/nativeSidecar"] = is_bool, ["prometheus.istio.io/merge-metrics"] = is_bool,
  ["sidecar.istio.io/interceptionMode"] = is_mode, ["proxy.istio.io/config"] = is_map,
  ["status.sidecar.istio.io/port"] = is_port,
  ["readiness.status.sidecar.istio.io/initialDelaySeconds"] = is_number,
  ["readiness.status.sidecar.istio.io/periodSeconds"] = is_number,
  ["readiness.status.sidecar.istio.io/failureThreshold"] = is_number,
  ["traffic.sidecar.istio.io/includeOutboundIPRanges"] = all_or_ranges,
  ["traffic.sidecar.istio.io/excludeOutboundIPRanges"] = all_or_ranges,
  ["traffic.sidecar.istio.io/includeInboundPorts"] = all_or_ports,
  ["traffic.sidecar.istio.io/excludeInboundPorts"] = are_ports,
  ["traffic.sidecar.istio.io/excludeOutboundPorts"] = are_ports,
}

-- --- where they stand ---------------------------------------------------------------------------------------------

local function is_ours(key)
  local group = key:match "^([^/]*)/"
  return key == INGRESS_CLASS or group ~= nil and group:find "istio%.io$" ~= nil and not KNOWN.Any[group]
end

local function check(a, object, kind, metadata)
  for key, value in pairs(metadata.annotations or {}) do
    local belongs = BELONGS[key]
    if is_ours(key) then
      if not belongs then a:add("IST0108", "warning", object, "unknown annotation %s", key)
      else
        local has_label = key == INJECT and (metadata.labels or {})[INJECT] ~= nil
        if DEPRECATED[key] and not has_label then
          a:add("IST0135", "info", object, "the annotation %s is deprecated%s", key, DEPRECATED[key])
        end
        local valid = VALUES[key]
        if belongs ~= kind then
          a:add("IST0107", "warning", object, "the annotation %s has no effect here, only on a %s", key, belongs)
        elseif valid and not valid(tostring(value)) then
          a:add("IST0125", "warning", object, "the value %q of annotation %s means nothing", tostring(value), key)
        end
      end
    end
  end
end

local KINDS = { Namespace = true, Service = true, Deployment = true, StatefulSet = true, DaemonSet = true,
  ReplicaSet = true, Job = true, CronJob = true }

function M.annotations(a)
  for _, pod in ipairs(a.pods) do check(a, pod.object, "Pod", pod.pod.metadata or {}) end
  for _, object in ipairs(a.objects) do
    if KINDS[object.kind] then check(a, object, object.kind, object.metadata or {}) end
  end
end

return M
