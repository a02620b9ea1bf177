-- Rules for DestinationRule. A part of istio.validate.
local values = require "istio.validate.values"

local M = {}

local is_set, is_host = values.is_set, values.is_host

-- --- DestinationRule -------------------------------------------------------------------------------------

local TLS_MODES = { "DISABLE", "SIMPLE", "MUTUAL", "ISTIO_MUTUAL" }
local CERTIFICATES = { "clientCertificate", "privateKey", "caCertificates", "credentialName", "sni", "subjectAltNames" }

local function check_istio_mutual(checker, path, tls)
  for i = 1, 4 do
    local name = CERTIFICATES[i]
    if is_set(tls[name]) then checker:error(path .. "." .. name, "%s cannot be set with ISTIO_MUTUAL", name) end
  end
end

local function check_mutual(checker, path, tls)
  if is_set(tls.credentialName) then return end
  if not is_set(tls.clientCertificate) then checker:error(path, "client certificate required for mutual tls") end
  if not is_set(tls.privateKey) then checker:error(path, "private key required for mutual tls") end
end

local function check_tls(checker, path, tls)
  if not tls then return end
  checker:one_of(path .. ".mode", tls.mode, TLS_MODES)
  if is_set(tls.credentialName) and (is_set(tls.clientCertificate) or is_set(tls.privateKey)
    or is_set(tls.caCertificates)) then
    checker:error(path, "cannot specify a credential and certificates in files at the same time")
  end
  if tls.insecureSkipVerify == true and (is_set(tls.caCertificates) or #(tls.subjectAltNames or {}) > 0) then
    checker:error(path .. ".insecureSkipVerify", "nothing is verified, yet there is something to verify with")
  end
  if tls.mode == "MUTUAL" then check_mutual(checker, path, tls) end
  if tls.mode == "ISTIO_MUTUAL" then check_istio_mutual(checker, path, tls) end
  if tls.mode == "SIMPLE" and (is_set(tls.clientCertificate) or is_set(tls.privateKey)) then
    checker:error(path, "a client certificate has no place in mode SIMPLE")
  end
end

local FIELDS = { "loadBalancer", "connectionPool", "outlierDetection", "tls", "portLevelSettings", "tunnel",
  "proxyProtocol", "retryBudget" }

local function check_warmup(checker, path, warmup)
  if not warmup then return end
  if not is_set(warmup.duration) then checker:error(path .. ".duration", "a warm-up needs a duration") end
  local least, aggression = tonumber(warmup.minimumPercent), tonumber(warmup.aggression)
  if least and (least < 0 or least > 100) then checker:error(path .. ".minimumPercent", "must be within 0..100") end
  if aggression and aggression < 1 then checker:error(path .. ".aggression", "must be at least 1.0") end
end

local function check_balancer(checker, path, balancer)
  if not balancer then return end
  check_warmup(checker, path .. ".warmup", balancer.warmup)
  local hash = balancer.consistentHash
  if balancer.simple and hash then checker:error(path, "only one of simple or consistentHash can be set") end
  local cookie = hash and hash.httpCookie
  if cookie and not is_set(cookie.name) then checker:error(path .. ".consistentHash.httpCookie.name", "is required") end
end

local function check_percent(checker, path, value)
  local number = tonumber(value)
  if number and (number < 0 or number > 100) then checker:error(path, "must be within 0..100") end
end

local function check_outliers(checker, path, outliers)
  if not outliers then return end
  if outliers.consecutiveErrors then checker:warning(path .. ".consecutiveErrors", "is deprecated") end
  if outliers.consecutiveLocalOriginFailures and not outliers.splitExternalLocalOriginErrors then
    checker:error(path .. ".consecutiveLocalOriginFailures", "needs splitExternalLocalOriginErrors: true")
  end
  check_percent(checker, path .. ".maxEjectionPercent", outliers.maxEjectionPercent)
  check_percent(checker, path .. ".minHealthPercent", outliers.minHealthPercent)
end

---@param checker istio.Checker
---@param path string
---@param pool table?
function M.check_pool(checker, path, pool)
  if not pool then return end
  if not pool.tcp and not pool.http then checker:error(path, "connection pool must have at least one field") end
  for part, names in pairs { tcp = { "maxConnections" }, http = { "http1MaxPendingRequests", "http2MaxRequests",
    "maxRequestsPerConnection", "maxRetries", "maxConcurrentStreams" } } do
    for _, name in ipairs(names) do
      local number = tonumber((pool[part] or {})[name])
      if number and number < 0 then checker:error(("%s.%s.%s"):format(path, part, name), "must be non-negative") end
    end
  end
end

local function check_settings(checker, path, policy)
  check_tls(checker, path .. ".tls", policy.tls)
  check_balancer(checker, path .. ".loadBalancer", policy.loadBalancer)
  check_outliers(checker, path .. ".outlierDetection", policy.outlierDetection)
  M.check_pool(checker, path .. ".connectionPool", policy.connectionPool)
end

local function check_traffic(checker, path, policy)
  if not policy then return end
  local any = false
  for _, name in ipairs(FIELDS) do any = any or policy[name] ~= nil end
  if not any then checker:error(path, "traffic policy must have at least one field") end
  check_settings(checker, path, policy)
  for i, level in ipairs(policy.portLevelSettings or {}) do
    local place = ("%s.portLevelSettings[%d]"):format(path, i - 1)
    if not level.port then checker:error(place .. ".port", "port is required")
    else checker:port(place .. ".port.number", level.port.number) end
    check_settings(checker, place, level)
  end
end

---@param checker istio.Checker
---@param spec table
function M.DestinationRule(checker, spec)
  if not is_set(spec.host) then checker:error("spec.host", "host is required")
  elseif not is_host(spec.host) then checker:error("spec.host", "%s is no name of a host", spec.host) end
  checker:selector("spec.workloadSelector", spec.workloadSelector, "matchLabels")
  check_traffic(checker, "spec.trafficPolicy", spec.trafficPolicy)
  local seen = {}
  for i, subset in ipairs(spec.subsets or {}) do
    local path, name = ("spec.subsets[%d]"):format(i - 1), subset.name or ""
    if name == "" then checker:error(path .. ".name", "subset name cannot be empty") end
    if seen[name] then checker:error(path .. ".name", "duplicate subset name %s", name) end
    seen[name] = true
    check_traffic(checker, path .. ".trafficPolicy", subset.trafficPolicy)
  end
  M.check_export(checker, spec.exportTo)
end

---@param checker istio.Checker
---@param list string[]?
function M.check_export(checker, list)
  local seen = {}
  for i, namespace in ipairs(list or {}) do
    local path = ("spec.exportTo[%d]"):format(i - 1)
    if seen[namespace] then checker:error(path, "duplicate entries in exportTo: %s", namespace) end
    seen[namespace] = true
  end
  local count = #(list or {})
  if count > 1 and (seen["*"] or seen["~"]) then
    checker:error("spec.exportTo", "%s must be the only entry", seen["*"] and "*" or "~")
  end
end

return M
