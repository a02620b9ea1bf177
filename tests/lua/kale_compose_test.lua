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
    ["notebook-nested@1"] = { root = { { "notebook:p", "", "b.ipynb" } }, b = { { "notebook:q", "", "c.ipynb" } },
      c = child },
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
