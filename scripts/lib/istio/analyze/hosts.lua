-- Hosts that a namespace sees: services and ServiceEntries. A part of istio.analyze.
local authentication = require "istio.authentication"
local match = require "istio.match"
local read = require "istio.analyze.read"

local M = {}

local EXPORT = "networking.istio.io/exportTo"

-- Whether what is exported to some namespaces is seen in one of them.
local function is_seen(list, own, namespace)
  if #list == 0 then return true end
  for _, to in ipairs(list) do
    if to == "*" or to == namespace or to == "." and own == namespace then return true end
  end
  return false
end

local function service_of(a, full, namespace)
  local name, place = full:match "^([^.]+)%.([^.]+)%.svc%.cluster%.local$"
  for _, service in ipairs(read.of_kind(a.objects, "Service")) do
    if service.metadata.name == name and authentication.namespace(service) == place then
      local to = {}
      for one in (((service.metadata.annotations or {})[EXPORT] or "") .. ","):gmatch "%s*([^,%s]+)%s*," do
        to[#to + 1] = one
      end
      if is_seen(to, place, namespace) then return service end
    end
  end
end

local function entry_of(a, host, full, namespace)
  for _, entry in ipairs(authentication.of_kind(a.objects, "ServiceEntry")) do
    local spec = entry.spec or {}
    for _, known in ipairs(is_seen(spec.exportTo or {}, authentication.namespace(entry), namespace)
      and spec.hosts or {}) do
      if match.text(known, full) or match.text(known, host) then return entry end
    end
  end
end

---A host as a namespace sees it.
---@param a istio.Analysis
---@param host string
---@param namespace string
---@return {object: table, ports: integer[]}? # nil when there is none
function M.find(a, host, namespace)
  local full = authentication.full_name(host, namespace)
  if full:find("*", 1, true) then return { ports = {} } end
  local object = service_of(a, full, namespace) or entry_of(a, host, full, namespace)
  if not object then return nil end
  local ports = {}
  for i, port in ipairs((object.spec or {}).ports or {}) do ports[i] = port.port or port.number end
  return { object = object, ports = ports }
end

return M
