-- What may be registered while replicas of a host change to another set of policies (tests/installed plays it).
local test = require "test"
local fs = require "fs"
local policy = require "policy"
local paths = require "policy.serve.paths"
local registrations = require "policy.serve.registration"
local rollouts = require "policy.serve.rollout"

local ADDRESS = "kfhost-policy.kfhost-system.svc"

local function load(...)
  local text = 'local policy = require "policy"\n'
  for _, part in ipairs { ... } do text = text .. part end
  local file = test.tmpdir() .. "/site.lua"
  fs.write(file, text)
  return policy.load(file)
end

local function check(name, match)
  return ('policy.validate { name = "%s", match = %s, check = function() end }\n'):format(name,
    match or '{ resource = "pods" }')
end

local TWO = [[{ { resource = "pods", namespaces = { label = "a" } },
  { resource = "pods", namespaces = { label = "b" } } }]]

-- A replica's own set, and what it would register beside others: names of webhooks, and what it waits for.
local Leader = {}
Leader.__index = Leader

local function leader(set)
  return setmetatable({ rollout = rollouts.new("one", paths.of(set.description), ADDRESS), there = {},
    registration = registrations.new(nil, set.description, { name = "kfhost-policy", namespace = "kfhost-system" }) },
    Leader)
end

function Leader:plan()
  local plan = self.registration:plan(nil, self.there, function(path) return self.rollout:lacking(path) end)
  local names = {}
  for _, configuration in ipairs(plan.configurations) do
    self.there[configuration.metadata.name] = configuration
    for _, webhook in ipairs(configuration.webhooks) do names[#names + 1] = webhook.name:match "^(.*)%.policy%." end
  end
  return { table.concat(names, " "), table.concat(plan.waits, "; ") }
end

local function status(set, more)
  local one = { paths = paths.of(set.description), address = ADDRESS, time = "1" }
  for field, value in pairs(more or {}) do one[field] = value end
  return one
end

test("a policy is registered when every replica has it, and taken out before one comes that has it not", function()
  local old, new = load(check "stays", check "goes"), load(check "stays", check "comes")
  local first, second = leader(old), leader(new)
  first.rollout:look { one = status(old), two = status(old) }
  test.same(first:plan(), { "stays goes", "" })
  first.rollout:look { one = status(old), two = status(old), three = status(new) }
  test.same(first:plan(), { "stays", "validate/goes waits for three" })
  second.there = first.there
  second.rollout:look { two = status(old), one = status(new), three = status(old) }
  test.same(second:plan(), { "stays", "validate/comes waits for three, two" })
  second.rollout:look { one = status(new), three = status(old) }
  test.same(second:plan(), { "stays", "validate/comes waits for three" })
  second.rollout:look { one = status(new), three = status(new) }
  test.same(second:plan(), { "stays comes", "" })
end)

test("of a policy that gets more webhooks the one before stays until every replica can answer all", function()
  local old, new = load(check "both"), load(check("both", TWO))
  local first, second = leader(old), leader(new)
  test.same(first:plan(), { "both", "" })
  second.there = first.there
  second.rollout:look { two = status(old) }
  test.same(second:plan(), { "both", "validate/both waits for two" })
  second.rollout:look { two = status(new) }
  test.same(second:plan(), { "1.both 2.both", "" })
end)

test("what an older set had in a configuration that this one does not need is taken out", function()
  local first = leader(load(check "checks", [[policy.mutate { name = "late", position = "late",
    match = { resource = "pods" }, apply = function() end }]]))
  local second = leader(load(check "checks"))
  test.same(first:plan(), { "late checks", "" })
  second.there = first.there
  test.same(second:plan(), { "checks", "" })
  test.same(second.there["zz-kfhost-policy"].webhooks, {})
end)

test("a replica that writes nothing any more is waited for until it is taken for dead, by this one's clock", function()
  local old, new = load(check "stays"), load(check "stays", check "comes")
  local one = leader(new)
  local statuses = { two = status(old, { time = "2026-01-01T00:00:00Z" }) }
  one.rollout:look(statuses)
  test.advance(rollouts.SILENT - 1)
  one.rollout:look(statuses)
  test.same(one:plan(), { "stays", "validate/comes waits for two" })
  statuses.two.time = "2026-01-01T00:00:20Z" -- alive after all
  one.rollout:look(statuses)
  test.advance(rollouts.SILENT - 1)
  one.rollout:look(statuses)
  test.same(one:plan(), { "stays", "validate/comes waits for two" })
  test.advance(2)
  one.rollout:look(statuses)
  test.same(one:plan(), { "stays comes", "" })
  test.same(one.rollout:forgotten(), {})
  test.advance(3600)
  one.rollout:look(statuses)
  test.same(one.rollout:forgotten(), { "two" })
end)

test("who is found elsewhere, or is of a version that says nothing of this, is not waited for", function()
  local old, new = load(check "stays"), load(check "comes")
  local one = leader(new)
  one.rollout:look { laptop = status(old, { address = "https://127.0.0.1:8443" }), before = { time = "1", set = "x" } }
  test.same(one:plan(), { "comes", "" })
end)

test("a replica that comes knows what is registered that it does not have", function()
  local there = leader(load(check "stays", check "goes"))
  there:plan()
  local comes = leader(load(check "stays"))
  test.same(comes.registration:foreign(there.there, comes.rollout.own), { "/validate/goes" })
  test.same(comes.registration:foreign({}, comes.rollout.own), {})
end)
