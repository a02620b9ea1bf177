-- One rule of an AuthorizationPolicy against one request.
-- Not for choosing policies: see authorization.
--   local holds, field = rules.matches(rule, request, { policy_namespace = "team", action = "ALLOW" })
local json = require "json"
local match = require "istio.match"

local M = {}

---@class istio.Facts what a rule is compared with
---@field principal string? of the peer, without spiffe://
---@field ip string?
---@field remote_ip string?
---@field port integer?
---@field destination_ip string?
---@field host string?
---@field method string?
---@field path string? normalized
---@field headers table<string, string> lower-case names
---@field claims table? of a token that was verified
---@field sni string?
---@field attributes table<string, string|string[]>?
---@field http boolean

-- Whether any of the values is one that the test accepts.
local function any(values, test)
  for _, value in ipairs(values) do
    if test(tostring(value)) then return true end
  end
  return false
end

-- --- fields ------------------------------------------------------------------------------------------------

local function namespace_of(facts)
  local _, namespace = match.identity(facts.principal)
  return namespace
end

-- Of a header "*" is any value, the empty one too: what counts is that the header is there.
local function header_text(pattern, value)
  if pattern == "*" then return value ~= nil end
  return match.text(pattern, value)
end

-- By name: the test, and whether only HTTP has it.
local SOURCE = {
  principals = { test = function(facts, context)
    return function(v) return match.principal(v, facts.principal, context.options) end
  end },
  namespaces = { test = function(facts)
    return function(v) return match.glob(v, namespace_of(facts)) end
  end },
  serviceAccounts = { test = function(facts, context)
    return function(v) return match.service_account(v, facts.principal, context.policy_namespace) end
  end },
  trustDomains = { test = function(facts, context)
    return function(v) return match.trust_domain(v, (match.identity(facts.principal)), context.options) end
  end },
  ipBlocks = { test = function(facts)
    return function(v) return match.address(v, facts.ip) end
  end },
  remoteIpBlocks = { test = function(facts)
    return function(v) return match.address(v, facts.remote_ip) end
  end },
  requestPrincipals = { http = true, test = function(facts)
    return function(v) return match.request_principal(v, facts.claims) end
  end },
}

local OPERATION = {
  hosts = { http = true, test = function(facts)
    local host = facts.host and facts.host:lower()
    return function(v) return header_text(v:lower(), host) end
  end },
  ports = { test = function(facts)
    return function(v) return facts.port ~= nil and v == tostring(facts.port) end
  end },
  methods = { http = true, test = function(facts)
    return function(v) return match.text(v, facts.method) end
  end },
  paths = { http = true, test = function(facts)
    return function(v) return match.path(v, facts.path) end
  end },
}

-- In the order in which they are looked at.
local SOURCE_ORDER = {
  "principals", "namespaces", "serviceAccounts", "trustDomains", "requestPrincipals", "ipBlocks", "remoteIpBlocks",
}
local OPERATION_ORDER = { "hosts", "ports", "methods", "paths" }

local function negated(name)
  return "not" .. name:sub(1, 1):upper() .. name:sub(2)
end

-- --- conditions -----------------------------------------------------------------------------------------------

-- All texts of a claim: itself, the members of a list, the words of a text that is a list in disguise.
local function claim_values(claims, keys, spaced)
  local value = claims
  for _, key in ipairs(keys) do
    if type(value) ~= "table" then return {} end
    value = value[key]
  end
  if value == nil or value == json.null then return {} end
  if type(value) == "table" then return value end
  if type(value) == "string" and #keys == 1 and spaced[keys[1]] and value:find " " then
    local words = {}
    for word in value:gmatch "%S+" do words[#words + 1] = word end
    return words
  end
  return { value }
end

local function claims_test(facts, keys, context)
  local spaced = { scope = true, permission = true }
  for _, name in ipairs(context.space_delimited or {}) do spaced[name] = true end
  local values = claim_values(facts.claims or {}, keys, spaced)
  return function(pattern)
    for _, value in ipairs(values) do -- only texts are compared: no number and no true
      if type(value) == "string" and match.text(pattern, value) then return true end
    end
    return false
  end
end

local function bracket_keys(text)
  local keys = {}
  for key in text:gmatch "%[([^%]]*)%]" do keys[#keys + 1] = key end
  return keys
end

local KEYS = {
  ["source.ip"] = { test = SOURCE.ipBlocks.test },
  ["remote.ip"] = { test = SOURCE.remoteIpBlocks.test },
  ["source.namespace"] = { test = SOURCE.namespaces.test },
  ["source.principal"] = { test = SOURCE.principals.test },
  ["source.serviceAccount"] = { test = SOURCE.serviceAccounts.test },
  ["source.trustDomain"] = { test = SOURCE.trustDomains.test },
  ["request.auth.principal"] = { http = true, test = SOURCE.requestPrincipals.test },
  ["request.auth.audiences"] = { http = true, test = function(facts, context)
    return claims_test(facts, { "aud" }, context)
  end },
  ["request.auth.presenter"] = { http = true, test = function(facts, context)
    return claims_test(facts, { "azp" }, context)
  end },
  ["destination.ip"] = { test = function(facts)
    return function(v) return match.address(v, facts.destination_ip) end
  end },
  ["destination.port"] = { test = OPERATION.ports.test },
  ["connection.sni"] = { test = function(facts)
    return function(v) return match.text(v, facts.sni) end
  end },
}

---What a key of `when` asks for; nil for one that nobody knows.
---@param key string
---@return {test: function, http: boolean?}?
function M.key(key)
  if KEYS[key] then return KEYS[key] end
  local header = key:match "^request%.headers%[(.+)%]$"
  if header then
    return { http = true, test = function(facts)
      return function(v) return header_text(v, facts.headers[header:lower()]) end
    end }
  end
  local claims = key:match "^request%.auth%.claims(%[.+%])$"
  if claims then
    return { http = true, test = function(facts, context) return claims_test(facts, bracket_keys(claims), context) end }
  end
  if key:find "^experimental%.envoy%.filters%." then
    return { test = function(facts)
      local value = (facts.attributes or {})[key]
      return function(v)
        if type(value) ~= "table" then return match.text(v, value) end
        local inner = v:match "^%[(.*)%]$" -- in brackets: a member of a list
        return inner ~= nil and any(value, function(member) return match.text(inner, member) end)
      end
    end }
  end
end

-- --- clauses ------------------------------------------------------------------------------------------------------

-- A source or an operation: all its fields, but those that are not seen on this connection. The name of the first
-- that fails; whether anything was left to compare.
local function check_object(object, order, fields, prefix, facts, context)
  local left = false
  for _, name in ipairs(order) do
    local field = fields[name]
    for _, entry in ipairs { { name, true }, { negated(name), false } } do
      local values = object[entry[1]]
      if values and #values > 0 and (facts.http or not field.http) then
        if any(values, field.test(facts, context)) ~= entry[2] then return false, prefix .. entry[1] end
        left = true
      end
    end
  end
  return true, nil, left
end

-- A list of sources or operations: any of them. Of those that fail, the field of the last one is told.
local function check_any(list, member, order, fields, facts, context)
  if not list or #list == 0 then return true end
  local failed
  for _, entry in ipairs(list) do
    local result, field, left = check_object(entry[member] or {}, order, fields, member .. ".", facts, context)
    -- The node proxy finds nothing left to compare in a DENY: such a clause matches nothing.
    if result and context.ztunnel and not left and next(entry[member] or {}) ~= nil then
      result, field = false, member
    end
    if result then return true end
    failed = field
  end
  return false, failed
end

-- The keys that the node proxy of an ambient mesh knows.
local NODE_KEYS = {
  ["source.ip"] = true, ["source.namespace"] = true, ["source.principal"] = true, ["destination.ip"] = true,
  ["destination.port"] = true,
}

local function check_when(conditions, facts, context)
  local left = false
  for _, condition in ipairs(conditions or {}) do
    local key = M.key(condition.key or "")
    local field = "when." .. tostring(condition.key)
    if not key then return false, field end
    local unseen = (key.http and not facts.http) or (context.ztunnel and not NODE_KEYS[condition.key])
    if unseen and context.action ~= "DENY" then return false, field end
    if not unseen then
      left = true
      local test = key.test(facts, context)
      if #(condition.values or {}) > 0 and not any(condition.values, test) then return false, field end
      if any(condition.notValues or {}, test) then return false, field end
    end
  end
  if context.ztunnel and #(conditions or {}) > 0 and not left then return false, "when" end
  return true
end

---Whether a rule matches. When it does not, the field because of which. Where HTTP is not spoken, a DENY forgets the
---fields that need it, and so becomes wider; in an ALLOW the whole rule is lost.
---@param rule table
---@param facts istio.Facts
---@param context {action: string, policy_namespace: string, options: table, ztunnel: boolean?, space_delimited: table?}
---@return boolean matches, string? field
function M.matches(rule, facts, context)
  if not facts.http and context.action ~= "DENY" then
    local lost = M.http_fields(rule)[1]
    if lost then return false, lost end
  end
  for _, part in ipairs {
    { "from", "source", SOURCE_ORDER, SOURCE }, { "to", "operation", OPERATION_ORDER, OPERATION },
  } do
    local result, field = check_any(rule[part[1]], part[2], part[3], part[4], facts, context)
    if not result then return false, field end
  end
  return check_when(rule.when, facts, context)
end

---What a rule says of HTTP, by name; empty when it can be decided on any connection.
---@param rule table
---@return string[]
function M.http_fields(rule)
  local found = {}
  local function look(list, member, order, fields)
    for _, entry in ipairs(list or {}) do
      for _, name in ipairs(order) do
        for _, key in ipairs { name, negated(name) } do
          local values = (entry[member] or {})[key]
          if fields[name].http and values and #values > 0 then found[#found + 1] = member .. "." .. key end
        end
      end
    end
  end
  look(rule.from, "source", SOURCE_ORDER, SOURCE)
  look(rule.to, "operation", OPERATION_ORDER, OPERATION)
  for _, condition in ipairs(rule.when or {}) do
    local key = M.key(condition.key or "")
    if key and key.http then found[#found + 1] = "when." .. condition.key end
  end
  return found
end

M.SOURCE, M.OPERATION = SOURCE_ORDER, OPERATION_ORDER
M.negated = negated

return M
