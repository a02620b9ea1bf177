-- lab.mesh.filters: what EnvoyFilters do to the requests that leave a pod: headers that they add or set.
-- Only that: request_headers_to_add of virtual hosts and routes, and Lua filters that touch headers.
--   filters.outbound(mesh, carried, head)

local authentication = require "istio.authentication"

local M = {}

-- --- which patches hold -----------------------------------------------------------------------------

local function is_outbound(patch)
  local context = (patch.match or {}).context
  return context == nil or context == "SIDECAR_OUTBOUND" or context == "ANY"
end

-- The virtual host and the port that a patch names, if it does, are those of the service.
local function is_meant(patch, c)
  local match, service = patch.match or {}, c.target.service
  local host, port = ((match.routeConfiguration or {}).vhost or {}).name, (match.listener or {}).portNumber
  if not host and not port then return true end
  if not service then return false end
  local m, number = service.metadata, c.target.service_port.port
  if port and port ~= number then return false end
  return not host or host == ("%s.%s.svc.cluster.local:%d"):format(m.name, m.namespace, number)
end

-- --- headers of routes ------------------------------------------------------------------------------

local APPENDS = "APPEND_IF_EXISTS_OR_ADD"

local function add(head, entry)
  local key, value = entry.header.key:lower(), entry.header.value
  local old = head.headers[key]
  local action = entry.append_action or entry.append == false and "OVERWRITE_IF_EXISTS_OR_ADD" or APPENDS
  if action == "ADD_IF_ABSENT" and old then return end
  head.headers[key] = action == APPENDS and old and old .. "," .. value or value
end

-- --- Lua filters ------------------------------------------------------------------------------------

local PRELUDE = [[
local values, log = ..., function() end
local headers = {}
function headers:get(name) return values[name:lower()] end
function headers:replace(name, value) values[name:lower()] = value end
function headers:remove(name) values[name:lower()] = nil end
function headers:add(name, value)
  local old = values[name:lower()]
  values[name:lower()] = old and old .. "," .. value or value
end
local handle = {}
function handle:headers() return headers end
for _, level in ipairs { "Trace", "Debug", "Info", "Warn", "Err", "Critical" } do handle["log" .. level] = log end
]]

-- The filter's code is a stranger's: it runs in a sandbox, on copies of the headers.
local function run_lua(code, head)
  local chunk = PRELUDE:gsub("local values, log = %.%.%.,", "local values, log = headers_given,") .. code
    .. "\nif envoy_on_request then envoy_on_request(handle) end\nreturn values"
  local changed = require("sandbox").run(chunk, { globals = { headers_given = head.headers }, timeout = 0.5 })
  if type(changed) == "table" then head.headers = changed end
end

local function lua_of(value)
  local config = value.typed_config or {}
  if not (config["@type"] or ""):find("filters.http.lua.", 1, true) then return nil end
  return config.inlineCode or config.inline_code or (config.default_source_code or {}).inline_string
end

-- --- all --------------------------------------------------------------------------------------------

local APPLIES = {
  VIRTUAL_HOST = true, ROUTE_CONFIGURATION = true, HTTP_ROUTE = true, HTTP_FILTER = true,
}

local function apply(patch, head)
  local value = (patch.patch or {}).value or {}
  for _, entry in ipairs(value.request_headers_to_add or {}) do add(head, entry) end
  local code = patch.applyTo == "HTTP_FILTER" and lua_of(value)
  if code then run_lua(code, head) end
end

---@param mesh lab.Mesh
---@param c lab.Carried
---@param head lab.RequestHead is changed
function M.outbound(mesh, c, head)
  if not c.client.sidecar then return end
  for _, filter in ipairs(authentication.of_kind(mesh:objects(), "EnvoyFilter")) do
    local place, spec = authentication.namespace(filter), filter.spec or {}
    local selected = authentication.selects((spec.workloadSelector or {}).labels, c.client.labels or {})
    if selected and (place == c.client.namespace or place == mesh.options.root_namespace) then
      for _, patch in ipairs(spec.configPatches or {}) do
        if APPLIES[patch.applyTo] and is_outbound(patch) and is_meant(patch, c) then apply(patch, head) end
      end
    end
  end
end

return M
