-- The client of a KFP server: replayed against what the real one answered, and on its own where the network matters.
local client = require "kfp.client"
local errors = require "errors"
local fs = require "fs"
local json = require "json"
local query = require "kfp.client.query"
local task = require "task"
local test = require "test"

local support = dofile "tests/lua/support/kfp.lua"

local FOLDER = "tests/fixtures/wire-kfp"
local ENDPOINT, connect, answer, unescape = support.ENDPOINT, support.connect, support.answer, support.unescape

local function nothing() return nil end

-- --- replay --------------------------------------------------------------------------------------------------

-- What the client is told to do for an exchange: by method and path. Values: function(k, record, captures…).
local KINDS = {
  pipelines = "pipelines", experiments = "experiments", runs = "runs", recurringruns = "recurring",
}

local function list_options(record)
  local asked = {}
  for key, value in pairs(record.request.query or {}) do asked[key] = value end
  return asked
end

local function call(k, record)
  local method, path = record.request.method, record.request.path
  local body = record.request.body
  local name, rest = path:match "^/apis/v2beta1/(%l+)(.*)$"
  local resource = k[KINDS[name or ""] or ""]
  if not resource then return nil end
  local id, verb = rest:match "^/([^/:]+):(%l+)$"
  if id and method == "POST" and resource[verb] then return resource[verb], resource, unescape(id) end
  local pipeline, version = path:match "/pipelines/([^/]+)/versions/([^/:]+)$"
  if pipeline and method == "GET" then
    return k.versions.get, k.versions, unescape(version), { pipeline_id = unescape(pipeline) }
  elseif pipeline and method == "DELETE" then
    return k.versions.delete, k.versions, unescape(version), { pipeline_id = unescape(pipeline) }
  elseif pipeline and method == "PATCH" then
    return k.versions.update, k.versions, unescape(version), body, { pipeline_id = unescape(pipeline) }
  end
  pipeline = path:match "/pipelines/([^/]+)/versions$"
  if pipeline and method == "GET" then
    local options = list_options(record)
    options.pipeline_id = unescape(pipeline)
    return k.versions.page, k.versions, options, options.page_token
  end
  if rest == "" and method == "GET" then
    local options = list_options(record)
    return resource.page, resource, options, options.page_token
  elseif rest == "" and method == "POST" and type(body) == "table" then return resource.create, resource, body
  elseif rest:find "^/names/" then
    return k.pipelines.by_name, k.pipelines, unescape(rest:sub(8)), record.request.query
  end
  id = rest:match "^/([^/:]+)$"
  if id == "create" or id == "upload" then return nil end
  if id and method == "GET" then return resource.get, resource, unescape(id) end
  if id and method == "DELETE" then return resource.delete, resource, unescape(id), record.request.query end
  if id and method == "PATCH" then return k.pipelines.update, k.pipelines, unescape(id), body end
end

local function parse_query(url)
  local values = {}
  for name, value in (url:match "%?(.*)$" or ""):gmatch "([^&=]+)=([^&]*)" do
    values[unescape(name)] = unescape(value)
  end
  return values
end

local function same_filter(sent, recorded)
  local a, b = json.try.decode(sent or "null"), json.try.decode(recorded or "null")
  return a ~= nil and b ~= nil and json.encode(a, { sort = true }) == json.encode(b, { sort = true })
end

-- The query that was recorded, as far as it was not nonsense on purpose.
local function check_query(record, url)
  if record.name:find "experiment%-query" then return end -- a parameter that KFP itself passes over
  local sent, token = parse_query(url), (record.request.query or {}).page_token
  for name, value in pairs(record.request.query or {}) do
    local carried = token and (name == "filter" or name == "sort_by")
    local own = name == "page_token" or name == "page_size" or name == "sort_by" or name == "namespace"
      or name == "experiment_id"
    if own and not carried and value ~= "" then test.equal(sent[name], tostring(value)) end
    if name == "filter" and not carried and value ~= "" then
      assert(sent.filter == value or same_filter(sent.filter, value), sent.filter)
    end
  end
end

local CODES = { [3] = "InvalidArgument", [5] = "NotFound", [6] = "AlreadyExists", [7] = "PermissionDenied",
  [9] = "FailedPrecondition", [10] = "Aborted", [12] = "Unimplemented", [13] = "Internal", [16] = "Unauthenticated" }

local function check_error(record, err)
  local body = record.response.body
  test.equal(err.status, record.response.status)
  if type(body) ~= "table" then return end
  local first = type(body.details) == "table" and body.details[1] or {}
  local number = body.code or first.code
  if number then test.equal(err.code, CODES[number]) end
  local short = first.message or body.error_message or body.message or body.error
  assert(short == nil or short:find(err.message, 1, true), ("%s is not in %s"):format(err.message, tostring(short)))
  assert(not err.message:find("<stack trace>", 1, true))
end

local function body_text(response)
  if response.body_kind == "json" or type(response.body) == "table" then return json.encode(response.body) end
  return response.body or ""
end

local replayed = {}
for _, file in ipairs(fs.list(FOLDER)) do
  local record = file:find "^%d.*%.json$" and json.decode(fs.read(FOLDER .. "/" .. file)) or {}
  local request, response = record.request, record.response
  local five_fields = record.name and record.name:find "five%-field" -- we refuse it ourselves
  if request and response and response.status and request.path and not five_fields and call(connect(nothing),
    record) then
    replayed[#replayed + 1] = record.name
    test(record.name .. " is asked and understood", function()
      local sent = {}
      local k = connect(function(out)
        sent[#sent + 1] = out
        return answer(response.status, body_text(response), response["content-type"])
      end)
      local results = table.pack(pcall(call(k, record)))
      test.equal(sent[1].method, request.method)
      local path = sent[1].url:sub(#ENDPOINT + 1):match "^[^?]*"
      test.equal(unescape(path), unescape(request.path))
      check_query(record, sent[1].url)
      if type(request.body) == "table" and sent[1].body then test.same(json.decode(sent[1].body), request.body) end
      if response.status < 300 then
        if not results[1] then error(errors.text(results[2]), 0) end
      else
        test.equal(results[1], false)
        check_error(record, results[2])
      end
    end)
  end
end

local MANIFEST = json.decode(fs.read(FOLDER .. "/manifest.json"))

test("exactly the exchanges of the manifest were replayed", function()
  table.sort(replayed)
  test.same(replayed, MANIFEST.client)
end)

test("each recorded exchange is in a class of the manifest", function()
  local class = {}
  for name, list in pairs(MANIFEST) do
    for _, exchange in ipairs(list) do class[exchange] = name end
  end
  for _, file in ipairs(fs.list(FOLDER)) do
    local exchange = file:match "^(%d.+)%.json$"
    if exchange and not class[exchange] then error(exchange .. " is in no class") end
  end
end)

-- --- answers ----------------------------------------------------------------------------------------------------

test("what stands in front of KFP is told apart", function()
  for code, case in pairs {
    Denied = answer(403, "RBAC: access denied", "text/plain"),
    Login = answer(200, "<!DOCTYPE html><html><title>Log in to your account</title></html>", "text/html"),
    Protocol = answer(502, "<html><h1>Bad Gateway</h1></html>", "text/html"),
    NotFound = answer(404, { code = 5, message = "long", details = { { code = 5, message = "Run x not found" } } }),
    PermissionDenied = answer(403, { code = 7, message = "no" }),
    Internal = answer(500, '{"error_message":"no","error_details":"why"}', "text/plain"),
  } do
    test.raises(code, function() connect(function() return case end, { timeout = 1 }).runs:create {} end)
  end
  local redirect = answer(302, "")
  redirect.headers.location = "https://gateway/dex/auth"
  test.raises("Login", function() connect(function() return redirect end).runs:get "x" end)
  -- A proxy to whom JSON says that no browser asks.
  test.raises("Login", function() connect(function() return answer(401, "{}") end).runs:get "x" end)
end)

test("a log that answers 200 with an error is an error", function()
  local k = connect(function(request)
    if request.url:find "/log$" then return answer(200, '{"error_message":"no pod","error_details":"x"}',
      "text/plain") end
    return answer(200, { run_id = "r", run_details = { task_details = { { display_name = "a", pod_name = "p" } } } })
  end)
  local err = test.raises(nil, function() k.runs:logs("r", "a") end)
  test.equal(err.message, "no pod")
end)

test("a stack trace is no message", function()
  local k = connect(function() return answer(500, { code = 13, message = "it broke\n<stack trace>" }) end)
  test.equal(test.raises("Internal", function() k.runs:create {} end).message, "it broke")
end)

-- --- lists ------------------------------------------------------------------------------------------------------

test("a list goes from page to page, and asks for the next one only when it is needed", function()
  local asked = {}
  local k = connect(function(request)
    asked[#asked + 1] = parse_query(request.url)
    local token = asked[#asked].page_token
    if not token then return answer(200, { runs = { { run_id = "1" }, { run_id = "2" } }, next_page_token = "t" }) end
    return answer(200, { runs = { { run_id = "3" } } })
  end, { namespace = "team" })
  local ids = {}
  for run in k.runs:list { filter = { state = "FAILED" }, sort_by = "created_at desc", page_size = 2 } do
    ids[#ids + 1] = run.run_id
    test.equal(#asked, #ids < 3 and 1 or 2)
  end
  test.same(ids, { "1", "2", "3" })
  test.equal(asked[1].namespace, "team")
  test.equal(asked[1].sort_by, "created_at desc")
  test.same({ asked[2].filter, asked[2].sort_by, asked[2].page_token, asked[2].page_size }, { nil, nil, "t", "2" })
end)

test("filters are written as KFP reads them", function()
  local filter = json.decode(query.filter { name = "a", state = { "FAILED", "SUCCEEDED" },
    { "created_at", ">=", "2026-01-01T00:00:00Z" }, { "display_name", "contains", "x" } })
  test.same(filter.predicates, {
    { key = "name", operation = "EQUALS", string_value = "a" },
    { key = "state", operation = "IN", string_values = { values = { "FAILED", "SUCCEEDED" } } },
    { key = "created_at", operation = "GREATER_THAN_EQUALS", timestamp_value = "2026-01-01T00:00:00Z" },
    { key = "display_name", operation = "IS_SUBSTRING", string_value = "x" },
  })
  test.raises("InvalidArgument", function() query.filter { { "a", "like", "b" } } end)
end)

-- --- who one is ----------------------------------------------------------------------------------------------------

local function headers_of(options)
  local seen
  local k = connect(function(request)
    seen = request.headers
    return answer(200, {})
  end, options)
  k.runs:get "x"
  return seen, k
end

test("each way to say who one is has its header", function()
  test.equal(headers_of({ token = "t" }).Authorization, "Bearer t")
  test.equal(headers_of({ cookie = "a=b" }).Cookie, "a=b")
  test.equal(headers_of({ user = "alice" })["kubeflow-userid"], "alice")
  test.equal(headers_of({}).Authorization, nil)
end)

test("an empty identity is never sent", function()
  for _, user in ipairs { "", "  " } do
    test.raises("Auth", function() connect(nothing, { user = user }) end)
  end
end)

test("a token file is read again for each request", function()
  local path = test.tmpdir() .. "/token"
  fs.write(path, "one\n")
  local seen = {}
  local k = connect(function(request)
    seen[#seen + 1] = request.headers.Authorization
    return answer(200, {})
  end, { token_file = path })
  k.runs:get "x"
  fs.write(path, "two")
  k.runs:get "x"
  test.same(seen, { "Bearer one", "Bearer two" })
  fs.write(path, "")
  test.raises("Auth", function() k.runs:get "x" end)
end)

-- Dex behind oauth2-proxy, as far as a browser sees it.
local function dex(state)
  return function(request)
    local path = request.url:gsub("^https?://[^/]+", "")
    local cookies = (request.headers or {}).Cookie or ""
    local function to(location, cookie)
      return { status = 302, headers = { location = location, ["set-cookie"] = cookie }, body = "" }
    end
    if path:find "^/apis" then
      if cookies:find("oauth2_proxy_kubeflow=good", 1, true) then return answer(200, { run_id = "x" }) end
      return to "/oauth2/start"
    elseif path == "/" then return to("/oauth2/start?rd=%2F", "csrf=c; Path=/")
    elseif path:find "^/oauth2/start" then return to "http://kfp.test/dex/auth?client_id=x&state=s"
    elseif path:find "^/dex/auth%?" then
      return answer(200, '<a href="/dex/auth/local?req=r&amp;x=1">Email</a><a href="/dex/auth/ldaps?req=r">Other</a>'
        .. '<a href="/dex/auth/ldap?req=r">LDAP</a>', "text/html")
    elseif path:find "^/dex/auth/" and request.method == "GET" then
      local connector = path:match "^/dex/auth/(%l+)"
      return answer(200, ('<form method="post" action="/dex/auth/%s/login?back=&amp;state=s"><input name="login">'
        .. '<input type="password" name="password"></form>'):format(connector), "text/html")
    elseif request.method == "POST" then
      state.connector, state.body = path:match "^/dex/auth/(%l+)", request.body
      if request.body:find("password=right%%20one") then return to "/oauth2/callback?code=c" end
      return answer(200, '<form method="post"><input name="password"></form> Invalid', "text/html")
    end
    return to("/", "oauth2_proxy_kubeflow=good; Path=/; HttpOnly\nold=; Max-Age=0")
  end
end

test("a login at Dex fills its form and keeps all cookies", function()
  for _, connector in ipairs { "local", "ldap" } do
    local state, done = {}, false
    local answers = dex(state)
    local k = connect(function(request)
      local response = answers(request)
      -- After the callback the way leads to the first page: there it ends, as the cookie is there.
      if request.url == ENDPOINT .. "/" and done then return answer(200, "<html>Kubeflow</html>", "text/html") end
      done = done or response.headers["set-cookie"] ~= nil and response.headers["set-cookie"]:find "good" ~= nil
      return response
    end, { dex = { user = "a@b", password = "right one", connector = connector } })
    test.equal(state.connector, connector)
    test.equal(state.body, "login=a%40b&password=right%20one")
    test.equal(k.runs:get("x").run_id, "x")
  end
  test.raises("Auth", function() connect(dex {}, { dex = { user = "a", password = "wrong" } }) end)
end)

test("a proxy's own page with a button is passed, and what stands behind the login is no matter", function()
  local state, through = {}, false
  local answers = dex(state)
  connect(function(request)
    local path = request.url:sub(#ENDPOINT + 1)
    if path == "/" and through then return answer(404, "404 page not found", "text/plain") end
    if path == "/" then
      return answer(403, '<form method="GET" action="/oauth2/start"><input type="hidden" name="rd" value="/a?b&amp;c">'
        .. "<button>Sign in</button></form>", "text/html")
    end
    if path:find "^/oauth2/start" then state.start = path end
    if path:find "^/oauth2/callback" then through = true end
    return answers(request)
  end, { dex = { user = "a@b", password = "right one" } })
  test.equal(state.start, "/oauth2/start?rd=%2Fa%3Fb%26c")
  test.equal(through, true)
end)

test("a login that breaks off on its way says where, and with which status", function()
  local answers = dex {}
  local err = test.raises("Auth", function()
    connect(function(request)
      if request.method == "POST" then return answer(500, "Internal Server Error", "text/plain") end
      return answers(request)
    end, { dex = { user = "a@b", password = "right one" } })
  end)
  assert(err.message:find("/dex/auth/local/login with status 500", 1, true), err.message)
end)

test("a session that is over is begun anew, once", function()
  local logins, asked, good = 0, 0, false
  local k = connect(function(request)
    local path = request.url:sub(#ENDPOINT + 1)
    if path:find "^/apis" then
      asked = asked + 1
      return good and answer(200, { run_id = "x" }) or answer(401, "{}")
    elseif request.method == "POST" then
      logins, good = logins + 1, logins == 1
      return answer(200, "<html>Kubeflow</html>", "text/html")
    end
    local fields = '<input name="login"><input name="password">'
    return answer(200, '<form method="post" action="/dex/auth/local">' .. fields .. "</form>", "text/html")
  end, { dex = { user = "a@b", password = "p" } })
  test.equal(k.runs:get("x").run_id, "x")
  test.same({ logins, asked }, { 2, 2 })
  good = false
  test.raises("Login", function() k.runs:get "x" end)
end)

-- --- answers of a wrong form --------------------------------------------------------------------------------------

test("an answer that holds something else where a list or an id is due is told as such", function()
  local body
  local k = connect(function() return answer(200, body) end, { tries = 1 })
  local upload = { pipelineInfo = { name = "x" } }
  for text, ask in pairs {
    ['{"runs":5}'] = function() k.runs:list()() end, ['{"runs":[null]}'] = function() k.runs:list()() end,
    ['{"runs":[],"next_page_token":"a"}'] = function() k.runs:list()() end,
    ['{"run_details":{"task_details":[5]}}'] = function() k.runs:tasks "a" end,
    ['{"tasks":{"a":1}}'] = function() k.runs:tasks "a" end, ['{"pipeline_id":null}'] = function() k:upload(upload) end,
    ['{"pipeline_id":"p","pipeline_versions":[{}]}'] = function() k:upload(upload) end,
  } do
    body = text
    test.raises("Protocol", ask)
  end
  body = '{"runs":{},"next_page_token":5,"total_size":"many"}'
  test.equal(k.runs:list()(), nil)
end)

test("errors whose texts are no texts have a text", function()
  for _, body in ipairs { '{"error":5}', '{"error_message":{"a":1}}', '{"code":"x","message":null,"details":[null]}',
    '{"details":[{"message":5}]}' } do
    local k = connect(function() return answer(400, body) end, { tries = 1 })
    local err = test.raises("InvalidArgument", function() k.runs:get "a" end)
    assert(type(err.message) == "string" and err.message ~= "", body)
  end
end)

-- --- where the server is ------------------------------------------------------------------------------------------

test("the endpoint comes from the argument, the environment, the cluster", function()
  local function at(options, variables)
    options.environment = function(name) return variables[name] end
    options.transport = nothing
    local k = client.connect(options)
    return k.endpoint .. " " .. k.how
  end
  test.equal(at({ endpoint = "kfp.example/pipeline/" }, {}), "https://kfp.example/pipeline argument")
  test.equal(at({}, { KF_PIPELINES_ENDPOINT = "http://x:8888" }), "http://x:8888 environment")
end)

test("in a pod the endpoint is the cluster's service, and namespace and token are the pod's", function()
  local root, account = test.tmpdir(), "/var/run/secrets/kubernetes.io/serviceaccount"
  local variables = { KFHOST_ROOT = root, KUBERNETES_SERVICE_HOST = "10.96.0.1" }
  local seen
  local function at(options)
    options.environment = function(name) return variables[name] end
    options.transport = function(request)
      seen = request
      return answer(200, {})
    end
    options.kubeconfig = options.kubeconfig or root .. "/none"
    return client.connect(options)
  end
  test.raises("Kubeconfig", function() at {} end) -- nobody's account: this is no pod
  fs.mkdir(root .. account, { parents = true })
  fs.write(root .. account .. "/namespace", "team-a\n")
  local k = at {}
  test.same({ k.endpoint, k.how, k.namespace }, { "http://ml-pipeline.kubeflow.svc.cluster.local:8888", "cluster",
    "team-a" })
  k.runs:page()
  test.equal(seen.url, k.endpoint .. "/apis/v2beta1/runs?namespace=team-a")
  test.equal(seen.headers.Authorization, nil)
  test.equal(at({ system_namespace = "pipelines" }).endpoint, "http://ml-pipeline.pipelines.svc.cluster.local:8888")
  test.equal(at({ endpoint = "http://x" }).how, "argument")
  fs.mkdir(root .. "/var/run/secrets/kubeflow/pipelines", { parents = true })
  for _, token in ipairs { "first", "second" } do -- which is read again for each request
    fs.write(root .. "/var/run/secrets/kubeflow/pipelines/token", token .. "\n")
    k = k.options.token_file and k or at {}
    k.runs:page()
    test.equal(seen.headers.Authorization, "Bearer " .. token)
  end
  variables.KF_PIPELINES_SA_TOKEN_PATH = "/elsewhere/token"
  test.equal(at({}).options.token_file, nil)
  variables.KUBERNETES_SERVICE_HOST = nil
  test.raises("Kubeconfig", function() at {} end)
end)

test("without an endpoint the way is through the API server's proxy, with the kubeconfig's identity", function()
  local api, server, states = require "lab.kfp.api", require "server", require "lab.kfp.state"
  local prefix = "/api/v1/namespaces/kubeflow/services/ml-pipeline:http/proxy"
  local state, seen = states.new {}, {}
  local listening <close> = server.listen { handler = function(request)
    seen[#seen + 1] = ("%s %s %s"):format(request.method, request.path, request.headers.authorization or "")
    if request.path:sub(1, #prefix) ~= prefix then return { status = 404, body = "{}" } end
    return api.handle(state, { method = request.method, path = request.path:sub(#prefix + 1), query = request.query,
      headers = request.headers, body = request.body })
  end }
  local path = test.tmpdir() .. "/config"
  fs.write(path, json.encode { apiVersion = "v1", kind = "Config", ["current-context"] = "c",
    contexts = { { name = "c", context = { cluster = "c", user = "u" } } },
    clusters = { { name = "c", cluster = { server = ("http://127.0.0.1:%d"):format(listening.port) } } },
    users = { { name = "u", user = { token = "of-the-kubeconfig" } } } })
  local k = client.connect { kubeconfig = path, environment = nothing }
  test.equal(k.how, "kubeconfig")
  test.equal(k:health().tag_name, "2.17.0")
  test.equal(seen[1], ("GET %s/apis/v2beta1/healthz Bearer of-the-kubeconfig"):format(prefix))
  local made = k.experiments:create { display_name = "über & co" }
  test.equal(k.experiments:get(made.experiment_id).display_name, "über & co")
  test.equal(k.experiments:list { filter = { display_name = "über & co" } }().experiment_id, made.experiment_id)
  test.raises("NotFound", function() k.runs:get "deadbeef-0000-0000-0000-000000000000" end)
  local up = k:upload { pipelineInfo = { name = "hello" }, schemaVersion = "2.1.0",
    components = { ["comp-say"] = { executorLabel = "exec-say" } },
    deploymentSpec = { executors = { ["exec-say"] = { container = { image = "alpine", command = { "true" } } } } },
    root = { dag = { tasks = { say = { taskInfo = { name = "say" }, componentRef = { name = "comp-say" } } } } } }
  test.equal(up.created, true)
end)

test("the SDK's context file gives namespace and cookie", function()
  local home = test.tmpdir()
  fs.mkdir(home .. "/.config/kfp", { parents = true })
  fs.write(home .. "/.config/kfp/context.json", '{"namespace":"team","client_authentication_cookie":"a=b"}')
  local k = connect(nothing, { environment = function(name) return name == "HOME" and home or nil end })
  test.same({ k.namespace, k.options.cookie }, { "team", "a=b" })
end)

-- --- uploads ---------------------------------------------------------------------------------------------

-- A server that keeps pipelines and versions.
local function store()
  local s = { pipelines = {}, versions = {}, uploads = 0 }
  function s.answer(request)
    local path = request.url:sub(#ENDPOINT + 1)
    local name = path:match "/pipelines/names/([^?]+)"
    if name then
      if s.pipelines[name] then return answer(200, s.pipelines[name]) end
      return answer(404, { code = 5, message = "no" })
    elseif request.method == "POST" and path == "/apis/v2beta1/pipelines" then
      local object = json.decode(request.body)
      object.pipeline_id = "p-" .. object.name
      s.pipelines[object.name] = object
      return answer(200, object)
    elseif path:find "/upload_version" then
      local asked = parse_query(request.url)
      if s.versions[asked.name] then return answer(409, '{"error_message":"taken","error_details":"x"}') end
      s.uploads = s.uploads + 1
      s.last = request
      s.versions[asked.name] = { pipeline_version_id = "v" .. s.uploads, name = asked.name }
      return answer(200, s.versions[asked.name])
    end
    local wanted = json.decode(parse_query(request.url).filter).predicates[1].string_value
    if s.hide then return answer(200, {}) end
    return answer(200, { pipeline_versions = { s.versions[wanted] } })
  end
  return s
end

local IR = "pipelineInfo:\n  name: hello\nschemaVersion: 2.1.0\nroot: {}\n"

test("the same pipeline is uploaded once", function()
  local s = store()
  local k = connect(s.answer)
  local first, second = k:upload(IR), k:upload(IR)
  test.same({ first.created, second.created, s.uploads }, { true, false, 1 })
  test.same({ second.pipeline_id, second.version_id }, { "p-hello", "v1" })
  test.equal(k:upload(IR .. "sdkVersion: x\n").version_id, "v2")
  test.equal(k:upload(IR, { name = "other" }).pipeline_id, "p-other")
  assert(s.last == nil or s.last.body:find('name="uploadfile"; filename="pipeline.yaml"', 1, true))
end)

test("somebody who was faster is no error", function()
  local s = store()
  local k = connect(s.answer)
  k:upload(IR)
  s.hide = true
  local calls = 0
  local other = connect(function(request)
    calls = calls + 1
    if calls > 3 then s.hide = false end
    return s.answer(request)
  end)
  local result = other:upload(IR)
  test.same({ result.created, result.version_id }, { false, "v1" })
end)

test("the form has the boundary that the content has not", function()
  local form = require "kfp.client.upload".form
  local body, kind = form("a.yaml", "x: 1\n")
  local boundary = kind:match "boundary=(.+)$"
  assert(body:find("--" .. boundary .. "\r\n", 1, true) == 1 and body:find("x: 1\n\r\n--" .. boundary .. "--", 1, true))
end)

-- --- waiting ---------------------------------------------------------------------------------------------

-- A run that goes through states, one at each look; a number is an answer's status, "cut" a lost connection.
local function run_through(states)
  local at = 0
  return connect(function()
    at = math.min(at + 1, #states)
    local state = states[at]
    if state == "cut" then errors.raise { code = "Connection", message = "reset" } end
    if type(state) == "number" then return answer(state, "{}") end
    return answer(200, { run_id = "r", state = state })
  end)
end

local function wait_for(states, options)
  local k = run_through(states)
  local waiting = task.spawn(function() return k.runs:wait("r", options) end)
  for _ = 1, 200 do
    if waiting:status() ~= "running" then break end
    test.advance(1)
  end
  return waiting:wait(1)
end

test("a wait ends on every terminal state", function()
  for _, last in ipairs { "SUCCEEDED", "FAILED", "SKIPPED", "CANCELED" } do
    local seen = {}
    local run = wait_for({ "PENDING", "RUNNING", "CANCELING", last },
      { on_state = function(s) seen[#seen + 1] = s end })
    test.equal(run.state, last)
    test.same(seen, { "PENDING", "RUNNING", "CANCELING", last })
  end
end)

test("a wait outlives a server that is away for a while", function()
  test.equal(wait_for({ "RUNNING", 503, "cut", 502, 429, "SUCCEEDED" }).state, "SUCCEEDED")
  test.equal(wait_for({ "RUNNING", 502, 502, 502, 502, 502, 504, 504, 504, 504, "SUCCEEDED" }).state, "SUCCEEDED")
end)

test("a wait does not outlive a run that is gone", function()
  test.raises("NotFound", function() wait_for { "RUNNING", 404 } end)
end)

test("a wait has a deadline", function()
  test.raises("Timeout", function() wait_for({ "RUNNING" }, { timeout = 30 }) end)
end)

test("a request that changes something is sent once", function()
  local sent = 0
  local k = connect(function()
    sent = sent + 1
    return answer(503, "{}")
  end)
  test.raises("Unavailable", function() k.runs:create {} end)
  test.equal(sent, 1)
end)

test("a question is asked again, after the time that the server names", function()
  local sent = 0
  local k = connect(function()
    sent = sent + 1
    local response = answer(sent < 3 and 503 or 200, "{}")
    response.headers["retry-after"] = "2"
    return response
  end)
  local asking = task.spawn(function() return k.runs:get "r" end)
  test.advance(1)
  test.equal(sent, 1)
  test.advance(1.5)
  test.equal(sent, 2)
  test.advance(2)
  asking:wait(1)
  test.equal(sent, 3)
end)

-- --- what a run leaves -----------------------------------------------------------------------------------------------

local RUN = { run_id = "r", run_details = { task_details = {
  { display_name = "train", task_id = "1", state = "SUCCEEDED", child_tasks = { { pod_name = "node-1" } },
    outputs = { model = { artifact_ids = { "7" } } } },
  { display_name = "show", task_id = "2", state = "SUCCEEDED" },
} } }

local function of_run(run)
  return connect(function(request)
    if request.url:find "/nodes/node%-1/log$" then
      return answer(200, 'epoch 1\nKFHOST-METRIC {"name":"acc","value":0.9,"step":1}\n', "text/plain")
    elseif request.url:find "/artifacts/model:read$" then return answer(200, { data = "aGk=" }) end
    return answer(200, run)
  end)
end

test("tasks, logs, metrics and artifacts of a run", function()
  local k = of_run(RUN)
  test.equal(k.runs:tasks("r")[1].node, "node-1")
  assert(k.runs:logs("r", "train"):find "^epoch 1")
  test.same(k.runs:metrics "r", { { task = "train", name = "acc", value = 0.9, step = 1 } })
  test.same(k.runs:artifacts "r", { { task = "train", direction = "outputs", name = "model", ids = { "7" } } })
  test.equal(k.runs:artifact("r", "node-1", "model"), "hi")
  test.raises("NotFound", function() k.runs:logs("r", "show") end)
  test.raises("NotFound", function() k.runs:logs("r", "nobody") end)
end)

test("a run as a later server writes it is read, too", function()
  local k = of_run { run_id = "r", tasks = { { name = "train", task_id = "1", state = "SUCCEEDED",
    pod_name = "node-1" } } }
  test.equal(k.runs:tasks("r")[1].name, "train")
  assert(k.runs:logs("r", "train"):find "^epoch 1")
end)

test("a log is followed to the end of its task", function()
  local texts, at = { "a", "ab", "abc", "abc" }, 0
  local k = connect(function(request)
    if request.url:find "/log$" then
      at = math.min(at + 1, #texts)
      return answer(200, texts[at], "text/plain")
    end
    local state = at >= 3 and "SUCCEEDED" or "RUNNING"
    return answer(200, { run_details = { task_details = { { display_name = "t", pod_name = "p", state = state } } } })
  end)
  local pieces = {}
  local following = task.spawn(function()
    for piece in k.runs:logs("r", "t", { follow = true }) do pieces[#pieces + 1] = piece end
  end)
  for _ = 1, 10 do test.advance(1) end
  following:wait(1)
  test.same(pieces, { "a", "b", "c" })
end)

test("a cron of five fields is refused with the one that was meant", function()
  local k = connect(nothing)
  local err = test.raises("InvalidArgument", function()
    k.recurring:create { trigger = { cron_schedule = { cron = "0 3 * * *" } } }
  end)
  assert(err.message:find('"0 0 3 * * *"', 1, true), err.message)
end)

-- --- diagnosis ---------------------------------------------------------------------------------------------

local function diagnose(transport, options)
  local lines = {}
  for i, finding in ipairs(connect(transport, options):diagnose()) do
    lines[i] = ("%s %s"):format(finding.ok and "ok" or "NO", finding.check)
    if not finding.ok then assert(finding.fix, finding.check .. " has no fix: " .. finding.message) end
  end
  return table.concat(lines, ", ")
end

local function base64url(object)
  return (require "hash".base64(json.encode(object)):gsub("+", "-"):gsub("/", "_"):gsub("=", ""))
end

local function token(claims) return "h." .. base64url(claims) .. ".s" end

test("the way is walked to the first thing that is wrong", function()
  local function multi(request)
    if request.url:find "healthz" then return answer(200, { multi_user = true, tag_name = "2.17.0" }) end
    return answer(200, {})
  end
  local function alone(request)
    return request.url:find "healthz" and answer(200, { tag_name = "2.17.0" }) or answer(200, {})
  end
  local function denied() return answer(403, "RBAC: access denied", "text/plain") end
  local function refused(request)
    if request.url:find "healthz" then return answer(200, { multi_user = true }) end
    return answer(403, { code = 7, message = "no rights" })
  end
  local good = token { sub = "s", aud = { "pipelines.kubeflow.org" }, exp = 2000 }
  local function now() return 1000 end
  test.equal(diagnose(alone), "ok endpoint, ok identity, ok policy, ok server, ok list runs")
  local function kube(allowed)
    return { request = function(_, _, _, options)
      test.equal(options.body.spec.resourceAttributes.resource, "runs")
      return { status = 201, body = json.encode { status = { allowed = allowed } } }
    end }
  end
  test.equal(diagnose(multi, { token = good, now = now, namespace = "team", kube = kube(true) }),
    "ok endpoint, ok token, ok audience, ok policy, ok server, ok namespace, ok list runs, ok create runs")
  test.equal(diagnose(multi, { token = good, now = now, namespace = "team", kube = kube(false) }),
    "ok endpoint, ok token, ok audience, ok policy, ok server, ok namespace, ok list runs, NO create runs")
  test.equal(diagnose(multi, { token = token { exp = 999 }, now = now, namespace = "team" }),
    "ok endpoint, NO token, ok audience, ok policy, ok server, ok namespace, ok list runs")
  test.equal(diagnose(multi, { token = token { aud = "api", exp = 2000 }, now = now }),
    "ok endpoint, ok token, NO audience, ok policy, ok server, NO namespace")
  test.equal(diagnose(denied), "ok endpoint, ok identity, NO policy")
  test.equal(diagnose(refused, { user = "bob", namespace = "team" }),
    "ok endpoint, ok identity, ok policy, ok server, ok namespace, NO list runs")
  test.equal(diagnose(alone, { token_file = "/nowhere/token" }), "ok endpoint, NO token, NO server")
end)

-- The first thing that is wrong, and what is said to help.
local function first_wrong(transport, options)
  for _, finding in ipairs(connect(transport, options):diagnose()) do
    if not finding.ok then return finding.check, finding.fix end
  end
end

local function check_wrong(wanted, words, response, options)
  local check, fix = first_wrong(type(response) == "function" and response or function() return response end, options)
  test.equal(check, wanted)
  assert(fix:find(words, 1, true), fix)
end

test("what stands in front of KFP has a fix of its own", function()
  local denied = answer(403, "RBAC: access denied", "text/plain")
  check_wrong("policy", "instead of the header", denied, { user = "alice" })
  check_wrong("policy", "for the audience pipelines.kubeflow.org", denied)
  local redirect = answer(302, "")
  redirect.headers.location = "/oauth2/start?rd=%2Fapis"
  check_wrong("login", "dex = {user, password}", redirect)
  check_wrong("login", "dex = {user, password}", answer(401, "{}"))
  check_wrong("login", "dex = {user, password}",
    answer(200, "<!DOCTYPE html><html><title>Log in to your account</title></html>", "text/html"))
  check_wrong("server", "ends in /pipeline", answer(200, "<html>Kubeflow Central Dashboard</html>", "text/html"))
  check_wrong("server", "ends in /pipeline", answer(404, "404 page not found", "text/plain"))
  check_wrong("server", "ends in /pipeline", answer(404, "<html>nothing</html>", "text/html"))
  check_wrong("server", "use https://", answer(400, "Client sent an HTTP request to an HTTPS server.", "text/plain"))
  check_wrong("server", "its own log", answer(500, { code = 13, message = "broken" }))
end)

test("a server that does not know the caller says whether the token or its absence is the fault", function()
  local function unknown(request)
    if request.url:find "healthz" then return answer(200, { multi_user = true }) end
    return answer(401, { code = 16, message = "no identity", details = { { code = 16, message = "no identity" } } })
  end
  check_wrong("list runs", "send a token", unknown, { namespace = "team" })
  check_wrong("list runs", "does not take the token", unknown, { namespace = "team", token = "opaque" })
end)

test("an empty token file is told before anything is asked", function()
  local path = test.tmpdir() .. "/token"
  fs.write(path, "\n")
  check_wrong("token", "projected volume", answer(200, {}), { token_file = path })
end)

test("ways that lead nowhere are told apart over real connections", function()
  local server, x509 = require "server", require "x509"
  local authority = x509.authority { name = "authority" }
  local issued = x509.issue(authority, { name = "kfp", names = { "localhost" } })
  local function handler() return { headers = { ["content-type"] = "application/json" }, body = "{}" } end
  local secure <close> = server.listen { certificate = issued.certificate, key = issued.key, handler = handler }
  local function wrong(endpoint, words, options)
    local given = { endpoint = endpoint, environment = nothing, tries = 1 }
    for key, value in pairs(options or {}) do given[key] = value end
    local last
    for _, finding in ipairs(client.connect(given):diagnose()) do last = finding end
    if not words then return test.equal(last.ok, true) end
    test.equal(last.check, "server")
    assert(last.fix:find(words, 1, true), last.message .. ": " .. last.fix)
  end
  wrong("https://localhost:" .. secure.port, nil, { ca = authority.certificate })
  wrong("https://localhost:" .. secure.port, "as `ca`")
  wrong("https://127.0.0.1:" .. secure.port, "by a name", { ca = authority.certificate })
  wrong("http://localhost:" .. secure.port, "https://")
  wrong("http://no-such-host.invalid", "knows that name")
  local gone = server.listen { handler = handler }
  gone:close()
  wrong("http://127.0.0.1:" .. gone.port, "nothing listens there")
  local net = require "net"
  local mute <close> = net.listen {}
  local port = select(2, mute:here())
  local babbling = task.spawn(function() -- what a plain server says to the greeting of TLS
    local socket <close> = mute:accept()
    socket:read()
    socket:write "HTTP/1.1 400 Bad Request\r\n\r\n"
    socket:finish()
    pcall(socket.read, socket)
  end)
  wrong(("https://127.0.0.1:%d"):format(port), "use http://")
  babbling:wait()
end)

-- --- over the network -------------------------------------------------------------------------------------

test("the client talks HTTP to a server, and says when nobody is there", function()
  local server = require "server"
  local seen = {}
  local listening <close> = server.listen { handler = function(request)
    seen[#seen + 1] = request.method .. " " .. request.path .. " " .. (request.headers.authorization or "")
    if request.path:find "/runs$" then
      return { status = 200, headers = { ["content-type"] = "application/json" }, body = '{"runs":[{"run_id":"1"}]}' }
    end
    return { status = 404, headers = { ["content-type"] = "application/json" },
      body = '{"code":5,"message":"long","details":[{"code":5,"message":"short"}]}' }
  end }
  local address = "http://127.0.0.1:" .. listening.port
  local k = client.connect { endpoint = address, token = "t", environment = nothing }
  test.equal(k.runs:list {}().run_id, "1")
  test.equal(test.raises("NotFound", function() k.runs:get "a b" end).message, "short")
  test.same(seen, { "GET /apis/v2beta1/runs Bearer t", "GET /apis/v2beta1/runs/a%20b Bearer t" })
  listening:close()
  test.raises("Connection", function() k.runs:create {} end)
end)

-- --- starting once ----------------------------------------------------------------------------------------

-- A server as the real one: the same id twice is refused, yet makes a second workflow. `fate` says for each POST what
-- happens to it: "cut" commits and loses the answer, "lost" never arrives, a number is an answer's status.
local function moody(fates)
  local s = { runs = {}, workflows = {}, posts = 0 }
  function s.transport(request)
    if request.method == "GET" then
      local id = request.url:match "/runs/([^/]+)$"
      local hidden = s.posts < (s.hidden_until or 0)
      if s.runs[id] and not hidden then return answer(200, s.runs[id]) end
      return answer(404, { code = 5, message = "no such run" })
    end
    s.posts = s.posts + 1
    local fate, run = fates[s.posts], json.decode(request.body)
    if fate == "lost" then errors.raise { code = "Connection", message = "refused" } end
    if type(fate) == "number" then return answer(fate, "{}") end
    local name = ("wf-%d"):format(s.posts)
    s.workflows[name] = { metadata = { name = name, creationTimestamp = ("2026-01-01T00:00:%02dZ"):format(s.posts),
      labels = { ["pipeline/runid"] = run.run_id } } }
    if s.runs[run.run_id] then
      return answer(500, { code = 13, message = "Duplicate entry 'x' for key 'PRIMARY'" })
    end
    s.runs[run.run_id] = { run_id = run.run_id, state = "PENDING" }
    if fate == "cut" then errors.raise { code = "Connection", message = "reset" } end
    return answer(200, { run_id = run.run_id, state = "PENDING" })
  end
  s.kube = {
    list = function(_, _, options)
      local list = {}
      for _, workflow in pairs(s.workflows) do
        local wanted = "pipeline/runid=" .. workflow.metadata.labels["pipeline/runid"]
        if options.labels == wanted then list[#list + 1] = workflow end
      end
      return list
    end,
    delete = function(_, _, name) s.workflows[name] = nil end,
  }
  return s
end

local function start(s, id)
  local k = connect(s.transport)
  local starting = task.spawn(function()
    return k.runs:start({ run_id = id, display_name = "x" }, { kube = s.kube, namespace = "team" })
  end)
  for _ = 1, 100 do
    if starting:status() ~= "running" then break end
    test.advance(1)
  end
  return starting:wait(1)
end

local function count(map)
  local n = 0
  for _ in pairs(map) do n = n + 1 end
  return n
end

test("an answer that is lost 100 times leaves 100 runs and 100 workflows", function()
  local fates = {}
  for i = 1, 100 do fates[i] = "cut" end
  local s = moody(fates)
  for i = 1, 100 do
    local run, how = start(s, "id-" .. i)
    test.same({ run.run_id, how }, { "id-" .. i, "adopted" })
  end
  test.same({ count(s.runs), count(s.workflows), s.posts }, { 100, 100, 100 })
end)

test("a run that never arrived is sent again, one that is there is taken over", function()
  local s = moody { "lost", 503, "ok" }
  local _, how = start(s, "a")
  test.same({ how, s.posts, count(s.workflows) }, { "created", 3, 1 })
  _, how = start(s, "a")
  test.same({ how, s.posts }, { "adopted", 3 })
end)

test("what a second attempt left behind is taken away: the older workflow stays", function()
  local s = moody { "cut", "ok" }
  s.hidden_until = 2 -- the server does not show the run at first
  local _, how = start(s, "a")
  test.same({ how, s.posts, count(s.workflows), s.workflows["wf-1"] ~= nil }, { "adopted", 2, 1, true })
end)

test("while there is a workflow its run is waited for, also where the server knows no users", function()
  local s = moody { "cut" }
  local transport, list, looks = s.transport, s.kube.list, 0
  function s.transport(request)
    if request.method == "GET" and s.posts == 1 then
      looks = looks + 1
      if looks < 30 then return answer(404, { code = 5, message = "no such run" }) end
    end
    return transport(request)
  end
  function s.kube.list(kube, kind, options)
    return options.namespace == "kubeflow" and list(kube, kind, options) or {}
  end
  local _, how = start(s, "a")
  test.same({ how, s.posts, looks }, { "adopted", 1, 30 })
end)

test("a refusal for good is one at once", function()
  local s = moody { 400 }
  test.raises("InvalidArgument", function() start(s, "a") end)
  test.equal(s.posts, 1)
end)

test("an address that is none is refused when it is given", function()
  for _, endpoint in ipairs { "ftp://kfp.example.com", "", "https://", "http:///apis" } do
    test.raises("InvalidArgument", function() client.connect { endpoint = endpoint } end)
  end
  test.equal(client.connect({ endpoint = "kfp.example.com/" }).endpoint, "https://kfp.example.com")
end)
