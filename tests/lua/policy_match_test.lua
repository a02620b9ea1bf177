-- Whom a policy is about, where the API server has judged already, and where it cannot.
local test = require "test"
local answer = require "policy.serve.answer"
local fs = require "fs"
local json = require "json"
local metrics = require "policy.serve.metrics"
local policy = require "policy"
local webhooks = require "policy.webhooks"

local function load(text)
  local path = test.tmpdir() .. "/site.lua"
  fs.write(path, 'local policy = require "policy"\n' .. text)
  return policy.load(path)
end

local function namespace(name, labels)
  return { apiVersion = "v1", kind = "Namespace", metadata = { name = name, labels = labels } }
end

local PLURALS = { Pod = "pods", ConfigMap = "configmaps" }

local function review(kind, fields)
  local request = { uid = "u-1", operation = "CREATE", kind = { group = "", version = "v1", kind = kind },
    resource = { group = "", version = "v1", resource = PLURALS[kind] }, namespace = "team-a", name = "it",
    userInfo = { username = "ann" }, object = { apiVersion = "v1", kind = kind, metadata = { name = "it" } } }
  for field, value in pairs(fields or {}) do request[field] = value end
  return json.encode { apiVersion = "admission.k8s.io/v1", kind = "AdmissionReview", request = request }
end

local function handler_of(set)
  local handle = answer.handler(set, { metrics = metrics.new(), audit = function() end })
  return function(path, body)
    return handle { path = path, method = "POST", headers = { ["content-type"] = "application/json" }, body = body }
  end
end

local function is_allowed(response)
  test.equal(response.status, 200)
  return json.decode(response.body).response.allowed
end

local function entries_of(set)
  local list = webhooks.configurations(set.description, { name = "site", namespace = "host",
    client = function(path) return { path = path } end })
  return list[#list].webhooks
end

local ONE = [[policy.validate { name = "profile", match = { resource = "pods", namespaces = { label = "LABEL" } },
  check = function(req) return req:deny("no") end }]]

test("on a policy's own path the namespaceSelector has judged: labels known here may be old", function()
  local set = load(ONE:gsub("LABEL", "profile=yes"))
  set:know { namespace("team-a", {}) } -- as it was before it got its label
  local handle = handler_of(set)
  test.equal(is_allowed(handle("/validate/profile", review "Pod")), false)
  test.equal(is_allowed(handle("/validate", review "Pod")), true)
  test.equal(is_allowed(handle("/validate/profile", review("Pod", { namespace = "kube-system" }))), true)
  set:close()
end)

test("what the API server's selector cannot say is judged here, on a policy's own path too", function()
  local set = load(ONE:gsub("LABEL", "profile=yes,size>3"))
  test.same(entries_of(set)[1].namespaceSelector.matchExpressions[2],
    { key = "profile", operator = "In", values = { "yes" } })
  local handle = handler_of(set)
  set:know { namespace("team-a", { profile = "yes", size = "2" }) }
  test.equal(is_allowed(handle("/validate/profile", review "Pod")), true)
  set:know { namespace("team-a", { profile = "yes", size = "4" }) }
  test.equal(is_allowed(handle("/validate/profile", review "Pod")), false)
  set:close()
end)

local SEVERAL = [[policy.validate { name = "several", check = function(req) return req:deny("no") end, match = {
  { resource = "pods", namespaces = { label = "a=1" } }, { resource = "configmaps", namespaces = { label = "b=1" } },
  { resource = "jobs", namespaces = { label = "a=1" } } } }]]

test("matches that ask different things of namespaces have an entry, a selector and a path each", function()
  local set = load(SEVERAL)
  local entries = entries_of(set)
  test.equal(#entries, 2)
  test.equal(entries[1].name, "1.several.policy.kfhost.io")
  test.equal(entries[1].clientConfig.path, "/validate/several/1")
  test.equal(#entries[1].rules, 2)
  test.equal(entries[2].namespaceSelector.matchExpressions[2].key, "b")
  test.same(entries[2].rules[1].resources, { "configmaps" })
  local handle = handler_of(set)
  set:know { namespace("team-a", {}) }
  test.equal(is_allowed(handle("/validate/several/1", review "Pod")), false)
  test.equal(is_allowed(handle("/validate/several/2", review "Pod")), true)
  test.equal(is_allowed(handle("/validate/several/2", review "ConfigMap")), false)
  test.equal(is_allowed(handle("/validate/several", review "Pod")), true) -- no entry sends this
  test.equal(handle("/validate/several/3", review "Pod").status, 404)
  set:close()
end)

local WHEN = [[policy.validate { name = "when", match = { resource = "pods", when = "object.spec.priority > 3" }, MORE
  check = function(req) return req:deny("no") end }
policy.validate { name = "other", match = { resource = "pods" }, check = function() end }]]

test("a condition that cannot be evaluated is that policy's failure, and no other's", function()
  local set = load((WHEN:gsub("MORE", "")))
  local found = json.decode(handler_of(set)("/validate", review "Pod").body).response
  test.equal(found.allowed, false)
  test.equal(found.status.message,
    "policy when failed in review u-1: CEL: match.when 'object.spec.priority > 3': no such key: spec")
  local _, records = set:answer(review "Pod")
  test.equal(records[1].verdict, "error")
  test.equal(records[2].verdict, "allowed")
  set:close()
  set = load((WHEN:gsub("MORE", 'on_error = "allow",')))
  found = set:answer(json.decode(review "Pod")).response
  test.equal(found.allowed, true)
  test.equal(#found.warnings, 1)
  set:close()
end)

test("a condition about the namespace stands in no matchConditions, which know none", function()
  local set = load [[
    policy.validate { name = "one", match = { resource = "pods", when = "namespaceObject.metadata.name == 'x'" },
      check = function(req) return req:deny("no") end }
    policy.validate { name = "two", match = { resource = "pods", when = "object.metadata.name == 'x'" },
      check = function() end }]]
  local entries = entries_of(set)
  test.equal(entries[1].matchConditions, nil)
  test.equal(entries[2].matchConditions[1].expression, "object.metadata.name == 'x'")
  set:know { namespace("team-a", {}), namespace("x", {}) }
  test.equal(set:answer(json.decode(review "Pod")).response.allowed, true)
  test.equal(set:answer(json.decode(review("Pod", { namespace = "x" }))).response.allowed, false)
  test.equal(set:answer(json.decode(review("Pod", { namespace = "new" }))).response.allowed, false)
  test.equal(set:explain(review("Pod", { namespace = "new" }))[1].why, "namespace new is not known here")
  set:close()
end)

test("secrets are not even sent to a policy about everything", function()
  local set = load [[
    policy.validate { name = "all", match = { resource = "*" }, check = function() end }
    policy.validate { name = "named", match = { { resource = "*" }, { resource = "secrets" } },
      check = function() end }]]
  local entries = entries_of(set)
  test.same(entries[1].matchConditions,
    { { name = "no-secrets", expression = "request.resource.resource != 'secrets'" } })
  test.equal(entries[2].matchConditions, nil)
  set:close()
end)

test("an object that had the label before an update is meant as well, as by an objectSelector", function()
  local set = load [[policy.validate { name = "kept", match = { resource = "pods", label = "app=web" },
    check = function(req) return req:deny("the label stays") end }]]
  local old = { apiVersion = "v1", kind = "Pod", metadata = { name = "it", labels = { app = "web" } } }
  local found = set:answer(json.decode(review("Pod", { operation = "UPDATE", oldObject = old }))).response
  test.equal(found.allowed, false)
  test.equal(set:answer(json.decode(review "Pod")).response.allowed, true)
  set:close()
end)

test("a handler is told which of its matches holds", function()
  local set = load [[policy.validate { name = "which", match = { { resource = "configmaps" }, { resource = "pods" } },
    check = function(req) return req:deny("%d", req.matched) end }]]
  local response = set:answer(json.decode(review "Pod")).response
  test.equal(response.status.message, "policy which: 2")
  set:close()
end)

test("a mutation may ask for a check that it held", function()
  local set = load [[policy.mutate { name = "held", verify = true, match = { resource = "pods" }, apply = function(req)
    req.object.metadata.labels = req.object.metadata.labels or {}
    req.object.metadata.labels.team = "a"
    req:warn "said once"
  end }
  policy.mutate { name = "free", match = { resource = "pods" }, apply = function() end }]]
  local entries = entries_of(set)
  test.same({ #entries, entries[1].clientConfig.path, entries[1].failurePolicy }, { 1, "/validate/held", "Ignore" })
  local handle = handler_of(set)
  local object = { apiVersion = "v1", kind = "Pod", metadata = { name = "it", labels = { team = "b" } } }
  local undone = json.decode(handle("/validate/held", review("Pod", { object = object })).body).response
  test.equal(undone.status.message,
    "policy held: what it sets did not hold, another webhook has changed it: /metadata/labels/team")
  test.equal(undone.warnings, nil)
  object.metadata.labels.team = "a"
  test.equal(is_allowed(handle("/validate/held", review("Pod", { object = object }))), true)
  local whole = set:answer(json.decode(review "Pod")).response
  test.same({ whole.allowed, #whole.warnings }, { true, 1 })
  test.equal(handle("/validate/free", review "Pod").status, 404)
  set:close()
end)
