local test = require "test"
local fs = require "fs"
local policy = require "policy"
local manifests = require "policy.manifests"
local rights = require "policy.rights"

local FILE = [[
local policy = require "policy"
policy.grant { reads = { "persistentvolumeclaims" },
  writes = { { resource = "pods", verbs = { "patch" } }, { resource = "jobs.batch", verbs = { "patch", "delete" } } } }
policy.mutate { name = "first", match = { resource = "pods", operations = { "CREATE" } }, apply = function() end }
policy.mutate { name = "last", position = "late", match = { resource = "pods/exec | jobs", operations = { "CONNECT" } },
  apply = function() end }
policy.validate { name = "check", timeout = "2500ms", match = { resource = "*", when = "object.spec.x == 1" },
  check = function() end }
policy.watch { name = "follow", resource = "namespaces", finalize = function() end }
]]

local function load(text)
  local directory = test.tmpdir()
  fs.write(directory .. "/site.lua", text)
  return policy.load(directory .. "/site.lua")
end

-- The test condition that needs an evaluator of its own.
local PLAIN = FILE:gsub(', when = "object.spec.x == 1"', "")

test("rights are the union of what is declared, without a star", function()
  local rules = rights.rules(load(PLAIN).description)
  test.same(rules, {
    { apiGroups = { "" }, resources = { "events" }, verbs = { "create", "patch" } },
    { apiGroups = { "" }, resources = { "namespaces" }, verbs = { "list", "patch", "watch" } },
    { apiGroups = { "" }, resources = { "persistentvolumeclaims" }, verbs = { "list", "watch" } },
    { apiGroups = { "" }, resources = { "pods" }, verbs = { "patch" } },
    { apiGroups = { "batch" }, resources = { "jobs" }, verbs = { "delete", "patch" } },
  })
end)

local function by_kind(objects)
  local map = {}
  for _, object in ipairs(objects) do
    map[object.kind] = map[object.kind] or {}
    table.insert(map[object.kind], object)
  end
  return map
end

test("each policy has its own webhook, path, failure policy and time; two configurations for mutations", function()
  local map = by_kind(manifests.objects(load(PLAIN), { image = "site/kfhost:1" }))
  local mutating = map.MutatingWebhookConfiguration
  test.equal(mutating[1].metadata.name, "a-kfhost-policy")
  test.equal(mutating[2].metadata.name, "zz-kfhost-policy")
  local first = mutating[1].webhooks[1]
  test.equal(first.clientConfig.service.path, "/mutate/first")
  test.equal(first.failurePolicy, "Ignore")
  test.equal(first.reinvocationPolicy, "IfNeeded")
  test.equal(first.timeoutSeconds, 2)
  test.same(first.namespaceSelector, { matchExpressions = {
    { key = "kubernetes.io/metadata.name", operator = "NotIn", values = { "kfhost-system", "kube-system" } } } })
  test.same(mutating[2].webhooks[1].rules, {
    { apiGroups = { "" }, apiVersions = { "*" }, resources = { "pods/exec" }, operations = { "CONNECT" }, scope = "*" },
    { apiGroups = { "batch" }, apiVersions = { "*" }, resources = { "jobs" }, operations = { "CONNECT" }, scope = "*" },
  })
  local check = map.ValidatingWebhookConfiguration[1].webhooks[1]
  test.equal(check.failurePolicy, "Fail")
  test.equal(check.timeoutSeconds, 4)
end)

test("what is installed is whole, and runs as nobody", function()
  local objects = manifests.objects(load(PLAIN), { image = "site/kfhost:1", replicas = 3 })
  local map = by_kind(objects)
  for _, kind in ipairs { "Namespace", "ServiceAccount", "ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding",
    "Service", "NetworkPolicy", "PodDisruptionBudget", "Deployment" } do
    test.equal(#map[kind], 1)
  end
  test.equal(#map.ConfigMap, 2) -- the files, and what the replicas say
  test.equal(map.ConfigMap[1].data["site.lua"], PLAIN)
  local deployment = map.Deployment[1]
  test.equal(deployment.spec.replicas, 3)
  test.same(require "json".is_array(deployment.spec.template.spec.containers), true)
  test.equal(objects[#objects].kind, "ValidatingWebhookConfiguration")
  for _, rule in ipairs(map.ClusterRole[1].rules) do
    for _, verb in ipairs(rule.verbs) do test.equal(verb == "*" or verb == "escalate" or verb == "bind", false) end
  end
end)

test("an audit tells who would be refused and what would be changed, without values", function()
  local set = load [[local policy = require "policy"
    policy.mutate { name = "class", match = { resource = "persistentvolumeclaims" }, apply = function(req)
      req.object.spec.storageClassName = "secret-value"
    end }
    policy.validate { name = "tags", match = { resource = "pods" }, check = function(req)
      if req.object.spec.containers[1].image:find ":latest$" then return req:deny("latest") end
    end }]]
  local audit = require "policy.audit"
  local findings = audit.findings(set, {
    { apiVersion = "v1", kind = "PersistentVolumeClaim", metadata = { name = "data", namespace = "a" }, spec = {} },
    { apiVersion = "v1", kind = "Pod", metadata = { name = "p", namespace = "b" },
      spec = { containers = { { image = "x:latest" } } } },
    { apiVersion = "v1", kind = "Pod", metadata = { name = "q", namespace = "b" },
      spec = { containers = { { image = "x:1" } } } },
  })
  test.same(audit.summary(findings), { pass = 1, fail = 1, warn = 1, error = 0, skip = 0 })
  local reports = audit.reports(findings)
  test.equal(#reports, 2)
  test.equal(reports[2].results[1].resources[1].name, "p")
  test.equal(require "json".encode(reports):find("secret-value", 1, true), nil)
end)

test("what a ConfigMap cannot hold is refused, not left out", function()
  local function write(path, name)
    fs.mkdir(fs.dirname(path), { parents = true })
    fs.write(path, ('require "policy".validate { name = "%s", match = { resource = "pods" }, check = function() end }')
      :format(name))
    return path
  end
  local function refusal(...)
    local set = policy.load { ... }
    local _, problem = pcall(manifests.objects, set, { image = "x" })
    set:close()
    return problem.message
  end
  local directory = test.tmpdir()
  test.equal(refusal(write(directory .. "/a/site.lua", "one"), write(directory .. "/b/site.lua", "two")),
    "two files are called 'site.lua', and one ConfigMap is to hold them: rename one")
  local spaced = refusal(write(directory .. "/my site.lua", "one"))
  test.equal(spaced:match "^the file 'my site.lua'", "the file 'my site.lua'")
  local large = write(directory .. "/large.lua", "one")
  fs.write(large, fs.read(large) .. "\n--" .. ("x"):rep(1 << 20))
  test.equal(refusal(large):match "a ConfigMap holds %d+", "a ConfigMap holds 1048576")
end)

test("a policy's name is one that a webhook may have", function()
  for _, name in ipairs { "a-", "-a", "A", "a.b", "a_b", "", ("x"):rep(64) } do
    local text = [[require "policy".validate { name = "%s", match = { resource = "pods" }, check = function() end }]]
    test.raises("a policy needs a name", function() load(text:format(name)) end)
  end
  load [[require "policy".validate { name = "1", match = { resource = "pods" }, check = function() end }]]
end)

test("a configuration for which a set has nothing is written empty: an older set may have had something", function()
  local set = load [[require "policy".validate { name = "a", match = { resource = "pods" }, check = function() end }]]
  local map = by_kind(manifests.objects(set, { image = "x" }))
  local mutating = map.MutatingWebhookConfiguration
  for i, name in ipairs { "a-kfhost-policy", "zz-kfhost-policy" } do
    test.equal(mutating[i].metadata.name, name)
    test.equal(require "json".encode(mutating[i].webhooks), "[]")
  end
  for _, rule in ipairs(map.ClusterRole[1].rules) do test.equal(rule.resources[1]:find "^mutating", nil) end
end)

test("releases of one name in two namespaces share no object", function()
  local function names(namespace)
    local list = {}
    for _, object in ipairs(manifests.objects(load(PLAIN), { image = "x", namespace = namespace })) do
      local metadata = object.metadata
      list[#list + 1] = ("%s %s/%s"):format(object.kind, metadata.namespace or "", metadata.name)
    end
    return list
  end
  local there = {}
  for _, name in ipairs(names "team-a") do there[name] = true end
  for _, name in ipairs(names "team-b") do test.equal(there[name], nil) end
  test.equal(there["ClusterRole /kfhost-policy.team-a"], true)
  test.equal(there["MutatingWebhookConfiguration /a-kfhost-policy.team-a"], true)
  test.raises("cannot be the name of a release", function()
    manifests.objects(load(PLAIN), { image = "x", name = "a.b" })
  end)
end)

test("what cannot be granted is refused: stars, escalate, bind without names, kinds that are none", function()
  local function refused(grant)
    test.raises("policy%.grant: ", function() load('require "policy".grant ' .. grant) end)
  end
  refused '{ reads = { "*" } }'
  refused '{ follows = { "pods/*" } }'
  refused '{ reads = { "nosuch" } }'
  refused '{ writes = { { resource = "*", verbs = { "patch" } } } }'
  refused '{ writes = { { resource = "pods", verbs = { "*" } } } }'
  refused '{ writes = { { resource = "pods", verbs = {} } } }'
  local role = "clusterroles.rbac.authorization.k8s.io"
  refused(('{ writes = { { resource = "%s", verbs = { "escalate" } } } }'):format(role))
  refused(('{ writes = { { resource = "%s", verbs = { "bind" } } } }'):format(role))
  local set = load(([[require "policy".grant {
    writes = { { resource = "%s", verbs = { "bind" }, names = { "edit" } } } }]]):format(role))
  test.same(rights.rules(set.description), { { apiGroups = { "rbac.authorization.k8s.io" },
    resources = { "clusterroles" }, resourceNames = { "edit" }, verbs = { "bind" } } })
end)

test("lists that are empty are lists for the API server; a match that can never hold is refused", function()
  local json = require "json"
  test.equal(json.encode(rights.rules((load "return 1").description)), "[]")
  local set = load [[require "policy".validate { name = "a", match = { resource = "pods", label = "a>1" },
    check = function() end }]]
  local webhook = by_kind(manifests.objects(set, { image = "x" })).ValidatingWebhookConfiguration[1].webhooks[1]
  test.equal(json.encode(webhook.objectSelector), '{"matchExpressions":[]}')
  for _, match in ipairs { "operations = {}", "namespaces = { names = {} }" } do
    test.raises("is empty", function()
      load(('require "policy".validate { name = "a", match = { resource = "pods", %s }, check = function() end }')
        :format(match))
    end)
  end
end)
