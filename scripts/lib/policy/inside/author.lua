-- policy: what a policy file writes: settings, rights, mutations, validations, watches, schedules, tests.
-- Not for running them: the program that loaded the file does that.
--   policy.validate { name = "no-latest", match = { resource = "pods" }, check = function(req) … end }

local config = require "policy.inside.config"
local match = require "policy.inside.match"
local set = require "policy.inside.set"
local times = require "policy.inside.times"

local M = {}

local MODES = { enforce = true, warn = true, audit = true, dry = true }
local ON_ERROR = { fail = true, allow = true }
local POSITIONS = { early = true, late = true }
local UNITS = { KiB = 2 ^ 10, MiB = 2 ^ 20, GiB = 2 ^ 30 }

local function bytes_of(text)
  if math.type(text) == "integer" then return text end
  local number, unit = tostring(text):match "^(%d+)(%a+)$"
  return number and UNITS[unit] and math.tointeger(tonumber(number) * UNITS[unit]) or nil
end

local function check_fields(what, spec, allowed)
  if type(spec) ~= "table" then error(what .. " takes a table", 3) end
  for field, value in pairs(spec) do
    local want = allowed[field]
    if not want then error(("%s has an unknown field '%s'"):format(what, tostring(field)), 3) end
    if want ~= "any" and type(value) ~= want then
      error(("%s: %s must be a %s, not a %s"):format(what, field, want, type(value)), 3)
    end
  end
end

local function choice(what, field, value, allowed, default)
  if value == nil then return default end
  if not allowed[value] then error(("%s: %s cannot be '%s'"):format(what, field, tostring(value)), 3) end
  return value
end

local function compile_match(what, spec)
  if type(spec) ~= "table" then error(what .. " needs a match", 3) end
  local ok, matches, alternatives = pcall(match.compile, spec)
  if not ok then
    local problem = type(matches) == "table" and matches.message or tostring(matches)
    error(("%s: %s"):format(what, problem), 3)
  end
  return matches, alternatives
end

local REVIEW_FIELDS = { name = "string", match = "table", apply = "function", check = "function", mode = "string",
  on_error = "string", position = "string", timeout = "any", memory = "any", verify = "boolean", doc = "string" }

local function declare(kind, spec, handler, on_error)
  local what = "policy." .. kind
  check_fields(what, spec, REVIEW_FIELDS)
  set.claim(spec.name, 2)
  what = what .. " '" .. spec.name .. "'"
  if type(spec[handler]) ~= "function" then error(("%s needs a function '%s'"):format(what, handler), 2) end
  local seconds = times.seconds(spec.timeout or 1)
  if not seconds or seconds <= 0 then error(what .. ": timeout must be a time such as \"500ms\"", 2) end
  local memory = bytes_of(spec.memory or "16MiB")
  if not memory then error(what .. ": memory must be a size such as \"16MiB\"", 2) end
  local matches, alternatives = compile_match(what, spec.match)
  local declared = {
    kind = kind, name = spec.name, file = set.current, handler = spec[handler], doc = spec.doc,
    mode = choice(what, "mode", spec.mode, MODES, "enforce"),
    on_error = choice(what, "on_error", spec.on_error, ON_ERROR, on_error),
    position = choice(what, "position", spec.position, POSITIONS, "early"),
    timeout = seconds, memory = memory, matches = matches, alternatives = alternatives,
  }
  set.policies[#set.policies + 1] = declared
  if spec.verify then set.policies[#set.policies + 1] = require "policy.inside.verify".of(declared) end
end

---Settings of this file: {KEY = {type=, enum=, default=, required=, doc=}}.
---@return table settings as the site has set them, for what a file declares depending on them
function M.config(specs)
  if type(specs) ~= "table" then error("policy.config takes a table", 2) end
  config.check(specs)
  local file = set.current
  file.specs = specs
  file.config = config.resolve(specs, file.given)
  return file.config
end

---In what a test expects: nothing is there.
M.absent = require "policy.inside.values".absent

---Seconds of a duration as settings have it: "15m", "1h30m", 2.5; nil when it is none.
M.seconds = times.seconds

local GRANT_FIELDS = { reads = "table", follows = "table", writes = "table", hosts = "table", memory = "any" }

---Rights of this file: {reads = {…}, follows = {…}, writes = {{resource=, verbs=, names=}}, hosts = {…},
---memory = "16MiB"}.
---reads: what reviews, watches and schedules may look at; follows: what only watches and schedules may.
function M.grant(spec)
  check_fields("policy.grant", spec, GRANT_FIELDS)
  require "policy.inside.grants".check(spec)
  if spec.memory and not bytes_of(spec.memory) then
    error("policy.grant: memory must be a size such as \"16MiB\"", 2)
  end
  local grants = set.current.grants
  for field, value in pairs(spec) do
    if type(value) == "table" then
      for _, one in ipairs(value) do table.insert(grants[field], one) end
    else
      grants[field] = bytes_of(value)
    end
  end
end

---Changes objects: {name=, match=, apply = function(req) … end, mode=, on_error="allow", position=, timeout=,
---verify=}. verify: a validating webhook refuses the object if, in the end, there is still something to change.
function M.mutate(spec)
  return declare("mutate", spec, "apply", "allow") -- a tail call: errors name the line of the policy file
end

---Refuses objects: {name=, match=, check = function(req) … end, mode=, on_error="fail", timeout=}.
function M.validate(spec)
  return declare("validate", spec, "check", "fail")
end

local WATCH_FIELDS = { name = "string", resource = "string", namespaces = "any", label = "string",
  initial = "function", reconcile = "function", deleted = "function", finalize = "function", resync = "any",
  doc = "string" }

---Follows objects: {name=, resource=, initial=, reconcile=, deleted=, finalize=, resync=}. deleted: of an object that
---is gone, or is no longer what the watch is about; not of what went while nobody followed, as finalize is.
function M.watch(spec)
  check_fields("policy.watch", spec, WATCH_FIELDS)
  set.claim(spec.name, 2)
  if not spec.resource then error("policy.watch '" .. spec.name .. "' needs a resource", 2) end
  if not (spec.initial or spec.reconcile or spec.deleted or spec.finalize) then
    error("policy.watch '" .. spec.name .. "' needs initial, reconcile, deleted or finalize", 2)
  end
  local watch = { file = set.current }
  for field, value in pairs(spec) do watch[field] = value end
  watch.resync = spec.resync and times.seconds(spec.resync)
  set.watches[#set.watches + 1] = watch
end

local EXPLAIN_FIELDS = { resource = "string", run = "function" }

---Says more of an object in `kfhost policy explain`: {resource=, run = function(object, ctx) return {"line", …} end}.
function M.explain(spec)
  check_fields("policy.explain", spec, EXPLAIN_FIELDS)
  if not (spec.resource and spec.run) then error("policy.explain needs a resource and a function 'run'", 2) end
  local resource = require "policy.inside.resources".parse(spec.resource)
  set.explains[#set.explains + 1] = { file = set.current, resource = resource, run = spec.run }
end

local SCHEDULE_FIELDS = { name = "string", cron = "string", every = "any", zone = "string", run = "function",
  doc = "string" }

---Runs at times: {name=, cron="0 */5 * * * *" (with seconds) or every="5m", zone=, run = function(ctx) … end}.
function M.schedule(spec)
  check_fields("policy.schedule", spec, SCHEDULE_FIELDS)
  set.claim(spec.name, 2)
  if not spec.run then error("policy.schedule '" .. spec.name .. "' needs a function 'run'", 2) end
  if (spec.cron == nil) == (spec.every == nil) then
    error("policy.schedule '" .. spec.name .. "' needs either cron or every", 2)
  end
  local schedule = { file = set.current }
  for field, value in pairs(spec) do schedule[field] = value end
  if spec.cron then
    local ok, problem = pcall(require "policy.inside.cron".parse, spec.cron)
    if not ok then
      error(("policy.schedule '%s': %s"):format(spec.name, tostring(problem):gsub("^[^:]+:%d+: ", "")), 2)
    end
  else
    schedule.every = times.seconds(spec.every)
    if not schedule.every or schedule.every <= 0 then
      error("policy.schedule '" .. spec.name .. "': every must be a time such as \"5m\"", 2)
    end
  end
  set.schedules[#set.schedules + 1] = schedule
end

local TEST_FIELDS = { name = "string", object = "table", old = "table", review = "table", operation = "string",
  user = "any", config = "table", objects = "table", expect = "table", dry_run = "boolean", namespace = "string",
  resource = "string",
  subresource = "string", options = "table", watch = "string", schedule = "string", answers = "table" }
local EXPECT_FIELDS = { allowed = "boolean", object = "table", patch = "table", warnings = "any", message = "string",
  writes = "table", code = "number" }

---A test of this file, run by `kfhost policy test`. answers: what the API server says to the writes of a watch, one
---after the other: {warnings = {…}} or {error = {code=, message=}}.
function M.test(spec)
  check_fields("policy.test", spec, TEST_FIELDS)
  if type(spec.name) ~= "string" then error("policy.test needs a name", 2) end
  if type(spec.expect) ~= "table" then error("policy.test '" .. spec.name .. "' needs expect", 2) end
  check_fields("policy.test '" .. spec.name .. "': expect", spec.expect, EXPECT_FIELDS)
  if not (spec.object or spec.old or spec.review or spec.schedule) then
    error("policy.test '" .. spec.name .. "' needs an object or a review", 2)
  end
  local test = { file = set.current }
  for field, value in pairs(spec) do test[field] = value end
  set.tests[#set.tests + 1] = test
end

return M
