-- Rules for PeerAuthentication and RequestAuthentication. A part of istio.validate.
local json = require "json"

local M = {}

local MODES = { "UNSET", "DISABLE", "PERMISSIVE", "STRICT" }

---@param checker istio.Checker
---@param spec table
function M.PeerAuthentication(checker, spec)
  checker:targeting(spec)
  checker:one_of("spec.mtls.mode", (spec.mtls or {}).mode, MODES)
  local ports = spec.portLevelMtls
  if ports == nil then return end
  local labels = (spec.selector or {}).matchLabels
  if not labels or next(labels) == nil then
    checker:error("spec.portLevelMtls", "portLevelMtls requires selector")
  end
  if next(ports) == nil then
    checker:error("spec.portLevelMtls", "port level mTLS, if defined, must have at least one element")
  end
  for port, level in pairs(ports) do
    local path = ("spec.portLevelMtls[%s]"):format(tostring(port))
    checker:port(path, port)
    checker:one_of(path .. ".mode", (level or {}).mode, MODES)
  end
end

-- --- tokens ----------------------------------------------------------------------------------------------------

local function is_url(text)
  local authority = text:match "^https?://([^/%s?#]+)"
  if not authority then return false end
  local port = authority:match ":([^%]:]*)$"
  return port == nil or port:find "^%d+$" ~= nil and tonumber(port) <= 65535
end

local UNITS = { ns = 1e-9, us = 1e-6, ["µs"] = 1e-6, ms = 1e-3, s = 1, m = 60, h = 3600 }

-- The seconds of a duration, "1h2m3.5s"; nil for what is none.
local function seconds_of(text)
  local total, rest = 0, tostring(text)
  while rest ~= "" do
    local number, unit, more = rest:match "^([%d.]+)([^%d.]+)(.*)$"
    if not number or not UNITS[unit] or not tonumber(number) then return nil end
    total, rest = total + tonumber(number) * UNITS[unit], more
  end
  return text ~= "" and total or nil
end

local PRIVATE = { "d", "p", "q", "dp", "dq", "qi", "k" }

local function check_keys(checker, path, text)
  local keys, problem = json.try.decode(text)
  if not keys then return checker:error(path, "parse jwks error: %s", problem.message) end
  if type(keys) ~= "table" or type(keys.keys) ~= "table" then return checker:error(path, "jwks has no keys") end
  for _, key in ipairs(keys.keys) do
    for _, name in ipairs(PRIVATE) do
      if type(key) == "table" and key[name] then return checker:warning(path, "jwks contains private key material") end
    end
  end
end

local function check_names(checker, path, list, message)
  for i, name in ipairs(list or {}) do
    if name == "" then checker:error(("%s[%d]"):format(path, i - 1), message) end
  end
end

local function check_places(checker, path, rule)
  for i, place in ipairs(rule.fromHeaders or {}) do
    if (place.name or "") == "" then
      checker:error(("%s.fromHeaders[%d].name"):format(path, i - 1), "location header name must be non-empty string")
    end
  end
  check_names(checker, path .. ".fromParams", rule.fromParams, "location query must be non-empty string")
  check_names(checker, path .. ".fromCookies", rule.fromCookies, "cookie name must be non-empty string")
  check_names(checker, path .. ".audiences", rule.audiences, "audience must be non-empty string")
  check_names(checker, path .. ".spaceDelimitedClaims", rule.spaceDelimitedClaims, "claim must be non-empty string")
end

local function check_outputs(checker, path, rule)
  for i, output in ipairs(rule.outputClaimToHeaders or {}) do
    local place = ("%s.outputClaimToHeaders[%d]"):format(path, i - 1)
    if (output.header or "") == "" or (output.claim or "") == "" then
      checker:error(place, "outputClaimToHeaders header and claim value must be non-empty string")
    elseif not output.header:find "^[-_%w]+$" then
      checker:error(place .. ".header", "invalid HTTP header name %s", output.header)
    end
  end
end

local function check_jwt_rule(checker, path, rule)
  local jwks_uri = rule.jwksUri or rule.jwks_uri or ""
  if (rule.issuer or "") == "" and jwks_uri == "" and (rule.jwks or "") == "" then
    checker:error(path .. ".issuer", "issuer or jwksUri must be set")
  end
  if jwks_uri ~= "" and (rule.jwks or "") ~= "" then
    checker:error(path, "only one of jwks or jwksUri can be set")
  end
  if jwks_uri ~= "" and not is_url(jwks_uri) then
    checker:error(path .. ".jwksUri", "url must have scheme http:// or https://")
  end
  if (rule.jwks or "") ~= "" then check_keys(checker, path .. ".jwks", rule.jwks) end
  local timeout = rule.timeout and (seconds_of(rule.timeout) or 0)
  if timeout and timeout < 0.001 then
    checker:error(path .. ".timeout", "must be a valid duration greater than 1ms")
  end
  checker:one_of(path .. ".presence", rule.presence, { "UNSET", "UNSPECIFIED", "OPTIONAL", "REQUIRED" })
  check_places(checker, path, rule)
  check_outputs(checker, path, rule)
end

---@param checker istio.Checker
---@param spec table
---@param object table
function M.RequestAuthentication(checker, spec, object)
  if ((object.metadata or {}).annotations or {})["istio.io/dry-run"] then
    checker:error("metadata.annotations[istio.io/dry-run]", "a dry run is for AuthorizationPolicy only")
  end
  checker:targeting(spec)
  for i, rule in ipairs(spec.jwtRules or {}) do
    check_jwt_rule(checker, ("spec.jwtRules[%d]"):format(i - 1), rule)
  end
end

return M
