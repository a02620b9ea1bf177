local fs = require "fs"
local host = require "host"
local ir = require "kale.ir"
local json = require "json"
local plan = require "kale.plan"
local proc = require "proc"
local test = require "test"

local PYTHON = "/usr/bin/python3"

-- Writes notebooks {name = cells}; a cell is {tags, source, notebook_path}. Gives the folder.
local function write(notebooks)
  local folder = test.tmpdir()
  for name, cells in pairs(notebooks) do
    local document = { nbformat = 4, metadata = json.object {}, cells = json.array {} }
    for i, cell in ipairs(cells) do
      local tags = json.array {}
      for tag in cell[1]:gmatch "%S+" do tags[#tags + 1] = tag end
      document.cells[i] = {
        cell_type = "code", metadata = { tags = tags, notebook_path = cell[3] }, source = cell[2],
      }
    end
    fs.write(fs.join(folder, name .. ".ipynb"), json.encode(document))
  end
  return folder
end

local function codes(made)
  local list = {}
  for i, d in ipairs(made.diagnostics) do list[i] = ("%s@%s"):format(d.code, d.cell or "-") end
  return list
end

local function read(notebooks) return plan.read(fs.join(write(notebooks), "root.ipynb")) end

local function run(notebooks, ...)
  local folder = write(notebooks)
  local path = fs.join(folder, "root.ipynb")
  local result = proc.run { host.executable(), "kale", "run", path, "--json", "--python", PYTHON, ... }
  local said, states = json.decode(result.stdout), {}
  for _, step in ipairs(said.steps) do states[step.name] = step.state end
  return states, said, result
end

local CHILD = {
  { "imports", "import math" }, { "functions", "def scale(v): return math.sqrt(v) * factor" },
  { "pipeline-parameters", "factor = 10\nown = 'kept'" }, { "step:first", "xs = [scale(v) for v in raw]" },
  { "step:second prev:first", "total = sum(xs)\nnote = own" },
}

local TWO = {
  child = CHILD,
  root = {
    { "pipeline-parameters", "factor = 2" }, { "step:load", "raw = [4, 9]" },
    { "notebook:part prev:load", "", "child.ipynb" },
    { "step:tell prev:part", "result = (total, note)\nprint(result)\nscore = total" },
    { "pipeline-metrics", "print(score)" },
  },
}

test("a notebook in a notebook is a pipeline in the pipeline; values cross both ways, parameters override", function()
  local made = read(TWO)
  test.same(codes(made), {})
  local pipeline = ir.build(made)
  local tasks = pipeline.root.dag.tasks
  test.same(tasks.part.inputs, {
    parameters = { factor = { componentInputParameter = "factor" } },
    artifacts = { raw = { taskOutputArtifact = { producerTask = "load", outputArtifactKey = "raw" } } },
  })
  test.same(tasks.part.dependentTasks, { "load" })
  test.same(tasks.tell.dependentTasks, { "part" })
  local inner = pipeline.components["comp-part"]
  test.equal(inner.inputDefinitions.parameters.own.defaultValue, "kept")
  test.same(inner.dag.tasks.second.dependentTasks, { "first" })
  test.same(inner.dag.tasks.first.inputs.artifacts.raw, { componentInputArtifact = "raw" })
  test.equal(pipeline.root.inputDefinitions.parameters.own, nil)
end)

test("it runs, and its steps are told by their own names", function()
  local states, said = run(TWO)
  test.same(states, { load = "succeeded", ["part.first"] = "succeeded", ["part.second"] = "succeeded",
    tell = "succeeded" })
  test.equal(said.metrics.score, 10)
  local _, other = run(TWO, "-p", "factor=4")
  test.equal(other.metrics.score, 20)
end)

test("what fails in it is told with its file, cell and line", function()
  local notebooks = { child = { { "skip", "" }, { "step:bad", "x = 1\nx / 0" } },
    root = { { "notebook:part", "# a comment", "child.ipynb" }, { "step:z", "y = 1" } } }
  local states, _, result = run(notebooks)
  test.same(states, { ["part.bad"] = "failed", z = "succeeded" })
  assert(result.stderr:find("cell 2 of child.ipynb, line 2", 1, true), result.stderr)
end)

test("edges follow data: independent notebooks stay apart, a maker goes before its user", function()
  local made = read {
    a = { { "step:s", "x = 1" } }, b = { { "step:s", "y = 2" } }, c = { { "step:s", "z = x + y" } },
    root = { { "notebook:c", "", "c.ipynb" }, { "notebook:a", "", "a.ipynb" }, { "notebook:b", "", "b.ipynb" },
      { "step:end", "print(z)" } },
  }
  test.same(codes(made), {})
  local after = {}
  for _, step in ipairs(made.steps) do after[step.name] = step.after end
  test.same(after, { ["a.s"] = {}, ["b.s"] = {}, ["c.s"] = { "a.s", "b.s" }, ["end"] = { "c.s" } })
end)

test("the same name in two notebooks stays apart in the pipeline, its own imports in each", function()
  local states = run {
    a = { { "imports", "import math as m" }, { "step:s", "x = m.floor(1.5)" }, { "step:t", "k = 1" } },
    b = { { "imports", "import json as m" }, { "step:s", "y = m.dumps([1])" }, { "step:t prev:s", "k2 = y" } },
    root = { { "notebook:one", "", "a.ipynb" }, { "notebook:two", "", "b.ipynb" },
      { "step:s", "assert (x, y) == (1, '[1]')" } },
  }
  test.equal(states.s, "succeeded")
end)

test("options of an inner notebook's steps are kept", function()
  local made = read { child = { { "step:s limit:cpu:2 retry:1", "x = 1" } },
    root = { { "notebook:part", "", "child.ipynb" } } }
  local pipeline = ir.build(made)
  test.equal(pipeline.components["comp-part"].dag.tasks.s.retryPolicy.maxRetryCount, 1)
  test.equal(pipeline.deploymentSpec.executors["exec-part-s"].container.resources.cpuLimit, 2)
end)

test("what is wrong with a notebook in a notebook is said at the cell that names it", function()
  local child = { { "step:s", "x = 1" } }
  local cases = {
    ["notebook-path@1"] = { root = { { "notebook:p", "" } } },
    ["notebook-missing@1"] = { root = { { "notebook:p", "", "no.ipynb" } } },
    ["notebook-itself@1"] = { root = { { "notebook:p", "", "root.ipynb" } } },
    ["notebook-cycle@1"] = { root = { { "notebook:p", "", "b.ipynb" } }, b = { { "notebook:q", "", "c.ipynb" } },
      c = { { "skip", "" }, { "notebook:r", "", "b.ipynb" } } },
    ["notebook-code@1"] = { root = { { "notebook:p", "x = 2", "c.ipynb" } }, c = child },
    ["cell-after-reference@2"] = { root = { { "notebook:p", "", "c.ipynb" }, { "", "y = 1" } }, c = child },
    ["step-twice@2"] = { root = { { "notebook:p", "", "c.ipynb" }, { "step:p", "y = 1" } }, c = child },
    ["notebook-order@1"] = { root = { { "notebook:p", "", "a.ipynb" }, { "notebook:q", "", "b.ipynb" } },
      a = { { "step:s", "x = y" } }, b = { { "step:s", "y = x" } } },
    ["tag-unknown@1"] = { root = { { "notebook:p", "", "c.ipynb" } }, c = { { "step:s odd", "x = 1" } } },
    ["undefined-name@1"] = { root = { { "notebook:p", "", "c.ipynb" } }, c = { { "step:s", "print(nothing)" } } },
  }
  for wanted, notebooks in pairs(cases) do
    local found = table.concat(codes(read(notebooks)), " ")
    assert((" " .. found .. " "):find(" " .. wanted .. " ", 1, true), wanted .. ": " .. found)
  end
end)

test("code after a notebook belongs to the next step", function()
  local made = read { child = { { "step:s", "x = 1" } },
    root = { { "notebook:p", "", "child.ipynb" }, { "", "y = x" }, { "step:end", "print(y)" } } }
  test.same(codes(made), {})
  test.same(made.steps[2].cells, { 2, 3 })
end)

-- Four levels: each part has a step of its own, a parameter, and the next part.
local DEEP = {
  root = {
    { "pipeline-parameters", "top = 1\nshared = 'root'" }, { "step:start", "seed = top" },
    { "notebook:a", "", "a.ipynb" }, { "step:end", "print('at the end', (seed, one, two, three, told))" },
  },
  a = {
    { "pipeline-parameters", "own_a = 10\nshared = 'a'" }, { "step:s", "one = seed + own_a" },
    { "notebook:b", "", "b.ipynb" }, { "step:after", "told.append('a ' + shared)" },
  },
  b = {
    { "imports", "import math" }, { "pipeline-parameters", "own_a = 99\nown_b = 100" },
    { "step:s", "two = math.floor(one + own_b + own_a)" }, { "notebook:c", "", "c.ipynb" },
    { "step:after", "told.append(own_b)" },
  },
  c = {
    { "functions", "def add(v): return v + own_c + own_b + top" },
    { "pipeline-parameters", "own_c = 1000\nown_b = 5\nonly = True" }, { "step:s limit:cpu:2", "three = add(two)" },
    { "step:t prev:s", "told = [shared, only, own_a]\nscore = three" }, { "pipeline-metrics", "print(score)" },
  },
}

test("parts have parts, to any depth: values go through all, a parameter comes from where it is set", function()
  local states, said, result = run(DEEP)
  test.same(states, { start = "succeeded", ["a.s"] = "succeeded", ["a.b.s"] = "succeeded", ["a.b.c.s"] = "succeeded",
    ["a.b.c.t"] = "succeeded", ["a.b.after"] = "succeeded", ["a.after"] = "succeeded", ["end"] = "succeeded" })
  local log = fs.read(fs.join(said.directory, "end", "log.txt"))
  -- own_a is a's in b and c, own_b is b's in c, top and shared are the root's everywhere.
  test.equal(log, "at the end (1, 11, 121, 1222, ['root', True, 10, 100, 'a root'])\n", result.stderr)
  test.equal(said.metrics.score, 1222)
  local _, other = run(DEEP, "-p", "top=2")
  test.equal(other.metrics.score, 1224)
end)

test("in the pipeline each part is a pipeline in that of the part around it", function()
  local made = read(DEEP)
  test.same(codes(made), {})
  local pipeline, platform = ir.build(made)
  local a, b, c = pipeline.components["comp-a"], pipeline.components["comp-a-b"], pipeline.components["comp-a-b-c"]
  test.same(a.dag.tasks.b.componentRef, { name = "comp-a-b" })
  test.same(b.dag.tasks.c.componentRef, { name = "comp-a-b-c" })
  test.same(c.dag.tasks.t.componentRef, { name = "comp-a-b-c-t" })
  test.equal(a.inputDefinitions.parameters.own_a.defaultValue, 10)
  test.equal(a.dag.tasks.b.inputs.parameters.own_a.componentInputParameter, "own_a")
  test.equal(b.dag.tasks.c.inputs.parameters.own_c, nil)
  test.equal(c.inputDefinitions.parameters.own_c.defaultValue, 1000)
  test.equal(pipeline.root.dag.tasks.a.inputs.parameters.own_a, nil)
  test.same(a.dag.tasks.b.inputs.artifacts.one, {
    taskOutputArtifact = { producerTask = "s", outputArtifactKey = "one" } })
  test.same(b.dag.tasks.s.inputs.artifacts.one, { componentInputArtifact = "one" })
  test.same(c.dag.tasks.s.inputs.artifacts.two, { componentInputArtifact = "two" })
  test.same(c.dag.outputs.artifacts.told.artifactSelectors[1], { producerSubtask = "t", outputArtifactKey = "told" })
  test.same(b.dag.tasks.after.inputs.artifacts.told, {
    taskOutputArtifact = { producerTask = "c", outputArtifactKey = "told" } })
  local found = {}
  for _, finding in ipairs(require "kfp".validate(ir.encode(pipeline, platform))) do
    found[#found + 1] = finding.path .. ": " .. finding.message
  end
  test.same(found, {})
end)

test("show --deps names the cells of parts as people count them", function()
  local path = fs.join(write(DEEP), "root.ipynb")
  local shown = proc.run { host.executable(), "kale", "show", "--deps", path }.stdout
  assert(shown:find("two +a%.b%.s +a%.b%.c%.s +value +read in cell 3 of c%.ipynb, line 1"), shown)
  assert(not shown:find "%d%d%d%d%d%d", shown)
end)

test("a circle of notebooks is refused with its chain; what is wrong deep inside is told with its way", function()
  local function messages(notebooks)
    local list = {}
    for i, d in ipairs(read(notebooks).diagnostics) do list[i] = ("%s@%d %s"):format(d.code, d.cell or 0, d.message) end
    return table.concat(list, "\n")
  end
  local told = messages { root = { { "skip", "" }, { "notebook:p", "", "b.ipynb" } },
    b = { { "notebook:q", "", "c.ipynb" } }, c = { { "skip", "" }, { "notebook:r", "", "b.ipynb" } } }
  test.equal(told, "notebook-cycle@2 b.ipynb, cell 1: c.ipynb, cell 2: notebooks name each other in a circle: "
    .. "b.ipynb → c.ipynb → b.ipynb")
  told = messages { root = { { "notebook:p", "", "b.ipynb" } }, b = { { "notebook:q", "", "c.ipynb" } },
    c = { { "skip", "" }, { "step:s", "x = 1\n print(missing)" } } }
  assert(told:find("@1 b.ipynb, cell 1: c.ipynb, cell 2, line 2", 1, true), told)
end)

test("what the metadata of a part says of its steps holds for them, the rest is told", function()
  local folder = write { root = { { "notebook:p", "", "part.ipynb" }, { "step:z", "y = 1" } }, part = {} }
  fs.write(fs.join(folder, "part.ipynb"), json.encode {
    nbformat = 4, metadata = { kubeflow_notebook = {
      base_image = "python:3.11", enable_caching = false, abs_working_dir = "/work", timeout = 60,
      security_context = { enabled = true, run_as_user = 7 }, steps_defaults = json.array { "label:team:x" },
      volumes = json.array {
        { name = "data", type = "pvc", mount_point = "/data", expose_as_env_var = true },
        { name = "new", type = "new_pvc", size = 1, mount_point = "/new" },
      },
    } },
    cells = json.array { { cell_type = "code", metadata = { tags = json.array { "step:s" } }, source = "x = 1" } },
  })
  local path = fs.join(folder, "root.ipynb")
  local made = plan.read(path)
  test.same(codes(made), { "metadata-ignored@1", "volume-wrong@1" })
  fs.write(fs.join(folder, "part.ipynb"), (fs.read(fs.join(folder, "part.ipynb")):gsub("new_pvc", "pvc")))
  local pipeline, platform = ir.build(plan.read(path))
  local executor = pipeline.deploymentSpec.executors["exec-p-s"].container
  local env = {}
  for _, pair in ipairs(executor.env) do env[pair.name] = pair.value end
  test.same({ executor.image, env.KALE_VOLUME_DATA, env.KFHOST_WORKING_DIR }, { "python:3.11", "/data", "/work" })
  test.same(pipeline.components["comp-p"].dag.tasks.s.cachingOptions, {})
  local config = platform.platforms.kubernetes.deploymentSpec.executors
  test.equal(config["exec-p-s"].securityContext.runAsUser, 7)
  test.same(config["exec-p-s"].podMetadata.labels, { team = "x" })
  test.same({ config["exec-p-s"].pvcMount[1].constant, config["exec-p-s"].pvcMount[2].constant }, { "data", "new" })
  test.equal(config["exec-z"], nil)
end)

test("a picture has no edge that says again what others say; the pipeline keeps them", function()
  local made = read {
    part = { { "step:one", "x = 1" }, { "step:two prev:one", "y = x" }, { "step:three prev:one", "z = x" } },
    root = { { "notebook:p", "", "part.ipynb" }, { "step:end prev:p", "print(y)" },
      { "step:last prev:p", "print(x)" } },
  }
  test.same(made.steps[4].after, { "p.one", "p.three", "p.two" })
  local edges = require "kale.picture".edges(made)
  test.same(edges[4], { "p.three", "p.two" })
  test.same(edges[5], { "p.one", "p.three", "p.two" })  -- there is data on that one
end)
