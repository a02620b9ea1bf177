-- kube.queue: keys that wait for a handler: each once, in order, failed ones again later.
-- Not for what is to be told about a key (kube.informer keeps that).
--   queue:add(key); local key = queue:take(); if failed then queue:later(key, 0.5) end

local task = require "task"

local M = {}

local queue = {}
queue.__index = queue

-- A heap of {due, key} with the earliest first.
local function push(heap, entry)
  local at = #heap + 1
  heap[at] = entry
  while at > 1 and heap[at // 2].due > entry.due do
    heap[at], heap[at // 2] = heap[at // 2], entry
    at = at // 2
  end
end

local function pop(heap)
  local first, last = heap[1], table.remove(heap)
  if #heap == 0 then return first end
  local at = 1
  heap[1] = last
  while true do
    local child = 2 * at
    if child > #heap then break end
    if heap[child + 1] and heap[child + 1].due < heap[child].due then child = child + 1 end
    if heap[child].due >= last.due then break end
    heap[at], heap[child] = heap[child], last
    at = child
  end
  return first
end

---Puts a key at the end, if it is not in the queue; one that was to come later comes now.
---@param key string
function queue:add(key)
  if self.queued[key] then return end
  self.queued[key] = true
  self.last = self.last + 1
  self.list[self.last] = key
  self.waiting[key] = nil
  self.wake:set()
end

---Puts a key into the queue after some time.
---@param key string
---@param seconds number
function queue:later(key, seconds)
  local entry = { due = task.now() + seconds, key = key }
  self.waiting[key] = entry
  push(self.heap, entry)
  self.wake:set()
end

-- Moves what has become due; an entry whose key was added since is stale.
local function move_due(self)
  local now = task.now()
  while self.heap[1] and self.heap[1].due <= now do
    local entry = pop(self.heap)
    if self.waiting[entry.key] == entry then self:add(entry.key) end
  end
end

---The next key, or nil when none is ready.
---@return string?
function queue:take()
  if self.heap[1] then move_due(self) end
  if self.first > self.last then return nil end
  local key = self.list[self.first]
  self.list[self.first] = nil
  self.first = self.first + 1
  if self.first > self.last then self.first, self.last = 1, 0 end
  self.queued[key] = nil
  return key
end

---Waits until a key may be ready.
function queue:wait()
  self.wake:clear()
  if self.first <= self.last then return end
  local due = self.heap[1] and math.max(self.heap[1].due - task.now(), 0)
  self.wake:wait(due)
end

---@return integer ready, integer later
function queue:length()
  local later = 0
  for _ in pairs(self.waiting) do later = later + 1 end
  return self.last - self.first + 1, later
end

function M.new()
  return setmetatable({
    list = {}, first = 1, last = 0, queued = {}, heap = {}, waiting = {}, wake = task.event(),
  }, queue)
end

return M
