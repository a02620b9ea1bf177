-- lab.watches: streams of changes: from a version, with the initial state, with bookmarks, as tables.
-- Not for controllers in the process (they listen to the store).
--   watches.watch(ctx) -> response with stream

local answer = require "lab.answer"
local json = require "json"
local lists = require "lab.lists"
local route = require "lab.route"
local selectors = require "lab.selectors"
local status = require "lab.status"
local store = require "lab.store"
local task = require "task"

local M = {}

local BOOKMARK_EVERY = 55 -- seconds; clients take a stream for dead after 75
local SHORTEST, LONGEST = 1800, 3600

-- --- the text of an event -------------------------------------------------------------------------

-- Texts are kept a while, because many watches write the same ones.
local kept, kept_count = {}, 0

local function keep(event, key, text)
  if kept_count > 512 then kept, kept_count = {}, 0 end
  local texts = kept[event]
  if not texts then
    texts = {}
    kept[event] = texts
    kept_count = kept_count + 1
  end
  texts[key] = text
  return text
end

local function plain_line(resource, kind, event, bytes)
  local key = kind .. resource.group .. resource.version
  local texts = kept[event]
  if texts and texts[key] then return texts[key] end
  return keep(event, key, ('{"type":"%s","object":%s}\n'):format(kind, answer.whole(resource, bytes)))
end

-- The object that left the selection: as it was, with the version of the change.
local function as_it_was(event)
  local object = store.object(event.previous)
  object.metadata.resourceVersion = ("%d"):format(event.revision)
  return store.encode(object)
end

local function line(stream, kind, event, bytes)
  local ctx = stream.ctx
  local as = ctx.form.as
  if as == "Table" then
    local text = require("lab.tables").text(ctx, ctx.resource, { store.of(bytes) },
      { resourceVersion = ("%d"):format(event.revision) }, not stream.columns_sent)
    stream.columns_sent = true
    return ('{"type":"%s","object":%s}\n'):format(kind, text)
  elseif as then
    return ('{"type":"%s","object":%s}\n'):format(kind, answer.partial(bytes))
  end
  return plain_line(ctx.resource, kind, event, bytes)
end

local function bookmark(stream, initial_end)
  local resource = stream.ctx.resource
  local meta = { resourceVersion = ("%d"):format(stream.seen) }
  if initial_end then meta.annotations = { ["k8s.io/initial-events-end"] = "true" } end
  local version = resource.group == "" and resource.version or resource.group .. "/" .. resource.version
  local object = { kind = resource.kind, apiVersion = version, metadata = meta }
  if stream.ctx.form.as == "Table" then
    object = { kind = "Table", apiVersion = "meta.k8s.io/v1", metadata = meta, rows = json.array {} }
  elseif stream.ctx.form.as then
    object.kind, object.apiVersion = "PartialObjectMetadata", "meta.k8s.io/v1"
  end
  return json.encode({ type = "BOOKMARK", object = object }, { sort = true }) .. "\n"
end

local function expired_line(asked, oldest)
  local body = status.new(410, "Expired", ("too old resource version: %d (%d)"):format(asked, oldest)).body
  return json.encode({ type = "ERROR", object = body }, { sort = true }) .. "\n"
end

-- --- what a watch sees ----------------------------------------------------------------------------

local function in_space(stream, record)
  return not stream.namespace or record.namespace == stream.namespace
end

-- What an event is for this watch, and the bytes that it shows; nil when it sees nothing of it.
local function seen(stream, event)
  local record, previous = event.record, event.previous
  if not in_space(stream, record) then return nil end
  local selection = stream.selection
  local was = previous ~= nil and (selection.all or selection.matches(previous))
  local is = not event.removed and (selection.all or selection.matches(record))
  if is then return was and "MODIFIED" or "ADDED", store.bytes(record) end
  if not was then return nil end
  return "DELETED", event.removed and store.bytes(record) or as_it_was(event)
end

local AT_ONCE = 256 -- events go in texts of so many at most

local function write_events(stream, writer)
  local c = stream.collection
  local lines = {}
  local function flush()
    if #lines > 0 then writer:write(#lines == 1 and lines[1] or table.concat(lines)) end
    lines = {}
  end
  while stream.position <= c.last do
    if stream.position < c.first then
      lines[#lines + 1] = expired_line(stream.seen, c.compacted + 1)
      flush()
      return false
    end
    local event = c.log[stream.position]
    stream.position = stream.position + 1
    stream.seen = event.revision
    local kind, bytes = seen(stream, event)
    if kind and not stream.faults(writer, flush) then lines[#lines + 1] = line(stream, kind, event, bytes) end
    if #lines == AT_ONCE then flush() end
  end
  flush()
  return true
end

local function write_initial(stream, writer)
  local lines = {}
  for _, record in ipairs(stream.initial) do
    lines[#lines + 1] = line(stream, "ADDED", { revision = record.revision, record = record }, store.bytes(record))
    if #lines == AT_ONCE then
      writer:write(table.concat(lines))
      lines = {}
    end
  end
  stream.initial = nil
  if stream.marks_end then lines[#lines + 1] = bookmark(stream, true) end
  if #lines > 0 then writer:write(table.concat(lines)) end
end

local function run(stream, writer)
  local c = stream.collection
  if stream.initial then write_initial(stream, writer) end
  local started = task.now()
  local deadline = started + stream.timeout
  local next_bookmark = started + BOOKMARK_EVERY
  while true do
    local changed = c.changed
    if not write_events(stream, writer) then return end
    local now = task.now()
    if now >= deadline or stream.ctx.cluster.closing then
      if stream.bookmarks then writer:write(bookmark(stream)) end
      return
    end
    if now >= next_bookmark then
      next_bookmark = now + BOOKMARK_EVERY
      stream.seen = math.max(stream.seen, stream.ctx.cluster.store.revision)
      if stream.bookmarks then writer:write(bookmark(stream)) end
    end
    if c.last < stream.position then changed:wait(math.max(0, math.min(deadline, next_bookmark) - now)) end
  end
end

-- --- the request ----------------------------------------------------------------------------------

local function initial_records(c, namespace, selection)
  local list = {}
  for _, record in ipairs(c:records(namespace)) do
    if selection.all or selection.matches(record) then list[#list + 1] = record end
  end
  return list
end

local function stream_response(body)
  return {
    status = 200, stream = body,
    headers = { ["Content-Type"] = "application/json", ["Cache-Control"] = "no-cache, private" },
  }
end

-- Adds what one name in the path, or a single object's watch, means.
local function selection_of(ctx)
  local selection = selectors.of(ctx)
  local name = ctx.route.name
  if not name then return selection end
  local inner = selection.matches
  return { all = false, name = name, matches = function(record) return record.name == name and inner(record) end }
end

---@param ctx lab.Context
---@return table response with `stream`
function M.watch(ctx)
  local c = ctx.cluster:collection(ctx.resource)
  local version = lists.version(ctx, true)
  local timeout = lists.integer(ctx, "timeoutSeconds")
  if not timeout or timeout <= 0 then timeout = math.random(SHORTEST, LONGEST) end
  local stream = {
    ctx = ctx, collection = c, namespace = ctx.resource.namespaced and ctx.route.namespace or nil,
    selection = selection_of(ctx),
    bookmarks = route.is_on(ctx.query, "allowWatchBookmarks"), timeout = timeout,
    seen = ctx.cluster.store.revision, position = c.last + 1,
    faults = require("lab.faults").of(ctx.cluster):watch(ctx),
  }
  local asked = math.tointeger(tonumber(version)) or 0
  local sends = route.is_on(ctx.query, "sendInitialEvents")
  if sends or (asked == 0 and lists.first(ctx, "sendInitialEvents") == "") then
    stream.initial = initial_records(c, stream.namespace, stream.selection)
    stream.marks_end = sends and stream.bookmarks
  elseif asked > 0 then
    stream.position = c:after(asked)
    stream.seen = asked
    if not stream.position then
      return stream_response(function(writer) writer:write(expired_line(asked, c.compacted + 1)) end)
    end
  end
  return stream_response(function(writer)
    c.watchers = c.watchers + 1
    local ok, problem = pcall(run, stream, writer)
    c.watchers = c.watchers - 1
    if not ok then error(problem, 0) end
  end)
end

return M
