-- What the interactive shell adds to Python: names of its own, indented cells, prompts; and what cannot be read.
local fs = require "fs"
local host = require "host"
local json = require "json"
local proc = require "proc"
local test = require "test"
local notebooks = dofile "tests/lua/support/notebooks.lua"

local PYTHON = "/usr/bin/python3"
local plan_of = notebooks.plan

-- The findings as code@cell:line:column.
local function codes(made)
  local list = {}
  for i, d in ipairs(made.diagnostics) do
    list[i] = ("%s@%s:%s:%s"):format(d.code, d.cell or "-", d.line or "-", d.column or "-")
  end
  return list
end

-- Runs a notebook; what its steps printed, in the order of steps.
local function run(cells)
  local path = notebooks.write(cells)
  local result = proc.run { host.executable(), "kale", "run", path, "--json", "--python", PYTHON }
  local said = json.decode(result.stdout)
  if said.state ~= "succeeded" then error(result.stderr) end
  local printed = {}
  for i, step in ipairs(said.steps) do
    printed[i] = fs.read(fs.join(said.directory, (step.name:gsub("_", "-")), "log.txt"))
  end
  return table.concat(printed)
end

-- --- names of the shell ---------------------------------------------------------------------------------

test("_ and __ are what earlier cells of the step displayed", function()
  local cells = {
    { "step:a", "40 + 2" }, { "", "_ * 2" }, { "", "print(_, __)" },
    { "step:b prev:a", "for _ in range(3): pass\n7" }, { "", "print(_)" },
  }
  test.same(codes(plan_of(cells)), {})
  test.equal(run(cells), "42\n84\n84 42\n7\n2\n")
end)

test("what the shell keeps of another step's cells is an error where it is read", function()
  local made = plan_of {
    { "step:a", "40 + 2" },
    { "step:b prev:a", "x = _\ny = Out[1]\nprint(x, _1)\nprint(In[1], _i)" },
    { "", "3;" }, { "", "print(__)" },
  }
  test.same(codes(made), {
    "shell-history@2:1:5", "shell-history@2:2:5", "shell-history@2:3:10", "shell-history@2:4:7", "shell-history@2:4:14",
    "shell-history@4:1:7",
  })
end)

test("what a script writes is the value of the name that --out or --err gives", function()
  test.equal(run {
    { "step:a", "%%bash --out text --err noise\necho one\necho two >&2" },
    { "step:b prev:a", "print([text, noise])" },
    { "step:c prev:b", "%%sh --no-raise-error\nexit 3" },
    { "step:d prev:c", "%%script sh --err=only\necho seen\necho kept >&2" },
    { "step:e prev:d", "print([only])" },
  }, "['one\\n', 'two\\n']\nseen\n['kept\\n']\n")
end)

test("two dollars in a shell line are one of the shell's", function()
  test.equal(run { { "step:a", "WORD = 'mine'\n!WORD=its; echo $WORD $$WORD {WORD}" } }, "mine its mine\n")
end)

test("_exit_code is that of the step's last shell line, and an error where there is none", function()
  local cells = { { "step:a", "!exit 3\nprint(_exit_code)" }, { "step:b prev:a", "print(_exit_code)" } }
  test.same(codes(plan_of(cells)), { "shell-history@2:1:7" })
  local printed = run { cells[1] }
  assert(("\n" .. printed):find("\n3\n", 1, true), printed)
end)

test("names of the shell that the notebook stores are its own", function()
  local made = plan_of {
    { "step:a", "Out = {1: 2}\n_1 = 5\n_, n = divmod(7, 2)" }, { "step:b prev:a", "print(Out[1], _1, _)" },
  }
  test.same(codes(made), {})
  test.same(made.steps[2].ins, { "Out", "_", "_1" })
end)

-- --- cells as they are pasted ----------------------------------------------------------------------------

test("a cell whose first line is indented is unindented as IPython does, and places stay", function()
  local cells = {
    { "step:a", "\n\n    x = 1\n    if x:\n        y = '''\n    z'''\n%memit print(y)" },
    { "step:b prev:a", "\tprint(x)\n\tprint(zz)" },
  }
  local made = plan_of(cells)
  test.same(codes(made), { "undefined-name@2:2:8" })
  test.equal(made.diagnostics[1].source, "\tprint(zz)")
  cells[2][2] = "  print(x)\n  print(y)"
  test.equal(run(cells), "\nz\n1\n\nz\n")
end)

test("prompts that were pasted along are left out", function()
  test.equal(run {
    { "step:a", ">>> x = [1, 2]\n>>> for i in x:\n...     print(i)" },
    { "step:b prev:a", "In [4]: def f(n):\n   ...:     return n + 1\nIn [5]: print(f(x[0]))" },
  }, "1\n2\n2\n")
  test.same(codes(plan_of { { "step:a", ">>> print(nothing)" } }), { "undefined-name@1:1:11" })
end)

test("a name is the same in all its spellings beyond ASCII", function()
  local cells = {
    { "step:a", "ﬁt = 1\nclass Ｋind:\n    def ｘ(self): return ﬁt" }, { "step:b prev:a", "print(fit, Kind().x())" },
  }
  local made = plan_of(cells)
  test.same(codes(made), {})
  test.same(made.steps[2].ins, { "Kind", "fit" })
  test.equal(run(cells), "1 1\n")
end)

-- --- what cannot be read -----------------------------------------------------------------------------------

test("a cell that is no Python gives no undefined names, neither in it nor for what it names", function()
  local made = plan_of {
    { "step:a", "total = 1 +\nrows = [1, 2\nprint(whatever)" }, { "step:b prev:a", "print(total, rows, other)" },
  }
  local undefined = {}
  for _, d in ipairs(made.diagnostics) do
    if d.code ~= "syntax" then undefined[#undefined + 1] = ("%s@%d:%d"):format(d.code, d.cell, d.column) end
  end
  test.same(undefined, { "undefined-name@2:20" })
  assert(#made.diagnostics >= 2, "the syntax error is said")
end)

test("names that exec() or globals() make are there in their own step, and a hint elsewhere", function()
  local made = plan_of {
    { "step:a", "exec('x = 1')\nprint(x)" }, { "step:b prev:a", "print(x)" },
  }
  test.same(codes(made), { "dynamic-names@1:1:1", "undefined-name@2:1:7" })
  test.equal(made.diagnostics[2].hint, "perhaps exec() of step 'a' makes it: import or assign it by its name")
end)

test("a name that a star import of another branch may bring has the edge as a hint", function()
  local made = plan_of { { "step:a", "from math import *" }, { "step:b", "print(sqrt(4))" } }
  test.same(codes(made), { "star-import@1:1:1", "undefined-name@2:1:7" })
  test.equal(made.diagnostics[2].hint, "perhaps from 'import *' of step 'a': add the tag prev:a")
end)
