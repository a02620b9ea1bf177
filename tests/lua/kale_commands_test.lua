-- kale show, check and compile as their users see them: standard output, standard error, exit code.
local fs = require "fs"
local host = require "host"
local json = require "json"
local proc = require "proc"
local test = require "test"

local DIGITS = "examples/notebooks/digits.ipynb"

local function kale(...)
  return proc.run { env = { COLUMNS = "80", NO_COLOR = "1" }, stderr = "pipe", host.executable(), "kale", ... }
end

-- Writes a notebook of cells {tags or "markdown", source} and gives its path.
local function write_notebook(cells, metadata)
  local document = {
    nbformat = 4, nbformat_minor = 5, metadata = json.object(metadata or {}), cells = json.array {},
  }
  for i, cell in ipairs(cells) do
    local tags = json.array {}
    for tag in cell[1]:gmatch "%S+" do tags[#tags + 1] = tag end
    local kind = cell[1] == "markdown" and "markdown" or "code"
    document.cells[i] = { cell_type = kind, metadata = { tags = tags }, source = cell[2], outputs = json.array {} }
  end
  local path = fs.join(test.tmpdir(), "a.ipynb")
  fs.write(path, json.encode(document))
  return path
end

local BROKEN = {
  { "markdown", "# title" }, { "step:a", "x = 1" }, { "step:b", "if True:\n\ty = 'é日本' + x" },
}

-- --- show ------------------------------------------------------------------------------------------

test("show --json has the documented shape, sorted, with cells counted from 1", function()
  local path = write_notebook({
    { "markdown", "# title" },
    { "imports", "import math" },
    { "pipeline-parameters", "rate = 0.5\nname = 'n'\nn = 3\nfast = True" },
    { "step:load", "data = [3, 1, 2]\ndef f(v):\n    return math.sqrt(v) * rate" },
    { "", "other = name" },
    { "step:b_fit prev:load", "score = f(data[0])\nwith open('a.ipynb'):\n    pass" },
    { "step:a_fit prev:load", "best = sorted(data)[n]" },
    { "step:join prev:a_fit prev:b_fit", "acc = best + score + len(other)" },
    { "pipeline-metrics", "print(acc)" },
  }, { kubeflow_notebook = { pipeline_name = "my-pipeline" } })
  local result = kale("show", path, "--json")
  test.equal(result.code, 0)
  test.equal(result.stderr, "")
  test.equal(select(2, result.stdout:gsub("\n", "\n")), 1)
  test.same(json.decode(result.stdout), {
    name = "my-pipeline",
    params = {
      { name = "fast", type = "bool", default = true }, { name = "n", type = "int", default = 3 },
      { name = "name", type = "str", default = "n" }, { name = "rate", type = "float", default = 0.5 },
    },
    steps = {
      { name = "load", after = {}, ins = {}, outs = { "data", "f", "other" }, params = { "name" }, metrics = {},
        cells = { 4, 5 } },
      { name = "b_fit", after = { "load" }, ins = { "data", "f" }, outs = { "score" }, params = { "rate" },
        metrics = {}, cells = { 6 } },
      { name = "a_fit", after = { "load" }, ins = { "data" }, outs = { "best" }, params = { "n" }, metrics = {},
        cells = { 7 } },
      { name = "join", after = { "a_fit", "b_fit", "load" }, ins = { "best", "other", "score" }, outs = {},
        params = {}, metrics = { "acc" }, cells = { 8 } },
    },
    metrics = { "acc" },
    diagnostics = {
      { severity = "warning", code = "relative-path", cell = 6, line = 2, column = 12,
        message = "'a.ipynb' is a file beside the notebook: in a cluster it is not in the step's image" },
    },
  })
end)

test("show --json keeps empty lists as lists, and the stem as name", function()
  local result = kale("show", write_notebook { { "step:a", "1" } }, "--json")
  test.equal(result.stdout, '{"diagnostics":[],"metrics":[],"name":"a","params":[],"steps":[{"after":[],"cells":[1],'
    .. '"ins":[],"metrics":[],"name":"a","outs":[],"params":[]}]}\n')
end)

test("show prints the tree of the example", function()
  local result = kale("show", DIGITS)
  test.equal(result.code, 0)
  test.golden("kale-show-digits.txt", result.stdout)
end)

test("show --deps says of each crossing name where from, how and why", function()
  local path = write_notebook {
    { "step:a", "k = 3\ndef f(v):\n    return v * k\nxs = [1]" }, { "step:b prev:a", "print(f(xs[0]))" },
  }
  local result = kale("show", path, "--deps")
  test.equal(result.code, 0)
  for _, row in ipairs { "k +a +b +value", "f +a +b +definition", "xs +a +b +value" } do
    assert(result.stdout:find("\n" .. row), result.stdout)
  end
end)

test("show --svg draws the same picture each time", function()
  local folder = test.tmpdir()
  for _, name in ipairs { "one.svg", "two.svg" } do
    test.equal(kale("show", DIGITS, "--svg", fs.join(folder, name)).stdout, "")
  end
  local one = fs.read(fs.join(folder, "one.svg"))
  test.equal(fs.read(fs.join(folder, "two.svg")), one)
  test.equal(kale("show", DIGITS, "--svg", "-").stdout, one)
  test.equal(fs.read "docs/guide/digits.svg", one)
end)

-- --- check -----------------------------------------------------------------------------------------

test("check puts its mark under the place, after tabs and wide characters too", function()
  local path = write_notebook(BROKEN)
  local result = kale("check", path)
  test.equal(result.code, 1)
  test.equal(result.stdout, ([[
PATH, cell 3, line 2, column 14: error: 'x' is made in step 'a', which does not come before this step [missing-edge]
    TABy = 'é日本' + x
    TAB              ^
    hint: add the tag prev:a
PATH: 1 error, 0 warnings
]]):gsub("PATH", (path:gsub("%%", "%%%%"))):gsub("TAB", "\t"))
end)

test("check --json is one list of findings", function()
  local result = kale("check", write_notebook(BROKEN), "--json")
  test.equal(result.code, 1)
  local found = json.decode(result.stdout)
  test.equal(#found, 1)
  test.equal(found[1].code .. " " .. found[1].cell .. " " .. found[1].line .. " " .. found[1].column,
    "missing-edge 3 2 14")
  test.equal(kale("check", write_notebook { { "step:a", "1" } }, "--json").stdout, "[]\n")
end)

test("warnings fail a check only when it is strict", function()
  local path = write_notebook { { "step:a", "open('a.ipynb')" } }
  test.equal(kale("check", path).code, 0)
  test.equal(kale("check", path, "--strict").code, 1)
  test.equal(kale("check", write_notebook { { "step:a", "1" } }, "--strict").code, 0)
end)

test("check and run tell the interpreter's own syntax errors", function()
  local path = write_notebook { { "step:a", "x = 1\nif x:\n    return x" } }
  for _, command in ipairs { "check", "run" } do
    local result = kale(command, path, "--python", "/usr/bin/python3")
    test.equal(result.code, 1)
    local said = result.stdout .. result.stderr
    assert(said:find("cell 1, line 3, column 5: error: 'return' outside function [syntax]", 1, true), said)
  end
  test.equal(fs.exists(fs.join(fs.dirname(path), ".kfhost")), false)
end)

test("magics do not disturb the interpreter's check, and lines keep their numbers", function()
  local path = write_notebook { { "step:a", "%time y = 1\n!ls\nx = !ls\nbreak" } }
  local result = kale("check", path, "--python", "/usr/bin/python3")
  assert(result.stdout:find("line 4, column 1: error: 'break' outside loop", 1, true), result.stdout)
end)

test("check says so when there is no interpreter", function()
  local result = kale("check", write_notebook { { "step:a", "return 1" } }, "--python", "/no/such/python")
  test.equal(result.code, 0)
  assert(result.stderr:find("checked by the parser alone: ENOENT", 1, true), result.stderr)
end)

-- --- compile ---------------------------------------------------------------------------------------

test("show and compile never start Python; check does", function()
  local folder = test.tmpdir()
  local trap, mark = fs.join(folder, "python3"), fs.join(folder, "started")
  fs.write(trap, ("#!/bin/sh\n: >%s\necho '[]'\n"):format(mark), { mode = 493 })
  local env = { PATH = folder .. ":" .. os.getenv "PATH" }
  for _, command in ipairs { "show", "compile", "check" } do
    local result = proc.run { host.executable(), "kale", command, DIGITS, env = env, stderr = "pipe" }
    test.equal(result.code, 0)
    test.equal(fs.exists(mark), command == "check")
  end
end)

test("compile writes a file or standard output, the same bytes each time", function()
  local target = fs.join(test.tmpdir(), "out.yaml")
  test.equal(kale("compile", DIGITS, "-o", target).stdout, "")
  test.equal(kale("compile", DIGITS).stdout, fs.read(target))
  test.equal(kale("compile", DIGITS, "--output=-").stdout, fs.read(target))
end)

test("compile of a notebook with errors writes nothing", function()
  local target = fs.join(test.tmpdir(), "out.yaml")
  local result = kale("compile", write_notebook(BROKEN), "-o", target)
  test.equal(result.code, 1)
  assert(result.stderr:find("[missing-edge]", 1, true))
  test.equal(fs.exists(target), false)
end)

test("what each room hands on can be printed", function()
  for _, room in ipairs { "notebook", "cells", "steps", "analysis", "ir" } do
    local result = kale("compile", DIGITS, "--debug-dump", room)
    test.equal(result.code, 0)
    test.equal(type(json.decode(result.stdout)), "table")
  end
  test.equal(kale("show", DIGITS, "--debug-dump", "yaml").stdout, kale("compile", DIGITS).stdout)
  test.equal(kale("compile", DIGITS, "--debug-dump", "kitchen").code, 2)
end)

-- --- run ---------------------------------------------------------------------------------------------

test("run --json says one line whatever fails, with the directory if there is one", function()
  local good = write_notebook { { "pipeline-parameters", "n = 1" }, { "step:a", "print(n)" } }
  local bad = write_notebook(BROKEN)
  for _, case in ipairs {
    { 1, "/no/such.ipynb" }, { 1, bad }, { 1, good, "--runs", "/proc/no" }, { 2, good, "-p", "n=x", made = true },
    { 1, good, "--python", "/no/such/python", made = true },
  } do
    local result = kale("run", "--json", table.unpack(case, 2))
    test.equal(result.code, case[1])
    test.equal(select(2, result.stdout:gsub("\n", "\n")), 1)
    local said = json.decode(result.stdout)
    test.equal(said.state, "failed")
    test.equal(json.encode(said.metrics), "{}")
    test.equal(json.is_array(said.steps), true)
    test.equal(said.directory ~= json.null and fs.exists(said.directory), case.made == true)
    assert(#result.stderr > 0)
  end
end)

test("words that are not understood give --json's one line, too, and exit code 2", function()
  for _, case in ipairs { { "run", DIGITS, "--no-such" }, { "run" }, { "check", "--python" }, { "check", DIGITS, "x" },
    { "compile", DIGITS, "-o" }, { "show", DIGITS, "--svg" } } do
    local result = kale(case[1], "--json", table.unpack(case, 2))
    test.equal(result.code, 2)
    test.equal(select(2, result.stdout:gsub("\n", "\n")), 1)
    local said = json.decode(result.stdout)
    if case[1] == "run" then
      test.same(said, { state = "failed", metrics = {}, steps = {}, directory = json.null })
    else
      test.equal((said.diagnostics or said)[1].code, "usage")
    end
    assert(result.stderr:find("Try: kfhost kale", 1, true), result.stderr)
    test.equal(kale(case[1], table.unpack(case, 2)).stdout, "")
  end
end)

test("what is no notebook is a finding for programs", function()
  local path = fs.join(test.tmpdir(), "a.ipynb")
  fs.write(path, '{"nbformat": 4,\n "cells": 5x}')
  for _, command in ipairs { "check", "show", "compile" } do
    local result = kale(command, path, "--json")
    test.equal(result.code, 1)
    local said = json.decode(result.stdout)
    local d = (said.diagnostics or said)[1]
    test.same({ d.code, d.severity, d.line, d.column }, { "notebook", "error", 2, 12 })
    assert(result.stderr:find(path, 1, true), result.stderr)
  end
end)

test("compile --json says the findings, and the pipeline or where it is", function()
  local path = fs.join(test.tmpdir(), "out.yaml")
  local said = json.decode(kale("compile", DIGITS, "--json").stdout)
  test.equal(said.pipeline, kale("compile", DIGITS).stdout)
  test.equal(said.output, json.null)
  local written = json.decode(kale("compile", DIGITS, "--json", "-o", path).stdout)
  test.equal(fs.read(path), said.pipeline)
  test.same({ written.output, written.pipeline }, { path, json.null })
  local broken = kale("compile", write_notebook(BROKEN), "--json", "-o", path .. "2")
  test.equal(broken.code, 1)
  test.equal(json.decode(broken.stdout).diagnostics[1].severity, "error")
  assert(not fs.exists(path .. "2"))
end)

-- --- documents -----------------------------------------------------------------------------------------

test("what README and guide say that show prints is what it prints", function()
  local blocks = 0
  for _, path in ipairs { "README.md", "docs/guide/first-pipeline.md" } do
    for words, printed in fs.read(path):gmatch "\n```\n%$ kfhost kale (show [^\n]*)\n(.-)```" do
      local command = {}
      for word in words:gmatch "%S+" do command[#command + 1] = word end
      test.equal(kale(table.unpack(command)).stdout, printed)
      blocks = blocks + 1
    end
  end
  test.equal(blocks, 2)
end)
