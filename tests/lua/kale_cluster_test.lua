-- A notebook at a KFP server: submitted, and run as a trial; the server is the lab's.
local test = require "test"
local fs = require "fs"
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

test("an older Kale's trial, as kale-trial leaves it, runs the newest version with values of their types", function()
  with_server(function(k, _, directory)
    local uploaded = k:upload(compiled(directory).text, { name = "square" })
    local set = require "policy".load("kale-trial", { config = { trial_image = "kfhost" } })
    local answer = require "policy.trial".apply(set, { apiVersion = "batch/v1", kind = "Job",
      metadata = { name = "t-1", namespace = "team-a", ownerReferences = { { apiVersion = "kubeflow.org/v1alpha3",
        kind = "Trial", name = "t-1", uid = "1b5f7a8a-a84a-4969-b6f8-21b432ba1834" } } },
      spec = { template = { spec = { containers = { { name = "main", image = "older", command = {
        ("python3 -u -c \"from kale.common.kfputils import create_and_wait_kfp_run; create_and_wait_kfp_run("
          .. "pipeline_id='%s', run_name='t-1', experiment_name='tune', x='5')\""):format(uploaded.pipeline_id)
      } } } } } } })
    set:close()
    local environment = {}
    local container = answer.object.spec.template.spec.containers[1]
    for _, one in ipairs(container.env) do environment[one.name] = one.value end
    local lines = {}
    local out = { write = function(_, text) lines[#lines + 1] = text end, flush = function() end }
    test.equal(trial.run(k, trial.read(function(name) return environment[name] end), out), 0)
    test.equal(lines[1]:match " loss=(.*)\n$", "26")
  end)
end)

test("kale submit shows the steps and what they print, says where the run is seen, and ends with its code", function()
  with_server(function(_, server, directory)
    fs.write(directory .. "/prints.py", "# %% [step:a]\nprint('hello from a')\nloss = 1.0\n# %% [step:b prev:a]\n"
      .. "print('and b', loss)\n")
    local result = proc.run { host.executable(), "kale", "submit", directory .. "/prints.py", "--endpoint", server.url }
    if result.code ~= 0 then error(result.stderr, 0) end
    for _, text in ipairs { "a | hello from a", "b | and b 1.0", "SUCCEEDED", server.url .. "/#/runs/details/" } do
      if not result.stderr:find(text, 1, true) then error(("no '%s' in\n%s"):format(text, result.stderr), 0) end
    end
    test.equal(result.stdout:find("SUCCEEDED", 1, true) ~= nil, true)
  end)
end)

test("a schedule has six fields; five are refused with the reason and the way to write them", function()
  with_server(function(_, server, directory)
    fs.write(directory .. "/square.py", NOTEBOOK)
    local function schedule(cron)
      return proc.run { host.executable(), "kale", "submit", directory .. "/square.py", "--endpoint", server.url,
        "--cron", cron, "--json" }
    end
    local refused = schedule "0 3 * * *"
    test.equal(refused.code, 2)
    test.equal(refused.stderr:find("Write '0 0 3 * * *'", 1, true) ~= nil, true)
    test.equal(schedule("every day").code, 2)
    test.equal(next(server.state.recurring), nil)
    local made = schedule "0 0 3 * * *"
    if made.code ~= 0 then error(made.stderr, 0) end
    local said = json.decode(made.stdout)
    local kept = server.state.recurring[said.recurring_run_id]
    test.equal(kept.trigger.cron_schedule.cron, "0 0 3 * * *")
    test.equal(schedule("@daily").code, 0)
  end, "none")
end)

test("Ctrl-C leaves the run; with --cancel it is ended", function()
  with_server(function(_, server, directory)
    fs.write(directory .. "/square.py", NOTEBOOK)
    for _, cancel in ipairs { false, true } do
      local process <close> = proc.spawn { host.executable(), "kale", "submit", directory .. "/square.py",
        "--endpoint", server.url, "--name", tostring(cancel), cancel and "--cancel" or "--quiet", stderr = "pipe" }
      while process:read_line("stderr", "30s"):find "PENDING" == nil do end
      require "pod".kill(process.pid, 2)
      local said = {}
      repeat
        local line = process:read_line "stderr"
        said[#said + 1] = line
      until not line
      test.equal(process:wait().code, 130)
      local wanted = cancel and "is ended" or "goes on"
      test.equal(table.concat(said, "\n"):find(wanted, 1, true) ~= nil, true)
      for _, run in pairs(server.state.runs) do
        if run.display_name == tostring(cancel) then test.equal(run.state, cancel and "CANCELING" or "PENDING") end
      end
    end
  end, "none")
end)

test("metrics keep their order in time, also where some bring no time of their own", function()
  with_server(function(k, server, directory)
    fs.write(directory .. "/steps.py", "# %% [step:a]\nfor v in (3, 2):\n"
      .. "    print('KFHOST-METRIC {\"name\": \"loss\", \"value\": %d}' % v)\nloss = 1.0\n"
      .. "# %% [pipeline-metrics]\nprint(loss)\n")
    local compiled_steps = submit.compile(directory .. "/steps.py")
    local uploaded = k:upload(compiled_steps.text, { name = "steps" })
    local spec = { trial = "tune-abc", pipeline_id = uploaded.pipeline_id, pipeline_version_id = uploaded.version_id,
      experiment = "tune", namespace = "team-a", objective = "loss" }
    local lines = {}
    local out = { write = function(_, text) lines[#lines + 1] = text end, flush = function() end }
    local code = trial.run(k, trial.read(function(name) return name == "KFHOST_TRIAL" and json.encode(spec) or nil end),
      out)
    test.equal(code, 0)
    local moments, values = {}, {}
    for i, line in ipairs(lines) do
      local time, value = line:match "^(%S+) loss=(%S+)"
      moments[i], values[i] = require "kube.time".parse(time), tonumber(value)
    end
    test.same(values, { 3, 2, 1 })
    for i = 2, #moments do test.equal(moments[i] >= moments[i - 1], true) end
    test.equal(next(server.state.runs) ~= nil, true)
  end)
end)
