-- kube.lease: leader election by a Lease: one of several processes leads, and writes only while it surely does.
-- Not for locks of short duration. A paused process that wakes up late writes nothing: every write of the client
-- that leads is checked against the monotonic clock.
--   c:lead { name = "controller", run = function(c) … end }

local errors = require "errors"
local hash = require "hash"
local host = require "host"
local log = require "kube.log"
local rest = require "kube.rest"
local task = require "task"
local time = require "kube.time"

local M = {}

local DURATION <const>, RENEW_WITHIN <const>, RETRY <const> = 15, 10, 2 -- seconds
local JITTER <const> = 0.2 -- of the retry period
local MARGIN <const> = 2 -- seconds before the lease's end after which nothing is written

local lead = {}
lead.__index = lead

-- --- the lease on the server ------------------------------------------------------------------------------

local function send(self, method, body, name)
  local path = "/apis/coordination.k8s.io/v1/namespaces/" .. self.namespace .. "/leases" .. (name and "/" .. name or "")
  local request = {
    method = method, path = path, resource = "leases", namespace = self.namespace, name = self.name, exempt = true,
    verb = ({ GET = "get", POST = "create", PUT = "update" })[method], body = body and require("json").encode(body),
    transport = self.transport, timeout = self.retry * 2.5, lease = true,
  }
  return rest.decode(rest.send(self.client, request), request, self.client)
end

local function spec_for(self, old)
  local now = time.micro(os.time() + task.now() % 1)
  local same = old and old.holderIdentity == self.identity
  return {
    holderIdentity = self.identity, leaseDurationSeconds = self.duration, renewTime = now,
    acquireTime = same and old.acquireTime or now,
    leaseTransitions = old and (old.leaseTransitions or 0) + (same and 0 or 1) or 0,
  }
end

local function is_free(spec)
  return spec.holderIdentity == nil or spec.holderIdentity == ""
end

-- Whether the other holder has been silent for the whole of its lease, by our own clock.
local function is_over(self, lease)
  local version = lease.metadata.resourceVersion
  if self.observed ~= version then self.observed, self.observed_at = version, task.now() end
  local duration = lease.spec.leaseDurationSeconds or self.duration
  return task.now() - self.observed_at >= duration
end

-- Tries to take or renew the lease. The moment from which it counts is before the request.
local function acquire(self)
  local began = task.now()
  local lease, problem = self.client.try:get("leases.v1.coordination.k8s.io", self.name,
    { namespace = self.namespace, transport = self.transport, timeout = self.retry * 2.5 })
  if not lease then
    if not errors.is(problem, "NotFound") then error(problem, 0) end
    send(self, "POST", {
      apiVersion = "coordination.k8s.io/v1", kind = "Lease",
      metadata = { name = self.name, namespace = self.namespace }, spec = spec_for(self),
    })
  else
    local spec = lease.spec or {}
    lease.spec = spec
    if spec.holderIdentity ~= self.identity and not is_free(spec) and not is_over(self, lease) then return false end
    lease.spec = spec_for(self, spec)
    send(self, "PUT", lease, self.name)
  end
  self.valid_until = began + self.duration
  return true
end

local function try_acquire(self)
  local ok, result = pcall(acquire, self)
  if ok then return result end
  if not errors.is(result) or result.code == "Cancelled" then error(result, 0) end
  self.last_error = result
  return false
end

-- --- the fence --------------------------------------------------------------------------------------------

-- Every write asks here first; the clock is monotonic, so sleeping does not help anyone past it.
local function fence_for(self)
  return function(request)
    if request.lease then return end
    if self.valid_until and task.now() < self.valid_until - MARGIN then return end
    errors.raise {
      code = "Refused", verb = request.verb, resource = request.resource, namespace = request.namespace,
      name = request.name, message = ("%s %s: this process no longer leads (lease %s/%s)"):format(request.verb,
        request.resource or request.path, self.namespace, self.name),
    }
  end
end

---Whether a write would be let through now.
---@return boolean
function lead:leads()
  return self.valid_until ~= nil and task.now() < self.valid_until - MARGIN
end

-- --- the life of a leader ---------------------------------------------------------------------------------

local function period(self)
  return self.retry * (1 + JITTER * math.random())
end

-- Whether the work has ended within the time; how it ended is for its own wait to tell.
local function has_ended(work, seconds)
  local ok, problem = pcall(work.wait, work, seconds)
  if not ok and errors.is(problem, "Cancelled") and work:status() == "running" then error(problem, 0) end
  return work:status() ~= "running"
end

-- Renews until it has not worked for too long, or the work is done.
local function keep(self, work)
  while not has_ended(work, period(self)) do
    try_acquire(self)
    if task.now() >= self.valid_until - self.duration + self.renew_within then return false end
  end
  return true
end

local function release(self)
  if not self:leads() then return end
  local lease = self.client.try:get("leases.v1.coordination.k8s.io", self.name,
    { namespace = self.namespace, transport = self.transport, timeout = self.retry })
  if not lease or lease.spec.holderIdentity ~= self.identity then return end
  lease.spec.holderIdentity, lease.spec.leaseDurationSeconds = "", 1
  pcall(send, self, "PUT", lease, self.name)
end

-- Leads once: the result of the work, or nil when leadership was lost.
local function lead_once(self)
  while not try_acquire(self) do task.sleep(period(self)) end
  log.write(self.client.log, { event = "leader", message = ("leads by lease %s/%s"):format(self.namespace, self.name) })
  local work = task.spawn(self.run, self.client, self)
  local ok, done = pcall(keep, self, work)
  if not (ok and done) then work:cancel() end
  local finished, result = pcall(work.wait, work)
  if ok and done then release(self) end
  self.valid_until = nil
  if not ok then error(done, 0) end
  if done then
    if not finished then error(result, 0) end
    return true, result
  end
  log.warn(self.client.log, ("no longer leads by lease %s/%s"):format(self.namespace, self.name))
  return false
end

---Waits for the lease, runs the function while it is held, gives it back. When it is lost the function is
---cancelled, and, with `once = false`, everything begins again. While it runs, writes of this client are let
---through only until two seconds before the end of the lease.
---@param options {name: string, namespace: string?, identity: string?, run: fun(client: table, lead: table): any,
---  once: boolean?, duration: number?, renew_within: number?, retry: number?}
---@return any what the function returned
---raises what it raised; {code="Refused"} when leadership was lost and `once` is true
function M:lead(options)
  if type(options) ~= "table" or type(options.name) ~= "string" or type(options.run) ~= "function" then
    error("lead: name and run expected", 2)
  end
  local state = setmetatable({
    client = self, name = options.name, namespace = options.namespace or self.namespace, run = options.run,
    identity = options.identity or ("%s_%s"):format(host.pid(), hash.random_hex(8)),
    duration = options.duration or DURATION, renew_within = options.renew_within or RENEW_WITHIN,
    retry = options.retry or RETRY, transport = self:new_transport(),
  }, lead)
  local outer = self.fence
  self.fence = fence_for(state)
  local closer <close> = setmetatable({}, { __close = function() -- luacheck: ignore
    self.fence = outer
    if state.transport and state.transport ~= self.transport and state.transport.close then state.transport:close() end
  end })
  while true do
    local done, result = lead_once(state)
    if done then return result end
    if options.once then
      errors.raise { code = "Refused", message = ("the lease %s/%s was lost"):format(state.namespace, state.name) }
    end
    task.sleep(period(state))
  end
end

return M
