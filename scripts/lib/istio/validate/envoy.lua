-- Rules for EnvoyFilter. A part of istio.validate.
local is_set = require "istio.validate.values".is_set
local regex = require "regex"

local M = {}

local APPLY_TO = { "LISTENER", "FILTER_CHAIN", "NETWORK_FILTER", "HTTP_FILTER", "ROUTE_CONFIGURATION", "VIRTUAL_HOST",
  "HTTP_ROUTE", "CLUSTER", "EXTENSION_CONFIG", "BOOTSTRAP", "LISTENER_FILTER" }
local OPERATIONS = { "MERGE", "ADD", "REMOVE", "INSERT_BEFORE", "INSERT_AFTER", "INSERT_FIRST", "REPLACE",
  "MERGE_AND_REPLACE_LIST" }
local CONTEXTS = { "ANY", "SIDECAR_INBOUND", "SIDECAR_OUTBOUND", "GATEWAY", "WAYPOINT" }

-- Which part of `match` a patch may use.
local MATCH_OF = {
  LISTENER = "listener", FILTER_CHAIN = "listener", NETWORK_FILTER = "listener", HTTP_FILTER = "listener",
  LISTENER_FILTER = "listener", ROUTE_CONFIGURATION = "routeConfiguration", VIRTUAL_HOST = "routeConfiguration",
  HTTP_ROUTE = "routeConfiguration", CLUSTER = "cluster",
}
local MATCHES = { "listener", "routeConfiguration", "cluster" }
local MANAGERS = { ["envoy.filters.network.http_connection_manager"] = true, ["envoy.http_connection_manager"] = true }

-- --- match ----------------------------------------------------------------------------------------------------

local function check_filter(checker, path, patch, filter)
  if patch.applyTo == "LISTENER" or patch.applyTo == "FILTER_CHAIN" then
    checker:warning(path, "filter match has no effect when used with %s", patch.applyTo)
  end
  if not is_set(filter.name) then return checker:error(path .. ".name", "filter match has no name to match on") end
  local inner = filter.subFilter
  if not inner then return end
  path = path .. ".subFilter"
  if patch.applyTo ~= "HTTP_FILTER" then
    checker:error(path, "subfilter match can be used with applyTo HTTP_FILTER only")
  elseif not MANAGERS[filter.name] then
    checker:error(path, "subfilter match requires filter match with envoy.filters.network.http_connection_manager")
  elseif not is_set(inner.name) then
    checker:error(path .. ".name", "subfilter match has no name to match on")
  end
end

local function check_waypoint(checker, path, match)
  local others = match.listener or match.routeConfiguration or match.cluster
  local waypoint = match.context == "WAYPOINT"
  if match.waypoint and not waypoint or waypoint and others then
    checker:error(path, "only support waypointMatch when context is WAYPOINT")
  end
end

local function check_ports(checker, path, match)
  for _, name in ipairs { "listener", "routeConfiguration", "cluster", "waypoint" } do
    local number = (match[name] or {}).portNumber
    if number and number ~= 0 then checker:port(("%s.%s.portNumber"):format(path, name), number) end
  end
end

local function check_match(checker, path, patch)
  local wanted, match = MATCH_OF[patch.applyTo], patch.match or {}
  path = path .. ".match"
  for _, name in ipairs(MATCHES) do
    if match[name] and wanted and name ~= wanted then
      checker:error(path .. "." .. name, "applyTo %s cannot be matched by %s", patch.applyTo, name)
    end
  end
  checker:one_of(path .. ".context", match.context, CONTEXTS)
  check_waypoint(checker, path, match)
  check_ports(checker, path, match)
  local filter = wanted == "listener" and ((match.listener or {}).filterChain or {}).filter
  if filter then check_filter(checker, path .. ".listener.filterChain.filter", patch, filter) end
  local version = (match.proxy or {}).proxyVersion
  if is_set(version) and not regex.try.compile(version) then
    checker:error(path .. ".proxy.proxyVersion", "invalid regex: %s", version)
  end
end

-- --- patch ----------------------------------------------------------------------------------------------------

local FILTERS = { HTTP_FILTER = true, NETWORK_FILTER = true }

local function check_value(checker, path, patch)
  local value = patch.patch.value
  if value == nil then
    if patch.patch.operation ~= "REMOVE" then
      checker:error(path, "missing patch value for non-remove operation")
    end
    return
  end
  if type(value) ~= "table" then return checker:error(path, "must be an object") end
  local config = value.typed_config or value.typedConfig
  if type(config) == "table" and not is_set(config["@type"]) then
    checker:error(path .. ".typed_config", "a typed_config needs @type")
  end
  local discovered = config or value.config_discovery or value.configDiscovery
  if FILTERS[patch.applyTo] and is_set(value.name) and not discovered and patch.patch.operation ~= "REMOVE" then
    checker:warning(path, "%s is found by its name alone: without typed_config that is deprecated", value.name)
  end
end

local function check_patch(checker, path, patch)
  if not is_set(patch.applyTo) then checker:error(path .. ".applyTo", "missing applyTo")
  else checker:one_of(path .. ".applyTo", patch.applyTo, APPLY_TO) end
  check_match(checker, path, patch)
  if not patch.patch then return checker:error(path .. ".patch", "missing patch") end
  local operation = patch.patch.operation
  if not is_set(operation) then checker:error(path .. ".patch.operation", "missing patch operation")
  else checker:one_of(path .. ".patch.operation", operation, OPERATIONS) end
  check_value(checker, path .. ".patch.value", patch)
end

---@param checker istio.Checker
---@param spec table
function M.EnvoyFilter(checker, spec)
  checker:warning("spec", "EnvoyFilter exposes internal implementation details that may change at any time")
  if spec.workloadSelector and #(spec.targetRefs or {}) > 0 then
    checker:error("spec", "only one of targetRefs or workloadSelector can be set")
  end
  checker:selector("spec.workloadSelector", spec.workloadSelector, "labels")
  for i, patch in ipairs(spec.configPatches or {}) do
    check_patch(checker, ("spec.configPatches[%d]"):format(i - 1), patch)
  end
end

return M
