-- Random policies and requests: istio.allowed against a second implementation that is slow and simple.
local istio = require "istio"
local json = require "json"
local test = require "test"

local random = require "katib.random".new(20260101, 7)

local function pick(list) return list[random:integer(#list)] end
local function chance(p) return random:uniform() < p end

local function some(list, most)
  local out = {}
  for i = 1, random:integer(most or 2) do out[i] = pick(list) end
  return out
end

-- --- making --------------------------------------------------------------------------------------------------

local VALUES = {
  principals = { "*", "cluster.local/ns/a/sa/x", "cluster.local/ns/a/*", "*/sa/y", "td/ns/b/sa/y", "old/ns/b/sa/y" },
  namespaces = { "a", "b", "*", "a*", "*c" },
  serviceAccounts = { "x", "a/x", "b/y" },
  trustDomains = { "cluster.local", "td", "*", "*local" },
  requestPrincipals = { "*", "iss/u", "iss/*", "other/u" },
  ipBlocks = { "10.0.0.0/8", "10.1.0.0/16", "10.1.2.3", "0.0.0.0/0" },
  hosts = { "web", "WEB", "*.team", "web.*", "*" },
  ports = { "80", "81", "90" },
  methods = { "GET", "P*", "*", "get" },
  paths = { "/", "/a", "/a/*", "*/b", "*", "/a/{*}", "/{**}" },
  ["request.headers[h]"] = { "1", "*", "1*" },
  ["request.headers[user]"] = { "*", "u" },
  ["source.namespace"] = { "a", "b" },
  ["source.principal"] = { "*", "cluster.local/ns/a/sa/x" },
  ["source.ip"] = { "10.1.0.0/16", "11.0.0.0/8" },
  ["destination.port"] = { "80", "90" },
  ["request.auth.claims[g]"] = { "p", "q*", "*" },
  ["request.auth.audiences"] = { "k" },
  ["no.such.key"] = { "x" },
}
local SOURCE = { "principals", "namespaces", "serviceAccounts", "trustDomains", "requestPrincipals", "ipBlocks" }
local OPERATION = { "hosts", "ports", "methods", "paths" }
local KEYS = { "request.headers[h]", "request.headers[user]", "source.namespace", "source.principal", "source.ip",
  "destination.port", "request.auth.claims[g]", "request.auth.audiences", "no.such.key" }

local function make_object(names)
  local object = {}
  for _ = 1, random:integer(2) do
    local name = pick(names)
    local field = chance(0.3) and "not" .. name:sub(1, 1):upper() .. name:sub(2) or name
    object[field] = some(VALUES[name])
  end
  return object
end

local function make_rule()
  local rule = {}
  if chance(0.6) then
    rule.from = {}
    for i = 1, random:integer(2) do rule.from[i] = { source = make_object(SOURCE) } end
  end
  if chance(0.5) then
    rule.to = {}
    for i = 1, random:integer(2) do rule.to[i] = { operation = make_object(OPERATION) } end
  end
  if chance(0.4) then
    rule.when = {}
    for i = 1, random:integer(2) do
      local key = chance(0.05) and "no.such.key" or KEYS[random:integer(#KEYS - 1)]
      local condition = { key = key }
      if chance(0.7) then condition.values = some(VALUES[key]) end
      if chance(0.4) or not condition.values then condition.notValues = some(VALUES[key], 1) end
      rule.when[i] = condition
    end
  end
  return rule
end

local function make_policy(index)
  local rules = {}
  for i = 1, random:integer(3) - 1 do rules[i] = make_rule() end
  return { apiVersion = "security.istio.io/v1", kind = "AuthorizationPolicy",
    metadata = { name = "p" .. index, namespace = pick { "team", "team", "istio-system", "other" } },
    spec = { action = pick { "ALLOW", "ALLOW", "DENY", "AUDIT" }, rules = rules,
      selector = chance(0.3) and { matchLabels = { app = pick { "web", "db" } } } or nil } }
end

local function make_peer_authentication()
  local selected = chance(0.4)
  return { apiVersion = "security.istio.io/v1", kind = "PeerAuthentication",
    metadata = { name = pick { "d", "e" }, namespace = pick { "team", "istio-system", "other" } },
    spec = { mtls = { mode = pick { "STRICT", "PERMISSIVE", "DISABLE", "UNSET" } },
      selector = selected and { matchLabels = { app = "web" } } or nil,
      portLevelMtls = selected and { ["80"] = { mode = pick { "STRICT", "PERMISSIVE", "UNSET" } } } or nil } }
end

local function make_objects()
  local objects = {}
  for i = 1, random:integer(4) - 1 do objects[#objects + 1] = make_policy(i) end
  if chance(0.3) then objects[#objects + 1] = make_peer_authentication() end
  if chance(0.4) then
    objects[#objects + 1] = { apiVersion = "security.istio.io/v1", kind = "RequestAuthentication",
      metadata = { name = "r", namespace = "team" }, spec = { jwtRules = { { issuer = pick { "iss", "iss",
        "far" } } } } }
  end
  return objects
end

local function make_request()
  return {
    source = { ip = pick { "10.1.2.3", "10.2.0.1", "11.0.0.1" }, principal = chance(0.7) and pick {
      "cluster.local/ns/a/sa/x", "td/ns/b/sa/y", "old/ns/b/sa/y", "far/ns/c/sa/x" } or nil },
    method = pick { "GET", "POST" }, path = pick { "/", "/a", "/a/b", "/a/b/c", "/b?x=/a" }, port = pick { 80, 81, 90 },
    host = pick { "web", "web.team", "Web.Team", "db:80" },
    headers = { h = pick { "1", "12", "2" }, user = chance(0.5) and pick { "u", "" } or nil },
    claims = chance(0.5) and { iss = "iss", sub = "u", aud = pick { "k", "l" }, g = pick { "p", { "qq",
      "r" } } } or nil,
  }
end

-- --- the second implementation --------------------------------------------------------------------------------

local WORKLOAD = { namespace = "team", labels = { app = "web" }, ports = { [90] = "tcp" } }
local OPTIONS = { trust_domain = "td", trust_domain_aliases = { "old" } }

local function like(pattern, value)
  if value == nil then return false end
  if pattern == "*" then return #value > 0 end
  local first, last = pattern:sub(1, 1) == "*", pattern:sub(-1) == "*"
  if last then return value:find(pattern:sub(1, -2), 1, true) == 1 end
  if first then return value:reverse():find(pattern:sub(2):reverse(), 1, true) == 1 end
  return pattern == value
end

local function number_of(ip)
  local a, b, c, d = ip:match "(%d+)%.(%d+)%.(%d+)%.(%d+)"
  return ((a * 256 + b) * 256 + c) * 256 + d
end

local function in_block(block, ip)
  local base, length = block:match "^([%d.]+)/(%d+)$"
  local size = 2 ^ (32 - (length or 32))
  return number_of(base or block) // size == number_of(ip) // size
end

-- Whether one value of one field fits the request.
local function fits(name, value, request, policy)
  local principal = request.source.principal
  local domain, namespace, account
  if principal then domain, namespace, account = principal:match "^(.*)/ns/(.*)/sa/(.*)$" end
  local claims = request.claims
  if name == "principals" or name == "source.principal" then
    local own, rest = value:match "^([^/]*)(/ns/[^/]*/sa/[^/]*)$"
    if own == nil then own, rest = value:match "^([^/*]*)(/ns/[^/]*/%*)$" end
    local five = select(2, value:gsub("/", "")) == 4
    if five and own and (own == "cluster.local" or own == "td" or own == "old") then
      return like("td" .. rest, principal) or like("old" .. rest, principal)
    end
    return like(value, principal)
  elseif name == "namespaces" or name == "source.namespace" then
    return namespace ~= nil and namespace:find("^" .. value:gsub("%*", ".*") .. "$") ~= nil
  elseif name == "serviceAccounts" then
    local full = value:find "/" and value or policy.metadata.namespace .. "/" .. value
    return namespace ~= nil and full == namespace .. "/" .. account
  elseif name == "trustDomains" then
    if value == "td" or value == "old" then return domain == "td" or domain == "old" end
    return like(value, domain)
  elseif name == "requestPrincipals" then
    return claims ~= nil and like(value, claims.iss .. "/" .. claims.sub)
  elseif name == "ipBlocks" or name == "source.ip" then return in_block(value, request.source.ip)
  elseif name == "hosts" then return like(value:lower(), request.host:lower())
  elseif name == "ports" or name == "destination.port" then return value == tostring(request.port)
  elseif name == "methods" then return like(value, request.method)
  elseif name == "paths" then
    local path = request.path:gsub("%?.*", "")
    if value == "/a/{*}" then return path:find "^/a/[^/]+$" ~= nil end
    if value == "/{**}" then return path:sub(1, 1) == "/" end
    return like(value, path)
  elseif name == "request.headers[h]" then return like(value, request.headers.h)
  elseif name == "request.headers[user]" then
    return value == "*" and request.headers.user ~= nil or request.headers.user == value
  elseif name == "request.auth.claims[g]" then
    local g = claims and claims.g or {}
    for _, member in ipairs(type(g) == "table" and g or { g }) do
      if like(value, member) then return true end
    end
    return false
  elseif name == "request.auth.audiences" then return claims ~= nil and like(value, claims.aud) end
  error(name)
end

local HTTP = { requestPrincipals = true, hosts = true, methods = true, paths = true, ["request.headers[h]"] = true,
  ["request.headers[user]"] = true, ["request.auth.claims[g]"] = true, ["request.auth.audiences"] = true }

-- true, false, or nil when the rule is lost.
local function holds(name, values, wanted, request, policy, http)
  if HTTP[name] and not http then
    if policy.spec.action == "ALLOW" then return nil end
    return true
  end
  local any = false
  for _, value in ipairs(values) do any = any or fits(name, value, request, policy) end
  return any == wanted
end

local function object_holds(object, request, policy, http)
  for field, values in pairs(object) do
    local plain = field:match "^not(%u.*)$"
    local name = plain and plain:sub(1, 1):lower() .. plain:sub(2) or field
    local result = holds(name, values, plain == nil, request, policy, http)
    if result ~= true then return result end
  end
  return true
end

-- Whether an ALLOW rule has something that TCP lacks anywhere: then it is lost, whatever else it says.
local function says_http(rule)
  local function look(list, member)
    for _, entry in ipairs(list or {}) do
      for field in pairs(entry[member]) do
        local plain = field:match "^not(%u.*)$"
        if HTTP[plain and plain:sub(1, 1):lower() .. plain:sub(2) or field] then return true end
      end
    end
  end
  for _, condition in ipairs(rule.when or {}) do
    if HTTP[condition.key] then return true end
  end
  return look(rule.from, "source") or look(rule.to, "operation")
end

local function rule_holds(rule, request, policy, http)
  if not http and policy.spec.action == "ALLOW" and says_http(rule) then return false end
  for _, condition in ipairs(rule.when or {}) do
    if condition.key == "no.such.key" then return false end
  end
  for _, part in ipairs { { rule.from, "source" }, { rule.to, "operation" } } do
    local any = part[1] == nil
    for _, entry in ipairs(part[1] or {}) do
      any = any or object_holds(entry[part[2]], request, policy, http) == true
    end
    if not any then return false end
  end
  for _, condition in ipairs(rule.when or {}) do
    if condition.values and holds(condition.key, condition.values, true, request, policy, http) ~= true then
      return false
    end
    if condition.notValues and holds(condition.key, condition.notValues, false, request, policy, http) ~= true then
      return false
    end
  end
  return true
end

local function mode_of(objects, port)
  local mesh, namespace, own
  for _, object in ipairs(objects) do
    if object.kind == "PeerAuthentication" then
      local place, selected = object.metadata.namespace, object.spec.selector ~= nil
      if not selected and place == "istio-system" then mesh = object end
      if not selected and place == "team" then namespace = object end
      if selected and place == "team" then own = object end
    end
  end
  local function set(mode) return mode ~= "UNSET" and mode or nil end
  local of_port = own and port == 80 and set(own.spec.portLevelMtls["80"].mode)
  return of_port or (own and set(own.spec.mtls.mode)) or (namespace and set(namespace.spec.mtls.mode))
    or (mesh and set(mesh.spec.mtls.mode)) or "PERMISSIVE"
end

local function decide(objects, request)
  local http, mutual = request.port ~= 90, request.source.principal ~= nil
  local mode = mode_of(objects, request.port)
  if (mode == "STRICT" and not mutual) or (mode == "DISABLE" and mutual) then return "false mtls" end
  local verifier
  for _, object in ipairs(objects) do
    if object.kind == "RequestAuthentication" then verifier = object end
  end
  if request.claims and http and verifier and verifier.spec.jwtRules[1].issuer ~= request.claims.iss then
    return "false jwt"
  end
  if not verifier or not http then request.claims = nil end
  local has_allow, allowed = false, false
  for _, action in ipairs { "DENY", "ALLOW" } do
    for _, policy in ipairs(objects) do
      local place, selector = policy.metadata.namespace, policy.spec.selector
      local here = (place == "team" or place == "istio-system") and (not selector or selector.matchLabels.app == "web")
      if policy.kind == "AuthorizationPolicy" and policy.spec.action == action and here then
        has_allow = has_allow or action == "ALLOW"
        for _, rule in ipairs(policy.spec.rules) do
          local matches = rule_holds(rule, request, policy, http)
          if matches and action == "DENY" then return "false deny" end
          allowed = allowed or (matches and action == "ALLOW")
        end
      end
    end
  end
  return tostring(not has_allow or allowed) .. " allow"
end

test("6,000 random cases come out as in the second implementation", function()
  local answers = {}
  for i = 1, 6000 do
    local objects, request = make_objects(), make_request()
    local text = json.encode { objects = objects, request = request }
    local ok, why = istio.allowed(objects, WORKLOAD, request, OPTIONS)
    local got, want = tostring(ok) .. " " .. why.stage, decide(objects, request)
    if got ~= want then error(("case %d: got %s, want %s: %s"):format(i, got, want, text)) end
    answers[got] = (answers[got] or 0) + 1
  end
  for _, answer in ipairs { "true allow", "false allow", "false deny", "false mtls", "false jwt" } do
    assert((answers[answer] or 0) > 100, answer .. " is rare: " .. json.encode(answers))
  end
end)
