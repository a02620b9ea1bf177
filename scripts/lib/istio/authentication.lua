-- Who a peer and a user are: PeerAuthentication, RequestAuthentication, and what a client's proxy does by itself.
-- Not for what they may do: see authorization.
--   local mode, policy = authentication.mode(objects, workload, 8080, options)
local json = require "json"
local match = require "istio.match"

local M = {}

---@param object table
---@return string
function M.namespace(object)
  return (object.metadata or {}).namespace or "default"
end

---@param object table
---@return string # "namespace/name"
function M.title(object)
  return M.namespace(object) .. "/" .. tostring((object.metadata or {}).name)
end

---Whether all labels of a selector are among those of a workload.
---@param wanted table?
---@param labels table
---@return boolean
function M.selects(wanted, labels)
  for key, value in pairs(wanted or {}) do
    if labels[key] ~= value then return false end
  end
  return true
end

---The objects of a kind, those of Istio only.
---@param objects table[]
---@param kind string
---@return table[]
function M.of_kind(objects, kind)
  local list = {}
  for _, object in ipairs(objects) do
    if object.kind == kind and tostring(object.apiVersion or "istio.io/"):find "istio%.io/" then
      list[#list + 1] = object
    end
  end
  return list
end

local function is_older(a, b)
  local x, y = (a.metadata or {}).creationTimestamp or "", (b.metadata or {}).creationTimestamp or ""
  if x ~= y then return x < y end
  return M.title(a) < M.title(b)
end

local function oldest(list)
  local first
  for _, object in ipairs(list) do
    if not first or is_older(object, first) then first = object end
  end
  return first
end

local function labels_of_selector(spec)
  local labels = (spec.selector or {}).matchLabels
  return labels and next(labels) ~= nil and labels or nil
end

-- --- mTLS --------------------------------------------------------------------------------------------------

-- The policy of each scope that holds for the workload.
local function scopes(objects, workload, root)
  local mesh, namespace, own = {}, {}, {}
  for _, policy in ipairs(M.of_kind(objects, "PeerAuthentication")) do
    local labels, place = labels_of_selector(policy.spec or {}), M.namespace(policy)
    if not labels and place == root then mesh[#mesh + 1] = policy
    elseif not labels and place == workload.namespace then namespace[#namespace + 1] = policy
    elseif labels and place == workload.namespace and place ~= root and M.selects(labels, workload.labels or {}) then
      own[#own + 1] = policy
    end
  end
  return oldest(mesh), oldest(namespace), oldest(own)
end

local function mode_of(policy)
  local mode = ((policy.spec or {}).mtls or {}).mode
  return mode ~= "UNSET" and mode or nil
end

---The mode of a workload's port: "STRICT", "PERMISSIVE" or "DISABLE", and the policy that says so.
---@param objects table[]
---@param workload {namespace: string, labels: table?}
---@param port integer?
---@param options {root_namespace: string?}
---@return string mode, table? policy, string? field
function M.mode(objects, workload, port, options)
  local mesh, namespace, own = scopes(objects, workload, options.root_namespace or "istio-system")
  local ports = own and (own.spec or {}).portLevelMtls or {}
  local at_port = port and (ports[tostring(port)] or ports[port])
  local mode = at_port and at_port.mode
  if mode and mode ~= "UNSET" then return mode, own, ("portLevelMtls[%d].mode"):format(port) end
  for _, policy in ipairs { own or false, namespace or false, mesh or false } do
    if policy and mode_of(policy) then return mode_of(policy), policy, "mtls.mode" end
  end
  return "PERMISSIVE"
end

-- --- the client's side ---------------------------------------------------------------------------------------

local function full_name(host, namespace)
  if host:find("*", 1, true) then return host end
  local _, dots = host:gsub("%.", "")
  if dots == 0 then return ("%s.%s.svc.cluster.local"):format(host, namespace) end
  if dots == 1 then return host .. ".svc.cluster.local" end
  return (host:gsub("%.svc$", ".svc.cluster.local"))
end

M.full_name = full_name

-- The rule for a host: of the client's namespace before the server's before the root's.
local function destination_rule(objects, client, server, root)
  local host = full_name(server.host, server.namespace)
  local order = { client.namespace, server.namespace, root }
  for _, namespace in ipairs(order) do
    local best
    for _, rule in ipairs(M.of_kind(objects, "DestinationRule")) do
      local wanted = full_name((rule.spec or {}).host or "", M.namespace(rule))
      local fits = M.namespace(rule) == namespace and match.text(wanted, host)
      if fits and (not best or #wanted > #full_name(best.spec.host, M.namespace(best))) then best = rule end
    end
    if best then return best end
  end
end

local function tls_of(rule, port)
  local policy = (rule.spec or {}).trafficPolicy or {}
  for _, level in ipairs(policy.portLevelSettings or {}) do
    if (level.port or {}).number == port and level.tls then return level.tls end
  end
  return policy.tls
end

-- Which hosts a client's proxy knows: those of the Sidecar that selects it, of its namespace, of the root.
local function sidecar_of(objects, client, root)
  local selected, plain, default = {}, {}, {}
  for _, sidecar in ipairs(M.of_kind(objects, "Sidecar")) do
    local labels = ((sidecar.spec or {}).workloadSelector or {}).labels
    local place = M.namespace(sidecar)
    if labels and place == client.namespace and M.selects(labels, client.labels or {}) then
      selected[#selected + 1] = sidecar
    elseif not labels and place == client.namespace then plain[#plain + 1] = sidecar
    elseif not labels and place == root then default[#default + 1] = sidecar end
  end
  return oldest(selected) or oldest(plain) or oldest(default)
end

---Whether a client's proxy knows a host.
---@param objects table[]
---@param client {namespace: string, labels: table?}
---@param server {namespace: string, host: string}
---@param options {root_namespace: string?}
---@return boolean known, table? sidecar
function M.knows(objects, client, server, options)
  local sidecar = sidecar_of(objects, client, options.root_namespace or "istio-system")
  if not sidecar or #((sidecar.spec or {}).egress or {}) == 0 then return true, sidecar end
  local host = full_name(server.host, server.namespace)
  for _, egress in ipairs(sidecar.spec.egress) do
    for _, entry in ipairs(egress.hosts or {}) do
      local namespace, name = entry:match "^(.-)/(.+)$"
      if namespace == "." then namespace = client.namespace end
      if (namespace == "*" or namespace == server.namespace) and match.text(name, host) then return true, sidecar end
    end
  end
  return false, sidecar
end

---What a client sends to a workload: "mtls" (with its identity), "plaintext", or "tls" (without it).
---@param objects table[]
---@param client {namespace: string, labels: table?, sidecar: boolean}
---@param server {namespace: string, host: string, port: integer, labels: table} labels of the pod that answers
---@param options {root_namespace: string?}?
---@return "mtls"|"plaintext"|"tls" kind, string why
function M.client(objects, client, server, options)
  options = options or {}
  local root = options.root_namespace or "istio-system"
  if not client.sidecar then return "plaintext", "the client has no proxy" end
  local known, sidecar = M.knows(objects, client, server, options)
  if not known then return "plaintext", ("Sidecar %s leaves the host out: passed through"):format(M.title(sidecar)) end
  local rule = destination_rule(objects, client, server, root)
  local tls = rule and tls_of(rule, server.port)
  if tls and tls.mode then
    local kind = tls.mode == "ISTIO_MUTUAL" and "mtls" or tls.mode == "DISABLE" and "plaintext" or "tls"
    return kind, ("DestinationRule %s says %s"):format(M.title(rule), tls.mode)
  end
  if (server.labels or {})["security.istio.io/tlsMode"] ~= "istio" then
    return "plaintext", "the server's pod has no proxy"
  end
  local mode, policy = M.mode(objects, server, server.port, options)
  if mode == "DISABLE" then return "plaintext", ("PeerAuthentication %s disables it"):format(M.title(policy)) end
  return "mtls", "automatic"
end

-- --- tokens ----------------------------------------------------------------------------------------------------

local function contains(list, value)
  for _, item in ipairs(list or {}) do
    if item == value then return true end
  end
  return false
end

local function audience_fits(rule, claims)
  if not rule.audiences or #rule.audiences == 0 then return true end
  local given = type(claims.aud) == "table" and claims.aud or { claims.aud }
  for _, audience in ipairs(given) do
    if contains(rule.audiences, audience) then return true end
  end
  return false
end

-- Whether the token is where the rule looks for it.
local function is_seen(rule, request)
  local headers = request.headers
  if not rule.fromHeaders and not rule.fromParams and not rule.fromCookies then return true end
  for _, place in ipairs(rule.fromHeaders or {}) do
    local value = headers[place.name:lower()]
    if value and value:sub(1, #(place.prefix or "")) == (place.prefix or "") then return true end
    -- A request that gives claims without the header that carried them: the usual place is meant.
    if not value and place.name:lower() == "authorization" then return true end
  end
  local query = (request.path or ""):match "%?(.*)$" or ""
  for _, name in ipairs(rule.fromParams or {}) do
    if ("&" .. query):find("&" .. name .. "=", 1, true) then return true end
  end
  for _, name in ipairs(rule.fromCookies or {}) do
    if ("; " .. (headers.cookie or "")):find("; " .. name .. "=", 1, true) then return true end
  end
  return false
end

---The rules of all RequestAuthentications that hold for a workload.
---@param policies table[] that select the workload
---@return {rule: table, policy: table}[]
local function jwt_rules(policies)
  local list = {}
  for _, policy in ipairs(policies) do
    for _, rule in ipairs((policy.spec or {}).jwtRules or {}) do list[#list + 1] = { rule = rule, policy = policy } end
  end
  return list
end

local function is_preflight(request)
  return request.method == "OPTIONS" and request.headers.origin ~= nil
    and request.headers["access-control-request-method"] ~= nil
end

local function claim_text(claims, name)
  local value = claims
  for key in name:gmatch "[^.]+" do
    if type(value) ~= "table" then return nil end
    value = value[key]
  end
  if value == nil or value == json.null then return nil end
  if type(value) ~= "table" then return tostring(value) end
  return json.is_array(value) and table.concat(value, ",") or nil
end

-- Headers that rules write are the proxy's own: what a client sends in them is taken away.
local function write_headers(request, rules, accepted)
  for _, entry in ipairs(rules) do
    for _, output in ipairs(entry.rule.outputClaimToHeaders or {}) do
      request.headers[(output.header or ""):lower()] = nil
    end
  end
  for _, output in ipairs(accepted and accepted.rule.outputClaimToHeaders or {}) do
    request.headers[(output.header or ""):lower()] = claim_text(request.claims, output.claim or "")
  end
end

---Verifies the request's token against the rules; takes claims away that nobody verifies.
---@param policies table[] RequestAuthentications that select the workload
---@param request table {claims, token, headers, method, path}; claims and headers are changed
---@return boolean accepted, table? policy, string? field, table? entry because of what it is not; the rule that took it
function M.verify(policies, request)
  local rules = jwt_rules(policies)
  if is_preflight(request) then
    request.claims = nil
    return true
  end
  if #rules == 0 then
    request.claims = nil
    return true
  end
  local bad = request.token == "invalid" or request.token == "expired"
  if not request.claims and not bad then
    write_headers(request, rules, nil)
    return true
  end
  local seen, refused
  for _, entry in ipairs(rules) do
    if is_seen(entry.rule, request) then
      seen = true
      local fits = not bad and entry.rule.issuer == request.claims.iss
      if fits and audience_fits(entry.rule, request.claims) then
        write_headers(request, rules, entry)
        return true, nil, nil, entry
      end
      refused = refused or { entry.policy, fits and "jwtRules.audiences" or "jwtRules.issuer" }
    end
  end
  if not seen then
    request.claims = nil
    write_headers(request, rules, nil)
    return true
  end
  return false, refused[1], bad and "token" or refused[2]
end

return M
