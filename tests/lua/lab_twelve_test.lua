-- Twelve things that imitations of an API server get wrong, one test each; all are as on the recorded server.
local api = require "lab.api"
local json = require "json"
local task = require "task"
local test = require "test"

local MERGE, APPLY = "application/merge-patch+json", "application/apply-patch+yaml"
local STRATEGIC = "application/strategic-merge-patch+json"
local CORE = "/api/v1/namespaces/default/"
local MAPS = CORE .. "configmaps"
local TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"

local function lab()
  local clock = { now = 1700000000 }
  local cluster = api.new { now = function() return clock.now end }
  local self = { cluster = cluster, clock = clock }
  function self.call(method, path, body, more)
    more = more or {}
    local headers = { ["user-agent"] = more.agent or "test", ["content-type"] = more.type or "application/json",
                      authorization = "Bearer " .. (more.token or cluster.auth.admin_token), accept = more.accept }
    for name, value in pairs(more.headers or {}) do headers[name] = value end
    local plain, query = path:match "^([^?]*)%??(.*)$"
    local response = cluster:handle { method = method, path = plain, query = query ~= "" and query or nil,
      headers = headers, body = body and json.encode(body) }
    local text = response.body
    return response.status, text and text:find "^%s*{" and json.decode(text) or text, response
  end
  function self.map(name, data, labels)
    local code, made = self.call("POST", MAPS, { metadata = { name = name, labels = labels }, data = data })
    test.equal(code, 201)
    return made
  end
  -- What a watch brings at once.
  function self.watch(path, seconds)
    local _, _, response = self.call("GET", path)
    local lines = {}
    local reader = task.spawn(response.stream, { write = function(_, text)
      for line in text:gmatch "[^\n]+" do lines[#lines + 1] = json.decode(line) end
    end })
    test.advance(seconds or 0.1)
    reader:cancel()
    return lines
  end
  return self
end

local function widgets(self, schema, more)
  local version = { name = "v1", served = true, storage = true, schema = { openAPIV3Schema = schema } }
  for name, value in pairs(more or {}) do version[name] = value end
  local code = self.call("POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", {
    metadata = { name = "widgets.twelve.example" }, spec = { group = "twelve.example", scope = "Namespaced",
      names = { plural = "widgets", kind = "Widget" }, versions = { version } } })
  test.equal(code, 201)
  return "/apis/twelve.example/v1/namespaces/default/widgets"
end

local function widget(name, spec)
  return { apiVersion = "twelve.example/v1", kind = "Widget", metadata = { name = name }, spec = spec }
end

test("1: a write without effect keeps its version; DELETED has a new one; leaving a selection is DELETED", function()
  local self = lab()
  local made = self.map("a", { k = "1" }, { app = "x" })
  local _, same = self.call("PATCH", MAPS .. "/a", { data = { k = "1" } }, { type = MERGE })
  test.equal(same.metadata.resourceVersion, made.metadata.resourceVersion)
  local since = made.metadata.resourceVersion
  self.call("PATCH", MAPS .. "/a", { metadata = { labels = { app = "y" } } }, { type = MERGE })
  self.call("DELETE", MAPS .. "/a")
  local all = self.watch(MAPS .. "?watch=1&resourceVersion=" .. since)
  test.equal(all[2].type, "DELETED")
  test.equal(tonumber(all[2].object.metadata.resourceVersion) > tonumber(all[1].object.metadata.resourceVersion), true)
  local selected = self.watch(MAPS .. "?watch=1&labelSelector=app%3Dx&resourceVersion=" .. since)
  test.equal(#selected, 1)
  test.equal(selected[1].type, "DELETED")
  test.equal(selected[1].object.metadata.labels.app, "x")
  test.equal(selected[1].object.metadata.resourceVersion, all[1].object.metadata.resourceVersion)
end)

test("2: bookmarks end initial events and come in quiet; 410 in a stream and by HTTP; 504 for the future", function()
  local self = lab()
  for i = 1, 3 do self.map("m" .. i) end
  local asked = "?watch=1&sendInitialEvents=1&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=1"
  local lines = self.watch(MAPS .. asked, 75)
  test.equal(lines[4].object.metadata.annotations["k8s.io/initial-events-end"], "true")
  test.equal(lines[5].type, "BOOKMARK")
  test.equal(lines[5].object.metadata.annotations, nil)
  local _, page = self.call("GET", MAPS .. "?limit=1")
  self.map "m4"
  self.cluster.store:compact()
  test.equal(self.watch(MAPS .. "?watch=1&resourceVersion=1")[1].object.code, 410)
  local code, problem = self.call("GET", MAPS .. "?limit=1&continue=" .. page.metadata.continue)
  test.equal(code, 410)
  local _, rest = self.call("GET", MAPS .. "?continue=" .. problem.metadata.continue)
  test.equal(#rest.items, 3)
  local late, future, response = self.call("GET", MAPS .. "?resourceVersion=99999999")
  test.equal(late, 504)
  test.equal(future.details.causes[1].reason, "ResourceVersionTooLarge")
  test.equal(response.headers["Retry-After"], "1")
end)

test("3: pages keep the first one's version; what remains is not counted under a selector", function()
  local self = lab()
  for i = 1, 4 do self.map("m" .. i, nil, { a = "b" }) end
  local _, first = self.call("GET", MAPS .. "?limit=1")
  test.equal(first.metadata.remainingItemCount, 3)
  self.map "m5"
  local _, second = self.call("GET", MAPS .. "?limit=1&continue=" .. first.metadata.continue)
  test.equal(second.metadata.resourceVersion, first.metadata.resourceVersion)
  local _, selected = self.call("GET", MAPS .. "?limit=1&labelSelector=a%3Db")
  test.equal(selected.metadata.remainingItemCount, nil)
  test.equal(selected.metadata.continue ~= nil, true)
end)

test("4: a Status names the plural, an Invalid the kind; an unknown group is plain; rights come before 404", function()
  local self = lab()
  local _, missing = self.call("GET", MAPS .. "/none")
  test.equal(missing.details.kind, "configmaps")
  local code, invalid = self.call("POST", MAPS, { metadata = { name = "Not Valid" } })
  test.equal(code, 422)
  test.equal(invalid.details.kind, "ConfigMap")
  for _, cause in ipairs(invalid.details.causes) do test.equal(type(cause.reason), "string") end
  local status, text = self.call("GET", "/apis/no.such.group/v1/things")
  test.equal(status, 404)
  test.equal(text, "404 page not found\n")
  local token = self.cluster.auth:add_user "nobody"
  test.equal((self.call("GET", "/api/v1/nothings", nil, { token = token })), 403)
  test.equal((self.call("GET", "/api/v1/nothings")), 404)
end)

test("5: deletions: a Status or the object, a time that stays, no new finalizers, preconditions", function()
  local self = lab()
  local made = self.map "plain"
  local _, status = self.call("DELETE", MAPS .. "/plain", { preconditions = { uid = "other" } })
  test.equal(status.code, 409)
  _, status = self.call("DELETE", MAPS .. "/plain")
  test.equal(status.status, "Success")
  test.equal(status.details.uid, made.metadata.uid)
  self.call("POST", MAPS, { metadata = { name = "held", finalizers = { "kept.example/x" } } })
  local _, going = self.call("DELETE", MAPS .. "/held")
  test.equal(going.kind, "ConfigMap")
  self.clock.now = self.clock.now + 60
  local _, again = self.call("DELETE", MAPS .. "/held")
  test.equal(again.metadata.deletionTimestamp, going.metadata.deletionTimestamp)
  test.equal((self.call("PATCH", MAPS .. "/held", { metadata = { finalizers = { "kept.example/x", "new.example/y" } } },
    { type = MERGE })), 422)
  self.call("POST", "/api/v1/namespaces", { metadata = { name = "ends" } })
  self.call("POST", "/api/v1/namespaces/ends/configmaps", { metadata = { name = "a" } })
  self.call("DELETE", "/api/v1/namespaces/ends")
  local code, refused = self.call("POST", "/api/v1/namespaces/ends/configmaps", { metadata = { name = "b" } })
  test.equal(code, 403)
  test.equal(refused.details.causes[1].reason, "NamespaceTerminating")
end)

local OPEN = { type = "object", ["x-kubernetes-preserve-unknown-fields"] = true }

test("6: generation and status are apart; a custom resource wants its version for an update", function()
  local self = lab()
  local path = widgets(self, OPEN, { subresources = { status = json.object {},
    scale = { specReplicasPath = ".spec.replicas", statusReplicasPath = ".status.replicas" } } })
  local _, made = self.call("POST", path, widget("w", { replicas = 1 }))
  test.equal(made.metadata.generation, 1)
  local _, after = self.call("PATCH", path .. "/w/status", { spec = { replicas = 9 }, status = { replicas = 1 } },
    { type = MERGE })
  test.equal(after.spec.replicas, 1)
  test.equal(after.status.replicas, 1)
  test.equal(after.metadata.generation, 1)
  local _, main = self.call("PATCH", path .. "/w", { spec = { replicas = 2 }, status = { replicas = 7 } },
    { type = MERGE })
  test.equal(main.status.replicas, 1)
  test.equal(main.metadata.generation, 2)
  self.call("PATCH", path .. "/w/scale", { spec = { replicas = 3 } }, { type = MERGE })
  local _, scaled = self.call("GET", path .. "/w")
  test.equal(scaled.metadata.generation, 3)
  test.equal((self.call("PUT", path .. "/w", widget("w", { replicas = 4 }))), 422)
  self.map "core"
  test.equal((self.call("PUT", MAPS .. "/core", { metadata = { name = "core" }, data = { a = "b" } })), 200)
end)

local function deployment(containers)
  return { metadata = { name = "d" }, spec = { selector = { matchLabels = { a = "b" } },
    template = { metadata = { labels = { a = "b" } }, spec = { containers = containers } } } }
end

test("7: patches by merge keys and directives; apply shares, takes, gives back, and is told of conflicts", function()
  local self = lab()
  local deployments = "/apis/apps/v1/namespaces/default/deployments"
  self.call("POST", deployments, deployment { { name = "one", image = "x:1" }, { name = "two", image = "x:1" } })
  local _, patched = self.call("PATCH", deployments .. "/d", { spec = { template = { spec = { containers = {
    { name = "two", image = "x:2" }, { name = "one", ["$patch"] = "delete" } } } } } }, { type = STRATEGIC })
  test.equal(#patched.spec.template.spec.containers, 1)
  test.equal(patched.spec.template.spec.containers[1].image, "x:2")
  test.equal((self.call("PATCH", widgets(self, OPEN) .. "/w", json.object {}, { type = STRATEGIC })), 415)
  local function apply(manager, data, force)
    return self.call("PATCH", ("%s/shared?fieldManager=%s&force=%s"):format(MAPS, manager, force or false),
      { apiVersion = "v1", kind = "ConfigMap", metadata = { name = "shared" }, data = data }, { type = APPLY })
  end
  test.equal((apply("one", { a = "1", b = "1" })), 201)
  test.equal((apply("two", { a = "1" })), 200)
  local code, conflict = apply("two", { a = "2" })
  test.equal(code, 409)
  test.same(conflict.details.causes, { { reason = "FieldManagerConflict", message = 'conflict with "one"',
    field = ".data.a" } })
  test.equal((apply("two", { a = "2" }, true)), 200)
  local _, left = apply("one", { b = "1" })
  test.same(left.data, { a = "2", b = "1" })
  _, left = apply("two", nil)
  test.same(left.data, { b = "1" })
  local _, reset = self.call("PATCH", MAPS .. "/shared", { metadata = { managedFields = { json.object {} } } },
    { type = MERGE })
  test.equal(reset.metadata.managedFields, nil)
end)

test("8: definitions: pruning with a warning, defaults, rules with oldSelf, a second version, deletion", function()
  local self = lab()
  local schema = { type = "object", properties = { spec = { type = "object", properties = {
    size = { type = "integer", default = 3 }, name = { type = "string" } },
    ["x-kubernetes-validations"] = json.array { { rule = "!has(oldSelf.name) || self.name == oldSelf.name",
      message = "the name stays" } } } } }
  local path = widgets(self, schema, { selectableFields = { { jsonPath = ".spec.name" } } })
  local _, made, response = self.call("POST", path, widget("w", { size = json.null, name = "n", strange = 1 }))
  test.equal(made.spec.size, 3)
  test.equal(made.spec.strange, nil)
  test.equal(response.headers.Warning[1], '299 - "unknown field \\"spec.strange\\""')
  local code, problem = self.call("PATCH", path .. "/w", { spec = { name = "m" } }, { type = MERGE })
  test.equal(code, 422)
  test.equal(problem.details.causes[1].message:find("the name stays", 1, true) ~= nil, true)
  local _, found = self.call("GET", path .. "?fieldSelector=spec.name%3Dn")
  test.equal(#found.items, 1)
  local definition = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/widgets.twelve.example"
  local _, crd = self.call("GET", definition)
  local second = json.decode(json.encode(crd.spec.versions[1]))
  second.name, second.storage = "v2", false
  crd.spec.versions[2] = second
  test.equal((self.call("PUT", definition, crd)), 200)
  local _, seen = self.call("GET", (path:gsub("/v1/", "/v2/")) .. "/w")
  test.equal(seen.apiVersion, "twelve.example/v2")
  local _, gone = self.call("DELETE", definition)
  test.equal(gone.metadata.finalizers[1], "customresourcecleanup.apiextensions.k8s.io")
  test.equal((self.call("GET", path)), 404)
end)

test("9: tables: columns with priorities, three values of includeObject, fallback and 406", function()
  local self = lab()
  self.call("POST", CORE .. "serviceaccounts", { metadata = { name = "default" } })
  local containers = { { name = "c", image = "x" } }
  self.call("POST", CORE .. "pods", { metadata = { name = "p" }, spec = { containers = containers } })
  local pods = CORE .. "pods"
  local _, shown = self.call("GET", pods, nil, { accept = TABLE })
  local names = {}
  for i, column in ipairs(shown.columnDefinitions) do names[i] = column.name .. column.priority end
  test.same(names, { "Name0", "Ready0", "Status0", "Restarts0", "Age0", "IP1", "Node1", "Nominated Node1",
    "Readiness Gates1" })
  test.equal(shown.rows[1].object.kind, "PartialObjectMetadata")
  local _, none = self.call("GET", pods .. "?includeObject=None", nil, { accept = TABLE })
  test.equal(none.rows[1].object, json.null)
  local _, whole = self.call("GET", pods .. "?includeObject=Object", nil, { accept = TABLE })
  test.equal(whole.rows[1].object.kind, "Pod")
  local unknown = "application/json;as=Table;v=v9;g=meta.k8s.io"
  local _, fallen = self.call("GET", pods, nil, { accept = unknown .. ",application/json" })
  test.equal(fallen.kind, "PodList")
  test.equal((self.call("GET", pods, nil, { accept = unknown })), 406)
end)

test("10: pods: defaults, the token's volume, tolerations, canonical quantities, the class of service", function()
  local self = lab()
  self.call("POST", CORE .. "serviceaccounts", { metadata = { name = "default" } })
  local _, pod = self.call("POST", CORE .. "pods", { metadata = { name = "p" }, spec = { containers = { {
    name = "c", image = "x", resources = { requests = { cpu = "1000m", memory = "1024Mi" } } } } } })
  test.equal(pod.spec.volumes[1].name:find "^kube%-api%-access%-%w%w%w%w%w$" ~= nil, true)
  test.equal(pod.spec.volumes[1].projected.sources[1].serviceAccountToken.expirationSeconds, 3607)
  test.equal(#pod.spec.tolerations, 2)
  test.same(pod.spec.containers[1].resources.requests, { cpu = "1", memory = "1Gi" })
  test.equal(pod.spec.containers[1].imagePullPolicy, "Always")
  test.equal(pod.status.qosClass, "Burstable")
  self.call("POST", "/api/v1/namespaces", { metadata = { name = "strict",
    labels = { ["pod-security.kubernetes.io/enforce"] = "restricted" } } })
  self.call("POST", "/api/v1/namespaces/strict/serviceaccounts", { metadata = { name = "default" } })
  local code, refused = self.call("POST", "/api/v1/namespaces/strict/pods", { metadata = { name = "p" },
    spec = { containers = { { name = "c", image = "x" } } } })
  test.equal(code, 403)
  test.equal(refused.message:find('violates PodSecurity "restricted:latest"', 1, true) ~= nil, true)
end)

test("11: a dry run has a uid and no version, and stores nothing", function()
  local self = lab()
  local before = self.cluster.store.revision
  local code, made = self.call("POST", MAPS .. "?dryRun=All", { metadata = { name = "dry" } })
  test.equal(code, 201)
  test.equal(#made.metadata.uid, 36)
  test.equal(made.metadata.resourceVersion, nil)
  test.equal(self.cluster.store.revision, before)
  test.equal((self.call("GET", MAPS .. "/dry")), 404)
end)

test("12: discovery in both forms with ETag; OpenAPI with hashes; managers by user agent; both event APIs", function()
  local self = lab()
  local accept = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json"
  local _, list, response = self.call("GET", "/apis", nil, { accept = accept })
  test.equal(list.kind, "APIGroupDiscoveryList")
  test.equal((self.call("GET", "/apis", nil, { accept = accept,
    headers = { ["if-none-match"] = response.headers.Etag } })), 304)
  local _, plain = self.call("GET", "/apis")
  test.equal(plain.kind, "APIGroupList")
  local _, index = self.call("GET", "/openapi/v3")
  local url = index.paths["apis/apps/v1"].serverRelativeURL
  test.equal(url:find "%?hash=%x+$" ~= nil, true)
  test.equal((self.call("GET", url)), 200)
  local _, made = self.call("POST", MAPS, { metadata = { name = "m" }, data = { a = "b" } },
    { agent = "kubectl-create/v1.37 (linux)" })
  test.equal(made.metadata.managedFields[1].manager, "kubectl-create")
  self.call("POST", CORE .. "events", { metadata = { name = "e" }, reason = "R", message = "m", type = "Normal",
    involvedObject = { kind = "Pod", namespace = "default", name = "p" }, eventTime = "2026-01-01T00:00:00.123456Z",
    reportingComponent = "example.com/x", reportingInstance = "i", action = "A" })
  local _, event = self.call("GET", "/apis/events.k8s.io/v1/namespaces/default/events/e")
  test.equal(event.regarding.name, "p")
  test.equal(event.note, "m")
  test.equal(event.eventTime, "2026-01-01T00:00:00.123456Z")
end)
