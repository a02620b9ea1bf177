-- kube.wait: waits until an object is as it should be: a condition, a value at a path, gone, or a function's yes.
-- Not for waiting for many (an informer's handler does that better).
--   c:wait { kind = "jobs", name = "train", condition = "Complete", timeout = "10m" }

local backoffs = require "kube.backoff"
local errors = require "errors"
local json = require "json"
local objects = require "kube.objects"
local streams = require "kube.stream"
local task = require "task"

local M = {}

local OPTIONS = {}
for name in ([[ kind name namespace condition jsonpath value deleted timeout uid test ]]):gmatch "%S+" do
  OPTIONS[name] = true
end

-- --- what is waited for -----------------------------------------------------------------------------------

-- "Ready", "Ready=False": type and wanted status.
local function condition_test(wanted)
  local name, status = wanted:match "^([^=]+)=(.+)$"
  name, status = (name or wanted):lower(), (status or "True"):lower()
  return function(object)
    local conditions = type(object.status) == "table" and object.status.conditions
    for _, condition in ipairs(type(conditions) == "table" and conditions or {}) do
      if tostring(condition.type):lower() == name then
        local seen, now = condition.observedGeneration, object.metadata.generation
        local stale = math.type(seen) and math.type(now) and seen < now
        return not stale and tostring(condition.status):lower() == status
      end
    end
    return false
  end
end

local function jsonpath_test(expression, value)
  local jsonpath = require("kube").jsonpath
  return function(object)
    local ok, found = pcall(jsonpath, expression, object)
    if not ok then
      if errors.is(found) and found.code == "Cancelled" then error(found, 0) end
      return false -- the path is not there yet
    end
    if value == nil then return found ~= nil and found ~= "" end
    return tostring(found) == tostring(value)
  end
end

local function test_of(options)
  if options.deleted then return function() return false end end
  if options.condition then return condition_test(options.condition) end
  if options.jsonpath then return jsonpath_test(options.jsonpath, options.value) end
  if options.test then return options.test end
  error("wait: condition, jsonpath, test or deleted = true expected", 4)
end

local function check(options)
  if type(options) ~= "table" then error("wait: a table expected", 3) end
  for name in pairs(options) do
    if not OPTIONS[name] then error(("wait: unknown option '%s'"):format(tostring(name)), 3) end
  end
  if type(options.kind) ~= "string" or type(options.name) ~= "string" then
    error("wait: kind and name expected", 3)
  end
end

-- --- waiting ----------------------------------------------------------------------------------------------

-- Whether it is over with this state (nil: it is not there), and the result.
local function is_over(self, object)
  local other = object and self.options.uid and object.metadata.uid ~= self.options.uid
  if self.options.deleted then return object == nil or other, nil end
  if object == nil or other then return false end
  self.last = object
  return self.test(object), object
end

local function left(self)
  return self.deadline and math.max(self.deadline - task.now(), 0)
end

-- The object now; nil when it is not there.
local function read(self)
  local object, problem = self.client.try:get(self.options.kind, self.options.name, { namespace = self.namespace })
  if object or errors.is(problem, "NotFound") then return object end
  error(problem, 0)
end

-- Follows the object's watch: true when it is over, false at its end or when the time is up.
local function follow(self, version)
  local stream = streams.open(self.client, self.resource, {
    namespace = self.namespace, fields = "metadata.name=" .. self.options.name, resource_version = version,
    answer_timeout = left(self),
  })
  local closer <close> = setmetatable({}, { __close = function() stream:close() end }) -- luacheck: ignore
  while true do
    local type, text, _, key = stream:next(left(self))
    if not type then return false end
    if type ~= "BOOKMARK" and key:match "[^/]*$" == self.options.name then
      local object = json.decode(text, { duplicates = "last" })
      local over, result = is_over(self, type ~= "DELETED" and object or nil)
      if over then return true, result end
    end
  end
end

local function timed_out(self)
  local options = self.options
  local wanted = options.deleted and "its deletion" or options.condition and "condition " .. options.condition
    or options.jsonpath and options.jsonpath .. (options.value ~= nil and "=" .. tostring(options.value) or "")
    or "the test"
  errors.raise {
    code = "Timeout", verb = "wait", resource = self.resource.plural, namespace = self.namespace, name = options.name,
    context = self.client.context, server = self.client.server, last = self.last,
    message = ("wait for %s '%s'%s: %s did not come within %s"):format(self.resource.plural, options.name,
      self.namespace and " in namespace '" .. self.namespace .. "'" or "", wanted,
      type(options.timeout) == "number" and options.timeout .. " s" or tostring(options.timeout)),
  }
end

-- Faults that another try may heal.
local function is_passing(problem)
  if not errors.is(problem) then return false end
  local status = problem.status or 0
  return problem.code == "Connection" or problem.code == "Protocol" or problem.code == "Expired"
    or problem.code == "Timeout" or status == 410 or status == 429 or status >= 500
end

local function turn(self)
  local object = read(self)
  local over, result = is_over(self, object)
  if over then return true, result end
  return follow(self, object and object.metadata.resourceVersion or nil)
end

---Waits for an object.
---@param options {kind: string, name: string, namespace: string?, condition: string?, jsonpath: string?, value: any,
---  deleted: boolean?, test: (fun(object: table): boolean)?, timeout: number|string|nil, uid: string?}
---  condition: "Ready" or "Ready=False"; jsonpath without value: anything there
---@return table? object nil after a deletion
---raises {code="Timeout"} with the last state in `last`
function M:wait(options)
  check(options)
  local state = {
    client = self, options = options, test = test_of(options), resource = self.discovery:resolve(options.kind),
    deadline = options.timeout and task.now() + task.seconds(options.timeout),
  }
  state.namespace = objects.namespace_of(self, state.resource, options)
  local backoff = backoffs.new { first = 0.2, most = 10 }
  while true do
    local ok, over, result = pcall(turn, state)
    if ok and over then return result end
    if not ok and not is_passing(over) then error(over, 0) end
    if state.deadline and task.now() >= state.deadline then timed_out(state) end
    local pause = backoff:next()
    task.sleep(state.deadline and math.min(pause, left(state)) or pause)
  end
end

return M
