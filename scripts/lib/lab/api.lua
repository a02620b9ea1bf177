-- lab.api: the Kubernetes API of a lab as a function from a request to a response.
-- Not for sockets (lab.serve) and not for what happens after a write (lab.controllers).
--   local cluster = api.new{}; local response = cluster:handle{ method = "GET", path = "/version", headers = {} }
--
-- A request goes through: who are you (auth), may you (rbac), the verb (rest, lists, watches, subresources).
-- A write goes through: decoding, defaults, mutating admission, validation, validating admission, the store.

local answer = require "lab.answer"
local errors = require "errors"
local json = require "json"
local negotiate = require "lab.negotiate"
local registry = require "lab.registry"
local route = require "lab.route"
local status = require "lab.status"
local store = require "lab.store"

local M = {}

---@class lab.Cluster
local cluster = {}
cluster.__index = cluster

---@class lab.Context all that is known of a request while it is answered
---@field cluster lab.Cluster
---@field request table
---@field headers table<string, string>
---@field query table<string, string[]>
---@field route lab.Route
---@field user {name: string, uid: string?, groups: string[], extra: table?}
---@field resource lab.Resource?
---@field form lab.Form?
---@field warnings string[]
---@field dry_run boolean
---@field manager string field manager

---@param options {now: (fun(): number)?, admin_token: string?, ca: string?, webhooks: boolean?}?
---@return lab.Cluster
function M.new(options)
  options = options or {}
  local self = setmetatable({
    options = options, store = store.new { revision = 0 }, registry = registry.new(), skew = 0,
    faults = {}, log = {},
  }, cluster)
  local kept = options.state
  if kept then self.store.journal = function(event, collection) kept:keep(event, collection) end end
  self.auth = require("lab.auth").new(self, options)
  self.rbac = require("lab.rbac").new(self)
  self.crds = require("lab.crd").new(self)
  self.admission = require("lab.admission").new(self)
  require("lab.rules").attach(self)
  if kept and not kept:is_empty() then kept:load(self) else require("lab.bootstrap").run(self) end
  return self
end

---@return number seconds since 1970 on the lab's clock
function cluster:now()
  return (self.options.now or os.time)() + self.skew
end

---@return number seconds since 1970 with their fraction
function cluster:now_exact()
  if self.options.now then return self:now() end
  local wall, mono = os.time(), require("task").now()
  if not self.wall_start then self.wall_start = wall - mono end
  return self.wall_start + mono + self.skew
end

---@return string the time as RFC 3339
function cluster:time() return require("lab.clock").text(self:now()) end

---@param resource lab.Resource
---@return lab.Collection
function cluster:collection(resource) return self.store:collection(resource.stored) end

-- --- one request ----------------------------------------------------------------------------------

local function manager_of(ctx)
  local given = ctx.query.fieldManager and ctx.query.fieldManager[1]
  if given and given ~= "" then return given end
  local agent = ctx.headers["user-agent"] or ""
  return (agent:match "^[^/]*"):sub(1, 128)
end

local function context_of(self, request)
  local query = route.query(request.query)
  local ctx = {
    cluster = self, request = request, headers = request.headers or {}, query = query, warnings = {},
    route = route.parse(request.method, request.path, query), dry_run = false,
  }
  ctx.manager = manager_of(ctx)
  return ctx
end

local HANDLERS = {
  get = "lab.rest", create = "lab.rest", update = "lab.rest", patch = "lab.rest", delete = "lab.rest",
  deletecollection = "lab.rest", list = "lab.lists", watch = "lab.watches",
}

local function run_resource(ctx)
  local r = ctx.route
  local resource = ctx.cluster.registry:find(r.group, r.version, r.plural)
  if not resource then
    if not ctx.cluster.registry.groups[r.group] then return answer.text(404, "404 page not found\n") end
    status.no_resource()
  end
  if not r.verb then status.method_not_allowed() end
  local is_proxy = r.subresource == "proxy" and r.group == ""
  if r.rest and not is_proxy then status.no_resource() end
  if resource.namespaced ~= (r.namespace ~= nil) and (resource.namespaced and (r.name or r.verb == "create")
    or not resource.namespaced and r.plural ~= "namespaces") then
    status.no_resource()
  end
  ctx.resource = resource
  ctx.form = negotiate.accept(ctx.headers, ctx.query)
  if is_proxy then return require("lab.service_proxy").run(ctx) end
  if r.subresource then return require("lab.subresources").run(ctx) end
  if not resource.may[r.verb] then status.method_not_allowed() end
  if r.verb == "create" and r.name or (r.verb == "update" or r.verb == "patch") and not r.name then
    status.method_not_allowed()
  end
  local review = require("lab.reviews").handlers[resource.stored]
  if review then return review(ctx) end
  return require(HANDLERS[r.verb])[r.verb](ctx)
end

local function run(ctx)
  local faults = ctx.cluster.fault_controller
  local met = faults and #faults.list > 0 and faults:meet(ctx.request)
  if met then return met end
  ctx.cluster.auth:identify(ctx)
  ctx.cluster.rbac:check(ctx)
  if ctx.route.resource then return run_resource(ctx) end
  return require("lab.paths").run(ctx)
end

local function traced(problem)
  if status.is(problem) then return problem end
  if errors.is(problem, "Cancelled") or errors.is(problem, "Closed") then return problem end
  return { internal = errors.text(problem), traceback = debug.traceback(nil, 2) }
end

-- What went wrong in the lab itself is answered as the real server answers a panic, and kept for a look.
local function internal(self, ctx, problem)
  local text = type(problem) == "table" and problem.internal or tostring(problem)
  self.log[#self.log % 100 + 1] = text .. (type(problem) == "table" and problem.traceback or "")
  if self.options.on_error then self.options.on_error(ctx, text, type(problem) == "table" and problem.traceback) end
  return answer.failure(ctx, status.new(500, "InternalError", "Internal error occurred: " .. text))
end

---@param request {method: string, path: string, query: string?, headers: table, body: string?, peer: table?}
---@return {status: integer, headers: table, body: string?, stream: function?} response
function cluster:handle(request)
  local ctx = context_of(self, request)
  local received = self.audit and self:now_exact()
  local ok, response = xpcall(run, traced, ctx)
  if not ok then
    if status.is(response) then
      ctx.form = ctx.form or { pretty = negotiate.wants_pretty(ctx.headers, ctx.query) or response.status == 406 }
      if response.status == 406 then ctx.form.pretty = true end
      response = answer.failure(ctx, response)
    elseif errors.is(response) then
      error(response, 0)
    else
      ctx.form = nil
      response = internal(self, ctx, response)
    end
  end
  if request.method == "HEAD" then response.body = nil end
  if received and not request.internal then self.audit(require("lab.audit").event(ctx, response, received)) end
  return response
end

-- --- calls from inside ----------------------------------------------------------------------------

---A request by the lab itself: a controller, the scheduler, a node agent.
---@param method string
---@param path string
---@param options {query: string?, body: table?, type: string?, manager: string?}?
---@return table? object decoded; nil when it failed
---@return integer status
---@return table? problem the Status
function cluster:call(method, path, options)
  options = options or {}
  local response = self:handle {
    method = method, path = path, query = options.query, internal = true,
    headers = { ["user-agent"] = options.manager or "kube-controller-manager",
                ["content-type"] = options.type or "application/json" },
    body = options.body and json.encode(options.body),
  }
  local value = response.body and response.body ~= "" and json.decode(response.body) or nil
  if response.status >= 300 then return nil, response.status, value end
  return value, response.status
end

return M
