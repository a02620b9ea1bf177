-- Analyzers of policies: without effect, too narrow, too wide. A part of istio.analyze.
local authentication = require "istio.authentication"
local inject = require "istio.inject"
local read = require "istio.analyze.read"
local rules = require "istio.rules"

local M = {}

function M.ineffective(a)
  local root = a.options.root_namespace or "istio-system"
  for _, policy in ipairs(authentication.of_kind(a.objects, "PeerAuthentication")) do
    if authentication.namespace(policy) == root and read.selector_labels(policy) then
      a:add("IST0167", "warning", policy, "with a selector it has no effect in the root namespace")
    end
  end
end

local BOUND, ROUTED = { "istio.io/WaypointBound" }, { "Accepted", "Programmed", "ResolvedRefs" }
local WATCHED = { Service = BOUND, ServiceEntry = BOUND, AuthorizationPolicy = { "ZtunnelAccepted",
  "WaypointAccepted", "istio.io/ZtunnelAccepted", "istio.io/WaypointAccepted" }, Gateway = ROUTED, HTTPRoute = ROUTED,
  GRPCRoute = ROUTED }

-- Its conditions; a route has those of each parent.
local function conditions_of(object)
  local status = object.status or {}
  local list = table.move(status.conditions or {}, 1, #(status.conditions or {}), 1, {})
  for _, parent in ipairs(status.parents or {}) do
    table.move(parent.conditions or {}, 1, #(parent.conditions or {}), #list + 1, list)
  end
  return list
end

local function is_negative(object, condition)
  local kind = tostring(condition.type)
  if object.kind == "AuthorizationPolicy" and kind:find "WaypointAccepted$" and condition.reason == "PartiallyInvalid"
  then return true end
  for _, watched in ipairs(condition.status == "False" and WATCHED[object.kind] or {}) do
    if kind == watched then return true end
  end
  return false
end

function M.conditions(a)
  for _, object in ipairs(a.objects) do
    for _, condition in ipairs(WATCHED[object.kind] and conditions_of(object) or {}) do
      if is_negative(object, condition) then
        a:add("IST0171", "warning", object, "condition %s is %s: %s", tostring(condition.type),
          tostring(condition.status), tostring(condition.message or condition.reason or ""))
      end
    end
  end
end

-- Whether a peer without identity can pass: some rule asks nothing of it.
local function admits_plaintext(rule)
  local asks = false
  for _, entry in ipairs(rule.from or {}) do
    local source = entry.source or {}
    local identity = source.principals or source.namespaces or source.serviceAccounts or source.trustDomains
    if not identity then return true end
    asks = true
  end
  if asks then return false end
  for _, condition in ipairs(rule.when or {}) do
    local key = condition.key or ""
    local identity = key == "source.namespace" or key == "source.principal" or key == "source.serviceAccount"
      or key == "source.trustDomain"
    if identity and #(condition.values or {}) > 0 then return false end
  end
  return true
end

local function uninjected_pod(a, place)
  local namespace = a.namespaces[place] or { name = place, labels = {} }
  for _, pod in ipairs(a.pods) do
    local without = pod.namespace == place and not read.has_proxy(pod)
    if without and not inject.would_inject(namespace, pod.pod, a.options.injection) then return pod end
  end
end

function M.plaintext(a)
  for _, policy in ipairs(authentication.of_kind(a.objects, "AuthorizationPolicy")) do
    local spec = policy.spec or {}
    local place = authentication.namespace(policy)
    local admits = (spec.action or "ALLOW") ~= "ALLOW" or #(spec.rules or {}) == 0
    for _, rule in ipairs(spec.rules or {}) do admits = admits or admits_plaintext(rule) end
    local pod = not admits and uninjected_pod(a, place)
    if pod then
      a:add("KF001", "warning", policy,
        "no rule admits a peer without identity, and the namespace has pods without a sidecar (%s)",
        read.title(pod.object))
    end
  end
end

local function tcp_ports(a, labels, place)
  for _, service in ipairs(read.of_kind(a.objects, "Service")) do
    local all = next(labels) == nil
    local selects = all or authentication.selects((service.spec or {}).selector, labels)
    if authentication.namespace(service) == place and selects then
      for _, port in ipairs(service.spec.ports or {}) do
        local name = port.appProtocol or port.name or ""
        if name:find "^tcp" or name:find "^mysql" or name:find "^mongo" or name:find "^redis" then return port end
      end
    end
  end
end

function M.wide_denials(a)
  for _, policy in ipairs(authentication.of_kind(a.objects, "AuthorizationPolicy")) do
    local spec = policy.spec or {}
    for i, rule in ipairs(spec.action == "DENY" and spec.rules or {}) do
      local http = rules.http_fields(rule)
      local port = #http > 0 and tcp_ports(a, read.selector_labels(policy) or {}, authentication.namespace(policy))
      if port then
        a:add("KF002", "warning", policy,
          "rule %d denies more than it says on the TCP port %s: %s is not seen there", i,
          tostring(port.port), table.concat(http, ", "))
      end
    end
  end
end

return M
