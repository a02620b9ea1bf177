-- kfp.validate against what the recorded server refused, and what only we find.
local fs = require "fs"
local json = require "json"
local kfp = require "kfp"
local test = require "test"
local yaml = require "yaml"

local FOLDER = "tests/fixtures/wire-kfp"

local records, by_name = {}, {}
for _, file in ipairs(fs.list(FOLDER)) do
  local kind = file:find "%-badspec%-" or file:find "%-upload" or file:find "%-runparam%-"
  if file:find "%.json$" and kind then
    local record = json.decode(fs.read(FOLDER .. "/" .. file))
    records[#records + 1], by_name[record.name] = record, record
  end
end

-- The file that an exchange uploads; nil when it uploads none, an archive, or one that is not stored.
local function uploaded(record)
  local parts = record.request.body_kind == "multipart" and record.request.body.parts or {}
  local part = parts[1]
  if part and part.field == "uploadfile" and part.text and part.filename:find "%.%a+$" then return part.text end
end

local function errors_of(text, options)
  local stages = { upload = {}, create = {}, run = {} }
  for _, finding in ipairs(kfp.validate(text, options)) do
    if finding.severity == "error" then table.insert(stages[finding.stage], finding) end
  end
  return stages
end

-- What the recorder's server objected to besides the file: its name, tags, an earlier pipeline of the same name.
local NOT_THE_FILE = { "duplicate", "tag", "long%-name", "no%-id", "underscore", "bad%-name%-" }

local function is_about_the_file(record)
  for _, pattern in ipairs(NOT_THE_FILE) do
    if record.name:find(pattern) and not record.name:find "duplicate%-key" then return false end
  end
  return true
end

local checked = {}
for _, record in ipairs(records) do
  local text = uploaded(record)
  local single = record.server:find "^single%-user"
  if text and single and record.request.path:find "/upload" and is_about_the_file(record) then
    checked[#checked + 1] = record.name
    test(record.name .. ": an error exactly where the server refuses the file", function()
      local found = errors_of(text).upload
      local refused = record.response.status >= 400
      if (#found > 0) ~= refused then
        error(("server: %d, found: %s"):format(record.response.status, json.encode(found)))
      end
    end)
  end
end

-- The upload whose pipeline a run is made of.
local function source_of(record)
  for _, use in ipairs(record.uses or {}) do
    local upload = by_name[use.from]
    if upload and upload.request.path:find "/upload" then return uploaded(upload) end
  end
end

for _, record in ipairs(records) do
  local text = record.name:find "%-badspec%-run%-" and source_of(record)
  if text then
    checked[#checked + 1] = record.name
    test(record.name .. ": an error exactly where the server refuses a run", function()
      local parameters = (record.request.body.runtime_config or {}).parameters or {}
      local stages = errors_of(text, { parameters = parameters })
      test.same(stages.upload, {})
      local refused = record.response.status >= 400
      if (#stages.create > 0) ~= refused then
        error(("server: %d, found: %s"):format(record.response.status, json.encode(stages.create)))
      end
    end)
  end
end

-- --- parameters of a run ------------------------------------------------------------------------------------

for _, record in ipairs(records) do
  local body = record.name:find "%-runparam%-" and record.request.body
  local text = body and source_of(record)
  local spec = body and body.pipeline_spec
  if text or spec then
    checked[#checked + 1] = record.name
    test(record.name .. ": parameters are judged as by the server", function()
      local parameters = (body.runtime_config or {}).parameters or {}
      for name, value in pairs(parameters) do
        local made = type(value) == "table" and value.generate
        if made then parameters[name] = made.byte:rep(made.count) end
      end
      local stages = errors_of(text or spec, { parameters = parameters })
      local refused = record.response.status >= 400
      if (#stages.create > 0) ~= refused then
        error(("server: %d %s, found: %s"):format(record.response.status, json.encode(parameters),
          json.encode(stages.create)))
      end
    end)
  end
end

test("exactly the exchanges of the manifest were judged", function()
  table.sort(checked)
  test.same(checked, json.decode(fs.read(FOLDER .. "/manifest.json")).validate)
end)

-- --- what only we find ------------------------------------------------------------------------------------------

local PIPELINE = [[
pipelineInfo: {name: two}
schemaVersion: 2.1.0
root:
  inputDefinitions: {parameters: {rate: {parameterType: NUMBER_DOUBLE, defaultValue: 0.1}}}
  dag:
    tasks:
      make:
        taskInfo: {name: make}
        componentRef: {name: comp-make}
        inputs: {parameters: {rate: {componentInputParameter: rate}}}
      use:
        taskInfo: {name: use}
        componentRef: {name: comp-use}
        dependentTasks: [make]
        inputs: {artifacts: {data: {taskOutputArtifact: {producerTask: make, outputArtifactKey: data}}}}
components:
  comp-make:
    executorLabel: exec-make
    inputDefinitions: {parameters: {rate: {parameterType: NUMBER_DOUBLE}}}
    outputDefinitions: {artifacts: {data: {artifactType: {schemaTitle: system.Dataset, schemaVersion: 0.0.1}}}}
  comp-use:
    executorLabel: exec-use
    inputDefinitions: {artifacts: {data: {artifactType: {schemaTitle: system.Dataset, schemaVersion: 0.0.1}}}}
deploymentSpec:
  executors:
    exec-make: {container: {image: "python:3.11", command: [sh, -c, "echo {{$.inputs.parameters['rate']}}"]}}
    exec-use: {container: {image: "python:3.11", command: [cat]}}
]]

local function with(change)
  local ir = yaml.decode(PIPELINE)
  change(ir, ir.root.dag.tasks, ir.deploymentSpec.executors)
  return ir
end

test("settings of a step that are values are no inputs of its own, as the SDK writes them", function()
  test.same(kfp.validate(with(function(ir, t)
    local config = { { field = "RESOURCES" }, { field = "ENV", applyToTask = true } }
    ir.components["comp-make"].taskConfigPassthroughs = config
    t.make.inputs.parameters.cpu_limit = { runtimeValue = {
      constant = "{{$.inputs.parameters['pipelinechannel--cpu']}}" } }
    t.make.inputs.parameters["pipelinechannel--cpu"] = { runtimeValue = { constant = "1" } }
  end)), {})
end)

test("a workflow of Argo is no more than read", function()
  local head = "apiVersion: argoproj.io/v1alpha1\nkind: Workflow\n"
  test.same(kfp.validate(head .. "spec: {entrypoint: a}\n"), {})
  test.equal(kfp.validate(head .. "spec: 5\n")[1].path, "spec")
end)

test("a pipeline without a fault has no findings", function()
  test.same(kfp.validate(PIPELINE), {})
  test.same(kfp.validate(yaml.decode(PIPELINE)), {})
end)

test("names and words that old YAML takes for booleans are texts, as the server reads them", function()
  local text = [[
pipelineInfo: {name: hello}
schemaVersion: 2.1.0
components:
  comp-say:
    executorLabel: exec-say
    inputDefinitions: {parameters: {y: {parameterType: STRING, defaultValue: no}}}
deploymentSpec: {executors: {exec-say: {container: {image: alpine, command: [echo], args: [on, off]}}}}
root:
  inputDefinitions: {parameters: {n: {parameterType: STRING}}}
  dag: {tasks: {say: {taskInfo: {name: say}, componentRef: {name: comp-say},
    inputs: {parameters: {y: {componentInputParameter: n}}}}}}
]]
  test.same(require "kfp.validate".validate(text), {})
  test.same(require "kfp".decode(text).deploymentSpec.executors["exec-say"].container.args, { "on", "off" })
end)

test("protobuf's own spelling is judged like JSON's", function()
  local function findings(label)
    return require "kfp.validate".validate(([[
pipeline_info: {name: hello}
schema_version: 2.1.0
components: {comp-say: {executor_label: exec-say}}
deployment_spec: {executors: {%s: {container: {image: alpine, command: [echo]}}}}
root: {dag: {tasks: {say: {task_info: {name: say}, component_ref: {name: comp-say}, inputs: null}}}}
]]):format(label))
  end
  test.same(findings "exec-say", {})
  test.equal(findings("other")[1].path, "components.comp-say.executorLabel")
end)

test("a platform's document is read to its last field, in both spellings", function()
  local function findings(executor)
    return require "kfp.validate".validate(([[
pipelineInfo: {name: hello}
schemaVersion: 2.1.0
components: {comp-say: {executorLabel: exec-say}}
deploymentSpec: {executors: {exec-say: {container: {image: alpine, command: [echo]}}}}
root: {dag: {tasks: {say: {taskInfo: {name: say}, componentRef: {name: comp-say}}}}}
---
platforms: {kubernetes: {pipelineConfig: {workspace: {size: 1Gi}}, deploymentSpec: {executors: {exec-say: %s}}}}
]]):format(executor))
  end
  for _, right in ipairs {
    "{secretAsEnv: [{keyToEnv: [{secretKey: a, envVar: A}], secretName: s, optional: false}]}",
    "{secret_as_volume: [{mount_path: /m, secretNameParameter: {runtimeValue: {constant: s}}}]}",
    "{pvcMount: [{mountPath: /m, pvcNameParameter: {taskOutputParameter: {producerTask: p, outputParameterKey: n}}}]}",
    "{nodeSelector: {labels: {a: b}}, podMetadata: {annotations: {a: b}}, imagePullPolicy: Always}",
    "{tolerations: [{key: k, tolerationSeconds: '30'}], activeDeadlineSeconds: 60, enabledSharedMemory: {size: 1Gi}}",
    "{nodeAffinity: [{matchExpressions: [{key: k, values: [v]}], weight: 1}], podAffinity: [{anti: true}]}",
  } do
    test.same(findings(right), {})
  end
  local at = "platforms.kubernetes.deploymentSpec.executors.exec-say."
  for wrong, path in pairs {
    ["{bogus: 1}"] = "bogus", ["{secretAsEnv: [{bogus: 1}]}"] = "secretAsEnv[0].bogus",
    ["{imagePullPolicy: 3}"] = "imagePullPolicy", ["{tolerations: {key: k}}"] = "tolerations",
    ["{pvcMount: [{constant: a, componentInputParameter: b}]}"] = "pvcMount[0].",
  } do
    local found = findings(wrong)
    test.same({ #found, found[1].severity, found[1].stage }, { 1, "error", "create" })
    assert(found[1].path:find(at .. path, 1, true), found[1].path)
  end
end)

test("what only servers after the recorded one know is a warning", function()
  local findings = require "kfp.validate".validate([[
pipelineInfo: {name: hello}
schemaVersion: 2.1.0
components: {comp-say: {executorLabel: exec-say}}
deploymentSpec: {executors: {exec-say: {container: {image: alpine, command: [echo]}}}}
root: {dag: {tasks: {say: {taskInfo: {name: say}, componentRef: {name: comp-say}}}}}
---
platforms: {kubernetes: {deploymentSpec: {executors: {exec-say: {podResourceClaims: []}}}}}
]])
  test.same({ #findings, findings[1].severity }, { 1, "warning" })
end)

test("a condition that is right has no findings", function()
  test.same(kfp.validate(with(function(_, t)
    t.make.triggerPolicy = { condition = "parseJson(inputs.parameter_values['rate'])['k'] == 1 && "
      .. "double(inputs.parameter_values['rate']) < 0.5" }
  end)), {})
end)

test("what the server takes although it cannot work is a warning with its place", function()
  for sentence, case in pairs {
    ["no image"] = { function(_, _, e) e["exec-use"].container.image = nil end,
      "deploymentSpec.executors.exec-use.container.image" },
    ["a field of an executor that is passed over"] = { function(_, _, e) e["exec-use"].bogus = 1 end,
      "deploymentSpec.executors.exec-use.bogus" },
    ["a placeholder in the first word"] = { function(_, _, e) e["exec-use"].container.command = { "{{$}}" } end,
      "deploymentSpec.executors.exec-use.container.command[0]" },
    ["Concat"] = { function(_, _, e) e["exec-use"].container.args = { '{"Concat": ["a", "b"]}' } end,
      "deploymentSpec.executors.exec-use.container.args[0]" },
    ["an input that the component has not"] = { function(_, t)
      t.make.inputs.parameters.x = { runtimeValue = { constant = 1 } }
    end, "root.dag.tasks.make.inputs.parameters.x" },
    ["an input that the pipeline around has not"] = { function(_, t)
      t.make.inputs.parameters.rate = { componentInputParameter = "speed" }
    end, "root.dag.tasks.make.inputs.parameters.rate" },
    ["an input without a value"] = { function(_, t) t.use.inputs = nil end, "root.dag.tasks.use.inputs.artifacts" },
    ["an output that the producer has not"] = { function(_, t)
      t.use.inputs.artifacts.data.taskOutputArtifact.outputArtifactKey = "nothing"
    end, "root.dag.tasks.use.inputs.artifacts.data" },
    ["a constant of another type"] = { function(_, t)
      t.make.inputs.parameters.rate = { runtimeValue = { constant = "fast" } }
    end, "root.dag.tasks.make.inputs.parameters.rate" },
    ["a default of another type"] = { function(ir)
      ir.root.inputDefinitions.parameters.rate.defaultValue = "fast"
    end, "root.inputDefinitions.parameters.rate.defaultValue" },
    ["no name to be shown"] = { function(_, t) t.make.taskInfo = nil end, "root.dag.tasks.make.taskInfo.name" },
    ["a condition over an input that is not there"] = { function(_, t)
      t.make.triggerPolicy = { condition = "inputs.parameter_values['x'] == 'a'" }
    end, "root.dag.tasks.make.triggerPolicy.condition" },
    ["a condition that is no CEL"] = { function(_, t)
      t.make.triggerPolicy = { condition = "inputs.parameter_values['rate'] == 'it's'" }
    end, "root.dag.tasks.make.triggerPolicy.condition" },
    ["items that are no list"] = { function(_, t)
      t.make.parameterIterator = { itemInput = "rate", items = { raw = "1" } }
    end, "root.dag.tasks.make.parameterIterator.items.raw" },
    ["a component that nobody uses"] = { function(ir)
      ir.components["comp-other"] = { executorLabel = "exec-use" }
    end, "components.comp-other" },
    ["a component with a name that no pod can have"] = { function(ir, t)
      ir.components.Use = ir.components["comp-use"]
      ir.components["comp-use"], t.use.componentRef.name = nil, "Use"
    end, "components.Use" },
  } do
    local found
    local findings = kfp.validate(with(case[1]))
    for _, finding in ipairs(findings) do
      test.same({ sentence, finding.severity, finding.stage }, { sentence, "warning", "run" })
      found = found or finding.path == case[2]
    end
    assert(found, sentence .. ": " .. json.encode(findings))
  end
end)

test("what the server refuses has its place", function()
  for path, change in pairs {
    ["root.dag.tasks.use.componentRef.name"] = function(_, t) t.use.componentRef.name = "nobody" end,
    ["components.comp-use.executorLabel"] = function(ir) ir.components["comp-use"].executorLabel = "nobody" end,
    ["root.dag.tasks.use.dependentTasks[0]"] = function(_, t) t.use.dependentTasks = { "nobody" } end,
    ["root.dag.tasks.use.inputs.artifacts.data"] = function(_, t)
      t.make.dependentTasks = { "use" }
      t.use.dependentTasks = nil
    end,
    ["root.dag.tasks.make.bogus"] = function(_, t) t.make.bogus = 1 end,
    ["root.dag.tasks.make.cachingOptions.enableCache"] = function(_,
      t) t.make.cachingOptions = { enableCache = "yes" } end,
    ["components.comp-use.taskConfigPassthroughs[0].field"] = function(ir)
      ir.components["comp-use"].taskConfigPassthroughs = { { field = "EVERYTHING" } }
    end,
    ["pipelineInfo.name"] = function(ir) ir.pipelineInfo.name = "Two" end,
    ["schemaVersion"] = function(ir) ir.schemaVersion = "2.0.0" end,
  } do
    local findings = kfp.validate(with(change))
    assert(findings[1] and findings[1].severity == "error", path)
    test.equal(findings[1].path, path)
  end
end)

-- --- pipelines of Kale ---------------------------------------------------------------------------------------

local NOTEBOOK = [[# %% [pipeline-parameters]
rate = 0.1
# %% [skip]
print("not in a pipeline")
# %% [step:load]
import json

data = [1, 2]
# %% [step:train prev:load]
loss = rate * sum(data)
]]

local function compile_notebook()
  local path = test.tmpdir() .. "/train.py"
  require "fs".write(path, NOTEBOOK)
  return require "kale.submit".compile(path).ir
end

test("what is found in a pipeline of Kale is located by step, cell and line", function()
  local ir = compile_notebook()
  test.same(kfp.validate(ir), {})
  ir.deploymentSpec.executors["exec-load"].container.image = nil
  ir.root.dag.tasks.train.dependentTasks = { "ghost" }
  local found = {}
  for _, finding in ipairs(kfp.validate(ir)) do
    found[finding.path] = { finding.step, finding.cell, finding.line }
  end
  test.same(found["deploymentSpec.executors.exec-load.container.image"], { "load", 3, 1 })
  test.same(found["root.dag.tasks.train.dependentTasks[0]"], { "train", 4, 1 })
  ir.pipelineInfo.name = "No Name"
  for _, finding in ipairs(kfp.validate(ir)) do
    if finding.path == "pipelineInfo.name" then test.equal(finding.cell, nil) end
  end
end)

test("what was deflated is inflated again: small, large, alike and random texts", function()
  local hash, inflate = require "hash", require "kale.inflate"
  local texts = { "", "a", ("abc"):rep(5000), NOTEBOOK, hash.random_hex(256) }
  local bytes = {}
  for i = 1, 4000 do bytes[i] = string.char((i * 7919 + i * i) % 256) end
  texts[#texts + 1] = table.concat(bytes)
  for _, text in ipairs(texts) do test.equal(inflate.zlib(hash.deflate(text)), text) end
  for _, broken in ipairs { "", "x", "\x78\x9c", "\x78\x9c\x07", hash.deflate(NOTEBOOK):sub(1, 40) } do
    test.equal(pcall(inflate.zlib, broken), false)
  end
end)
