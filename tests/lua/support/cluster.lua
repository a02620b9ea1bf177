-- A small cluster of one kind (configmaps) as a transport of the client: lists in pages, watches, versions, faults.
-- Not an API server (tests/fixtures/wire has what a real one says); time is the test's.
--   local cluster = dofile "tests/lua/support/cluster.lua".new(); cluster:put("n", "a", { v = 1 })
local errors = require "errors"
local json = require "json"
local task = require "task"

local M = {}

local BOOKMARK_EVERY <const> = 60

local cluster = {}
cluster.__index = cluster

-- --- state ----------------------------------------------------------------------------------------------

local function remember(self, type, object)
  local text = json.encode { type = type, object = object } .. "\n"
  self.history[#self.history + 1] = { version = self.version, text = text }
  for _, wake in pairs(self.watchers) do wake:set() end
end

---Makes or changes an object; returns its version.
---@param namespace string
---@param name string
---@param data table?
---@param labels table?
function cluster:put(namespace, name, data, labels)
  local key = namespace .. "/" .. name
  local known = self.objects[key]
  self.version = self.version + 1
  self.uids = self.uids + (known and 0 or 1)
  local object = {
    kind = "ConfigMap", apiVersion = "v1", data = data,
    metadata = {
      name = name, namespace = namespace, uid = known and known.metadata.uid or "uid-" .. self.uids, labels = labels,
      resourceVersion = tostring(self.version), managedFields = json.array { { manager = "test" } },
    },
  }
  self.objects[key] = object
  remember(self, known and "MODIFIED" or "ADDED", object)
  return self.version
end

function cluster:remove(namespace, name)
  local key = namespace .. "/" .. name
  local object = self.objects[key]
  if not object then return end
  self.objects[key] = nil
  self.version = self.version + 1
  local metadata = {}
  for field, value in pairs(object.metadata) do metadata[field] = value end
  metadata.resourceVersion = tostring(self.version)
  local last = { kind = object.kind, apiVersion = object.apiVersion, data = object.data, metadata = metadata }
  remember(self, "DELETED", last)
end

---Forgets what was: older versions are answered with 410.
function cluster:compact()
  self.history, self.oldest = {}, self.version
end

local function sorted_keys(self)
  local keys = {}
  for key in pairs(self.objects) do keys[#keys + 1] = key end
  table.sort(keys)
  return keys
end

-- --- answers --------------------------------------------------------------------------------------------

local function status(code, reason, message)
  local body = json.encode { kind = "Status", apiVersion = "v1", status = "Failure", code = code, reason = reason,
    message = message or reason }
  return { status = code, headers = {}, body = body }
end
M.status = status

local function decoded(text)
  return (text:gsub("%%(%x%x)", function(hex) return string.char(tonumber(hex, 16)) end))
end

local function parse(options)
  local path, query_text = options.url:match "^https?://[^/]+([^?]*)%??(.*)$"
  local query = {}
  for name, value in query_text:gmatch "([^&=]+)=?([^&]*)" do query[decoded(name)] = decoded(value) end
  return path, query
end

-- A page of a list; the token holds the version of the first page and the key to go on after.
local function list(self, query)
  local version, after = self.version, nil
  if query.continue then
    version, after = query.continue:match "^(%d+):(.*)$"
    if tonumber(version) < self.oldest then return status(410, "Expired", "the continue token is too old") end
  end
  local items, limit, more = json.array {}, tonumber(query.limit) or math.huge, nil
  for _, key in ipairs(sorted_keys(self)) do
    if not after or key > after then
      if #items == limit then
        more = key
        break
      end
      local object, item = self.objects[key], {}
      for name, value in pairs(object) do item[name] = value end
      item.kind, item.apiVersion = nil, nil
      items[#items + 1] = item
    end
  end
  local last = items[#items] and items[#items].metadata
  return { status = 200, headers = {}, body = json.encode {
    kind = "ConfigMapList", apiVersion = "v1", items = items, metadata = {
      resourceVersion = tostring(version),
      continue = more and ("%s:%s/%s"):format(version, last.namespace, last.name) or nil,
    },
  } }
end

-- --- streams --------------------------------------------------------------------------------------------

local function raise(code, message)
  errors.raise { code = code, message = message }
end

-- The text of an answer, in pieces; `fault` {kind = "cut", after = n} breaks it off.
local function text_stream(response, fault)
  local text, at = response.body, 0
  local stream = { status = response.status, headers = response.headers }
  function stream.read()
    if at >= #text then return nil end
    local size = math.min(4000, #text - at)
    if fault and fault.kind == "cut" and at + size > fault.after then
      if fault.clean then
        local rest = text:sub(at + 1, fault.after)
        at = #text
        return rest
      end
      raise("Connection", "the connection was reset")
    end
    at = at + size
    return text:sub(at - size + 1, at)
  end
  function stream.close() end
  return stream
end

-- What comes next on a watch: events since its position, else a bookmark that is due.
local function next_text(self, watch)
  if watch.version < self.oldest then
    watch.ended = true
    return json.encode { type = "ERROR", object = { kind = "Status", apiVersion = "v1", status = "Failure", code = 410,
      reason = "Expired", message = "too old resource version" } } .. "\n"
  end
  -- versions grow by one with each entry of the history
  local entry = self.history[watch.version - self.oldest + 1]
  if entry then
    watch.version = entry.version
    return entry.text
  end
  if watch.bookmarks and task.now() >= watch.bookmark_at then
    watch.bookmark_at = task.now() + BOOKMARK_EVERY
    return json.encode { type = "BOOKMARK", object = { kind = "ConfigMap", apiVersion = "v1",
      metadata = { resourceVersion = tostring(watch.version) } } } .. "\n"
  end
end

-- Waits for the next text, as long as the reader and the faults let it.
local function wait_for_text(self, watch, timeout)
  local deadline = timeout and task.now() + timeout
  while true do
    local now = task.now()
    if watch.closed then raise("Closed", "the stream is closed") end
    if watch.ends_at and now >= watch.ends_at and not watch.silent then return nil end
    local silent = watch.silent or (watch.delayed_until and now < watch.delayed_until)
    local text = not silent and next_text(self, watch)
    if text then return text end
    local limit = math.huge
    for _, moment in ipairs { watch.ends_at or math.huge, watch.bookmarks and watch.bookmark_at or math.huge,
      watch.delayed_until or math.huge } do
      if moment > now then limit = math.min(limit, moment) end
    end
    if deadline then
      if now >= deadline then raise("Timeout", "nothing came in time") end
      limit = math.min(limit, deadline)
    end
    watch.wake:clear()
    watch.wake:wait(limit < math.huge and limit - now or nil)
  end
end

-- What a fault makes of a text: all of it, or a part before the end.
local function spoil(watch, text)
  local fault = watch.fault
  if not fault then return text end
  fault.after = fault.after - 1
  if fault.after > 0 then return text end
  watch.fault = nil
  if fault.kind == "silence" then watch.silent = true
  elseif fault.kind == "delay" then watch.delayed_until = task.now() + fault.seconds
  elseif fault.kind == "end" then watch.ended = true
  elseif fault.kind == "cut" then
    watch.broken = true
    return text:sub(1, #text // 2)
  end
  return text
end

-- All objects as events, and the bookmark that ends them.
local function beginning(self)
  local lines = {}
  for _, key in ipairs(sorted_keys(self)) do
    lines[#lines + 1] = json.encode { type = "ADDED", object = self.objects[key] } .. "\n"
  end
  lines[#lines + 1] = json.encode { type = "BOOKMARK", object = { kind = "ConfigMap", apiVersion = "v1", metadata = {
    resourceVersion = tostring(self.version), annotations = { ["k8s.io/initial-events-end"] = "true" } } } } .. "\n"
  return lines
end

local function watch_stream(self, query, fault)
  local version = tonumber(query.resourceVersion)
  local first = query.sendInitialEvents == "true" and beginning(self) or {}
  local watch = {
    version = version or self.version, bookmarks = query.allowWatchBookmarks == "true", fault = fault,
    bookmark_at = task.now() + BOOKMARK_EVERY, wake = task.event(),
    ends_at = query.timeoutSeconds and task.now() + tonumber(query.timeoutSeconds),
  }
  self.watchers[watch] = watch.wake
  self.watches = self.watches + 1
  local stream = { status = 200, headers = {} }
  function stream.read(_, timeout)
    if watch.broken then
      if fault.clean then return nil end
      raise("Connection", "the connection was reset")
    end
    if watch.ended then return nil end
    local text = not watch.silent and table.remove(first, 1) or wait_for_text(self, watch, timeout)
    return text and spoil(watch, text)
  end
  function stream.close()
    watch.closed = true
    self.watchers[watch] = nil
    watch.wake:set()
  end
  return stream
end

-- --- the transport --------------------------------------------------------------------------------------

-- A fault that comes instead of any answer.
local function refuse(fault)
  if not fault then return nil end
  if fault.kind == "drop" then raise("Connection", "the connection was refused") end
  if fault.kind == "status" then
    local response = status(fault.status, fault.reason or "", fault.message)
    response.headers["retry-after"] = fault.retry_after
    return response
  end
end

---A transport for kube.connect. `faults(what, query)` may give a fault for a "list", a "watch" or another method:
---{kind = "drop"}, {kind = "status", status}, {kind = "cut" | "silence" | "delay" | "end", after, seconds, clean}.
---@param faults (fun(what: string, query: table): table?)?
---@param handler (fun(options: table, path: string, query: table): table?)? answers other requests
function cluster:transport(faults, handler)
  local function answer(options)
    local path, query = parse(options)
    if path == "/version" then
      return { status = 200, headers = {}, body = ('{"major":"1","minor":"%s"}'):format(self.minor) }
    end
    local what = options.method ~= "GET" and options.method or query.watch and "watch" or "list"
    local fault = faults and faults(what, query)
    local refused = refuse(fault)
    if refused then return refused, fault end
    if handler then
      local response = handler(options, path, query)
      if response then return response, fault end
    end
    if not path:find "/configmaps$" then return status(404, "NotFound"), fault end
    if what == "watch" then return watch_stream(self, query, fault), fault, true end
    return list(self, query), fault
  end
  return {
    request = function(_, options) return (answer(options)) end,
    stream = function(_, options)
      local response, fault, is_stream = answer(options)
      return is_stream and response or text_stream(response, fault)
    end,
  }
end

function M.new()
  return setmetatable({
    version = 1000, oldest = 1000, objects = {}, history = {}, watchers = {}, watches = 0, uids = 0,
    minor = "31", -- of the server's version
  }, cluster)
end

return M
