local notebook = require "kale.notebook"
local test = require "test"
local notebooks = dofile "tests/lua/support/notebooks.lua"

local plan_of = notebooks.plan

local function step_of(made, name)
  for _, step in ipairs(made.steps) do
    if step.name == name then return step end
  end
end

local function codes(made)
  local list = {}
  for _, d in ipairs(made.diagnostics) do
    list[#list + 1] = ("%s@%s:%s"):format(d.code, d.cell or "-", d.line or "-")
  end
  return list
end

local function setup_text(step)
  local texts = {}
  for _, piece in ipairs(step.setup) do texts[#texts + 1] = piece.source end
  return table.concat(texts)
end

test("a value that a later step reads crosses from the step that makes it", function()
  local made = plan_of { { "step:a", "x = 1" }, { "step:b prev:a", "print(x)" } }
  test.same(codes(made), {})
  test.same(step_of(made, "a").outs, { "x" })
  test.same(step_of(made, "b").ins, { "x" })
  test.same(step_of(made, "b").values_in, { { name = "x", from = "a" } })
  test.same(step_of(made, "b").after, { "a" })
end)

test("a loop or comprehension variable is not the value of that name", function()
  local made = plan_of {
    { "step:a", "x = 1" }, { "step:b prev:a", "y = [x for x in range(3)]\nz = (lambda x: x)(2)" },
    { "step:c prev:b", "print(x)" },
  }
  test.same(codes(made), {})
  test.same(step_of(made, "c").values_in, { { name = "x", from = "a" } })
  test.same(step_of(made, "b").ins, {})
end)

test("two makers of which neither comes after the other are an error", function()
  local made = plan_of {
    { "step:a", "x = 1" }, { "step:b", "x = 2" }, { "step:c prev:a prev:b", "print(x)" },
  }
  test.same(codes(made), { "two-producers@3:1" })
end)

test("the later of two makers in a row is taken", function()
  local made = plan_of {
    { "step:a", "x = 1" }, { "step:b prev:a", "x = 2" }, { "step:c prev:b", "print(x)" },
  }
  test.same(step_of(made, "c").values_in, { { name = "x", from = "b" } })
  test.same(step_of(made, "b").ins, {})
end)

test("a name that del takes away is said to be deleted, not to lack an edge that is there", function()
  test.same(codes(plan_of { { "step:a", "x = 1\ndel x" }, { "step:b prev:a", "print(x)" } }), { "name-deleted@2:1" })
  test.same(codes(plan_of {
    { "step:a", "x = 1" }, { "step:b prev:a", "del x" }, { "step:c prev:b", "print(x)" },
  }), { "name-deleted@3:1" })
end)

test("a maker that does not come before is named with the missing tag", function()
  local made = plan_of { { "step:a", "x = 1" }, { "step:b", "print(x)" } }
  test.same(codes(made), { "missing-edge@2:1" })
  test.equal(made.diagnostics[1].hint, "add the tag prev:a")
  test.equal(made.diagnostics[1].column, 7)
end)

test("a name that is nowhere is an error at its place", function()
  local made = plan_of { { "step:a", "total = 1\nprint(1)\nprint(totla)" } }
  test.same(codes(made), { "undefined-name@1:3" })
  test.equal(made.diagnostics[1].hint, "did you mean 'total'?")
end)

test("functions cross by source, with what they use, over several steps", function()
  local made = plan_of {
    { "step:a", "rate = 2\ndef double(x):\n    return x * rate" },
    { "step:b prev:a", "def quad(x):\n    return double(double(x))" },
    { "step:c prev:b", "print(quad(3))" },
  }
  test.same(codes(made), {})
  local c = step_of(made, "c")
  test.same(c.ins, { "double", "quad", "rate" })
  test.same(c.values_in, { { name = "rate", from = "a" } })
  test.equal(setup_text(c), "def double(x):\n    return x * rate\ndef quad(x):\n    return double(double(x))\n")
end)

test("async functions, classes and their methods' globals cross", function()
  local made = plan_of {
    { "step:a", "limit = 5\nasync def load():\n    return limit\n"
      .. "class Box:\n    size = 1\n    def room(self):\n        return limit - self.size" },
    { "step:b prev:a", "import asyncio\nprint(asyncio.run(load()), Box().room())" },
  }
  test.same(codes(made), {})
  test.same(step_of(made, "b").ins, { "Box", "limit", "load" })
end)

test("a function with a decorator of the notebook crosses by value, one of a library by source", function()
  local made = plan_of {
    { "imports", "import registry" },
    { "step:a", "known = {}\ndef add(f):\n    known[f.__name__] = f\n    return f\n"
      .. "@add\ndef f():\n    return 1\n@registry.add('x')\ndef g():\n    return 1" },
    { "step:b prev:a", "f()\ng()" },
  }
  test.same(codes(made), { "function-by-value@2:5" })
  test.same(step_of(made, "b").values_in, { { name = "f", from = "a" } })
end)

test("a function sees the globals of the step that calls it", function()
  local made = plan_of {
    { "step:a", "def f():\n    return unit" }, { "step:b prev:a", "unit = 'm'\nprint(f())" },
  }
  test.same(codes(made), {})
  test.same(step_of(made, "b").ins, { "f" })
end)

test("imports go to the steps that use them, and are no values", function()
  local made = plan_of {
    { "imports", "import os.path\nimport math\nfrom json import dumps as to_text" },
    { "step:a", "import re\nprint(os.path.sep)" }, { "step:b prev:a", "print(math.pi, to_text(1), re.I)" },
  }
  test.same(codes(made), {})
  test.equal(setup_text(step_of(made, "a")), "import os.path\n")
  test.equal(setup_text(step_of(made, "b")), "import math\nfrom json import dumps as to_text\nimport re\n")
  test.same(step_of(made, "b").ins, {})
  test.same(step_of(made, "a").outs, {})
end)

test("a star import is said, and stands in for names found nowhere else", function()
  local made = plan_of { { "imports", "from math import *" }, { "step:a", "print(sqrt(4))" } }
  test.same(codes(made), { "star-import@1:1" })
end)

test("a value changed in place is handed on by the step that changes it", function()
  local made = plan_of {
    { "step:a", "xs = []" }, { "step:b prev:a", "xs.append(1)" }, { "step:c prev:b", "print(len(xs))" },
    { "step:d prev:c", "print(xs)" },
  }
  test.same(step_of(made, "b").outs, { "xs" })
  test.same(step_of(made, "d").values_in, { { name = "xs", from = "b" } })
  test.same(step_of(made, "d").after, { "b", "c" })
end)

test("what shares an object with a changed value is handed on with it", function()
  local made = plan_of {
    { "step:a", "rows = [[1]]\nfirst = rows[0]" }, { "step:b prev:a", "first.append(2)" },
    { "step:c prev:b", "print(rows, first)" },
  }
  test.same(step_of(made, "c").values_in, { { name = "first", from = "b" }, { name = "rows", from = "b" } })
end)

test("a lambda holds its defaults: who changes one hands the lambda on", function()
  local made = plan_of {
    { "step:a", "xs = [1]" }, { "step:b prev:a", "f = lambda k=xs: len(k)" },
    { "step:c prev:b prev:a", "xs.append(2)" }, { "step:d prev:c", "print(f())" },
  }
  test.same(step_of(made, "d").values_in, { { name = "f", from = "c" } })
end)

test("a function whose decorator keeps a log in a default shares that log, and a call changes it", function()
  local deco = "def seen(f, log=calls):\n    def w():\n        return f()\n    log.append(f)\n    return w"
  local made = plan_of {
    { "step:a", "calls = []" }, { "step:b prev:a", deco }, { "step:c prev:b prev:a", "@seen\ndef one(): return 1" },
    { "step:d prev:c prev:a", "one()" }, { "step:e prev:d prev:a", "print(len(calls))" },
  }
  test.same(step_of(made, "e").values_in, { { name = "calls", from = "d" } })
end)

test("an object that is a decorator may hold what it decorates: the step takes what that reads", function()
  local made = plan_of {
    { "step:a", "class Reg(dict):\n    def __call__(self, f):\n        self[f.__name__] = f\nscale = max(1, 2)" },
    { "step:b prev:a", "reg = Reg()\n@reg\ndef one(): return scale\nprint(reg['one']())" },
  }
  local names = {}
  for _, value in ipairs(step_of(made, "b").values_in) do names[value.name] = value.from end
  test.equal(names.scale, "a")
end)

test("a change in a branch beside is reported, and the value taken from before", function()
  local made = plan_of {
    { "step:a", "xs = []" }, { "step:b prev:a", "xs.append(1)" }, { "step:c prev:a", "xs.append(2)" },
    { "step:d prev:b prev:c", "print(xs)" },
  }
  test.same(codes(made), { "lost-change@3:1", "lost-change@4:1" })
  test.same(step_of(made, "d").values_in, { { name = "xs", from = "a" } })
end)

test("readers side by side hand nothing on", function()
  local made = plan_of {
    { "imports", "import math" }, { "step:a", "xs = [1, 2]" },
    { "step:b prev:a", "b = sum(xs)\nfor x in xs:\n    print(math.sqrt(x))" },
    { "step:c prev:a", "c = max(xs)" }, { "step:d prev:b prev:c", "print(xs, b, c)" },
  }
  test.same(codes(made), {})
  test.same(step_of(made, "b").outs, { "b" })
  test.same(step_of(made, "d").values_in,
    { { name = "b", from = "b" }, { name = "c", from = "c" }, { name = "xs", from = "a" } })
end)

test("a store that may not run lets the old value in, if somebody wants it later", function()
  local made = plan_of {
    { "step:a", "best = 0\nx = 5" }, { "step:b prev:a", "if x > 3:\n    best = x\nfor i in range(x):\n    pass" },
    { "step:c prev:b", "print(best)\nfor i in 'ab': print(i)" },
  }
  test.same(codes(made), {})
  test.same(step_of(made, "b").ins, { "best", "x" })
  test.same(step_of(made, "c").values_in, { { name = "best", from = "b" } })
end)

test("a name stored in both branches is stored for certain", function()
  local made = plan_of { { "step:a", "import os\nif os.sep == '/':\n    y = 1\nelse:\n    y = 2\nprint(y)" } }
  test.same(codes(made), {})
end)

test("parameters go to the steps that read them, also in their functions", function()
  local made = plan_of {
    { "pipeline-parameters", "rate = 0.5\nrounds: int = -3\nname = 'x'\nfast = True\nlimit: float = 1" },
    { "functions", "def scale(x):\n    return x * rate" },
    { "step:a", "y = scale(2)" }, { "step:b prev:a", "print(y, rounds)" }, { "step:c prev:b", "print('none')" },
  }
  test.same(codes(made), {})
  test.same(step_of(made, "a").params, { "rate" })
  test.same(step_of(made, "b").params, { "rounds" })
  test.same(step_of(made, "c").params, {})
  local types = {}
  for i, p in ipairs(made.params) do types[i] = ("%s:%s=%s"):format(p.name, p.type, p.default) end
  test.same(types, { "fast:bool=true", "limit:float=1.0", "name:str=x", "rate:float=0.5", "rounds:int=-3" })
end)

test("a parameter that a step assigns crosses as a value from there", function()
  local made = plan_of {
    { "pipeline-parameters", "rate = 1" }, { "step:a", "rate = rate * 2" }, { "step:b prev:a", "print(rate)" },
  }
  test.same(step_of(made, "a").params, { "rate" })
  test.same(step_of(made, "b").params, {})
  test.same(step_of(made, "b").values_in, { { name = "rate", from = "a" } })
end)

test("what is no constant is no parameter", function()
  local made = plan_of {
    { "pipeline-parameters", "a = 1\nb = [1]\nc = d = 2\nprint(1)\na = 3" }, { "step:s", "print(a)" },
  }
  test.same(codes(made), {
    "parameter-not-constant@1:2", "parameter-not-constant@1:3", "parameter-not-constant@1:4", "parameter-repeated@1:5",
  })
end)

test("metrics belong to the last step that makes them", function()
  local made = plan_of {
    { "step:a", "acc = 0.1" }, { "step:b prev:a", "acc = acc + 1" }, { "step:c prev:b", "print('end')" },
    { "pipeline-metrics", "# how good\nprint(acc)" },
  }
  test.same(codes(made), {})
  test.same(made.metrics, { "acc" })
  test.same(step_of(made, "b").metrics, { "acc" })
end)

test("metrics cells print names, and names that there are", function()
  local made = plan_of { { "step:a", "acc = 1" }, { "pipeline-metrics", "print(acc + 1)\nprint(loss)" } }
  test.same(codes(made), { "metric-not-print@2:1", "metric-unknown@2:2" })
end)

test("untagged cells join the active step, those before the first are reported", function()
  local made = plan_of {
    { "", "# %% intro" }, { "", "lost = 1" }, { "step:a", "x = 1" }, { "", "y = x" }, { "skip", "z" },
    { "", "print(y)" }, { "step:b prev:a", "print(y)" }, { "step:a", "w = 1" },
  }
  test.same(codes(made), { "cell-dropped@1:1", "cell-dropped@2:1" })
  test.same(step_of(made, "a").cells, { 3, 4, 6, 8 })
end)

test("wrong tags are named with their cell", function()
  local made = plan_of {
    { "step:A", "x = 1" }, { "step:a prev:nowhere", "x = 1" }, { "step:b stop", "y = 1" },
    { "step:c step:d", "z = 1" }, { "prev:a", "" }, { "skip step:e", "" },
  }
  test.same(codes(made), {
    "step-name@1:-", "cell-dropped@1:1", "prev-unknown@2:-", "tag-unknown@3:-", "several-steps@4:-",
    "tag-without-step@5:-", "tag-ignored@6:-",
  })
end)

test("a step after the metrics is an error", function()
  local made = plan_of { { "step:a", "x = 1" }, { "pipeline-metrics", "print(x)" }, { "step:b prev:a", "y = x" } }
  test.same(codes(made), { "metrics-not-last@2:-" })
end)

test("block: is a step, as old notebooks have it", function()
  local made = plan_of { { "block:a", "x = 1" }, { "block:b prev:a", "print(x)" } }
  test.same(step_of(made, "b").ins, { "x" })
end)

test("magics and shell lines become Python, line for line", function()
  local made = plan_of {
    { "step:a", "%matplotlib inline\nfiles = !ls\n!echo 'hi'\n%time x = 1\n%unheard of\nprint(files, x)" },
  }
  test.same(codes(made), { "magic-unknown@1:5" })
  test.equal(step_of(made, "a").code[1].source, table.concat({
    "get_ipython().run_line_magic('matplotlib', 'inline')", "files = get_ipython().getoutput('ls')",
    "get_ipython().system('echo \\'hi\\'')", "with get_ipython().timing(): x = 1",
    "get_ipython().run_line_magic('unheard', 'of')", "print(files, x)",
  }, "\n"))
end)

test("a line that goes on with the modulo operator is no magic", function()
  local made = plan_of { { "step:a", "x = (7\n%2)\nprint(x)" } }
  test.same(codes(made), {})
end)

test("code that is no Python is named at its place", function()
  local made = plan_of { { "step:a", "x = 1\ny = = 2" } }
  test.equal(made.diagnostics[1].code, "syntax")
  test.equal(made.diagnostics[1].line, 2)
end)

test("effects in imports cells are reported", function()
  local made = plan_of { { "imports", "import random\nrandom.seed(1)" }, { "step:a", "print(random.random())" } }
  test.same(codes(made), { "effects-repeated@1:2" })
  test.equal(setup_text(step_of(made, "a")), "import random\nrandom.seed(1)\n")
end)

test("a notebook without steps says so", function()
  test.same(codes(plan_of {}), { "no-steps@-:-" })
end)

test("files that are no notebooks are refused with their place", function()
  for text, pattern in pairs {
    ["{"] = "is no notebook", ["[]"] = "no notebook", ["{}"] = "nbformat", ['{"nbformat":2}'] = "nbformat 2",
    ['{"nbformat":4,"cells":{}}'] = "", ['{"nbformat":4,"cells":[1]}'] = "cell 1",
    ['{"nbformat":4,"cells":[{"cell_type":"code","source":[1]}]}'] = "line 1: in 'source'",
    ['{"nbformat":4,"cells":[{"cell_type":"code","source":1}]}'] = "'source'",
    ['{"nbformat":4,"cells":[{"cell_type":"code","metadata":{"tags":"x"}}]}'] = "'tags'",
    ['{"nbformat":4,"cells":"x"}'] = "'cells' is no list",
  } do
    if pattern ~= "" then
      local err = test.raises("Notebook", function() notebook.parse(text, "a.ipynb") end)
      assert(tostring(err):find(pattern, 1, true), tostring(err))
    end
  end
end)
