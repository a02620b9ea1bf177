-- lab.audit: the audit log: one event of audit.k8s.io/v1 for each request that the API has answered.
-- Not for bodies: level Metadata. What the lab's own controllers do inside the process is no request.
--   cluster.audit = audit.to_file "audit.log"

local clock = require "lab.clock"
local json = require "json"

local M = {}

local function user_of(user)
  return user and { username = user.name, groups = json.array(user.groups), uid = user.uid } or json.object {}
end

local function object_of(route)
  if not route.resource then return nil end
  return { apiGroup = route.group ~= "" and route.group or nil, apiVersion = route.version, resource = route.plural,
    namespace = route.namespace, name = route.name,
    subresource = route.subresource }
end

---@param ctx lab.Context of a request that was answered
---@param response {status: integer, stream: function?}
---@param received number seconds since 1970
---@return table event
function M.event(ctx, response, received)
  local request, route = ctx.request, ctx.route
  return {
    kind = "Event", apiVersion = "audit.k8s.io/v1", level = "Metadata", auditID = require("lab.ids").uid(),
    stage = response.stream and "ResponseStarted" or "ResponseComplete",
    requestURI = request.path .. (request.query and "?" .. request.query or ""),
    verb = route.verb or request.method:lower(), user = user_of(ctx.impersonator or ctx.user),
    impersonatedUser = ctx.impersonator and user_of(ctx.user) or nil,
    sourceIPs = json.array { "127.0.0.1" }, userAgent = ctx.headers["user-agent"], objectRef = object_of(route),
    responseStatus = { code = response.status }, requestReceivedTimestamp = clock.micro(received),
    stageTimestamp = clock.micro(ctx.cluster:now_exact()),
  }
end

---Appends each event to a file, one a line, at once.
---@param path string
---@return fun(event: table)
function M.to_file(path)
  local file, problem = io.open(path, "a")
  if not file then require("errors").raise { code = "Audit", path = path, message = problem } end
  file:setvbuf "line"
  return function(event) file:write(json.encode(event, { sort = true }), "\n") end
end

return M
