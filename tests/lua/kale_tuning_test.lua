-- kfhost kale tune as people use it: --init, the cost, names, going on, interruption, the report; and the trial's
-- program for Python.
local test = require "test"
local cost = require "kale.cost"
local edit = require "kale.edit"
local fs = require "fs"
local host = require "host"
local json = require "json"
local kfp = require "kfp"
local kubeflow = require "lab.kubeflow"
local notebook = require "kale.notebook"
local pipelines = require "lab.kfp.serve"
local proc = require "proc"
local report = require "kale.tune_report"
local submit = require "kale.submit"
local task = require "task"
local trial = require "kale.trial"
local trials = require "kale.trials"
local tune = require "kale.tune"
local wait = dofile "tests/lua/support/wait.lua"

local NOTEBOOK = [[# %% [pipeline-parameters]
x = 2.0
kind = "a"
# %% [step:square]
loss = (x - 3) * (x - 3)
# %% [pipeline-metrics]
print(loss)
]]

local function write(text, name)
  local path = test.tmpdir() .. "/" .. (name or "square.py")
  fs.write(path, text or NOTEBOOK)
  return path
end

-- --- asking -------------------------------------------------------------------------------------------------

local function initialise(path, answers)
  local process <close> = proc.spawn { host.executable(), "kale", "tune", path, "--init", stdin = "pipe",
    stdout = "pipe", stderr = "pipe" }
  process:write(answers)
  process:close_stdin()
  local said = {}
  while true do
    local line = process:read_line("stderr", "30s")
    if not line then break end
    said[#said + 1] = line
  end
  return process:wait().code, table.concat(said, "\n")
end

test("--init asks, checks, and writes the metadata; asked again, it offers what is there", function()
  local path = write()
  local code, said = initialise(path, "-\n0..6/1\nloss\nminimize\ngrid\n7\n2\n")
  if code ~= 0 then error(said, 0) end
  local metadata = notebook.read(path).metadata.kubeflow_notebook.katib_metadata
  test.same(metadata.parameters, { { name = "x", parameterType = "double",
    feasibleSpace = { min = "0", max = "6", step = "1" } } })
  test.same(metadata.objective, { objectiveMetricName = "loss", type = "minimize" })
  test.same({ metadata.algorithm.algorithmName, metadata.maxTrialCount, metadata.parallelTrialCount }, { "grid", 7, 2 })
  test.equal(fs.read(path):find(NOTEBOOK, 1, true) ~= nil, true)
  local again = fs.read(path)
  test.equal(initialise(path, ("\n"):rep(7)), 0)
  test.equal(fs.read(path), again)
  local compiled = submit.compile(path)
  test.equal(tune.settings(compiled, {}).maxTrialCount, 7)
end)

test("--init asks what hyperband needs, and counts no fewer trials than its first round has", function()
  local path = write()
  local code, said = initialise(path, "-\nx\n1..9\nloss\nminimize\nhyperband\nx\n9\n3\n9\n\n")
  if code ~= 0 then error(said, 0) end
  test.equal(said:find("'x' is a number, not 'x'", 1, true) ~= nil, true) -- said at once, and asked again
  test.equal(said:find("at least 9", 1, true) ~= nil, true)
  local metadata = notebook.read(path).metadata.kubeflow_notebook.katib_metadata
  test.same(metadata.algorithm, { algorithmName = "hyperband", algorithmSettings = {
    { name = "resource_name", value = "x" }, { name = "r_l", value = "9" } } })
  test.same({ metadata.maxTrialCount, metadata.parallelTrialCount }, { 9, 9 })
end)

test("--init says what is not understood and asks again; what Katib's services refuse is not written", function()
  local path = write()
  local code, said = initialise(path, "-\n0..\n0..6\nloss\nminimize\nmagic\nrandom\n4\n2\n")
  test.equal(code, 0)
  test.equal(said:find("'x=0..' is no range", 1, true) ~= nil, true)
  test.equal(said:find("it is one of random, grid", 1, true) ~= nil, true)
  local other = write()
  code, said = initialise(other, "-\n0..6\nloss\nminimize\ngrid\n4\n2\n") -- a grid over floats needs steps
  test.equal(code, 2)
  test.equal(said:find("step", 1, true) ~= nil, true)
  test.equal(fs.read(other), NOTEBOOK)
  test.equal(initialise(other, "0..6\n"), 2) -- the answers end
end)

test("a notebook's metadata is set and every other byte stays", function()
  local text = '{\n "cells": [],\n "metadata": {\n  "language_info": {"name": "python"}\n },\n "nbformat": 4,\n'
    .. ' "nbformat_minor": 5\n}\n'
  local keys = { "kubeflow_notebook", "katib_metadata" }
  local made = edit.notebook_metadata(text, "a.ipynb", keys, { maxTrialCount = 3 })
  test.same(json.decode(made).metadata, { language_info = { name = "python" },
    kubeflow_notebook = { katib_metadata = { maxTrialCount = 3 } } })
  test.equal(made:find('"language_info": {"name": "python"}', 1, true) ~= nil, true)
  local again = edit.notebook_metadata(made, "a.ipynb", keys, { maxTrialCount = 4 })
  test.equal(again, (made:gsub('"maxTrialCount": ?3', function(found) return (found:gsub("3", "4")) end)))
  local bare = edit.notebook_metadata('{"cells":[],"metadata":{},"nbformat":4,"nbformat_minor":5}', "a.ipynb", keys, 1)
  test.same(json.decode(bare).metadata, { kubeflow_notebook = { katib_metadata = 1 } })
end)

-- --- the cost -----------------------------------------------------------------------------------------------

test("the cost is trials by the last run by how many at once; without a run it is said not to be known", function()
  local settings = { maxTrialCount = 12, parallelTrialCount = 4 }
  test.equal(cost.text(settings, 40, "there"), "12 trials, 4 at a time: about 2 min (the last run took 40 s)")
  test.equal(cost.text(settings, 2400, "here"),
    "12 trials, 4 at a time: about 2 h (the last run on this machine took 40 min)")
  test.equal(cost.text({ maxTrialCount = 5, parallelTrialCount = 2 }, 1200, "there"),
    "5 trials, 2 at a time: about 1 h (the last run took 20 min)")
  test.equal(cost.text(settings):find("not known", 1, true) ~= nil, true)
end)

test("the last run is that of this pipeline at the server", function()
  local function run(id, pipeline, state, from, to)
    return { run_id = id, state = state, created_at = from, finished_at = to,
      pipeline_version_reference = { pipeline_id = pipeline } }
  end
  local list = { run("1", "p", "FAILED", "2026-01-01T00:00:00Z", "2026-01-01T00:00:01Z"),
    run("2", "other", "SUCCEEDED", "2026-01-01T00:00:00Z", "2026-01-01T00:00:02Z"),
    run("3", "p", "SUCCEEDED", "2026-01-01T00:00:00Z", "2026-01-01T00:01:30Z") }
  local k = { runs = { list = function()
    local i = 0
    return function()
      i = i + 1
      return list[i]
    end
  end } }
  test.same({ cost.last_run(k, { pipeline_id = "p" }, "none.py") }, { 90, "there" })
  test.equal(cost.last_run({ runs = { list = function() error("no", 0) end } }, { pipeline_id = "p" },
    test.tmpdir() .. "/none.py"), nil)
end)

-- --- in a lab -----------------------------------------------------------------------------------------------

local function settings_of(compiled, changes)
  local given = { tune = { "x=0..6/1" }, objective = "loss", direction = "minimize", algorithm = "grid", trials = 3,
    parallel = 1 }
  for key, value in pairs(changes or {}) do given[key] = value end
  return tune.settings(compiled, given)
end

local function experiment_of(at, compiled, changes, options)
  local uploaded = at.kfp:upload(compiled.text, { name = compiled.name })
  local given = { name = compiled.name, image = "kfhost", namespace = at.namespace, kfp_experiment = compiled.name,
    endpoint = at.endpoint, definitions = compiled.ir.root.inputDefinitions.parameters }
  for key, value in pairs(options or {}) do given[key] = value end
  return tune.experiment(settings_of(compiled, changes), uploaded, given)
end

local function wait_until(what, holds) return wait(what, holds, 30) end

local function with_lab(options, use)
  options.root = options.root or test.tmpdir()
  local cluster = kubeflow.start(options)
  local at = { client = cluster.client, kfp = kfp.connect { endpoint = cluster.pipelines.url }, namespace = "team-a",
    endpoint = cluster.endpoint }
  local ok, problem = pcall(use, at, cluster)
  for _, run in pairs(cluster.pipelines.state.runs) do
    if run.task then pcall(run.task.wait, run.task) end
  end
  cluster:close()
  if not ok then error(problem, 0) end
end

test("names that are taken, here or in another namespace, are said before anything is made", function()
  with_lab({ nodes = 0, profiles = { "team-a", "team-b" } }, function(at)
    local compiled = submit.compile(write())
    local experiment = experiment_of(at, compiled)
    test.same(tune.check(at.client, experiment), {})
    tune.create(at.client, experiment)
    local problem = test.raises("Usage", function() tune.create(at.client, experiment_of(at, compiled)) end)
    test.equal(problem.message:find("--resume follows it", 1, true) ~= nil, true)
    local other = experiment_of(at, compiled, nil, { namespace = "team-b" })
    test.equal(other.metadata.name ~= experiment.metadata.name, true)
    other.metadata.name = experiment.metadata.name -- as somebody else may have called it
    local warned = pcall(tune.check, at.client, other) and tune.check(at.client, other) or { "refused" }
    test.equal(#warned > 0, true)
    problem = test.raises("Usage", function()
      tune.check(at.client, experiment_of(at, compiled, { parallel = 9 }))
    end)
    test.equal(problem.message:find("parallelTrialCount", 1, true) ~= nil, true)
  end)
end)

test("the trials' account is a profile's, or the one of a single user; without any nothing begins", function()
  with_lab({ nodes = 0, profiles = { "team-a" } }, function(at)
    local function server(several) return { health = function() return { multi_user = several } end } end
    local function account(name)
      return { apiVersion = "v1", kind = "ServiceAccount", metadata = { name = name, namespace = "default" } }
    end
    test.equal(tune.account(at.client, server(true), "team-a"), "default-editor")
    test.equal(tune.account(at.client, server(false), "team-a"), "default-editor")
    local problem = test.raises("Usage", function() tune.account(at.client, server(false), "default") end)
    test.equal(problem.message:find("no service account pipeline-runner or default-editor", 1, true) ~= nil, true)
    at.client:create(account "pipeline-runner")
    test.equal(tune.account(at.client, server(true), "default"), "pipeline-runner")
    at.client:create(account "default-editor")
    test.equal(tune.account(at.client, server(false), "default"), "pipeline-runner")
    test.equal(tune.account(at.client, server(true), "default"), "default-editor")
  end)
end)

-- A client whose lists are these.
local function lists(pods, events)
  return { list = function(_, kind) return kind == "pods" and pods or events or {} end }
end

test("why the pod of a trial does not start is known from pod or Job", function()
  local reason = require "kale.waiting".reason
  local function waits(what, message)
    return { status = { containerStatuses = { { name = "main", state = { waiting = { reason = what,
      message = message } } } } } }
  end
  test.equal(reason(lists { waits("ErrImagePull", "no such image") }, "n", "t"), "main: ErrImagePull: no such image")
  test.equal(reason(lists { waits "ContainerCreating" }, "n", "t"), nil)
  test.equal(reason(lists { { status = { conditions = { { type = "PodScheduled", status = "False",
    reason = "Unschedulable", message = "0/3 nodes" } } } } }, "n", "t"), "Unschedulable: 0/3 nodes")
  local function refuses() require "errors".raise { code = "Forbidden", message = "may not" } end
  test.equal(reason({ list = refuses }, "n", "t"), nil)
  with_lab({ profiles = { "team-a" } }, function(at)
    at.client:create { apiVersion = "batch/v1", kind = "Job", metadata = { name = "t", namespace = "team-a" },
      spec = { template = { spec = { restartPolicy = "Never", serviceAccountName = "nobody",
        containers = { { name = "main", image = "kfhost" } } } } } }
    local said = wait_until("the reason", function() return reason(at.client, "team-a", "t") end)
    test.equal(said:find('serviceaccount "nobody" not found', 1, true) ~= nil, true)
  end)
end)

test("an experiment that runs is gone on with; one that ended may have more trials if it was made for that", function()
  with_lab({ nodes = 0 }, function(at)
    local compiled = submit.compile(write())
    local once = experiment_of(at, compiled)
    test.raises("Usage", function() tune.resume(at.client, once) end)
    tune.create(at.client, once)
    test.equal(tune.resume(at.client, once).metadata.name, once.metadata.name)
    local function finish(experiment)
      local made = at.client:get("experiments.v1beta1.kubeflow.org", experiment.metadata.name,
        { namespace = "team-a" })
      made.status = { trials = 3, trialsSucceeded = 3, conditions = {
        { type = "Created", status = "True", reason = "ExperimentCreated", message = "" },
        { type = "Succeeded", status = "True", reason = "ExperimentMaxTrialsReached", message = "" } } }
      return at.client.try:update(made, { subresource = "status" })
    end
    while not finish(once) do task.sleep(0.02) end
    local problem = test.raises("Usage", function()
      tune.resume(at.client, experiment_of(at, compiled, { trials = 5 }))
    end)
    test.equal(problem.message:find("cannot go on", 1, true) ~= nil, true)
    local long = experiment_of(at, compiled, nil, { name = "long", resumable = true })
    tune.create(at.client, long)
    while not finish(long) do task.sleep(0.02) end
    long.spec.maxTrialCount = 5
    test.equal(tune.resume(at.client, long).spec.maxTrialCount, 5)
  end)
end)

-- A run that goes on until it is ended.
local ENDLESS = "# %% [pipeline-parameters]\nx = 2.0\n# %% [step:wait]\nimport time\ntime.sleep(3600)\nloss = x\n"
  .. "# %% [pipeline-metrics]\nprint(loss)\n"


test("interrupted, an experiment is deleted and its runs are ended", function()
  with_lab({}, function(at, cluster)
    local compiled = submit.compile(write(ENDLESS, "endless.py"))
    local made = tune.create(at.client, experiment_of(at, compiled, { parallel = 2 }))
    local view = trials.watch(at, made.metadata.name, { kfp_experiment = compiled.name })
    local following = task.spawn(view.follow, view)
    local function states()
      local list = {}
      for _, run in pairs(cluster.pipelines.state.runs) do list[#list + 1] = run.state end
      table.sort(list)
      return table.concat(list, " ")
    end
    wait_until("two runs", function() return states() == "RUNNING RUNNING" end)
    following:cancel()
    test.raises("Cancelled", function() following:wait() end)
    wait_until("the end of both", function()
      return not states():find "RUNNING" and not states():find "PENDING" and not states():find "CANCELING"
    end)
    wait_until("the end of the experiment", function()
      return not at.client.try:get("experiments.v1beta1.kubeflow.org", made.metadata.name, { namespace = "team-a" })
    end)
    view.clearing:wait()
    view:close()
    wait_until("the end of pods", function()
      for _, pod in ipairs((at.client:list("pods", { namespace = "team-a" }))) do
        if pod.metadata.labels["katib.kubeflow.org/trial"] then return false end
      end
      return true
    end)
  end)
end)

test("where Pipelines know no users, their namespace has an account for trials, and collectors", function()
  with_lab({ nodes = 0 }, function(at)
    local compiled = submit.compile(write())
    test.equal(tune.account(at.client, at.kfp, "kubeflow"), "pipeline-runner")
    test.same(tune.check(at.client, experiment_of(at, compiled, nil, { namespace = "kubeflow" })), {})
    local review = at.client:request("POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews", {
      headers = { ["Content-Type"] = "application/json" }, body = json.encode {
        apiVersion = "authorization.k8s.io/v1", kind = "SubjectAccessReview", spec = {
          user = "system:serviceaccount:kubeflow:pipeline-runner", resourceAttributes = { namespace = "kubeflow",
            group = "kubeflow.org", resource = "trials", verb = "get", name = "t" } } } })
    test.equal(json.decode(review.body).status.allowed, true)
  end)
end)

test("an experiment whose creation is cut off is known again, and another's of its name is not", function()
  with_lab({ nodes = 0 }, function(at)
    local compiled = submit.compile(write())
    local ours, other = experiment_of(at, compiled), experiment_of(at, compiled)
    local late = { get = at.client.get, create = function(_, object) -- the server hears of it after we have gone
      task.spawn(function()
        task.sleep(0.3)
        at.client:create(object)
      end)
      require "errors".raise { code = "Cancelled", message = "interrupted" }
    end }
    local client = { try = require "errors".try(late) }
    late.get = function(_, ...) return at.client:get(...) end
    test.raises("Cancelled", function() tune.create(client, ours) end)
    test.equal(tune.was_made(client, ours), true)
    test.raises("Usage", function() tune.create(at.client, other) end)
    test.equal(tune.was_made(at.client, other), false)
  end)
end)

test("a trial that is deleted is made again under its name, and has a run of its own", function()
  with_lab({}, function(at, cluster)
    local compiled = submit.compile(write(ENDLESS, "endless.py"))
    local made = tune.create(at.client, experiment_of(at, compiled, { trials = 1 }))
    local runs = cluster.pipelines.state.runs
    local function only()
      local list = at.client:list("trials.v1beta1.kubeflow.org", { namespace = "team-a" })
      return list[1]
    end
    local function state_of(one)
      local run = runs[trial.run_id { uid = one.metadata.uid }]
      return run and run.state
    end
    wait_until("its run", function() return only() and state_of(only()) == "RUNNING" end)
    local before = only()
    at.client:delete("trials.v1beta1.kubeflow.org", before.metadata.name, { namespace = "team-a" })
    wait_until("the other run", function()
      local now = only()
      return now and now.metadata.uid ~= before.metadata.uid and state_of(now) == "RUNNING"
    end)
    test.equal(only().metadata.name, before.metadata.name)
    wait_until("the end of the first run", function() return state_of(before) == "FAILED" end)
    local view = trials.watch(at, made.metadata.name, { kfp_experiment = compiled.name })
    view:abandon()
    view:close()
    wait_until("the end of the second run", function()
      for _, run in pairs(runs) do
        if run.state ~= "FAILED" then return false end
      end
      return true
    end)
  end)
end)

test("an experiment that is given more trials is followed through them; all name their runs", function()
  with_lab({}, function(at)
    local compiled = submit.compile(write())
    local function follow()
      local name = experiment_of(at, compiled).metadata.name
      local view <close> = trials.watch(at, name, { kfp_experiment = compiled.name })
      return view:follow()
    end
    local experiment = experiment_of(at, compiled, { trials = 1, parallel = 1 }, { resumable = true })
    tune.create(at.client, experiment)
    test.equal(follow().status.trials, 1)
    experiment.spec.maxTrialCount = 2
    tune.resume(at.client, experiment)
    test.equal(follow().status.trials, 2)
    local noted, runs = {}, {}
    for kind, namespace in pairs { ["trials.v1beta1.kubeflow.org"] = "team-a", ["workflows.argoproj.io"] = "*" } do
      for _, one in ipairs((at.client:list(kind, { namespace = namespace }))) do
        local id = (one.metadata.annotations or {})[trial.ANNOTATION]
        noted[#noted + 1] = id
      end
    end
    for run in at.kfp.runs:list {} do
      runs[#runs + 1], runs[#runs + 2] = run.run_id, run.run_id
    end
    table.sort(noted)
    table.sort(runs)
    test.same(noted, runs)
  end)
end)

test("an experiment that reaches its goal leaves nothing running", function()
  local text = "# %% [pipeline-parameters]\nx = 2.0\n# %% [step:wait]\nimport os\nimport time\n"
    .. "try:\n    os.mkdir('first')\nexcept FileExistsError:\n    time.sleep(3600)\nloss = x\n"
    .. "# %% [pipeline-metrics]\nprint(loss)\n"
  with_lab({ cwd = test.tmpdir() }, function(at, cluster)
    local compiled = submit.compile(write(text, "one.py"))
    local experiment = experiment_of(at, compiled, { parallel = 2 })
    experiment.spec.objective.goal = 1000
    experiment.spec.objective.type = "minimize"
    local made = tune.create(at.client, experiment)
    local view = trials.watch(at, made.metadata.name, { kfp_experiment = compiled.name })
    view:follow()
    view:close()
    local states = {}
    for _, run in pairs(cluster.pipelines.state.runs) do states[run.state] = true end
    test.same(states, { FAILED = true, SUCCEEDED = true })
  end)
end)

test("a run whose trial is gone is ended; those of other experiments and of active trials are left", function()
  local server = pipelines.start { root = test.tmpdir(), engine = "none" }
  local k = kfp.connect { endpoint = server.url }
  local compiled = submit.compile(write())
  local uploaded = k:upload(compiled.text, { name = "square" })
  local experiment = k.experiments:ensure "square"
  local ids = {}
  local function run(key, name, uid)
    ids[key] = trial.run_id { trial = name, namespace = "team-a", uid = uid }
    k.runs:start { run_id = ids[key], display_name = name, experiment_id = experiment.experiment_id,
      pipeline_version_reference = { pipeline_id = uploaded.pipeline_id, pipeline_version_id = uploaded.version_id } }
  end
  for _, name in ipairs { "tune-abc-aaaaaaaa", "tune-abc-bbbbbbbb", "other-cccccccc" } do run(name, name) end
  run("before", "tune-abc-dddddddd", "uid-before") -- the trial was deleted and made again
  run("now", "tune-abc-dddddddd", "uid-now")
  local view = trials.watch({ kfp = k, namespace = "team-a" }, "tune-abc", { kfp_experiment = "square" })
  local function one(name, state, uid)
    return { metadata = { name = name, namespace = "team-a", uid = uid or name }, state = state }
  end
  view.list = { one("tune-abc-aaaaaaaa", "Running"), one("tune-abc-bbbbbbbb", "Failed"),
    one("tune-abc-dddddddd", "Running", "uid-now") }
  test.same(view:reap(), {}) -- the list may have been older than the run
  local ended = view:reap()
  table.sort(ended)
  local wanted = { ids["tune-abc-bbbbbbbb"], ids.before }
  table.sort(wanted)
  test.same(ended, wanted)
  test.equal(server.state.runs[ids.now].state, "PENDING")
  test.equal(server.state.runs[ids["tune-abc-bbbbbbbb"]].state, "CANCELING")
  test.equal(server.state.runs[ids["tune-abc-aaaaaaaa"]].state, "PENDING")
  test.equal(server.state.runs[ids["other-cccccccc"]].state, "PENDING")
  view:close()
  server:close()
end)

-- --- the trial's program for Python -------------------------------------------------------------------------

local function run_python(server, spec, values, words)
  local command = { "/usr/bin/python3", "-u", "-c", require "bundle".text "kale/runtime/trial.py" }
  table.move(words or {}, 1, #(words or {}), 5, command)
  command.env = { KFHOST_TRIAL = spec and json.encode(spec), KF_PIPELINES_ENDPOINT = server.url,
    KFHOST_OBJECTIVE_WAIT = "0.2", PATH = os.getenv "PATH" }
  for name, value in pairs(values or {}) do command.env[name] = value end
  command.clear_env = true
  return proc.run(command)
end

local function with_pipelines(use, engine)
  local server = pipelines.start { root = test.tmpdir(), engine = engine }
  local k = kfp.connect { endpoint = server.url }
  local compiled = submit.compile(write())
  local uploaded = k:upload(compiled.text, { name = "square" })
  local spec = { trial = "tune-abc", pipeline_id = uploaded.pipeline_id, pipeline_version_id = uploaded.version_id,
    experiment = "tune", namespace = "team-a", objective = "loss",
    parameters = { { name = "x", type = "NUMBER_DOUBLE" } } }
  local ok, problem = pcall(use, server, spec, k)
  for _, run in pairs(server.state.runs) do
    if run.task then pcall(run.task.wait, run.task) end
  end
  server:close()
  if not ok then error(problem, 0) end
end

test("Python's trial runs the pipeline, prints metrics for the collector, and adopts its run", function()
  with_pipelines(function(server, spec)
    local done = run_python(server, spec, { KFHOST_P_1 = "5.0" })
    if done.code ~= 0 then error(done.stderr, 0) end
    test.equal(done.stdout:match "^%d%d%d%d%-%d%d%-%d%dT[%d:.]+[Z+%-%d:]* loss=(.*)\n$", "4")
    test.equal(run_python(server, spec, { KFHOST_P_1 = "5.0" }).code, 0)
    local count = 0
    for id in pairs(server.state.runs) do
      count = count + 1
      test.equal(id, trial.run_id(spec))
    end
    test.equal(count, 1)
  end)
end)

test("Python's trial has the exit codes of kfhost kale trial", function()
  with_pipelines(function(server, spec)
    test.equal(run_python(server, nil).code, 2)
    test.equal(run_python(server, spec).code, 2)
    test.equal(run_python(server, spec, { KFHOST_P_1 = "many" }).code, 2)
    spec.pipeline_version_id = "11111111-1111-4111-8111-111111111111"
    test.equal(run_python(server, spec, { KFHOST_P_1 = "1" }).code, 3)
  end)
  with_pipelines(function(server, spec, k)
    k.runs:start { run_id = trial.run_id(spec), display_name = "t", pipeline_version_reference = {
      pipeline_id = spec.pipeline_id, pipeline_version_id = spec.pipeline_version_id } }
    test.equal(run_python(server, spec, { KFHOST_P_1 = "1" }, { "--cancel" }).code, 0)
    test.equal(server.state.runs[trial.run_id(spec)].state, "CANCELING")
    local other = json.decode(json.encode(spec))
    other.trial = "tune-none"
    test.equal(run_python(server, other, { KFHOST_P_1 = "1" }, { "--cancel" }).code, 0)
  end, "none")
end)

test("a trial that gets a signal ends its run, in both programs", function()
  for _, program in ipairs { "kfhost", "python" } do
    with_pipelines(function(server, spec)
      local command = program == "kfhost" and { host.executable(), "kale", "trial" }
        or { "/usr/bin/python3", "-u", "-c", require "bundle".text "kale/runtime/trial.py" }
      command.env = { KFHOST_TRIAL = json.encode(spec), KFHOST_P_1 = "1", KF_PIPELINES_ENDPOINT = server.url }
      command.stderr = "null"
      local process <close> = proc.spawn(command)
      local id = trial.run_id(spec)
      wait_until("the run", function() return server.state.runs[id] end)
      require "pod".kill(process.pid, 15)
      test.equal(process:wait "30s".code, 143)
      test.equal(server.state.runs[id].state, "CANCELING")
    end, "none")
  end
end)

test("with --trial-runner python the pod has the steps' image and the program in its environment", function()
  local compiled = submit.compile(write())
  local made = tune.experiment(settings_of(compiled), { pipeline_id = "p", version_id = "v" }, { name = "square",
    namespace = "team-a", runner = "python", step_image = tune.step_image(compiled.ir), kfp_experiment = "square",
    definitions = compiled.ir.root.inputDefinitions.parameters })
  test.same(tune.check(nil, made), {})
  local container = made.spec.trialTemplate.trialSpec.spec.template.spec.containers[1]
  test.equal(container.image:find "^python" ~= nil, true)
  test.equal(container.securityContext.runAsUser > 0, true) -- the image's own user is root
  test.same(container.args, { 'python3 -u -c "$KFHOST_RUNNER"' })
  local rendered = require "katib".render(made, { trial = "t-1", namespace = "team-a",
    assignments = { { name = "x", value = "1" } } })
  local env = {}
  for _, one in ipairs(rendered.spec.template.spec.containers[1].env) do env[one.name] = one.value end
  test.equal(env.KFHOST_RUNNER, require "bundle".text "kale/runtime/trial.py")
end)

-- --- the report ---------------------------------------------------------------------------------------------

local function made_trials(count)
  local list = {}
  for i = 1, count do
    list[i] = { metadata = { name = "t-" .. i }, spec = { parameterAssignments = { { name = "x", value = tostring(i) },
      { name = "kind", value = i % 2 == 0 and "a" or "it's <b>" } } },
      status = { startTime = "2026-01-01T00:00:00Z", completionTime = "2026-01-01T00:00:05Z", conditions = {
        { type = "Succeeded", status = "True" } }, observation = { metrics = {
          { name = "loss", min = tostring((i - 3) ^ 2), max = "9", latest = tostring((i - 3) ^ 2) } } } } }
  end
  return list
end

test("the report shows best trial, curves, coordinates and importance, in one file without a network", function()
  local experiment = { metadata = { name = "square-abc" }, spec = { objective = { type = "minimize",
    objectiveMetricName = "loss", metricStrategies = { { name = "loss", value = "min" } } },
    algorithm = { algorithmName = "random" }, parameters = { { name = "x" }, { name = "kind" } } },
    status = { conditions = { { type = "Succeeded", message = "done" } } } }
  local html = report.render(experiment, made_trials(8), { histories = { ["t-1"] = { { name = "loss", value = 3 },
    { name = "loss", value = 2 } } } })
  for _, title in ipairs { "Best trial", "Objective by trial", "Parallel coordinates", "Importance of parameters",
    "Within the trials", "Trials" } do
    test.equal(html:find("<h2>" .. title .. "</h2>", 1, true) ~= nil, true)
  end
  test.equal(html:find('<tr class="best"><td>t-3</td>', 1, true) ~= nil, true)
  test.equal(html:find("it&#39;s &lt;b&gt;", 1, true) ~= nil, true)
  test.equal(html:find("<b>", 1, true), nil)
  test.equal(html:gsub("http://www.w3.org/2000/svg", ""):find "https?://", nil)
  test.equal(html:find("<script", 1, true), nil)
  local list = report.importance(report.rows(experiment, made_trials(8)), { "x", "kind" })
  test.equal(list[1].name, "x")
  test.equal(list[1].share > 0.5 and list[2].share < 0.2, true)
  test.equal(report.render(experiment, {}):find("no trial has reported the objective", 1, true) ~= nil, true)
end)

test("the objective is a metric of the notebook, and the other metrics are collected too", function()
  local compiled = { ir = { root = { inputDefinitions = { parameters = {
    x = { parameterType = "NUMBER_DOUBLE" } } } } }, metrics = { "loss", "size" } }
  local settings = tune.settings(compiled, { tune = { "x=0..1" }, objective = "loss" })
  test.same(settings.objective.additionalMetricNames, { "size" })
  local problem = test.raises("Usage", function()
    tune.settings(compiled, { tune = { "x=0..1" }, objective = "los" })
  end)
  test.equal(problem.message, "the notebook has no metric 'los': it has loss, size")
end)

test("settings of the algorithm are said by words, which go before the notebook's", function()
  local compiled = submit.compile(write())
  compiled.katib = { algorithm = { algorithmName = "hyperband", algorithmSettings = { { name = "r_l", value = "27" },
    { name = "eta", value = "3" } } } }
  local settings = settings_of(compiled, { algorithm = "hyperband", settings = { "r_l=9", "resource_name=x" } })
  test.same(settings.algorithm.algorithmSettings, { { name = "r_l", value = "9" }, { name = "resource_name",
    value = "x" }, { name = "eta", value = "3" } })
  test.raises("Usage", function() settings_of(compiled, { settings = { "r_l" } }) end)
end)

test("metrics whose names Katib's filter does not know bring their own", function()
  local compiled = { ir = { root = { inputDefinitions = { parameters = {
    x = { parameterType = "NUMBER_DOUBLE" } } } } }, metrics = { "größe" } }
  local made = tune.experiment(tune.settings(compiled, { tune = { "x=0..1" }, objective = "größe" }),
    { pipeline_id = "p", version_id = "v" }, { name = "n", namespace = "team-a", image = "i", kfp_experiment = "n" })
  test.same(tune.check(nil, made), {})
  local filters = made.spec.metricsCollectorSpec.source.filter.metricsFormat
  local katib = require "katib"
  test.same(katib.metrics("2026-01-01T00:00:00Z größe=-0.5e3\n", { "größe" }, { filters = filters }),
    { { name = "größe", value = "-0.5e3", timestamp = "2026-01-01T00:00:00Z" } })
end)
