local api = require "lab.api"
local json = require "json"
local task = require "task"
local test = require "test"

-- A cluster without a server, and requests to it as its administrator.
local function lab()
  local now = 1700000000
  local cluster = api.new { now = function() return now end, on_error = function(_, text, traceback)
    error(text .. (traceback or ""), 0)
  end }
  local function call(method, path, body, options)
    options = options or {}
    local response = cluster:handle {
      method = method, path = path, query = options.query,
      headers = { ["user-agent"] = "test/1", accept = options.accept, ["content-type"] = options.type,
                  authorization = "Bearer " .. (options.token or cluster.auth.admin_token) },
      body = type(body) == "table" and json.encode(body) or body,
    }
    local value = response.body and response.body:match "^[{%[]" and json.decode(response.body)
    return response.status, value, response
  end
  call("POST", "/api/v1/namespaces/default/serviceaccounts", { metadata = { name = "default" } })
  return cluster, call
end

local MAPS = "/api/v1/namespaces/default/configmaps"
local MERGE = "application/merge-patch+json"

local function map(name, data, extra)
  local object = { metadata = { name = name }, data = data or { k = "v" } }
  for key, value in pairs(extra or {}) do object.metadata[key] = value end
  return object
end

local function add_lines(lines, text)
  for line in text:gmatch "[^\n]+" do lines[#lines + 1] = json.decode(line) end
end

-- Reads a watch until it has seen a number of lines.
local function read_watch(response, count)
  local lines = {}
  local done = {}
  pcall(response.stream, { write = function(_, text)
    add_lines(lines, text)
    if #lines >= count then error(done, 0) end
  end })
  return lines
end

local function kinds_and_names(lines)
  local list = {}
  for i, line in ipairs(lines) do list[i] = line.type .. " " .. line.object.metadata.name end
  return list
end

test("an object comes back as it was made, with what the server adds", function()
  local _, call = lab()
  local code, made = call("POST", MAPS, map("one"))
  test.equal(code, 201)
  test.equal(made.kind, "ConfigMap")
  test.equal(made.metadata.namespace, "default")
  test.equal(#made.metadata.uid, 36)
  test.equal(made.metadata.creationTimestamp, "2023-11-14T22:13:20Z")
  local got, same = call("GET", MAPS .. "/one")
  test.equal(got, 200)
  test.same(same, made)
end)

test("a write that changes nothing keeps the version", function()
  local _, call = lab()
  local _, made = call("POST", MAPS, map("one"))
  local code, again = call("PATCH", MAPS .. "/one", { data = { k = "v" } }, { type = MERGE })
  test.equal(code, 200)
  test.equal(again.metadata.resourceVersion, made.metadata.resourceVersion)
  local _, changed = call("PATCH", MAPS .. "/one", { data = { k = "w" } }, { type = MERGE })
  test.equal(changed.metadata.resourceVersion ~= made.metadata.resourceVersion, true)
end)

test("a stale update is a conflict, and names what it is about", function()
  local _, call = lab()
  local _, old = call("POST", MAPS, map("one"))
  call("PATCH", MAPS .. "/one", { data = { x = "1" } }, { type = MERGE })
  local code, problem = call("PUT", MAPS .. "/one", old)
  test.equal(code, 409)
  test.equal(problem.reason, "Conflict")
  test.same(problem.details, { name = "one", kind = "configmaps" })
end)

-- A request about an object that somebody else labels while a webhook is asked about it: how it is answered, and the
-- object then.
local function meddled(call, path, ask)
  local bundle = require "policy.serve.certificates".make { "127.0.0.1" }
  local asked = false
  local function webhook(request)
    if not asked then
      asked = true
      test.equal(call("PATCH", path, { metadata = { labels = { other = "here" } } }, { type = MERGE }), 200)
    end
    return { status = 200, headers = { ["Content-Type"] = "application/json" }, body = json.encode {
      apiVersion = "admission.k8s.io/v1", kind = "AdmissionReview",
      response = { uid = json.decode(request.body).request.uid, allowed = true } } }
  end
  local service = require "server".listen { certificate = bundle.certificate, key = bundle.key, handler = webhook }
  test.equal(call("POST", "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations", {
    metadata = { name = "meddler" }, webhooks = { { name = "meddler.test.io", sideEffects = "None",
      admissionReviewVersions = { "v1" }, rules = { { apiGroups = { "*" }, apiVersions = { "*" },
        operations = { "UPDATE" }, resources = { "configmaps", "deployments", "deployments/scale" } } },
      clientConfig = { url = ("https://127.0.0.1:%d/"):format(service.port),
        caBundle = require "hash".base64(bundle.authorities) } } } }), 201)
  local code, answer = ask()
  service:close()
  test.equal(asked, true)
  local _, now = call("GET", path)
  return code, now, answer
end

test("a patch is made again of an object that has changed meanwhile; so is an update that names no version", function()
  for _, method in ipairs { "PATCH", "PUT" } do
    local _, call = lab()
    call("POST", MAPS, map("one"))
    local code, now = meddled(call, MAPS .. "/one", function()
      return call(method, MAPS .. "/one", { metadata = { name = "one" }, data = { k = "w" } },
        { type = method == "PATCH" and MERGE or nil })
    end)
    test.equal(code, 200)
    test.equal(now.data.k, "w")
    test.same(now.metadata.labels, method == "PATCH" and { other = "here" } or nil)
  end
end)

test("who names the version of an object that changes meanwhile hears of it", function()
  for _, method in ipairs { "PATCH", "PUT" } do
    local _, call = lab()
    local _, made = call("POST", MAPS, map("one"))
    local code, now, problem = meddled(call, MAPS .. "/one", function()
      return call(method, MAPS .. "/one", { metadata = { name = "one",
        resourceVersion = made.metadata.resourceVersion }, data = { k = "w" } },
        { type = method == "PATCH" and MERGE or nil })
    end)
    test.same({ code, problem.reason, now.data.k }, { 409, "Conflict", "v" })
  end
end)

test("a scale is patched again, too, and applied", function()
  local path = "/apis/apps/v1/namespaces/default/deployments"
  for _, media in ipairs { MERGE, "application/apply-patch+yaml" } do
    local _, call = lab()
    test.equal(call("POST", path, { metadata = { name = "web" }, spec = { selector = { matchLabels = { a = "b" } },
      template = { metadata = { labels = { a = "b" } },
        spec = { containers = { { name = "c", image = "x" } } } } } }), 201)
    local code, now = meddled(call, path .. "/web", function()
      return call("PATCH", path .. "/web/scale", { apiVersion = "autoscaling/v1", kind = "Scale",
        spec = { replicas = 3 } }, { type = media, query = "fieldManager=me" })
    end)
    test.equal(code, 200)
    test.same({ now.spec.replicas, now.metadata.labels }, { 3, { other = "here" } })
  end
end)

test("what is wrong with a pod is told as one cause each", function()
  local _, call = lab()
  local code, problem = call("POST", "/api/v1/namespaces/default/pods", {
    metadata = { name = "bad" },
    spec = { restartPolicy = "Sometimes", containers = { { name = "A", ports = { { containerPort = 70000 } } },
                                                         { name = "b", image = "x" }, { name = "b", image = "x" } } },
  })
  test.equal(code, 422)
  local fields = {}
  for i, cause in ipairs(problem.details.causes) do fields[i] = cause.field end
  test.same(fields, { "spec.containers[0].name", "spec.containers[0].image",
    "spec.containers[0].ports[0].containerPort", "spec.containers[2].name", "spec.restartPolicy" })
end)

test("unknown fields are told of in the order of the document, or refused", function()
  local _, call = lab()
  local body = '{"metadata":{"name":"p"},"spec":{"containers":[{"name":"m","image":"x","imagee":1}],"bogus":1}}'
  local path = "/api/v1/namespaces/default/configmaps"
  local code, problem = call("POST", "/apis/batch/v1/namespaces/default/jobs",
    '{"metadata":{"name":"j"},"zeta":1,"spec":{"alpha":1,"template":{"spec":{"restartPolicy":"Never",'
      .. '"containers":[{"name":"m","image":"x"}]}}}}', { query = "fieldValidation=Strict" })
  test.equal(code, 400)
  test.equal(problem.message:match "strict decoding error: (.*)$", 'unknown field "zeta", unknown field "spec.alpha"')
  local _, _, response = call("POST", path, '{"metadata":{"name":"d"},"data":{"a":"1","a":"2"},"x":' .. body .. "}")
  test.same(response.headers.Warning, { '299 - "duplicate field \\"data.a\\""', '299 - "unknown field \\"x\\""' })
end)

test("pages show one state, whatever is written between them", function()
  local _, call = lab()
  for i = 1, 5 do call("POST", MAPS, map("c" .. i)) end
  local _, first = call("GET", MAPS, nil, { query = "limit=2" })
  test.equal(first.metadata.remainingItemCount, 3)
  call("POST", MAPS, map("c25"))
  call("DELETE", MAPS .. "/c4")
  local _, rest = call("GET", MAPS, nil, { query = "limit=9&continue=" .. first.metadata.continue })
  local names = {}
  for i, item in ipairs(rest.items) do names[i] = item.metadata.name end
  test.same(names, { "c3", "c4", "c5" })
  test.equal(rest.metadata.resourceVersion, first.metadata.resourceVersion)
  test.equal(rest.metadata.continue, nil)
end)

test("an expired page is 410, and its token goes on at a newer state", function()
  local cluster, call = lab()
  for i = 1, 4 do call("POST", MAPS, map("c" .. i)) end
  local _, first = call("GET", MAPS, nil, { query = "limit=2" })
  call("POST", MAPS, map("c35"))
  cluster.store:compact()
  local code, problem = call("GET", MAPS, nil, { query = "limit=2&continue=" .. first.metadata.continue })
  test.equal(code, 410)
  test.equal(problem.reason, "Expired")
  local _, rest = call("GET", MAPS, nil, { query = "continue=" .. problem.metadata.continue })
  local names = {}
  for i, item in ipairs(rest.items) do names[i] = item.metadata.name end
  test.same(names, { "c3", "c35", "c4" })
end)

test("a watch tells what happened since a version, deletions with versions of their own", function()
  local _, call = lab()
  call("POST", MAPS, map("w0"))
  local _, list = call("GET", MAPS)
  call("POST", MAPS, map("w1"))
  call("PATCH", MAPS .. "/w1", { data = { k = "2" } }, { type = MERGE })
  call("DELETE", MAPS .. "/w1")
  local _, _, response = call("GET", MAPS, nil, { query = "watch=1&resourceVersion=" .. list.metadata.resourceVersion })
  local lines = read_watch(response, 3)
  test.same(kinds_and_names(lines), { "ADDED w1", "MODIFIED w1", "DELETED w1" })
  test.equal(tonumber(lines[3].object.metadata.resourceVersion) > tonumber(lines[2].object.metadata.resourceVersion),
    true)
end)

test("a watch waits for what comes, and ends at its time", function()
  local _, call = lab()
  local _, list = call("GET", MAPS)
  local _, _, response = call("GET", MAPS, nil,
    { query = "watch=1&timeoutSeconds=100&resourceVersion=" .. list.metadata.resourceVersion })
  local lines = {}
  local reader = task.spawn(response.stream, { write = function(_, text) add_lines(lines, text) end })
  test.advance(1)
  call("POST", MAPS, map("late"))
  test.advance(1)
  test.same(kinds_and_names(lines), { "ADDED late" })
  test.advance(100)
  reader:wait()
end)

test("a watch that asks for bookmarks gets one within 75 seconds, with the newest version", function()
  local cluster, call = lab()
  local _, _, response = call("GET", MAPS, nil,
    { query = "watch=1&allowWatchBookmarks=true&timeoutSeconds=200&resourceVersion=" .. cluster.store.revision })
  local lines = {}
  local reader = task.spawn(response.stream, { write = function(_, text) add_lines(lines, text) end })
  test.advance(1)
  call("POST", "/api/v1/namespaces/default/serviceaccounts", { metadata = { name = "of-another-kind" } })
  test.advance(74)
  test.equal(#lines, 1)
  test.equal(lines[1].type, "BOOKMARK")
  test.equal(lines[1].object.metadata.resourceVersion, tostring(cluster.store.revision))
  reader:cancel()
end)

test("a watch with initial events ends them with a marked bookmark", function()
  local _, call = lab()
  call("POST", MAPS, map("a"))
  local _, _, response = call("GET", MAPS, nil,
    { query = "watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true" })
  local lines = read_watch(response, 2)
  test.equal(lines[1].type, "ADDED")
  test.equal(lines[2].type, "BOOKMARK")
  test.equal(lines[2].object.metadata.annotations["k8s.io/initial-events-end"], "true")
end)

test("a watch from a version that is forgotten answers 200 and an error event", function()
  local cluster, call = lab()
  call("POST", MAPS, map("a"))
  cluster.store:compact()
  local code, _, response = call("GET", MAPS, nil, { query = "watch=1&resourceVersion=1" })
  test.equal(code, 200)
  local lines = read_watch(response, 1)
  test.equal(lines[1].type, "ERROR")
  test.equal(lines[1].object.code, 410)
end)

test("finalizers hold an object; removing the last one removes it", function()
  local _, call = lab()
  call("POST", MAPS, map("f", nil, { finalizers = { "a.example/x" } }))
  local code, held = call("DELETE", MAPS .. "/f")
  test.equal(code, 200)
  test.equal(held.metadata.deletionTimestamp ~= nil, true)
  local _, again = call("DELETE", MAPS .. "/f")
  test.equal(again.metadata.deletionTimestamp, held.metadata.deletionTimestamp)
  local refused, problem = call("PATCH", MAPS .. "/f",
    { metadata = { finalizers = { "a.example/x", "b.example/y" } } }, { type = MERGE })
  test.equal(refused, 422)
  test.equal(problem.details.causes[1].reason, "FieldValueForbidden")
  call("PATCH", MAPS .. "/f", { metadata = { finalizers = json.null } }, { type = MERGE })
  test.equal((call("GET", MAPS .. "/f")), 404)
end)

test("dry runs answer what would be, and store nothing", function()
  local _, call = lab()
  local code, made = call("POST", MAPS, map("dry"), { query = "dryRun=All" })
  test.equal(code, 201)
  test.equal(made.metadata.resourceVersion, nil)
  test.equal((call("GET", MAPS .. "/dry")), 404)
end)

-- --- custom resources -----------------------------------------------------------------------------

local function define(call)
  return call("POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", {
    metadata = { name = "toys.play.example" },
    spec = { group = "play.example", scope = "Namespaced",
      names = { plural = "toys", kind = "Toy", shortNames = { "ty" } },
      versions = { { name = "v1", served = true, storage = true, subresources = { status = json.object {} },
        schema = { openAPIV3Schema = { type = "object", properties = {
          spec = { type = "object", required = { "size" }, properties = {
            size = { type = "integer", maximum = 9 },
            color = { type = "string", default = "red" } } },
          status = { type = "object", properties = { phase = { type = "string" } } } } } } } } },
  })
end

local TOYS = "/apis/play.example/v1/namespaces/default/toys"

test("a definition is served at once: defaults, pruning with a warning, checks", function()
  local _, call = lab()
  test.equal((define(call)), 201)
  local code, made, response = call("POST", TOYS, { apiVersion = "play.example/v1", kind = "Toy",
    metadata = { name = "t" }, spec = { size = 3, bogus = 1 } })
  test.equal(code, 201)
  test.same(made.spec, { size = 3, color = "red" })
  test.same(response.headers.Warning, { '299 - "unknown field \\"spec.bogus\\""' })
  local refused, problem = call("POST", TOYS, { apiVersion = "play.example/v1", kind = "Toy",
    metadata = { name = "u" }, spec = { size = 10 } })
  test.equal(refused, 422)
  test.equal(problem.details.causes[1].message,
    "Invalid value: 10: spec.size in body should be less than or equal to 9")
end)

test("spec and status of a custom resource are written apart, and generation counts the spec", function()
  local _, call = lab()
  define(call)
  local _, made = call("POST", TOYS, { apiVersion = "play.example/v1", kind = "Toy", metadata = { name = "t" },
                                       spec = { size = 1 }, status = { phase = "No" } })
  test.equal(made.status, nil)
  local _, with = call("PATCH", TOYS .. "/t/status", { status = { phase = "Up" }, spec = { size = 2 } },
    { type = MERGE })
  test.same({ with.status.phase, with.spec.size, with.metadata.generation }, { "Up", 1, 1 })
  local _, bigger = call("PATCH", TOYS .. "/t", { status = { phase = "Down" }, spec = { size = 2 } }, { type = MERGE })
  test.same({ bigger.status.phase, bigger.spec.size, bigger.metadata.generation }, { "Up", 2, 2 })
end)

test("with its definition a resource and its objects go", function()
  local _, call = lab()
  define(call)
  call("POST", TOYS, { apiVersion = "play.example/v1", kind = "Toy", metadata = { name = "t" }, spec = { size = 1 } })
  call("DELETE", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/toys.play.example")
  local code, _, response = call("GET", TOYS)
  test.same({ code, response.body }, { 404, "404 page not found\n" })
end)

-- --- who may do what ------------------------------------------------------------------------------

test("an account may do what a binding gives it, and no more", function()
  local _, call = lab()
  call("POST", "/api/v1/namespaces/default/serviceaccounts", { metadata = { name = "sa" } })
  local _, request = call("POST", "/api/v1/namespaces/default/serviceaccounts/sa/token", { spec = json.object {} })
  local mine = { token = request.status.token }
  local code, problem = call("GET", MAPS, nil, mine)
  test.equal(code, 403)
  test.equal(problem.message, 'configmaps is forbidden: User "system:serviceaccount:default:sa" cannot list resource '
    .. '"configmaps" in API group "" in the namespace "default"')
  local rbac = "/apis/rbac.authorization.k8s.io/v1/namespaces/default/"
  call("POST", rbac .. "roles", { metadata = { name = "r" }, rules = {
    { apiGroups = { "" }, resources = { "configmaps" }, verbs = { "list" } } } })
  call("POST", rbac .. "rolebindings", { metadata = { name = "r" }, roleRef = { kind = "Role", name = "r" },
    subjects = { { kind = "ServiceAccount", name = "sa", namespace = "default" } } })
  test.equal((call("GET", MAPS, nil, mine)), 200)
  test.equal((call("POST", MAPS, map("x"), mine)), 403)
end)

test("a wrong token is unauthorized, and nobody may read but the version", function()
  local _, call = lab()
  test.equal((call("GET", MAPS, nil, { token = "wrong" })), 401)
end)

test("discovery says the same in both forms, and 304 to who knows it", function()
  local cluster, call = lab()
  local accept = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json"
  local _, groups, response = call("GET", "/apis", nil, { accept = accept })
  test.equal(groups.kind, "APIGroupDiscoveryList")
  local again = cluster:handle { method = "GET", path = "/apis", headers = { accept = accept,
    ["if-none-match"] = response.headers.Etag, authorization = "Bearer " .. cluster.auth.admin_token } }
  test.equal(again.status, 304)
  local _, old = call("GET", "/apis")
  test.equal(#old.groups, #groups.items)
end)

-- --- admission of what is no write --------------------------------------------------------------------

local ADMISSION = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolic"

-- A policy that lets through what fits an expression alone.
local function only(call, name, rule, expression)
  test.equal((call("POST", ADMISSION .. "ies", { metadata = { name = name }, spec = {
    matchConstraints = { resourceRules = { rule } }, validations = { { expression = expression } } } })), 201)
  test.equal((call("POST", ADMISSION .. "ybindings", { metadata = { name = name }, spec = { policyName = name,
    validationActions = { "Deny" } } })), 201)
end

test("admission is asked about a command in a pod by its options, and about a scale by itself", function()
  local _, call = lab()
  call("POST", "/api/v1/namespaces/default/pods", { metadata = { name = "p" }, spec = {
    containers = { { name = "c", image = "busybox" } } } })
  only(call, "lists", { apiGroups = { "" }, apiVersions = { "v1" }, operations = { "CONNECT" },
    resources = { "pods/exec" } }, "request.kind.kind == 'PodExecOptions' && object.command == ['ls', '-l'] "
    .. "&& object.container == 'c' && has(object.stdin) && !has(object.tty)")
  local function exec(query)
    local code, problem = call("POST", "/api/v1/namespaces/default/pods/p/exec", nil, { query = query })
    return ("%d %s"):format(code, problem.reason)
  end
  test.equal(exec "command=ls&command=-l&container=c&stdin=true&tty=false", "400 BadRequest") -- it has no host
  for _, query in ipairs { "command=ls&command=-l&container=c&stdin=true&tty=yes", "command=sh&container=c&stdin=1",
    "command=ls&command=-l&container=c&stdin=0" } do
    test.equal(exec(query), "422 Invalid")
  end
  local deployments = "/apis/apps/v1/namespaces/default/deployments"
  local containers = { { name = "c", image = "busybox" } }
  test.equal((call("POST", deployments, { metadata = { name = "d" }, spec = { selector = { matchLabels = { a = "d" } },
    template = { metadata = { labels = { a = "d" } }, spec = { containers = containers } } } })), 201)
  only(call, "few", { apiGroups = { "apps" }, apiVersions = { "v1" }, operations = { "UPDATE" },
    resources = { "deployments/scale" } }, "request.kind.group + request.kind.kind == "
    .. "'autoscalingScale' && object.kind == 'Scale' && object.spec.replicas < 4")
  for replicas, code in pairs { [3] = 200, [4] = 422 } do
    test.equal((call("PATCH", deployments .. "/d/scale", { spec = { replicas = replicas } }, { type = MERGE })), code)
  end
end)

-- --- the audit log ----------------------------------------------------------------------------------

test("the audit log has who did what to which object, and how it ended; nothing of the lab's own", function()
  local cluster, call = lab()
  local events = {}
  cluster.audit = function(event) events[#events + 1] = event end
  call("POST", MAPS, map("one"))
  call("PATCH", MAPS .. "/one", { data = { k = "secret" } }, { type = MERGE })
  call("GET", MAPS, nil, { query = "watch=1" })
  call("GET", MAPS .. "/gone")
  call("GET", MAPS, nil, { token = "wrong" })
  call("GET", "/version")
  cluster:call("GET", MAPS)
  local seen = {}
  for i, event in ipairs(events) do
    local about = event.objectRef or {}
    seen[i] = ("%s %s %s %s %d"):format(event.verb, about.resource or event.requestURI, about.name or "-",
      event.user.username or "nobody", event.responseStatus.code)
  end
  test.same(seen, { "create configmaps - kubernetes-admin 201", "patch configmaps one kubernetes-admin 200",
    "watch configmaps - kubernetes-admin 200", "get configmaps gone kubernetes-admin 404",
    "list configmaps - nobody 401", "get /version - kubernetes-admin 200" })
  test.same({ events[1].level, events[1].stage, events[3].stage, events[1].userAgent },
    { "Metadata", "ResponseComplete", "ResponseStarted", "test/1" })
  assert(not json.encode(events):find("secret", 1, true), "bodies are not in it")
end)

-- --- faults ---------------------------------------------------------------------------------------

test("a fault is met as often as was asked for, and only where", function()
  local cluster, call = lab()
  local faults = require "lab.faults"
  faults.command(cluster, { kind = "error", status = 429, retry_after = 7, count = 1, match = "configmaps" })
  test.equal((call("GET", "/api/v1/namespaces")), 200)
  local code, problem, response = call("GET", MAPS)
  test.same({ code, problem.reason, response.headers["Retry-After"] }, { 429, "TooManyRequests", "7" })
  test.equal((call("GET", MAPS)), 200)
end)

test("a watch under a fault ends in the middle of an event, or says nothing more", function()
  local cluster, call = lab()
  local faults = require "lab.faults"
  local _, list = call("GET", MAPS)
  call("POST", MAPS, map("a"))
  local query = "watch=1&timeoutSeconds=1&resourceVersion=" .. list.metadata.resourceVersion
  faults.command(cluster, { kind = "watch-half", count = 1 })
  local text = {}
  local _, _, response = call("GET", MAPS, nil, { query = query })
  pcall(response.stream, { write = function(_, part) text[#text + 1] = part end })
  test.equal((pcall(json.decode, table.concat(text))), false)
  faults.command(cluster, { kind = "watch-silent", count = 1 })
  text = {}
  _, _, response = call("GET", MAPS, nil, { query = query })
  local reader = task.spawn(response.stream, { write = function(_, part) text[#text + 1] = part end })
  test.advance(2)
  reader:wait()
  test.same(text, {})
end)

test("a typed client's body in Protocol Buffers is read", function()
  local cluster = lab()
  -- k8s, 0, Unknown{ TypeMeta{v1, Namespace}, raw = Namespace{ metadata{ name = "x", labels = {a = b} } } }
  local meta = "\10\1x" .. "\90\6" .. "\10\1a\18\1b"
  local raw = "\10" .. string.char(#meta) .. meta
  local kind = "\10\2v1\18\9Namespace"
  local body = "k8s\0\10" .. string.char(#kind) .. kind .. "\18" .. string.char(#raw) .. raw
  local response = cluster:handle { method = "POST", path = "/api/v1/namespaces", body = body, headers = {
    ["content-type"] = "application/vnd.kubernetes.protobuf",
    authorization = "Bearer " .. cluster.auth.admin_token } }
  local made = json.decode(response.body)
  test.same({ response.status, made.metadata.name, made.metadata.labels.a }, { 201, "x", "b" })
end)

test("what is zero is left out where Go leaves it out, and kept behind pointers", function()
  local _, call = lab()
  local code, made = call("POST", "/api/v1/namespaces/default/pods", { metadata = { name = "z", generateName = "" },
    spec = { hostNetwork = false, hostname = "", automountServiceAccountToken = false,
      terminationGracePeriodSeconds = 0, containers = { { name = "c", image = "x", stdin = false, workingDir = "",
        securityContext = { runAsUser = 0, privileged = false }, ports = { { containerPort = 80,
          hostPort = 0 } } } } } })
  test.equal(code, 201)
  local c = made.spec.containers[1]
  test.same({ made.spec.hostNetwork, made.spec.hostname, c.stdin, c.workingDir, c.ports[1].hostPort,
    made.metadata.generateName }, {})
  test.same({ made.spec.automountServiceAccountToken, made.spec.terminationGracePeriodSeconds,
    c.securityContext.runAsUser, c.securityContext.privileged }, { false, 0, 0, false })
end)

test("what a typed client has not set is not there either", function()
  local cluster = lab()
  local function part(number, text) return string.char(number << 3 | 2, #text) .. text end
  local labels = part(1, "a") .. part(2, "b")
  -- a template with a time that was never set, generation 0, and a container without stdin
  local template = part(1, "\56\0" .. part(8, "") .. part(11, labels))
    .. part(2, part(2, part(1, "c") .. part(2, "x") .. "\128\1\0"))
  local raw = part(1, part(1, "d")) .. part(2, "\8\0" .. part(2, part(1, labels)) .. part(3, template))
  local body = "k8s\0" .. part(1, part(1, "apps/v1") .. part(2, "Deployment")) .. part(2, raw)
  local response = cluster:handle { method = "POST", path = "/apis/apps/v1/namespaces/default/deployments", body = body,
    headers = { ["content-type"] = "application/vnd.kubernetes.protobuf",
                authorization = "Bearer " .. cluster.auth.admin_token } }
  local spec = json.decode(response.body).spec
  test.same(spec.template.metadata, { labels = { a = "b" } })
  test.same({ spec.replicas, spec.template.spec.containers[1].stdin }, { 0 })
end)

test("what says who owns the fields of like objects is kept once", function()
  local cluster, call = lab()
  local data, count = {}, 100
  for i = 1, 200 do data[("a-key-that-has-some-length-%03d"):format(i)] = "x" end
  local function make(i) return call("POST", MAPS, { metadata = { name = "m" .. i }, data = data }) end
  make(0)
  collectgarbage()
  local before, sizes = collectgarbage "count", 0
  for i = 1, count do make(i) end
  local _, list = call("GET", MAPS, nil, { query = "limit=" .. count })
  for _, item in ipairs(list.items) do sizes = sizes + #json.encode(item) end
  list = nil -- luacheck: ignore
  collectgarbage()
  collectgarbage()
  local kept = (collectgarbage "count" - before) * 1024
  test.equal(kept < sizes * 0.75, true)
  cluster.closing = true
end)
