-- The recorded exchanges of tests/fixtures/wire: reading them, answering as the server did, and the call of the
-- client that an exchange stands for.
-- Not a server: one exchange is answered at a time.
--   local wire = dofile "tests/lua/support/wire.lua"; local call = wire.call(exchange)
local fs = require "fs"
local json = require "json"

local M = {}

local FOLDER = "tests/fixtures/wire/"

---@return table<string, table[]> exchanges by file name; they know their `file`
function M.load()
  local files = {}
  for _, name in ipairs(fs.list(FOLDER)) do
    if name:find "%.json$" and name ~= "manifest.json" then
      files[name] = json.decode(fs.read(FOLDER .. name), { duplicates = "last" })
      for _, exchange in ipairs(files[name]) do exchange.file = name end
    end
  end
  return files
end

---@return table<string, table<string, integer[]>> # class -> file -> sequence numbers; `reasons` of "none"
function M.manifest()
  return json.decode(fs.read(FOLDER .. "manifest.json"))
end

-- --- values as they were on the wire --------------------------------------------------------------------

---A recorded body as the text that went over the wire.
---@param body any
---@return string?
function M.text(body)
  if body == nil or type(body) == "string" then return body end
  if type(body) == "table" and body["$text"] then return body["$text"] end
  return json.encode(body)
end

---@param query table|string|nil
---@return table<string, string>
function M.query(query)
  local map = {}
  if type(query) == "string" then
    for name, value in query:gmatch "([^&=]+)=?([^&]*)" do map[name] = value end
  else
    for name, value in pairs(query or {}) do map[name] = tostring(value) end
  end
  return map
end

local function decoded(text)
  return (text:gsub("%%(%x%x)", function(hex) return string.char(tonumber(hex, 16)) end))
end

---A request of the client, as the recordings write one.
---@param options table what the transport was given
---@return {method: string, path: string, query: table<string, string>, headers: table, body: string?}
function M.seen(options)
  local path, query = options.url:match "^https?://[^/]+([^?]*)%??(.*)$"
  local map = {}
  for name, value in query:gmatch "([^&=]+)=?([^&]*)" do map[decoded(name)] = decoded(value) end
  return { method = options.method, path = decoded(path), query = map, headers = options.headers, body = options.body }
end

local function lower(headers)
  local map = {}
  for name, value in pairs(headers or {}) do
    map[name:lower()] = type(value) == "table" and table.concat(value, ", ") or value
  end
  return map
end

local function response_text(response)
  if not response.stream then return M.text(response.body) or "" end
  local lines = {}
  for index, event in ipairs(response.stream) do lines[index] = M.text(event.line) .. "\n" end
  return table.concat(lines)
end

-- A stream that gives the text in pieces of an odd size.
local function stream_of(response, headers)
  local text, at = response_text(response), 1
  return {
    status = response.status, headers = headers,
    read = function()
      if at > #text then return nil end
      at = at + 997
      return text:sub(at - 997, at - 1)
    end,
    close = function() end,
  }
end

---A transport that gives the recorded answers, one after the other, and keeps what it was asked.
---@param discovery fun(path: string): string? answers for /api and /apis
---@param responses table[]
---@return table transport, table[] seen
function M.transport(discovery, responses)
  local seen, at = {}, 0
  local function take(options)
    local request = M.seen(options)
    local document = request.method == "GET" and discovery and discovery(request.path)
    if document then return { status = 200, body = document } end
    seen[#seen + 1] = request
    at = at + 1
    return assert(responses[at], "one request too many: " .. request.method .. " " .. request.path)
  end
  return {
    request = function(_, options)
      local response = take(options)
      return { status = response.status, headers = lower(response.headers), body = response_text(response) }
    end,
    stream = function(_, options)
      local response = take(options)
      return stream_of(response, lower(response.headers))
    end,
  }, seen
end

-- --- discovery ------------------------------------------------------------------------------------------

-- The custom resources that the recordings speak of, as a server with all of them would list them.
local function custom_groups(files)
  local groups, seen = {}, {}
  local function add(definition)
    local spec = definition.spec
    for _, version in ipairs(spec.versions) do
      local key = spec.group .. "/" .. version.name .. "/" .. spec.names.plural
      if not seen[key] then
        seen[key] = true
        table.insert(groups, {
          metadata = { name = spec.group },
          versions = { { version = version.name, resources = { {
            resource = spec.names.plural, responseKind = { kind = spec.names.kind },
            scope = spec.scope, singularResource = spec.names.singular or "", verbs = {},
            shortNames = spec.names.shortNames,
          } } } },
        })
      end
    end
  end
  for _, exchanges in pairs(files) do
    for _, exchange in ipairs(exchanges) do
      local body = exchange.response and exchange.response.body
      if type(body) == "table" and body.kind == "CustomResourceDefinition" then add(body) end
    end
  end
  return groups
end

-- Resources known only from a recorded resource list, or from requests to a group of the test's own.
local function listed_groups(files)
  local groups = {}
  for _, exchanges in pairs(files) do
    for _, exchange in ipairs(exchanges) do
      local body = exchange.response and exchange.response.body
      if type(body) == "table" and body.kind == "APIResourceList" and (body.groupVersion or ""):find "/" then
        local group, version = body.groupVersion:match "^(.*)/(.*)$"
        local resources = {}
        for _, entry in ipairs(body.resources) do
          if not entry.name:find "/" then
            table.insert(resources, {
              resource = entry.name, responseKind = { kind = entry.kind }, singularResource = entry.singularName,
              scope = entry.namespaced and "Namespaced" or "Cluster", verbs = entry.verbs,
              shortNames = entry.shortNames,
            })
          end
        end
        local versions = { { version = version, resources = resources } }
        table.insert(groups, { metadata = { name = group }, versions = versions })
      end
    end
  end
  return groups
end

-- The widgets of t8b532.kc.example have no recorded definition; they are those of c8b532.kc.example.
local OTHERS = { {
  metadata = { name = "t8b532.kc.example" },
  versions = { { version = "v1", resources = { {
    resource = "widgets", responseKind = { kind = "Widget" }, scope = "Namespaced", singularResource = "widget",
    verbs = {}, subresources = { { subresource = "status" }, { subresource = "scale" } },
  } } } },
} }

---@param files table<string, table[]>
---@return fun(path: string): string?
function M.discovery(files)
  local documents = {}
  for _, exchange in ipairs(files["discovery-1.json"]) do
    if exchange.name == "apis aggregated" then documents["/apis"] = exchange.response.body end
    if exchange.name == "api aggregated" then documents["/api"] = exchange.response.body end
  end
  local apis = json.decode(json.encode(documents["/apis"]))
  for _, groups in ipairs { custom_groups(files), listed_groups(files), OTHERS } do
    for _, group in ipairs(groups) do table.insert(apis.items, group) end
  end
  local texts = { ["/apis"] = json.encode(apis), ["/api"] = json.encode(documents["/api"]) }
  return function(path) return texts[path] end
end

-- --- calls ----------------------------------------------------------------------------------------------

local OPTION_OF = {
  labelSelector = "labels", fieldSelector = "fields", limit = "limit", continue = "continue",
  resourceVersion = "resource_version", resourceVersionMatch = "resource_version_match", dryRun = "dry_run",
  fieldValidation = "validation", fieldManager = "manager", timeoutSeconds = "timeout", includeObject = "objects",
  force = "force",
}
local PATCH_TYPES = {
  ["application/json-patch+json"] = "json", ["application/merge-patch+json"] = "merge",
  ["application/strategic-merge-patch+json"] = "strategic",
}

-- kind ("plural.version.group"), namespace, name, subresource of a path; nil when it names no resource.
local function parse(path)
  local version, rest = path:match "^/api/([^/]+)/(.+)$"
  local group = ""
  if not version then
    group, version, rest = path:match "^/apis/([^/]+)/([^/]+)/(.+)$"
  end
  if not rest then return nil end
  local namespace, below = rest:match "^namespaces/([^/]+)/(.+)$"
  if below == "status" or below == "finalize" then namespace, below = nil, nil end
  local plural, name, subresource = (below or rest):match "^([^/]+)/?([^/]*)/?([^/]*)$"
  if not plural then return nil end
  return {
    kind = ("%s.%s.%s"):format(plural, version, group), namespace = namespace, name = name ~= "" and name or nil,
    subresource = subresource ~= "" and subresource or nil,
  }
end

local function options_of(request, place)
  local options = { namespace = place.namespace or "*", subresource = place.subresource }
  local bookmarks, initial
  for name, value in pairs(request.query and M.query(request.query) or {}) do
    if name == "watch" then options.watch = true
    elseif name == "allowWatchBookmarks" then bookmarks = true
    elseif name == "sendInitialEvents" then initial = true
    elseif OPTION_OF[name] then options[OPTION_OF[name]] = value
    else return nil end
  end
  options.bookmarks, options.initial_events = bookmarks, initial
  options.timeout = tonumber(options.timeout)
  return options
end

local function accept_of(request)
  local accept = request.headers and request.headers.Accept or "application/json"
  if accept == "application/json" then return "plain" end
  if accept:find "as=Table;v=v1;" then return "table" end
  if accept:find "as=PartialObjectMetadata" then return "metadata" end
end

local function logs_call(request, place)
  local query = request.query or {}
  return { "logs", { namespace = place.namespace, pod = place.name, container = query.container } }
end

local function get_call(place, options, accept)
  if options.watch then
    options.watch = nil
    options.metadata_only = accept == "metadata" or nil
    if accept == "table" then return nil end
    return { "watch", place.kind, options }
  end
  if accept == "table" then
    options.name = place.name
    options.objects = options.objects or false
    return { "table", place.kind, options }
  end
  options.metadata_only = accept == "metadata" or nil
  if place.name then return { "get", place.kind, place.name, options } end
  return { "list", place.kind, options }
end

local function delete_call(request, place, options)
  local body = request.body or {}
  if type(body) ~= "table" or request.query and M.query(request.query).gracePeriodSeconds then return nil end
  local known = { propagationPolicy = true, gracePeriodSeconds = true, preconditions = true }
  for name in pairs(body) do
    if not known[name] then return nil end
  end
  local preconditions = body.preconditions or {}
  options.propagation, options.grace = body.propagationPolicy, body.gracePeriodSeconds
  options.uid, options.resource_version = preconditions.uid, preconditions.resourceVersion
  if place.name then return { "delete", place.kind, place.name, options } end
  return { "delete_collection", place.kind, options }
end

local function patch_call(request, place, options)
  local media = request.headers["Content-Type"]
  if not place.name then return nil end
  if media == "application/apply-patch+yaml" then
    if type(request.body) ~= "table" or not options.manager then return nil end
    if not (request.body.kind and request.body.apiVersion) then return nil end
    options.kind, options.name = place.kind, place.name
    return { "apply", request.body, options }
  end
  options.type = PATCH_TYPES[media]
  if not options.type then return nil end
  return { "patch", place.kind, place.name, request.body, options }
end

---The call that makes the request of an exchange; nil when only c:request can make it.
---@param exchange table
---@return any[]? # method of the client, then its arguments
function M.call(exchange)
  local request = exchange.request
  if request.path:find "/nopes$" then return nil end -- a kind that the server does not list
  local place = parse(request.path)
  if place and place.subresource == "log" then return logs_call(request, place) end
  local options = place and options_of(request, place)
  local accept = accept_of(request)
  if not options or not accept then return nil end
  if request.method == "GET" then return get_call(place, options, accept) end
  if request.method == "DELETE" then return delete_call(request, place, options) end
  if accept == "table" then return nil end
  options.metadata_only = accept == "metadata" or nil
  if request.method == "PATCH" then return patch_call(request, place, options) end
  if type(request.body) ~= "table" or request.body["$text"] then return nil end
  options.kind, options.name = place.kind, place.name
  if request.method == "PUT" and place.name then return { "update", request.body, options } end
  if request.method == "POST" and (not place.name or place.subresource) then
    return { "create", request.body, options }
  end
end

return M
