-- Kale's tags and metadata, row by row: what each means, in both eras, and what is said of a wrong one.
local fs = require "fs"
local host = require "host"
local ir = require "kale.ir"
local json = require "json"
local kfp = require "kfp"
local proc = require "proc"
local test = require "test"
local notebooks = dofile "tests/lua/support/notebooks.lua"

local PYTHON = "/usr/bin/python3"
local plan_of = notebooks.plan

local function codes(made)
  local list = {}
  for i, d in ipairs(made.diagnostics) do list[i] = ("%s@%s"):format(d.code, d.cell or "-") end
  return list
end

local function setup_of(step)
  local list = {}
  for i, piece in ipairs(step.setup) do list[i] = piece.source:match "^(.-)\n*$" end
  return list
end

-- --- 2.1, tags that say what a cell is -------------------------------------------------------------------

test("imports: in front of every step that uses it", function()
  local made = plan_of { { "imports", "import os\nimport sys" }, { "step:a", "os.getcwd()" },
    { "step:b", "sys.path" } }
  test.same(codes(made), {})
  test.same({ setup_of(made.steps[1]), setup_of(made.steps[2]) }, { { "import os" }, { "import sys" } })
end)

test("functions: after the imports, in every step that uses it", function()
  local made = plan_of { { "functions", "def f(): return os.getcwd()" }, { "imports", "import os" },
    { "step:a", "f()" }, { "step:b", "pass" } }
  test.same(codes(made), {})
  test.equal(#setup_of(made.steps[1]), 2)
  test.same(setup_of(made.steps[2]), {})
end)

test("pipeline-parameters: constants become the run's parameters", function()
  local made = plan_of { { "pipeline-parameters", "a = 1\nb = -2.5\nc = 'x'\nd = True\ne: int = +3\nf = None" },
    { "step:s", "print(a, b, c, d, e, f)" } }
  test.same(codes(made), {})
  local list = {}
  for i, p in ipairs(made.params) do list[i] = { p.name, p.type, p.default } end
  test.same(list, { { "a", "int", 1 }, { "b", "float", -2.5 }, { "c", "str", "x" }, { "d", "bool", true },
    { "e", "int", 3 }, { "f", "str", json.null } })
end)

test("pipeline-parameters: expressions, lists, chains and names are refused at their line", function()
  for _, wrong in ipairs { "1 + 1", "[1]", "(1, 2)", "y = 3", "other", "f'{1}'", "b'x'", "int(3)" } do
    local made = plan_of { { "pipeline-parameters", "a = 1\nx = " .. wrong }, { "step:s", "pass" } }
    test.same({ made.diagnostics[1].code, made.diagnostics[1].cell, made.diagnostics[1].line },
      { "parameter-not-constant", 1, 2 })
  end
end)

test("pipeline-metrics: print(name) lines, comments between them, stand last", function()
  local made = plan_of { { "step:a", "my_score = 1.0\nother = 2" },
    { "pipeline-metrics", "# what counts\nprint(my_score)\n\nprint(other)  # too" } }
  test.same(codes(made), {})
  test.same(made.metrics, { "my_score", "other" })
  test.same(made.steps[1].metrics, { "my_score", "other" })
  for _, wrong in ipairs { "x = 1", "print('x')", "print(a, b)", "print(a.b)", "display(other)" } do
    local bad = plan_of { { "step:a", "other = 2" }, { "pipeline-metrics", wrong } }
    test.same(codes(bad), { "metric-not-print@2" })
  end
end)

test("skip: the cell is left out, and what was active goes on", function()
  local made = plan_of { { "step:a", "x = 1" }, { "skip", "x = 2" }, { "", "y = x" } }
  test.same(codes(made), {})
  test.same(made.steps[1].cells, { 1, 3 })
end)

test("skip: in the parameters, too, what was active goes on", function()
  local made = plan_of { { "pipeline-parameters", "a = 1" }, { "skip", "b = 2" }, { "", "c = 3" },
    { "step:s", "a + c" } }
  test.same(codes(made), {})
  test.same({ made.params[1].name, made.params[2].name, #made.params }, { "a", "c", 2 })
end)

test("step: names of a-z, digits and _, and nothing else", function()
  for _, name in ipairs { "a", "_", "a1", "_x_1", "load_data" } do
    test.same(codes(plan_of { { "step:" .. name, "x = 1" } }), {})
  end
  for _, name in ipairs { "A", "1a", "a-b", "a.b", "ä", "a b" } do
    local made = plan_of { { { "step:" .. name }, "x = 1" }, { "step:z", "y = 1" } }
    test.equal(made.diagnostics[1].code, "step-name")
    test.equal(made.diagnostics[1].cell, 1)
  end
end)

test("block: is step, as in the first era", function()
  local made = plan_of { { "block:load", "x = 1" }, { "block:use prev:load", "y = x" } }
  test.same(codes(made), {})
  test.same(made.steps[2].after, { "load" })
end)

test("prev: an edge, as often as one likes, also without data", function()
  local made = plan_of { { "step:a", "pass" }, { "step:b", "pass" }, { "step:c prev:a prev:b prev:a", "pass" } }
  test.same(codes(made), {})
  test.same(made.steps[3].after, { "a", "b" })
  test.same(ir.build(made).root.dag.tasks.c.dependentTasks, { "a", "b" })
end)

-- --- 2.1, tags that say what a step has --------------------------------------------------------------------

-- The compiled step "a" with these tags: its task, container, component and part of the platform document.
local function step_of(tags, metadata)
  table.insert(tags, 1, "step:a")
  local made = plan_of({ { tags, "x = 1" } }, metadata)
  test.same(codes(made), {})
  local pipeline, platform = ir.build(made)
  test.same(kfp.validate(ir.encode(pipeline, platform)), {})  -- a server has nothing against it
  local kubernetes = platform and platform.platforms.kubernetes or {}
  local env = {}
  for _, pair in ipairs(pipeline.deploymentSpec.executors["exec-a"].container.env) do env[pair.name] = pair.value end
  return {
    task = pipeline.root.dag.tasks.a, container = pipeline.deploymentSpec.executors["exec-a"].container, env = env,
    platform = kubernetes.deploymentSpec and kubernetes.deploymentSpec.executors["exec-a"] or {},
    component = pipeline.components["comp-a"], pipeline = pipeline, limits = kubernetes.pipelineConfig or {},
  }
end

-- tag -> where it is in the compiled file; tags that are refused.
local OPTIONS = {
  annotation = {
    right = { "annotation:a:b", "annotation:example.com/note:some text: with marks",
      "annotation:sidecar.istio.io/inject:" },
    wrong = { "annotation:a", "annotation:-a:b", "annotation:a-:b", "annotation:a/b/c:d", "annotation:/a:b" },
    read = function(step) return step.platform.podMetadata.annotations end,
    want = { a = "b", ["example.com/note"] = "some text: with marks", ["sidecar.istio.io/inject"] = "" },
  },
  label = {
    right = { "label:a:b", "label:access-ml-pipeline:true", "label:example.com/team_1.x:A-1" },
    wrong = { "label:a", "label:a_:b", "label:a:b c", "label:a:-b", "label:a:" .. ("x"):rep(64) },
    read = function(step) return step.platform.podMetadata.labels end,
    want = { a = "b", ["access-ml-pipeline"] = "true", ["example.com/team_1.x"] = "A-1" },
  },
  limit = {
    right = { "limit:cpu:500m", "limit:memory:1.5Gi", "limit:amd.com/gpu:1" },
    wrong = { "limit:cpu", "limit:cpu:much", "limit:memory:1GiB", "limit::1", "limit:cpu:-1" },
    read = function(step) return step.container.resources end,
    want = { cpuLimit = 0.5, resourceCpuLimit = "500m", memoryLimit = 1.610612736, resourceMemoryLimit = "1.5Gi",
      accelerator = { type = "amd.com/gpu", resourceType = "amd.com/gpu", count = "1", resourceCount = "1" } },
  },
  request = {
    right = { "request:cpu:2", "request:memory:512Mi" }, wrong = { "request:cpu", "request:memory:x" },
    read = function(step) return step.container.resources end,
    want = { cpuRequest = 2, resourceCpuRequest = "2", memoryRequest = 0.536870912, resourceMemoryRequest = "512Mi" },
  },
  image = {
    right = { "image:registry.local:5000/me/image@sha256:" .. ("0"):rep(64) }, wrong = { "image:", "image:a b" },
    read = function(step) return step.container.image end,
    want = "registry.local:5000/me/image@sha256:" .. ("0"):rep(64),
  },
  cache = {
    right = { "cache:disabled" }, wrong = { "cache:", "cache:off", "cache:Enabled" },
    read = function(step) return step.task.cachingOptions end, want = {},
  },
  report = {
    right = { "report:disabled" }, wrong = { "report:", "report:yes" },
    read = function(step) return step.component.outputDefinitions or "none" end, want = "none",
  },
  secret = {
    right = { "secret:my-db.x:pass.word_1:DB_PASS" },
    wrong = { "secret:db", "secret:db:key", "secret:DB:key:V", "secret:db:k y:V", "secret:db:key:1V",
      "secret:a:b:c:d" },
    read = function(step) return step.platform.secretAsEnv[1].keyToEnv[1] end,
    want = { secretKey = "pass.word_1", envVar = "DB_PASS" },
  },
  retry = {
    right = { "retry:2:1m30s:1.5" }, wrong = { "retry:", "retry:x", "retry:-1", "retry:3:soon", "retry:3:1s:0.5" },
    read = function(step) return step.task.retryPolicy end,
    want = { maxRetryCount = 2, backoffDuration = "90s", backoffFactor = 1.5, backoffMaxDuration = "3600s" },
  },
  timeout = {
    right = { "timeout:1h30m" }, wrong = { "timeout:", "timeout:0", "timeout:5x", "timeout:-5" },
    read = function(step) return step.platform.activeDeadlineSeconds end, want = 5400,
  },
  packages = {
    right = { "packages:pandas==2.2.3, scikit-learn", "packages:requests[socks]>=2" },
    wrong = { "packages:", "packages:,a" },
    read = function(step) return step.env.KFHOST_PACKAGES end,
    want = "pandas==2.2.3 scikit-learn requests[socks]>=2",
  },
  volume = {
    right = { "volume:data:/data", "volume:more.v-1:/data/more" },
    wrong = { "volume:data", "volume:data:relative", "volume:DATA:/x", "volume::/x", "volume:data:/a:b",
      "volume:data:/a/../etc" },
    read = function(step) return { step.platform.pvcMount[1].mountPath, step.platform.pvcMount[2].constant } end,
    want = { "/data", "more.v-1" },
  },
  node = {
    right = { "node:disk:ssd", "node:example.com/zone=a" }, wrong = { "node:disk", "node:-x:y", "node:a:b c" },
    read = function(step) return step.platform.nodeSelector.labels end,
    want = { disk = "ssd", ["example.com/zone"] = "a" },
  },
  env = {
    right = { "env:MODE:fast", "env:URL:http://a:1/?b=c", "env:EMPTY:" },
    wrong = { "env:MODE", "env:1A:x", "env:A-B:x" },
    read = function(step) return { step.env.MODE, step.env.URL, step.env.EMPTY } end,
    want = { "fast", "http://a:1/?b=c", "" },
  },
}

for kind, row in pairs(OPTIONS) do
  test(kind .. ": on a step, in steps_defaults, and refused at its cell when it is wrong", function()
    test.same(row.read(step_of(table.move(row.right, 1, #row.right, 1, {}))), row.want)
    test.same(row.read(step_of({}, { steps_defaults = json.array(row.right) })), row.want)
    for _, tag in ipairs(row.wrong) do
      test.same(codes(plan_of { { "skip", "" }, { { "step:a", tag }, "x = 1" } }), { "tag-value@2" })
      test.same(codes(plan_of({ { "step:a", "x = 1" } }, { steps_defaults = json.array { tag } })), { "tag-value@-" })
    end
    test.same(codes(plan_of { { "step:a", "x = 1" }, { { row.right[1] }, "y = 1" } }), { "tag-without-step@2" })
  end)
end

-- --- 2.2, what cells mean together ----------------------------------------------------------------------

test("special tags win: every other tag of the cell is ignored, and that is said", function()
  for _, special in ipairs { "skip", "imports", "functions", "pipeline-parameters" } do
    local made = plan_of { { special .. " step:x limit:cpu:1", "a = 1" }, { "step:s", "pass" } }
    test.same({ codes(made)[1], codes(made)[2] }, { "tag-ignored@1", "tag-ignored@1" })
    test.equal(#made.steps, 1)
  end
end)

test("untagged cells join what is active, whatever its kind", function()
  local made = plan_of { { "imports", "import os" }, { "", "import sys" }, { "functions", "def f(): pass" },
    { "", "def g(): pass" }, { "step:a", "f()\ng()" }, { "", "os.getcwd()\nsys.path" } }
  test.same(codes(made), {})
  test.equal(#setup_of(made.steps[1]), 4)
  test.same(made.steps[1].cells, { 5, 6 })
end)

test("untagged cells before everything are left out, and that is said", function()
  local made = plan_of { { "", "lost = 1" }, { "", "" }, { "", "# only a comment" }, { "step:a", "x = 1" } }
  test.same(codes(made), { "cell-dropped@1", "cell-dropped@3" })
end)

test("a step's name that comes again goes on with it; its other tags are ignored, and that is said", function()
  local made = plan_of { { "step:a", "x = 1" }, { "step:b", "pass" }, { "step:a prev:b limit:cpu:1", "y = x" } }
  test.same(codes(made), { "tag-repeated@3", "tag-repeated@3" })
  test.same(made.steps[1].cells, { 1, 3 })
  test.same(made.steps[1].after, {})
end)

test("what Kale refuses is refused, each at its cell", function()
  for _, case in ipairs {
    { "tag-unknown", { { "step:a weird", "x = 1" } } }, { "tag-unknown", { { "step:a Step:b", "x = 1" } } },
    { "tag-not-text", { { { "step:a", 5 }, "x = 1" } } },
    { "tag-without-step", { { "step:z", "" }, { "prev:z", "x = 1" } } },
    { "prev-unknown", { { "step:a prev:later", "x = 1" }, { "step:later", "y = 1" } } },
    { "several-steps", { { "step:a step:b", "x = 1" } } },
    { "metrics-not-last", { { "step:a", "x = 1" }, { "pipeline-metrics", "print(x)" }, { "step:b", "y = 1" } } },
  } do
    local found = {}
    for _, d in ipairs(plan_of(case[2]).diagnostics) do found[d.code] = d.cell end
    assert(found[case[1]], case[1])
  end
end)

test("markdown and raw cells are no code", function()
  local made = plan_of { { "", "# Title", "markdown" }, { "", "raw", "raw" }, { "step:a", "x = 1" },
    { "", "text", "markdown" } }
  test.same(codes(made), {})
  test.same(made.steps[1].cells, { 3 })
end)

-- --- 2.3, the notebook's metadata --------------------------------------------------------------------------

local ONE = { { "step:a", "x = 1" } }

-- key -> a right value, what to see of it, and wrong values.
local KEYS = {
  experiment_name = { "e", function(made) return made.metadata.experiment_name end, wrong = { 5, { 1 } } },
  experiment = { { id = "1", name = "e" }, function(made) return made.metadata.experiment end, wrong = { "e", 1 } },
  pipeline_name = { "my-name", function(made) return ir.build(made).pipelineInfo.name end, wrong = { 5, {} } },
  pipeline_description = { "text", function(made) return ir.build(made).pipelineInfo.description end, wrong = { 5 } },
  kfp_host = { "http://x", function(made) return made.metadata.kfp_host end, wrong = { true } },
  katib_run = { true, function(made) return made.metadata.katib_run end, wrong = { "yes", 1 } },
  katib_metadata = { { maxTrialCount = 3 }, function(made) return made.metadata.katib_metadata end, wrong = { "x" } },
  storage_class_name = { "fast", function(made) return made.metadata.storage_class_name end, wrong = { 1 } },
  volume_access_mode = { "rwo", function(made) return made.metadata.volume_access_mode end, want = "ReadWriteOnce",
    wrong = { "x", 1 } },
  marshal_volume = { false, function(made) return #made.diagnostics end, want = 0, wrong = { "x" } },
}

-- key -> a right value, what to see of it in the compiled step, and wrong values.
local STEP_KEYS = {
  docker_image = { "old:1", function(step) return step.container.image end, wrong = { 1 } },
  base_image = { "new:1", function(step) return step.container.image end, wrong = { 1 } },
  abs_working_dir = { "/home/jovyan", function(step) return step.env.KFHOST_WORKING_DIR end, wrong = { 1 } },
  timeout = { 60, function(step) return step.limits.activeDeadlineSeconds end, wrong = { 0, -1, "soon", 1.5 } },
  enable_caching = { false, function(step) return step.task.cachingOptions end, want = {}, wrong = { "no", 1 } },
  steps_defaults = { { "label:a:b" }, function(step) return step.platform.podMetadata.labels end, want = { a = "b" },
    wrong = { "label:a:b", 1 } },
  security_context = { { enabled = true, run_as_user = 7, run_as_group = 8, run_as_non_root = false },
    function(step) return step.platform.securityContext end,
    want = { runAsUser = 7, runAsGroup = 8, runAsNonRoot = false }, wrong = { true, "x" } },
  volumes = { { { name = "v", type = "pvc", mount_point = "/v" } },
    function(step) return step.platform.pvcMount[1].mountPath end, want = "/v", wrong = { "x", 1 } },
}

-- key -> a value that asks for what there is no more.
local GONE = { marshal_path = "/marshal", autosnapshot = true, snapshot_volumes = true, output_path = "elsewhere" }

-- A list stays a list on the way to JSON.
local function as_given(value)
  return type(value) == "table" and value[1] ~= nil and json.array(value) or value
end

local function check_wrong(key, list)
  for _, value in ipairs(list) do
    local made = plan_of(ONE, { [key] = as_given(value) })
    test.same({ key, codes(made)[1] }, { key, "metadata-value@-" })
    assert(made.diagnostics[1].message:find("'" .. key .. "'", 1, true), made.diagnostics[1].message)
  end
end

for key, row in pairs(KEYS) do
  test("metadata " .. key .. " has its effect; a value of a wrong type is told", function()
    local made = plan_of(ONE, { [key] = as_given(row[1]) })
    test.same(codes(made), {})
    test.same(row[2](made), row.want == nil and row[1] or row.want)
    check_wrong(key, row.wrong)
  end)
end

for key, row in pairs(STEP_KEYS) do
  test("metadata " .. key .. " is in the pipeline; a value of a wrong type is told", function()
    test.same(row[2](step_of({}, { [key] = as_given(row[1]) })), row.want == nil and row[1] or row.want)
    check_wrong(key, row.wrong)
  end)
end

for key, value in pairs(GONE) do
  test("metadata " .. key .. " has no effect any more, which is told when it asks for one", function()
    test.same(codes(plan_of(ONE, { [key] = value })), { "metadata-ignored@-" })
    test.same(codes(plan_of(ONE, { [key] = type(value) == "boolean" and false or "" })), {})
  end)
end

test("empty and null metadata is as none, an unknown key is told by its name", function()
  local empty = {}
  for _, group in ipairs { KEYS, STEP_KEYS, GONE } do
    for key in pairs(group) do empty[key] = "" end
  end
  test.same(codes(plan_of(ONE, empty)), {})
  for key in pairs(empty) do empty[key] = json.null end
  test.same(codes(plan_of(ONE, empty)), {})
  local made = plan_of(ONE, { colour = "red" })
  test.same(codes(made), { "metadata-unknown@-" })
  assert(made.diagnostics[1].message:find("'colour'", 1, true))
  test.same(codes(plan_of(ONE, json.array { 1 })), { "metadata-value@-" })
end)

-- --- volumes -------------------------------------------------------------------------------------------

local function volume(fields)
  local entry = { name = "v", type = "pvc", mount_point = "/v" }
  for key, value in pairs(fields) do entry[key] = value ~= "none" and value or nil end
  return { volumes = json.array { entry } }
end

test("each key of a volume: what is wrong with it is told, and what it needs", function()
  for _, fields in ipairs {
    { name = "none" }, { name = 5 }, { name = "Upper" }, { name = "" }, { mount_point = "none" },
    { mount_point = "rel" }, { mount_point = 5 },
    { mount_point = "/a/.." }, { type = "none" }, { type = "clone" }, { type = "nfs" },
    { type = "new_pvc" }, { volume_access_mode = "many" }, { type = "new_pvc", size = "lots" },
  } do
    local name = json.encode(fields, { sort = true })
    test.same({ name, codes(plan_of(ONE, volume(fields)))[1] }, { name, "volume-wrong@-" })
  end
  test.same(codes(plan_of(ONE, volume { snapshot = true })), { "metadata-ignored@-" })
  test.same(codes(plan_of(ONE, volume { colour = "red" })), { "metadata-unknown@-" })
end)

test("new_pvc: size with its type, as number or text; access mode, class and annotations are the claim's", function()
  for _, size in ipairs {
    { 5, "Gi", "5Gi" }, { "5", "Gi", "5Gi" }, { "5Gi", "none", "5Gi" }, { 1.5, "Ti", "1.5Ti" },
  } do
    local step = step_of({}, volume {
      type = "new_pvc", size = size[1], size_type = size[2], volume_access_mode = "rom", storage_class_name = "fast",
      annotations = json.array { { key = "a", value = "b" }, { key = "", value = "" } },
    })
    local inputs = step.pipeline.root.dag.tasks["create-v"].inputs.parameters
    test.equal(inputs.size.runtimeValue.constant, size[3])
    test.same(inputs.access_modes.runtimeValue.constant, { "ReadOnlyMany" })
    test.equal(inputs.storage_class_name.runtimeValue.constant, "fast")
    test.same(inputs.annotations.runtimeValue.constant, { a = "b" })
  end
end)

test("clone, as notebooks of Rok's days have it: a new claim with the old one as its source, which is said", function()
  local made = plan_of(ONE, volume { type = "clone", size = 5, size_type = "Gi", annotations = json.array {},
    snapshot = false })
  test.same(codes(made), { "volume-clone@-" })
  local pipeline, platform = ir.build(made)
  test.same(kfp.validate(ir.encode(pipeline, platform)), {})
  local inputs = pipeline.root.dag.tasks["create-v"].inputs.parameters
  test.same(inputs.data_source.runtimeValue.constant, { apiGroup = "", kind = "PersistentVolumeClaim", name = "v" })
  test.equal(inputs.size.runtimeValue.constant, "5Gi")
end)

test("expose_as_env_var: KALE_VOLUME_ and the name, upper case, _ for every other character", function()
  local step = step_of({}, volume { name = "data.v-1", expose_as_env_var = true })
  test.equal(step.env.KALE_VOLUME_DATA_V_1, "/v")
end)

test("volumes are mounted from the outside in, whatever their order", function()
  local step = step_of({}, { volumes = json.array {
    { name = "c", type = "pvc", mount_point = "/home/me/data/raw" },
    { name = "a", type = "pvc", mount_point = "/home/me" },
    { name = "b", type = "pvc", mount_point = "/home/me/data" },
  } })
  local paths = {}
  for i, mount in ipairs(step.platform.pvcMount) do paths[i] = mount.mountPath end
  test.same(paths, { "/home/me", "/home/me/data", "/home/me/data/raw" })
end)

-- --- 3.5, what Kale 2.3.0's command line does -----------------------------------------------------------------

test("pipeline_name of the notebook is kept: shown, compiled, run", function()
  local path = fs.join(test.tmpdir(), "other-name.ipynb")
  fs.write(path, notebooks.text(ONE, { pipeline_name = "my-own-name", experiment_name = "e" }))
  local function kale(...) return proc.run { host.executable(), "kale", ... }.stdout end
  test.equal(json.decode(kale("show", path, "--json")).name, "my-own-name")
  test.equal(kfp.decode(kale("compile", path)).pipelineInfo.name, "my-own-name")
  local said = json.decode(kale("run", path, "--json", "--python", PYTHON))
  assert(said.directory:find "%-my%-own%-name%-%x+$", said.directory)
  test.equal(json.decode(fs.read(fs.join(said.directory, "run.json"))).name, "my-own-name")
end)

test("print lines of a step reach its log, the terminal and kale logs, each line as it was printed", function()
  local path = notebooks.write { { "step:a", "import sys\nprint('one')\nprint('é 🐍')\n"
    .. "print('err', file=sys.stderr)\nprint('no end', end='')" } }
  local result = proc.run { host.executable(), "kale", "run", path, "--json", "--python", PYTHON }
  local said = json.decode(result.stdout)
  local log = fs.read(fs.join(said.directory, "a", "log.txt"))
  for _, line in ipairs { "one", "é 🐍", "err", "no end" } do
    assert(("\n" .. log):find("\n" .. line .. "\n", 1, true), log)
    assert(result.stderr:find("a | " .. line .. "\n", 1, true), result.stderr)
  end
  test.equal(proc.run { host.executable(), "kale", "logs", path, "a" }.stdout, log)
end)
