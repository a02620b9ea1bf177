-- Analyzers of EnvoyFilter's patches. A part of istio.analyze.
local authentication = require "istio.authentication"

local M = {}

local OF_ROUTES = { ROUTE_CONFIGURATION = true, HTTP_ROUTE = true }
local OF_FILTERS = { HTTP_FILTER = true, NETWORK_FILTER = true }
local INSERTS = { INSERT_BEFORE = true, INSERT_AFTER = true }

-- What a patch is about: the filter that it brings or, without a name, the one that it is put beside.
local function subject_of(entry)
  local value = (entry.patch or {}).value
  if type(value) ~= "table" then return "" end
  if value.name then return tostring(value.name) end
  local listener = (entry.match or {}).listener or {}
  return ((listener.filterChain or {}).filter or {}).name or ""
end

-- The code of what is wrong with an operation; "relative" when it depends on other filters.
local function judge(entry)
  local operation, applies = (entry.patch or {}).operation, entry.applyTo
  if operation == "ADD" then return OF_ROUTES[applies] and "IST0153" or nil end
  if operation == "REMOVE" then return OF_ROUTES[applies] and "IST0154" or "relative" end
  if operation == "REPLACE" then return OF_FILTERS[applies] and "relative" or "IST0152" end
  return INSERTS[operation] and "relative" or nil
end

local WRONG = { IST0152 = "REPLACE is for HTTP_FILTER and NETWORK_FILTER, not for %s",
  IST0153 = "ADD has no effect on %s", IST0154 = "REMOVE has no effect on %s" }

-- Filters that a patch for certain versions of the proxy is about come to stand elsewhere in others.
local function note_version(entry, versioned)
  local version = ((entry.match or {}).proxy or {}).proxyVersion
  if (version or "") ~= "" then versioned[subject_of(entry)] = true end
end

function M.envoy_filters(a)
  local versioned = {}
  for _, filter in ipairs(authentication.of_kind(a.objects, "EnvoyFilter")) do
    local spec = filter.spec or {}
    for i, entry in ipairs(spec.configPatches or {}) do
      local code, where = judge(entry), ("patch %d"):format(i)
      if code == "relative" then
        if (spec.priority or 0) == 0 and versioned[subject_of(entry)] then
          a:add("IST0155", "warning", filter, "%s is relative to others (%s), there is no priority, and another patch "
            .. "of the same filter is for some versions of the proxy only", where, entry.patch.operation)
        elseif (spec.priority or 0) == 0 then
          a:add("IST0151", "warning", filter, "%s is relative to others (%s), and there is no priority", where,
            entry.patch.operation)
        end
      elseif code then
        a:add(code, "error", filter, "%s: " .. WRONG[code], where, tostring(entry.applyTo))
      end
      note_version(entry, versioned)
    end
  end
end

return M
