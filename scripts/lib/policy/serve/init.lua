-- policy.serve: a set of policies as admission webhooks, with a second port for health and metrics.
-- Not for controllers' writes yet: watches and schedules are run by policy.controller.
--   local service = serve.start(set, { port = 8443, ops_port = 8081 }); service.webhook.port

local answer = require "policy.serve.answer"
local metrics = require "policy.serve.metrics"
local server = require "server"
local task = require "task"
local x509 = require "x509"

local M = {}

local MAX_BODY = 8 << 20 -- an object and the one before it
local CERTIFICATE_DAYS = 90

---@class policy.Service
---@field webhook server.Server
---@field operations server.Server
---@field authority string? PEM of the authority that signed the certificate, when it was made here
local Service = {}
Service.__index = Service

-- A certificate for these names, from an authority that is made with it.
local function own_certificate(names)
  local authority = x509.authority { name = "kfhost policy" }
  local pair = x509.issue(authority, { names = names, name = names[1], days = CERTIFICATE_DAYS, usage = "server" })
  return pair.certificate, pair.key, authority.certificate
end

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
  local certificate, key, authority = options.certificate, options.key, nil
  if not certificate then
    certificate, key, authority = own_certificate(options.names or { "localhost", "127.0.0.1" })
  end
  local address = options.address or "127.0.0.1"
  local webhook = server.listen { address = address, port = options.port or 0, certificate = certificate, key = key,
    handler = answer.handler(set, state), max_body = MAX_BODY }
  local operations = server.listen { address = address, port = options.ops_port or 0,
    handler = answer.operations(state) }
  state.metrics:gauge("kfhost_policy_memory_bytes", "memory of the sandbox", function() return set.box:used() end)
  return setmetatable({ webhook = webhook, operations = operations, authority = authority, state = state }, Service)
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
