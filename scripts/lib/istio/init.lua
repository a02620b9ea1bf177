-- Istio without a mesh: who gets a sidecar, what a policy lets through and why, what is wrong with objects.
-- Not for talking to a cluster. Pure functions.
--   local ok, why = istio.allowed(objects, workload, request)
local M = {}

---Whether a pod gets a sidecar, and why.
---@param namespace table the Namespace object, or {name, labels}
---@param pod table
---@param config table? see istio.inject
---@return boolean, string why
function M.would_inject(namespace, pod, config)
  return require "istio.inject".would_inject(namespace, pod, config)
end

---Whether a request to a workload is let through; nil when an external authorizer decides.
---@param objects table[]
---@param workload table
---@param request table
---@param options {root_namespace: string?, trust_domain: string?, trust_domain_aliases: string[]?}?
---@return boolean?, {stage: string, status: integer?, policy: string?, rule: integer?, field: string?} why
function M.allowed(objects, workload, request, options)
  return require "istio.authorization".allowed(objects, workload, request, options)
end

---What a client's proxy sends to a workload: with its identity ("mtls"), without ("plaintext", "tls").
---@param objects table[]
---@param client {namespace: string, labels: table?, sidecar: boolean}
---@param server {namespace: string, host: string, port: integer, labels: table}
---@param options {root_namespace: string?}?
---@return "mtls"|"plaintext"|"tls", string why
function M.client(objects, client, server, options)
  return require "istio.authentication".client(objects, client, server, options)
end

---What is wrong with objects when they are looked at together.
---@param objects table[]
---@param options table? see istio.analyze
---@return {code: string, severity: string, message: string, object: string}[]
function M.analyze(objects, options)
  return require "istio.analyze".analyze(objects, options)
end

---What the API server's rules and the webhook say about one object.
---@param object table
---@return {path: string, message: string, severity: "error"|"warning"}[]
function M.validate(object)
  return require "istio.validate".validate(object)
end

M.build = require "istio.build"

M.try = require "errors".try(M)

return M
