-- policy.inside.handlers: the handlers of watches and schedules, which may write: each runs as a coroutine
-- that hands its writes out and goes on with what came of them.
-- Not for reviews, whose handlers cannot wait.
--   local step = handlers.start(1, "watch", 1, "reconcile", object)   -- {write = {…}} or {done = true}
--   step = handlers.resume(1, result)

local objects = require "policy.inside.objects"
local resources = require "policy.inside.resources"
local secrets = require "policy.inside.secrets"
local set = require "policy.inside.set"
local times = require "policy.inside.times"
local values = require "policy.inside.values"

local M = {}

local running = {} -- id -> {coroutine, context}

local methods = {}
methods.__index = methods

local function same_resource(declared, resource)
  local granted = resources.parse(declared)
  return granted.plural == resource.plural and granted.group == resource.group
    and granted.subresource == resource.subresource
end

local function check_write(context, verb, resource, shown)
  for _, write in ipairs(context._file.grants.writes) do
    if same_resource(write.resource, resource) and values.contains(write.verbs, verb) then return end
  end
  error(("the verb %s on %s is not declared: add it to policy.grant { writes = { … } }"):format(verb, shown), 3)
end

local function check_read(context, resource, shown)
  local grants = context._file.grants
  for _, list in ipairs { grants.reads, grants.follows } do
    for _, declared in ipairs(list) do
      if same_resource(declared, resource) then return end
    end
  end
  error(("reading %s is not declared: add it to policy.grant { reads = { … } }"):format(shown), 3)
end

local function resource_of(object)
  if type(object) ~= "table" or type(object.apiVersion) ~= "string" or type(object.kind) ~= "string" then
    error("an object needs apiVersion and kind", 3)
  end
  local known = resources.of_kind(object.apiVersion, object.kind)
  return { plural = known.plural, group = known.group, namespaced = known.namespaced }
end

-- Hands a write out and waits for its result.
local function perform(write)
  local result, problem, warnings = coroutine.yield { write = write }
  if problem then error(problem, 0) end
  return result, warnings
end

local function reference_of(object)
  local metadata = object.metadata or {}
  return { api_version = object.apiVersion, kind = object.kind, namespace = metadata.namespace, name = metadata.name }
end

---@return table? object from the cache of declared reads
function methods:get(kind, namespace, name)
  local resource = resources.parse(kind)
  check_read(self, resource, kind)
  local known = resources.of_plural(resource.plural, resource.group)
  if known and not known.namespaced then namespace = nil end
  local found = values.copy(objects.get(resource.plural, resource.group, namespace, name))
  self._secrets:note(found)
  return found
end

---Whether an object says all that another one says; what it says besides does not matter.
---@return boolean
function methods.contains(object, wanted)
  return values.subset(wanted, object) == nil
end

---@param options {namespace: string?, labels: string?}?
---@return table[] objects from the cache of declared reads
function methods:list(kind, options)
  options = options or {}
  local resource = resources.parse(kind)
  check_read(self, resource, kind)
  local selector = options.labels and require "kube".selector(options.labels)
  local found = {}
  for object in objects.each(resource.plural, resource.group) do
    local metadata = object.metadata
    local fits = not options.namespace or options.namespace == "*" or metadata.namespace == options.namespace
    if fits and selector then fits = selector:matches(metadata.labels or {}) end
    if fits then
      self._secrets:note(object)
      found[#found + 1] = values.copy(object)
    end
  end
  return found
end

---Server-side apply of the fields given.
---@return table object as the server has it
function methods:apply(object, options)
  local resource = resource_of(object)
  check_write(self, "patch", resource, resource.plural)
  check_write(self, "create", resource, resource.plural)
  return perform { verb = "apply", object = object, options = options }
end

---@param object table what is changed (apiVersion, kind, metadata)
---@param patch table
---@param options {type: "json"|"merge"|"strategic"|nil, subresource: string?, dry_run: boolean?}?
---@return table object
---@return string[]? warnings of the API server
function methods:patch(object, patch, options)
  options = options or {}
  local resource = resource_of(object)
  resource.subresource = options.subresource
  check_write(self, "patch", resource, resource.plural)
  return perform { verb = "patch", reference = reference_of(object), patch = patch, options = options }
end

function methods:create(object)
  local resource = resource_of(object)
  check_write(self, "create", resource, resource.plural)
  return perform { verb = "create", object = object }
end

function methods:delete(object, options)
  local resource = resource_of(object)
  check_write(self, "delete", resource, resource.plural)
  return perform { verb = "delete", reference = reference_of(object), options = options }
end

---Writes an event about an object.
---@param kind "Normal"|"Warning"
function methods:event(object, kind, reason, format, ...)
  local message = select("#", ...) > 0 and format:format(...) or tostring(format)
  perform { verb = "event", reference = reference_of(object), uid = object.metadata and object.metadata.uid,
    type = kind, reason = reason, message = self._secrets:mask(message) }
end

---Has the handler called again after a time.
function methods:requeue(time)
  self._requeue = times.seconds(time) or error("ctx:requeue needs a time such as \"30s\"", 2)
end

function methods:log(format, ...)
  local message = select("#", ...) > 0 and format:format(...) or tostring(format)
  perform { verb = "log", message = self._secrets:mask(message) }
end

local function new_context(file)
  return setmetatable({ config = values.copy(file.config), _file = file, _secrets = secrets.new() }, methods)
end

local function step(id, ...)
  local entry = running[id]
  local ok, request = coroutine.resume(entry.coroutine, ...)
  if not ok then
    running[id] = nil
    error(entry.context._secrets:mask_all(request), 0)
  end
  if coroutine.status(entry.coroutine) ~= "dead" then return request end
  running[id] = nil
  return { done = true, requeue = entry.context._requeue }
end

local LISTS = { watch = set.watches, schedule = set.schedules }

---Starts a handler.
---@param id integer of this call, chosen by the host
---@param list "watch"|"schedule"
---@param number integer of the watch or schedule
---@param handler "initial"|"reconcile"|"deleted"|"finalize"|"run"
---@param argument any an object, or a list of them for initial
---@return table step {write=} or {done=, requeue=}; raises what the handler raises
function M.start(id, list, number, handler, argument)
  local declared = LISTS[list][number]
  local context = new_context(declared.file)
  local run = declared[handler]
  if handler == "initial" then
    for _, object in ipairs(argument) do context._secrets:note(object) end
  else
    context._secrets:note(argument)
  end
  running[id] = { context = context, coroutine = coroutine.create(function()
    if handler == "run" then run(context) else run(argument, context) end
  end) }
  return step(id)
end

---Goes on with a handler whose write was done.
---@return table step as of start
function M.resume(id, result, problem, warnings)
  return step(id, result, problem, warnings)
end

---What the files have to say of an object, besides what they would do.
---@param object table
---@return string[] lines
function M.say(object)
  local resource = resources.of_kind(object.apiVersion, object.kind)
  local lines = {}
  for _, explain in ipairs(set.explains) do
    if explain.resource.plural == resource.plural and explain.resource.group == resource.group then
      local context = new_context(explain.file)
      context._secrets:note(object)
      for _, line in ipairs(explain.run(object, context)) do lines[#lines + 1] = context._secrets:mask(line) end
    end
  end
  return lines
end

---Forgets a handler that was stopped.
function M.drop(id)
  running[id] = nil
end

return M
