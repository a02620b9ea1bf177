-- Rules for Sidecar. A part of istio.validate.
local networking = require "istio.validate.networking"
local values = require "istio.validate.values"

local M = {}

local is_set, is_host = values.is_set, values.is_host
local CAPTURE = { "DEFAULT", "IPTABLES", "NONE" }

-- --- listeners ------------------------------------------------------------------------------------------------

local function is_socket(text) return text:find "^unix://.+" ~= nil end

-- The port of a listener; what it is bound to may be a socket, which has none. Nothing is there twice.
local function check_port(checker, path, listener, seen)
  local number, bind = (listener.port or {}).number, listener.bind or ""
  local key = number
  if is_socket(bind) and (number == nil or number == 0) then key = bind
  elseif not checker:port(path .. ".port.number", number) then return
  elseif bind ~= "" and not bind:find "^[%x.:]+$" then checker:error(path .. ".bind", "%s is no address", bind) end
  if seen[key] then checker:error(path .. ".port", "%s is there twice", tostring(key)) end
  seen[key] = true
end

-- --- ingress --------------------------------------------------------------------------------------------------

local ENDPOINTS = { ["127.0.0.1"] = true, ["0.0.0.0"] = true, ["[::1]"] = true, ["[::]"] = true, [""] = true }

local function check_endpoint(checker, path, endpoint)
  if endpoint == "" then return end
  if endpoint:find "^unix://" then
    if not endpoint:find "^unix://[^/]*/.+" and not endpoint:find "^unix://@.+" then
      checker:error(path, "%s is no path of a socket", endpoint)
    end
    return
  end
  local address, port = endpoint:match "^(.*):([^:]*)$"
  if not address or not ENDPOINTS[address] then
    return checker:error(path, "%s is none of 127.0.0.1:PORT, 0.0.0.0:PORT, [::1]:PORT, unix://PATH", endpoint)
  end
  checker:port(path, port)
end

local UNSUPPORTED = { "subjectAltNames", "credentialName", "credentialNames", "tlsCertificates" }
local ENCRYPTED = { HTTPS = true, TLS = true }

local function check_tls(checker, path, ingress)
  local tls = ingress.tls
  if not tls then return end
  local mode, protocol = tls.mode or "PASSTHROUGH", ((ingress.port or {}).protocol or ""):upper()
  if mode ~= "SIMPLE" and mode ~= "MUTUAL" then
    checker:error(path .. ".mode", "SIMPLE and MUTUAL are supported, not %s", mode)
  end
  if not ENCRYPTED[protocol] then checker:error(path, "TLS is for ports of protocol HTTPS or TLS") end
  if tls.httpsRedirect then checker:error(path .. ".httpsRedirect", "is not supported in a Sidecar") end
  for _, name in ipairs(UNSUPPORTED) do
    local value = tls[name]
    if is_set(value) and (type(value) ~= "table" or next(value)) then
      checker:error(path .. "." .. name, "is not supported in a Sidecar")
    end
  end
end

local NO_HTTP = { TCP = true, TLS = true, MONGO = true, MYSQL = true, REDIS = true }

local function check_ingress(checker, spec)
  local seen = {}
  for i, ingress in ipairs(spec.ingress or {}) do
    local path = ("spec.ingress[%d]"):format(i - 1)
    if is_socket(ingress.bind or "") then checker:error(path .. ".bind", "a socket is for egress only") end
    check_port(checker, path, ingress, seen)
    check_endpoint(checker, path .. ".defaultEndpoint", ingress.defaultEndpoint or "")
    checker:one_of(path .. ".captureMode", ingress.captureMode, CAPTURE)
    check_tls(checker, path .. ".tls", ingress)
    networking.check_pool(checker, path .. ".connectionPool", ingress.connectionPool)
    if ingress.connectionPool and ingress.connectionPool.http and NO_HTTP[((ingress.port or {}).protocol or ""):upper()]
    then checker:warning(path .. ".connectionPool.http", "has no effect on a port that is no HTTP") end
  end
end

-- --- egress ---------------------------------------------------------------------------------------------------

local function check_host(checker, path, host, seen)
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

-- What another entry takes in: all of all, or all of the same namespace.
local function warn_of_overlaps(checker, path, hosts, own)
  local all = {}
  for _, host in ipairs(hosts) do
    local namespace, name = host:match "^([^/]*)/([^/]*)$"
    if namespace == "." then namespace = own end
    if name == "*" then all[namespace] = true end
  end
  for i, host in ipairs(hosts) do
    local namespace, name = host:match "^([^/]*)/([^/]*)$"
    if namespace == "." then namespace = own end
    local taken = namespace and (all["*"] and host ~= "*/*" or name ~= "*" and all[namespace])
    if taken then checker:warning(("%s[%d]"):format(path, i - 1), "%s is taken in by another entry", host) end
  end
end

local function check_listener(checker, path, egress, seen, ports, own)
  local bind = egress.bind or ""
  if bind:find "://" and not is_socket(bind) then checker:error(path .. ".bind", "%s is no address", bind)
  elseif egress.port then check_port(checker, path, egress, ports) end
  if is_socket(bind) and egress.captureMode and egress.captureMode ~= "DEFAULT" and egress.captureMode ~= "NONE" then
    checker:error(path .. ".captureMode", "%s captures nothing of a socket", egress.captureMode)
  end
  if #(egress.hosts or {}) == 0 then checker:error(path .. ".hosts", "an egress listener needs a host") end
  for k, host in ipairs(egress.hosts or {}) do
    check_host(checker, ("%s.hosts[%d]"):format(path, k - 1), host, seen)
  end
  warn_of_overlaps(checker, path .. ".hosts", egress.hosts or {}, own)
  checker:one_of(path .. ".captureMode", egress.captureMode, CAPTURE)
end

local function check_egress(checker, spec, own)
  local portless, seen, ports = nil, {}, {}
  for i, egress in ipairs(spec.egress or {}) do
    local path = ("spec.egress[%d]"):format(i - 1)
    if not egress.port and portless then checker:error(path, "only one egress listener may have no port")
    elseif not egress.port then portless = i end
    check_listener(checker, path, egress, seen, ports, own)
  end
  if portless and portless ~= #spec.egress then
    checker:error("spec.egress", "the egress listener without a port must be the last one")
  end
end

-- --- all of it ------------------------------------------------------------------------------------------------

local function check_outbound(checker, outbound)
  if not outbound then return end
  local path, mode, proxy = "spec.outboundTrafficPolicy", outbound.mode or "REGISTRY_ONLY", outbound.egressProxy
  checker:one_of(path .. ".mode", mode, { "REGISTRY_ONLY", "ALLOW_ANY" })
  if not proxy then return end
  path = path .. ".egressProxy"
  if mode ~= "ALLOW_ANY" then checker:error(path, "an egress proxy is for mode ALLOW_ANY") end
  if not is_set(proxy.host) or proxy.host:find("*", 1, true) or not is_host(proxy.host) then
    checker:error(path .. ".host", "%s is no full name of a host", tostring(proxy.host))
  end
  checker:port(path .. ".port.number", (proxy.port or {}).number)
end

---@param checker istio.Checker
---@param spec table
---@param object table
function M.Sidecar(checker, spec, object)
  checker:selector("spec.workloadSelector", spec.workloadSelector, "labels")
  local says = #(spec.ingress or {}) + #(spec.egress or {}) > 0 or spec.outboundTrafficPolicy
    or spec.inboundConnectionPool
  if not says then checker:error("spec", "empty configuration: neither ingress nor egress is said") end
  networking.check_pool(checker, "spec.inboundConnectionPool", spec.inboundConnectionPool)
  check_ingress(checker, spec)
  check_egress(checker, spec, (object.metadata or {}).namespace or "default")
  check_outbound(checker, spec.outboundTrafficPolicy)
end

return M
