-- lab.mesh.kinds: the resource definitions of Istio that the lab's mesh reads. They carry no schema.
-- Not for judging objects (istio.validate).
--   kinds.put(cluster)

local inside = require "lab.inside"
local json = require "json"

local M = {}

local DEFINITIONS = "apiextensions.k8s.io/customresourcedefinitions"

local KINDS = {
  { "security", "AuthorizationPolicy", "authorizationpolicies", { "v1", "v1beta1" }, { "ap" } },
  { "security", "PeerAuthentication", "peerauthentications", { "v1", "v1beta1" }, { "pa" } },
  { "security", "RequestAuthentication", "requestauthentications", { "v1", "v1beta1" }, { "ra" } },
  { "networking", "DestinationRule", "destinationrules", { "v1", "v1beta1", "v1alpha3" }, { "dr" } },
  { "networking", "VirtualService", "virtualservices", { "v1", "v1beta1", "v1alpha3" }, { "vs" } },
  { "networking", "Gateway", "gateways", { "v1", "v1beta1", "v1alpha3" }, { "gw" } },
  { "networking", "ServiceEntry", "serviceentries", { "v1", "v1beta1", "v1alpha3" }, { "se" } },
  { "networking", "Sidecar", "sidecars", { "v1", "v1beta1", "v1alpha3" } },
  { "networking", "EnvoyFilter", "envoyfilters", { "v1alpha3" } },
}

local function definition(entry)
  local group = entry[1]:find(".", 1, true) and entry[1] or entry[1] .. ".istio.io"
  local versions = json.array {}
  for i, name in ipairs(entry[4]) do
    versions[i] = { name = name, served = true, storage = i == 1, subresources = { status = json.object {} },
      schema = { openAPIV3Schema = { type = "object", ["x-kubernetes-preserve-unknown-fields"] = true } } }
  end
  return { metadata = { name = entry[3] .. "." .. group, labels = { app = "istio-pilot" } }, spec = {
    group = group, scope = entry.scope or "Namespaced", versions = versions,
    names = { kind = entry[2], plural = entry[3], singular = entry[2]:lower(), listKind = entry[2] .. "List",
      shortNames = entry[5], categories = { (group:gsub("%.", "-")) } } } }
end

---Makes the definitions that are not there yet.
---@param cluster lab.Cluster
---@param list table[]? {group, kind, plural, versions, short names, scope =}; default: Istio's
function M.put(cluster, list)
  for _, entry in ipairs(list or KINDS) do
    local made = definition(entry)
    if not inside.view(cluster, DEFINITIONS, nil, made.metadata.name) then
      local done, problem = inside.create(cluster, DEFINITIONS, made, "istiod")
      if not done then error(problem, 0) end
    end
  end
end

return M
