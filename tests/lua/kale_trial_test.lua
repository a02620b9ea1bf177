-- What the pod of a trial does when Pipelines are late, away, ailing or say no: the same for both of its programs.
-- Time is virtual in both; the server is a table that tells by its requests what comes.
local errors = require "errors"
local fs = require "fs"
local json = require "json"
local kfp = require "kfp"
local proc = require "proc"
local server = require "server"
local task = require "task"
local test = require "test"
local trial = require "kale.trial"
local x509 = require "x509"

local SPEC = { trial = "tune-abc", pipeline_id = "p1", pipeline_version_id = "v1", experiment = "tune",
  namespace = "team-a", objective = "loss" }
local RUN = trial.run_id(SPEC)
local DENIED = { status = 403, body = "RBAC: access denied" }
local JSON_DENIED = { status = 403, body = '{"code": 7, "message": "no", "details": []}' }
local LOG = 'KFHOST-METRIC {"name": "loss", "value": 0.5}\n'

local function answer(value, status)
  return { status = status or 200, headers = { ["content-type"] = "application/json" }, body = json.encode(value) }
end

local function said(status, message)
  return answer({ code = status == 404 and 5 or 13, message = message, details = json.array {} }, status)
end

-- --- Pipelines as a table -----------------------------------------------------------------------------------

-- A server; `on` says what comes instead of its answers, by what is asked for: a function of how often, from 1.
local function pipelines(on)
  local s = { asked = {}, runs = {}, log = LOG, state = "SUCCEEDED" }
  local function run_of(id) return { run_id = id, state = s.state, run_details = { task_details = { { display_name =
    "t", task_id = "1", pod_name = "node" } } } } end
  local usual = {
    version = function() return answer { pipeline_id = "p1", pipeline_version_id = "v1" } end,
    experiment = function() return answer { experiments = { { experiment_id = "e1", display_name = "tune" } } } end,
    create = function(request)
      local id = json.decode(request.body).run_id
      s.runs[id] = true
      return answer(run_of(id))
    end,
    run = function()
      return s.runs[RUN] and answer(run_of(RUN)) or answer({ code = 5, message = "Run not found" }, 404)
    end,
    log = function() return { status = 200, headers = {}, body = s.log } end,
    terminate = function() return answer {} end,
  }
  local function kind_of(method, path)
    if path:find "/versions/" then return "version" end
    if path:find "/experiments" then return "experiment" end
    if path:find "/log$" then return "log" end
    if path:find ":terminate" then return "terminate" end
    return method == "POST" and "create" or "run"
  end
  function s.answer(method, path, request)
    local kind = kind_of(method, path)
    s.asked[kind] = (s.asked[kind] or 0) + 1
    local given = on and on[kind] and on[kind](s.asked[kind], s, request)
    if given and given.after then usual[kind](request) end -- it was done, and the answer is lost
    return given or usual[kind](request)
  end
  return s
end

local REFUSED = { away = true }
local LOST = { away = true, after = true }

local function always(what) return function() return what end end
local function first(count, what) return function(n) return n <= count and what or nil end end
local function each(list) return function(n) return list[n] end end

-- --- the two programs ---------------------------------------------------------------------------------------

-- In this process, where time moves when we say so.
local function by_kfhost(s, options)
  local k = kfp.connect { endpoint = "http://pipelines", tries = 1, token = "t", transport = function(request)
    local given = s.answer(request.method, request.url:match "^http://pipelines([^?]*)", request)
    if given.away then errors.raise { code = "Connection", message = "refused" } end
    return { status = given.status, headers = given.headers or {}, body = given.body }
  end }
  local lines, started = {}, task.now()
  local out = { write = function(_, text) lines[#lines + 1] = text end, flush = function() end }
  local spec = trial.read(function(name) return name == "KFHOST_TRIAL" and json.encode(SPEC) or nil end)
  options = options or {}
  local running = task.spawn(trial.run, k, spec, out, { objective_wait = 2, kube = options.kube,
    metadata = options.metadata })
  for _ = 1, 20000 do
    if running:status() ~= "running" then break end
    test.advance(0.25)
  end
  return running:wait(1), table.concat(lines), task.now() - started
end

-- Python's clock goes when it sleeps; how much it went is its last word. A pod's account is in a folder of ours.
local WRAPPER = [[
import atexit, os, sys, time
clock = [1000.0]
PLACE = "/var/run/secrets/kubernetes.io/serviceaccount/"
time.monotonic = lambda: clock[0]
time.sleep = lambda seconds: clock.__setitem__(0, clock[0] + seconds)
atexit.register(lambda: print("seconds", clock[0] - 1000, file=sys.stderr))
program = sys.argv.pop(1)
account = os.environ.get("ACCOUNT")
if account:
    assert program.count(PLACE) == 1
    program = program.replace(PLACE, account)
exec(compile(program, "trial.py", "exec"), {"__name__": "__main__"})
]]

-- A cluster's API server, which asks the client that the other program is given; the environment leads to it.
local function serve_cluster(c, environment)
  local ca, folder = x509.authority { name = "cluster" }, test.tmpdir()
  local leaf = x509.issue(ca, { names = { "127.0.0.1" }, name = "api" })
  local listening = server.listen { certificate = leaf.certificate, key = leaf.key, handler = function(request)
    local kind, name, rest = request.path:match "^/apis?/.*namespaces/team%-a/(%a+)/?([^/]*)(.*)$"
    local is_asked = name ~= "" or request.query == "labelSelector=pipeline/runid=" .. RUN
    local is_known = request.headers.authorization == "Bearer account"
    local is_sought = kind == "trials" and request.method == "GET"
    if not kind or not is_asked or not is_known or is_sought then return said(404, "not here") end
    if rest == "/log" then return { status = 200, body = c:logs { name = name } } end
    if request.method == "PATCH" then return answer(c:patch(kind, name, json.decode(request.body))) end
    if request.method == "DELETE" then return answer { name = c:delete(kind, name) } end
    return answer { items = json.array(c:list(kind)) }
  end }
  fs.write(folder .. "/token", "account\n")
  fs.write(folder .. "/ca.crt", ca.certificate)
  environment.KUBERNETES_SERVICE_HOST, environment.KUBERNETES_SERVICE_PORT = "127.0.0.1", tostring(listening.port)
  environment.ACCOUNT = folder .. "/"
  return listening
end

local function by_python(s, options)
  local listening <close> = server.listen { handler = function(request)
    local given = s.answer(request.method, request.path, request)
    if given.away then request.exchange:reset() end
    return { status = given.status, headers = given.headers, body = given.body }
  end }
  local program = require "bundle".text "kale/runtime/trial.py"
  local environment = { PATH = os.getenv "PATH", KFHOST_TRIAL = json.encode(SPEC), KFHOST_OBJECTIVE_WAIT = "2",
    KF_PIPELINES_ENDPOINT = "http://127.0.0.1:" .. listening.port }
  local _ <close> = options and serve_cluster(options.kube(), environment)
  local done = proc.run { "/usr/bin/python3", "-c", WRAPPER, program, clear_env = true, env = environment }
  return done.code, done.stdout, tonumber(done.stderr:match "seconds ([%d.]+)"), done.stderr
end

-- --- scenes ---------------------------------------------------------------------------------------------------

-- Each with the code that is wanted, how many runs are asked for, and how long it takes at least and at most.
local SCENES = {
  ["all is well"] = { code = 0, posts = 1, most = 3 },
  ["Pipelines are late"] = { code = 0, posts = 1, on = { version = each { { status = 429, body = "" },
    { status = 502, body = "" }, { status = 503, body = "" }, { status = 504, body = "" }, DENIED,
    { status = 401, body = "" } } } },
  ["nobody listens at first"] = { code = 0, posts = 1, on = { version = first(20, REFUSED) } },
  ["the mesh says no for a minute"] = { code = 3, posts = 0, on = { version = always(DENIED) }, least = 60, most = 63 },
  ["so does 401"] = { code = 3, posts = 0, on = { version = always { status = 401, body = "" } }, least = 60,
    most = 63 },
  ["Pipelines themselves say no"] = { code = 3, posts = 0, on = { version = always(JSON_DENIED) }, most = 0 },
  ["there is no such version"] = { code = 3, posts = 0, on = { version = always(said(404, "not found")) }, most = 0 },
  ["the run is refused"] = { code = 3, posts = 1, on = { create = always(said(400, "bad parameter")) }, most = 1 },
  ["ten minutes of failure"] = { code = 5, posts = 0, on = { version = always { status = 503, body = "" } },
    least = 600, most = 603 },
  ["ten minutes without a connection"] = { code = 5, posts = 0, on = { version = always(REFUSED) }, least = 600,
    most = 603 },
  ["a success begins the ten minutes anew"] = { code = 0, posts = 1, least = 700, on = {
    version = first(250, { status = 503, body = "" }), experiment = first(250, { status = 503, body = "" }) } },
  ["the run is there already"] = { code = 0, posts = 0, before = function(s) s.runs[RUN] = true end },
  ["the answer is lost after the run was made"] = { code = 0, posts = 1, on = { create = first(1, LOST) } },
  ["the run is seen late"] = { code = 0, posts = 1, on = { create = first(1, LOST),
    run = function(n) return n > 1 and n < 6 and said(404, "Run not found") or nil end } },
  ["the server is away right after it made the run"] = { code = 0, posts = 1, on = { create = first(1, LOST),
    run = function(n) return n > 1 and n < 4 and REFUSED or n < 8 and said(404, "Run not found") or nil end } },
  ["the request never came"] = { code = 0, posts = 2, least = 10, on = { create = first(1, REFUSED) } },
  ["there is a run of that id"] = { code = 0, posts = 1, on = { create = function(_, s)
    s.runs[RUN] = true
    return said(500, "Error 1062: Duplicate entry 'x' for key 'PRIMARY'")
  end } },
  ["the database ails while the run goes on"] = { code = 0, posts = 1, on = {
    run = function(n) return n > 1 and n < 30 and said(500, "database is away") or nil end } },
  ["the run fails"] = { code = 1, posts = 1, before = function(s) s.state = "FAILED" end },
  ["the objective never comes"] = { code = 4, posts = 1, least = 2, before = function(s) s.log = "" end },
}

local function play(name, scene, program)
  local s = pipelines(scene.on)
  if scene.before then scene.before(s) end
  local code, output, seconds, complaint = program(s)
  local function fail(what, got)
    error(("%s: %s %s\n%s"):format(name, what, tostring(got), complaint or ""), 0)
  end
  if code ~= scene.code then fail("ends with", code) end
  if (s.asked.create or 0) ~= scene.posts then fail("runs asked for:", s.asked.create) end
  if seconds < (scene.least or 0) then fail("seconds:", seconds) end
  if seconds > (scene.most or 3600) + 0.5 then fail("seconds:", seconds) end
  if code == 0 and not output:find "^%d%d%d%d%-%d%d%-%d%dT[%d:.]+Z loss=0.5\n$" then fail("prints", output) end
end

local PROGRAMS = { kfhost = by_kfhost, python = by_python }

for program, run in pairs(PROGRAMS) do
  test("a trial waits, bears, adopts and gives up as it should: " .. program, function()
    for name, scene in pairs(SCENES) do play(name, scene, run) end
  end)

  test("what is no number is not printed, and time never goes back: " .. program, function()
    local s = pipelines()
    local function line(value, time)
      return ('KFHOST-METRIC {"name": "loss", "value": %s, "time": "2026-01-01T10:00:%sZ"}\n'):format(value, time)
    end
    s.log = line("NaN", "00") .. line("Infinity", "00") .. line("-Infinity", "00") .. line("2", "02") .. line("1", "01")
      .. 'KFHOST-METRIC {"name": "loss", "value": "text"}\n'
    local code, output = run(s)
    test.equal(code, 0)
    test.same({ output:gsub("2026%-01%-01T10:00:", "") }, { "02Z loss=2\n02Z loss=1\n", 2 })
  end)
end

-- --- which trial it is ------------------------------------------------------------------------------------------

local UID = "0b6f5a0e-6f7e-4a55-9c8a-2f6f5a0e6f7e"

local function trials_of(answers)
  local asked = 0
  return { get = function(_, kind, name, options)
    test.same({ kind, name, options.namespace }, { "trials.v1beta1.kubeflow.org", "tune-abc", "team-a" })
    asked = asked + 1
    local problem = answers[asked] and answers[asked]()
    if problem then errors.raise(problem) end
    return { metadata = { uid = UID } }
  end }
end

local function identified(kube, memory)
  local spec = json.decode(json.encode(SPEC))
  return trial.run_id(memory and trial.recall(spec, kube, memory) or trial.identify(spec, kube))
end

test("a run is that of a trial's uid, not of its name: Katib makes a deleted trial again under its old name", function()
  local of_uid = trial.run_id { uid = UID }
  test.equal(of_uid ~= RUN, true)
  test.equal(identified(trials_of {}), of_uid)
  test.equal(identified(nil), RUN)
  local function refused() return { code = "Forbidden", status = 403, message = "no" } end
  test.equal(identified(trials_of { refused }), RUN)
  local looking = task.spawn(identified, trials_of { function() return { code = "Connection", message = "not yet" } end,
    function() return { code = "ServiceUnavailable", status = 503, message = "not yet" } end })
  test.advance(2)
  test.equal(looking:wait(1), of_uid)
  test.same(trial.run_ids { metadata = { name = "tune-abc", namespace = "team-a", uid = UID } }, { of_uid, RUN })
end)

test("who ends the run of a trial that is gone knows it by what the pod has kept", function()
  local memory = test.tmpdir() .. "/kept"
  local k = kfp.connect { endpoint = "http://pipelines", tries = 1, token = "t", transport = function()
    errors.raise { code = "Invalid", message = "enough" }
  end }
  trial.run(k, json.decode(json.encode(SPEC)), io.stderr, { memory = memory,
    kube = function() return trials_of {} end })
  test.equal(identified({ get = function() errors.raise { code = "NotFound", status = 404 } end }, memory),
    trial.run_id { uid = UID })
end)

-- Python's program beside a cluster: where it is, and what lies in the pod, is ours.
local BESIDE = [[
import json, os, ssl, sys
program, folder, endpoint = sys.argv[1:]
module = {"__name__": "trial"}
exec(compile(program, "trial.py", "exec"), module)
ssl.create_default_context = lambda **_: None
module["ACCOUNT"], module["time"].sleep = folder + "/", lambda seconds: None
made = module["Cluster"].__init__
def init(self, namespace):
    made(self, namespace)
    self.endpoint = endpoint
module["Cluster"].__init__ = init
for recalled in (False, False, True):
    trial = {"trial": "tune-abc", "namespace": "team-a"}
    module["identify"](trial, recalled)
    print(module["run_id"](trial))
]]

test("Python's program asks for the uid as well, bears a late server, and keeps it", function()
  local folder, asked = test.tmpdir(), 0
  for _, name in ipairs { "token", "ca.crt" } do require "fs".write(folder .. "/" .. name, "x") end
  local answers = { answer({}, 403), answer({}, 503), answer { metadata = { uid = UID } }, answer({}, 404) }
  local listening <close> = server.listen { handler = function(request)
    test.equal(request.path, "/apis/kubeflow.org/v1beta1/namespaces/team-a/trials/tune-abc")
    asked = asked + 1
    return answers[asked]
  end }
  local done = proc.run { "/usr/bin/python3", "-c", BESIDE, require "bundle".text "kale/runtime/trial.py", folder,
    "http://127.0.0.1:" .. listening.port, clear_env = true, env = { PATH = os.getenv "PATH", TMPDIR = folder,
      KUBERNETES_SERVICE_HOST = "127.0.0.1" } }
  local of_uid = trial.run_id { uid = UID }
  test.same({ done.stdout, done.stderr, asked }, { ("%s\n%s\n%s\n"):format(RUN, of_uid, of_uid), "", 3 })
end)

-- --- the cluster around it --------------------------------------------------------------------------------------

-- A client of the cluster that keeps what it is told.
local function cluster(workflows, pods)
  local c = { patched = {}, deleted = {} }
  function c.get() errors.raise { code = "NotFound", status = 404, message = "there is no such trial" } end
  function c.list(_, kind) return kind == "pods" and (pods or {}) or workflows end
  function c.patch(_, kind, name, change)
    c.patched[#c.patched + 1] = kind:match "^%a+" .. " " .. name .. " "
      .. tostring(change.metadata.annotations["kubeflow-kale.org/kfp-run-uuid"])
    return {}
  end
  function c.delete(_, _, name) c.deleted[#c.deleted + 1] = name end
  function c.logs(_, options) return options.name == "pod-b" and LOG or "" end
  return c
end

local function workflow(name, second)
  return { metadata = { name = name, creationTimestamp = ("2026-01-01T00:00:%02dZ"):format(second) } }
end

for program, run in pairs(PROGRAMS) do
  test("trial and workflow say which run is theirs; of two workflows the younger goes: " .. program, function()
    local c = cluster { workflow("wf-2", 2), workflow("wf-1", 1) }
    local s = pipelines { create = function(_, its)
      its.runs[RUN] = true
      return said(500, "Duplicate entry")
    end }
    test.equal(run(s, { kube = function() return c end }), 0)
    test.same(c.deleted, { "wf-2" })
    table.sort(c.patched)
    test.equal(c.patched[1], "trials tune-abc " .. RUN)
    test.equal(c.patched[2], "workflows wf-1 " .. RUN)
  end)

  test("a run whose workflow is there is waited for longer before it is asked for again: " .. program, function()
    local c = cluster { workflow("wf-1", 1) }
    local late = program == "python" and 60 or 30 -- looks, of which the one has four in a second
    local s = pipelines { create = first(1, LOST),
      run = function(n) return n < late and said(404, "Run not found") end }
    local code, _, seconds = run(s, { kube = function() return c end })
    test.same({ code, s.asked.create, seconds > 10 and seconds < 60 }, { 0, 1, true })
  end)

  test("metrics are read from the run's pods where the server has no logs: " .. program, function()
    local c = cluster({}, { { metadata = { name = "pod-a" } }, { metadata = { name = "pod-b",
      annotations = { ["workflows.argoproj.io/node-id"] = "node" } } } })
    local s = pipelines()
    s.log = ""
    local code, output = run(s, { kube = function() return c end })
    test.equal(code, 0)
    assert(output:find "loss=0.5", output)
  end)
end

-- A metadata store of one run.
local function metadata(found)
  local message = require "grpc.proto".message
  local value = message { double = { 2, "double" }, text = { 3, "string" } }
  local artifact = message { type = { 8, "string" }, properties = { 5, map = { "string", value } } }
  local List = message { artifacts = { 1, artifact, repeated = true } }
  local Context = message { context = { 1, message { id = { 1, "int64" } } } }
  local Ask = message { type = { 1, "string" }, name = { 2, "string" } }
  return function(path, bytes)
    if path:find "/GetContextByTypeAndName$" then
      test.same(Ask:decode(bytes), { type = "system.PipelineRun", name = RUN })
      return found and Context:encode { context = { id = 7 } } or ""
    end
    return List:encode { artifacts = { { type = "system.Model", properties = { size = { double = 3 } } },
      { type = "system.Metrics", properties = { display_name = { text = "scores" }, loss = { double = 0.25 } } } } }
  end
end

local function metrics_of(run, options, extra)
  local k = kfp.connect { endpoint = "http://pipelines", tries = 1, token = "t", transport = function(request)
    local path = request.url:match "^http://pipelines([^?]*)"
    return extra and extra[path] or answer(run)
  end }
  return k.runs:metrics(RUN, options)
end

test("metrics come from the metadata store, where no step printed any; the source is said", function()
  local list, source = metrics_of({ run_id = RUN }, { metadata = metadata(true) })
  test.same({ list, source }, { { { task = "scores", name = "loss", value = 0.25 } }, "metadata" })
  test.same(metrics_of({ run_id = RUN }, { metadata = metadata(false) }), {})
end)

test("a trial prints what the metadata store has where no step printed any", function()
  local s = pipelines()
  s.log = ""
  local code, output = by_kfhost(s, { metadata = metadata(true) })
  test.equal(code, 0)
  assert(output:find " loss=0.25\n", output)
end)

test("metrics of KFP 3.0 are artifacts", function()
  local list, source = metrics_of({ run_id = RUN, tasks = json.array {} }, nil, {
    ["/apis/v2beta1/artifact_tasks"] = answer { artifact_tasks = { { artifact_id = "a1", task_id = "t1" },
      { artifact_id = "a2", task_id = "t1" } } },
    ["/apis/v2beta1/artifacts/a1"] = answer { type = "Metric", name = "loss", number_value = 0.125 },
    ["/apis/v2beta1/artifacts/a2"] = answer { type = "Model", name = "model" } })
  test.same({ list, source }, { { { task = "t1", name = "loss", value = 0.125 } }, "artifacts" })
end)

-- --- what the pod was given -------------------------------------------------------------------------------------

local READ = [[
import json, sys
program, cases = sys.argv[1], json.loads(sys.argv[2])
names = {"__name__": "trial"}
exec(compile(program, "trial.py", "exec"), names)
said = []
for case in cases:
    try: said.append(names["read_trial"](case)["values"])
    except SystemExit as end: said.append(end.code)
print(json.dumps(said))
]]

local function environment(more, text)
  local object = { trial = "t", pipeline_id = "p", experiment = "e" }
  for key, value in pairs(more) do object[key] = value end
  return { KFHOST_TRIAL = json.encode(object), KFHOST_P_1 = text }
end

local function of_type(kind, text) return environment({ parameters = { { name = "a", type = kind } } }, text) end

-- What each environment gives: the value of a, or that it is a wrong use.
local GIVEN = {
  { json.object {} }, { { KFHOST_TRIAL = "x" } }, { { KFHOST_TRIAL = "[]" } }, { { KFHOST_TRIAL = "null" } },
  { { KFHOST_TRIAL = "5" } }, { environment { trial = 5 } }, { environment { experiment = "" } },
  { environment { parameters = 5 } }, { environment { parameters = { 5 } } },
  { environment({ parameters = { json.object {} } }, "1") }, { of_type("NUMBER_INTEGER", nil) },
  { of_type("NUMBER_INTEGER", "2.5") }, { of_type("NUMBER_INTEGER", "2.0"), 2 },
  { of_type("NUMBER_INTEGER", "1e3"), 1000 }, { of_type("NUMBER_INTEGER", "9007199254740993"), 9007199254740993 },
  { of_type("NUMBER_DOUBLE", "nan") }, { of_type("NUMBER_DOUBLE", "1e999") },
  { of_type("NUMBER_DOUBLE", "0.25"), 0.25 },
  { of_type("BOOLEAN", "yes") }, { of_type("BOOLEAN", "False"), false }, { of_type("STRING", "it's"), "it's" },
  { environment({ parameters = { { name = "a", choices = { c0 = 'q"' } } } }, "c0"), 'q"' },
  { environment({ parameters = { { name = "a", choices = { c0 = "x" } } } }, "c1") },
}

test("both programs take the same values, and refuse the same as a wrong use", function()
  local cases = json.array {}
  for i, one in ipairs(GIVEN) do cases[i] = one[1] end
  local done = proc.run { "/usr/bin/python3", "-c", READ, require "bundle".text "kale/runtime/trial.py",
    json.encode(cases) }
  if done.code ~= 0 then error(done.stderr, 0) end
  local theirs = json.decode(done.stdout)
  for i, one in ipairs(GIVEN) do
    local ok, spec = pcall(trial.read, function(name) return one[1][name] end)
    if not ok and not errors.is(spec, "Usage") then error(spec, 0) end
    if one[2] == nil then test.same({ ok, theirs[i] }, { false, 2 })
    else test.same({ spec.values.a, theirs[i].a }, { one[2], one[2] }) end
  end
end)
