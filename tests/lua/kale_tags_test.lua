local ir = require "kale.ir"
local json = require "json"
local test = require "test"
local notebooks = dofile "tests/lua/support/notebooks.lua"

local plan_of = notebooks.plan

local function codes(made)
  local list = {}
  for i, d in ipairs(made.diagnostics) do list[i] = ("%s@%s"):format(d.code, d.cell or "-") end
  return list
end

-- The task, container and platform part of the one step "a" with these tags.
local function step_of(tags, metadata)
  table.insert(tags, 1, "step:a")
  local made = plan_of({ { tags, "x = 1" } }, metadata)
  test.same(codes(made), {})
  local pipeline, platform = ir.build(made)
  local kubernetes = platform and platform.platforms.kubernetes or {}
  return {
    task = pipeline.root.dag.tasks.a, container = pipeline.deploymentSpec.executors["exec-a"].container,
    platform = kubernetes.deploymentSpec and kubernetes.deploymentSpec.executors["exec-a"],
    component = pipeline.components["comp-a"], pipeline = pipeline, document = platform,
  }
end

local function environment_of(step)
  local env = {}
  for _, pair in ipairs(step.container.env) do env[pair.name] = pair.value end
  env.KFHOST_CACHE_KEY = nil
  return env
end

test("resources are there as numbers and as texts, as the SDK writes them", function()
  local step = step_of { "limit:cpu:500m", "limit:memory:4Gi", "request:cpu:0.25", "request:memory:1G",
    "limit:nvidia.com/gpu:2" }
  test.same(step.container.resources, {
    cpuLimit = 0.5, resourceCpuLimit = "500m", memoryLimit = 4.294967296, resourceMemoryLimit = "4Gi",
    cpuRequest = 0.25, resourceCpuRequest = "0.25", memoryRequest = 1.0, resourceMemoryRequest = "1G",
    accelerator = { type = "nvidia.com/gpu", resourceType = "nvidia.com/gpu", count = "2", resourceCount = "2" },
  })
  test.equal(step.document, nil)
end)

test("retry, timeout, image, cache and report are in the pipeline", function()
  local step = step_of { "retry:3:10s:1.5", "timeout:1h30m", "image:registry/x:1", "cache:disabled", "report:disabled" }
  test.same(step.task.retryPolicy, {
    maxRetryCount = 3, backoffDuration = "10s", backoffFactor = 1.5, backoffMaxDuration = "3600s",
  })
  test.equal(step.platform.activeDeadlineSeconds, 5400)
  test.equal(step.container.image, "registry/x:1")
  test.same(step.task.cachingOptions, {})
  test.equal(step.component.outputDefinitions, nil)
end)

test("environment and packages are in the container", function()
  local step = step_of { "env:MODE:a:b=c", "env:EMPTY=", "packages:pandas==2.2.3, numpy", "packages:scipy>=1" }
  test.same(environment_of(step), { MODE = "a:b=c", EMPTY = "", KFHOST_PACKAGES = "pandas==2.2.3 numpy scipy>=1" })
end)

test("secrets, volumes, nodes, labels and annotations are in the platform document", function()
  local step = step_of {
    "secret:db:password:DB_PASSWORD", "volume:data-claim:/data", "node:cloud.google.com/gke-accelerator:tesla",
    "label:team:a", "annotation:example.org/note:a text: with marks",
  }
  test.same(step.platform, {
    secretAsEnv = { {
      secretName = "db", secretNameParameter = { runtimeValue = { constant = "db" } }, optional = false,
      keyToEnv = { { secretKey = "password", envVar = "DB_PASSWORD" } },
    } },
    pvcMount = { {
      constant = "data-claim", pvcNameParameter = { runtimeValue = { constant = "data-claim" } }, mountPath = "/data",
    } },
    nodeSelector = { labels = { ["cloud.google.com/gke-accelerator"] = "tesla" } },
    podMetadata = { labels = { team = "a" }, annotations = { ["example.org/note"] = "a text: with marks" } },
  })
end)

test("defaults of the notebook hold for every step, unless its own tags say otherwise", function()
  local metadata = { steps_defaults = { "limit:memory:1Gi", "label:team:a", "image:base", "retry:2" } }
  local step = step_of({ "limit:memory:2Gi", "limit:cpu:1", "image:own" }, metadata)
  test.equal(step.container.resources.resourceMemoryLimit, "2Gi")
  test.equal(step.container.resources.resourceCpuLimit, "1")
  test.equal(step.container.image, "own")
  test.same(step.platform.podMetadata, { labels = { team = "a" } })
  test.equal(step.task.retryPolicy.maxRetryCount, 2)
  test.equal(step_of({}, metadata).container.resources.resourceMemoryLimit, "1Gi")
end)

test("block is step, an empty name is no tag", function()
  local made = plan_of { { "block:a", "x = 1" }, { "step: prev:", "y = x" } }
  test.equal(#made.steps, 1)
  test.same(made.steps[1].cells, { 1, 2 })
  test.same(codes(made), { "tag-empty@2", "tag-empty@2" })
end)

test("what is wrong with a tag is said, each at its cell", function()
  for tags, wanted in pairs {
    ["step:a unknown"] = "tag-unknown", ["step:a cache:on"] = "tag-value", ["step:a limit:memory:lots"] = "tag-value",
    ["step:a timeout:soon"] = "tag-value", ["step:a retry:x"] = "tag-value", ["step:a env:1A:b"] = "tag-value",
    ["step:a secret:db:DB"] = "tag-value", ["step:a volume:claim:data"] = "tag-value",
    ["step:a label:-x:y"] = "tag-value",
    ["step:a image:"] = "tag-value", ["step:a packages:,"] = "tag-value", ["step:A"] = "step-name",
    ["step:a step:b"] = "several-steps", ["step:a prev:b"] = "prev-unknown", ["step:a prev:a"] = "prev-unknown",
    ["prev:b"] = "tag-without-step", ["step:a cache:enabled cache:disabled"] = "tag-contradicts",
    ["step:a limit:disk:1Gi"] = "resource-unknown", ["step:a request:nvidia.com/gpu:1"] = "resource-request",
    ["step:a limit:nvidia.com/gpu:1 limit:amd.com/gpu:1"] = "resource-second", ["skip step:a"] = "tag-ignored",
  } do
    local found = codes(plan_of { { tags, "x = 1" }, { "step:z", "pass" } })
    local seen = false
    for _, code in ipairs(found) do seen = seen or code == wanted .. "@1" end
    assert(seen, tags .. ": " .. table.concat(found, " "))
  end
end)

test("a tag on a cell that is no code is missed, other people's tags are left alone", function()
  local made = plan_of { { "step:a", "# Title", "markdown" }, { "slide", "text", "markdown" }, { "step:b", "x = 1" } }
  test.same(codes(made), { "tag-on-text@1" })
end)

test("metrics are last, whatever comes after them", function()
  for _, tags in ipairs { "step:b", "step:a", "imports", "functions" } do
    local made = plan_of { { "step:a", "x = 1" }, { "pipeline-metrics", "print(x)" }, { tags, "import os" } }
    test.same(codes(made), { "metrics-not-last@2" })
  end
end)

test("both eras of metadata are read", function()
  local step = step_of({}, {
    experiment_name = "e", pipeline_name = "p", pipeline_description = "d", docker_image = "old:1", volumes = {},
    katib_run = false, katib_metadata = {}, abs_working_dir = "/home/jovyan", marshal_volume = true,
    autosnapshot = false, snapshot_volumes = false, steps_defaults = {}, storage_class_name = "",
    volume_access_mode = "", experiment = { id = "1", name = "e" }, output_path = ".kale", enable_caching = false,
    timeout = 600, security_context = { enabled = true, run_as_user = 1000 },
  })
  test.equal(step.pipeline.pipelineInfo.name, "p")
  test.equal(step.pipeline.pipelineInfo.description, "d")
  test.equal(step.container.image, "old:1")
  test.same(environment_of(step), { KFHOST_WORKING_DIR = "/home/jovyan" })
  test.same(step.task.cachingOptions, {})
  test.same(step.platform.securityContext, { runAsUser = 1000, runAsGroup = 0, runAsNonRoot = true })
  test.equal(step.document.platforms.kubernetes.pipelineConfig.activeDeadlineSeconds, 600)
  test.equal(step_of({}, { docker_image = "old:1", base_image = "new:1" }).container.image, "new:1")
end)

test("metadata that has no effect, is unknown or wrong is said", function()
  local made = plan_of({ { "step:a", "x = 1" } }, {
    marshal_path = "/m", autosnapshot = true, output_path = "out", snapshot_volumes = true, colour = "red",
    timeout = "soon", enable_caching = "maybe", volumes = { 1, { name = "v", type = "clone", mount_point = "/v" },
      { name = "w", type = "new_pvc", mount_point = "/w" }, { name = "x", type = "pvc", mount_point = "x" } },
    steps_defaults = { "step:a", "cache:enabled" }, pipeline_name = "My Pipeline",
    security_context = { enabled = true, run_as_user = "root" },
  })
  local count = {}
  for _, code in ipairs(codes(made)) do count[code] = (count[code] or 0) + 1 end
  test.same(count, {
    ["metadata-ignored@-"] = 4, ["metadata-unknown@-"] = 1, ["metadata-value@-"] = 3, ["volume-wrong@-"] = 4,
    ["default-wrong@-"] = 1, ["pipeline-name@-"] = 1,
  })
end)

test("volumes of the notebook are mounted, made and named in the environment", function()
  local step = step_of({}, { volume_access_mode = "rwo", volumes = {
    { name = "data.v-1", type = "pvc", mount_point = "/home/me/data", expose_as_env_var = true },
    { name = "new", type = "new_pvc", mount_point = "/new", size = "5", size_type = "Gi", annotations = {
      { key = "a", value = "b" } } },
  } })
  test.same(environment_of(step), { KALE_VOLUME_DATA_V_1 = "/home/me/data" })
  test.equal(step.platform.pvcMount[1].mountPath, "/new")
  test.same(step.platform.pvcMount[1].taskOutputParameter, { producerTask = "create-new", outputParameterKey = "name" })
  test.equal(step.platform.pvcMount[2].constant, "data.v-1")
  test.same(step.task.dependentTasks, { "create-new" })
  local inputs = step.pipeline.root.dag.tasks["create-new"].inputs.parameters
  test.equal(inputs.size.runtimeValue.constant, "5Gi")
  test.same(inputs.access_modes.runtimeValue.constant, { "ReadWriteOnce" })
  test.same(inputs.annotations.runtimeValue.constant, { a = "b" })
end)

test("a volume's own empty settings leave those of the notebook, and keys that nobody knows are told", function()
  local made = plan_of({ { "step:a", "x = 1" } }, { storage_class_name = "fast", volume_access_mode = "rwo", volumes = {
    { name = "v", type = "new_pvc", mount_point = "/v", size = 1, size_type = "Gi", storage_class_name = "",
      volume_access_mode = "", colour = "red", snapshot = false, snapshot_name = "" },
  } })
  test.same(codes(made), { "metadata-unknown@-" })
  local inputs = ir.build(made).root.dag.tasks["create-v"].inputs.parameters
  test.equal(inputs.storage_class_name.runtimeValue.constant, "fast")
  test.same(inputs.access_modes.runtimeValue.constant, { "ReadWriteOnce" })
end)

test("two volumes cannot give the same variable", function()
  local made = plan_of({ { "step:a", "x = 1" } }, { volumes = {
    { name = "a.b", type = "pvc", mount_point = "/1", expose_as_env_var = true },
    { name = "a-b", type = "pvc", mount_point = "/2", expose_as_env_var = true },
  } })
  test.same(codes(made), { "volume-wrong@-" })
end)

test("names are legal everywhere and stay apart", function()
  local long = ("x"):rep(80)
  local made = plan_of({
    { "pipeline-parameters", "größe = 1\nn = 2" }, { "step:a_b", "y = größe\nreport = y" }, { "step:a__b", "pass" },
    { "step:_", "pass" }, { "step:" .. long, "pass" }, { "step:" .. long .. "y prev:a_b", "print(report, n)" },
  }, { pipeline_name = "Ünïcode_Näme" })
  local pipeline = ir.build(made)
  local names = {}
  for key in pairs(pipeline.root.dag.tasks) do
    assert(#key <= 50 and key:find "^[a-z0-9][a-z0-9-]*$", key)
    names[#names + 1] = key
  end
  test.equal(#names, 5)
  assert(pipeline.root.dag.tasks["a-b"] and pipeline.root.dag.tasks["a-b-2"] and pipeline.root.dag.tasks.step)
  for key in pairs(pipeline.root.inputDefinitions.parameters) do assert(key:find "^[%a_][%w_]*$", key) end
  assert(pipeline.pipelineInfo.name:find "^[a-z0-9-]+$")
end)

test("no component bears the pipeline's name, which the SDK would take for that of a lone component", function()
  local made = plan_of({ { "step:train", "x = 1" }, { "step:train_step prev:train", "print(x)" } },
    { pipeline_name = "train" })
  local pipeline = ir.build(made)
  test.equal(pipeline.components["comp-train"], nil)
  test.equal(pipeline.root.dag.tasks.train.componentRef.name, "comp-train-step-2")
  assert(pipeline.components["comp-train-step-2"] and pipeline.deploymentSpec.executors["exec-train-step-2"])
end)

test("the same notebook gives the same bytes", function()
  local cells = { { "step:a limit:cpu:1 env:A:b label:x:y secret:s:k:V", "x = 1" }, { "step:b prev:a", "print(x)" } }
  test.equal(ir.encode(ir.build(plan_of(cells))), ir.encode(ir.build(plan_of(cells))))
end)

test("comments and blank lines leave a step's key as it is, code does not", function()
  local function key(source)
    local pipeline = ir.build(plan_of { { "imports", "import os  # why" }, { "step:a", source } })
    for _, pair in ipairs(pipeline.deploymentSpec.executors["exec-a"].container.env) do
      if pair.name == "KFHOST_CACHE_KEY" then return pair.value end
    end
  end
  local base = key "if 1:\n    x = 1\ny = os.sep"
  test.equal(key "# a comment\nif 1:  # more\n    # inside\n    x = 1\ny = os.sep  # end\n# of it\n", base)
  for _, other in ipairs {
    "if 1:\n    x = 2\ny = os.sep", "if 1:\n    x = 1\n    y = os.sep", "if 1: x = 1\nz = os.sep",
  } do
    assert(key(other) ~= base, other)
  end
end)

test("order that only a tag asks for is kept beside data", function()
  local made = plan_of {
    { "step:a", "x = 1" }, { "step:b", "pass" }, { "step:c prev:a prev:b", "print(x)" }, { "step:d", "pass" },
    { "step:e prev:b", "pass" },
  }
  local tasks = ir.build(made).root.dag.tasks
  test.same(tasks.c.dependentTasks, { "a", "b" })
  test.equal(tasks.d.dependentTasks, nil)
  test.same(tasks.e.dependentTasks, { "b" })
end)

test("each step gets its own parameters only", function()
  local made = plan_of {
    { "pipeline-parameters", "n = 1\nFOO = 'a\"b\\nc'\nfoo_param = 2" }, { "step:a", "print(n)" },
    { "step:b prev:a", "print(FOO, foo_param)" }, { "step:c prev:b", "print('none')" },
  }
  local pipeline = ir.build(made)
  local function names(step)
    local list = {}
    local inputs = pipeline.root.dag.tasks[step].inputs
    for name in pairs(inputs and inputs.parameters or {}) do list[#list + 1] = name end
    table.sort(list)
    return list
  end
  test.same({ names "a", names "b", names "c" }, { { "n" }, { "FOO", "foo_param" }, {} })
  test.equal(pipeline.root.inputDefinitions.parameters.FOO.defaultValue, 'a"b\nc')
end)

test("parameters are the constants that Python makes of them", function()
  local made = plan_of {
    { "pipeline-parameters", [[
a = 'it\'s'; b = "tab\t\x41\u00e9\U0001F600\101\q"
c = r'\n' 'x' "y"
d = """two
lines\
joined"""
e = -1_000; f = +.5; g = -0x10; h = 1e3; i = (3); j = -2.5e-3
k: float = 2; l: int = -7; m: str = 'x'; n: bool = True
o = None; p: int = None
q = ""]] },
    { "step:a", "print(a)" },
  }
  test.same(codes(made), {})
  local values = {}
  for _, parameter in ipairs(made.params) do values[parameter.name] = { parameter.type, parameter.default } end
  test.same(values, {
    a = { "str", "it's" }, b = { "str", "tab\tAé😀A\\q" }, c = { "str", "\\nxy" }, d = { "str", "two\nlinesjoined" },
    e = { "int", -1000 }, f = { "float", 0.5 }, g = { "int", -16 }, h = { "float", 1000.0 }, i = { "int", 3 },
    j = { "float", -0.0025 }, k = { "float", 2.0 }, l = { "int", -7 }, m = { "str", "x" }, n = { "bool", true },
    o = { "str", json.null }, p = { "int", json.null }, q = { "str", "" },
  })
  for _, source in ipairs {
    "x = 1, 2", "x = [1]", "x = y", "x = 1 + 1", "x = y = 1", "x, y = 1, 2", "x = f'a'", "x = b'a'", "x = 1j", "x: int",
    "x: int = 'a'", "x: float = True", "x += 1", "print(1)", "x = '\\N{DASH}'", "x = not True", "x = -True", "x = ...",
    "x = 1e400", "x = -1e400", "x = " .. ("9"):rep(400),
  } do
    test.same({ source, codes(plan_of { { "pipeline-parameters", source }, { "step:a", "z = 1" } }) },
      { source, { "parameter-not-constant@1" } })
  end
end)
