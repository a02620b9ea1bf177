-- The client: errors that say who, what and where; discovery; lists; guard rails; other tries; waits; streams.
local test = require "test"
local errors = require "errors"
local fs = require "fs"
local host = require "host"
local json = require "json"
local kube = require "kube"
local proc = require "proc"
local server = require "test.server"
local task = require "task"

-- A client whose requests a function answers: fn(method, path, query, options) -> {status, headers, body (value)}.
local function connect(answer, more)
  local seen, said = {}, {}
  local function respond(_, options)
    local path, query = options.url:match "^https?://[^/]+([^?]*)%??(.*)$"
    seen[#seen + 1] = { method = options.method, path = path, query = query, body = options.body,
      headers = options.headers }
    local response = answer(options.method, path, query, options)
    local body = response.body
    return { status = response.status or 200, headers = response.headers or {},
      body = type(body) == "table" and json.encode(body) or body or "" }
  end
  local options = {
    server = "https://cluster:6443", token = "canary-token", log = function(record) said[#said + 1] = record end,
    transport = {
      request = respond,
      stream = function(self, given)
        local response = respond(self, given)
        local text = response.body
        response.read = function()
          local now = text
          text = nil
          return now
        end
        response.close = function() end
        return response
      end,
    },
  }
  for name, value in pairs(more or {}) do options[name] = value end
  if options.kubeconfig then options.server, options.token = nil, nil end
  return kube.connect(options), seen, said
end

local function status(code, reason, message, details)
  return { status = code, body = { kind = "Status", apiVersion = "v1", status = "Failure", code = code, reason = reason,
    message = message, details = details } }
end

local function config_map(name, data)
  return { apiVersion = "v1", kind = "ConfigMap", metadata = { name = name }, data = data }
end

-- --- errors ---------------------------------------------------------------------------------------------

test("a 403 names verb, resource, namespace and user", function()
  local c = connect(function() return status(403, "Forbidden", "secrets is forbidden") end, { as = "jane" })
  local err = test.raises("Forbidden", function() c:list("secrets", { namespace = "team" }) end)
  test.same({ err.verb, err.resource, err.namespace, err.user, err.status },
    { "list", "secrets", "team", "jane", 403 })
  local plain = connect(function() return { status = 403, body = "no" } end, { as = "jane" })
  local other = test.raises("HTTP403", function() plain:get("pods", "web", { namespace = "team" }) end)
  for _, word in ipairs { "get", "pods", "web", "team", "jane" } do
    assert(other.message:find(word, 1, true), other.message)
  end
end)

test("a page of a proxy is recognised, and only its title is told", function()
  local page = "<!DOCTYPE html><html><head><title>Sign in to Corp</title></head><body>canary</body></html>"
  local c = connect(function() return { status = 502, headers = { ["content-type"] = "text/html" }, body = page } end)
  local err = test.raises("HTTP502", function() c:get("pods", "a") end)
  assert(err.message:find "web page", err.message)
  assert(err.message:find "Sign in to Corp", err.message)
  assert(not errors.text(err):find "canary")
end)

test("a page with a good status, a redirection and nothing at all are no answers", function()
  local page = "<!DOCTYPE html><html><head><title>Sign in to Corp</title></head><body>canary</body></html>"
  local answers = {
    { headers = { ["content-type"] = "text/html; charset=utf-8" }, body = page, says = "Sign in to Corp" },
    { body = page, says = "web page" },
    { status = 302, headers = { location = "https://login.corp/?t=canary" }, body = "", says = "https://login.corp/" },
    { headers = { ["content-type"] = "application/json" }, body = "", says = "no JSON" },
  }
  for _, answer in ipairs(answers) do
    local c = connect(function() return { status = answer.status, headers = answer.headers, body = answer.body } end)
    for name, ask in pairs {
      get = function() c:get("pods", "a") end, list = function() c:list "pods" end,
      table = function() c:table "pods" end,
    } do
      local ok, err = pcall(ask)
      if ok or err.code ~= "Protocol" then error(("%s: %s"):format(name, ok or errors.text(err)), 0) end
      assert(answer.body == "" and not answer.status or err.message:find(answer.says, 1, true), err.message)
      assert(not errors.text(err):find "canary", errors.text(err))
    end
  end
end)

test("an answer without a Status is told by its first line, a 404 by the path", function()
  local c = connect(function() return { status = 500, body = "etcd is away\nmore" } end)
  local err = test.raises("HTTP500", function() c:get("pods", "a") end)
  assert(err.message:find "etcd is away" and not err.message:find "more", err.message)
end)

test("no answer names context, server and the likely cause", function()
  local c = connect(function()
    errors.raise { code = "TLS", message = "certificate has expired", url = "https://cluster:6443/x" }
  end, { context = "team" })
  local err = test.raises("TLS", function() c:get("pods", "a") end)
  for _, word in ipairs { "team", "https://cluster:6443", "clock" } do
    assert(err.message:find(word, 1, true), err.message)
  end
  local value, problem = c.try:get("pods", "a")
  test.equal(value, nil)
  test.equal(problem.server, "https://cluster:6443")
end)

test("a 401 says log in again, after one try with new credentials", function()
  local folder = test.tmpdir()
  fs.write(folder .. "/token", "one")
  fs.write(folder .. "/config", [[
current-context: c
contexts: [{name: c, context: {cluster: k, user: "wcp:10.0.0.1:dev@vsphere.local"}}]
clusters: [{name: k, cluster: {server: "https://10.0.0.1:6443"}}]
users: [{name: "wcp:10.0.0.1:dev@vsphere.local", user: {tokenFile: token}}]
]])
  local tokens = {}
  local c = connect(function(_, _, _, options)
    tokens[#tokens + 1] = options.headers.Authorization
    fs.write(folder .. "/token", "two")
    return status(401, "Unauthorized", "Unauthorized")
  end, { kubeconfig = folder .. "/config" })
  local err = test.raises("Unauthorized", function() c:get("pods", "a") end)
  assert(err.message:find("log in again: kubectl vsphere login --server=10.0.0.1", 1, true), err.message)
  test.same(tokens, { "Bearer one", "Bearer two" })
end)

test("a busy server is asked again after the time it names; an eviction against a budget is not", function()
  local moments = {}
  local c = connect(function()
    moments[#moments + 1] = task.now()
    if #moments < 3 then return { status = 429, headers = { ["retry-after"] = "5" }, body = "" } end
    return { body = config_map "a" }
  end)
  local t = task.spawn(c.get, c, "configmaps", "a")
  test.advance(11)
  test.equal(t:wait().metadata.name, "a")
  test.equal(moments[3] - moments[1], 10)
  local asked = 0
  local d = connect(function()
    asked = asked + 1
    return status(429, "TooManyRequests", "Cannot evict pod", { causes = { { reason = "DisruptionBudget" } } })
  end)
  test.raises("TooManyRequests", function() d:evict "a" end)
  test.equal(asked, 1)
end)

test("a time limit counts for all tries together", function()
  local c = connect(function() return { status = 503, headers = { ["retry-after"] = "20" }, body = "" } end)
  local err = test.raises("HTTP503", function() c:get("pods", "a", { timeout = 5 }) end)
  test.equal(err.retry_after, 20)
end)

test("the connection's time limit counts for lists as well, for the head and for each piece", function()
  for _, kind in ipairs { "silence", "stall" } do
    local s <close> = server.start { handler = function()
      return { headers = { ["Content-Type"] = "application/json" }, body = '{"kind":"PodList","items":[{},{}]}' }
    end }
    s:fail { kind = kind, after = 20, times = 2 }
    local c = kube.connect { server = s.url, timeout = 0.05 }
    test.raises("Timeout", function() c:list "pods" end)
    test.raises("Timeout", function() c:each "pods" () end)
    c:close()
  end
end)

-- --- discovery ------------------------------------------------------------------------------------------

local function aggregated(kinds)
  local resources = {}
  for index, kind in ipairs(kinds) do
    resources[index] = { resource = kind:lower() .. "s", responseKind = { kind = kind }, scope = "Namespaced",
      singularResource = kind:lower(), shortNames = { kind:sub(1, 1):lower() }, verbs = {} }
  end
  return { body = { kind = "APIGroupDiscoveryList", items = { { metadata = { name = "ex.io" }, versions = {
    { version = "v2", resources = resources }, { version = "v1", resources = resources } } } } } }
end

local NOTHING = { body = { kind = "APIGroupDiscoveryList", items = {} } }

test("a kind has many names", function()
  local c = connect(function(_, path)
    if path == "/api" then return NOTHING end
    return aggregated { "Gadget" }
  end)
  for name in ("gadgets gadget Gadget g gadgets.ex.io gadgets.v2.ex.io ex.io/v2/Gadget"):gmatch "%S+" do
    test.equal(c:resource(name).version, "v2")
  end
  test.equal(c:resource("gadget.v1.ex.io").version, "v1")
  for name in ("po pods pod Pod pods.v1 v1/Pod"):gmatch "%S+" do test.equal(c:resource(name).plural, "pods") end
  for _, name in ipairs { "deploy", "deployments.apps", "deployments.v1.apps", "apps/v1/Deployment" } do
    test.equal(c:resource(name).group, "apps")
  end
end)

test("a kind that comes later is found, and one that never comes is told with near names", function()
  local kinds = { "Gadget" }
  local c = connect(function(_, path) return path == "/api" and NOTHING or aggregated(kinds) end)
  local err = test.raises("NotFound", function() c:resource "gadgest" end)
  assert(err.message:find "gadgets", err.message)
  err = test.raises("NotFound", function() c:resource "deploymnts" end)
  assert(err.message:find "deployments", err.message)
  kinds[2] = "Widget"
  test.equal(c:resource("widgets").kind, "Widget")
end)

test("a server without aggregated discovery is asked group by group, and a broken group hides no other", function()
  local c = connect(function(_, path)
    if path == "/api" then return { body = { kind = "APIVersions", versions = { "v1" } } } end
    if path == "/apis" then
      return { body = { kind = "APIGroupList", groups = {
        { name = "ex.io", versions = { { groupVersion = "ex.io/v1" }, { groupVersion = "ex.io/v2" } },
          preferredVersion = { groupVersion = "ex.io/v2" } },
        { name = "down.io", versions = { { groupVersion = "down.io/v1" } } },
      } } }
    end
    if path == "/apis/down.io/v1" then return { status = 503, body = "down" } end
    return { body = { kind = "APIResourceList", groupVersion = path:match "^/apis?/(.*)$", resources = {
      { name = "gadgets", singularName = "gadget", namespaced = false, kind = "Gadget", verbs = { "get" } },
      { name = "gadgets/status", kind = "Gadget" } } } }
  end)
  local resource = c:resource "gadget.v2.ex.io"
  test.equal(resource.namespaced, false)
  test.equal(resource.subresources.status, true)
  test.equal(c:resource("gadgets.ex.io").version, "v2")
end)

test("what a server has is kept on disk for other processes", function()
  local asked = {}
  local s <close> = server.start { handler = function(request)
    asked[#asked + 1] = request.path
    local answer = request.path == "/api" and NOTHING or aggregated { "Gadget" }
    return { headers = { ["Content-Type"] = "application/json" }, body = json.encode(answer.body) }
  end }
  local folder = test.tmpdir()
  local code = ('print(require "kube".connect { server = %q }:resource("gadgets").kind)'):format(s.url)
  for _ = 1, 2 do
    local result = proc.run { host.executable(), "-e", code, env = { KUBECACHEDIR = folder }, timeout = 30 }
    test.equal(result.stdout, "Gadget\n", result.stderr)
  end
  test.same(asked, { "/api", "/apis" })
  -- As kubectl keeps it, and reads it.
  local kept = ("%s/discovery/127.0.0.1_%d"):format(folder, s.port)
  test.same(json.decode(fs.read(kept .. "/servergroups.json")), { kind = "APIGroupList", apiVersion = "v1", groups = {
    { name = "ex.io", preferredVersion = { groupVersion = "ex.io/v2", version = "v2" }, versions = {
      { groupVersion = "ex.io/v2", version = "v2" }, { groupVersion = "ex.io/v1", version = "v1" } } } } })
  test.same(json.decode(fs.read(kept .. "/ex.io/v2/serverresources.json")), { kind = "APIResourceList",
    apiVersion = "v1", groupVersion = "ex.io/v2", resources = { { name = "gadgets", singularName = "gadget",
      namespaced = true, kind = "Gadget", shortNames = { "g" }, verbs = json.array {} } } })
  -- One list that is gone, or no JSON, and all is asked for again.
  for _, spoil in ipairs { function(path) fs.remove(path) end, function(path) fs.write(path, "{") end } do
    spoil(kept .. "/ex.io/v1/serverresources.json")
    asked = {}
    proc.run { host.executable(), "-e", code, env = { KUBECACHEDIR = folder }, timeout = 30 }
    test.same(asked, { "/api", "/apis" })
  end
end)

test("what kubectl has kept of a server is read", function()
  local folder = test.tmpdir()
  local kept = folder .. "/discovery/127.0.0.1_1_k8s/clusters/c_1"
  local kind = { name = "gadgets", singularName = "gadget", namespaced = true, kind = "Gadget", shortNames = { "gd" },
    verbs = { "get" } }
  local sub = { name = "gadgets/status", singularName = "", namespaced = true, kind = "Gadget", verbs = { "get" } }
  fs.mkdir(kept .. "/ex.io/v1", { parents = true })
  fs.write(kept .. "/servergroups.json", json.encode { kind = "APIGroupList", apiVersion = "v1", groups = {
    { name = "ex.io", versions = { { groupVersion = "ex.io/v1", version = "v1" } },
      preferredVersion = { groupVersion = "ex.io/v1", version = "v1" } } } })
  fs.write(kept .. "/ex.io/v1/serverresources.json", json.encode { kind = "APIResourceList", apiVersion = "v1",
    groupVersion = "ex.io/v1", resources = { kind, sub } })
  local code = [[
    local gadgets = require "kube".connect { server = "https://127.0.0.1:1_k8s/clusters/c-1" }:resource "gd"
    print(gadgets.plural, gadgets.group, gadgets.subresources.status)]]
  local result = proc.run { host.executable(), "-e", code, env = { KUBECACHEDIR = folder }, timeout = 30 }
  test.equal(result.stdout, "gadgets\tex.io\ttrue\n", result.stderr)
end)

-- --- lists ----------------------------------------------------------------------------------------------

local function page(names, continue)
  local items = json.array {}
  for index, name in ipairs(names) do items[index] = { metadata = { name = name } } end
  return { body = { kind = "ConfigMapList", apiVersion = "v1", metadata = { continue = continue }, items = items } }
end

test("each reads pages when it needs them, and goes on where a list expired", function()
  local turn = 0
  local c, seen = connect(function(_, _, query)
    turn = turn + 1
    if turn == 1 then return page({ "a", "b" }, "old") end
    if query:find "continue=old" then
      return { status = 410, body = { kind = "Status", code = 410, reason = "Expired", message = "too old",
        metadata = { continue = "new" } } }
    end
    return page { "c" }
  end)
  local names = {}
  for object in c:each("configmaps", { limit = 2 }) do
    if #names == 0 then test.equal(#seen, 1) end
    names[#names + 1] = object.metadata.name
  end
  test.same(names, { "a", "b", "c" })
  assert(seen[3].query:find "continue=new")
end)

test("objects of a list know their kind without carrying it, and go back as they came", function()
  local c, seen = connect(function(method)
    if method == "GET" then return page { "a" } end
    return { body = config_map "a" }
  end)
  local object = c:list("configmaps")[1]
  test.equal(object.kind, "ConfigMap")
  test.same(json.decode(json.encode(object)), { metadata = { name = "a" } })
  c:update(object)
  test.same(json.decode(seen[2].body), { kind = "ConfigMap", apiVersion = "v1", metadata = { name = "a" } })
end)

test("a list that is cut off is an error, not a short list", function()
  local whole = json.encode(page({ "a", "b", "c" }).body)
  local c = connect(function() return { body = whole:sub(1, -20) } end)
  test.raises("Protocol", function() c:list "configmaps" end)
end)

test("a misspelt option is not passed over", function()
  local c = connect(function() return page {} end)
  test.raises("unknown option 'lables'", function() c:list("pods", { lables = "a=b" }) end)
  test.raises("labels or fields", function() c:delete_collection "pods" end)
end)

test("a server that prints no tables gives names and ages", function()
  local c = connect(function() return page { "a" } end)
  local printed = c:table "configmaps"
  test.equal(printed.columns[1].name, "Name")
  test.equal(printed.rows[1][1], "a")
end)

-- --- writes ---------------------------------------------------------------------------------------------

test("edit reads again after a conflict", function()
  local version, tries = 1, 0
  local c = connect(function(method, _, _, options)
    if method == "GET" then
      local object = config_map("a", { n = tostring(version) })
      object.metadata.resourceVersion = tostring(version)
      return { body = object }
    end
    tries = tries + 1
    if tries < 3 then
      version = version + 1
      return status(409, "Conflict", "the object has been modified")
    end
    return { body = options.body }
  end)
  local t = task.spawn(c.edit, c, "configmaps", "a", function(object) object.data.n = object.data.n .. "!" end)
  test.advance(5)
  test.equal(t:wait().data.n, "3!")
  test.equal(c:edit("configmaps", "a", function() return false end).data.n, "3")
end)

test("the conflicts of an apply are a list that can be read", function()
  local c = connect(function()
    return status(409, "Conflict", "Apply failed with 1 conflict", { causes = { { reason = "FieldManagerConflict",
      message = 'conflict with "kubectl"', field = ".spec.replicas" } } })
  end)
  local err = test.raises("Conflict", function() c:apply(config_map "a") end)
  test.equal(err.conflicts[1].manager, "kubectl")
  test.equal(err.conflicts[1].field, ".spec.replicas")
end)

test("warnings of the server come back, and are said once", function()
  local c, _, said = connect(function()
    local warning = '299 - "unknown field \\"x\\"", 299 - "two, parts"'
    return { status = 201, body = config_map "a", headers = { warning = warning } }
  end)
  local _, warnings = c:create(config_map "a")
  test.same(warnings, { 'unknown field "x"', "two, parts" })
  c:create(config_map "a")
  local count = 0
  for _, record in ipairs(said) do count = count + (record.level == "warning" and 1 or 0) end
  test.equal(count, 2)
end)

test("every write leaves one line with object, verb, manager and result; reads leave none", function()
  local c, _, said = connect(function(method)
    if method == "DELETE" then return status(409, "Conflict", "no") end
    return { status = method == "POST" and 201 or 200, body = config_map "a" }
  end, { manager = "me" })
  c:get("configmaps", "a")
  c:create(config_map "a")
  c:patch("configmaps", "a", { data = {} })
  c.try:delete("configmaps", "a")
  local lines = {}
  for index, record in ipairs(said) do
    lines[index] = table.concat({ record.verb, record.resource, record.namespace, record.name, record.manager,
      record.result, tostring(record.status) }, " ")
  end
  test.same(lines, { "create configmaps default a me created 201", "patch configmaps default a me ok 200",
    "delete configmaps default a me Conflict 409" })
end)

-- --- guard rails ----------------------------------------------------------------------------------------

test("a read-only connection refuses every write, sessions and tokens too; reviews pass", function()
  local c, seen = connect(function() return { status = 201, body = { status = { allowed = true } } } end,
    { readonly = true })
  local writes = {
    function() c:create(config_map "a") end,
    function() c:update(config_map "a") end,
    function() c:apply(config_map "a") end,
    function() c:patch("configmaps", "a", {}) end,
    function() c:delete("configmaps", "a") end,
    function() c:delete_collection("configmaps", { all = true }) end,
    function() c:evict "a" end,
    function() c:edit("configmaps", "a", function(o) o.metadata = { name = "a" } o.kind = "ConfigMap" end) end,
    function() c:create({ spec = {} }, { kind = "serviceaccounts", name = "sa", subresource = "token" }) end,
    function() c:exec { pod = "a", command = { "sh" } } end,
    function() c:request("POST", "/api/v1/namespaces/a/configmaps", { body = "{}" }) end,
    function() c:request("GET", "/api/v1/namespaces/a/pods/b/exec", { query = { command = "sh" } }) end,
    function() c:request("GET", "/api/v1/namespaces/a/pods/b/%65xec") end,
    function() c:request("GET", "/api/v1/namespaces/a//pods/b//exec/?command=sh") end,
    function() c:port_forward { pod = "a", port = 80 } end,
    function() c:event({ metadata = { name = "a" } }, "Normal", "R", "m") end,
  }
  for _, write in ipairs(writes) do
    local err = test.raises("Refused", write)
    assert(err.message:find "read%-only", err.message)
  end
  for _, request in ipairs(seen) do test.equal(request.method, "GET") end
  test.equal(c:can_i("create", "pods"), true)
end)

test("a dry run is written into every write", function()
  local c, seen = connect(function() return { body = config_map "a" } end, { dry_run = true })
  c:create(config_map "a")
  c:delete("configmaps", "a", { wait = true })
  c:patch("configmaps", "a", {})
  for _, request in ipairs(seen) do test.equal(request.query, "dryRun=All") end
  test.equal(#seen, 3)
  test.raises("Refused", function() c:exec { pod = "a", command = { "sh" } } end)
end)

test("no name and no path of a script leads to another object, or past the dry run", function()
  local c, seen = connect(function() return { body = config_map "a" } end, { dry_run = true })
  c:request("DELETE", "/api/v1/namespaces/a/configmaps/b?x=1#")
  test.same(seen[#seen].query, "dryRun=All&x=1")
  local sent = #seen
  for _, name in ipairs { ".", ".." } do
    test.raises("Invalid", function() c:delete("configmaps", name) end)
    test.raises("Invalid", function() c:get("configmaps", name) end)
    test.raises("Invalid", function() c:get("configmaps", "a", { namespace = name }) end)
    test.raises("Invalid", function() c:request("DELETE", "/api/v1/namespaces/a/configmaps/" .. name) end)
  end
  test.raises("Invalid", function() c:request("DELETE", "/api/v1/namespaces/a/pods/%2e%2E/pods/b") end)
  test.equal(#seen, sent)
end)

test("an approval is asked with what changes, secrets masked; without a terminal it is refused", function()
  local secret = { apiVersion = "v1", kind = "Secret", metadata = { name = "s" }, data = { password = "Y2FuYXJ5" } }
  local asked = {}
  local function answer(method)
    if method == "GET" then
      return { body = { apiVersion = "v1", kind = "Secret", metadata = { name = "s" }, data = { password = "b2xk" } } }
    end
    return { body = secret }
  end
  local c = connect(answer, { approve = function(question)
    asked[#asked + 1] = question
    return #asked == 1
  end })
  c:update(secret)
  assert(asked[1]:find "password: %(hidden%)", asked[1])
  assert(not asked[1]:find "Y2FuYXJ5" and not asked[1]:find "b2xk", asked[1])
  assert(asked[1]:find "\n%-.*\n%+", "a difference is shown")
  test.raises("not approved", function() c:delete("secrets", "s") end)
  local d = connect(answer, { approve = true })
  test.raises("no terminal", function() d:update(secret) end)
end)

test("a cap on writes per minute holds, and lets leases and own events through", function()
  local c = connect(function() return { body = config_map "a" } end, { writes_per_minute = 2 })
  c:create(config_map "a")
  c:create(config_map "b")
  local err = test.raises("Refused", function() c:create(config_map "c") end)
  assert(err.retry_after > 59 and err.retry_after <= 60, err.retry_after)
  c:event(config_map "a", "Normal", "Reason", "text")
  c:update { apiVersion = "coordination.k8s.io/v1", kind = "Lease", metadata = { name = "l" } }
  test.advance(60)
  c:create(config_map "c")
end)

-- --- waiting --------------------------------------------------------------------------------------------

local function job(version, conditions)
  return { apiVersion = "batch/v1", kind = "Job", metadata = { name = "j", uid = "u", resourceVersion = version },
    status = { conditions = conditions } }
end

-- Answers a get with the first object, then a watch with the others as events.
local function life(first, ...)
  local events = {}
  for index, event in ipairs { ... } do events[index] = json.encode(event) .. "\n" end
  return function(_, _, query)
    if query:find "watch=true" then return { body = table.concat(events) } end
    return first and { body = first } or status(404, "NotFound", "not there")
  end
end

test("wait returns the object once its condition is there", function()
  local done = job("2", { { type = "Complete", status = "True" } })
  local c, seen = connect(life(job "1",
    { type = "MODIFIED", object = job("2", { { type = "Failed", status = "False" } }) },
    { type = "MODIFIED", object = done }))
  test.equal(c:wait({ kind = "jobs", name = "j", condition = "complete", timeout = 10 }).metadata.resourceVersion, "2")
  assert(seen[2].query:find "fieldSelector=metadata.name%%3Dj", seen[2].query)
  assert(seen[2].query:find "resourceVersion=1", seen[2].query)
end)

test("wait for a deletion returns when it is gone, also when another one took its name", function()
  local c = connect(life(job "1", { type = "DELETED", object = job "2" }))
  test.equal(c:wait { kind = "jobs", name = "j", deleted = true, timeout = 10 }, nil)
  local gone = connect(life(nil))
  test.equal(gone:wait { kind = "jobs", name = "j", deleted = true }, nil)
  local other = connect(life(job "1"))
  test.equal(other:wait { kind = "jobs", name = "j", deleted = true, uid = "before" }, nil)
end)

test("wait says what did not come, with the last state", function()
  local c = connect(life(job "1"))
  local t = task.spawn(c.wait, c, { kind = "jobs", name = "j", condition = "Complete", timeout = "30s" })
  test.advance(31)
  local err = test.raises("Timeout", function() t:wait() end)
  assert(err.message:find "condition Complete" and err.message:find "30s", err.message)
  test.equal(err.last.metadata.name, "j")
end)

test("wait takes a test of the script's own", function()
  local c = connect(life(job "1", { type = "MODIFIED", object = job "7" }))
  local object = c:wait { kind = "jobs", name = "j", timeout = 5,
    test = function(seen) return seen.metadata.resourceVersion == "7" end }
  test.equal(object.metadata.resourceVersion, "7")
end)

-- --- streams --------------------------------------------------------------------------------------------

local function pod(name, containers)
  local list = {}
  for index, container in ipairs(containers) do list[index] = { name = container } end
  return { metadata = { name = name, namespace = "n" }, spec = { containers = list } }
end

test("logs come of one container, of all, and of the pods of a selector with a prefix", function()
  local c, seen = connect(function(_, path, query)
    if path:find "/log$" then return { body = path:match "pods/([^/]+)" .. "?" .. query .. "\nsecond\n" } end
    if path:find "/pods$" then
      return { body = { kind = "PodList", items = { pod("a", { "x" }), pod("b", { "y" }) } } }
    end
    return { body = pod("a", { "x", "sidecar" }) }
  end)
  test.equal(c:logs { pod = "a", namespace = "n", tail = 5, since = "1m", previous = true },
    "a?previous=true&sinceSeconds=60&tailLines=5\nsecond\n")
  test.equal(c:logs { pod = "a", namespace = "n", all_containers = true },
    "a?container=x\nsecond\na?container=sidecar\nsecond\n")
  test.equal(c:logs { labels = "app=web", namespace = "n", prefix = true },
    "[pod/a/x] a?container=x\n[pod/a/x] second\n[pod/b/y] b?container=y\n[pod/b/y] second\n")
  local lines = {}
  for line in c:logs { labels = { app = "web" }, namespace = "n", follow = true } do lines[#lines + 1] = line end
  table.sort(lines)
  test.same(lines, { "a?container=x&follow=true", "b?container=y&follow=true", "second", "second" })
  assert(seen[#seen].path:find "/log$")
end)

-- A server that is a pod: its exec echoes input, upper case, and ends with code 3.
local function pod_server(protocols)
  local ws = require "ws"
  local got = { resize = nil, closed = false, query = nil }
  local s = server.start { handler = function(request)
    got.query = request.query
    if not request.path:find "/pods/a/exec$" then return { status = 404 } end
    local socket = ws.accept(request, { protocols = protocols })
    socket:send("\0", "binary")
    socket:send("\1hello ", "binary")
    socket:send("\2problem", "binary")
    while true do
      local data = socket:receive(10)
      if not data then return end
      local channel, bytes = data:byte(1), data:sub(2)
      if channel == 4 then got.resize = json.decode(bytes)
      elseif channel == 255 then got.closed = bytes == "\0" break
      elseif channel == 0 then
        socket:send("\1" .. bytes:upper(), "binary")
        if protocols[1]:find "^v4" then break end
      end
    end
    socket:send("\3" .. json.encode { kind = "Status", status = "Failure", reason = "NonZeroExitCode",
      message = "command terminated with non-zero exit code",
      details = { causes = { { reason = "ExitCode", message = "3" } } } }, "binary")
    socket:close()
  end }
  return s, got
end

for _, protocol in ipairs { "v5.channel.k8s.io", "v4.channel.k8s.io" } do
  test("exec over " .. protocol .. " carries input, output, errors and the exit code", function()
    local s, got = pod_server { protocol }
    local closer <close> = s -- luacheck: ignore
    local c = kube.connect { server = s.url, token = "t", log = function() end }
    local result = c:exec { pod = "a", namespace = "n", command = { "tr", "a b" }, container = "x", stdin = "input",
      timeout = 20 }
    test.same(result, { code = 3, stdout = "hello INPUT", stderr = "problem" })
    test.equal(got.query, "command=tr&command=a%20b&container=x&stderr=true&stdin=true&stdout=true")
    test.equal(got.closed, protocol:find "v5" ~= nil)
    c:close()
  end)
end

test("exec with a terminal tells its size; a refused one is the server's error", function()
  local s, got = pod_server { "v5.channel.k8s.io" }
  local closer <close> = s -- luacheck: ignore
  local c = kube.connect { server = s.url, token = "t", log = function() end }
  local parts, pieces = {}, { "x" }
  local result = c:exec {
    pod = "a", command = { "sh" }, tty = true, size = { width = 80, height = 24 }, timeout = 20,
    stdin = function() return table.remove(pieces) end, stdout = function(text) parts[#parts + 1] = text end,
  }
  test.equal(result.code, 3)
  test.equal(result.stdout, nil)
  test.equal(table.concat(parts), "hello X")
  test.same(got.resize, { Width = 80, Height = 24 })
  local err = test.raises("HTTP404", function() c:exec { pod = "b", command = { "sh" } } end)
  test.equal(err.resource, "pods/exec")
  c:close()
end)

test("a forwarded port carries both directions, and a refusal of the pod ends its connection", function()
  local http = require "http"
  local ws = require "ws"
  local queries = {}
  local s <close> = server.start { handler = function(request)
    queries[#queries + 1] = request.query
    local socket = ws.accept(request, { protocols = { "v4.channel.k8s.io" } })
    socket:send("\0\144\31", "binary") -- the port, on both channels
    socket:send("\1\144\31", "binary")
    if #queries == 2 then
      socket:send("\1nothing listens on 8080", "binary")
    else
      local got = socket:receive(10)
      socket:send("\0" .. got:sub(2):upper(), "binary")
    end
    socket:close()
  end }
  local said = {}
  local c = kube.connect { server = s.url, log = function(record) said[#said + 1] = record end }
  local forward <close> = c:port_forward { pod = "a", port = 8080 }
  local url = ("http://127.0.0.1:%d"):format(forward.port)
  local connection = http.connect { url = url, timeout = 10 }
  connection:write "hello"
  test.equal(connection:read(10), "HELLO")
  test.equal(connection:read(10), nil)
  connection:close()
  local refused = http.connect { url = url, timeout = 10 }
  test.equal(refused:read(10), nil)
  refused:close()
  test.same(queries, { "ports=8080", "ports=8080" })
  assert(said[#said].message:find "nothing listens on 8080", said[#said].message)
  c:close()
end)

test("several groups to act as are several headers", function()
  local seen
  local s <close> = server.start { handler = function(request)
    seen = request.headers
    return { headers = { ["Content-Type"] = "application/json" }, body = json.encode(config_map "a") }
  end }
  local c = kube.connect { server = s.url, as = "jane", as_groups = { "a", "b" } }
  c:get("configmaps", "a")
  test.equal(seen["impersonate-user"], "jane")
  test.equal(seen["impersonate-group"], "a, b")
  assert(seen["user-agent"]:find "^kfhost/")
  c:close()
end)

-- --- events ---------------------------------------------------------------------------------------------

test("an event that comes again counts up", function()
  local c, seen = connect(function(_, _, _, options) return { body = options.body } end)
  local object = { kind = "Pod", apiVersion = "v1", metadata = { name = "p", namespace = "n", uid = "u" } }
  c:event(object, "Warning", "Stuck", "for %d minutes", 10)
  c:event(object, "Warning", "Stuck", "for %d minutes", 10)
  c:event(object, "Warning", "Stuck", "for %d minutes", 11)
  test.equal(seen[1].method, "POST")
  local first = json.decode(seen[1].body)
  test.equal(first.message, "for 10 minutes")
  test.equal(first.involvedObject.uid, "u")
  test.equal(seen[2].method, "PATCH")
  test.equal(json.decode(seen[2].body).count, 2)
  test.equal(seen[3].method, "POST")
end)
