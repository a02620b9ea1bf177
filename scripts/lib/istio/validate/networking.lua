-- Rules for Sidecar, EnvoyFilter and the TLS of DestinationRule. A part of istio.validate.
local regex = require "regex"

local M = {}

local function is_set(value)
  return value ~= nil and value ~= ""
end

-- A name of DNS, with a wildcard as its first label.
local function is_host(name)
  if name == "*" then return true end
  local rest = name:gsub("^%*%.", "")
  if rest == "" or #rest > 255 then return false end
  for label in (rest .. "."):gmatch "([^.]*)%." do
    if not label:find "^[%w_]$" and not label:find "^[%w_][-%w_]*[%w_]$" or #label > 63 then return false end
  end
  return true
end

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

local function check_traffic(checker, path, policy)
  if not policy then return end
  local any = false
  for _, name in ipairs(FIELDS) do any = any or policy[name] ~= nil end
  if not any then checker:error(path, "traffic policy must have at least one field") end
  check_tls(checker, path .. ".tls", policy.tls)
  for i, level in ipairs(policy.portLevelSettings or {}) do
    local place = ("%s.portLevelSettings[%d]"):format(path, i - 1)
    if not level.port then checker:error(place .. ".port", "port is required")
    else checker:port(place .. ".port.number", level.port.number) end
    check_tls(checker, place .. ".tls", level.tls)
  end
end

---@param checker istio.Checker
---@param spec table
function M.DestinationRule(checker, spec)
  if not is_set(spec.host) then checker:error("spec.host", "host is required")
  elseif not is_host(spec.host) then checker:error("spec.host", "%s is no name of a host", spec.host) end
  checker:labels("spec.workloadSelector.matchLabels", (spec.workloadSelector or {}).matchLabels)
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

-- --- Sidecar -------------------------------------------------------------------------------------------------

local function check_egress_host(checker, path, host, seen)
  local namespace, name = host:match "^([^/]*)/([^/]*)$"
  if not namespace or namespace == "" or name == "" then
    return checker:error(path, "%s is not of the form NAMESPACE/DNSNAME", host)
  end
  local known = namespace == "*" or namespace == "." or namespace == "~"
  if not known and not namespace:find "^[a-z0-9][-a-z0-9]*$" then
    checker:error(path, "%s is no namespace", namespace)
  end
  if namespace == "~" and name ~= "*" then checker:error(path, "~ stands for no host: only ~/* means something") end
  if not is_host(name) then checker:error(path, "%s is no name of a host", name) end
  if seen[host] then checker:warning(path, "%s is there twice", host) end
  seen[host] = true
end

local function check_egress(checker, spec)
  local portless, seen = nil, {}
  for i, egress in ipairs(spec.egress or {}) do
    local path = ("spec.egress[%d]"):format(i - 1)
    if egress.port then checker:port(path .. ".port.number", egress.port.number)
    elseif portless then checker:error(path, "only one egress listener may have no port") else portless = i end
    if #(egress.hosts or {}) == 0 then checker:error(path .. ".hosts", "an egress listener needs a host") end
    for k, host in ipairs(egress.hosts or {}) do
      check_egress_host(checker, ("%s.hosts[%d]"):format(path, k - 1), host, seen)
    end
    checker:one_of(path .. ".captureMode", egress.captureMode, { "DEFAULT", "IPTABLES", "NONE" })
  end
  if portless and portless ~= #spec.egress then
    checker:error("spec.egress", "the egress listener without a port must be the last one")
  end
  if seen["*/*"] and next(seen, next(seen)) ~= nil then
    checker:warning("spec.egress", "*/* takes in all other hosts")
  end
end

---@param checker istio.Checker
---@param spec table
function M.Sidecar(checker, spec)
  checker:labels("spec.workloadSelector.labels", (spec.workloadSelector or {}).labels)
  local seen = {}
  for i, ingress in ipairs(spec.ingress or {}) do
    local path = ("spec.ingress[%d]"):format(i - 1)
    local number = (ingress.port or {}).number
    if checker:port(path .. ".port.number", number) then
      if seen[number] then checker:error(path .. ".port.number", "port %d is there twice", number) end
      seen[number] = true
    end
    local endpoint = ingress.defaultEndpoint or ""
    if endpoint ~= "" and not endpoint:find "^unix://" and not endpoint:find "^[%d.]*:%d+$"
      and not endpoint:find "^%[[%x:]*%]:%d+$" then
      checker:error(path .. ".defaultEndpoint", "%s is none of 127.0.0.1:PORT, 0.0.0.0:PORT, unix://PATH", endpoint)
    end
  end
  check_egress(checker, spec)
  local mode = (spec.outboundTrafficPolicy or {}).mode
  checker:one_of("spec.outboundTrafficPolicy.mode", mode, { "REGISTRY_ONLY", "ALLOW_ANY" })
end

-- --- EnvoyFilter -----------------------------------------------------------------------------------------------

local APPLY_TO = { "LISTENER", "FILTER_CHAIN", "NETWORK_FILTER", "HTTP_FILTER", "ROUTE_CONFIGURATION", "VIRTUAL_HOST",
  "HTTP_ROUTE", "CLUSTER", "EXTENSION_CONFIG", "BOOTSTRAP", "LISTENER_FILTER" }
local OPERATIONS = { "MERGE", "ADD", "REMOVE", "INSERT_BEFORE", "INSERT_AFTER", "INSERT_FIRST", "REPLACE" }

-- Which part of `match` a patch may use.
local MATCH_OF = {
  LISTENER = "listener", FILTER_CHAIN = "listener", NETWORK_FILTER = "listener", HTTP_FILTER = "listener",
  LISTENER_FILTER = "listener", ROUTE_CONFIGURATION = "routeConfiguration", VIRTUAL_HOST = "routeConfiguration",
  HTTP_ROUTE = "routeConfiguration", CLUSTER = "cluster",
}

local function check_match(checker, path, patch)
  local wanted = MATCH_OF[patch.applyTo]
  for _, name in ipairs { "listener", "routeConfiguration", "cluster" } do
    if (patch.match or {})[name] and wanted and name ~= wanted then
      checker:error(path .. ".match." .. name, "applyTo %s cannot be matched by %s", patch.applyTo, name)
    end
  end
  local version = ((patch.match or {}).proxy or {}).proxyVersion
  if is_set(version) and not regex.try.compile(version) then
    checker:error(path .. ".match.proxy.proxyVersion", "invalid regex: %s", version)
  end
end

local function check_patch(checker, path, patch)
  if not is_set(patch.applyTo) then checker:error(path .. ".applyTo", "missing applyTo")
  else checker:one_of(path .. ".applyTo", patch.applyTo, APPLY_TO) end
  if not patch.patch then return checker:error(path .. ".patch", "missing patch") end
  local operation = patch.patch.operation
  if not is_set(operation) then checker:error(path .. ".patch.operation", "missing patch operation")
  else checker:one_of(path .. ".patch.operation", operation, OPERATIONS) end
  if operation ~= "REMOVE" and patch.patch.value == nil then
    checker:error(path .. ".patch.value", "missing patch value for non-remove operation")
  end
  local config = type(patch.patch.value) == "table" and patch.patch.value.typed_config
  if type(config) == "table" and not is_set(config["@type"]) then
    checker:error(path .. ".patch.value.typed_config", "a typed_config needs @type")
  end
  check_match(checker, path, patch)
end

---@param checker istio.Checker
---@param spec table
function M.EnvoyFilter(checker, spec)
  checker:warning("spec", "EnvoyFilter exposes internal implementation details that may change at any time")
  if spec.workloadSelector and #(spec.targetRefs or {}) > 0 then
    checker:error("spec", "only one of targetRefs or workloadSelector can be set")
  end
  checker:labels("spec.workloadSelector.labels", (spec.workloadSelector or {}).labels)
  for i, patch in ipairs(spec.configPatches or {}) do
    check_patch(checker, ("spec.configPatches[%d]"):format(i - 1), patch)
  end
end

return M
