-- The lab's KFP API in process: what a client sees of a run's life, and what is refused.
local test = require "test"
local api = require "lab.kfp.api"
local engines = require "lab.kfp.engine"
local json = require "json"
local states = require "lab.kfp.state"

local V2 = "/apis/v2beta1"

local function call(state, method, path, body, headers)
  local plain, query = path:match "^([^?]*)%??(.*)$"
  local response = api.handle(state, { method = method, path = V2 .. plain, query = query, headers = headers or {},
    body = body and json.encode(body) or "" })
  return json.try.decode(response.body), response.status
end

local pipeline = dofile("tests/lua/support/kfp.lua").pipeline

local function new_state(options)
  options = options or {}
  options.engine = engines.new { root = test.tmpdir(), images = { ["alpine:*"] = { command = {} } } }
  return states.new(options)
end

-- The run when it has ended.
local function settle(state, id)
  local running = state.runs[id].task
  if running then pcall(running.wait, running) end
  return call(state, "GET", "/runs/" .. id)
end

test("a run is pending, runs, and succeeds with its tasks", function()
  local state = new_state()
  local run = call(state, "POST", "/runs", { display_name = "one", pipeline_spec = pipeline "true" })
  test.equal(run.state, "PENDING")
  test.equal(run.finished_at, "1970-01-01T00:00:00Z")
  run = settle(state, run.run_id)
  test.equal(run.state, "SUCCEEDED")
  local history = {}
  for i, entry in ipairs(run.state_history) do history[i] = entry.state end
  test.same(history, { "PENDING", "RUNNING", "SUCCEEDED" })
  test.equal(run.run_details.task_details[1].display_name, "say")
end)

test("a step's image means what it means to a pod", function()
  local state = states.new { engine = engines.new { root = test.tmpdir() } }
  local spec = pipeline "true"
  for image, wanted in pairs { ["alpine:3.20"] = "SUCCEEDED", busybox = "SUCCEEDED", ["docker.io/bash:5"] = "SUCCEEDED",
    ["registry.test/own:1"] = "FAILED" } do
    spec.deploymentSpec.executors["exec-say"].container.image = image
    local run = call(state, "POST", "/runs", { display_name = image, pipeline_spec = spec })
    test.equal(settle(state, run.run_id).state, wanted)
  end
end)

test("a step that fails fails its run; a retry runs it again", function()
  local state = new_state()
  local run = call(state, "POST", "/runs", { display_name = "one", pipeline_spec = pipeline "exit 3" })
  test.equal(settle(state, run.run_id).state, "FAILED")
  test.equal(select(2, call(state, "POST", ("/runs/%s:retry"):format(run.run_id), {})), 200)
  test.equal(settle(state, run.run_id).state, "FAILED")
end)

test("a run that is told to end is canceling, then failed", function()
  local state = new_state()
  local run = call(state, "POST", "/runs", { display_name = "one", pipeline_spec = pipeline "exec sleep 600" })
  test.equal(select(2, call(state, "POST", ("/runs/%s:terminate"):format(run.run_id), {})), 200)
  test.equal(call(state, "GET", "/runs/" .. run.run_id).state, "CANCELING")
  test.equal(select(2, call(state, "POST", ("/runs/%s:terminate"):format(run.run_id), {})), 400)
  test.equal(settle(state, run.run_id).state, "FAILED")
end)

test("the same run_id twice is a duplicate entry", function()
  local state = new_state()
  local id = "11111111-2222-4333-8444-555555555555"
  local body = { display_name = "one", run_id = id, pipeline_spec = pipeline "true" }
  test.equal(call(state, "POST", "/runs", body).run_id, id)
  local answer, status = call(state, "POST", "/runs", body)
  test.equal(status, 500)
  test.equal(answer.message:find("Duplicate entry", 1, true) ~= nil, true)
  settle(state, id)
end)

test("reports move a run's state where no engine runs it", function()
  local state = states.new {}
  local run = call(state, "POST", "/runs", { display_name = "one", pipeline_spec = pipeline "true" })
  local function report(phase)
    local text = json.encode { apiVersion = "argoproj.io/v1alpha1", kind = "Workflow", metadata = { name = "w",
      namespace = "kubeflow", uid = "u", labels = { ["pipeline/runid"] = run.run_id } }, status = { phase = phase } }
    return select(2, call(state, "POST", "/workflows", text))
  end
  test.equal(report "Running", 200)
  test.equal(call(state, "GET", "/runs/" .. run.run_id).state, "RUNNING")
  test.equal(report "Succeeded", 200)
  test.equal(call(state, "GET", "/runs/" .. run.run_id).state, "SUCCEEDED")
end)

test("in multi-user mode a user is known by header or token, and may what the review says", function()
  local state = states.new { multi_user = true }
  state.review_token = function(token) return token == "good" and "system:serviceaccount:team-a:default-editor" end
  state.review_access = function(user, _, _, namespace)
    return namespace == "team-a" and (user == "alice" or user == "system:serviceaccount:team-a:default-editor")
  end
  local body = { display_name = "e", namespace = "team-a" }
  local function status(headers) return select(2, call(state, "POST", "/experiments", body, headers)) end
  test.equal(status {}, 401)
  test.equal(status { ["kubeflow-userid"] = "" }, 401)
  test.equal(status { ["kubeflow-userid"] = "bob" }, 403)
  test.equal(status { ["kubeflow-userid"] = "alice" }, 200)
  body.display_name = "f"
  test.equal(status { authorization = "Bearer bad" }, 401)
  test.equal(status { authorization = "Bearer good" }, 200)
  body.display_name = "g"
  test.equal(status { ["kubeflow-userid"] = "bob", authorization = "Bearer good" }, 403)
end)

test("a page's token carries sort and filter, and fits no other", function()
  local state = states.new {}
  for i = 1, 5 do call(state, "POST", "/experiments", { display_name = "many-" .. i }) end
  local filter = '{"predicates":[{"operation":"IS_SUBSTRING","key":"name","string_value":"many"}]}'
  local encoded = filter:gsub("[^%w]", function(c) return ("%%%02X"):format(c:byte()) end)
  local page = call(state, "GET", "/experiments?page_size=3&sort_by=name&filter=" .. encoded)
  test.equal(page.total_size, 5)
  local rest = call(state, "GET", "/experiments?page_token=" .. page.next_page_token:gsub("=", "%%3D"))
  test.equal(rest.experiments[1].display_name, "many-4")
  test.equal(rest.next_page_token, nil)
  test.equal(select(2, call(state, "GET", "/experiments?sort_by=created_at&page_token="
    .. page.next_page_token:gsub("=", "%%3D"))), 400)
end)

test("filters, tokens and bodies of a wrong form are refused, each with its words", function()
  local state = states.new {}
  local function filtered(filter)
    return ("/experiments?filter=%s"):format(filter:gsub("[^%w]", function(c) return ("%%%02X"):format(c:byte()) end))
  end
  for _, filter in ipairs { "5", "[]", '{"predicates":{}}', '{"predicates":[5]}', '{"predicates":[[1]]}',
    '{"predicates":[{"operation":"EQUALS","key":5,"string_value":"x"}]}',
    '{"predicates":[{"operation":"IN","key":"name","string_values":5}]}',
    '{"predicates":[{"operation":"IN","key":"name","string_values":{"values":[[1]]}}]}',
    '{"predicates":[{"operation":"EQUALS","key":"name","string_value":[1]}]}' } do
    local answer, status = call(state, "GET", filtered(filter))
    test.same({ filter, status, answer.code }, { filter, 400, 3 })
  end
  for token, wanted in pairs { ["eyJzb3J0IjoxfQ%3D%3D"] = 200, ["%25"] = 400, ["WzFd"] = 200 } do
    test.equal(select(2, call(state, "GET", "/experiments?page_token=" .. token)), wanted)
  end
  test.equal(select(2, call(state, "GET", "/experiments?sort_by=%20")), 200)
  for _, body in ipairs { { pipeline_spec = { parameters = 1 } }, { resource_references = { 1 } },
    { pipeline_spec = { parameters = { true } } }, { resource_references = "x" } } do
    body.name = "x"
    local response = api.handle(state, { method = "POST", path = "/apis/v1beta1/runs", headers = {},
      body = json.encode(body) })
    test.equal(response.status, 400)
  end
end)

test("names in a path are what they were before they were escaped", function()
  local state = states.new {}
  local names = { ["a b"] = "a%20b", ["\u{fc}ber/x:y"] = "%C3%BCber%2Fx%3Ay", ["50% off"] = "50%25%20off" }
  for name, escaped in pairs(names) do
    local made = call(state, "POST", "/pipelines", { name = name })
    test.equal(call(state, "GET", "/pipelines/names/" .. escaped).pipeline_id, made.pipeline_id)
  end
end)

test("a pipeline is made of what an address holds, also after redirects, from where it may be fetched", function()
  local spec = pipeline "true"
  local files <close> = require "server".listen { handler = function(request)
    if request.path == "/moved.yaml" then return { status = 302, headers = { location = "/p.yaml" }, body = "" } end
    if request.path == "/round.yaml" then return { status = 302, headers = { location = "/round.yaml" }, body = "" } end
    if request.path == "/p.yaml" then return { status = 200, body = require "yaml".encode(spec) } end
    if request.path == "/bad.yaml" then return { status = 200, body = "a: 1\n" } end
    return { status = 404, body = "" }
  end }
  local state = states.new {}
  local function create(file, name)
    return call(state, "POST", "/pipelines/create", { pipeline = { name = name }, pipeline_version = { package_url = {
      pipeline_url = ("http://127.0.0.1:%d/%s"):format(files.port, file) } } })
  end
  local answer, status = create("p.yaml", "refused") -- neither https nor a host that is listed
  test.same({ status, answer.details[1].message }, { 400, "Pipeline URL validation failed" })
  state.url_rules = { checked = false }
  for _, file in ipairs { "p.yaml", "moved.yaml" } do
    local made = create(file, file)
    local listed = call(state, "GET", ("/pipelines/%s/versions"):format(made.pipeline_id))
    test.equal(listed.pipeline_versions[1].pipeline_spec.pipelineInfo.name, "hello")
    assert(listed.pipeline_versions[1].package_url.pipeline_url:find(file, 1, true))
  end
  for file, words in pairs { ["gone.yaml"] = "request returned 404 Not Found", ["round.yaml"] = "too many redirects",
    ["bad.yaml"] = "unknown template format" } do
    answer, status = create(file, "other")
    test.equal(status, 400)
    assert(answer.message:find(words, 1, true), answer.message)
  end
end)

test("the rules of the server say where a pipeline may come from", function()
  local fetched = require "lab.kfp.fetched"
  local rules = { checked = true, http = false, domains = { "github.com", "*.s3.amazonaws.com", "10.0.0.7" } }
  local may = { ["https://github.com/x/y.yaml"] = true, ["https://GitHub.com.:443/y"] = true,
    ["https://b.s3.amazonaws.com/k"] = true, ["http://github.com/x"] = false, ["https://github.com:8443/x"] = false,
    ["https://github.com.evil.test/x"] = false, ["https://user@github.com/x"] = true, ["https://10.0.0.7/x"] = false,
    ["https://github.com@evil.test/x"] = false, ["https://[::1]/x"] = false, ["file:///etc/passwd"] = false,
    ["/x.yaml"] = false }
  for url, wanted in pairs(may) do test.same({ url, fetched.may_fetch(url, rules) }, { url, wanted }) end
  rules.http = true
  test.equal(fetched.may_fetch("http://github.com:80/x", rules), true)
  test.equal(fetched.may_fetch("http://github.com:443/x", rules), false)
end)
