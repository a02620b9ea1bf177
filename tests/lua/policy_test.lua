local test = require "test"
local fs = require "fs"
local hash = require "hash"
local json = require "json"
local policy = require "policy"

local POD = { group = "", version = "v1", kind = "Pod" }

-- A set made of one policy file with this text.
local function load(text, options)
  local directory = test.tmpdir()
  fs.write(directory .. "/site.lua", 'local policy = require "policy"\n' .. text)
  return policy.load(directory .. "/site.lua", options)
end

local function review(object, more)
  local request = { uid = "7f0b2891-916f-4ed6-b7cd-27bff1815a8c", operation = "CREATE", kind = POD,
    resource = { group = "", version = "v1", resource = "pods" }, namespace = "team-a", name = "p",
    userInfo = { username = "ann", groups = { "system:authenticated" } }, object = object, dryRun = false }
  for field, value in pairs(more or {}) do request[field] = value end
  return { apiVersion = "admission.k8s.io/v1", kind = "AdmissionReview", request = request }
end

local function pod(fields)
  local object = { apiVersion = "v1", kind = "Pod", metadata = { name = "p", namespace = "team-a" },
    spec = { containers = { { name = "main", image = "busybox" } } } }
  for field, value in pairs(fields or {}) do object[field] = value end
  return object
end

local function patch_of(answer)
  return json.decode(hash.unbase64(answer.response.patch))
end

local LABEL = [[
policy.mutate { name = "label", match = { resource = "pods" }, apply = function(req)
  req.object.metadata.labels = req.object.metadata.labels or {}
  req.object.metadata.labels["a/b"] = "yes"
end }]]

test("a mutation becomes the smallest patch, parents first", function()
  local answer = policy.review(load(LABEL), review(pod()))
  test.equal(answer.response.allowed, true)
  test.equal(answer.response.uid, "7f0b2891-916f-4ed6-b7cd-27bff1815a8c")
  test.equal(answer.response.patchType, "JSONPatch")
  test.same(patch_of(answer), { { op = "add", path = "/metadata/labels", value = { ["a/b"] = "yes" } } })
end)

test("a mutation that changes nothing gives no patch", function()
  local answer = policy.review(load(LABEL),
    review(pod { metadata = { name = "p", labels = { ["a/b"] = "yes" } } }))
  test.equal(answer.response.patch, nil)
  test.equal(answer.response.patchType, nil)
end)

test("a refusal is a 403 with the policy's name, and brings no patch", function()
  local set = load(LABEL .. [[
    policy.validate { name = "never", match = { resource = "pods" }, check = function(req)
      return req:deny("not %s", req.name)
    end }]])
  local response = policy.review(set, review(pod())).response
  test.equal(response.allowed, false)
  test.equal(response.patch, nil)
  test.same(response.status, { code = 403, reason = "Forbidden", message = "policy never: not p" })
end)

test("a refusal may say code, reason and causes", function()
  local set = load [[
    policy.validate { name = "odd", match = { resource = "pods" }, check = function(req)
      return req:deny { message = "bad", code = 422, reason = "Invalid", causes = { { field = "spec" } } }
    end }]]
  local status = policy.review(set, review(pod())).response.status
  test.equal(status.code, 422)
  test.equal(status.reason, "Invalid")
  test.equal(status.details.causes[1].field, "spec")
end)

local MODES = [[
  policy.mutate { name = "m", mode = "MODE", match = { resource = "pods" },
    apply = function(req) req.object.spec.nodeName = "n" end }
  policy.validate { name = "v", mode = "MODE", match = { resource = "pods" },
    check = function(req) return req:deny("no") end }]]

test("mode warn warns and allows unpatched; audit and dry only record", function()
  for mode, warnings in pairs { warn = 2, audit = 0, dry = 0 } do
    local set = load((MODES:gsub("MODE", mode)))
    local answer, records = set:answer(review(pod()))
    test.equal(answer.response.allowed, true)
    test.equal(answer.response.patch, nil)
    test.equal(#(answer.response.warnings or {}), warnings)
    test.equal(records[1].verdict, "would-patch")
    test.same(records[1].paths, { "/spec/nodeName" })
    test.equal(records[2].verdict, "would-deny")
  end
end)

test("a policy that loops is stopped with file, line and uid, and the others go on", function()
  local set = load([[
    policy.validate { name = "spin", on_error = "allow", timeout = "20ms", match = { resource = "pods" },
      check = function() while true do pcall(string.rep, "x", 10) end end }]] .. LABEL)
  local response = policy.review(set, review(pod())).response
  test.equal(response.allowed, true)
  test.equal(#response.warnings, 1)
  local said = response.warnings[1]
  test.equal(said:find("policy spin failed in review 7f0b2891", 1, true) ~= nil, true)
  test.equal(said:find("site.lua:3: Timeout", 1, true) ~= nil, true)
  test.equal(response.patch ~= nil, true)
end)

test("on_error = fail refuses with 500, and is what validations do unless told otherwise", function()
  local set = load [[policy.validate { name = "broken", match = { resource = "pods" },
    check = function(req) return req.object.nothing.there end }]]
  local response = policy.review(set, review(pod())).response
  test.equal(response.allowed, false)
  test.equal(response.status.code, 500)
  test.equal(response.status.reason, "InternalError")
end)

test("a policy that takes all memory is stopped and the next review is answered", function()
  local set = load [[policy.validate { name = "eat", on_error = "allow", timeout = "60s", match = { resource = "pods" },
    check = function(req)
      if req.object.metadata.name == "p" then local t = {} for i = 1, 1e9 do t[i] = { i } end end
    end }]]
  local response = policy.review(set, review(pod())).response
  test.equal(response.warnings[1]:find("Memory", 1, true) ~= nil, true)
  local calm = policy.review(set, review(pod { metadata = { name = "q" } })).response
  test.same(calm, { uid = "7f0b2891-916f-4ed6-b7cd-27bff1815a8c", allowed = true })
end)

test("reviews share no globals, and what policies share is read-only", function()
  local set = load [[
    policy.validate { name = "global", match = { resource = "pods" }, check = function() count = 1 end }
    policy.validate { name = "library", match = { resource = "pods" }, check = function() string.rep = nil end }
    policy.validate { name = "raw", match = { resource = "pods" }, check = function() rawset(string, "x", 1) end }]]
  local _, records = set:answer(review(pod()))
  for i, words in ipairs { "global 'count' is set in a handler", "string.rep cannot be set", "read%-only" } do
    test.equal(records[i].verdict, "error")
    test.equal(records[i].message:find(words) ~= nil, true)
  end
end)

test("a match asks for resource, operation, namespace, labels and fields", function()
  local set = load [[
    local function rule(name, match) policy.validate { name = name, match = match, check = function() end } end
    rule("pods", { resource = "jobs.batch | pods" })
    rule("jobs", { resource = "jobs.batch" })
    rule("exec", { resource = "pods/exec" })
    rule("deleted", { resource = "pods", operations = { "DELETE" } })
    rule("named", { resource = "pods", namespaces = { names = { "team-b" } } })
    rule("left-out", { resource = "pods", namespaces = { exclude = { "team-a" } } })
    rule("any-of", { { resource = "jobs" }, { resource = "pods", fields = { ["spec.containers.0.name"] = "main" } } })
    rule("field", { resource = "pods", fields = { ["spec.nodeName"] = "n" } })
    rule("all", { resource = "*" })]]
  local matching = {}
  for _, one in ipairs(set:explain(review(pod()))) do
    if one.matches then matching[#matching + 1] = one.policy end
  end
  test.same(matching, { "pods", "any-of", "all" })
end)

test("kube-system is left out, and secrets too, unless a policy names them", function()
  local set = load [[
    policy.validate { name = "all", match = { resource = "*" }, check = function() end }
    policy.validate { name = "named", match = { resource = "secrets", namespaces = { names = { "kube-system" } } },
      check = function() end }]]
  local function asked(more)
    local names = {}
    for _, one in ipairs(set:explain(review(pod(), more))) do names[one.policy] = one.matches end
    return names
  end
  test.same(asked { namespace = "kube-system" }, { all = false, named = false })
  local secret = { group = "", version = "v1", resource = "secrets" }
  test.same(asked { resource = secret }, { all = false, named = false })
  test.same(asked { resource = secret, namespace = "kube-system" }, { all = false, named = true })
end)

test("settings are typed, have defaults, and an unknown one fails the load with its place", function()
  local text = [[policy.config { class = { type = "string", required = true, doc = "the class" },
    depth = { type = "int", default = 3 }, kind = { type = "string", enum = { "a", "b" }, default = "a" } }
    policy.mutate { name = "m", match = { resource = "pods" }, apply = function(req)
      req.object.spec.class = req.config.class .. req.config.depth
    end }]]
  local answer = policy.review(load(text, { config = { class = "nfs" } }), review(pod()))
  test.equal(patch_of(answer)[1].value, "nfs3")
  for problem, config in pairs {
    ["the setting 'class' is required"] = {},
    ["unknown setting 'clas'"] = { clas = "x" },
    ["depth must be of type int"] = { class = "x", depth = "3" },
    ["kind must be one of a, b, not c"] = { class = "x", kind = "c" },
  } do
    local raised = test.raises("Config", function() load(text, { config = config }) end)
    test.equal(raised.message:find(problem, 1, true) ~= nil, true)
  end
end)

test("mistakes in a declaration are said at their line", function()
  for problem, text in pairs {
    ["policy.validate has an unknown field 'chek'"] = 'policy.validate { name = "a", chek = function() end }',
    ["needs a function 'check'"] = 'policy.validate { name = "a", match = { resource = "pods" } }',
    ["'x' is not known here: write it as x.GROUP"] = 'policy.validate { name = "a", match = { resource = "x" },\n'
      .. 'check = function() end }',
    ["there is a policy 'a' already"] =
      ('policy.validate { name = "a", match = { resource = "pods" }, check = function() end }\n'):rep(2),
  } do
    local ok, raised = pcall(load, text)
    test.equal(ok, false)
    test.equal(raised.message:find(problem, 1, true) ~= nil, true)
    test.equal(raised.path:find "site.lua$" ~= nil, true)
    test.equal(math.type(raised.line), "integer")
  end
end)

test("reading what was not declared raises, reading what was finds what is known", function()
  local set = load [[
    policy.grant { reads = { "persistentvolumeclaims" } }
    policy.validate { name = "claims", match = { resource = "pods" }, check = function(req)
      local claim = req:lookup("persistentvolumeclaims", req.namespace, "data")
      req:warn("%s %d", claim and claim.spec.storageClassName or "unknown", #req:find("persistentvolumeclaims"))
    end }
    policy.validate { name = "nodes", match = { resource = "pods" },
      check = function(req) req:lookup("nodes", nil, "n") end }]]
  local claim = { apiVersion = "v1", kind = "PersistentVolumeClaim", metadata = { name = "data", namespace = "team-a" },
    spec = { storageClassName = "fast" } }
  local answer = policy.review(set, review(pod()), { objects = { claim } })
  test.equal(answer.response.warnings[1], "fast 1")
  test.equal(answer.response.status.message:find("reading nodes is not declared", 1, true) ~= nil, true)
  test.equal(policy.review(set, review(pod()), { objects = {} }).response.warnings[1], "unknown 0")
end)

test("what is no review is refused with a reason", function()
  local set = load(LABEL)
  for problem, text in pairs {
    ["this is no AdmissionReview"] = '{"kind":"Pod"}',
    ["apiVersion 'admission.k8s.io/v9' is not known"] = '{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v9"}',
    ["the AdmissionReview has no request"] =
      '{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1","request":null}',
  } do
    test.equal(test.raises("BadReview", function() policy.review(set, text) end).message, problem)
  end
  test.raises("JSON", function() policy.review(set, '{"kind":') end)
end)

test("a bypass label counts on namespaces, on objects only for users of bypass_groups", function()
  local set = load([[policy.validate { name = "never", match = { resource = "pods" },
    check = function(req) return req:deny("no") end }]], { bypass_groups = { "admins" } })
  local labelled = pod { metadata = { name = "p", labels = { ["policy.kfhost.io/bypass"] = "true" } } }
  test.equal(policy.review(set, review(labelled)).response.allowed, false)
  local admin = review(labelled, { userInfo = { username = "root", groups = { "admins" } } })
  local response = policy.review(set, admin).response
  test.equal(response.allowed, true)
  test.same(response.auditAnnotations, { bypass = "object" })
  local namespace = { apiVersion = "v1", kind = "Namespace",
    metadata = { name = "team-a", labels = { ["policy.kfhost.io/bypass"] = "true" } } }
  test.equal(policy.review(set, review(pod()), { objects = { namespace } }).response.allowed, true)
end)

local WATCH = [[
  policy.grant { writes = { { resource = "namespaces", verbs = { "patch" } } } }
  policy.watch { name = "label", resource = "namespaces", reconcile = function(namespace, ctx)
    ctx:patch(namespace, { metadata = { labels = { seen = "yes" } } }, { type = "merge" })
    ctx:log("labelled %s", namespace.metadata.name)
  end }
  policy.watch { name = "remove", resource = "namespaces",
    reconcile = function(namespace, ctx) ctx:delete(namespace) end }
  policy.test { name = "labels", watch = "label",
    object = { apiVersion = "v1", kind = "Namespace", metadata = { name = "team-a" } },
    expect = { writes = { { verb = "patch", reference = { name = "team-a" } } } } }
  policy.test { name = "removes", watch = "remove",
    object = { apiVersion = "v1", kind = "Namespace", metadata = { name = "team-a" } }, expect = { writes = {} } }]]

test("a watch's writes are what its file declared; another one raises at its line", function()
  local results = require "policy.trial".tests(load(WATCH))
  test.same(results[1].problems, {})
  test.equal(results[2].problems[1]:find("the verb delete on namespaces is not declared", 1, true) ~= nil, true)
  test.equal(results[2].problems[1]:find("site.lua, line 8", 1, true) ~= nil, true)
end)

test("a test in a policy file that does not hold says what differs", function()
  local set = load(LABEL .. [[
    policy.test { name = "wrong", object = { apiVersion = "v1", kind = "Pod", metadata = { name = "p" }, spec = {} },
      expect = { allowed = false, object = { spec = { nodeName = "n" } } } }]])
  test.same(require "policy.trial".tests(set)[1].problems,
    { "allowed is true", "object.spec.nodeName is nil, not n" })
end)

test("a file's tests are about its defaults, whatever the site has set", function()
  local directory = test.tmpdir()
  fs.write(directory .. "/site.lua", [[local policy = require "policy"
    policy.config { name = { type = "string", default = "default" } }
    policy.mutate { name = "m", match = { resource = "pods" },
      apply = function(req) req.object.spec.nodeName = req.config.name end }
    policy.test { name = "the default",
      object = { apiVersion = "v1", kind = "Pod", metadata = { name = "p" }, spec = {} },
      expect = { object = { spec = { nodeName = "default" } } } }]])
  local set = policy.load(directory .. "/site.lua", { configs = { site = { name = "site" } } })
  test.same(require "policy.trial".tests(set)[1].problems, {})
end)

-- What policies may use of the libraries, as their authors would.
local PURE = {
  ["kube.pod_security"] = [[return #kube.pod_security(object, "restricted") > 0]],
  ["kube.quantity"] = [[return tostring(kube.quantity "1Gi" + "1Gi") == "2Gi"]],
  ["kube.selector"] = [[return kube.selector("a in (b),!c"):matches { a = "b" }]],
  ["kube.jsonpath"] = [[return kube.jsonpath("{.metadata.name}", object) == "p"]],
  ["kube.patch"] = [[return kube.patch.merge({ a = 1 }, { b = 2 }).b == 2 and #kube.patch.diff({}, { a = 1 }) == 1
    and kube.patch.strategic({ spec = {} }, { spec = { nodeName = "n" } }, "v1/Pod").spec.nodeName == "n"]],
  ["kube.time"] = [[local time = require "kube.time" return time.text(time.parse "2020-10-23T08:00:00Z")
    == "2020-10-23T08:00:00Z"]],
  ["katib"] = [[local katib = require "katib" return #katib.validate { kind = "Experiment", spec = {} } > 0
    and katib.metrics("a=1", { "a" })[1].value == "1"]],
  ["istio"] = [[local istio = require "istio" return istio.allowed({}, { namespace = "x", labels = {}, ports = {} },
    { source = {}, method = "GET", path = "/", headers = {} }) == true
    and istio.would_inject({ metadata = { name = "x" } }, object) == false]],
  ["json, yaml"] = [[return require "yaml".decode("a: [1]").a[1] == 1 and require "json".encode { a = 1 } ~= nil]],
  ["regex, cel"] = [[return require "regex".compile("a+b"):matches "xaab" and require "cel".compile("1 < 2") ~= nil]],
}

test("the functions of libraries that need no cluster work in a policy", function()
  for name, code in pairs(PURE) do
    local set = load(([[local policy = require "policy"
      local kube = require "kube"
      local function tried(object) %s end
      policy.validate { name = "m", match = { resource = "pods" }, check = function(req)
        if not tried(req.object) then return req:deny "it is not so" end
      end }
      policy.test { name = "it works", expect = { allowed = true }, object = { apiVersion = "v1", kind = "Pod",
        metadata = { name = "p" }, spec = { containers = { { name = "main", image = "x" } } } } }]]):format(code))
    local problems = require "policy.trial".tests(set)[1].problems
    if #problems > 0 then error(name .. ": " .. problems[1], 0) end
    set:close()
  end
end)
