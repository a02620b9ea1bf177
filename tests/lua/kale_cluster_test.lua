-- A notebook at a KFP server: submitted, and run as a trial; the server is the lab's.
local test = require "test"
local fs = require "fs"
local hash = require "hash"
local host = require "host"
local json = require "json"
local kfp = require "kfp"
local proc = require "proc"
local pipelines = require "lab.kfp.serve"
local submit = require "kale.submit"
local trial = require "kale.trial"

local NOTEBOOK = [[# %% [pipeline-parameters]
x = 2.0
# %% [step:square]
y = x * x
# %% [step:judge prev:square]
loss = y + 1
# %% [pipeline-metrics]
print(loss)
]]

local function with_server(use, engine)
  local directory = test.tmpdir()
  local server = pipelines.start { root = directory .. "/runs", engine = engine }
  local ok, problem = pcall(use, kfp.connect { endpoint = server.url }, server, directory)
  for _, run in pairs(server.state.runs) do
    if run.task then pcall(run.task.wait, run.task) end
  end
  server:close()
  if not ok then error(problem, 0) end
end

local function compiled(directory)
  fs.write(directory .. "/square.py", NOTEBOOK)
  return submit.compile(directory .. "/square.py")
end

test("a submitted notebook runs, and gives its metrics", function()
  with_server(function(k, _, directory)
    local run, uploaded = submit.start(k, compiled(directory), { params = { "x=3" } })
    test.equal(uploaded.created, true)
    test.equal(k.runs:wait(run.run_id).state, "SUCCEEDED")
    local metrics = k.runs:metrics(run.run_id)
    test.equal(metrics[1].name, "loss")
    test.equal(metrics[1].value, 10)
    local _, again = submit.start(k, compiled(directory), {})
    test.equal(again.created, false)
  end)
end)

-- What a trial's pod sees, and what it prints.
local function run_trial(k, directory, changes, options)
  local uploaded = k:upload(compiled(directory).text, { name = "square" })
  local spec = { trial = "tune-abc", pipeline_id = uploaded.pipeline_id, pipeline_version_id = uploaded.version_id,
    experiment = "tune", namespace = "team-a", objective = "loss",
    parameters = { { name = "x", type = "NUMBER_DOUBLE" } } }
  for field, value in pairs(changes or {}) do spec[field] = value end
  local environment = { KFHOST_TRIAL = json.encode(spec), KFHOST_P_1 = "4.0" }
  local lines = {}
  local out = { write = function(_, text) lines[#lines + 1] = text end, flush = function() end }
  local code = trial.run(k, trial.read(function(name) return environment[name] end), out, options)
  return code, lines, spec
end

test("a trial runs the pipeline with its parameters and prints its metrics for the collector", function()
  with_server(function(k, server, directory)
    local code, lines, spec = run_trial(k, directory)
    test.equal(code, 0)
    test.equal(#lines, 1)
    test.equal(lines[1]:match "^%d%d%d%d%-%d%d%-%d%dT[%d:.]+[Z+%-%d:]* loss=(.*)\n$", "17")
    local count = 0
    for id in pairs(server.state.runs) do
      count = count + 1
      test.equal(id, trial.run_id(spec))
    end
    test.equal(count, 1)
    test.equal(run_trial(k, directory), 0) -- it starts again: its run is adopted
    count = 0
    for _ in pairs(server.state.runs) do count = count + 1 end
    test.equal(count, 1)
  end)
end)

test("an unknown version is refused; an objective that never comes is told", function()
  with_server(function(k, _, directory)
    test.equal(run_trial(k, directory, { pipeline_version_id = "11111111-1111-4111-8111-111111111111" }), 3)
    test.equal(run_trial(k, directory, { objective = "never" }, { objective_wait = "300ms" }), 4)
  end)
end)

test("what a trial's environment lacks is a usage error that names it", function()
  local function read(values)
    return test.raises("Usage", function() trial.read(function(name) return values[name] end) end).message
  end
  test.equal(read {}, "KFHOST_TRIAL is not set: this command runs in the pod of a trial")
  test.equal(read { KFHOST_TRIAL = "{}" }, "KFHOST_TRIAL has no trial")
  local spec = json.encode { trial = "t", pipeline_id = "p", pipeline_version_id = "v", experiment = "e",
    parameters = { { name = "kind", choices = { c0 = "it's" } } } }
  test.equal(read { KFHOST_TRIAL = spec }, "KFHOST_P_1 (kind) is not set")
  test.equal(read { KFHOST_TRIAL = spec, KFHOST_P_1 = "c9" }, "parameter kind: there is no choice 'c9'")
  local values = { KFHOST_TRIAL = spec, KFHOST_P_1 = "c0" }
  test.equal(trial.read(function(name) return values[name] end).values.kind, "it's")
end)

test("a trial that is told to end ends its run; where there is none, nothing is wrong", function()
  with_server(function(k, server, directory)
    local uploaded = k:upload(compiled(directory).text, { name = "square" })
    local spec = { trial = "tune-abc", namespace = "team-a" }
    test.equal(trial.cancel(k, spec), 0)
    local id = trial.run_id(spec)
    k.runs:start { run_id = id, display_name = "t", pipeline_version_reference = {
      pipeline_id = uploaded.pipeline_id, pipeline_version_id = uploaded.version_id } }
    test.equal(trial.cancel(k, spec), 0)
    test.equal(server.state.runs[id].state, "CANCELING")
    test.equal(trial.cancel(k, spec), 0)
  end, "none")
end)

test("a run that fails ends kale submit with 1, and its step's last lines are shown", function()
  with_server(function(_, server, directory)
    fs.write(directory .. "/broken.py", "# %% [step:a]\nprint('before')\nraise ValueError('that way')\n")
    local result = proc.run { host.executable(), "kale", "submit", directory .. "/broken.py", "--endpoint", server.url,
      "--json" }
    test.equal(result.code, 1)
    test.equal(json.decode(result.stdout).state, "FAILED")
    test.equal(result.stderr:find("step a failed", 1, true) ~= nil, true)
    test.equal(result.stderr:find("ValueError: that way", 1, true) ~= nil, true)
  end)
end)

-- What the pod of an older Kale's trial sees, once kale-trial was there.
local function older_trial(pipeline_id, config)
  local set = require "policy".load("kale-trial", { config = config })
  local answer = require "policy.trial".apply(set, { apiVersion = "batch/v1", kind = "Job",
    metadata = { name = "t-1", namespace = "team-a", ownerReferences = { { apiVersion = "kubeflow.org/v1alpha3",
      kind = "Trial", name = "t-1", uid = hash.uuid5("6ba7b811-9dad-11d1-80b4-00c04fd430c8", config.runner) } } },
    spec = { template = { spec = { containers = { { name = "main", image = "older", command = {
      ("python3 -u -c \"from kale.common.kfputils import create_and_wait_kfp_run; create_and_wait_kfp_run("
        .. "pipeline_id='%s', run_name='t-1', experiment_name='tune', x='5')\""):format(pipeline_id) } } } } } } })
  set:close()
  local environment = {}
  for _, one in ipairs(answer.object.spec.template.spec.containers[1].env) do environment[one.name] = one.value end
  return environment
end

test("an older Kale's trial, as kale-trial leaves it, runs the newest version with values of their types", function()
  with_server(function(k, server, directory)
    local uploaded = k:upload(compiled(directory).text, { name = "square" })
    local environment = older_trial(uploaded.pipeline_id, { runner = "kfhost", trial_image = "kfhost" })
    local lines = {}
    local out = { write = function(_, text) lines[#lines + 1] = text end, flush = function() end }
    test.equal(trial.run(k, trial.read(function(name) return environment[name] end), out), 0)
    test.equal(lines[1]:match " loss=(.*)\n$", "26")

    -- by Python alone
    environment = older_trial(uploaded.pipeline_id, { runner = "python" })
    environment.KF_PIPELINES_ENDPOINT = server.url
    local process <close> = proc.spawn { "/usr/bin/python3", "-u", "-c", environment.KFHOST_RUNNER, env = environment }
    test.equal(tonumber(process:read_line("stdout", "60s"):match " loss=(.*)$"), 26)
    test.equal(process:wait("60s").code, 0)
  end)
end)
