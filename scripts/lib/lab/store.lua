-- lab.store: objects as JSON bytes with versions, and the history that watches and old lists read.
-- Not for rules about objects: it stores what it is given.
--   local s = store.new(); local c = s:collection("pods"); s:write(c, nil, object)
--
-- A record holds the text of an object without kind and apiVersion, so that lists are copies of
-- bytes; labels and the fields that selectors may ask for are kept beside it. The text is cut where
-- it says who owns which fields: half of a pod is that, and it is the same for many.

local json = require "json"
local task = require "task"

local M = {}

local KEPT_EVENTS = 20000       -- of a collection
local KEPT_BYTES = 12 * 1048576 -- of superseded objects, of a collection

---@class lab.Record
---@field key string "namespace/name", or "name" for what belongs to the cluster
---@field namespace string? nil for what belongs to the cluster
---@field name string
---@field uid string
---@field [1] string JSON without kind and apiVersion, or its beginning
---@field [2] string? what follows: managedFields
---@field [3] string? the rest
---@field revision integer
---@field labels table<string, string>?
---@field fields table<string, string>? for field selectors

---@class lab.Event
---@field revision integer
---@field record lab.Record the object after the write; for a removal, as it was with the removal's version
---@field previous lab.Record? before the write
---@field removed boolean

-- --- sorted keys of one namespace -----------------------------------------------------------------

-- Keys are sorted when somebody reads: new ones wait in `fresh`, removed ones stay until then.
local function sorted_keys(space)
  if not space.fresh and not space.stale then return space.keys end
  local keys, records = {}, space.records
  for key in pairs(records) do keys[#keys + 1] = key end
  table.sort(keys)
  space.keys, space.fresh, space.stale = keys, false, false
  return keys
end

-- --- texts -----------------------------------------------------------------------------------------

local FEWEST = 256 -- bytes of managedFields that are worth a cut
local KNOWN = 64 -- texts of managedFields that are remembered, and as many that were before

local recent, before, recent_count = {}, {}, 0

-- The same string for the same text, when it was met not long ago.
local function shared_text(text)
  local known = recent[text]
  if known then return known end
  known = before[text] or text
  if recent_count >= KNOWN then recent, before, recent_count = {}, recent, 0 end
  recent[text] = known
  recent_count = recent_count + 1
  return known
end

-- Where it is cut is told by what only stands there: keys are sorted, and quotes in texts are escaped.
local function cut(text)
  local _, first = text:find('"managedFields":[', 1, true)
  local last = first and text:find('],"name":', first, true)
  if not last or last - first < FEWEST then return text end
  return text:sub(1, first), shared_text(text:sub(first + 1, last)), text:sub(last + 1)
end

---The text of a record's object.
---@param record lab.Record
---@return string JSON without kind and apiVersion
function M.bytes(record)
  if not record[2] then return record[1] end
  return record[1] .. record[2] .. record[3]
end

---Adds the text of a record's object to a list of texts.
---@param list string[]
---@param record lab.Record
function M.add_bytes(list, record)
  local n = #list
  list[n + 1], list[n + 2], list[n + 3] = record[1], record[2], record[3]
end

---@param record lab.Record
---@return integer bytes of the text
function M.size(record)
  return record[2] and #record[1] + #record[2] + #record[3] or #record[1]
end

---Whether a word, with its quotes, stands in the text of a record's object.
---@param record lab.Record
---@param word string
---@return boolean
function M.mentions(record, word)
  if record[1]:find(word, 1, true) then return true end
  return record[2] ~= nil and (record[3]:find(word, 1, true) or record[2]:find(word, 1, true)) ~= nil
end

---@param record lab.Record
---@param bytes string
---@return boolean
function M.same(record, bytes) return #bytes == M.size(record) and bytes == M.bytes(record) end

---What is only a text, as a record.
---@param bytes string
---@return lab.Record
function M.of(bytes) return { bytes } end

-- --- collections ----------------------------------------------------------------------------------

---@class lab.Collection
local collection = {}
collection.__index = collection

local function new_collection(name)
  return setmetatable({
    name = name, spaces = {}, count = 0, log = {}, first = 1, last = 0, compacted = 0, dead_bytes = 0,
    changed = task.event(), watchers = 0, revision = 0,
  }, collection)
end

local function space_of(self, namespace)
  local space = self.spaces[namespace]
  if not space then
    space = { keys = {}, records = {} }
    self.spaces[namespace] = space
    self.space_names = nil
  end
  return space
end

---@param namespace string? nil for what belongs to the cluster
---@param name string
---@return lab.Record?
function collection:get(namespace, name)
  local space = self.spaces[namespace or ""]
  return space and space.records[name]
end

-- The order of keys in the real server's store, where "a-b/" comes before "a/".
local function namespace_names(self)
  if not self.space_names then
    local names = {}
    for name in pairs(self.spaces) do names[#names + 1] = name end
    table.sort(names, function(a, b) return a .. "/" < b .. "/" end)
    self.space_names = names
  end
  return self.space_names
end

---All records in the order of their keys.
---@param namespace string? nil: of all namespaces
---@return lab.Record[]
function collection:records(namespace)
  local list = {}
  local names = namespace and { namespace } or namespace_names(self)
  for _, name in ipairs(names) do
    local space = self.spaces[name]
    if space then
      local records = space.records
      for _, key in ipairs(sorted_keys(space)) do list[#list + 1] = records[key] end
    end
  end
  return list
end

local function key_before(a, b)
  if a.namespace ~= b.namespace then return (a.namespace or "") .. "/" < (b.namespace or "") .. "/" end
  return a.name < b.name
end

---The records as they were at a version, undoing what came after.
---@param revision integer not below `compacted`
---@param namespace string?
---@return lab.Record[]
function collection:records_at(revision, namespace)
  if self.last < self.first or self.log[self.last].revision <= revision then return self:records(namespace) end
  local map = {}
  for _, record in ipairs(self:records(namespace)) do map[record.key] = record end
  for at = self.last, self.first, -1 do
    local event = self.log[at]
    if event.revision <= revision then break end
    local record = event.record
    if not namespace or (record.namespace or "") == namespace then map[record.key] = event.previous end
  end
  local list = {}
  for _, record in pairs(map) do list[#list + 1] = record end
  table.sort(list, key_before)
  return list
end

---Place in the log of the first event after a version.
---@param revision integer
---@return integer? place nil when events after that version are gone
function collection:after(revision)
  if revision < self.compacted then return nil end
  local low, high = self.first, self.last + 1
  while low < high do
    local middle = (low + high) // 2
    if self.log[middle].revision > revision then high = middle else low = middle + 1 end
  end
  return low
end

local function drop_first(self)
  local event = self.log[self.first]
  self.log[self.first] = nil
  self.first = self.first + 1
  self.compacted = event.revision
  if event.previous then self.dead_bytes = self.dead_bytes - M.size(event.previous) end
end

local function append(self, event)
  self.last = self.last + 1
  self.log[self.last] = event
  self.revision = event.revision
  if event.previous then self.dead_bytes = self.dead_bytes + M.size(event.previous) end
  while self.last - self.first >= KEPT_EVENTS or (self.dead_bytes > KEPT_BYTES and self.last > self.first) do
    drop_first(self)
  end
  if self.watchers > 0 then
    local changed = self.changed
    self.changed = task.event()
    changed:set()
  end
end

---Forgets the history up to a version.
---@param revision integer
function collection:compact(revision)
  while self.first <= self.last and self.log[self.first].revision <= revision do drop_first(self) end
  self.compacted = math.max(self.compacted, revision)
end

-- --- the store ------------------------------------------------------------------------------------

---@class lab.Store
local store = {}
store.__index = store

---@param options {revision: integer?, journal: fun(event: lab.Event, collection: string)?}?
---@return lab.Store
function M.new(options)
  options = options or {}
  return setmetatable({
    collections = {}, revision = options.revision or 0, journal = options.journal, listeners = {},
  }, store)
end

---@param name string such as "pods" or "apps/deployments"
---@return lab.Collection
function store:collection(name)
  local c = self.collections[name]
  if not c then
    c = new_collection(name)
    c.compacted = self.base or 0
    self.collections[name] = c
  end
  return c
end

-- Tells those who asked at once, within the write: controllers' queues and caches.
local function tell(self, c, event)
  if self.journal then self.journal(event, c.name) end
  for _, listener in ipairs(self.listeners) do listener(c.name, event) end
end

---Calls a function after each write, within it; it may not wait.
---@param listener fun(collection: string, event: lab.Event)
function store:listen(listener) self.listeners[#self.listeners + 1] = listener end

local encode_options = { sort = true }

---Bytes of an object without kind and apiVersion; the object is left as it was.
---@param object table
---@return string
function M.encode(object)
  local kind, version = object.kind, object.apiVersion
  object.kind, object.apiVersion = nil, nil
  local ok, bytes = pcall(json.encode, object, encode_options)
  object.kind, object.apiVersion = kind, version
  if not ok then error(bytes, 0) end
  return bytes
end

-- Labels and the fields that selectors ask for are the same for many objects: one table for all of these.
local shared = setmetatable({}, { __mode = "v" })

local function share(fields)
  if not fields then return nil end
  local parts = {}
  for name, value in pairs(fields) do parts[#parts + 1] = name .. "=" .. value end
  table.sort(parts)
  local key = table.concat(parts, "\0")
  local known = shared[key]
  if known then return known end
  shared[key] = fields
  return fields
end

local function record_of(object, revision, bytes, fields)
  fields = share(fields)
  local meta = object.metadata
  local labels = meta.labels
  labels = labels and next(labels) ~= nil and share(labels) or nil
  local namespace = meta.namespace
  local head, owners, tail = cut(bytes)
  return {
    head, owners, tail, key = namespace and namespace .. "/" .. meta.name or meta.name, namespace = namespace,
    name = meta.name, uid = meta.uid, revision = revision, labels = labels, fields = fields,
  }
end

---Stores an object as a new version; its metadata gets the version.
---@param c lab.Collection
---@param previous lab.Record?
---@param object table
---@param fields table<string, string>?
---@return lab.Record
function store:write(c, previous, object, fields)
  local revision = self.revision + 1
  object.metadata.resourceVersion = ("%d"):format(revision)
  local record = record_of(object, revision, M.encode(object), fields)
  self.revision = revision
  local space = space_of(c, record.namespace or "")
  if not space.records[record.name] then
    space.fresh = true
    c.count = c.count + 1
  end
  space.records[record.name] = record
  local event = { revision = revision, record = record, previous = previous, removed = false }
  append(c, event)
  tell(self, c, event)
  return record
end

---Removes an object; what watches see of it carries the version of the removal.
---@param c lab.Collection
---@param previous lab.Record
---@param object table? its last state, when that differs from what is stored
---@return lab.Record record as removed
function store:remove(c, previous, object)
  local revision = self.revision + 1
  object = object or M.object(previous)
  object.metadata.resourceVersion = ("%d"):format(revision)
  local record = record_of(object, revision, M.encode(object), previous.fields)
  self.revision = revision
  local space = space_of(c, record.namespace or "")
  space.records[record.name] = nil
  space.stale = true
  c.count = c.count - 1
  local event = { revision = revision, record = record, previous = previous, removed = true }
  append(c, event)
  tell(self, c, event)
  return record
end

---Puts back an object that was kept, without an event.
function store:restore(name, object, bytes, revision, fields)
  local c = self:collection(name)
  local record = record_of(object, revision, bytes, fields)
  local space = space_of(c, record.namespace or "")
  space.records[record.name] = record
  space.fresh = true
  c.count = c.count + 1
end

---After the last restore: what was before is forgotten.
---@param revision integer of the last write that was kept
function store:restored(revision)
  self.revision = math.max(self.revision, revision)
  self:compact()
end

---Forgets history, so that what is older than now has expired.
function store:compact()
  self.base = self.revision
  for _, c in pairs(self.collections) do c:compact(self.revision) end
end

-- --- objects --------------------------------------------------------------------------------------

local decoded = setmetatable({}, { __mode = "kv" })

---A record's object, to be changed by the caller. It has no kind and apiVersion.
---@param record lab.Record
---@return table
function M.object(record) return json.decode(M.bytes(record)) end

---A copy of an object, without kind and apiVersion.
---@param object table
---@return table
function M.copy(object) return json.decode(M.encode(object)) end

---A record's object, decoded once and shared: only for reading.
---@param record lab.Record
---@return table
function M.view(record)
  local object = decoded[record]
  if not object then
    object = M.object(record)
    decoded[record] = object
  end
  return object
end

return M
