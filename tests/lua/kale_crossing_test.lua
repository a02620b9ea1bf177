-- What is wrong or silent in the older tools' dependency detection, and right or said here.
local fs = require "fs"
local host = require "host"
local ir = require "kale.ir"
local json = require "json"
local plan = require "kale.plan"
local proc = require "proc"
local test = require "test"
local notebooks = dofile "tests/lua/support/notebooks.lua"

local PYTHON = "/usr/bin/python3"
local plan_of = notebooks.plan

local function step_of(made, name)
  for _, step in ipairs(made.steps) do
    if step.name == name then return step end
  end
end

local function codes(made)
  local list = {}
  for i, d in ipairs(made.diagnostics) do list[i] = ("%s@%s:%s"):format(d.code, d.cell or "-", d.line or "-") end
  return list
end

-- Values that come in, as "name<step".
local function ins(made, name)
  local list = {}
  for i, value in ipairs(step_of(made, name).values_in) do list[i] = value.name .. "<" .. value.from end
  return list
end

-- Runs a notebook; what its steps printed, in the order of steps.
local function run(cells, ...)
  local path = notebooks.write(cells)
  local result = proc.run { host.executable(), "kale", "run", path, "--json", "--python", PYTHON, ... }
  local said = json.decode(result.stdout)
  if said.state ~= "succeeded" then error(result.stderr) end
  local printed = {}
  for i, step in ipairs(said.steps) do
    local log = fs.read(fs.join(said.directory, (step.name:gsub("_", "-")), "log.txt"))
    printed[i] = log:gsub("KFHOST%-METRIC[^\n]*\n", "")
  end
  return table.concat(printed), said
end

-- --- producers ---------------------------------------------------------------------------------------

test("a comprehension's or lambda's variable in a nearer step is no producer", function()
  local made = plan_of {
    { "step:a", "x = 1" }, { "step:b prev:a", "y = [x for x in range(3)]\nf = lambda x: x" },
    { "step:c prev:b", "print(x)" },
  }
  test.same(ins(made, "c"), { "x<a" })
end)

test("two parents that both make a name are an error, in whatever order they are named", function()
  for _, prev in ipairs { "prev:a prev:b", "prev:b prev:a" } do
    local made = plan_of { { "step:a", "x = 1" }, { "step:b", "x = 2" }, { "step:c " .. prev, "print(x)" } }
    test.same(codes(made), { "two-producers@3:1" })
  end
end)

test("a missing edge is said with the tag to add, also where a function reads the name", function()
  local made = plan_of {
    { "functions", "def scale(x):\n    return x * rate" }, { "step:a", "rate = 2" }, { "step:b", "print(scale(1))" },
  }
  test.same(codes(made), { "missing-edge@1:2" })
  test.equal(made.diagnostics[1].hint, "add the tag prev:a")
end)

test("a misspelt name is said, with the one that was meant", function()
  local made = plan_of { { "step:a", "total = 1\nprint(toatl)" } }
  test.same(codes(made), { "undefined-name@1:2" })
  test.equal(made.diagnostics[1].hint, "did you mean 'total'?")
end)

test("an async function of an earlier step takes what it needs", function()
  local cells = {
    { "step:a", "limit = 5\nasync def load():\n    return limit" }, { "step:b prev:a", "print(await load())" },
  }
  local made = plan_of(cells)
  test.same(codes(made), {})
  test.same(ins(made, "b"), { "limit<a" })
  test.equal(run(cells), "5\n")
end)

test("a class of an earlier step takes the globals that its methods use", function()
  local cells = {
    { "step:a", "unit = [2]\nclass Box:\n    def size(self):\n        return unit" },
    { "step:b prev:a", "print(Box().size())" },
  }
  local made = plan_of(cells)
  test.same(codes(made), {})
  test.same(ins(made, "b"), { "unit<a" })
  test.equal(run(cells), "[2]\n")
end)

test("a function that is passed as an argument takes its free variables", function()
  local cells = {
    { "step:a", "factor = 3\ndef times(x):\n    return x * factor" },
    { "step:b prev:a", "print(list(map(times, [1])))" },
  }
  local made = plan_of(cells)
  test.same(codes(made), {})
  test.same(ins(made, "b"), { "factor<a" })
  test.equal(run(cells), "[3]\n")
end)

test("a star import goes to the steps after it and is no value", function()
  local made = plan_of { { "step:a", "from math import *" }, { "step:b prev:a", "print(sqrt(4))" } }
  test.same(codes(made), { "star-import@1:1" })
  test.same(step_of(made, "b").ins, {})
  test.equal(step_of(made, "b").setup[1].source, "from math import *\n")
end)

test("a dotted import gives its first name", function()
  local made = plan_of { { "step:a", "import os.path" }, { "step:b prev:a", "print(os.sep)" } }
  test.same(codes(made), {})
  test.same(step_of(made, "b").ins, {})
end)

test("display and get_ipython are no data", function()
  local made = plan_of { { "step:a", "x = 1\ndisplay(x)" }, { "step:b prev:a", "display(x)\nget_ipython()" } }
  test.same(codes(made), {})
  test.same(step_of(made, "b").ins, { "x" })
end)

test("a parameter that a step assigns has the new value in later steps", function()
  local made = plan_of {
    { "pipeline-parameters", "rate = 1" }, { "step:a", "rate = rate * 2" }, { "step:b prev:a", "print(rate)" },
  }
  test.same(ins(made, "b"), { "rate<a" })
  test.same(step_of(made, "b").params, {})
end)

test("what one branch changes in place is said where its siblings read it", function()
  local made = plan_of {
    { "step:a", "xs = []" }, { "step:b prev:a", "xs.append(1)" }, { "step:c prev:a", "print(xs)" },
    { "step:d prev:b", "print(xs)" },
  }
  test.same(codes(made), { "lost-change@3:1" })
  test.same(ins(made, "d"), { "xs<b" })
end)

test("a step that takes a name and makes it anew is no edge to itself", function()
  local made = plan_of {
    { "step:a", "x = 1" }, { "step:b prev:a", "def f(x):\n    return x\nx = f(x)" }, { "step:c prev:b", "print(x)" },
  }
  test.same(step_of(made, "b").after, { "a" })
  test.same(ins(made, "c"), { "x<b" })
end)

-- --- magics ------------------------------------------------------------------------------------------

test("magics run in the step", function()
  local printed = run {
    { "step:a", "%matplotlib inline\nx = 3\n%env KF_X=1\nimport os\nprint(os.environ['KF_X'])" },
    { "", "%%capture got\nprint('hidden')" }, { "", "%%writefile f.txt\nwritten" }, { "", "%%bash\ncat f.txt" },
    { "step:b prev:a", "print(got.stdout, x)" },
  }
  test.equal(printed, "env: KF_X=1\n1\nWriting f.txt\nwritten\nhidden\n 3\n")
end)

test("shell lines run in the step, and their output crosses", function()
  local printed = run {
    { "step:a", "lines = !printf 'a\\nb'\n!echo {lines[1]} $$no_name" }, { "step:b prev:a", "print(lines)" },
  }
  test.equal(printed, "b\n['a', 'b']\n")
end)

test("a line that goes on with the modulo operator is no magic", function()
  test.equal(run { { "step:a", "x = (7\n%4)\ny = 9 \\\n% 5\nprint(x, y)" } }, "3 4\n")
end)

-- --- order -------------------------------------------------------------------------------------------

test("an edge without data stays beside those with data, in the pipeline, too", function()
  local made = plan_of { { "step:a", "x = 1" }, { "step:b", "print(1)" }, { "step:c prev:a prev:b", "print(x)" } }
  test.same(step_of(made, "c").after, { "a", "b" })
  test.same(ir.build(made).root.dag.tasks.c.dependentTasks, { "a", "b" })
end)

test("steps side by side without data stay side by side", function()
  local made = plan_of {
    { "step:a", "print(1)" }, { "step:b prev:a", "print(2)" }, { "step:c prev:a", "print(3)" },
  }
  test.same(step_of(made, "c").after, { "a" })
end)

test("with infer, edges follow data where there are no tags, and tags stay", function()
  local cells = {
    { "step:a", "x = 1" }, { "step:b", "y = x" }, { "step:c", "z = 2" }, { "step:d prev:c", "print(y)" },
  }
  test.same(codes(plan_of(cells)), { "missing-edge@2:1", "missing-edge@4:1" })
  local made = plan_of(cells, nil, { infer = true })
  test.same(codes(made), {})
  test.same(step_of(made, "b").after, { "a" })
  test.same(step_of(made, "c").after, {})
  test.same(step_of(made, "d").after, { "b", "c" })
end)

test("quotes, backslashes and line ends in a parameter arrive as they are", function()
  local text = "it's \"x\"\n\\n {{$}} python3"
  local printed = run({ { "pipeline-parameters", "text = 'a'" }, { "step:a", "print(ascii(text))" } },
    "--param", "text=" .. text)
  test.equal(printed, "'it\\'s \"x\"\\n\\\\n {{$}} python3'\n")
end)

test("an input that nobody makes stops the compiler, so that no task lacks its producer", function()
  local made = plan_of { { "step:a", "print(x)" }, { "step:b", "x = 1" }, { "step:c prev:b", "print(x)" } }
  test.same(codes(made), { "missing-edge@1:1" })
  test.same(ins(made, "c"), { "x<b" })
  local built = ir.build(plan_of { { "step:b", "x = 1" }, { "step:c prev:b", "print(x)" } })
  local input = built.root.dag.tasks.c.inputs.artifacts.x.taskOutputArtifact
  test.same({ input.producerTask, input.outputArtifactKey }, { "b", "x" })
end)

test("the notebook's name stays the pipeline's, and what a step prints is in its log", function()
  local path = fs.join(test.tmpdir(), "a.ipynb")
  fs.write(path, notebooks.text({ { "step:a", "print('here')" } }, { pipeline_name = "my-own", experiment_name = "e" }))
  local result = proc.run { host.executable(), "kale", "run", path, "--json", "--python", PYTHON }
  local said = json.decode(result.stdout)
  test.equal(fs.read(fs.join(said.directory, "a", "log.txt")), "here\n")
  test.equal(ir.build(plan.read(path)).pipelineInfo.name, "my-own")
end)

test("names in capitals are no other names", function()
  local made = plan_of {
    { "pipeline-parameters", "FOO = 1\nfoo_param = 2\nfoo = 3" }, { "step:a", "print(FOO, foo_param, foo)" },
  }
  test.same(step_of(made, "a").params, { "FOO", "foo", "foo_param" })
  local built = ir.build(made)
  local inputs = built.components[built.root.dag.tasks.a.componentRef.name].inputDefinitions.parameters
  assert(inputs.FOO and inputs.foo and inputs.foo_param)
end)

-- --- what a right split knows ------------------------------------------------------------------------

test("what a function brings along fills gaps and never replaces what the step has", function()
  local printed = run {
    { "step:a", "unit = 'km'\ndef label(x):\n    return f'{x} {unit}'\nboth = {'f': label}" },
    { "step:b prev:a", "unit = 'm'\nprint(both['f'](1), label(2))" }, { "step:c prev:a", "print(both['f'](3))" },
  }
  test.equal(printed, "1 m 2 m\n3 km\n")
end)

test("a step that hands a changed object on relays it, and what shares it", function()
  local made = plan_of {
    { "step:a", "xs = []\nview = xs" }, { "step:b prev:a", "xs.append(1)" }, { "step:c prev:b", "print(view)" },
  }
  test.same(step_of(made, "b").outs, { "view" })
  test.same(ins(made, "c"), { "view<b" })
end)

test("a store that may not run lets the old value in only when it is wanted later", function()
  local cells = {
    { "step:a", "best = 0\nn = 5" }, { "step:b prev:a", "if n > 9:\n    best = n\nfor i in range(2):\n    pass" },
    { "step:c prev:b", "print(n)" }, { "step:d prev:b", "print(best)" },
  }
  test.same(ins(plan_of(cells), "b"), { "best<a", "n<a" })
  table.remove(cells)
  test.same(ins(plan_of(cells), "b"), { "n<a" })
end)

test("instances, enumerations and exceptions of the notebook's classes are theirs in every step", function()
  local printed = run {
    { "step:a", "import enum\nclass Kind(enum.Enum):\n    ONE = 1\nclass Bad(Exception):\n"
      .. "    def __init__(self, code):\n        super().__init__(f'code {code}')\n        self.code = code\n"
      .. "kinds = [Kind.ONE]\nbad = Bad(7)" },
    { "step:b prev:a", "print(kinds[0] is Kind.ONE, bad, bad.code, isinstance(bad, Bad))" },
    { "step:c prev:b", "print(kinds, type(bad).__name__)" },
  }
  test.equal(printed, "True code 7 7 True\n[<Kind.ONE: 1>] Bad\n")
end)

test("None is a parameter's default", function()
  local cells = { { "pipeline-parameters", "limit = None" }, { "step:a", "print(limit is None)" } }
  test.equal(run(cells), "True\n")
  test.equal(ir.build(plan_of(cells)).root.inputDefinitions.parameters.limit.defaultValue, "")
end)

-- --- what no name holds ------------------------------------------------------------------------------

test("state that stays in a step is said where a later step would see it", function()
  for code, later in pairs {
    ["import random\nrandom.seed(1)"] = "import random\nprint(random.random())",
    ["import os\nos.environ['A'] = '1'"] = "print(1)",
    ["import os\nos.chdir('/')"] = "print(1)",
    ["import json\njson.extra = 1"] = "import json\nprint(json)",
    ["import numpy as np\nnp.random.seed(0)"] = "model.fit(1)",
  } do
    local made = plan_of { { "step:a", "model = 1\n" .. code }, { "step:b prev:a", "print(model)\n" .. later } }
    test.same(codes(made), { "state-stays@1:3" })
    made = plan_of { { "step:b", "model = 1\n" .. later }, { "step:a prev:b", code } }
    test.same(codes(made), {})
  end
end)

test("values that cannot be saved are said where they are wanted", function()
  local made = plan_of {
    { "step:a", "import sqlite3\ndb = sqlite3.connect(':memory:')\nnumbers = (x for x in [1])\nf = open('/dev/null')" },
    { "step:b prev:a", "print(db)\nprint(list(numbers))\nprint(f)" },
  }
  test.same(codes(made), { "not-saved@2:1", "not-saved@2:2", "not-saved@2:3" })
end)

test("names that are looked up by their text, and classes that change, are said", function()
  test.same(codes(plan_of { { "step:a", "x = 1\nprint(globals()['x'])" } }), { "dynamic-names@1:2" })
  local made = plan_of {
    { "step:a", "class A:\n    n = 0\n    def __init__(self):\n        A.n += 1" }, { "step:b prev:a", "print(A().n)" },
  }
  assert(table.concat(codes(made), " "):find("class-state@1:1", 1, true), table.concat(codes(made), " "))
end)

test("a builtin is one only in a Python that has it", function()
  local cells = { { "step:a", "print(aiter, ExceptionGroup)" } }
  local function with(image)
    return codes(plan_of(cells, { base_image = image }))
  end
  test.same(with "python:3.12", {})
  test.same(with "python:3.10-slim", { "undefined-name@1:1" })
  test.same(with "site/own:1", {})
end)

test("why and how each name crosses is said", function()
  local made = plan_of {
    { "step:a", "rate = 2\ndef f(x):\n    return x * rate\nxs = [1]" },
    { "step:b prev:a", "ys = list(map(f, xs))\nif ys:\n    xs = ys" }, { "step:c prev:b", "print(xs, f(1))" },
  }
  local said = {}
  for i, c in ipairs(made.crossings) do said[i] = ("%s %s>%s %s: %s"):format(c.name, c.from, c.to, c.how, c.why) end
  test.same(said, {
    "f a>b definition: read in cell 2, line 1", "rate a>b value: 'f' uses it", "xs a>b value: read in cell 2, line 1",
    "f a>c definition: read in cell 3, line 1", "rate a>c value: 'f' uses it", "xs b>c value: read in cell 3, line 1",
  })
end)

test("a function that runs before its step makes the name would find another branch's", function()
  local made = plan_of { { "step:a", "i = 9" }, { "step:b", "def f(x):\n    return x + i\ni = f(4)" } }
  test.same(codes(made), { "lost-change@2:2" })
  made = plan_of { { "step:a", "i = 9" }, { "step:b", "def f(x):\n    return x + i\ni = 1\nprint(f(4))" } }
  test.same(codes(made), {})
end)
