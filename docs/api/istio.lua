---@meta istio
-- Istio without a mesh: who gets a sidecar, what a policy lets through and why, what is wrong with objects.
-- Pure functions; objects are lists of API objects. istio.try.NAME returns nil and the error instead of raising.

local istio = {}

---Whether a pod gets a sidecar. Config: revision ("default"), policy ("enabled"), neverInjectSelector,
---alwaysInjectSelector, enable_namespaces_by_default, ignored_namespaces, webhooks (a configuration).
---@param namespace table the Namespace object, or {name, labels}
---@param pod table
---@param config table?
---@return boolean, string why
function istio.would_inject(namespace, pod, config) end

---Whether a request to a workload is let through; nil when an external authorizer decides (stage "custom").
---workload: namespace, labels, ports (by number: "http" or "tcp"), gateway, waypoint, ztunnel.
---request: source {principal, ip, remote_ip}, method, path, host, port, headers, claims of a token that verifies,
---token = "invalid" for one that does not, protocol "http" or "tcp", sni.
---@param objects table[]
---@param workload table
---@param request table
---@param options table? root_namespace, trust_domain, trust_domain_aliases, path_normalization
---@return boolean?, {stage: "mtls"|"jwt"|"custom"|"deny"|"allow", status: integer?, policy: string?, rule: integer?, field: string?} why
---  of what was refused by ALLOW: the first rule, and the field because of which it does not match
function istio.allowed(objects, workload, request, options) end

---What a client's proxy sends: with its identity ("mtls"), without ("plaintext", "tls").
---@param objects table[]
---@param client {namespace: string, labels: table?, sidecar: boolean}
---@param server {namespace: string, host: string, port: integer, labels: table} labels of the pod that answers
---@param options {root_namespace: string?}?
---@return "mtls"|"plaintext"|"tls", string why
function istio.client(objects, client, server, options) end

---What is wrong with objects when they are looked at together; codes of istioctl (IST…) and our own (KF…).
---@param objects table[]
---@param options table? root_namespace, injection, native_sidecars, late_webhooks
---@return {code: string, severity: "error"|"warning"|"info", message: string, object: string}[]
function istio.analyze(objects, options) end

---@param object table
---@return {path: string, message: string, severity: "error"|"warning"}[] what CRD and webhook say
function istio.validate(object) end

---Makes objects that a profile needs: allow, deny_all, peer_authentication, destination_rule, sidecar,
---profile_policy, principal.
istio.build = {}

return istio
