-- lab.service_proxy: GET …/services/ml-pipeline:http/proxy/healthz: the API server asks a service for its client.
-- Not for pods' own connections (lab.network.switch), nor for services inside the mesh: nobody's call gets through.
--   if r.subresource == "proxy" then return service_proxy.run(ctx) end

local errors = require "errors"
local inside = require "lab.inside"
local net = require "net"
local status = require "lab.status"
local targets = require "lab.network.targets"

local M = {}

local PATIENCE = 60 -- seconds for the service to say something

-- The client's own credentials are for the API server; the connection is another one.
local KEPT_BACK = { authorization = true, connection = true, host = true, ["content-length"] = true,
  ["accept-encoding"] = true, ["transfer-encoding"] = true, upgrade = true }

local function unavailable(format, ...)
  status.raise(503, "ServiceUnavailable", format:format(...))
end

-- "name", "name:port", "https:name:port": the port by its name or number; without one the only one there is.
local function port_of(ctx, service, wanted)
  for _, port in ipairs(service.spec.ports or {}) do
    if wanted == port.name or wanted == tostring(port.port) or not wanted and #service.spec.ports == 1 then
      return port.port
    end
  end
  unavailable("no endpoints available for service %q", ctx.route.name)
end

local function find(ctx)
  local words = {}
  for word in (ctx.route.name .. ":"):gmatch "([^:]*):" do words[#words + 1] = word end
  local name, wanted = words[#words > 2 and 2 or 1], words[#words > 2 and 3 or 2]
  local service = inside.view(ctx.cluster, "services", ctx.route.namespace, name)
  if not service then status.not_found(ctx.resource, name) end
  local port = port_of(ctx, service, wanted ~= "" and wanted or nil)
  local target = service.spec.clusterIP and targets.find(ctx.cluster, service.spec.clusterIP, port)
  if not target then unavailable("no endpoints available for service %q", ctx.route.name) end
  return target
end

-- Asked by HTTP/1.0: the answer ends with the connection, in one piece.
local function text_of(ctx)
  local request = ctx.request
  local path = request.path:match "^/api/v1/namespaces/[^/]+/services/[^/]+/proxy(.*)$"
  local query = (request.query or "") ~= "" and "?" .. request.query or ""
  local lines = { ("%s %s%s HTTP/1.0"):format(request.method, path == "" and "/" or path, query), "Connection: close" }
  for name, value in pairs(ctx.headers) do
    if not KEPT_BACK[name:lower()] and not name:lower():find "^impersonate%-" then
      lines[#lines + 1] = ("%s: %s"):format(name, value)
    end
  end
  local body = request.body or ""
  if body ~= "" or request.method ~= "GET" then lines[#lines + 1] = ("Content-Length: %d"):format(#body) end
  return table.concat(lines, "\r\n") .. "\r\n\r\n" .. body
end

local function read_answer(text)
  local head, body = text:match "^(.-\r\n)\r\n(.*)$"
  local code = head and head:match "^HTTP/1%.%d (%d%d%d)"
  if not code then unavailable "the service does not speak HTTP" end
  local headers = {}
  for name, value in head:gmatch "\n([^:\r\n]+):%s*([^\r\n]*)" do
    local low = name:lower()
    if low ~= "connection" and low ~= "content-length" then headers[name] = value end
  end
  return { status = math.tointeger(tonumber(code)), headers = headers, body = body }
end

local function connect(ctx, target)
  local hosted = (ctx.cluster.hosted or {})[target.address]
  if hosted and not ctx.cluster.mesh then return net.connect { port = hosted.ports[target.port], timeout = 5 } end
  local nodes = ctx.cluster.nodes
  if ctx.cluster.mesh or not nodes then unavailable("error trying to reach service: it cannot be reached from here") end
  return nodes.runtime.switch:open(target, "10.244.0.1")
end

---@param ctx lab.Context
---@return table response
function M.run(ctx)
  if ctx.route.plural ~= "services" then status.no_resource() end
  local target = find(ctx)
  local ok, answered = pcall(function()
    local socket <close> = connect(ctx, target)
    socket:write(text_of(ctx))
    local parts = {}
    for bytes in function() return socket:read(PATIENCE) end do parts[#parts + 1] = bytes end
    return read_answer(table.concat(parts))
  end)
  if ok then return answered end
  if status.is(answered) or not errors.is(answered) or answered.code == "Cancelled" then error(answered, 0) end
  return unavailable("error trying to reach service: %s", answered.message)
end

return M
