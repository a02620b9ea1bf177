-- policy.controller: runs the watches and schedules of a set of policies, and keeps what reviews may look at.
-- Not for reviews (policy.serve).
--   local c = controller.start(set, require "kube".connect {}, {}); c:sync "30s"; c:stop()

local cron = require "policy.inside.cron"
local errors = require "errors"
local json = require "json"
local kube = require "kube"
local resources = require "policy.inside.resources"
local rights = require "policy.rights"
local task = require "task"
local writes = require "policy.writes"

local M = {}

local STEP_SECONDS = 5 -- for each part of a handler between two writes
local FINALIZER = "policy.kfhost.io/"

---@class policy.Controller
local Controller = {}
Controller.__index = Controller

local function raise(problem)
  error(problem, 0)
end

-- --- one handler ------------------------------------------------------------------------------------------

-- Runs a handler to its end, doing what it asks for on the way; gives the time after which it wants to be called
-- again.
local function run_handler(self, list, number, handler, argument)
  local box = self.set.box
  self.calls = self.calls + 1
  local id = self.calls
  local step, problem = box:call("start", STEP_SECONDS, id, list, number, handler, argument)
  while step and not step.done do
    local result, refused = writes.perform(self.client, step.write, self.log)
    step, problem = box:call("resume", STEP_SECONDS, id, result, refused)
  end
  if step then return step.requeue end
  box:call("drop", STEP_SECONDS, id)
  raise(problem)
end

-- --- watches ----------------------------------------------------------------------------------------------

local function has_finalizer(object, name)
  for _, one in ipairs(object.metadata.finalizers or {}) do
    if one == FINALIZER .. name then return true end
  end
  return false
end

-- Writes the list of finalizers, if nobody has changed the object meanwhile.
local function set_finalizers(self, watch, object, list)
  local metadata = object.metadata
  local body = { metadata = { finalizers = json.array(list), resourceVersion = metadata.resourceVersion } }
  return self.client:patch(watch.resource, metadata.name, body, { namespace = metadata.namespace, type = "merge" })
end

local function add_finalizer(self, watch, object)
  local list = { table.unpack(object.metadata.finalizers or {}) }
  list[#list + 1] = FINALIZER .. watch.name
  return set_finalizers(self, watch, object, list)
end

local function remove_finalizer(self, watch, object)
  local list = {}
  for _, one in ipairs(object.metadata.finalizers or {}) do
    if one ~= FINALIZER .. watch.name then list[#list + 1] = one end
  end
  return set_finalizers(self, watch, object, list)
end

-- At most one call of a watch is due for an object: the last that was asked for.
local function call_again(self, watch, informer, object, seconds)
  local metadata = object.metadata
  local key = ("%s %s/%s"):format(watch.name, metadata.namespace or "", metadata.name)
  local one
  one = task.spawn(function()
    task.sleep(seconds)
    if self.due[key] ~= one then return end
    self.due[key] = nil
    local now = informer:get(metadata.namespace, metadata.name)
    if not now then return end
    local ok, problem = pcall(self.reconcile, self, watch, informer, now)
    if ok then return end
    if errors.is(problem, "Cancelled") then error(problem, 0) end
    self.log(("%s: %s"):format(watch.name, errors.text(problem)))
    if self.leads then call_again(self, watch, informer, now, seconds) end
  end)
  local before = self.due[key]
  self.due[key] = one
  if before then before:cancel() end
end

-- An item of a list knows its kind only by the list; its text and its copies are to know it, too.
local function with_kind(object)
  object.apiVersion, object.kind = object.apiVersion, object.kind
  return object
end

---Brings one object where a watch wants it.
function Controller:reconcile(watch, informer, object)
  with_kind(object)
  if object.metadata.deletionTimestamp then
    if not watch.finalize or not has_finalizer(object, watch.name) then return end
    run_handler(self, "watch", watch.number, "finalize", object)
    remove_finalizer(self, watch, object)
    return
  end
  if watch.finalize and not has_finalizer(object, watch.name) then object = add_finalizer(self, watch, object) end
  if not watch.reconcile then return end
  local again = run_handler(self, "watch", watch.number, "reconcile", object)
  if again then call_again(self, watch, informer, object, again) end
end

local function as_set(list)
  local set = {}
  for _, one in ipairs(list or {}) do set[one] = true end
  return set
end

-- Whether a watch is about an object.
local function concerns(watch, object)
  if watch.selector and not watch.selector:matches(object.metadata.labels or {}) then return false end
  local spec = watch.namespaces
  if type(spec) ~= "table" then return true end
  local namespace = object.metadata.namespace or object.metadata.name
  if spec.names then return as_set(spec.names)[namespace] or false end
  return not as_set(spec.exclude)[namespace]
end

-- --- what is followed: one informer a resource --------------------------------------------------------------

-- The handlers of this set see the change at once; others are told by on_publish.
local function publish(self, followed, key, object)
  local namespace, name = key:match "^(.-)/?([^/]+)$"
  if namespace == "" then namespace = nil end
  local change = { plural = followed.plural, group = followed.group, namespace = namespace, name = name,
    text = object and json.encode(with_kind(object)) }
  local _, problem = self.set.box:call("publish", STEP_SECONDS, { change })
  if problem then raise(problem) end
  if not followed.shown then return end
  followed.texts[key] = change.text
  if self.on_publish then self.on_publish() end
end

-- All watches of the resource are called, also after one has failed; then the first failure is raised, and the
-- informer calls again.
local function tell_watches(self, followed, object)
  local failure
  for _, watch in ipairs(followed.watches) do
    if concerns(watch, object) then
      local ok, problem = pcall(self.reconcile, self, watch, followed.informer, object)
      if not ok and errors.is(problem, "Cancelled") then error(problem, 0) end
      if not ok then
        self.log(("%s: %s"):format(watch.name, errors.text(problem)))
        self.failures[watch.name] = (self.failures[watch.name] or 0) + 1
        failure = failure or problem
      end
    end
  end
  if failure then error(failure, 0) end
end

local function follow(self, followed)
  followed.informer = self.client:informer {
    kind = followed.kind, namespace = "*",
    handler = function(key, object)
      if followed.published then publish(self, followed, key, object) end
      if object and followed.informer and self.leads then tell_watches(self, followed, object) end
    end,
  }
end

local function entry(map, text)
  local parsed = resources.parse(text)
  local key = parsed.plural .. "." .. (parsed.group or "")
  if not map[key] then
    local kind = parsed.group ~= "" and parsed.plural .. "." .. parsed.group or parsed.plural
    map[key] = { kind = kind, plural = parsed.plural, group = parsed.group or "", watches = {}, texts = {} }
    table.insert(map, map[key])
  end
  return map[key]
end

-- What has to be followed: what reviews may look at, and what is watched.
local function followed_of(description)
  local map = {}
  for _, text in ipairs(rights.reads(description)) do
    local followed = entry(map, text)
    followed.published, followed.shown = true, true
  end
  for _, text in ipairs(rights.follows(description)) do entry(map, text).published = true end
  for number, watch in ipairs(description.watches) do
    watch.number = number
    watch.selector = watch.label and kube.selector(watch.label)
    table.insert(entry(map, watch.resource).watches, watch)
  end
  return map
end

-- --- the beginning, and what comes with time ------------------------------------------------------------------

local function call_initial(self, followed)
  for _, watch in ipairs(followed.watches) do
    if watch.initial then
      local list = json.array {}
      for _, object in ipairs(followed.informer:list {}) do
        if concerns(watch, object) then list[#list + 1] = object end
      end
      run_handler(self, "watch", watch.number, "initial", list)
    end
  end
end

local function look_again(self, followed, watch)
  while true do
    task.sleep(watch.resync)
    for _, object in ipairs(followed.informer:list {}) do
      if concerns(watch, object) then
        local ok, problem = pcall(self.reconcile, self, watch, followed.informer, object)
        if not ok then
          if errors.is(problem, "Cancelled") then error(problem, 0) end
          self.log(("%s: %s"):format(watch.name, errors.text(problem)))
        end
      end
    end
  end
end

local function keep_time(self, number, schedule)
  local times = schedule.cron and cron.parse(schedule.cron)
  while true do
    local pause = schedule.every
    if times then
      local due = times:next(os.time())
      if not due then return end
      pause = due - os.time()
    end
    task.sleep(pause)
    local ok, problem = pcall(run_handler, self, "schedule", number, "run")
    if not ok then
      if errors.is(problem, "Cancelled") then error(problem, 0) end
      self.log(("%s: %s"):format(schedule.name, errors.text(problem)))
    end
  end
end

local function spawn(self, fn, ...)
  self.tasks[#self.tasks + 1] = task.spawn(fn, ...)
end

-- From now on this process writes: what is there is looked at once, then what changes.
local function begin(self)
  self:sync(self.sync_timeout) -- handlers look at other objects, too: those are to be known
  self.leads = true
  for _, followed in ipairs(self.followed) do
    if #followed.watches > 0 then
      call_initial(self, followed)
      for _, object in ipairs(followed.informer:list {}) do
        pcall(tell_watches, self, followed, object)
      end
      for _, watch in ipairs(followed.watches) do
        if watch.resync then spawn(self, look_again, self, followed, watch) end
      end
    end
  end
  for number, schedule in ipairs(self.set.description.schedules) do spawn(self, keep_time, self, number, schedule) end
end

---Starts; the writes begin when `lead` is called, or at once.
---@param set policy.Set
---@param client table of kube.connect
---@param options {log: fun(message: string)?, wait_for_lead: boolean?, sync_timeout: number|string|nil,
---  on_publish: fun()?}? on_publish: what reviews may look at has changed
---@return policy.Controller
function M.start(set, client, options)
  options = options or {}
  local self = setmetatable({ set = set, client = client, log = options.log or function() end, tasks = {}, due = {},
    calls = 0, failures = {}, leads = false, sync_timeout = options.sync_timeout or "60s",
    on_publish = options.on_publish, followed = followed_of(set.description) }, Controller)
  for _, followed in ipairs(self.followed) do follow(self, followed) end
  if not options.wait_for_lead then spawn(self, begin, self) end
  return self
end

---This process leads from now on: it writes through this client.
---@param client table of kube.connect, or the one that leader election gave
function Controller:lead(client)
  self.client = client
  begin(self)
end

---Waits until everything that is followed is known, and published.
---@param timeout number|string|nil
function Controller:sync(timeout)
  for _, followed in ipairs(self.followed) do followed.informer:sync(timeout) end
end

---@return string[] texts of the objects that reviews may look at, as JSON
function Controller:texts()
  local texts = {}
  for _, followed in ipairs(self.followed) do
    for _, text in pairs(followed.texts) do texts[#texts + 1] = text end
  end
  return texts
end

---@return boolean whether everything that is followed is known
function Controller:is_synced()
  return (pcall(self.sync, self, 0))
end

function Controller:stop()
  self.leads = false
  for _, one in ipairs(self.tasks) do one:cancel() end
  for _, one in pairs(self.due) do one:cancel() end
  for _, followed in ipairs(self.followed) do followed.informer:stop() end
end

return M
