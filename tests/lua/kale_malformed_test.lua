local errors = require "errors"
local fs = require "fs"
local json = require "json"
local notebook = require "kale.notebook"
local plan = require "kale.plan"
local test = require "test"

-- A pseudo-random sequence of our own, so that the test is the same everywhere.
local function new_random(seed)
  return function(limit)
    seed = (seed * 1103515245 + 12345) % 2147483648
    return seed // 65536 % limit + 1
  end
end

local function base_text()
  local cells = json.array {}
  for i, cell in ipairs {
    { "imports", "import math\n" }, { "pipeline-parameters", "rate = 0.5\n" },
    { "step:a", "xs = [rate, 2]\ndef f(x):\n    return x * rate\n%time y = 1\n" },
    { "step:b prev:a", "xs.append(f(3))\nz = {k: v for k, v in zip('ab', xs)}\n" },
    { "pipeline-metrics", "print(y)\n" },
  } do
    local tags = json.array {}
    for tag in cell[1]:gmatch "%S+" do tags[#tags + 1] = tag end
    cells[i] = { cell_type = "code", metadata = { tags = tags }, source = cell[2] }
  end
  return json.encode({ nbformat = 4, metadata = json.object {}, cells = cells }, { sort = true })
end

-- A plan, or an error that says what is wrong with the notebook; nothing else.
local function try(text)
  local ok, nb = pcall(notebook.parse, text, "a.ipynb")
  local made, result = ok, nb
  if ok then made, result = pcall(plan.make, nb) end
  if made then return end
  if not (errors.is(result, "Notebook") or errors.is(result, "PYAST")) then
    error(("%s\nfor %s"):format(errors.text(result), text), 0)
  end
  assert(#result.message > 10)
end

test("a notebook with bytes changed, lost or doubled is planned or refused with a reason", function()
  local base, random = base_text(), new_random(7)
  for _ = 1, 400 do
    local text = base
    for _ = 1, random(3) do
      local at, kind = random(#text), random(4)
      local byte = string.char(random(256) - 1)
      if kind == 1 then text = text:sub(1, at - 1) .. byte .. text:sub(at + 1)
      elseif kind == 2 then text = text:sub(1, at - 1) .. text:sub(at + random(20))
      elseif kind == 3 then text = text:sub(1, at) .. text:sub(at)
      else text = text:sub(1, at - 1) .. ({ "(", "\\n", "%", "'", "prev:", "def ", "[" })[random(7)] .. text:sub(at) end
    end
    try(text)
  end
end)

test("a value of any kind in any place is refused with that place", function()
  local base = base_text()
  for _, value in ipairs { "null", "1", '"x"', "[]", "{}", "true", "[[]]" } do
    for _, pattern in ipairs {
      '"cell_type":"code"', '"source":"[^"]*"', '"tags":%[[^%]]*%]', '"metadata":{[^{}]*}', '"nbformat":4',
    } do
      local first, last = base:find(pattern)
      if first then
        local key = base:sub(first, last):match '^"[^"]*":'
        try(base:sub(1, first - 1) .. key .. value .. base:sub(last + 1))
      end
    end
  end
end)

test("a zero byte is named with its cell and line", function()
  local text = '{"nbformat":4,"cells":[{"cell_type":"code"},{"cell_type":"code","source":["a = 1\\n","b\\u0000"]}]}'
  local err = test.raises("Notebook", function() notebook.parse(text, "a.ipynb") end)
  test.equal(err.message, "a.ipynb, cell 2, line 2, column 2: 'source' has a zero byte")
end)

test("kale compile of a broken notebook ends with 1 and names the place", function()
  local proc, host = require "proc", require "host"
  local path = fs.join(test.tmpdir(), "broken.ipynb")
  fs.write(path, '{"nbformat": 4, "cells": [{"cell_type": "code", "source": 7}]}')
  local result = proc.run { host.executable(), "kale", "compile", path }
  test.equal(result.code, 1)
  assert(result.stderr:find("cell 1", 1, true), result.stderr)
end)

test("a Python file with bytes changed, lost or doubled is planned or refused with a reason", function()
  local base, random = table.concat({
    "# ---", "# jupyter:", "#   kubeflow_notebook: {timeout: 5}", "# ---", "# %% [imports]", "import math",
    '# %% [step:a limit:cpu:1] note={"a": [1]} title', "xs = [math.pi]", "# %time y = 1", "# %% [markdown]", "# text",
    '# %% tags=["step:b", "prev:a"]', "print(xs, \"\"\"", "# %%", "\"\"\")", "# kfhost: text", "# {}", "",
  }, "\n"), new_random(11)
  for _ = 1, 300 do
    local text = base
    for _ = 1, random(4) do
      local at, kind = random(#text), random(3)
      if kind == 1 then text = text:sub(1, at - 1) .. string.char(random(256) - 1) .. text:sub(at + 1)
      elseif kind == 2 then text = text:sub(1, at - 1) .. text:sub(at + random(12))
      else text = text:sub(1, at) .. text:sub(at) end
    end
    local ok, nb = pcall(notebook.parse, text, "a.py")
    local made, result = ok, nb
    if ok then made, result = pcall(plan.make, nb) end
    if not made and not errors.is(result, "Notebook") then
      error(("%s\nfor %s"):format(errors.text(result), text), 0)
    end
  end
end)

-- --- files as they are found ---------------------------------------------------------------------------

local GOOD = '{"nbformat":4,"metadata":{},"cells":[{"cell_type":"code","metadata":{"tags":["step:a"]},"source":"x=1"}]}'

local function with(field, value)
  return (GOOD:gsub('"' .. field .. '":"?[^,}%]]+"?', '"' .. field .. '":' .. value, 1))
end

local function two_bytes(text) return (text:gsub(".", "%0\0")) end

-- name -> text, and what is said of it.
local NASTY = {
  { "", "ends too early" }, { "  \n\n", "ends too early" }, { ("\0"):rep(100), "line 1, column 1" },
  { "null", "JSON object" }, { "12", "JSON object" }, { "[1,2]", "'nbformat' is missing" },
  { '"text"', "JSON object" }, { "{}", "'nbformat' is missing" },
  { "<!DOCTYPE html><html>404</html>", "line 1, column 1" },
  { "version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "line 1, column 1" },
  { "<<<<<<< HEAD\n" .. GOOD, "line 1, column 1" }, { GOOD:sub(1, -9), "ends too early" },
  { GOOD .. "x", "line 1, column" }, { GOOD .. GOOD, "line 1, column" },
  { two_bytes(GOOD), "UTF-16" }, { "\255\254" .. two_bytes(GOOD), "UTF-16" }, { "\254\255\0{", "UTF-16" },
  { (GOOD:gsub("x=1", "x='\233'")), "malformed UTF-8" }, { (GOOD:gsub("x=1", "\\ud800")), "surrogate" },
  { (GOOD:gsub("x=1", "\1")), "control character" }, { (GOOD:gsub("x=1", "a\\nb\\u0000")), "cell 1, line 2" },
  { with("nbformat", "4e999"), "too large" }, { with("nbformat", "NaN"), "line 1, column" },
  { with("nbformat", '"4"'), "not 3 or 4" }, { with("nbformat", "4.5"), "not 3 or 4" },
  { with("nbformat", "99999999999999999999"), "not 3 or 4" }, { with("nbformat", "-4"), "not supported" },
  { with("nbformat", "5"), "not supported" }, { with("nbformat", "2"), "not supported" },
  { with("cells", "null").. "", "line 1" }, { '{"nbformat":4}', "'cells' is no list" },
  { '{"nbformat":4,"cells":{"a":1}}', "'cells' is no list" }, { '{"nbformat":4,"cells":"x"}', "'cells' is no list" },
  { '{"nbformat":4,"cells":[null]}', "cell 1: this cell is no object" },
  { '{"nbformat":4,"cells":[5]}', "cell 1: this cell is no object" },
  { '{"nbformat":4,"cells":[{}]}', "cell 1: this cell has no 'cell_type'" },
  { '{"nbformat":4,"metadata":"x","cells":[]}', "'metadata' is no object" },
  { '{"nbformat":4,"metadata":null,"cells":[]}', "'metadata' is no object" },
  { with("source", "5"), "cell 1: 'source'" }, { with("source", "null"), "cell 1: 'source'" },
  { with("source", '["a\\n",5]'), "cell 1, line 2: in 'source'" },
  { with("cell_type", "5"), "cell 1: this cell has no" },
  { (GOOD:gsub('%["step:a"%]', '"step:a"')), "cell 1: 'tags' is no list" },
  { (GOOD:gsub('%["step:a"%]', "null")), "cell 1: 'tags' is no list" },
  { (GOOD:gsub('{"tags":%["step:a"%]}', "[1]")), "cell 1: 'metadata' is no object" },
  { '{"nbformat":3,"worksheets":5}', "'worksheets' is no list" },
  { '{"nbformat":3,"worksheets":[null]}', "worksheet 1" },
  { '{"nbformat":3,"worksheets":[{"cells":[{"cell_type":"code","input":5}]}]}', "cell 1" },
  { ('{"a":'):rep(100000), "nested more than 500 deep" }, { ("["):rep(1000000), "nested more than 500 deep" },
  { with("source", '"' .. ("x"):rep(17 * 1024 * 1024) .. '"'), "cell 1: 'source' is larger" },
}

test("files that are no notebooks are refused with what is wrong and where", function()
  for i, case in ipairs(NASTY) do
    local ok, err = pcall(notebook.parse, case[1], "a.ipynb")
    assert(not ok and errors.is(err, "Notebook"), ("case %d is taken: %s"):format(i, case[2]))
    local text = errors.text(err)
    assert(text:find("a.ipynb", 1, true) and text:find(case[2], 1, true), ("case %d: %s"):format(i, text:sub(1, 300)))
  end
end)

test("a byte order mark of UTF-8, and keys that come twice, are no reason to refuse a notebook", function()
  test.equal(notebook.parse("\239\187\191" .. GOOD, "a.ipynb").cells[1].source, "x=1")
  test.equal(notebook.parse("\239\187\191# %% [step:a]\nx=1\n", "a.py").cells[1].tags[1], "step:a")
  test.equal(notebook.parse('{"nbformat":3,' .. GOOD:sub(2), "a.ipynb").format, 4)
end)

test("what is no file is refused and not waited for; links that lead nowhere are told", function()
  local proc, host = require "proc", require "host"
  local folder = test.tmpdir()
  local function path_of(name) return fs.join(folder, name) end
  proc.run { "mkfifo", path_of "fifo.ipynb" }
  fs.mkdir(path_of "dir.ipynb")
  fs.symlink("b.ipynb", path_of "a.ipynb")
  fs.symlink("a.ipynb", path_of "b.ipynb")
  fs.symlink("nowhere", path_of "gone.ipynb")
  local nested = GOOD:gsub('"step:a"%]', '"notebook:p"],"notebook_path":"PATH"'):gsub("x=1", "")
  fs.write(path_of "of_fifo.ipynb", (nested:gsub("PATH", "fifo.ipynb")))
  fs.write(path_of "of_device.ipynb", (nested:gsub("PATH", "/dev/zero")))
  fs.write(path_of "of_zero.ipynb", (nested:gsub("PATH", "a\\u0000")))
  for name, said in pairs {
    ["fifo.ipynb"] = "no file", ["dir.ipynb"] = "directory", ["a.ipynb"] = "symbolic links", ["gone.ipynb"] = "No such",
    ["of_fifo.ipynb"] = "cell 1: error: fifo.ipynb cannot be read", ["of_device.ipynb"] = "cell 1: error: /dev/zero",
    ["of_zero.ipynb"] = "cell 1: error: there is no notebook",
  } do
    local result = proc.run { host.executable(), "kale", "check", path_of(name), timeout = 50 }
    test.equal(result.code, 1)
    local text = result.stdout .. result.stderr
    assert(text:find(said, 1, true) and text:find(name, 1, true), name .. ": " .. text)
  end
end)

test("code that is nested deeper than Python takes is a finding at its place, and the rest is still checked", function()
  local function deep(source)
    local made = plan.make(notebook.parse(json.encode { nbformat = 4, cells = json.array {
      { cell_type = "code", metadata = { tags = json.array { "step:a" } }, source = source },
      { cell_type = "code", metadata = { tags = json.array { "step:b" } }, source = "print(nowhere)" },
    } }, "a.ipynb"))
    test.equal(made.diagnostics[#made.diagnostics].code, "undefined-name")
    local d = made.diagnostics[1]
    return d.code, d.cell, d.line, d.message
  end
  local blocks = {}
  for i = 0, 400 do blocks[i + 1] = (" "):rep(i) .. "if 1:" end
  blocks[#blocks + 1] = (" "):rep(401) .. "x = 1"
  for source, message in pairs {
    ["y = 1\nx = " .. ("("):rep(50000) .. (")"):rep(50000)] = "too many nested brackets",
    ["y = 1\nx = " .. ("["):rep(300) .. ("]"):rep(300)] = "too many nested brackets",
    ["y = 1\nx = 1" .. ("+1"):rep(20000)] = "too deeply nested",
    ["y = 1\nx = " .. ("-"):rep(20000) .. "1"] = "too deeply nested",
  } do
    test.same({ deep(source) }, { "syntax", 1, 2, message })
  end
  local code, cell, line, message = deep(table.concat(blocks, "\n"))
  test.same({ code, cell, message }, { "syntax", 1, "too many levels of indentation" })
  assert(line > 90, tostring(line))
end)

test("a line of any length is shown around its place", function()
  local diagnostics = require "kale.diagnostics"
  local d = diagnostics.new("syntax", { cell = 1, line = 1, column = 5001, message = "m",
    source = ("é"):rep(5000) .. "!" .. ("x"):rep(5000) })
  local shown = diagnostics.render("a.ipynb", d, function(text) return text end)
  local line, mark = shown:match "\n    (…[\xc3\xa9]+!x+…)\n    ( +%^)"
  assert(line, shown)
  test.equal(utf8.len(line:match "^(.-)!"), #mark - 1)
  assert(#line < 400)
end)

-- --- all of it at once --------------------------------------------------------------------------------------

local MANY = '{"nbformat":4,"metadata":[1],\n "cells":[{"cell_type":"code","source":5},null,'
  .. '{"source":"x"},{"cell_type":"code","metadata":{"tags":7},"source":["a = 1\\n",8,"b\\ud800"]},'
  .. '{"cell_type":"code","metadata":{"tags":["step:s"]},"source":["pass\\n","print(nowhere)"]},'
  .. '{"cell_type":"code","source":["a\\n", "b\255\\u0000"]}]}'

local SAID = {
  { nil, nil, "'metadata' is no object" }, { 1, nil, "'source' is neither a text nor a list of lines" },
  { 2, nil, "this cell is no object" }, { 3, nil, "this cell has no 'cell_type'" },
  { 4, nil, "'tags' is no list" }, { 4, 2, "in 'source' stands what is no text" },
  { 4, 3, "a high surrogate without a low one" }, { 5, 2, "'nowhere' is not defined" },
  { 6, 2, "malformed UTF-8" }, { 6, 2, "'source' has a zero byte" },
}

local function check(text, ...)
  local proc, host = require "proc", require "host"
  local path = fs.join(test.tmpdir(), "many.ipynb")
  fs.write(path, text)
  local result = proc.run { host.executable(), "kale", "check", path, ... }
  test.equal(result.code, 1)
  return result, path
end

test("check lists every malformed cell with its place, beside what else is wrong, in all its forms", function()
  local result, path = check(MANY)
  for _, said in ipairs(SAID) do
    local place = path
    if said[1] then place = place .. ", cell " .. said[1] end
    if said[2] then place = place .. ", line " .. said[2] end
    local found
    for line in result.stdout:gmatch "[^\n]+" do
      found = found or line:sub(1, #place) == place and line:find(said[3], 1, true)
    end
    assert(found, place .. ": " .. said[3] .. "\n" .. result.stdout)
  end
  assert(result.stdout:find "many.ipynb: %d+ errors, %d warnings?\n$", result.stdout)

  local by_place = {}
  for _, d in ipairs(json.decode(check(MANY, "--json").stdout)) do
    by_place[("%s/%s/%s"):format(d.cell, d.line, d.message:sub(1, 20))] = true
  end
  for _, said in ipairs(SAID) do
    local key = ("%s/%s/%s"):format(said[1], said[2], said[3]:sub(1, 20))
    assert(by_place[key], key)
  end

  local documents = json.decode(check(MANY, "--lsp").stdout)
  local messages = {}
  for _, document in ipairs(documents) do
    for _, d in ipairs(document.diagnostics) do
      local cell = document.uri:match "#cell(%d+)$"
      messages[("%s/%d/%s"):format(cell, d.range.start.line, d.message:sub(1, 20))] = true
    end
  end
  for _, said in ipairs(SAID) do
    local key = ("%s/%d/%s"):format(said[1], (said[2] or 1) - 1, said[3]:sub(1, 20))
    assert(messages[key], key)
  end
end)

test("a file that cannot be read on is a finding at its place in all forms, with what was found before", function()
  local text = '{"nbformat":4,\n "a":"\\ud800", "b":"\\q",\n "cells": ['
  local result, path = check(text)
  for _, place in ipairs { "line 2, column 7", "line 2, column 22", "line 3, column 12" } do
    assert(result.stdout:find(("%s, %s: error: "):format(path, place), 1, true), result.stdout)
  end
  assert(result.stdout:find("3 errors, 0 warnings", 1, true), result.stdout)
  test.equal(#json.decode(check(text, "--json").stdout), 3)
  local published = json.decode(check(text, "--lsp").stdout)
  test.equal(#published, 1)
  test.same(published[1].diagnostics[3].range.start, { line = 2, character = 11 })
end)

test("a notebook in a notebook tells all its malformed cells, too", function()
  local folder = test.tmpdir()
  fs.write(fs.join(folder, "part.ipynb"), MANY)
  local outer = GOOD:gsub('"step:a"%]', '"notebook:p"],"notebook_path":"part.ipynb"'):gsub("x=1", "")
  local made = plan.make(notebook.parse(outer, fs.join(folder, "outer.ipynb")))
  local count = 0
  for _, d in ipairs(made.diagnostics) do
    if d.code == "notebook" then count = count + 1 end
  end
  test.equal(count, #SAID - 1)
end)

test("lines of a Python file that are no UTF-8 are all told", function()
  local err = test.raises("Notebook", function()
    notebook.parse("# %% [step:a]\nx = '\233'\n# %% tags=5\ny = 'é\233'\n", "a.py")
  end)
  test.equal(err.message, "a.py, line 2, column 6: malformed UTF-8\na.py, line 4, column 7: malformed UTF-8\n"
    .. "a.py, cell 2: 'tags' is no list")
end)
