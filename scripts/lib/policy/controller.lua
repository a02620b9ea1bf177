-- policy.controller: runs the watches and schedules of a set of policies, and keeps what reviews may look at.
-- Not for reviews (policy.serve).
--   local c = controller.start(set, require "kube".connect {}, {}); c:sync "30s"; c:stop()

local absent = require "policy.absent"
local cache = require "policy.serve.cache"
local errors = require "errors"
local json = require "json"
local kube = require "kube"
local resources = require "policy.inside.resources"
local rights = require "policy.rights"
local task = require "task"
local timetable = require "policy.timetable"
local writes = require "policy.writes"

local M = {}

local STEP_SECONDS = 5 -- for each part of a handler between two writes
local FINALIZER = require "policy.serve.report".FINALIZER

---@class policy.Controller
local Controller = {}
Controller.__index = Controller

local function raise(problem)
  error(problem, 0)
end

-- --- one handler ------------------------------------------------------------------------------------------

-- A failure of a handler: told, counted by the name of its watch or schedule, and raised again where it matters.
local function note_failure(self, name, problem)
  if errors.is(problem, "Cancelled") then error(problem, 0) end
  local text = ("%s: %s"):format(name, errors.text(problem))
  self.log(text)
  self.failures[name] = (self.failures[name] or 0) + 1
  if self.on_failure then self.on_failure(text) end
end

-- A handler, and the next one, finds what was written here, although the cluster has not told of it yet. An object that
-- is told of late, as it was before, stays for a moment: the next event puts it right.
local function show_own_write(self, object)
  local metadata = object.metadata
  if not metadata or not metadata.resourceVersion then return end
  local kind = resources.of_kind(object.apiVersion, object.kind)
  local followed = self.followed[kind.plural .. "." .. kind.group]
  if not followed or not followed.published then return end
  local change = { plural = kind.plural, group = kind.group, namespace = metadata.namespace, name = metadata.name,
    text = json.encode(object) }
  self.set.box:call("publish", STEP_SECONDS, { change })
end

local function run_steps(self, list, number, handler, argument)
  local box = self.set.box
  self.calls = self.calls + 1
  local id = self.calls
  local step, problem = box:call("start", STEP_SECONDS, id, list, number, handler, argument)
  while step and not step.done do
    local result, refused, warnings = writes.perform(self.client, step.write, self.log)
    if not (step.write.options and step.write.options.dry_run) then show_own_write(self, result) end
    step, problem = box:call("resume", STEP_SECONDS, id, result, refused, warnings)
  end
  if step then return step.requeue end
  box:call("drop", STEP_SECONDS, id)
  raise(problem)
end

local LISTS = { watch = "watches", schedule = "schedules" }

-- Runs a handler to its end, doing what it asks for on the way; gives the time after which it wants to be called
-- again.
local function run_handler(self, list, number, handler, argument)
  local started, metrics = task.now(), self.metrics
  local ok, result = pcall(run_steps, self, list, number, handler, argument)
  if metrics and (ok or not errors.is(result, "Cancelled")) then
    local problem
    if not ok then problem = result end
    metrics:call(self.set.description[LISTS[list]][number].name, task.now() - started, problem)
  end
  if not ok then error(result, 0) end
  return result
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

local function key_of(object)
  local metadata = object.metadata
  return metadata.namespace and metadata.namespace .. "/" .. metadata.name or metadata.name
end

-- A task of the time in which this process leads; forgotten when it has ended.
local function spawn(self, fn, ...)
  local own, ended
  own = task.spawn(function(...)
    local ok, problem = pcall(fn, ...)
    ended = true
    if own then self.tasks[own] = nil end
    if not ok then error(problem, 0) end
  end, ...)
  if not ended then self.tasks[own] = true end
end

-- One call for each object at a time: the earliest that was asked for.
local function call_again(self, followed, object, seconds)
  local key = key_of(object)
  local due = task.now() + seconds
  local known = followed.again[key]
  if known and known <= due then return end
  followed.again[key] = due
  spawn(self, function()
    task.sleep(seconds)
    if followed.again[key] ~= due then return end
    followed.again[key] = nil
    followed.informer:again(key)
  end)
end

-- An item of a list knows its kind only by the list; its text and its copies are to know it, too.
local function with_kind(object)
  object.apiVersion, object.kind = object.apiVersion, object.kind
  return object
end

---Brings one object where a watch wants it.
function Controller:reconcile(watch, followed, object)
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
  if again then call_again(self, followed, object, again) end
end

local function as_set(list)
  local set = {}
  for _, one in ipairs(list or {}) do set[one] = true end
  return set
end

-- The namespace that an object is in, or is; nil for others of the cluster.
local function namespace_of(watch, object)
  if object.metadata.namespace then return object.metadata.namespace end
  return watch.plural == "namespaces" and object.metadata.name or nil
end

-- Whether a watch is about the objects of a namespace: by name, and by its labels as they are now.
local function concerns_namespace(self, watch, namespace, object)
  local spec = type(watch.namespaces) == "table" and watch.namespaces or {}
  if spec.names then
    if not as_set(spec.names)[namespace] then return false end
  elseif as_set(spec.exclude)[namespace] or self.protected[namespace] then
    return false
  end
  if not watch.namespace_selector then return true end
  if watch.plural == "namespaces" then return watch.namespace_selector:matches(object.metadata.labels or {}) end
  local known = self.namespaces.informer:get(nil, namespace)
  return known ~= nil and watch.namespace_selector:matches(known.metadata.labels or {})
end

-- Whether a watch is about an object.
local function concerns(self, watch, object)
  if watch.selector and not watch.selector:matches(object.metadata.labels or {}) then return false end
  local namespace = namespace_of(watch, object)
  return not namespace or concerns_namespace(self, watch, namespace, object)
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
  followed.texts[key] = object
    and cache.frame(followed, namespace, name, object.metadata.resourceVersion or "", change.text)
  if self.on_publish then self.on_publish() end
end

-- An object is gone, or is no longer what a watch is about.
local function part(self, watch, last)
  if watch.deleted then run_handler(self, "watch", watch.number, "deleted", with_kind(last)) end
end

-- All watches of the resource are called, also after one has failed; then the first failure is raised, and the
-- informer calls again.
local function tell_watches(self, followed, object, last)
  local failure
  for _, watch in ipairs(followed.watches) do
    local ok, problem = true, nil
    if object and concerns(self, watch, object) then
      ok, problem = pcall(self.reconcile, self, watch, followed, object)
    elseif last and watch.deleted and concerns(self, watch, last) then
      ok, problem = pcall(part, self, watch, last)
    end
    if not ok then note_failure(self, watch.name, problem) end
    failure = failure or not ok and problem or nil
  end
  if failure then error(failure, 0) end
end

-- A namespace has other labels: watches that ask for these look at its objects again.
local function tell_of_labels(self, namespace)
  for _, followed in ipairs(self.followed) do
    if followed.by_label and followed ~= self.namespaces then
      for _, object in ipairs(followed.informer:list { namespace = namespace.metadata.name }) do
        followed.informer:again(key_of(object))
      end
    end
  end
end

local function labels_changed(before, now)
  return json.encode(json.object(before.metadata.labels or {}), { sort = true })
    ~= json.encode(json.object(now.metadata.labels or {}), { sort = true })
end

local function on_change(self, followed, key, object, last)
  if followed.published then publish(self, followed, key, object) end
  if not followed.informer or not self.leads then return end
  local relabelled = followed == self.namespaces and object and last and labels_changed(last, object)
  if relabelled then tell_of_labels(self, object) end
  tell_watches(self, followed, object, last)
end

local function follow(self, followed)
  followed.informer = absent.informer(self.client, {
    kind = followed.kind, namespace = "*", labels = not followed.whole and followed.labels or nil,
    handler = function(key, object, last) on_change(self, followed, key, object, last) end,
  }, self.log, function(informer) followed.informer = informer end, self.look_seconds)
end

local function entry(map, text)
  local parsed = resources.parse(text)
  local key = parsed.plural .. "." .. (parsed.group or "")
  if not map[key] then
    local kind = parsed.group ~= "" and parsed.plural .. "." .. parsed.group or parsed.plural
    map[key] = { kind = kind, plural = parsed.plural, group = parsed.group or "", watches = {}, texts = {},
      again = {} }
    table.insert(map, map[key])
  end
  return map[key]
end

-- What has to be followed: what reviews may look at, and what is watched.
local function followed_of(description)
  local map = {}
  for _, text in ipairs(rights.reads(description)) do
    local followed = entry(map, text)
    followed.published, followed.shown, followed.whole = true, true, true
  end
  for _, text in ipairs(rights.follows(description)) do entry(map, text) end
  for _, file in ipairs(description.files) do -- what is only watched comes as an argument, and is not kept twice
    for _, text in ipairs(file.grants.follows) do
      local followed = entry(map, text)
      followed.published, followed.whole = true, true
    end
  end
  for number, watch in ipairs(description.watches) do
    local followed = entry(map, watch.resource)
    local by = type(watch.namespaces) == "table" and watch.namespaces.label
    watch.number, watch.plural = number, followed.plural
    watch.selector = watch.label and kube.selector(watch.label)
    watch.namespace_selector = by and kube.selector(by)
    if by then
      followed.by_label = true
      entry(map, "namespaces").whole = true
    end
    -- What all watches of a kind ask for by one label need not come whole: of ConfigMaps above all there are many.
    local label = watch.label or ""
    followed.whole = followed.whole or label == "" or followed.labels ~= nil and followed.labels ~= label
    followed.labels = label
    table.insert(followed.watches, watch)
  end
  return map
end

-- --- the beginning, and what comes with time ------------------------------------------------------------------

-- The objects that are there, all at once, before they come one by one.
local function call_initial(self, followed)
  for _, watch in ipairs(followed.watches) do
    if watch.initial then
      local list = json.array {}
      for _, object in ipairs(followed.informer:list {}) do
        if concerns(self, watch, object) then list[#list + 1] = with_kind(object) end
      end
      local ok, problem = pcall(run_handler, self, "watch", watch.number, "initial", list)
      if not ok then note_failure(self, watch.name, problem) end
    end
  end
end

local function look_again(followed, watch)
  while true do
    task.sleep(watch.resync)
    followed.informer:again()
  end
end

local function keep_time(self, number, schedule)
  local times = timetable.new(schedule)
  while times:wait(self.clock) do
    local ok, problem = pcall(run_handler, self, "schedule", number, "run")
    if not ok then note_failure(self, schedule.name, problem) end
  end
end

-- From now on this process writes: what is there is looked at once, then what changes. A call that fails comes again.
local function begin(self)
  self:sync(self.sync_timeout)
  self.leads = true
  for _, followed in ipairs(self.followed) do
    if #followed.watches > 0 then
      call_initial(self, followed)
      followed.informer:again()
      for _, watch in ipairs(followed.watches) do
        if watch.resync then spawn(self, look_again, followed, watch) end
      end
    end
  end
  for number, schedule in ipairs(self.set.description.schedules) do spawn(self, keep_time, self, number, schedule) end
end

-- What kinds the cluster has is asked anew: what is remembered on disk may be of another cluster at this address, or of
-- a time when it had others. A server that does not answer yet is asked again by whatever follows.
local function discover(client)
  local ok, problem = pcall(function() client.discovery:all(true) end)
  if not ok and (not errors.is(problem) or problem.code == "Cancelled") then error(problem, 0) end
end

---Starts; the writes begin when `lead` is called, or at once.
---@param set policy.Set
---@param client table of kube.connect
---@param options {log: fun(message: string)?, wait_for_lead: boolean?, sync_timeout: number|string|nil,
---  on_publish: fun()?, on_failure: fun(text: string)?, clock: (fun(): integer)?, own_namespace: string?,
---  look_seconds: number?, metrics: table?}?
---  look_seconds: between two looks for a kind that the cluster has not yet; on_publish: what reviews may look at has
---  changed
---@return policy.Controller
function M.start(set, client, options)
  options = options or {}
  local self = setmetatable({ set = set, client = client, log = options.log or function() end, tasks = {}, calls = 0,
    failures = {}, leads = false, sync_timeout = options.sync_timeout or "60s", on_publish = options.on_publish,
    on_failure = options.on_failure, metrics = options.metrics, look_seconds = options.look_seconds,
    clock = options.clock or os.time,
    protected = as_set { "kube-system", options.own_namespace }, followed = followed_of(set.description) }, Controller)
  self.namespaces = self.followed["namespaces."]
  discover(client)
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

---@return boolean whether all that is followed comes as it changes
function Controller:is_live()
  for _, followed in ipairs(self.followed) do
    if not followed.informer:is_live() then return false end
  end
  return true
end

local function end_tasks(self)
  local tasks = self.tasks
  self.tasks = {}
  for one in pairs(tasks) do one:cancel() end
  for _, followed in ipairs(self.followed) do followed.again = {} end
end

---Another process leads from now on: nothing is written any more, what is followed stays followed.
function Controller:rest()
  self.leads = false
  end_tasks(self)
end

-- What was there at first, when it is known: handlers are called for it one by one, and later.
local function publish_first(self, followed)
  if followed.first_published or not followed.published then return end
  followed.first_published = true
  for _, object in ipairs(followed.informer:list {}) do
    local key = key_of(object)
    if not followed.texts[key] then publish(self, followed, key, object) end
  end
end

---Waits until everything that is followed is known, and published.
---@param timeout number|string|nil
function Controller:sync(timeout)
  for _, followed in ipairs(self.followed) do
    followed.informer:sync(timeout)
    publish_first(self, followed)
  end
end

---@return string[] frames of the objects that reviews may look at (policy.serve.cache)
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
  self:rest()
  for _, followed in ipairs(self.followed) do followed.informer:stop() end
end

return M
