-- lab.paths: what is no resource: discovery, version, health, OpenAPI, the root.
-- Not for resources.
--   paths.run(ctx) -> response

local answer = require "lab.answer"
local json = require "json"
local negotiate = require "lab.negotiate"
local status = require "lab.status"

local M = {}

M.VERSION = { major = "1", minor = "37", patch = "2" }

local function json_response(ctx, value)
  ctx.form = ctx.form or { pretty = negotiate.wants_pretty(ctx.headers, ctx.query) }
  return answer.value(ctx, 200, value)
end

local function not_found() return answer.text(404, "404 page not found\n") end

local function version(ctx)
  local v = M.VERSION
  ctx.form = { pretty = true }
  return json_response(ctx, {
    major = v.major, minor = v.minor, emulationMajor = v.major, emulationMinor = v.minor,
    minCompatibilityMajor = v.major, minCompatibilityMinor = ("%d"):format(tonumber(v.minor) - 1),
    gitVersion = ("v%s.%s.%s+kfhost-lab"):format(v.major, v.minor, v.patch), gitCommit = "", gitTreeState = "clean",
    buildDate = "1970-01-01T00:00:00Z", goVersion = "none: the lab of kfhost", compiler = "none",
    platform = "linux/amd64",
  })
end

-- --- health ---------------------------------------------------------------------------------------

local CHECKS = { "ping", "log", "store", "informer-sync", "poststarthook/rbac/bootstrap-roles",
                 "poststarthook/start-controllers", "shutdown" }

local function health(ctx)
  local name, one = ctx.route.path:match "^/(%a+)/?(.*)$"
  if one ~= "" then return answer.text(200, "ok") end
  if not ctx.query.verbose then return answer.text(200, "ok") end
  local lines = {}
  for i, check in ipairs(CHECKS) do lines[i] = ("[+]%s ok\n"):format(check) end
  return answer.text(200, table.concat(lines) .. name .. " check passed\n")
end

-- --- discovery ------------------------------------------------------------------------------------

local function aggregated(ctx, core)
  local body, etag = ctx.cluster.registry:aggregated(core)
  local headers = {
    ["Cache-Control"] = "public", ["Etag"] = etag, ["Vary"] = "Accept",
    ["Content-Type"] = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList",
  }
  if ctx.headers["if-none-match"] == etag then
    headers["Content-Type"] = nil
    return { status = 304, headers = headers }
  end
  return { status = 200, headers = headers, body = body }
end

local function wants_aggregated(ctx)
  local form = negotiate.read(ctx.headers.accept)
  if not form then negotiate.accept(ctx.headers, ctx.query) end
  ctx.form = { yaml = form.yaml, pretty = negotiate.wants_pretty(ctx.headers, ctx.query) }
  return form.as == "APIGroupDiscoveryList"
end

local function api(ctx)
  if wants_aggregated(ctx) then return aggregated(ctx, true) end
  local address = ctx.headers.host or "127.0.0.1"
  return json_response(ctx, {
    kind = "APIVersions", versions = json.array { "v1" },
    serverAddressByClientCIDRs = json.array { { clientCIDR = "0.0.0.0/0", serverAddress = address } },
  })
end

local function apis(ctx)
  if wants_aggregated(ctx) then return aggregated(ctx, false) end
  return json_response(ctx, ctx.cluster.registry:group_list())
end

local function group(ctx, name)
  local found = ctx.cluster.registry.groups[name]
  if not found or name == "" then return not_found() end
  wants_aggregated(ctx)
  local document = ctx.cluster.registry:group_document(found)
  document.kind, document.apiVersion = "APIGroup", "v1"
  return json_response(ctx, document)
end

local function group_version(ctx, group_name, version_name)
  local list = ctx.cluster.registry:resource_list(group_name, version_name)
  if not list then return not_found() end
  wants_aggregated(ctx)
  return json_response(ctx, list)
end

local function root(ctx)
  local paths = { "/api", "/api/v1", "/apis", "/apis/", "/healthz", "/livez", "/openapi/v2", "/openapi/v3", "/readyz",
                  "/version" }
  for name, found in pairs(ctx.cluster.registry.groups) do
    if name ~= "" then
      paths[#paths + 1] = "/apis/" .. name
      for _, v in ipairs(found.order) do paths[#paths + 1] = ("/apis/%s/%s"):format(name, v.name) end
    end
  end
  table.sort(paths)
  ctx.form = { pretty = true }
  return json_response(ctx, { paths = json.array(paths) })
end

local FIXED = {
  ["/"] = root, ["/version"] = version, ["/version/"] = version, ["/api"] = api, ["/api/"] = api,
  ["/apis"] = apis, ["/apis/"] = apis,
}

local HEALTH = { healthz = true, livez = true, readyz = true }

---@param ctx lab.Context
---@return table response
function M.run(ctx)
  local path = ctx.route.path
  local method = ctx.request.method
  local head = path:match "^/([^/]*)"
  if head == "lab" and ctx.cluster.control then return ctx.cluster.control(ctx) end
  if method ~= "GET" and method ~= "HEAD" then
    if FIXED[path] or HEALTH[head] then status.method_not_allowed() end
    return not_found()
  end
  if FIXED[path] then return FIXED[path](ctx) end
  if HEALTH[head] then return health(ctx) end
  if head == "openapi" then return require("lab.openapi").run(ctx) end
  if path:match "^/api/v1/?$" then return group_version(ctx, "", "v1") end
  local group_name, version_name = path:match "^/apis/([^/]+)/([^/]+)/?$"
  if group_name then return group_version(ctx, group_name, version_name) end
  group_name = path:match "^/apis/([^/]+)/?$"
  if group_name then return group(ctx, group_name) end
  return not_found()
end

return M
