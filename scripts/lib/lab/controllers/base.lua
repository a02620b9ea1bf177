-- lab.controllers.base: a queue of names to look at, filled by writes, emptied by one task.
-- Not for what a controller does.
--   local c = base.new(cluster, { name = "jobs", on = function(collection, event, add) … end, look = … })

local clock = require "lab.clock"
local errors = require "errors"
local ids = require "lab.ids"
local status = require "lab.status"
local task = require "task"

local M = {}

---@class lab.ControllerOptions
---@field name string
---@field on fun(collection: string, event: lab.Event, add: fun(key: string)) what a write means: keys to look at
---@field pause number? seconds between a write and the look
---@field look fun(key: string, self: lab.Controller) brings one thing in order

---@class lab.Controller
local controller = {}
controller.__index = controller

-- The same key is looked at once, however often it was named; a failure is tried again, later each time.
local function run(self)
  while not self.stopped do
    local key = table.remove(self.queue, 1)
    if key == nil then
      self.wake:clear()
      self.wake:wait()
    else
      if self.pause then task.sleep(self.pause) end -- what comes together is looked at once
      self.queued[key] = nil
      local ok, problem = pcall(self.look, key, self)
      if ok then
        self.failures[key] = nil
      elseif errors.is(problem, "Cancelled") then
        error(problem, 0)
      elseif not self.stopped then
        local count = (self.failures[key] or 0) + 1
        self.failures[key] = count
        local text = status.is(problem) and problem.body.message or errors.text(problem)
        self.last_problem = text
        if self.cluster.options.on_error and not status.is(problem) then
          self.cluster.options.on_error(nil, self.name .. ": " .. text)
        end
        self:later(key, math.min(0.05 * 2 ^ count, 30))
      end
    end
  end
end

---@param cluster lab.Cluster
---@param options lab.ControllerOptions
---@return lab.Controller
function M.new(cluster, options)
  local self = setmetatable({
    cluster = cluster, name = options.name, look = options.look, queue = {}, queued = {}, failures = {}, timers = {},
    wake = task.event(), pause = options.pause,
  }, controller)
  local function add(key) self:add(key) end
  cluster.store:listen(function(collection, event)
    if not self.stopped then options.on(collection, event, add) end
  end)
  -- What is there already is looked at as if it had just been written.
  for name, c in pairs(cluster.store.collections) do
    for _, record in ipairs(c:records()) do
      options.on(name, { revision = record.revision, record = record, removed = false }, add)
    end
  end
  self.task = task.spawn(function()
    local ok, problem = pcall(run, self)
    if not ok and not errors.is(problem, "Cancelled") then error(problem, 0) end
  end)
  return self
end

---Looks at a key soon.
---@param key string
function controller:add(key)
  if self.queued[key] then return end
  self.queued[key] = true
  self.queue[#self.queue + 1] = key
  self.wake:set()
end

---Looks at a key after some seconds of the lab's time, at the latest: of two times the earlier one counts.
---@param key string
---@param seconds number
function controller:later(key, seconds)
  if self.stopped then return end
  local at, known = task.now() + math.max(seconds, 0), self.timers[key]
  if known and known.at <= at then return end
  if known then known.task:cancel() end
  local timer = { at = at }
  timer.task = task.spawn(function()
    local ok = pcall(task.sleep, math.max(seconds, 0))
    if self.timers[key] == timer then self.timers[key] = nil end
    if ok and not self.stopped then self:add(key) end
  end)
  self.timers[key] = timer
end

function controller:stop()
  self.stopped = true
  self.wake:set()
  for _, timer in pairs(self.timers) do timer.task:cancel() end
  self.timers = {}
  self.task:cancel()
end

-- --- events ---------------------------------------------------------------------------------------

---Says something about an object as an event; the same again raises its count.
---@param cluster lab.Cluster
---@param about table the object, with kind and apiVersion
---@param kind "Normal"|"Warning"
---@param reason string
---@param message string
---@param component string
function M.event(cluster, about, kind, reason, message, component)
  local m = about.metadata
  local namespace = m.namespace or "default"
  local now = cluster:time()
  local key = table.concat({ m.uid or "", reason, message, component }, "\0")
  cluster.said = cluster.said or {}
  local name = cluster.said[key]
  local resource = cluster.registry:find("", "v1", "events")
  local c = cluster:collection(resource)
  local record = name and c:get(namespace, name)
  local rules = cluster.rules.events
  if record then
    local event = require("lab.store").object(record)
    event.count, event.lastTimestamp = (event.count or 1) + 1, now
    cluster.store:write(c, record, event, rules.fields(event))
    return
  end
  local event = {
    metadata = { name = ("%s.%s"):format(m.name, ids.letters(10)), namespace = namespace, uid = ids.uid(),
                 creationTimestamp = now },
    involvedObject = { kind = about.kind, apiVersion = about.apiVersion, name = m.name, namespace = m.namespace,
                       uid = m.uid, resourceVersion = m.resourceVersion },
    reason = reason, message = message, type = kind, count = 1, firstTimestamp = now, lastTimestamp = now,
    source = { component = component }, eventTime = require("json").null, reportingComponent = component,
    reportingInstance = "",
  }
  cluster.said[key] = event.metadata.name
  cluster.store:write(c, nil, event, rules.fields(event))
end

M.clock = clock

return M
