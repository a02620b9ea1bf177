-- The client and a server that has only v1beta1: asked as the recorded exchanges were, and its answers in the newer
-- API's words.
local api = require "lab.kfp.api"
local errors = require "errors"
local engines = require "lab.kfp.engine"
local fs = require "fs"
local json = require "json"
local states = require "lab.kfp.state"
local test = require "test"

local support = dofile "tests/lua/support/kfp.lua"

local FOLDER = "tests/fixtures/wire-kfp"
local ENDPOINT, connect, answer, unescape = support.ENDPOINT, support.connect, support.answer, support.unescape

local function parse_query(text)
  local values = {}
  for name, value in text:gmatch "([^&=]+)=([^&]*)" do values[unescape(name)] = unescape(value) end
  return values
end

-- --- replay: what the client is told to do, in the newer API's words --------------------------------------------

local function id_of(record) return (record.request.path:match "^/apis/v1beta1/%l[%l_]*/([^/:]+)") end

-- A run, or recurring run, as somebody who knows the newer API alone would ask for it.
local function asked_run(body)
  local spec, references = body.pipeline_spec, {}
  for _, one in ipairs(body.resource_references or {}) do references[one.key.type] = one.key.id end
  local parameters
  for _, one in ipairs(spec.parameters or {}) do
    parameters = parameters or {}
    parameters[one.name] = one.value
  end
  local inline = spec.pipeline_manifest and require "yaml".decode(spec.pipeline_manifest)
  return { display_name = body.name, experiment_id = references.EXPERIMENT, pipeline_spec = inline,
    pipeline_version_reference = not inline and { pipeline_id = spec.pipeline_id } or nil,
    runtime_config = spec.runtime_config or parameters and { parameters = parameters } or nil,
    trigger = body.trigger, max_concurrency = body.max_concurrency, mode = body.enabled and "ENABLE" or nil }
end

local function list_of(name)
  return function(k, record)
    local query = record.request.query or {}
    local filter = query.filter and query.filter:gsub('"op"', '"operation"')
    local options = { filter = filter, sort_by = query.sort_by, page_size = query.page_size }
    local kind, id = query["resource_reference_key.type"], query["resource_reference_key.id"]
    if kind == "EXPERIMENT" then options.experiment_id = id elseif kind == "NAMESPACE" then options.namespace = id end
    return (k[name]:page(options))
  end
end

local function by_id(name, method)
  return function(k, record) return k[name][method](k[name], id_of(record)) end
end

local function create(name)
  return function(k, record) return k[name]:create(asked_run(record.request.body)) end
end

local function create_from_url(k, record)
  local body = record.request.body
  return k.pipelines:create({ name = body.name }, { package_url = body.url })
end

local CALLS = {
  ["447-v1experiment-create"] = function(k)
    return k.experiments:create { display_name = "v1-exp", description = "d" }
  end,
  ["448-v1experiment-create-duplicate"] = function(k) return k.experiments:create { display_name = "v1-exp" } end,
  ["450-v1experiment-get"] = by_id("experiments", "get"),
  ["452-v1experiment-list"] = list_of "experiments",
  ["455-v1experiment-list-reference-single-user"] = list_of "experiments",
  ["456-v1experiment-archive"] = by_id("experiments", "archive"),
  ["457-v1experiment-get-archived"] = by_id("experiments", "get"),
  ["458-v1experiment-unarchive"] = by_id("experiments", "unarchive"),
  ["465-v1pipeline-get"] = by_id("pipelines", "get"),
  ["466-v1pipeline-get-unknown"] = by_id("pipelines", "get"),
  ["469-v1pipeline-version-get"] = by_id("versions", "get"),
  ["470-v1pipeline-version-list"] = function(k, record)
    return (k.versions:page { pipeline_id = record.request.query["resource_key.id"], page_size = 5 })
  end,
  ["473-v1pipeline-by-name"] = function(k) return k.pipelines:by_name "v1-argo" end,
  ["474-v1pipeline-create-url"] = create_from_url,
  ["601-url-v1-create"] = create_from_url,
  ["476-v1run-create-pipeline-id"] = create "runs",
  ["480-v1run-create-ir-runtime-config"] = create "runs",
  ["481-v1run-create-unknown-param"] = create "runs",
  ["482-v1run-create-no-name"] = create "runs",
  ["484-v1run-create-no-experiment"] = create "runs",
  ["485-v1run-create-unknown-pipeline"] = create "runs",
  ["487-v1run-get"] = by_id("runs", "get"),
  ["488-v1run-get-unknown"] = by_id("runs", "get"),
  ["489-v1run-list"] = list_of "runs",
  ["490-v1run-list-filter"] = list_of "runs",
  ["493-v1run-get-succeeded"] = by_id("runs", "get"),
  ["496-v1run-get-with-metrics"] = by_id("runs", "get"),
  ["497-v1run-list-sort-metric"] = list_of "runs",
  ["498-v1run-archive"] = by_id("runs", "archive"),
  ["499-v1run-unarchive"] = by_id("runs", "unarchive"),
  ["500-v1run-terminate"] = by_id("runs", "terminate"),
  ["501-v1run-retry"] = by_id("runs", "retry"),
  ["503-v1run-delete"] = by_id("runs", "delete"),
  ["504-v1run-get-deleted"] = by_id("runs", "get"),
  ["505-v1job-create"] = create "recurring",
  ["506-v1job-get"] = by_id("recurring", "get"),
  ["507-v1job-list"] = list_of "recurring",
  ["509-v1job-enable"] = by_id("recurring", "enable"),
  ["510-v1job-bad-cron"] = create "recurring",
  ["512-v1experiment-delete"] = by_id("experiments", "delete"),
  ["513-v1pipeline-delete-version"] = by_id("versions", "delete"),
  ["514-v1pipeline-delete"] = by_id("pipelines", "delete"),
  ["524-mu-no-header-v1-runs"] = list_of "runs",
}

local function read(name)
  return json.decode(fs.read(("%s/%s.json"):format(FOLDER, name)))
end

-- What the newer API calls the fields of an older object.
local NAMES = { pipelines = "pipeline_id", versions = "pipeline_version_id", experiments = "experiment_id",
  runs = "run_id", jobs = "recurring_run_id", run = "run_id" }

local function check_object(given, got)
  local id
  for _, field in pairs(NAMES) do id = id or got[field] == given.id and field or nil end
  assert(id, "the object has lost its id")
  test.equal(got.display_name, given.name)
  test.equal(got.created_at, given.created_at)
  test.equal(got.description, given.description)
end

local function check_answer(body, got)
  if body.run then check_object(body.run, got)
  elseif body.id then check_object(body, got)
  else
    for _, key in ipairs { "experiments", "pipelines", "versions", "runs", "jobs" } do
      for i, item in ipairs(body[key] or {}) do check_object(item, got[i]) end
      if body[key] then test.equal(#got, #body[key]) end
    end
  end
end

-- A server with a template for whom asks whether the pipeline is a workflow, and else the recorded answer.
local function recorded(record, sent)
  return function(request)
    if request.url:find "/templates$" then return answer(200, { template = "apiVersion: argoproj.io/v1alpha1" }) end
    sent[#sent + 1] = request
    return answer(record.response.status, record.response.body)
  end
end

-- An IR inside is the same pipeline, however it is laid out.
local function manifests_read(body)
  local spec = type(body) == "table" and body.pipeline_spec
  if spec and spec.pipeline_manifest then spec.pipeline_manifest = require "yaml".decode(spec.pipeline_manifest) end
  return body
end

for name, call in pairs(CALLS) do
  test(name .. " is asked and understood", function()
    local record, sent = read(name), {}
    local request, response = record.request, record.response
    local k = connect(recorded(record, sent), { api = "v1beta1" })
    local ok, result = pcall(call, k, record)
    test.equal(#sent, 1)
    local path, query = sent[1].url:sub(#ENDPOINT + 1):match "^([^?]*)%??(.*)$"
    test.equal(sent[1].method, request.method)
    test.equal(unescape(path), request.path)
    local wanted = {}
    for key, value in pairs(request.query or {}) do wanted[key] = tostring(value) end
    local asked = parse_query(query)
    if wanted.filter then
      test.same(json.decode(asked.filter), json.decode(wanted.filter))
      asked.filter, wanted.filter = nil, nil
    end
    test.same(asked, wanted)
    if type(request.body) == "table" and not name:find "duplicate" then
      test.same(manifests_read(json.decode(sent[1].body)), manifests_read(request.body))
    end
    if response.status >= 300 then
      test.equal(ok, false)
      test.equal(result.status, response.status)
      test.equal(result.message, response.body.details[1].message)
      return
    end
    if not ok then error(errors.text(result), 0) end
    if request.method ~= "DELETE" then check_answer(response.body, result) end
  end)
end

test("exactly the exchanges of the manifest were asked of an older server", function()
  local names = {}
  for name in pairs(CALLS) do names[#names + 1] = name end
  table.sort(names)
  test.same(names, json.decode(fs.read(FOLDER .. "/manifest.json")).older)
end)

-- --- what the answers become --------------------------------------------------------------------------------------

local function get(name, method, kind)
  local record = read(name)
  local k = connect(recorded(record, {}), { api = "v1beta1" })
  return k[kind or "runs"][method or "get"](k[kind or "runs"], id_of(record)), k, record
end

test("a run of an older server has state, source and parameters", function()
  local run = get "493-v1run-get-succeeded"
  test.equal(run.state, "SUCCEEDED")
  test.equal(run.experiment_id, "752e41d6-06c8-430f-a0c1-a097efcf7090")
  test.same(run.runtime_config, { parameters = { msg = "hello" } })
  test.same(run.pipeline_version_reference, { pipeline_id = "f69c3a2c-c263-4e92-b6f4-040f0b10daa3",
    pipeline_version_id = "db0e9fca-a5e5-436b-9e4c-8986e6f53439" })
end)

test("a job of an older server is a recurring run", function()
  local one, _, record = get("506-v1job-get", "get", "recurring")
  test.equal(one.updated_at, record.response.body.updated_at)
  test.same({ one.status, one.mode, one.max_concurrency, one.trigger.cron_schedule.cron },
    { "ENABLED", "ENABLE", "1", "0 0 * * * *" })
end)

test("the pods of an older run's workflow are its tasks, with logs; its metrics are those reported", function()
  local workflow = { status = { nodes = {
    w = { id = "w", type = "DAG", phase = "Succeeded", displayName = "w" },
    ["w-1"] = { id = "w-1", type = "Pod", phase = "Error", displayName = "say", startedAt = "2026-01-01T00:00:02Z" },
    ["w-2"] = { id = "w-2", type = "Pod", phase = "Succeeded", displayName = "a", startedAt = "2026-01-01T00:00:01Z" },
    ["w-3"] = { id = "w-3", type = "Pod", phase = "Omitted", displayName = "b", startedAt = "2026-01-01T00:00:03Z" },
  } } }
  local k = connect(function(request)
    if request.url:find "/log$" then return answer(200, "hello\n") end
    return answer(200, { run = { id = "r", name = "n", status = "Failed", error = "it broke",
      resource_references = { { key = { type = "JOB", id = "j" }, relationship = "CREATOR" } },
      metrics = { { name = "accuracy", node_id = "w-1", number_value = 0.9 } } },
      pipeline_runtime = { workflow_manifest = json.encode(workflow) } })
  end, { api = "v1beta1" })
  local tasks = k.runs:tasks "r"
  test.equal(#tasks, 3)
  test.same({ tasks[2].name, tasks[2].state, tasks[2].node }, { "say", "FAILED", "w-1" })
  test.same({ tasks[1].name, tasks[3].name, tasks[3].state }, { "a", "b", "SKIPPED" })
  test.equal(k.runs:get("r").recurring_run_id, "j")
  test.equal(k.runs:logs("r", "say"), "hello\n")
  test.same(k.runs:wait("r").error, { message = "it broke" })
  local metrics, source = k.runs:metrics "r"
  test.same({ metrics[1].task, metrics[1].name, metrics[1].value, source }, { "say", "accuracy", 0.9, "run" })
end)

-- What is sent for a call: the query, and the body.
local function sent_for(call)
  local query, body
  local k = connect(function(request)
    query, body = parse_query(request.url:match "%?(.*)" or ""), request.body and json.decode(request.body)
    return answer(200, {})
  end, { api = "v1beta1" })
  call(k)
  return query, body
end

test("a list of an older server is filtered and sorted in its words", function()
  local query = sent_for(function(k)
    k.runs:page { filter = { display_name = "x", state = { "FAILED", "CANCELING" } }, sort_by = "display_name desc" }
  end)
  test.equal(query.sort_by, "name desc")
  test.same(json.decode(query.filter).predicates, { { key = "name", op = "EQUALS", string_value = "x" },
    { key = "status", op = "IN", string_values = { values = { "Failed", "Terminating" } } } })
  query = sent_for(function(k) k.runs:page { filter = { state = "SUCCEEDED" }, sort_by = "created_at" } end)
  test.equal(query.sort_by, "created_at")
  test.same(json.decode(query.filter).predicates, { { key = "status", op = "EQUALS", string_value = "Succeeded" } })
end)

test("a run for an older server says whose it is, of which version, and what its platform is to do", function()
  local _, body = sent_for(function(k)
    k.runs:create { display_name = "n", experiment_id = "e",
      pipeline_version_reference = { pipeline_id = "p", pipeline_version_id = "v" } }
  end)
  test.same(body.resource_references, { { key = { type = "EXPERIMENT", id = "e" }, relationship = "OWNER" },
    { key = { type = "PIPELINE_VERSION", id = "v" }, relationship = "CREATOR" } })
  local spec, platform = { pipelineInfo = { name = "x" } }, { platforms = { kubernetes = { deploymentSpec = "d" } } }
  _, body = sent_for(function(k)
    k.runs:create { display_name = "n", pipeline_spec = { pipeline_spec = spec, platform_spec = platform } }
  end)
  test.same(require "yaml".decode_all(body.pipeline_spec.pipeline_manifest), { spec, platform })
end)

test("every status of an older run is a state", function()
  for status, state in pairs { Pending = "PENDING", Running = "RUNNING", Succeeded = "SUCCEEDED", Skipped = "SKIPPED",
    Terminating = "CANCELING", Failed = "FAILED", Error = "FAILED", [""] = "PENDING",
    Unknown = "RUNTIME_STATE_UNSPECIFIED" } do
    local k = connect(function() return answer(200, { run = { id = "r", status = status } }) end, { api = "v1beta1" })
    test.equal(k.runs:get("r").state, state)
  end
end)

test("what the older API lacks is refused by name, and nothing is sent", function()
  local k = connect(function() error "something was sent" end, { api = "v1beta1" })
  for _, call in ipairs {
    function() k.pipelines:create { name = "x" } end,
    function() k.pipelines:update("x", { display_name = "y" }) end,
    function() k.versions:update("x", { display_name = "y" }) end,
  } do
    test.raises("Unsupported", call)
  end
end)

-- --- which API a server has --------------------------------------------------------------------------------------

-- The lab's server without its newer API: such paths are unknown, as to a server of KFP 1.
local function old_lab(state, seen)
  return function(request)
    local path, query = request.url:sub(#ENDPOINT + 1):match "^([^?]*)%??(.*)$"
    seen[#seen + 1] = request.method .. " " .. path
    if path:find "^/apis/v2beta1" then return answer(404, { code = 5, message = "Not Found" }) end
    local headers = {}
    for name, value in pairs(request.headers) do headers[name:lower()] = value end
    local response = api.handle(state, { method = request.method, path = unescape(path), query = query,
      headers = headers, body = request.body or "" })
    return { status = response.status, headers = { ["content-type"] = response.headers["Content-Type"] },
      body = response.body }
  end
end

local function pipeline(command)
  return { pipelineInfo = { name = "hello" }, schemaVersion = "2.1.0", sdkVersion = "kfp-2.15.2",
    components = { ["comp-say"] = { executorLabel = "exec-say", inputDefinitions = { parameters = {
      n = { parameterType = "NUMBER_INTEGER" } } } } },
    deploymentSpec = { executors = { ["exec-say"] = { container = { image = "alpine:3", command = { "sh", "-c" },
      args = { command } } } } },
    root = { inputDefinitions = { parameters = { n = { parameterType = "NUMBER_INTEGER" } } },
      dag = { tasks = { say = { taskInfo = { name = "say" }, componentRef = { name = "comp-say" },
        inputs = { parameters = { n = { componentInputParameter = "n" } } } } } } } }
end

test("a server that has only the older API is found out, and a pipeline goes all its way there", function()
  local images = { ["alpine:*"] = { command = {} } }
  local state = states.new { engine = engines.new { root = test.tmpdir(), images = images } }
  local seen = {}
  local k = connect(old_lab(state, seen))
  test.equal(k:health().tag_name, "2.17.0")
  test.equal(k.api, "v1beta1")
  local it = pipeline "exit 0 # argoproj.io/v1alpha1" -- a text that makes no workflow of it
  local up = k:upload(it)
  test.equal(up.created, true)
  local again = k:upload(it)
  test.same({ again.created, again.pipeline_id, again.version_id }, { false, up.pipeline_id, up.version_id })
  local experiment, created = k.experiments:ensure "e"
  test.equal(created, true)
  test.equal(select(2, k.experiments:ensure "e"), false)
  local run = k.runs:create { display_name = "one", experiment_id = experiment.experiment_id,
    pipeline_version_reference = { pipeline_id = up.pipeline_id, pipeline_version_id = up.version_id },
    runtime_config = { parameters = { n = 3 } } }
  local made = state.runs[run.run_id]
  test.same(made.runtime_config.parameters, { n = 3 })
  if made.task then made.task:wait() end
  test.equal(k.runs:wait(run.run_id).state, "SUCCEEDED")
  test.equal((k.runs:list { experiment_id = experiment.experiment_id }()).run_id, run.run_id)
  local asked = 0
  for _, line in ipairs(seen) do
    if line:find "v2beta1" then asked = asked + 1 end
  end
  test.equal(asked, 2) -- the first question, and the one that settled it
end)

test("an older answer whose parts are something else is told as such", function()
  local body
  local k = connect(function() return answer(200, body) end, { tries = 1, api = "v1beta1" })
  for _, text in ipairs { '{"run":5}', '{"run":{"id":"a","resource_references":5}}',
    '{"run":{"id":"a"},"pipeline_runtime":5}',
    [[{"run":{"id":"a"},"pipeline_runtime":{"workflow_manifest":"{\"status\":{\"nodes\":5}}"}}]] } do
    body = text
    test.raises("Protocol", function() k.runs:get "a" end)
  end
  body = '{"experiments":[{"resource_references":[5]}]}'
  test.raises("Protocol", function() k.experiments:list()() end)
  body = '{"experiments":5}'
  test.raises("Protocol", function() k.experiments:list()() end)
end)

test("a path that a newer server does not know makes no older one of it", function()
  local asked = {}
  local k = connect(function(request)
    asked[#asked + 1] = request.url:sub(#ENDPOINT + 1)
    if request.url:find "healthz" then return answer(200, { tag_name = "2.17.0" }) end
    return answer(404, { code = 5, message = "Not Found" })
  end)
  for _ = 1, 2 do test.raises("NotFound", function() k.runs:get "x" end) end
  test.equal(k.api, "v2beta1")
  test.same(asked, { "/apis/v2beta1/runs/x", "/apis/v2beta1/healthz", "/apis/v2beta1/runs/x" })
end)

test("a proxy that knows neither API says so as it is", function()
  local k = connect(function() return { status = 404, headers = { ["content-type"] = "text/html" },
    body = "<html>nothing here</html>" } end)
  test.raises("Protocol", function() k.runs:get "x" end)
  test.equal(k.api, nil)
end)
