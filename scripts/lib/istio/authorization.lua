-- Whether a request to a workload is let through, decided as its proxy does: mTLS, token, CUSTOM, DENY, ALLOW.
-- Not for asking external authorizers: a CUSTOM policy that matches is not decided here.
--   local ok, why = authorization.allowed(objects, workload, request, options)
local authentication = require "istio.authentication"
local match = require "istio.match"
local rules = require "istio.rules"

local M = {}

-- --- which policies ----------------------------------------------------------------------------------------

local function targets(spec)
  local list = spec.targetRefs or (spec.targetRef and { spec.targetRef }) or {}
  return list
end

local function names_gateway(policy, workload)
  if authentication.namespace(policy) ~= workload.namespace then return false end
  for _, target in ipairs(targets(policy.spec or {})) do
    if target.kind == "Gateway" and target.name == workload.gateway then return true end
  end
  return false
end

local function names_waypoint(policy, workload, root)
  for _, target in ipairs(targets(policy.spec or {})) do
    local here = authentication.namespace(policy) == workload.namespace
    if here and target.kind == "Gateway" and target.name == workload.waypoint then return true end
    if here and target.kind == "Service" and target.name == workload.service then return true end
    if here and target.kind == "ServiceEntry" and target.name == workload.service_entry then return true end
    local class = target.kind == "GatewayClass" and target.name == "istio-waypoint"
    if class and authentication.namespace(policy) == root then return true end
  end
  return false
end

-- A gateway takes what names it, and falls back to selectors; a sidecar never looks at targets.
local function holds_for(policy, workload, options)
  local root = options.root_namespace or "istio-system"
  local spec, place = policy.spec or {}, authentication.namespace(policy)
  if #targets(spec) > 0 then
    if workload.gateway then return names_gateway(policy, workload) end
    return workload.waypoint ~= nil and names_waypoint(policy, workload, root)
  end
  if workload.waypoint then return false end
  if workload.gateway and options.selector_gateways == false then return false end
  if place ~= root and place ~= workload.namespace then return false end
  return authentication.selects((spec.selector or {}).matchLabels, workload.labels or {})
end

local function is_dry_run(policy)
  local annotations = (policy.metadata or {}).annotations or {}
  return annotations["istio.io/dry-run"] == "true"
end

---The policies of a kind that hold for a workload.
---@param objects table[]
---@param kind string
---@param workload table
---@param options table
---@return table[]
function M.policies(objects, kind, workload, options)
  local list = {}
  for _, policy in ipairs(authentication.of_kind(objects, kind)) do
    if holds_for(policy, workload, options) then list[#list + 1] = policy end
  end
  return list
end

local function by_action(policies)
  local groups = { ALLOW = {}, DENY = {}, CUSTOM = {} }
  for _, policy in ipairs(policies) do
    local action = (policy.spec or {}).action or "ALLOW"
    local shadow = is_dry_run(policy) and action ~= "CUSTOM"
    if groups[action] and not shadow then table.insert(groups[action], policy) end
  end
  return groups
end

-- --- the request ---------------------------------------------------------------------------------------------

-- Names of protocols that are no HTTP, as ports of services begin with them.
local NO_HTTP = { tcp = true, tls = true, mongo = true, mysql = true, redis = true, postgres = true }

-- What a port of a pod or service says of itself: appProtocol before its name. Its protocol TCP is layer 4 and says
-- nothing.
local function protocol_of(port)
  if type(port) ~= "table" then return port end
  local said = port.appProtocol or port.name
  local word = said and said:lower():match "^[^-]+"
  if word and (NO_HTTP[word] or word:find "^http" or word:find "^grpc") then return word end
  return port.protocol ~= "TCP" and port.protocol or nil
end

-- Ports by their number, or as the list of a pod or service.
local function declared_protocol(ports, number)
  local direct = ports[number] or ports[tostring(number)]
  local numbered = type(direct) == "table" and (direct.port or direct.containerPort or direct.number)
  if direct and (not numbered or numbered == number) then return protocol_of(direct) end
  for _, port in ipairs(ports) do
    if type(port) == "table" and (port.containerPort or port.targetPort or port.port or port.number) == number then
      return protocol_of(port)
    end
  end
end

local function speaks_http(workload, request)
  local protocol = request.protocol or declared_protocol(workload.ports or {}, request.port) or "http"
  return not NO_HTTP[protocol:lower()]
end

local function facts_of(workload, request, options)
  local source, headers = request.source or {}, {}
  for name, value in pairs(request.headers or {}) do headers[name:lower()] = tostring(value) end
  local principal = source.principal and source.principal:gsub("^spiffe://", "") or nil
  return {
    principal = principal, ip = source.ip, remote_ip = source.remote_ip or source.ip, port = request.port,
    destination_ip = request.destination_ip or workload.ip,
    host = request.host or headers.host or headers[":authority"],
    method = request.method, path = request.path and match.normalize(request.path, options.path_normalization),
    raw_path = request.path, headers = headers, claims = request.claims, token = request.token, sni = request.sni,
    attributes = request.attributes, http = speaks_http(workload, request) and not workload.ztunnel,
  }
end

-- --- stages -----------------------------------------------------------------------------------------------------

local function peer_fits(objects, workload, facts, options)
  local mode, policy, field = authentication.mode(objects, workload, facts.port, options)
  local mutual = facts.principal ~= nil
  if (mode == "STRICT" and not mutual) or (mode == "DISABLE" and mutual) then
    return false, { stage = "mtls", policy = policy and authentication.title(policy), field = field, mode = mode }
  end
  return true
end

local function token_fits(objects, workload, facts, options)
  if not facts.http then
    facts.claims = nil
    return true
  end
  local policies = M.policies(objects, "RequestAuthentication", workload, options)
  local request = {
    claims = facts.claims, token = facts.token, headers = facts.headers, method = facts.method, path = facts.raw_path,
  }
  local accepted, policy, field, entry = authentication.verify(policies, request)
  facts.claims = request.claims
  facts.space_delimited = entry and entry.rule.spaceDelimitedClaims
  if accepted then return true end
  return false, { stage = "jwt", status = 401, policy = authentication.title(policy), field = field }
end

-- The first rule of the policies that matches; of those that do not, the one that came nearest.
local function find_rule(policies, facts, action, options, workload)
  local nearest
  for _, policy in ipairs(policies) do
    local context = {
      action = action, policy_namespace = authentication.namespace(policy), options = options,
      ztunnel = workload.ztunnel, space_delimited = facts.space_delimited,
    }
    for index, rule in ipairs((policy.spec or {}).rules or {}) do
      local matches, field = rules.matches(rule, facts, context)
      local found = { policy = authentication.title(policy), rule = index, field = field, object = policy }
      if matches then return found end
      nearest = nearest or found
    end
    nearest = nearest or { policy = authentication.title(policy), field = "rules" }
  end
  return nil, nearest
end

local function explain(stage, found, status)
  found = found or {}
  return { stage = stage, status = status, policy = found.policy, rule = found.rule, field = found.field }
end

local function several_providers(policies)
  local first
  for _, policy in ipairs(policies) do
    local name = ((policy.spec or {}).provider or {}).name
    if first and name ~= first then return true end
    first = first or name
  end
  return false
end

local function check_custom(groups, facts, options, workload)
  if workload.ztunnel or #groups.CUSTOM == 0 then return nil end
  local status = facts.http and 403 or nil
  if several_providers(groups.CUSTOM) and not options.multiple_custom_providers then
    local policy = authentication.title(groups.CUSTOM[1])
    return false, { stage = "custom", status = status, policy = policy, field = "provider" }
  end
  local found = find_rule(groups.CUSTOM, facts, "CUSTOM", options, workload)
  if not found then return nil end
  local why = explain("custom", found)
  why.provider = (found.object.spec.provider or {}).name
  return "undecided", why
end

---Decides about a request.
---@param objects table[] policies of the cluster
---@param workload table namespace, labels, ports (by number: "http" or "tcp"), ip, gateway, waypoint, ztunnel
---@param request table source {principal, ip, remote_ip}, method, path, host, port, headers, claims of a token that
---  verifies, token = "invalid" for one that does not, protocol, sni
---@param options {root_namespace: string?, trust_domain: string?, trust_domain_aliases: string[]?}?
---@return boolean? allowed nil when an external authorizer decides
---@return {stage: string, status: integer?, policy: string?, rule: integer?, field: string?} why
function M.allowed(objects, workload, request, options)
  options = options or {}
  local facts = facts_of(workload, request, options)
  local fits, why = peer_fits(objects, workload, facts, options)
  if fits then fits, why = token_fits(objects, workload, facts, options) end
  if not fits then return false, why end
  local groups = by_action(M.policies(objects, "AuthorizationPolicy", workload, options))
  local custom, custom_why = check_custom(groups, facts, options, workload)
  if custom == "undecided" then return nil, custom_why end
  if custom == false then return false, custom_why end
  local status = facts.http and 403 or nil
  local denied = find_rule(groups.DENY, facts, "DENY", options, workload)
  if denied then return false, explain("deny", denied, status) end
  if #groups.ALLOW == 0 then return true, { stage = "allow", status = facts.http and 200 or nil } end
  local allowed, nearest = find_rule(groups.ALLOW, facts, "ALLOW", options, workload)
  if allowed then return true, explain("allow", allowed, facts.http and 200 or nil) end
  return false, explain("allow", nearest, status)
end

return M
