-- kube.informer: keeps up with all objects of a kind: a store of them, and a handler for what changes.
-- Its promise: for every object the last state, or its deletion, reaches the handler at least once, and per
-- object never an older state after a newer one. Not for a single wait (c:wait) or one stream (c:watch).
--   local i <close> = c:informer { kind = "pods", handler = function(key, pod) print(key, pod and "is" or "gone") end }
--   i:sync "10s"

local backoffs = require "kube.backoff"
local core = require "kube.core"
local errors = require "errors"
local handlers = require "kube.handlers"
local json = require "json"
local lists = require "kube.lists"
local log = require "kube.log"
local options_of = require "kube.options"
local streams = require "kube.stream"
local task = require "task"

local M = {}

local DEAD_AFTER <const> = 90 -- seconds without a sign of life, once a periodic bookmark was seen
local REOPEN_FROM <const>, REOPEN_TO <const> = 300, 600 -- seconds after which a stream is opened anew
local HEALTHY <const> = 120 -- seconds after which a fault is the first one again
local ANSWER_TIMEOUT <const> = 60 -- seconds for the head of an answer, and for each piece of a list
local BEGINNINGS <const> = 3 -- watches that break off before all objects are told, then it is lists
local PAGE <const> = 500
local LAST = { duplicates = "last" }
local INITIAL_END = "k8s.io/initial-events-end"

local informer = {}
informer.__index = informer

-- --- the store --------------------------------------------------------------------------------------------

-- Decodes a text; an item of a list gets the kind that only the list said.
function informer:decode(text)
  if text == nil then return nil end
  local object = json.decode(text, LAST)
  if object.kind == nil then setmetatable(object, self.kind_mark) end
  return object
end

local function note_change(self, key, before)
  if self.has_indices then self.unindexed[key] = true end
  if self.handlers then self.handlers:changed(key, before) end
end

local function note_gone(self, key, text)
  self.unindexed[key] = nil
  if self.handlers then self.handlers:gone(key, text) end
end

-- The object at which the splitter is, is there in this state; gives its version.
local function take_in(self, splitter)
  local change, key, version, before = self.store:take(splitter, self.wants_last)
  if change == "same" then return version end
  if change == "replaced" then -- it was deleted and made again while nobody looked
    note_gone(self, key, before or "")
    self.counts.synthetic_deletes = self.counts.synthetic_deletes + 1
    before = nil
  end
  note_change(self, key, before)
  return version
end

-- The object is gone; the text is its last state. Gives its version.
local function take_out(self, text)
  local key, _, version = core.facts(text)
  if self.store:remove(key) then note_gone(self, key, text) end
  return version
end

-- What a whole list did not mention was deleted meanwhile.
local function sweep(self)
  for _, key in ipairs(self.store:stale()) do
    note_gone(self, key, self.handlers and self.store:text(key))
    self.store:remove(key)
    self.counts.synthetic_deletes = self.counts.synthetic_deletes + 1
  end
  self.synced = true
  self.first_sync:set()
end

-- --- the list ---------------------------------------------------------------------------------------------

local function list_page(self, limit, token)
  local options = {
    namespace = self.options.namespace, labels = self.options.labels, fields = self.options.fields,
    limit = limit, continue = token, timeout = ANSWER_TIMEOUT, metadata_only = self.options.metadata_only,
    transport = self.options.transport,
  }
  local request = lists.list_request(self.client, self.kind, options)
  return lists.stream_items(self.client, request, function(splitter) take_in(self, splitter) end)
end

local function mark_kind(self, list)
  local kind = type(list.kind) == "string" and list.kind:match "^(.*)List$" or self.resource.kind
  local version = self.resource.version
  local group = self.resource.group == "" and version or self.resource.group .. "/" .. version
  self.kind_mark = { __index = { kind = kind, apiVersion = list.apiVersion or group } }
end

local function string_or_nil(value)
  return type(value) == "string" and value ~= "" and value or nil
end

-- All pages; the version is that of the first one. A list that expires on the way begins again, in one piece.
local function list_pages(self, limit)
  self.store:begin()
  local version, token
  repeat
    local ok, list = pcall(list_page, self, limit, token)
    if not ok then
      if token and errors.is(list) and list.status == 410 then return list_pages(self, nil) end
      error(list, 0)
    end
    local metadata = type(list.metadata) == "table" and list.metadata or {}
    if not version then mark_kind(self, list) end
    version = version or string_or_nil(metadata.resourceVersion)
    token = string_or_nil(metadata.continue)
  until not token
  return version
end

local function list_all(self)
  self.counts.lists = self.counts.lists + 1
  if self.synced then self.counts.relists = self.counts.relists + 1 end
  local version = list_pages(self, self.options.page or PAGE)
  sweep(self)
  self.version = version
end

-- --- the watch --------------------------------------------------------------------------------------------

-- Whether the bookmark tells that the events of the beginning are over; others come periodically.
local function ends_beginning(text)
  if not text:find(INITIAL_END, 1, true) then return false end
  local annotations = json.decode(text).metadata.annotations
  return annotations and annotations[INITIAL_END] == "true"
end

local function on_bookmark(self, stream, text)
  self.counts.bookmarks = self.counts.bookmarks + 1
  if not ends_beginning(text) then
    stream.armed = true
  elseif stream.beginning then
    stream.beginning = false
    sweep(self)
  end
  return select(3, core.facts(text))
end

local function on_event(self, stream, type)
  local version
  if type == "BOOKMARK" then
    version = on_bookmark(self, stream, stream:text())
  else
    self.counts.events = self.counts.events + 1
    self.progress = true
    if type == "DELETED" then version = take_out(self, stream:text()) else version = take_in(self, stream.splitter) end
  end
  if not stream.beginning then self.version = version or self.version end
end

local function dead_stream(self)
  self.counts.dead_streams = self.counts.dead_streams + 1
  errors.raise {
    code = "Timeout", message = ("watch %s: no sign of life for %d s"):format(self.kind, DEAD_AFTER),
    verb = "watch", resource = self.resource.plural, context = self.client.context, server = self.client.server,
  }
end

local function ended(stream)
  if not stream.beginning then return nil end
  errors.raise { code = "Protocol", message = "the watch ended before all objects were told" }
end

-- Follows the stream to its end: nil when the server ended it, true when it is time for a new one.
local function follow(self, stream, reopen_at)
  while true do
    local limit = reopen_at
    if stream.beginning then limit = math.min(limit, stream.last_sign + ANSWER_TIMEOUT) end
    if stream.armed then limit = math.min(limit, stream.last_sign + DEAD_AFTER) end
    local type = stream:step(limit)
    if type == nil then return ended(stream) end
    if type then
      on_event(self, stream, type)
    elseif stream.beginning and task.now() >= limit then
      errors.raise { code = "Timeout", message = ("watch %s: the list does not end"):format(self.kind) }
    elseif task.now() >= reopen_at then
      return true
    elseif stream.armed and task.now() >= stream.last_sign + DEAD_AFTER then
      dead_stream(self)
    end
  end
end

local function open(self, beginning)
  local seconds = math.random(REOPEN_FROM, REOPEN_TO)
  local stream = streams.open(self.client, self.resource, {
    namespace = self.options.namespace, labels = self.options.labels, fields = self.options.fields,
    resource_version = self.version, bookmarks = true, initial_events = beginning, timeout = seconds,
    answer_timeout = ANSWER_TIMEOUT, metadata_only = self.options.metadata_only, transport = self.options.transport,
  })
  stream.beginning = beginning
  self.counts.watches = self.counts.watches + 1
  self.healthy_since = self.healthy_since or task.now()
  return stream, task.now() + seconds
end

local function watch(self, beginning)
  local began = task.now()
  local stream, reopen_at = open(self, beginning)
  if beginning then
    self.store:begin()
    if self.synced then self.counts.relists = self.counts.relists + 1 end
  end
  self.stream = stream
  local ok, result = pcall(follow, self, stream, reopen_at)
  self.stream = nil
  stream:close()
  if not ok then error(result, 0) end
  if result then self.counts.reopened = self.counts.reopened + 1 end
  if not result and stream.count == 0 and task.now() - began < 1 then
    errors.raise { code = "Connection", message = ("watch %s: it was closed at once"):format(self.kind) }
  end
end

-- Whether a watch is to begin with all objects: as the script says, or as the server's version promises.
local function begins_with_all(self)
  if self.cannot_stream then return false end
  if self.options.streaming ~= nil then return self.options.streaming end
  return streams.streams_lists(self.client, self.options.transport)
end

-- Whether the server cannot begin a watch with all objects: it says so, or does not tell when they are all told.
local function is_unsupported(self, problem)
  if not errors.is(problem) then return false end
  self.broken_beginnings = self.broken_beginnings + 1
  return problem.status == 400 or problem.status == 422 or self.broken_beginnings >= BEGINNINGS
end

local function turn(self)
  if self.version then return watch(self, false) end
  if begins_with_all(self) then
    local ok, problem = pcall(watch, self, true)
    if ok or self.version then self.broken_beginnings = 0 end
    if ok then return end
    if self.version or not is_unsupported(self, problem) then error(problem, 0) end
    self.cannot_stream = true
  end
  list_all(self)
end

-- --- faults -----------------------------------------------------------------------------------------------

local FATAL = { [401] = true, [403] = true, [404] = true, [405] = true }

-- Takes note of a fault and gives the pause before the next try.
local function on_fault(self, problem)
  local counts, now = self.counts, task.now()
  counts.faults = counts.faults + 1
  self.last_error = problem
  if problem.status == 410 or problem.code == "Expired" then
    counts.expired = counts.expired + 1
    self.version = nil
  end
  if self.progress or (self.healthy_since and now - self.healthy_since >= HEALTHY) then self.backoff:reset() end
  self.progress, self.healthy_since = false, nil
  if not self.synced and FATAL[problem.status or 0] then
    self.fatal = problem
    self.first_sync:set()
  end
  local pause = self.backoff:next()
  return math.max(pause, tonumber(problem.retry_after) or 0)
end

-- Finds out what the kind is, then lists and watches for ever.
local function run(self)
  while true do
    local ok, problem = pcall(function()
      self.resource = self.resource or self.client.discovery:resolve(self.kind)
      while true do turn(self) end
    end)
    assert(not ok)
    if not errors.is(problem) or problem.code == "Cancelled" then error(problem, 0) end
    local pause = on_fault(self, problem)
    if problem.code == "NotFound" and not self.resource then self.fatal = problem self.first_sync:set() end
    task.sleep(pause)
  end
end

-- --- what scripts see -------------------------------------------------------------------------------------

---Waits until the store holds all objects.
---@param timeout number|string|nil
---raises "Timeout", or at once what keeps the first list from succeeding (401, 403, 404)
function informer:sync(timeout)
  if self.synced then return end
  if not self.fatal then self.first_sync:clear() end
  local told = self.first_sync:wait(timeout)
  if self.synced then return end
  local fatal = self.fatal
  self.fatal = nil
  if fatal then error(fatal, 0) end
  if told then return self:sync(timeout) end
  errors.raise { code = "Timeout", message = ("%s are not in sync in time"):format(self.kind), cause = self.last_error }
end

---@param namespace string? nil for kinds without namespaces
---@param name string
---@return table? object
function informer:get(namespace, name)
  return self:decode(self.store:text(namespace and namespace .. "/" .. name or name))
end

local function as_terms(value, terms)
  if type(value) == "table" then
    for _, one in ipairs(value) do terms[#terms + 1] = tostring(one) end
  elseif value ~= nil then
    terms[#terms + 1] = tostring(value)
  end
  return terms
end

-- Brings the indices of the script up to date: an object is looked at when one is asked for.
local function index_anew(self)
  for key in pairs(self.unindexed) do
    local object = self:decode(self.store:text(key))
    for name, fn in pairs(object and self.options.index or {}) do
      self.store:terms(key, "own:" .. name, as_terms(fn(object), {}))
    end
  end
  self.unindexed = {}
end

local function keys_of(self, query)
  local store = self.store
  if query.index then
    local own = self.options.index and self.options.index[query.index]
    if not own and query.index ~= "owner" and query.index ~= "namespace" then
      error(("the informer has no index '%s'"):format(tostring(query.index)), 4)
    end
    if own then index_anew(self) end
    return store:find((own and "own:" or "") .. query.index, tostring(query.key))
  end
  if query.namespace then return store:find("namespace", query.namespace) end
  local key, value = next(options_of.equalities(options_of.selector(query.labels)) or {})
  if key then return store:find("label:" .. key, value) end
  return store:keys()
end

-- Whether labels are as the selector wants them.
local function matcher(labels)
  local selector = options_of.selector(labels)
  if not selector then return function() return true end end
  local wanted = options_of.equalities(selector)
  if not wanted then
    local compiled = require("kube").selector(selector)
    return function(object) return compiled:matches(object.metadata.labels or {}) end
  end
  return function(object)
    local own = object.metadata.labels or {}
    for key, value in pairs(wanted) do
      if own[key] ~= value then return false end
    end
    return true
  end
end

---@param query {index: string?, key: any, labels: string|table|nil, namespace: string?}? index: one of the
---  informer's own, "owner" (key: its uid) or "namespace"
---@return table[] objects sorted by namespace and name
function informer:list(query)
  query = query or {}
  local keys = keys_of(self, query)
  table.sort(keys)
  local matches, found = matcher(query.labels), json.array {}
  for _, key in ipairs(keys) do
    local object = self:decode(self.store:text(key))
    if matches(object) and (not query.namespace or object.metadata.namespace == query.namespace) then
      found[#found + 1] = object
    end
  end
  return found
end

---What it has been through: objects, bytes, lists, relists, watches, events, bookmarks, faults, dead_streams,
---expired, synthetic_deletes; handled, failed, pending, poison; synced, last_error, resource_version.
---@return table
function informer:stats()
  local stats = {}
  for name, count in pairs(self.counts) do stats[name] = count end
  stats.objects, stats.bytes, stats.dictionary_bytes = self.store:size()
  stats.synced, stats.resource_version, stats.last_error = self.synced, self.version, self.last_error
  if self.stream then
    stats.silent_for, stats.armed = task.now() - self.stream.last_sign, self.stream.armed or false
  end
  if self.handlers then self.handlers:add_stats(stats) end
  return stats
end

---@return boolean whether a stream is open, so that what is known here is what the server knows
function informer:is_live()
  return self.synced and self.stream ~= nil
end

---Has the handler called again, for one object or for all that are there, although nothing has changed.
---@param key string? "namespace/name"
function informer:again(key)
  if not self.handlers or self.stopped then return end
  for _, one in ipairs(key and { key } or keys_of(self, {})) do
    if self.store:known(one) then self.handlers:changed(one) end
  end
end

---Ends it; handlers under way are cancelled.
function informer:stop()
  if self.stopped then return end
  self.stopped = true
  self.task:cancel()
  if self.handlers then self.handlers:stop() end
end

informer.__close = informer.stop

-- --- making one -------------------------------------------------------------------------------------------

local OPTIONS = {}
for name in ([[ kind namespace labels fields index keep_managed_fields handler workers page streaming metadata_only
  transport ]]):gmatch "%S+" do
  OPTIONS[name] = true
end

local COUNTS = { "lists", "relists", "watches", "reopened", "events", "bookmarks", "faults", "expired",
  "dead_streams", "synthetic_deletes" }

---Starts an informer.
---@param options {kind: string, namespace: string?, labels: string|table|nil, fields: string|table|nil,
---  index: table<string, fun(object: table): any>?, keep_managed_fields: boolean?,
---  handler: (fun(key: string, object: table?, last: table?))?, workers: integer?, page: integer?,
---  streaming: boolean?, metadata_only: boolean?}
---@return table informer
function M:informer(options)
  if type(options) ~= "table" or type(options.kind) ~= "string" then error("informer: {kind = …} expected", 2) end
  for name in pairs(options) do
    if not OPTIONS[name] then error(("informer: unknown option '%s'"):format(tostring(name)), 2) end
  end
  local self_ = setmetatable({
    client = self, kind = options.kind, options = options, counts = {}, unindexed = {}, broken_beginnings = 0,
    has_indices = options.index ~= nil, store = core.store { keep_managed_fields = options.keep_managed_fields },
    first_sync = task.event(), backoff = backoffs.new { first = 0.8, most = 30 },
  }, informer)
  for _, name in ipairs(COUNTS) do self_.counts[name] = 0 end
  if options.handler then
    self_.handlers = handlers.new(options.handler, {
      workers = options.workers or 1,
      text = function(key) return self_.store:text(key) end,
      decode = function(text) return self_:decode(text) end,
      report = function(message) log.warn(self.log, ("%s: %s"):format(options.kind, message)) end,
    })
  end
  self_.wants_last = self_.handlers ~= nil and self_.handlers.wants_last
  self_.task = task.spawn(run, self_)
  return self_
end

return M
