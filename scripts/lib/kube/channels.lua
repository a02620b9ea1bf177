-- kube.channels: a WebSocket to a pod: where it goes, and what its refusal means.
-- Not for what the channels carry (kube.exec, kube.port_forward).
--   local socket = channels.open(client, request, { "v5.channel.k8s.io" })

local errors = require "errors"
local failure = require "kube.failure"
local guard = require "kube.guard"
local log = require "kube.log"
local rest = require "kube.rest"

local M = {}

-- The request as it is told in errors and in the log.
local function about(client, request)
  return {
    verb = request.verb, resource = request.resource .. "/" .. request.subresource, namespace = request.namespace,
    name = request.name, user = client.as or client.user, context = client.context, server = client.server,
  }
end

-- An answer instead of a WebSocket is the API server's Status.
local function problem_of(client, request, problem)
  if errors.is(problem) and math.type(problem.status) and problem.status >= 400 then
    return failure.of_response({ status = problem.status, headers = problem.headers or {}, body = problem.body or "" },
      about(client, request))
  end
  if errors.is(problem) and math.type(problem.status) then -- its body is not for messages
    problem = errors.new {
      code = "Protocol", message = ("the server answered %d instead of a WebSocket"):format(problem.status),
    }
  end
  return failure.of_transport(problem, about(client, request))
end

---Opens a WebSocket below a pod.
---@param client table
---@param pod string
---@param options {namespace: string?, timeout: number|string|nil}
---@param subresource "exec"|"attach"|"portforward"
---@param query table
---@param protocols string[]
---@return table socket as `ws` has it
function M.open(client, pod, options, subresource, query, protocols)
  local namespace = options.namespace or client.namespace
  local request = {
    method = "GET", verb = subresource, path = rest.path(client.discovery:resolve "pods", namespace, pod, subresource),
    resource = "pods", subresource = subresource, namespace = namespace, name = pod, query = query,
  }
  guard.check(client, request)
  local made = rest.options(client, request)
  made.url = made.url:gsub("^http", "ws")
  made.protocols, made.timeout, made.method, made.body = protocols, options.timeout or 30, nil, nil
  local connect = client.transport.websocket or function(_, given) return require("ws").connect(given) end
  local ok, socket = pcall(connect, client.transport, made)
  log.write(client.log, {
    event = "session", verb = subresource, resource = "pods", namespace = namespace, name = pod,
    manager = client.manager or "kfhost", result = ok and "ok" or errors.is(socket) and socket.code or "failed",
  })
  if not ok then error(problem_of(client, request, socket), 0) end
  return socket
end

return M
