local fs = require "fs"
local json = require "json"
local kfp = require "kfp"
local task = require "task"
local test = require "test"

-- A pipeline of shell steps. steps: {name, script, after=, inputs=, outputs=, …}; a script writes its output
-- parameter to $0. Whatever else an entry has is put into its task.
local function pipeline_of(steps, root)
  local ir = {
    pipelineInfo = { name = "shell" }, schemaVersion = "2.1.0", components = {},
    deploymentSpec = { executors = {} }, root = root or {},
  }
  local tasks = {}
  for _, step in ipairs(steps) do
    local name = step[1]
    local definitions, entries = {}, {}
    for key, input in pairs(step.inputs or {}) do
      definitions[key] = { parameterType = input.type or "STRING", isOptional = input.optional }
      if input.from then entries[key] = input.from end
    end
    ir.components["comp-" .. name] = {
      executorLabel = "exec-" .. name, inputDefinitions = { parameters = definitions },
      outputDefinitions = { parameters = { Output = { parameterType = step.type or "STRING" } } },
    }
    ir.deploymentSpec.executors["exec-" .. name] = {
      container = {
        image = step.image or "shell", command = json.array { "sh", "-c", step[2] },
        args = json.array { "{{$.outputs.parameters['Output'].output_file}}", table.unpack(step.args or {}) },
        env = step.env,
      },
    }
    tasks[name] = {
      componentRef = { name = "comp-" .. name }, inputs = { parameters = entries },
      cachingOptions = { enableCache = true }, dependentTasks = step.after and json.array(step.after),
      retryPolicy = step.retry, triggerPolicy = step.trigger,
    }
  end
  ir.root.dag = { tasks = tasks, outputs = ir.root.dag and ir.root.dag.outputs }
  return ir
end

local function output(name) return { taskOutputParameter = { producerTask = name, outputParameterKey = "Output" } } end

local function constant(value) return { runtimeValue = { constant = value } } end

local SHELL = { shell = { command = {} } }

local function run(ir, options, platform)
  options = options or {}
  options.images = options.images or SHELL
  options.root = options.root or fs.join(test.tmpdir(), "run")
  options.platform = platform
  local result = kfp.run(ir, options)
  local states = {}
  for _, t in ipairs(result.tasks) do states[t.name] = t.state end
  return result, states
end

local function output_of(result, name)
  for _, t in ipairs(result.tasks) do
    if t.name == name then return t.outputs.Output end
  end
end

local function task_of(result, name)
  for _, t in ipairs(result.tasks) do
    if t.name == name then return t end
  end
end

test("values go from step to step, and out of the pipeline", function()
  local ir = pipeline_of({
    { "one", "printf 1 > $0", type = "NUMBER_INTEGER" },
    { "two", "printf \"$1$1\" > $0", args = { "{{$.inputs.parameters['x']}}" },
      inputs = { x = { type = "NUMBER_INTEGER",
        from = output "one" } } },
  }, { dag = { outputs = { parameters = {
    answer = { valueFromParameter = { producerSubtask = "two", outputParameterKey = "Output" } } } } } })
  local result = run(ir)
  test.equal(result.state, "succeeded")
  test.same(result.outputs, { answer = "11" })
  test.equal(output_of(result, "one"), 1)
end)

test("an output of the wrong type fails its step", function()
  local result, states = run(pipeline_of { { "a", "printf one > $0", type = "NUMBER_INTEGER" } })
  test.equal(states.a, "failed")
  assert(result.error:find("NUMBER_INTEGER", 1, true), result.error)
end)

test("a condition that cannot be evaluated fails the run; nothing vanishes", function()
  local result, states = run(pipeline_of {
    { "a", "true", trigger = { condition = "inputs.parameter_values['n'] > 'x'" },
      inputs = { n = { type = "NUMBER_INTEGER", from = { runtimeValue = { constant = 3 } } } } },
  })
  test.equal(states.a, "failed")
  assert(result.error:find("no meaning", 1, true), result.error)
end)

test("a condition that is false skips its step, and what only comes after it runs", function()
  local _, states = run(pipeline_of {
    { "a", "true", trigger = { condition = "1 > 2" } }, { "b", "true", after = { "a" } },
  })
  test.same(states, { a = "skipped", b = "succeeded" })
end)

test("the value of a skipped step is missed loudly", function()
  local result, states = run(pipeline_of {
    { "a", "printf x > $0", trigger = { condition = "false" } },
    { "b", "true", inputs = { x = { from = output "a" } } },
  })
  test.same(states, { a = "skipped", b = "failed" })
  assert(result.error:find("'Output' of task a", 1, true), result.error)
end)

test("a failure skips what comes after it, and leaves the rest alone", function()
  local result, states = run(pipeline_of {
    { "a", "exit 3" }, { "b", "true", after = { "a" } }, { "c", "true", after = { "b" } }, { "d", "true" },
    { "e", "true", after = { "a" }, trigger = { strategy = "ALL_UPSTREAM_TASKS_COMPLETED" } },
  })
  test.same(states, { a = "failed", b = "skipped", c = "skipped", d = "succeeded", e = "succeeded" })
  test.equal(task_of(result, "a").exit, 3)
  test.equal(result.state, "failed")
end)

test("with fail_fast nothing is started after a failure, and what runs is stopped", function()
  local folder = test.tmpdir()
  local wait = ("echo up > %s/up; exec tail -f /dev/null"):format(folder)
  local fail = ("until [ -e %s/up ]; do :; done; exit 1"):format(folder)
  local result, states = run(pipeline_of {
    { "a", fail }, { "b", wait }, { "c", "true", after = { "b" } },
  }, { fail_fast = true, jobs = 2 })
  test.same(states, { a = "failed", b = "cancelled", c = "skipped" })
  test.equal(result.state, "failed")
end)

test("a step is tried again as often as its policy says", function()
  local folder = test.tmpdir()
  local script = ("echo >> %s/count; [ $(wc -l < %s/count) -ge 3 ] && printf ok > $0"):format(folder, folder)
  local notes = {}
  local result = run(pipeline_of { { "a", script, retry = { maxRetryCount = 2, backoffDuration = "0s" } } }, {
    on_event = function(event)
      if event.type == "note" then notes[#notes + 1] = event.text end
    end,
  })
  test.equal(result.state, "succeeded")
  test.equal(task_of(result, "a").attempts, 3)
  test.equal(#notes, 2)
  test.equal(fs.read(task_of(result, "a").log), "--- attempt 2 ---\n--- attempt 3 ---\n")
end)

test("a step that a signal ended says which it was", function()
  local ends = { KILL = "exit code 137: SIGKILL, perhaps for want of memory", TERM = "exit code 143: SIGTERM" }
  for signal, text in pairs(ends) do
    local result = run(pipeline_of { { "a", ("sh -c 'kill -%s $$'; exit $?"):format(signal) } })
    assert(result.error:find(text, 1, true), result.error)
  end
end)

test("numbers that are written as texts are numbers, as the SDK writes a time limit", function()
  local executors = { ["exec-a"] = { activeDeadlineSeconds = "60" } }
  local result = run(pipeline_of { { "a", "printf x > $0", retry = { maxRetryCount = "1" } } }, {},
    { platforms = { kubernetes = { deploymentSpec = { executors = executors },
      pipelineConfig = { activeDeadlineSeconds = "60" } } } })
  test.equal(result.state, "succeeded")
  test.raises("Pipeline", function() run(pipeline_of { { "a", "true", retry = { maxRetryCount = "many" } } }) end)
end)

test("protobuf's own spelling is read, and what is null is not there", function()
  local result = run [[
pipeline_info: {name: x}
schema_version: 2.1.0
components:
  comp-a: {executor_label: e, output_definitions: {parameters: {out_put: {parameter_type: NUMBER_INTEGER}}}}
deployment_spec: {executors: {e: {container: {image: shell, command: [sh, -c, 'printf 3 > "$0"'],
  args: ["{{$.outputs.parameters['out_put'].output_file}}"]}, importer: null}}}
root:
  dag:
    tasks: {a: {task_info: {name: a}, component_ref: {name: comp-a}, inputs: null, dependent_tasks: null,
      trigger_policy: null, retry_policy: null, parameter_iterator: null, caching_options: null}}
    outputs: {parameters: {all: {value_from_parameter: {producer_subtask: a, output_parameter_key: out_put}}}}
]]
  test.equal(result.state, "succeeded")
  test.equal(result.outputs.all, 3)
end)

test("a step whose time is over is stopped, and fails", function()
  local platform = { platforms = { kubernetes = { deploymentSpec = { executors = {
    ["exec-a"] = { activeDeadlineSeconds = 0.05 } } } } } }
  local result, states = run(pipeline_of { { "a", "exec tail -f /dev/null" } }, {}, platform)
  test.equal(states.a, "failed")
  assert(result.error:find("did not end within 0.05 s", 1, true), result.error)
end)

test("a pipeline whose time is over is stopped, and fails", function()
  local platform = { platforms = { kubernetes = { pipelineConfig = { activeDeadlineSeconds = 0.2 } } } }
  local ir = pipeline_of { { "a", "exec tail -f /dev/null" }, { "b", "true", after = { "a" } } }
  local result, states = run(ir, {}, platform)
  test.same(states, { a = "cancelled", b = "skipped" })
  test.equal(result.state, "failed")
  assert(result.error:find("the pipeline did not end within 0.2 s", 1, true), result.error)
  test.equal(run(pipeline_of { { "a", "true" } }, { root = fs.join(test.tmpdir(), "2") }, platform).state, "succeeded")
end)

test("the record of a run that was cancelled has what its steps came to, though they end after it", function()
  local root, under_way, count, result = test.tmpdir(), task.event(), 0, nil
  local running = task.spawn(function()
    result = run(pipeline_of { { "a", "exec tail -f /dev/null" }, { "b", "exec tail -f /dev/null" } }, { root = root,
      jobs = 2, on_event = function(event)
        count = count + (event.state == "running" and 1 or 0)
        if count == 2 then under_way:set() end
      end })
  end)
  under_way:wait()
  running:cancel()
  pcall(running.wait, running)
  for _, ending in ipairs(result.ending) do pcall(ending.wait, ending) end
  local record = json.decode(fs.read(root .. "/run.json"))
  test.equal(record.state, "cancelled")
  for _, one in ipairs(record.tasks) do
    test.equal(one.state, "cancelled")
    test.equal(type(one.seconds), "number")
  end
end)

test("what always runs is told how the task before it ended, and of which run", function()
  local ir = pipeline_of { { "a", "exit 3" }, { "b", 'printf "%s" "$1" > "$0"', args = {
    "{{$.inputs.parameters['status']}}" }, inputs = { status = { type = "TASK_FINAL_STATUS",
    from = { taskFinalStatus = { producerTask = "a" } } } } } }
  ir.root.dag.tasks.b.triggerPolicy = { strategy = "ALL_UPSTREAM_TASKS_COMPLETED" }
  ir.root.dag.tasks.b.dependentTasks = json.array { "a" }
  local status = json.decode(output_of(run(ir), "b"))
  test.same({ status.state, status.pipelineTaskName, status.error.code }, { "FAILED", "a", 3 })
  assert(status.pipelineJobResourceName:find "^shell%-%x+$", status.pipelineJobResourceName)
end)

test("what a step has started ends with it, and when its time is over, wherever that has gone", function()
  local folder = test.tmpdir()
  local script = [[cd "$1"; setsid sh -c 'trap "" TERM; echo $$ > x; mv x pid; exec sleep 600' > /dev/null 2>&1 &
    while ! [ -f pid ]; do sleep 0.01; done; ]]
  local function left(last, limit)
    local ir = pipeline_of { { "a", script .. last, args = { folder } } }
    local result = run(ir, {}, { platforms = { kubernetes = { deploymentSpec = { executors = {
      ["exec-a"] = { activeDeadlineSeconds = limit } } } } } })
    local pid = fs.read(folder .. "/pid"):match "%d+"
    fs.remove(folder .. "/pid")
    return result.state, fs.exists("/proc/" .. pid)
  end
  test.same({ left "echo x > $0" }, { "succeeded", false })
  test.same({ left "exit 1" }, { "failed", false })
  test.same({ left("sleep 600", 1) }, { "failed", false })
end)

test("a value that is too long for a command says so", function()
  local result = run(pipeline_of { { "a", "true", args = { ("x"):rep(200000) } } })
  test.equal(result.state, "failed")
  assert(result.error:find("a word of 200000 bytes", 1, true), result.error)
end)

test("what steps ask of a cluster and do not get here is told, once", function()
  local ir = pipeline_of { { "a", "true" }, { "b", "true" } }
  ir.deploymentSpec.executors["exec-a"].container.resources = { resourceCpuLimit = "2" }
  local executor = { nodeSelector = { labels = { disk = "ssd" } }, tolerations = { { key = "k" } } }
  local platform = { platforms = { kubernetes = { deploymentSpec = { executors = { ["exec-a"] = executor,
    ["exec-b"] = executor } } } } }
  local told = {}
  run(ir, { on_event = function(event)
    if event.type == "note" then told[#told + 1] = ("%s %s: %s"):format(event.about, event.name, event.text) end
  end }, platform)
  test.same(told, { "place shell: limits and requests, node selection, tolerations are a cluster's: here every step "
    .. "takes what this machine has" })
end)

test("limits hold for the steps", function()
  local _, states = run(pipeline_of { { "a", "ulimit -n > $0; [ $(ulimit -n) = 64 ]" } }, { rlimits = { files = 64 } })
  test.equal(states.a, "succeeded")
end)

test("IfPresent and Concat are words that depend on inputs", function()
  local args = {
    '{"Concat": ["--x=", "{{$.inputs.parameters[\'x\']}}"]}',
    '{"IfPresent": {"InputName": "y", "Then": ["--y", "given"], "Else": ["--none"]}}',
  }
  local result = run(pipeline_of {
    { "a", "printf '%s ' \"$@\" > $0", args = args,
      inputs = { x = { from = constant "1" }, y = { optional = true } } },
    { "b", "printf '%s ' \"$@\" > $0", args = args,
      inputs = { x = { from = constant "2" }, y = { from = constant "z" } } },
  })
  test.equal(output_of(result, "a"), "--x=1 --none ")
  test.equal(output_of(result, "b"), "--x=2 --y given ")
end)

test("constants may name other inputs; what a user gives is never looked into", function()
  local ir = pipeline_of({
    { "a", "printf '%s' \"$1\" > $0", args = { "{{$.inputs.parameters['text']}}" }, inputs = {
      name = { from = { componentInputParameter = "name" } },
      text = { from = constant "hello {{$.inputs.parameters['name']}} of {{$.pipeline_job_name}}" },
    } },
  }, { inputDefinitions = { parameters = { name = { parameterType = "STRING" } } } })
  local result = run(ir, { params = { name = "{{$}}" } })
  test.equal(output_of(result, "a"), "hello {{$}} of shell")
end)

test("constants name other inputs within lists and records, too", function()
  local ir = pipeline_of { { "a", "printf \"$1\" > $0", args = { "{{$.inputs.parameters['xs']}}" }, inputs = {
    xs = { type = "LIST", from = constant(json.array { "n={{$.inputs.parameters['n']}}", json.array { 1,
      { k = "{{$.pipeline_task_name}}" } } }) },
    n = { type = "NUMBER_INTEGER", from = constant(3) } } } }
  test.equal(output_of(run(ir), "a"), '["n=3",[1,{"k":"a"}]]')
end)

test("a text that names an input which the task cannot have fails its step; one that was left out is empty", function()
  local function words(name)
    local ir = pipeline_of { { "a", "printf \"<$1>\" > $0", args = { ("{{$.inputs.parameters['%s']}}"):format(name) },
      inputs = { free = { optional = true } } } }
    return run(ir)
  end
  test.equal(output_of(words "free", "a"), "<>")
  local result = words "nothing"
  test.equal(result.state, "failed")
  assert(result.error:find("{{$.inputs.parameters['nothing']}}", 1, true), result.error)
end)

test("what a task takes from the pipeline around it has to be there", function()
  local ir = pipeline_of { { "a", "true", inputs = { x = { from = { componentInputParameter = "y" } } } } }
  local err = test.raises("Pipeline", function() run(ir) end)
  test.same({ err.path, err.message }, { "$.root.dag.tasks.a.inputs.parameters.x",
    "the pipeline around it has no input 'y'" })
end)

test("constants name the run and the task, each by itself", function()
  local names = { job = "pipeline_job_name", resource = "pipeline_job_resource_name", uuid = "pipeline_job_uuid",
    task = "pipeline_task_name", task_uuid = "pipeline_task_uuid" }
  local inputs, words = {}, {}
  for key, name in pairs(names) do inputs[key] = { from = constant("{{$." .. name .. "}}") } end
  for _, key in ipairs { "job", "resource", "uuid", "task", "task_uuid" } do
    words[#words + 1] = ("{{$.inputs.parameters['%s']}}"):format(key)
  end
  local result = run(pipeline_of { { "say", 'out=$0; printf "%s|" "$@" > "$out"', inputs = inputs, args = words } })
  local job, resource, uuid, name, task_uuid = output_of(result, "say"):match "^(.-)|(.-)|(.-)|(.-)|(.-)|$"
  test.same({ job, name }, { "shell", "say" })
  assert(resource:find "^shell%-%x+$" and #uuid > 8 and task_uuid:find(uuid, 1, true), resource)
end)

test("what a step's interpreter has is not installed again; the rest goes into a folder of the step's own", function()
  local folder = test.tmpdir()
  -- An interpreter that notes what it is asked for.
  fs.write(folder .. "/python3", ('#!/bin/sh\necho "$@ in ${KFHOST_STEP_PACKAGES##*/}" >> %s/asked\n'):format(folder),
    { mode = 493 })
  local script = "python3 -m pip install --quiet 'kfp==2' && pip install other && python3 -c 1; "
    .. "printf %s $PYTHONPATH > $0"
  local result = run(pipeline_of { { "a", script, image = "python:3.11" } }, { python = folder .. "/python3" })
  test.equal(result.state, "succeeded")
  local bin = result.root .. "/.bin"
  test.equal(fs.read(folder .. "/asked"), ("%s/install.py --quiet kfp==2 in .packages\n"
    .. "%s/install.py other in .packages\n-c 1 in .packages\n"):format(bin, bin))
  test.equal(output_of(result, "a"):match "^[^:]*", result.root .. "/a/.packages")
end)

test("an artifact that a step wrote to a path of its own is found at its address", function()
  local ir = pipeline_of { { "a", "x=1" }, { "b", "y=1" } }
  local artifact = { artifactType = { schemaTitle = "system.Dataset" } }
  ir.components["comp-a"].outputDefinitions.artifacts = { data = artifact }
  ir.components["comp-b"].inputDefinitions.artifacts = { data = artifact }
  local a, b = ir.deploymentSpec.executors["exec-a"].container, ir.deploymentSpec.executors["exec-b"].container
  a.command[3] = [[mkdir -p "$2/deep"; echo mine > "$2/deep/file"
    printf '{"artifacts":{"data":{"artifacts":[{"name":"data","uri":"%s","custom_path":"%s"}]}}}' "$3" "$2/deep" > "$1"
    printf x > "$0"]]
  a.args = json.array { "{{$.outputs.parameters['Output'].output_file}}", "{{$.outputs.output_file}}", test.tmpdir(),
    "{{$.outputs.artifacts['data'].uri}}" }
  b.command[3] = 'cat "$1/file" > "$0"'
  b.args[2] = "{{$.inputs.artifacts['data'].path}}"
  ir.root.dag.tasks.b.inputs.artifacts = { data = { taskOutputArtifact = { producerTask = "a",
    outputArtifactKey = "data" } } }
  local result = run(ir)
  test.equal(result.state, "succeeded")
  test.equal(output_of(result, "b"), "mine\n")
end)

test("a placeholder that means nothing fails its step", function()
  local result = run(pipeline_of { { "a", "true", args = { "{{$.inputs.artifacts.no}}" } } })
  assert(result.error:find("{{$.inputs.artifacts.no}}", 1, true), result.error)
end)

test("an unknown image is refused before any step starts, with the line to add", function()
  local root = fs.join(test.tmpdir(), "run")
  local err = test.raises("Image", function()
    run(pipeline_of { { "a", "true" }, { "b", "true", image = "registry/tool:1" } }, { root = root })
  end)
  assert(err.message:find('["registry/tool:1"] = { command', 1, true), err.message)
  assert(not fs.exists(root))
end)

test("the longest pattern of an image wins, and its environment is the step's", function()
  local result = run(pipeline_of { { "a", "printf \"$WHICH\" > $0", image = "registry/tool:1" } }, {
    images = {
      ["registry/*"] = { command = {}, env = { WHICH = "all" } },
      ["registry/tool:*"] = { command = { "env", "EXTRA=1" }, env = { WHICH = "tool" } },
    },
  })
  test.equal(output_of(result, "a"), "tool")
end)

test("in an image python:* a shell finds the interpreter that was given", function()
  local folder = test.tmpdir()
  local python = fs.join(folder, "my python")
  fs.write(python, "#!/bin/sh\necho \"mine $*\"\n", { mode = 493 })
  local result = run(pipeline_of {
    { "a", "python3 -m x > $0; pip list >> $0", image = "docker.io/library/python:3.12" },
  }, { images = {}, python = python })
  test.equal(output_of(result, "a"), "mine -m x\nmine -m pip list\n")
end)

test("an equal step is taken from an earlier run, unless something that decides it changed", function()
  local folder = test.tmpdir()
  local count = fs.join(folder, "count")
  local function once(number, options)
    options.root, options.cache = fs.join(folder, "runs", number), true
    local result, states = run(pipeline_of({
      { "a", ("echo >> %s; printf %%s \"$1\" > $0"):format(count), args = { "{{$.inputs.parameters['x']}}" },
        inputs = { x = { from = { componentInputParameter = "x" } } } },
    }, { inputDefinitions = { parameters = { x = { parameterType = "STRING", defaultValue = "1" } } } }), options)
    return states.a, output_of(result, "a")
  end
  test.same({ once("1", {}) }, { "succeeded", "1" })
  test.same({ once("2", {}) }, { "cached", "1" })
  test.same({ once("3", { params = { x = "2" } }) }, { "succeeded", "2" })
  test.same({ once("4", { salt = function() return "new" end }) }, { "succeeded", "1" })
  fs.remove(fs.join(folder, "runs", "1"), { recursive = true })
  test.same({ once("5", {}) }, { "succeeded", "1" })
  test.equal(select(2, fs.read(count):gsub("\n", "")), 4)
end)

test("steps can be taken from another run by choice, or left out", function()
  local folder = test.tmpdir()
  local ir = pipeline_of {
    { "a", "printf old > $0" },
    { "b", "printf \"$1\" > $0", args = { "{{$.inputs.parameters['x']}}" },
      inputs = { x = { from = output "a" } } },
    { "c", "true", after = { "b" } },
  }
  run(ir, { root = fs.join(folder, "1") })
  local choices = { a = "reuse", c = "skip" }
  local result, states = run(ir, {
    root = fs.join(folder, "2"),
    choose = function(path) return choices[path] or "run", fs.join(folder, "1", path) end,
  })
  test.same(states, { a = "cached", b = "succeeded", c = "skipped" })
  test.equal(output_of(result, "b"), "old")
  test.equal(result.state, "succeeded")
end)

test("settings that a component hands on are told to it, and its own only where it says so", function()
  local ir = pipeline_of { { "a", [[printf '%s|%s' "$MODE" "$1" > $0]], args = { "{{$.inputs.parameters['config']}}" },
    env = json.array { { name = "MODE", value = "fast" } },
    inputs = { config = { type = "TASK_CONFIG", optional = true } } } }
  local platform = { platforms = { kubernetes = { deploymentSpec = { executors = { ["exec-a"] = {
    pvcMount = { { constant = "data", mountPath = "/there" } } } } } } } }
  local function told(passthroughs)
    ir.components["comp-a"].taskConfigPassthroughs = passthroughs
    local mode, config = output_of(run(ir, {}, platform), "a"):match "^(.-)|(.*)$"
    return mode, json.decode(config)
  end
  local mode, config = told(nil)
  test.equal(mode, "fast")
  test.equal(config.env, json.null)
  mode, config = told { { field = "ENV" }, { field = "KUBERNETES_VOLUMES" } }
  test.equal(mode, "")
  test.same(config.env, { { name = "MODE", value = "fast" } })
  test.same(config.volumeMounts, { { name = "data", mountPath = "/there" } })
  mode, config = told { { field = "ENV", applyToTask = true } }
  test.same({ mode, config.env[1].value, config.volumes }, { "fast", "fast", json.null })
end)

test("what a step is told of its settings does not keep it from being taken from an earlier run", function()
  local ir = pipeline_of { { "a", "echo x > $0", inputs = { config = { type = "TASK_CONFIG", optional = true } } } }
  local cache, folder = test.tmpdir(), test.tmpdir()
  local function state(number)
    local options = { cache = true, cache_root = cache, root = fs.join(folder, number) }
    return select(2, run(ir, options)).a
  end
  test.equal(state "1", "succeeded")
  ir.deploymentSpec.executors["exec-a"].container.resources = { resourceCpuLimit = "1" }
  ir.components["comp-a"].taskConfigPassthroughs = { { field = "RESOURCES" } }
  test.equal(state "2", "cached")
end)

test("loops run their rounds side by side, as many as allowed, and collect outputs in order", function()
  local ir = pipeline_of { { "inner", "printf \"$1\" > $0", args = { "{{$.inputs.parameters['item']}}" },
    inputs = { item = { from = { componentInputParameter = "item" } } } } }
  ir.components.loop = {
    dag = {
      tasks = ir.root.dag.tasks,
      outputs = { parameters = {
        all = { valueFromParameter = { producerSubtask = "inner", outputParameterKey = "Output" } } } },
    },
    inputDefinitions = { parameters = { item = { parameterType = "STRING" } } },
    outputDefinitions = { parameters = { all = { parameterType = "LIST" } } },
  }
  ir.root.dag = {
    tasks = { loop = {
      componentRef = { name = "loop" }, parameterIterator = { itemInput = "item", items = { raw = '["c","a","b"]' } },
      iteratorPolicy = { parallelismLimit = 1 },
    } },
    outputs = { parameters = {
      all = { valueFromParameter = { producerSubtask = "loop", outputParameterKey = "all" } } } },
  }
  local result, states = run(ir)
  test.same(result.outputs.all, { "c", "a", "b" })
  test.equal(states["loop/2/inner"], "succeeded")
  assert(fs.exists(fs.join(result.root, "loop", "0", "inner", "log.txt")))
end)

test("claims are made and removed without a process", function()
  local ir = pipeline_of { { "use", "printf \"$1\" > $0", args = { "{{$.inputs.parameters['claim']}}" }, inputs = {
    claim = { from = { taskOutputParameter = { producerTask = "make", outputParameterKey = "name" } } } } } }
  ir.components.make = {
    executorLabel = "make", inputDefinitions = { parameters = { pvc_name = { parameterType = "STRING" } } },
    outputDefinitions = { parameters = { name = { parameterType = "STRING" } } },
  }
  ir.deploymentSpec.executors.make = { container = { image = "argostub/createpvc" } }
  ir.root.dag.tasks.make = {
    componentRef = { name = "make" }, inputs = { parameters = { pvc_name = { runtimeValue = { constant = "data" } } } },
  }
  test.equal(output_of(run(ir), "use"), "data")
end)

test("what does not fit together is refused with its path", function()
  local function refused(code, change)
    local ir = pipeline_of { { "a", "true" }, { "b", "true", after = { "a" } } }
    change(ir)
    return test.raises(code, function() run(ir) end)
  end
  local tasks = "$.root.dag.tasks"
  test.equal(refused("Pipeline", function(ir) ir.components["comp-b"] = nil end).path, tasks .. ".b")
  test.equal(refused("Pipeline", function(ir) ir.root.dag.tasks.a.dependentTasks = { "b" } end).path, tasks .. ".b")
  test.equal(refused("Pipeline", function(ir) ir.root.dag.tasks.b.dependentTasks = { "x" } end).path, tasks .. ".b")
  test.equal(refused("Pipeline", function(ir) ir.deploymentSpec.executors["exec-a"] = nil end).path, tasks .. ".a")
  test.equal(refused("Pipeline", function(ir) ir.root.dag.tasks = {} end).path, tasks)
  test.equal(refused("Pipeline", function(ir)
    ir.root.dag.tasks.a.triggerPolicy = { condition = "x ==" }
  end).path, tasks .. ".a")
  test.equal(refused("Unsupported", function(ir)
    ir.deploymentSpec.executors["exec-a"] = { customJob = {} }
  end).path, tasks .. ".a")
  refused("Pipeline", function(ir)
    ir.components["comp-a"] = { dag = ir.root.dag }
  end)
end)

test("a run leaves a record that says what happened", function()
  local root = fs.join(test.tmpdir(), "run")
  run(pipeline_of { { "a", "exit 2" }, { "b", "true", after = { "a" } } }, { root = root })
  local record = json.decode(fs.read(fs.join(root, "run.json")))
  test.equal(record.version, 1)
  test.equal(record.state, "failed")
  test.equal(record.tasks[1].exit, 2)
  test.equal(record.tasks[2].state, "skipped")
end)

test("documents of both kinds are found in one text, and letters are names", function()
  local ir, platform = kfp.decode "platforms:\n  kubernetes: {}\n---\npipelineInfo:\n  name: n\nroot:\n  y: 1\n"
  test.equal(ir.pipelineInfo.name, "n")
  test.equal(ir.root.y, 1)
  assert(platform.platforms.kubernetes)
end)

test("a parameter that cannot be handed on is refused before any step starts", function()
  local ir = pipeline_of({ { "a", "printf x >$0" } }, { inputDefinitions = { parameters = {
    word = { parameterType = "STRING", isOptional = true }, list = { parameterType = "LIST", isOptional = true } } } })
  local itself = json.array {}
  itself[1] = itself
  for _, params in ipairs { { word = "\xff" }, { list = json.array { "\xff" } }, { list = itself } } do
    local problem = test.raises("Parameter", function() run(ir, { params = params }) end)
    assert(problem.message:find("cannot be handed on", 1, true), problem.message)
  end
  ir.root.inputDefinitions.parameters.word.defaultValue = "\xff"
  test.raises("Parameter", function() run(ir) end)
end)

test("what fails while it listens ends the run with its error; nothing waits for ever", function()
  local ir = pipeline_of { { "a", "printf x >$0" }, { "b", "printf x >$0", after = { "a" } }, { "c", "sleep 600" } }
  local ok, problem = pcall(run, ir, { on_event = function(event)
    if event.type == "task" and event.state == "succeeded" then error("mine", 0) end
  end })
  test.same({ ok, problem }, { false, "mine" })
end)
