-- policy.serve: a set of policies as admission webhooks, with a second port for health and metrics.
-- Not for controllers' writes yet: watches and schedules are run by policy.controller.
--   local service = serve.start(set, { port = 8443, ops_port = 8081 }); service.webhook.port

local answer = require "policy.serve.answer"
local certificates = require "policy.serve.certificates"
local metrics = require "policy.serve.metrics"
local server = require "server"
local task = require "task"

local M = {}

local MAX_BODY = 8 << 20 -- an object and the one before it

---@class policy.Service
---@field webhook server.Server
---@field operations server.Server
---@field authority string? PEM of the authority that signed the certificate, when it was made here
local Service = {}
Service.__index = Service

local function timed(set, recorded)
  local started, name
  set.before = function(policy) started, name = task.now(), policy.name end
  set.after = function() recorded:time(name, task.now() - started) end
end

---@param set policy.Set
---@param options {address: string?, port: integer?, ops_port: integer?, names: string[]?, certificate: string?,
---  key: string?, audit: fun(line: table)?}? names: what the certificate is for
---@return policy.Service
function M.start(set, options)
  options = options or {}
  local state = { metrics = metrics.new(), audit = options.audit or function() end,
    ready = function() return true end }
  timed(set, state.metrics)
  local bundle = options.certificate and { certificate = options.certificate, key = options.key }
    or certificates.make(options.names or { "localhost", "127.0.0.1" })
  local address = options.address or "127.0.0.1"
  local webhook = server.listen { address = address, port = options.port or 0,
    certificate = bundle.certificate, key = bundle.key, handler = answer.handler(set, state), max_body = MAX_BODY }
  local operations = server.listen { address = address, port = options.ops_port or 0,
    handler = answer.operations(state) }
  state.metrics:gauge("kfhost_policy_memory_bytes", "memory of the sandbox", function() return set.box:used() end)
  return setmetatable({ webhook = webhook, operations = operations, authority = bundle.authorities, state = state },
    Service)
end

---Answers what is under way, for a time, and ends.
---@param grace number|string
---@return boolean in_time
function Service:drain(grace)
  self.state.ready = function() return false, "draining" end
  local in_time = self.webhook:drain(grace)
  self.operations:close()
  return in_time
end

return M
