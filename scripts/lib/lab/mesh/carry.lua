-- lab.mesh.carry: one connection of a pod, as the proxies of both ends carry it: who it is from, whether it may.
-- Not for whether a proxy is there and ready (lab.mesh). Each request of HTTP/1 is decided on its own.
--   carry.run(mesh, { socket = …, client = …, server = …, target = … })

local authentication = require "istio.authentication"
local authorization = require "istio.authorization"
local errors = require "errors"
local filters = require "lab.mesh.filters"
local istio = require "istio"
local pump = require "lab.network.pump"
local reader = require "lab.mesh.reader"
local task = require "task"
local tokens = require "lab.mesh.tokens"

local M = {}

---@class lab.Carried
---@field socket net.Socket of the client
---@field client lab.Workload
---@field server lab.Workload? nil: not a workload of the cluster
---@field target lab.Target
---@field source string address of the client
---@field kind "mtls"|"plaintext"|"tls" what the client's proxy sends

-- --- the question -----------------------------------------------------------------------------------

local HTTP = { http = true, http2 = true, grpc = true, ["grpc-web"] = true }
local TCP = { tcp = true, tls = true, https = true, mongo = true, mysql = true, redis = true, udp = true }

-- What a service's port says of its protocol; nil: the first bytes tell.
local function declared(port)
  local word = port and (port.appProtocol or (port.name or ""):match "^[^-]+")
  word = word and word:lower():gsub("^kubernetes%.io/", ""):gsub("^h2c$", "http2")
  if HTTP[word] then return "http" end
  if TCP[word] then return "tcp" end
end

local function workload_of(c)
  return { namespace = c.server.namespace, labels = c.server.labels, ip = c.target.address,
           ports = { [c.target.port] = c.protocol == "tcp" and "tcp" or "http" } }
end

local function source_of(self, c)
  local client = c.client
  local principal = c.kind == "mtls" and ("%s/ns/%s/sa/%s"):format(self.config.trust_domain, client.namespace,
    client.account) or nil
  return { principal = principal, ip = c.source }
end

local function decide(self, c, head)
  local request = { source = source_of(self, c), port = c.target.port, protocol = c.protocol,
                    destination_ip = c.target.address }
  if head then
    request.method, request.path, request.headers, request.host = head.method, head.path, head.headers,
      head.headers.host
    request.claims, request.token = tokens.read(self.cluster, head)
  end
  local allowed, why = istio.allowed(self:objects(), workload_of(c), request, self.options)
  self:note(c, head, allowed, why, request.source)
  return allowed, why, request
end

-- --- answers of a proxy -----------------------------------------------------------------------------

local REASONS = { [401] = "Unauthorized", [403] = "Forbidden", [503] = "Service Unavailable" }

local function answer(status, body, more)
  return ("HTTP/1.1 %d %s\r\ncontent-length: %d\r\ncontent-type: text/plain\r\n%sdate: %s\r\nserver: envoy\r\n\r\n%s")
    :format(status, REASONS[status], #body, more or "", os.date "!%a, %d %b %Y %H:%M:%S GMT", body)
end

local JWT = { token = "Jwt verification fails", ["jwtRules.issuer"] = "Jwt issuer is not configured",
              ["jwtRules.audiences"] = "Audiences in Jwt are not allowed" }

local function refusal(why, head)
  if why.stage ~= "jwt" then return answer(403, "RBAC: access denied") end
  local realm = ('www-authenticate: Bearer realm="http://%s%s", error="invalid_token"\r\n'):format(
    head.headers.host or "", head.path)
  return answer(401, JWT[why.field] or JWT.token, realm)
end

local DOWN = "upstream connect error or disconnect/reset before headers. "
local TLS = DOWN .. "reset reason: remote connection failure, transport failure reason: TLS_error:|268435703:SSL "
  .. "routines:OPENSSL_internal:WRONG_VERSION_NUMBER:TLS_error_end"

-- A client's own proxy says why, when the client speaks HTTP; else the connection breaks.
local function fail_client(c, text)
  if not c.client.sidecar or c.protocol == "tcp" then return c.socket:reset() end
  local r = c.reader
  while true do
    local head = r:head()
    if not head or not r:body(head, function() end) then break end
    c.socket:write(answer(503, text))
  end
  c.socket:close()
end

-- --- carrying ---------------------------------------------------------------------------------------

-- The socket that a reader stands in front of, for the pump.
local function rest_of(c)
  return setmetatable({ read = function()
    local text = c.reader.text
    if text ~= "" then
      c.reader.text = ""
      return text
    end
    return c.socket:read()
  end }, { __index = function(_, name)
    return function(_, ...) return c.socket[name](c.socket, ...) end
  end })
end

local function carry_bytes(c, other)
  local one = c.reader and rest_of(c) or c.socket
  pump.both(one, other)
end

-- The certificate of who asks, as a proxy tells the program behind it; what a client says of itself is dropped.
local function tell_certificate(self, c, head, source)
  head.headers["x-forwarded-client-cert"] = nil
  if source.principal and c.server.sidecar then
    head.headers["x-forwarded-client-cert"] = ('By=spiffe://%s/ns/%s/sa/%s;Hash=%s;Subject="";URI=spiffe://%s'):format(
      self.config.trust_domain, c.server.namespace, c.server.account, ("0"):rep(64), source.principal)
  end
end

-- Headers that RequestAuthentication writes from claims.
local function tell_claims(self, c, request)
  local policies = authorization.policies(self:objects(), "RequestAuthentication", workload_of(c), self.options)
  if #policies > 0 then authentication.verify(policies, request) end
end

-- Requests one after the other; the answers to those that may come as they are.
local function carry_requests(self, c, other)
  local counter = { bytes = 0 }
  local back = task.spawn(pump.one, other, c.socket, counter)
  local r, forwarded = c.reader, 0
  while true do
    local head = r:head()
    if not head then break end
    filters.outbound(self, c, head)
    local allowed, why, request = true, nil, { headers = head.headers, source = source_of(self, c) }
    if c.server.sidecar then allowed, why, request = decide(self, c, head) end
    if allowed then
      if c.server.sidecar then tell_claims(self, c, request) end
      tell_certificate(self, c, head, request.source)
      other:write(reader.write(head))
      forwarded = counter.bytes + 1
      if not r:body(head, function(bytes) other:write(bytes) end) then break end
      if head.headers.upgrade then r:rest(function(bytes) other:write(bytes) end) end
    elseif why.stage == "mtls" then
      c.socket:reset()
      break
    else
      -- Answers to earlier requests come first: whoever pipelines gets his refusal after them, and the end.
      if counter.bytes < forwarded then
        other:finish()
        pcall(back.wait, back)
      end
      c.socket:write(refusal(why, head))
      if head.headers.expect or not r:body(head, function() end) then break end
    end
  end
  other:finish()
  pcall(back.wait, back)
  c.socket:close()
  other:close()
end

-- A socket with bytes that nobody has read would end in a reset: the proxy has read them.
local function close_gently(socket)
  socket:finish()
  repeat local ok, bytes = pcall(socket.read, socket, 5) until not ok or not bytes
  socket:close()
end

local function may_connect(self, c)
  if not c.server.sidecar then return true end
  local allowed, why = decide(self, c, nil)
  if allowed then return true end
  if why.stage == "mtls" then
    c.socket:reset()
  else
    close_gently(c.socket)
  end
  return false
end

-- A STRICT port takes no plaintext connection, whatever is asked over it.
local function is_refused_by_mode(self, c)
  if not c.server.sidecar then return false end
  local mode = authentication.mode(self:objects(), workload_of(c), c.target.port, self.options)
  local mutual = c.kind == "mtls"
  return mode == "STRICT" and not mutual or mode == "DISABLE" and mutual
end

local function carry_by_protocol(mesh, c, other)
  if c.protocol == "http" then
    carry_requests(mesh, c, other)
  elseif may_connect(mesh, c) then
    carry_bytes(c, other)
  end
end

---Carries a connection to its end.
---@param mesh lab.Mesh
---@param c lab.Carried
function M.run(mesh, c)
  c.protocol = declared(c.target.service_port)
  if c.client.sidecar or c.server.sidecar then
    c.reader = reader.new(c.socket)
    c.protocol = c.protocol or c.reader:protocol()
    if c.protocol == "http" and c.reader:protocol() ~= "http" then c.protocol = "tcp" end
  else
    c.protocol = "tcp"
  end
  if c.kind == "mtls" and not c.server.sidecar then return fail_client(c, TLS) end
  if is_refused_by_mode(mesh, c) then
    mesh:note(c, nil, false, { stage = "mtls" }, source_of(mesh, c))
    return fail_client(c, DOWN .. "reset reason: connection termination")
  end
  local ok, other = pcall(mesh.open, mesh, c)
  if not ok then
    if not errors.is(other) then error(other, 0) end
    return fail_client(c, DOWN .. "reset reason: remote connection failure, transport failure reason: delayed connect "
      .. "error: " .. (other.code == "ECONNREFUSED" and "111" or "113"))
  end
  mesh:opened(c, other)
  local done, problem = pcall(carry_by_protocol, mesh, c, other)
  other:close()
  mesh:closed(c, other)
  if not done then error(problem, 0) end
end

M.answer = answer

return M
