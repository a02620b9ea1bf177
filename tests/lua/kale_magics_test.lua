-- Magics and shell lines in the analysis: what they read, store and leave. What they do when they run is compared
-- with IPython in tests/jupyter/magics_test.py.
local test = require "test"
local notebooks = dofile "tests/lua/support/notebooks.lua"

local plan_of = notebooks.plan

-- The findings as code@cell:line:column.
local function codes(made)
  local list = {}
  for i, d in ipairs(made.diagnostics) do list[i] = ("%s@%d:%d:%d"):format(d.code, d.cell, d.line, d.column) end
  return list
end

local function ins(made, name)
  for _, step in ipairs(made.steps) do
    if step.name == name then return step.ins, step.params end
  end
end

test("names that a shell line or the line of a magic takes from Python cross to it", function()
  for _, line in ipairs {
    "!cat {path}", "!cat $path", "x = !cat {path.lower()}", "!!cat $path", "%cd {path}", "%env P=$path",
    "%run tool.py {path}", "%%bash -s \"$path\"\ncat $1", "%%writefile {path}\ntext", "%%script {path}\n1",
    "for i in range(2):\n    !cat {path}",
  } do
    local made = plan_of { { "step:a", "path = 'p'" }, { "step:b prev:a", line } }
    test.equal(line .. ": " .. table.concat((ins(made, "b")), " "), line .. ": path")
    test.same(codes(made), {})
  end
  local made = plan_of { { "pipeline-parameters", "rate = 1" }, { "step:a", "!echo {rate}" } }
  local _, params = ins(made, "a")
  test.same(params, { "rate" })
end)

test("names of the shell's own are no mistakes, and nothing is taken for them", function()
  local made = plan_of {
    { "step:a", "path = 'p'\none = 1" },
    { "step:b prev:a", "!echo $HOME {nowhere} $$one \\$path\n!awk '{print $1}' {one}\nx = !echo {{path}}" },
  }
  test.same(codes(made), {})
  test.same(ins(made, "b"), {})
end)

test("a name of a step that does not come before is told, in a shell line, too", function()
  local made = plan_of { { "step:a", "path = 'p'" }, { "step:b", "!cat {path}" } }
  test.same(codes(made), { "missing-edge@2:1:7" })
end)

test("a name that is nowhere is told where Python reads it, whatever a shell line above makes of it", function()
  local made = plan_of { { "step:a", "!echo {nowhere}\nprint(nowhere)" } }
  test.same(codes(made), { "undefined-name@1:2:7" })
end)

test("measured code is read like any other, at its place", function()
  local made = plan_of { { "step:a", table.concat({
    "%time one(1)", "y = %time two(1)", "%timeit -n 5 three(1)", "z = %timeit -o four(1)", "%prun -q five(1)",
    "for i in []:", "    %time six(1)", "%time for i in []: seven(1)", "%timeit for i in []: eight(1)",
  }, "\n") } }
  test.same(codes(made), {
    "undefined-name@1:1:7", "undefined-name@1:2:11", "undefined-name@1:3:14", "undefined-name@1:4:16",
    "undefined-name@1:5:10", "undefined-name@1:7:11", "undefined-name@1:8:20", "undefined-name@1:9:22",
  })
end)

-- What a cell becomes.
local function python_of(source) return plan_of({ { "step:a", source } }).steps[1].code[1].source end

test("flags before measured code, and a comment or semicolon behind it, are no part of it", function()
  for source, wanted in pairs {
    ["%timeit f(1);  # why"] = "if get_ipython().timeit('', '', 'f(1)'): f(1)",
    ["z = %timeit -o f(1)  # why"] = "z = get_ipython().timeit('-o', '', 'f(1)', 0 and (f(1)))",
    ["%time f(1)"] = "with get_ipython().timing(): get_ipython().kept = f(1)",
    ["%time f(1); g(2)"] = "with get_ipython().timing(): f(1); g(2)", ["%time f("] = "f(",
    ["%memit -r 3 f(1)"] = "f(1)", ["z = %memit -o f(1)"] = "z = f(1)", ["%%memit -r 2\nf(1)"] = "\nf(1)",
    ["%%memit -r 2 y = 2\nf(y)"] = "y = 2\nf(y)", ["%%prun -s time\nf(1)"] = "\nf(1)",
  } do
    test.equal(python_of(source), wanted)
  end
end)

test("a script's flags are IPython's or the program's; one that gives a process away is told", function()
  test.equal(python_of "%%script --bg --out a bash --posix\nls",
    "a = get_ipython().script('bash --posix', 'ls', out=True)\n")
  test.same(codes(plan_of { { "step:a", "%%bash --bg\nls" } }), {})
  test.same(codes(plan_of { { "step:a", "%%bash --bg --proc p\nls" } }), { "magic-unknown@1:1:1" })
end)

test("a cell of HTML is shown, and a cell under %%timeit that is no Python is told at its place", function()
  test.equal(python_of "%%html\n<b>x</b>", "get_ipython().show('html', '<b>x</b>')\n")
  test.same(codes(plan_of { { "step:a", "%%timeit\nx = 1 +" } }), { "syntax@1:2:1" })
end)

test("what %time stores is stored, what %timeit stores is not", function()
  local made = plan_of {
    { "step:a", "x = 1\ny = 1\nxs = []" }, { "step:b prev:a", "%time x = 2" },
    { "step:c prev:b", "%timeit -n 1 y = 3\n%time xs.append(1)" }, { "step:d prev:c", "print(x, y, xs)" },
  }
  test.same(codes(made), {})
  test.same(ins(made, "b"), {})
  test.same(ins(made, "d"), { "x", "xs", "y" })
  for _, c in ipairs(made.crossings) do
    if c.to == "d" then
      test.same({ c.name, c.from }, { c.name, ({ x = "b", y = "c", xs = "c" })[c.name] })
    end
  end
end)

test("a cell under %%timeit takes what it reads", function()
  local made = plan_of {
    { "step:a", "n = 3\nxs = [1]" },
    { "step:b prev:a", "%%timeit -n 1 k = n\ntotal = k\nfor x in xs:\n    total += x" },
  }
  test.same(codes(made), {})
  test.same(ins(made, "b"), { "n", "xs" })
  made = plan_of { { "step:a", "%%timeit -n 1 k = nowhere\ntotal = k +\\\n  there()" } }
  test.same(codes(made), { "undefined-name@1:1:19", "undefined-name@1:3:3" })
end)

test("whatever stands behind a sign becomes Python of as many lines, or is told", function()
  local seed = 11
  local function random(limit)
    seed = (seed * 1103515245 + 12345) % 2147483648
    return seed // 65536 % limit + 1
  end
  local PARTS = { "%", "%%", "!", "!!", "time", "timeit", "capture", "bash", "writefile", "prun", "run", "sx", "xdel",
    "env", "%s", " ", " ", " -o ", " -n", "5", "x", " = ", "{", "}", "{x}", "$x", "$", "(", ")", "'", '"', "\n",
    "\n    ", "if 1:\n    ", "#", ";", "\\\n", "é", "f(", "[i for i in ", "]", "?",
    "lambda: ", "await g()", "--out a", "=" }
  for _ = 1, 400 do
    local pieces = {}
    for i = 1, random(9) do pieces[i] = PARTS[random(#PARTS)] end
    local source = table.concat(pieces)
    local python = require "kale.magics".translate(source)
    local function lines(text) return select(2, text:gsub("\n", "")) end
    local extra = source:find "%%%%%s*capture" and 2 or 0  -- the end of it
    if lines(python) - lines(source) > extra or lines(python) < lines(source) then
      error(("%q becomes %q"):format(source, python), 0)
    end
    plan_of { { "step:a", source } }
  end
end)

test("names that an unknown magic may make are no mistakes in its step; elsewhere the magic is the hint", function()
  local made = plan_of {
    { "step:a", "%%bigquery frame\nselect 1" }, { "", "print(frame)" }, { "step:b prev:a", "print(frame)" },
  }
  test.same(codes(made), { "magic-unknown@1:1:1", "undefined-name@3:1:7" })
  test.equal(made.diagnostics[2].hint, "perhaps %%bigquery of step 'a' makes it: import or assign it by its name")
end)

test("names that %run of the imports cell makes are there in every step", function()
  local made = plan_of { { "imports", "%run tools.py" }, { "step:a", "helper()" }, { "step:b prev:a", "helper()" } }
  test.same(codes(made), { "effects-repeated@1:1:1" })
end)

test("settings among the imports are no effects that are repeated", function()
  local made = plan_of { { "imports", "%matplotlib inline\n%load_ext autoreload\n%autoreload 2\n%config A.b = 1\n"
    .. "%env K=1\n?len\nimport os" }, { "step:a", "print(os.environ['K'])" } }
  test.same(codes(made), {})
  test.same(codes(plan_of { { "imports", "!pip install x" }, { "step:a", "pass" } }), { "effects-repeated@1:1:1" })
end)

test("extensions are known, or said to need IPython", function()
  local made = plan_of { { "step:a", "%load_ext autoreload\n%autoreload 2\n%load_ext sql" } }
  test.same(codes(made), { "magic-unknown@1:3:1" })
  test.same(codes(plan_of { { "step:a", "%load_ext autoreload\n%xdel x" } }), { "undefined-name@1:2:7" })
end)

test("%pylab is what it stands for", function()
  local made = plan_of { { "step:a", "%pylab inline\nplot(np.arange(3))" } }
  for _, code in ipairs(codes(made)) do assert(code:find "^star%-import@1:1:", code) end
end)

test("a command without its sign gets a hint", function()
  for line, said in pairs { ["pip install pandas"] = "%pip", ["cd .."] = "%cd", ["ls -l x"] = "%ls", pwd = "%pwd" } do
    local d = plan_of { { "step:a", line } }.diagnostics[1]
    test.equal(d.hint, ("perhaps the magic %s: write it with its sign"):format(said))
  end
  test.same(plan_of { { "step:a", "run = 1\ncat.x = run" } }.diagnostics[1].hint, nil)
end)

test("what names there are is asked of the step alone", function()
  test.same(codes(plan_of { { "step:a", "x = 1" }, { "step:b prev:a", "names = %who_ls\n%whos" } }),
    { "dynamic-names@2:1:9", "dynamic-names@2:2:1" })
end)
