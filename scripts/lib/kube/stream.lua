-- kube.stream: one watch: its request, its events as they arrive, and the signs of life of its connection.
-- Not for going on after its end (kube.informer).
--   local s = stream.open(client, "pods", { resource_version = "89029" }); local type, object = s:next(10)

local core = require "kube.core"
local errors = require "errors"
local failure = require "kube.failure"
local json = require "json"
local objects = require "kube.objects"
local options_of = require "kube.options"
local rest = require "kube.rest"
local task = require "task"

local M = {}

local PARTIAL = "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io"

local stream = {}
stream.__index = stream

local function query_of(options)
  local query = options_of.read_query(options)
  query.watch = "true"
  if options.bookmarks or options.initial_events then query.allowWatchBookmarks = "true" end
  if options.initial_events then
    query.sendInitialEvents = "true"
    query.resourceVersionMatch = query.resourceVersionMatch or "NotOlderThan"
  end
  if options.timeout then query.timeoutSeconds = tostring(math.ceil(task.seconds(options.timeout))) end
  return query
end

---Opens a watch; returns when the server has answered.
---@param client table
---@param resource kube.Resource
---@param options table namespace, labels, fields, resource_version, bookmarks, initial_events, timeout, metadata_only
---@return table stream
---raises what the server says, {code="Expired"} for a version that is too old
function M.open(client, resource, options)
  local namespace = objects.namespace_of(client, resource, options)
  local request = {
    method = "GET", verb = "watch", path = rest.path(resource, namespace), resource = resource.plural,
    namespace = namespace, query = query_of(options), stream = true, timeout = options.answer_timeout,
    accept = options.metadata_only and PARTIAL or nil, transport = options.transport,
  }
  local about = {
    verb = "watch", resource = resource.plural, namespace = namespace, user = client.as or client.user,
    context = client.context, server = client.server,
  }
  local connection = rest.send(client, request)
  return setmetatable({
    connection = connection, splitter = core.splitter(), about = about,
    last_sign = task.now(), count = 0,
  }, stream)
end

-- From this minor version on, servers offer a watch that begins with all objects by default.
local STREAMS_LISTS <const> = 34

---Whether a list may come as the beginning of a watch, by the server's version; asked once a client.
---@param client table
---@param transport table?
---@return boolean
function M.streams_lists(client, transport)
  if client.streams_lists == nil then
    local ok, info = pcall(function()
      local request = { method = "GET", verb = "get", path = "/version", timeout = 10, transport = transport }
      return rest.decode(rest.send(client, request), request, client)
    end)
    if not ok and (not errors.is(info) or info.code == "Cancelled") then error(info, 0) end
    local minor = ok and type(info) == "table" and tostring(info.minor):match "^%d+"
    if not ok and not info.status then return false end -- nobody answered: asked again next time
    client.streams_lists = ok and tonumber(info.major) == 1 and tonumber(minor or 0) >= STREAMS_LISTS
  end
  return client.streams_lists
end

-- The next piece of the answer: text, nil at the end, or false when the time is up.
function stream:piece(timeout)
  local ok, text = pcall(self.connection.read, self.connection, timeout)
  if ok then return text end
  if errors.is(text, "Timeout") then return false end
  error(failure.of_transport(text, self.about), 0)
end

local function raise_status(self, text)
  local status = json.try.decode(text, { duplicates = "last" })
  if type(status) ~= "table" then status = { message = "an ERROR event without a Status" } end
  local problem = failure.of_status(status, self.about)
  if problem.status == 410 then problem.code = "Expired" end
  error(problem, 0)
end

-- Feeds the splitter with the next piece of the answer: false when the time is up, nil at the end of the watch.
local function feed(self, deadline)
  local piece = self:piece(deadline and math.max(deadline - task.now(), 0))
  if piece then
    self.last_sign = task.now()
    self.splitter:feed(piece)
  elseif piece == nil and self.splitter:pending() then
    errors.raise { code = "Protocol", message = "the watch ended in the middle of an event" }
  end
  return piece
end

---Goes to the next event, whose object stays where it is: stream:text(), or store:take(stream.splitter).
---@param deadline number? of task.now()
---@return string|false|nil type # false: the time is up; nil: the stream has ended
---raises the Status of an ERROR event, and "Connection", "Protocol" … when the stream breaks off
function stream:step(deadline)
  local splitter = self.splitter
  local kind = splitter:step()
  while not kind do
    local piece = feed(self, deadline)
    if not piece then return piece end
    kind = splitter:step()
  end
  if kind == "ERROR" then raise_status(self, splitter:text()) end
  self.count = self.count + 1
  return kind
end

---The text of the object at which the stream is, as the server sent it.
---@return string
function stream:text()
  return self.splitter:text()
end

---The next event.
---@param timeout number? seconds
---@return string|false|nil type # false: the time is up; nil: the stream has ended
---@return string? object its text
---@return string? version
---@return string? key
function stream:next(timeout)
  local kind = self:step(timeout and task.now() + timeout)
  if not kind then return kind end
  local text = self:text()
  local key, _, version = core.facts(text)
  return kind, text, version, key
end

---Ends the watch.
function stream:close()
  self.connection:close()
end

return M
