local fs = require "fs"
local host = require "host"
local json = require "json"
local proc = require "proc"
local test = require "test"
local notebooks = dofile "tests/lua/support/notebooks.lua"

local PYTHON = "/usr/bin/python3"
local write_notebook = notebooks.write

local function kale(...)
  return proc.run { host.executable(), "kale", ... }
end

-- Runs a notebook; what its steps printed, in the order of steps, and the machine output.
local function run(path, ...)
  local result = kale("run", path, "--json", "--python", PYTHON, ...)
  local lines = select(2, result.stdout:gsub("\n", "\n"))
  test.equal(lines, 1)
  local said = json.decode(result.stdout)
  local printed = {}
  for i, step in ipairs(said.steps) do
    local log = fs.try.read(fs.join(said.directory, (step.name:gsub("_", "-")), "log.txt"))
    printed[i] = log and log:gsub("KFHOST%-METRIC[^\n]*\n", "") or ""
  end
  return table.concat(printed), said, result
end

-- What all cells print in one process.
local function run_linear(cells)
  local source = {}
  for _, cell in ipairs(cells) do
    if cell[1] ~= "pipeline-metrics" then source[#source + 1] = cell[2] end
  end
  return proc.run { PYTHON, "-c", table.concat(source, "\n") }.stdout
end

-- Notebooks whose steps must print what one process prints.
local EQUAL = {
  ["values of many types cross"] = {
    { "step:a", "i = 10 ** 30\nf = 1.5\ns = 'é\\n'\nb = b'\\x00'\nn = None\nt = (1, [2])\n"
      .. "d = {(1, 2): {3}}\nc = 1 + 2j" },
    { "step:b prev:a", "print(i, f, s, b, n, t, d, c)" },
  },
  ["views of a dictionary go on looking at it, and compiled code crosses"] = {
    { "step:a", "import collections\nd = {'a': 1}\no = collections.OrderedDict(b=2)\nk, v, i, ok = d.keys(), "
      .. "d.values(), d.items(), o.keys()\ncode = compile('1 + 5', 'x', 'eval')" },
    { "step:b prev:a", "d['c'] = 3\no['z'] = 1" },
    { "step:c prev:b", "print(k, v, i, ok, k & {'c'}, eval(code))" },
  },
  ["an exception keeps what caused it, and what it was raised in"] = {
    { "functions", "class Broken(Exception):\n    pass" },
    { "step:a", "try:\n    try:\n        int('x')\n    except ValueError as e:\n        raise Broken(3) from e\n"
      .. "except Broken as e:\n    e.note = 'n'\n    problem = e\ntry:\n    try:\n        1 / 0\n"
      .. "    except ZeroDivisionError:\n        {}['k']\nexcept KeyError as e:\n    inside = e" },
    { "step:b prev:a", "print(repr(problem), repr(problem.__cause__), problem.note, problem.__suppress_context__)\n"
      .. "print(repr(inside), repr(inside.__context__), inside.__cause__)" },
  },
  ["names that share an object share it in the next step"] = {
    { "step:a", "xs = [1]\nys = xs\nboth = {'k': xs}" },
    { "step:b prev:a", "xs.append(2)\nprint(ys, both, xs is ys, both['k'] is xs)" },
    { "step:c prev:b", "ys.append(3)\nprint(xs, both['k'] is xs)" },
  },
  ["instances of the notebook's classes and enums cross"] = {
    { "imports", "from enum import Enum\nfrom dataclasses import dataclass, field" },
    { "functions", "class Colour(Enum):\n    RED = 1\n@dataclass\nclass Box:\n    colour: Colour\n"
      .. "    items: list = field(default_factory=list)\n    def size(self):\n        return len(self.items)" },
    { "step:a", "box = Box(Colour.RED, [1, 2])" },
    { "step:b prev:a", "box.items.append(3)\nprint(box, box.colour is Colour.RED)" },
    { "step:c prev:b", "print(box.size())" },
  },
  ["classes of a step cross with their instances"] = {
    { "step:a", "base = 7\nclass P:\n    def __init__(self, v):\n        self.v = v\n    def total(self):\n"
      .. "        return self.v + base\np = P(1)" },
    { "step:b prev:a", "print(p.total())" },
  },
  ["lambdas and closures cross by value"] = {
    { "step:a", "k = 3\ndef outer(n):\n    count = [0]\n    def inner(x):\n        count[0] += 1\n"
      .. "        return x * n + k + count[0]\n    return inner\ng = outer(10)\n"
      .. "h = lambda x, y=2: x + y + k\n_ = g(1)" },
    { "step:b prev:a", "print(g(1), g(1), h(1))" },
  },
  ["functions bind their globals late"] = {
    { "step:a", "unit = 'a'\ndef f(): return unit" }, { "step:b prev:a", "unit = 'b'\nprint(f())" },
  },
  ["recursive and mutually recursive functions cross"] = {
    { "step:a", "def even(n): return n == 0 or odd(n - 1)\ndef odd(n): return n != 0 and even(n - 1)" },
    { "step:b prev:a", "print(even(10), odd(10))" },
  },
  ["values changed in place are seen down the chain"] = {
    { "step:a", "d = {'a': [1]}\nrow = d['a']" }, { "step:b prev:a", "for v in d.values():\n    v.append(2)" },
    { "step:c prev:b", "row.append(3)" }, { "step:d prev:c", "print(d, row is d['a'])" },
  },
  ["conditional stores keep the old value"] = {
    { "step:a", "best = 1\nseen = 5" }, { "step:b prev:a", "if seen > 9:\n    best = 2" },
    { "step:c prev:b", "print(best)" },
  },
  ["imports inside steps are there where functions need them"] = {
    { "step:a", "import math as m\ndef area(r): return round(m.pi * r * r, 3)" }, { "step:b prev:a", "print(area(2))" },
  },
}

for name, cells in pairs(EQUAL) do
  test(name, function()
    local printed, said = run(write_notebook(cells))
    test.equal(said.state, "succeeded")
    test.equal(printed, run_linear(cells))
  end)
end

test("parameters are typed, checked and bound", function()
  local path = write_notebook {
    { "pipeline-parameters", "n = 2\nrate = 0.5\nname = 'x'\nfast = False\nnothing = None" },
    { "step:a", "print(repr(n), repr(rate), repr(name), repr(fast), nothing)" },
  }
  test.equal((run(path)), "2 0.5 'x' False None\n")
  local given = { "--param", "n=-7", "--param", "rate=3", "--param", "name=it's \"q\"\n{{$}}", "-p", "fast=true" }
  test.equal((run(path, table.unpack(given))),
    "-7 3.0 'it\\'s \"q\"\\n{{$}}' True None\n")
  for word, message in pairs {
    ["n=1.5"] = "an integer", ["rate=1e999"] = "a number", ["rate=nan"] = "a number",
    ["m=1"] = "no parameter 'm'", ["n"] = "NAME=VALUE",
  } do
    local result = kale("run", path, "--json", "-p", word)
    test.equal(result.code, 2)
    assert(result.stderr:find(message, 1, true), result.stderr)
    test.equal(json.decode(result.stdout).state, "failed")
  end
end)

test("metrics and states are in the machine output", function()
  local _, said, result = run(write_notebook {
    { "step:a", "acc = 0.75\nloss = 2" }, { "pipeline-metrics", "print(acc)\nprint(loss)" },
  })
  test.equal(result.code, 0)
  test.same(said.metrics, { acc = 0.75, loss = 2 })
  test.equal(said.steps[1].name, "a")
  test.equal(said.steps[1].state, "succeeded")
  assert(fs.exists(fs.join(said.directory, "report.html")))
  test.equal(json.decode(fs.read(fs.join(said.directory, "run.json"))).version, 1)
end)

test("a failing step names cell and line, and what comes after it is skipped", function()
  local path = write_notebook {
    { "step:a", "x = 1" }, { "step:b prev:a", "y = 1\ny = x / 0" }, { "step:c prev:b", "print(y)" },
    { "step:d", "print('d')" },
  }
  local _, said, result = run(path)
  test.equal(result.code, 1)
  test.equal(said.state, "failed")
  local states = {}
  for _, step in ipairs(said.steps) do states[step.name] = step.state end
  test.same(states, { a = "succeeded", b = "failed", c = "skipped", d = "succeeded" })
  for _, part in ipairs { 'File "cell 2", line 2', "y = x / 0", "ZeroDivisionError" } do
    assert(result.stderr:find(part, 1, true), result.stderr)
  end
  assert(not result.stderr:find("kfhost step", 1, true), result.stderr)
end)

test("a value that cannot be saved is named", function()
  local _, _, result = run(write_notebook {
    { "step:a", "import socket\ns = socket.socket()" }, { "step:b prev:a", "print(s)" },
  })
  assert(result.stderr:find("'s' (made in cell 1) cannot be handed to another step", 1, true), result.stderr)
end)

test("displayed values are in the report", function()
  local _, said = run(write_notebook {
    { "step:a", "class T:\n    def _repr_html_(self):\n        return '<b>bold</b>'\nT()" }, { "step:b", "1 + 1" },
  })
  local report = fs.read(fs.join(said.directory, "report.html"))
  assert(report:find("<b>bold</b>", 1, true) and report:find("<pre>2</pre>", 1, true))
end)

test("Markdown that is displayed is shown as it is meant; of a bundle the richest kind", function()
  local _, said = run(write_notebook { { "step:a", "class Words:\n    def _repr_markdown_(self):\n"
    .. "        return '# Head\\n\\n* **1** < 2'\nclass Drawn:\n    def _repr_mimebundle_(self, **_):\n"
    .. "        return {'text/plain': 'x', 'image/svg+xml': '<svg id=\"drawn\"/>'}\nclass Odd:\n"
    .. "    def _repr_mimebundle_(self, **_):\n        return {'text/markdown': 5}\n"
    .. "display(Words(), Drawn(), Odd())" } })
  test.equal(said.state, "succeeded")
  local report = fs.read(fs.join(said.directory, "report.html"))
  for _, text in ipairs { "<h3>Head</h3><ul><li><strong>1</strong> &lt; 2</li></ul>", '<svg id="drawn"/>' } do
    if not report:find(text, 1, true) then error(report, 0) end
  end
end)

test("displayed values are in the log and on the terminal as text, whatever richer form the report has", function()
  local path = write_notebook {
    { "step:frame", "class Frame:\n    def _repr_html_(self):\n        return '<table><td>1</td></table>'\n"
      .. "    def __repr__(self):\n        return 'a  b\\n0  1'\nFrame()" },
    { "step:more", "class Text:\n    def _repr_markdown_(self):\n        return '# Head'\n"
      .. "class Odd:\n    def _repr_svg_(self):\n        return '<svg/>'\n    def __repr__(self):\n        1 / 0\n"
      .. "display(Text(), Odd())\ndisplay(5)" },
  }
  local _, said, result = run(path)
  test.equal(said.state, "succeeded")
  local function logs(step) return proc.run { host.executable(), "kale", "logs", path, step }.stdout end
  test.equal(logs "frame", "a  b\n0  1\n")
  test.equal(logs "more", "# Head\n<Odd>\n5\n")
  assert(result.stderr:find("frame | 0  1\n", 1, true), result.stderr)
  local report = fs.read(fs.join(said.directory, "report.html"))
  assert(report:find("<table><td>1</td></table>", 1, true) and report:find("<svg/>", 1, true))
end)

test("the runner reads the pipeline file that was compiled, and nothing else", function()
  local run_room = require "kale.run"
  local one = write_notebook({ { "step:a", "print('one')" } }, "one.ipynb")
  local two = write_notebook({ { "step:b", "print('two')" } }, "two.ipynb")
  local prepared = run_room.prepare(one, {})
  local target = fs.join(test.tmpdir(), "out.yaml")
  test.equal(kale("compile", one, "-o", target).code, 0)
  test.equal(fs.read(fs.join(prepared.directory, "pipeline.yaml")), fs.read(target))
  kale("compile", two, "-o", fs.join(prepared.directory, "pipeline.yaml"))
  local lines = {}
  local result = run_room.execute(prepared, {
    python = PYTHON, on_event = function(event)
      if event.type == "line" then lines[#lines + 1] = event.text end
    end,
  })
  test.equal(result.state, "succeeded")
  test.same(lines, { "two" })
end)

test("with --cache, a step whose program and inputs are the same is not run again", function()
  local path = write_notebook {
    { "pipeline-parameters", "n = 1" }, { "step:a", "x = [1]" }, { "step:b prev:a", "y = x[0] + n\nprint(y)" },
    { "pipeline-metrics", "print(y)" },
  }
  run(path, "--cache")
  local _, second = run(path, "--cache")
  test.equal(second.steps[1].state, "cached")
  test.equal(second.steps[2].state, "cached")
  test.same(second.metrics, { y = 2 })
  local _, third = run(path, "--cache", "-p", "n=5")
  test.equal(third.steps[1].state, "cached")
  test.equal(third.steps[2].state, "succeeded")
  test.same(third.metrics, { y = 6 })
end)

test("an interrupted run stops its steps and says so", function()
  local path = write_notebook { { "step:a", "import time\nprint('up')\ntime.sleep(60)" }, { "step:b prev:a", "pass" } }
  local process = proc.spawn {
    host.executable(), "kale", "run", path, "--json", "--python", PYTHON, stdout = "pipe", stderr = "pipe",
  }
  for line in process:lines "stderr" do
    if line:find "up" then break end
  end
  process:kill "INT"
  local text = {}
  for line in process:lines "stdout" do text[#text + 1] = line end
  local exit = process:wait "30s"
  test.equal(exit.code, 130)
  test.equal(#text, 1)
  test.equal(json.decode(text[1]).state, "cancelled")
end)

test("exit() without an error ends the step, and what it has made crosses", function()
  local path = write_notebook {
    { "step:a", "import sys\nx = 1\nsys.exit(0)" }, { "", "x = 2" }, { "step:b prev:a", "print(x)" },
  }
  local printed, said = run(path)
  test.equal(said.state, "succeeded")
  assert(printed:find "^exit%(%) ends this step[^\n]*\n1\n$", printed)
end)

test("a step ends with its program, whatever that has left running", function()
  local path = write_notebook {
    { "step:a", "import subprocess\np = subprocess.Popen(['sleep', '1000'])\nprint(p.pid)" },
  }
  local printed, said = run(path)
  test.equal(said.state, "succeeded")
  -- It was killed; the kernel may still be at it. tail ends when the process has, timeout when it never does.
  local pid = printed:match "%d+"
  proc.run { "timeout", "20", "tail", "--pid", pid, "-f", "/dev/null" }
  local stat = fs.try.read("/proc/" .. pid .. "/stat")
  assert(not stat or stat:find "%) [ZX]", stat)
end)

test("--jobs below 1 is a wrong use, with the line for machines", function()
  local path = write_notebook { { "step:a", "pass" } }
  for _, jobs in ipairs { "0", "-1" } do
    local _, said, result = run(path, "--jobs=" .. jobs)
    test.equal(result.code, 2)
    test.equal(said.state, "failed")
  end
end)

test("a source larger than one argument may be is cut", function()
  local path = write_notebook { { "step:a", "x = '" .. ("é"):rep(200000) .. "'\nprint(len(x))" } }
  test.equal((run(path)), "200000\n")
end)
