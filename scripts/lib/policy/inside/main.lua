-- policy.inside.main: what the host may call in a sandbox of policies; the first chunk that runs there.
-- Not for policy files, which get `require "policy"`.
--   sandbox:run(source, "@kfhost/lib/policy/inside/main.lua", "5s", options)

local exports, options = ...

local config = require "policy.inside.config"
local environment = require "policy.inside.environment"
local objects = require "policy.inside.objects"
local review = require "policy.inside.review"
local set = require "policy.inside.set"

options = options or {}
if options.bypass_groups then review.bypass.groups = options.bypass_groups end
if options.own_namespace then review.protected[options.own_namespace] = true end

---Loads a policy file.
---@param file {stem: string, name: string, text: string, config: table, cases: table[]?} cases: tests beside it
function exports.load(file)
  local entry = { stem = file.stem, name = file.name, given = file.config or {}, specs = {}, config = {},
    grants = { reads = {}, follows = {}, writes = {}, hosts = {} } }
  set.files[#set.files + 1] = entry
  set.current = entry
  local globals, seal = environment.new((file.name:gsub("^[@=]", "")))
  local chunk, problem = load(file.text, file.name, "t", globals)
  if not chunk then
    local path, line, message = problem:match "^(.-):(%d+): (.*)$"
    error({ code = "Syntax", message = message or problem, path = path, line = math.tointeger(tonumber(line)) }, 0)
  end
  chunk()
  if next(entry.specs) == nil then config.resolve({}, entry.given) end
  for _, case in ipairs(file.cases or {}) do require "policy.inside.author".test(case) end
  seal()
  set.current = nil
end

local function plain(policy)
  return { kind = policy.kind, name = policy.name, file = policy.file.stem, mode = policy.mode, doc = policy.doc,
    on_error = policy.on_error, position = policy.position, timeout = policy.timeout, memory = policy.memory,
    match = policy.alternatives }
end

---@return table description of all that the files declare, as plain data
function exports.describe()
  local description = { policies = {}, watches = {}, schedules = {}, tests = {}, files = {} }
  for i, policy in ipairs(set.policies) do description.policies[i] = plain(policy) end
  for i, watch in ipairs(set.watches) do
    description.watches[i] = { name = watch.name, file = watch.file.stem, resource = watch.resource, doc = watch.doc,
      namespaces = watch.namespaces, label = watch.label, resync = watch.resync, initial = watch.initial ~= nil,
      reconcile = watch.reconcile ~= nil, deleted = watch.deleted ~= nil, finalize = watch.finalize ~= nil }
  end
  for i, schedule in ipairs(set.schedules) do
    description.schedules[i] = { name = schedule.name, file = schedule.file.stem, cron = schedule.cron,
      every = schedule.every, zone = schedule.zone, doc = schedule.doc }
  end
  for i, test in ipairs(set.tests) do description.tests[i] = { name = test.name, file = test.file.stem } end
  for i, file in ipairs(set.files) do
    description.files[i] = { stem = file.stem, name = file.name, grants = file.grants, specs = file.specs,
      config = file.config }
  end
  return description
end

exports.begin = review.begin
exports.handle = review.handle
exports.failed = review.failed
exports.finish = review.finish
exports.explain = review.explain

---@param list table[] objects that reviews may look at; all that was known is forgotten
function exports.know(list)
  objects.clear()
  for _, object in ipairs(list or {}) do objects.put(object) end
end

function exports.publish(changes)
  for _, change in ipairs(changes) do objects.publish(change) end
end

local handlers = require "policy.inside.handlers"
exports.start = handlers.start
exports.resume = handlers.resume
exports.drop = handlers.drop
exports.say = handlers.say

local testing = require "policy.inside.testing"
exports.review_of = testing.review
exports.test_case = testing.case
exports.test_verdict = testing.verdict
