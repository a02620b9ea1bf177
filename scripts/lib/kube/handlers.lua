-- kube.handlers: tells a script's handler what changed: level-triggered, in order for each object, again
-- after a failure. Not for finding out what changed (kube.informer).
--   handlers:changed("ns/name"); handlers:gone("ns/name", text)

local backoffs = require "kube.backoff"
local errors = require "errors"
local queues = require "kube.queue"
local task = require "task"

local M = {}

local FIRST_PAUSE <const>, LONGEST_PAUSE <const> = 0.1, 300 -- seconds between tries of a handler that fails
local POISON <const> = 5 -- failures in a row after which the object is reported

local handlers = {}
handlers.__index = handlers

-- What the handler has not been told of an object: the last states of what was deleted (`gone`), whether
-- there is a state to tell (`live`), and the state that it knows (`before`).
local function entry_of(self, key)
  local entry = self.entries[key]
  if not entry then
    entry = {}
    self.entries[key] = entry
    self.count = self.count + 1
  end
  return entry
end

local function wake(self, key, entry)
  if not entry.running then self.queue:add(key) end
end

---The object has a new state.
---@param key string
---@param before string? the text that it had
function handlers:changed(key, before)
  local entry = entry_of(self, key)
  if entry.live then self.coalesced = self.coalesced + 1 end
  if not entry.live and not entry.before then entry.before = before end
  entry.live = true
  wake(self, key, entry)
end

---The object was deleted.
---@param key string
---@param text string its last state
function handlers:gone(key, text)
  local entry = entry_of(self, key)
  entry.gone = entry.gone or {}
  table.insert(entry.gone, text)
  entry.live, entry.before = nil, nil
  wake(self, key, entry)
end

local function forget(self, key)
  self.entries[key] = nil
  self.count = self.count - 1
end

-- Tells all that is to be told; raises what the handler raises, with the rest still untold.
local function tell(self, key, entry)
  while entry.gone and entry.gone[1] do
    self.handler(key, nil, self.wants_last and self.decode(entry.gone[1]) or nil)
    table.remove(entry.gone, 1)
    self.handled = self.handled + 1
  end
  local text = entry.live and self.text(key)
  if not text then return end
  local before = entry.before
  entry.live, entry.before = nil, nil
  local ok, problem = pcall(self.handler, key, self.wants_object and self.decode(text) or nil,
    before and self.decode(before))
  if not ok then
    if not entry.gone or not entry.gone[1] then entry.live, entry.before = true, before or entry.before end
    error(problem, 0)
  end
  self.handled = self.handled + 1
end

local function on_failure(self, key, entry, problem)
  self.failed = self.failed + 1
  entry.failures = (entry.failures or 0) + 1
  entry.problem = errors.text(problem)
  if entry.failures == POISON then
    self.poison[key] = entry
    self.report(("the handler failed %d times for %s: %s"):format(entry.failures, key, entry.problem))
  end
  entry.backoff = entry.backoff or backoffs.new { first = FIRST_PAUSE, most = LONGEST_PAUSE }
  self.queue:later(key, entry.backoff:next())
end

local function handle(self, key)
  local entry = self.entries[key]
  if not entry then return end
  entry.running = true
  local ok, problem = pcall(tell, self, key, entry)
  entry.running = false
  if not ok then
    if errors.is(problem, "Cancelled") and self.stopped then error(problem, 0) end
    return on_failure(self, key, entry, problem)
  end
  if entry.failures then
    self.poison[key] = nil
    entry.failures, entry.backoff, entry.problem = nil, nil, nil
  end
  if entry.live or (entry.gone and entry.gone[1]) then self.queue:add(key) else forget(self, key) end
end

local function work(self)
  while not self.stopped do
    local key = self.queue:take()
    if key then handle(self, key) else self.queue:wait() end
  end
end

---@param stats table gets handled, failed, coalesced, pending, poison (a list of {key, failures, message})
function handlers:add_stats(stats)
  stats.handled, stats.failed, stats.coalesced, stats.pending = self.handled, self.failed, self.coalesced, self.count
  stats.poison = {}
  for key, entry in pairs(self.poison) do
    table.insert(stats.poison, { key = key, failures = entry.failures, message = entry.problem })
  end
  table.sort(stats.poison, function(a, b) return a.key < b.key end)
end

function handlers:stop()
  self.stopped = true
  for _, worker in ipairs(self.workers) do worker:cancel() end
end

---@param handler function
---@param options {workers: integer, text: fun(key: string): string?, decode: fun(text: string): table,
---  report: fun(message: string)}
function M.new(handler, options)
  local parameters = debug.getinfo(handler, "u")
  local self = setmetatable({
    handler = handler, text = options.text, decode = options.decode, report = options.report,
    wants_object = parameters.isvararg or parameters.nparams >= 2, -- what nobody takes is not decoded
    wants_last = parameters.isvararg or parameters.nparams >= 3,
    entries = {}, count = 0, poison = {}, queue = queues.new(), handled = 0, failed = 0, coalesced = 0, workers = {},
  }, handlers)
  for number = 1, options.workers do self.workers[number] = task.spawn(work, self) end
  return self
end

return M
