-- kube.lists: many objects: whole lists, pages, and the tables that the server prints.
-- Not for keeping up with changes (kube.informer). Objects are cut out of the answer while it arrives.
--   for pod in c:each("pods", { namespace = "*" }) do print(pod.metadata.name) end

local core = require "kube.core"
local errors = require "errors"
local host = require "host"
local json = require "json"
local objects = require "kube.objects"
local options_of = require "kube.options"
local rest = require "kube.rest"
local time = require "kube.time"

local M = {}

local PARTIAL = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io,application/json"
local TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"
local PAGE <const> = 500
local LAST = { duplicates = "last" }

---The request for a list.
---@param client table
---@param kind string
---@param options table
---@return table request, kube.Resource
function M.list_request(client, kind, options)
  local resource = client.discovery:resolve(kind)
  local namespace = objects.namespace_of(client, resource, options)
  return {
    method = "GET", verb = "list", path = rest.path(resource, namespace, options.name, options.subresource),
    resource = resource.plural, kind = resource.kind, namespace = namespace, query = options_of.read_query(options),
    accept = options.metadata_only and PARTIAL or nil, timeout = options.timeout or client.timeout,
    transport = options.transport,
  }, resource
end

-- Gives every object of a list the kind that only the list says, without putting it into the object.
local function kind_mark(list)
  local kind = type(list.kind) == "string" and list.kind:match "^(.*)List$"
  local known = { kind = kind, apiVersion = list.apiVersion }
  return kind and { __index = known } or nil
end

local function protocol_error(client, request, problem)
  if errors.is(problem, "Protocol") or errors.is(problem, "JSON") then
    errors.raise {
      code = "Protocol", message = ("list %s: %s"):format(request.resource, problem.message), verb = "list",
      resource = request.resource, namespace = request.namespace, context = client.context, server = client.server,
    }
  end
  error(require("kube.failure").of_transport(problem, {
    verb = "list", resource = request.resource, namespace = request.namespace, context = client.context,
    server = client.server, user = client.user,
  }), 0)
end

---Sends a list request and calls for each item while the answer arrives: splitter:text() is its text.
---@param client table
---@param request table
---@param on_item fun(splitter: userdata)
---@return table list the answer without its items
function M.stream_items(client, request, on_item)
  request.stream = true
  local stream = rest.send(client, request)
  local splitter = core.splitter "items"
  local function read()
    local piece = stream:read(request.timeout)
    while piece do
      splitter:feed(piece)
      while splitter:step() do on_item(splitter) end
      piece = stream:read(request.timeout)
    end
    return json.decode(splitter:rest())
  end
  local ok, list = pcall(read)
  stream:close()
  if not ok then protocol_error(client, request, list) end
  return list
end

-- While a list grows, all of it is in use: looking for garbage often would double the time.
local growing, usual_pause = 0, nil

local function while_growing(run, ...)
  if host.gc_stress() then return run(...) end
  if growing == 0 then usual_pause = collectgarbage("setpause", 1000) end
  growing = growing + 1
  local ok, result, more = pcall(run, ...)
  growing = growing - 1
  if growing == 0 then
    collectgarbage("setpause", usual_pause)
    collectgarbage("step", 0) -- a round that ended meanwhile has put off the next one by that pause
  end
  if not ok then error(result, 0) end
  return result, more
end

-- One answer: its items, decoded, and the list around them.
local function fetch_page(client, request)
  local items = json.array {}
  local list = M.stream_items(client, request, function(splitter)
    items[#items + 1] = json.decode(splitter:text(), LAST)
  end)
  local mark = kind_mark(list)
  if mark then
    for _, item in ipairs(items) do
      if item.kind == nil then setmetatable(item, mark) end
    end
  end
  return items, list
end

-- What a list says about itself: its metadata, and its kind.
local function meta_of(list)
  local meta = type(list.metadata) == "table" and list.metadata or {}
  return setmetatable(meta, { __index = { kind = list.kind, apiVersion = list.apiVersion } })
end

---All objects of a kind; with `limit`, one page of them (the next one: `continue = meta.continue`).
---@param kind string
---@param options table?
---@return table[] objects, table meta resourceVersion, continue, remainingItemCount
function M:list(kind, options)
  options = options_of.check(options, 2)
  local items, list = while_growing(fetch_page, self, (M.list_request(self, kind, options)))
  return items, meta_of(list)
end

-- Where an expired list goes on: the server gives a token that is good, but the rest is of another moment.
local function fresh_token(problem)
  local status = errors.is(problem) and problem.status == 410 and problem.object
  local token = status and type(status.metadata) == "table" and status.metadata.continue
  return type(token) == "string" and token ~= "" and token or nil
end

---Goes through all objects, a page at a time. When the list expires on the way, it goes on with what is there now.
---@param kind string
---@param options table? limit: objects a page (500)
---@return fun(): table?
function M:each(kind, options)
  options = options_of.check(options, 2)
  local page = {}
  for name, value in pairs(options) do page[name] = value end
  page.limit = options.limit or PAGE
  local items, at, ended = {}, 0, false
  local function turn()
    local ok, found, list = pcall(fetch_page, self, (M.list_request(self, kind, page)))
    local token = not ok and page.continue and fresh_token(found)
    if token then
      page.continue = token
      return
    end
    if not ok then error(found, 0) end
    items, at = found, 0
    local following = type(list.metadata) == "table" and list.metadata.continue
    page.continue = type(following) == "string" and following ~= "" and following or nil
    page.resource_version, page.resource_version_match = nil, nil -- the token holds them
    ended = not page.continue
  end
  return function()
    while at >= #items and not ended do turn() end
    at = at + 1
    return items[at]
  end
end

-- --- tables -------------------------------------------------------------------------------------------------

-- A row can be read as the server wrote it (row.cells[1]) and as a list (row[1]).
local row_mark = {
  __index = function(row, index)
    local cells = rawget(row, "cells")
    return type(index) == "number" and cells and cells[index] or nil
  end,
  __len = function(row) return #rawget(row, "cells") end,
}

-- A server that prints no tables: names and ages.
local function table_of_list(list)
  local rows, now = json.array {}, os.time()
  for index, item in ipairs(list.items or { list }) do
    local created = time.parse(item.metadata.creationTimestamp or "")
    rows[index] = { cells = json.array { item.metadata.name, created and time.age(now - created) or "<unknown>" } }
  end
  return json.array {
    { name = "Name", type = "string", format = "name", description = "", priority = 0 },
    { name = "Age", type = "string", format = "", description = "", priority = 0 },
  }, rows
end

---What `kubectl get` shows, as the server prints it.
---@param kind string
---@param options table? name: one object; objects: "Metadata" or "Object" adds row.object (default "None")
---@return {columns: {name: string, type: string, priority: integer}[], rows: table[], resource_version: string?}
---  rows[i][j] is the cell of columns[j]
function M:table(kind, options)
  options = options_of.check(options, 2)
  local request = M.list_request(self, kind, options)
  request.accept = TABLE
  request.query.includeObject = options.objects or "None"
  if options.objects == false then request.query.includeObject = nil end
  local value = rest.decode(rest.send(self, request), request, self)
  local columns, rows = value.columnDefinitions, value.rows
  if value.kind ~= "Table" then
    columns, rows = table_of_list(value)
  end
  if rows == nil or rows == json.null then rows = json.array {} end
  for _, row in ipairs(rows) do setmetatable(row, row_mark) end
  local metadata = type(value.metadata) == "table" and value.metadata or {}
  return { columns = columns, rows = rows, resource_version = metadata.resourceVersion, continue = metadata.continue }
end

return M
