-- lab.route: what a request's path, query and method mean.
-- Not for whether it exists or is allowed.
--   route.parse("GET", "/api/v1/namespaces/a/pods/b/log", query) -> {verb="get", plural="pods", …}

local M = {}

local function unescape(text)
  return (text:gsub("%%(%x%x)", function(hex) return string.char(tonumber(hex, 16)) end))
end

---@param raw string? the query as it was sent
---@return table<string, string[]> values of each name
function M.query(raw)
  local query = {}
  for pair in (raw or ""):gmatch "[^&]+" do
    local name, value = pair:match "^([^=]*)=?(.*)$"
    name = unescape((name:gsub("+", " ")))
    local values = query[name]
    if not values then
      values = {}
      query[name] = values
    end
    values[#values + 1] = unescape((value:gsub("+", " ")))
  end
  return query
end

---@param query table<string, string[]>
---@return boolean whether a switch is on, as Go reads it ("", "0" and "false" are off)
function M.is_on(query, name)
  local values = query[name]
  local value = values and values[1]
  return value ~= nil and value ~= "false" and value ~= "0" and value ~= ""
end

local function segments_of(path)
  local list = {}
  for segment in path:gmatch "[^/]+" do list[#list + 1] = unescape(segment) end
  return list
end

local VERBS = { POST = "create", PUT = "update", PATCH = "patch" }

local function verb_of(method, route, query)
  if method == "GET" or method == "HEAD" then
    if route.watch_path or M.is_on(query, "watch") then return "watch" end
    return route.name and "get" or "list"
  end
  if method == "DELETE" then return route.name and "delete" or "deletecollection" end
  return VERBS[method]
end

---@class lab.Route
---@field path string
---@field verb string for resources one of RBAC's verbs, else the method in small letters
---@field resource boolean whether it is about a resource
---@field group string?
---@field version string?
---@field plural string?
---@field namespace string?
---@field name string?
---@field subresource string?
---@field rest string[]? further segments after the subresource
---@field watch_path boolean? the deprecated /watch/ form

-- The part of a path after the version.
local function read_resource(route, list, at)
  if list[at] == "watch" then
    route.watch_path = true
    at = at + 1
  end
  if list[at] == "namespaces" and list[at + 1] then
    local third = list[at + 2]
    if not third or (route.group == "" and (third == "status" or third == "finalize") and not list[at + 3]) then
      route.plural, route.name, route.namespace, route.subresource = "namespaces", list[at + 1], list[at + 1], third
      return
    end
    route.namespace = list[at + 1]
    at = at + 2
  end
  route.plural, route.name, route.subresource = list[at], list[at + 1], list[at + 2]
  if list[at + 3] then route.rest = table.move(list, at + 3, #list, 1, {}) end
end

---@param method string
---@param path string
---@param query table<string, string[]>
---@return lab.Route
function M.parse(method, path, query)
  local list = segments_of(path)
  local route = { path = path, method = method, resource = false, verb = method:lower() }
  local at
  if list[1] == "api" and list[2] then
    route.group, route.version, at = "", list[2], 3
  elseif list[1] == "apis" and list[3] then
    route.group, route.version, at = list[2], list[3], 4
  elseif list[1] == "apis" and list[2] then
    route.group = list[2]
  end
  if not at or not list[at] then return route end
  read_resource(route, list, at)
  if not route.plural then return route end
  route.resource = true
  route.verb = verb_of(method, route, query)
  return route
end

return M
