local fs = require "fs"
local host = require "host"
local json = require "json"
local notebook = require "kale.notebook"
local percent = require "kale.percent"
local plan = require "kale.plan"
local proc = require "proc"
local test = require "test"

local function kale(...) return proc.run { host.executable(), "kale", ... } end

local function write(name, text)
  local path = fs.join(test.tmpdir(), name)
  fs.write(path, text)
  return path
end

local function codes(made)
  local list = {}
  for i, d in ipairs(made.diagnostics) do list[i] = ("%s@%s:%s"):format(d.code, d.cell or "-", d.line or "-") end
  return list
end

local function step_names(made)
  local names = {}
  for i, step in ipairs(made.steps) do names[i] = step.name end
  return names
end

-- --- nbformat 3 --------------------------------------------------------------------------------------------

local OLD = [[{
 "metadata": {"name": "old", "kernelspec": {"name": "python3", "language": "python"}},
 "nbformat": 3, "nbformat_minor": 0,
 "worksheets": [
  {"cells": [
   {"cell_type": "heading", "level": 2, "metadata": {}, "source": ["Title"]},
   {"cell_type": "code", "collapsed": false, "input": ["x = 1\n", "y = 2"], "language": "python",
    "metadata": {"tags": ["step:a"]}, "prompt_number": 4,
    "outputs": [{"output_type": "pyout", "prompt_number": 4, "text": ["2"]},
                {"output_type": "stream", "stream": "stderr", "text": "hm"}]}]},
  {"cells": [{"cell_type": "code", "input": "print(x + y)", "metadata": {"tags": ["step:b", "prev:a"]}, "outputs": []}]}
 ]}]]

test("a notebook of nbformat 3 is read, its worksheets one after the other", function()
  local made = plan.make(notebook.parse(OLD, "old.ipynb"))
  test.same(codes(made), {})
  test.same(step_names(made), { "a", "b" })
  test.same(made.steps[2].ins, { "x", "y" })
  test.same(made.steps[2].cells, { 3 })
end)

test("a notebook of nbformat 3 becomes one of nbformat 4", function()
  local from = write("old.ipynb", OLD)
  local to = fs.join(test.tmpdir(), "new.ipynb")
  test.equal(kale("convert", from, to).code, 0)
  local new = json.decode(fs.read(to))
  test.equal(new.nbformat, 4)
  test.equal(new.cells[1].source, "## Title")
  test.equal(new.cells[2].outputs[1].output_type, "execute_result")
  test.same(new.cells[2].outputs[1].data, { ["text/plain"] = { "2" } })
  test.equal(new.cells[2].outputs[2].name, "stderr")
  test.equal(new.cells[2].execution_count, 4)
end)

test("a notebook of another language is refused", function()
  local text = json.encode { nbformat = 4, metadata = { kernelspec = { language = "R", name = "ir" } },
    cells = json.array { { cell_type = "code", metadata = { tags = json.array { "step:a" } }, source = "x <- 1" } } }
  test.equal(codes(plan.make(notebook.parse(text, "r.ipynb")))[1], "language@-:-")
  for _, name in ipairs { "python", "ipython", "Python" } do
    local fine = text:gsub('"R"', '"' .. name .. '"'):gsub("x <%- 1", "x = 1")
    test.same(codes(plan.make(notebook.parse(fine, "r.ipynb"))), {})
  end
end)

-- --- percent -----------------------------------------------------------------------------------------------

local SCRIPT = [==[
# ---
# jupyter:
#   kubeflow_notebook:
#     pipeline_name: from-script
# ---

import this_is_before_any_marker

# %% [markdown]
# # Title
#
# text

# %% [imports]
import math

# %% [pipeline-parameters]
n = 3

# %% [step:load]
# %matplotlib inline
values = [math.sqrt(i) for i in range(n)]
text = """
# %% no marker, but for the file
"""

#%% tags=["step:sum", "prev:load"] note="a \"quoted\" text" A title
total = sum(values)
# a comment

# %% [pipeline-metrics]
print(total)
]==]

test("a Python file in percent format is a notebook", function()
  local text = SCRIPT:gsub('text = """\n.-"""\n', "")
  local nb = notebook.parse(text, "a.py")
  local made = plan.make(nb)
  test.same(codes(made), { "cell-dropped@1:1" })
  test.equal(made.name, "from-script")
  test.same(step_names(made), { "load", "sum" })
  test.same(made.steps[2].ins, { "values" })
  test.same(made.metrics, { "total" })
  test.equal(nb.cells[2].source, "# Title\n\ntext")
  test.equal(nb.cells[5].source:match "^[^\n]*", "%matplotlib inline")
  test.equal(nb.cells[6].metadata.note, 'a "quoted" text')
  test.equal(nb.cells[6].metadata.title, "A title")
  local _, lines_before = text:match("^(.*)total = sum"):gsub("\n", "")
  test.equal(nb.cells[6].first_line, lines_before + 1)
end)

test("tags between brackets stand with blanks or commas between them, packages keep theirs", function()
  for line, wanted in pairs {
    ["# %% [step:a prev:b]"] = { "step:a", "prev:b" }, ["# %% [step:a,prev:b, limit:cpu:1]"] = { "step:a", "prev:b",
      "limit:cpu:1" },
    ["# %% [step:a packages:x==1.0,y[z],w prev:b]"] = { "step:a", "packages:x==1.0,y[z],w", "prev:b" },
    ["# %% [packages:x,y,step:a]"] = { "packages:x,y", "step:a" },
  } do
    local _, metadata = percent.read_marker(line)
    test.same(metadata.tags, wanted)
  end
end)

test("sources come back from the percent form as they were", function()
  for _, source in ipairs {
    "", "x = 1", "%time x = 1\n!ls\nfiles = !ls\nprint(1)", "%%bash\necho hi\n\necho there", "# %matplotlib inline\nx",
    "# # %% a\n# %% b\n#%% c\n# !x", 's = """\n# %magic\n%time\n"""\nx = 2', "# plain\n\n\nx = 1", "  ",
    "def f():\n    %time g()\n", "#", "# ? help\nx?\n?x", "%%time\nx = 1\n%%y",
  } do
    if percent.again("code", source) ~= source then
      -- What the form cannot hold is told apart, and kept beside it: never a wrong text.
      assert(source:find "^%s*$" or source:find "%s$" or source:find "%?" or source:find "^%%%%time", source)
    end
  end
end)

-- A notebook whose every part is unusual, from a seed.
local function odd_notebook(seed)
  local function random(limit)
    seed = (seed * 1103515245 + 12345) % 2147483648
    return seed // 65536 % limit + 1
  end
  local pieces = {
    "x = 1\n", "# %% not a marker\n", "%matplotlib inline\n", "!ls -l\n", "%%bash\n", "# !x\n", "\n", "  \n", "#%%\n",
    "s = '''\n# %% x\n%time\n'''\n", "é = 'ü'\r\n", "print(x)", "x?\n", "# kfhost: text\n", "\t\n", "a = !ls\n",
    "# ---\n", "%% x\n",
  }
  local kinds = { "code", "code", "code", "markdown", "raw", "odd" }
  local document = { nbformat = 4, nbformat_minor = 5, metadata = { b = json.array {}, a = json.object {}, n = 1.5 },
    cells = json.array {}, extra = "kept" }
  for i = 1, random(6) do
    local source = {}
    for k = 1, random(5) - 1 do source[k] = pieces[random(#pieces)] end
    local cell = { cell_type = kinds[random(#kinds)], metadata = json.object {}, id = "id" .. i }
    local text = table.concat(source)
    cell.source = text
    if random(2) == 1 then
      cell.source = json.array {}
      for line in text:gmatch "[^\n]*\n?" do
        if line ~= "" then table.insert(cell.source, line) end
      end
    end
    if random(3) == 1 then
      cell.metadata = { tags = json.array { "step:a", "a b" }, ["odd key"] = true, deep = { x = json.null } }
    end
    if cell.cell_type == "code" then
      cell.outputs, cell.execution_count = json.array { { output_type = "stream", text = "t" } }, json.null
    end
    document.cells[i] = cell
  end
  return document
end

test("a notebook converted to .py and back is the same document", function()
  local convert = require "kale.convert"
  local folder = test.tmpdir()
  for seed = 1, 120 do
    local text = json.encode(odd_notebook(seed), { sort = true })
    local one, two = fs.join(folder, "a.ipynb"), fs.join(folder, "a.py")
    fs.write(one, text)
    fs.write(two, convert.text(one, "a.py"))
    test.same({ seed, json.encode(json.decode(convert.text(two, "b.ipynb")), { sort = true }) }, { seed, text })
  end
end)

test("lines that are set oddly, and a minor version that is not said, come back as they were", function()
  local convert = require "kale.convert"
  local folder = test.tmpdir()
  local path, script = fs.join(folder, "odd.ipynb"), fs.join(folder, "odd.py")
  fs.write(path, '{"nbformat":4,"metadata":{},"cells":[{"cell_type":"code","metadata":{},"outputs":[],'
    .. '"execution_count":null,"source":["a = 1","\\nb = 2\\nc","","\\n"]}]}')
  fs.write(script, convert.text(path, script))
  test.same(json.decode(convert.text(script, path)), json.decode(fs.read(path)))
end)

test("the examples survive a conversion to .py and back, and make the same pipeline", function()
  local folder = test.tmpdir()
  for _, name in ipairs(fs.list "examples/notebooks") do
    if name:find "%.ipynb$" then fs.copy(fs.join("examples/notebooks", name), fs.join(folder, name)) end
  end
  for _, name in ipairs(fs.list "examples/notebooks") do
    if name:find "%.ipynb$" then
      local from, script = fs.join("examples/notebooks", name), fs.join(folder, (name:gsub("ipynb$", "py")))
      test.equal(kale("convert", from, script).code, 0)
      local back = fs.join(folder, "back-" .. name)
      test.equal(kale("convert", script, back).code, 0)
      test.equal(json.encode(json.decode(fs.read(back)), { sort = true }),
        json.encode(json.decode(fs.read(from)), { sort = true }))
      local function shown(path) return (kale("show", "--json", path).stdout:gsub('"diagnostics":.-%],', "")) end
      test.equal(shown(script), shown(from))
    end
  end
end)

test("convert writes over nothing that is there, and leaves outputs out when asked", function()
  local from = write("a.ipynb", json.encode(odd_notebook(3)))
  local to = write("a.py", "mine")
  test.equal(kale("convert", from, to).code, 2)
  test.equal(fs.read(to), "mine")
  test.equal(kale("convert", from, to, "--force", "--drop-outputs").code, 0)
  test.equal(fs.read(to):find "kfhost:", nil)
  test.equal(kale("convert", from, "a.txt").code, 2)
end)

-- --- tags --------------------------------------------------------------------------------------------------

local function tagged(text, path, number, tags)
  return require "kale.edit".tags(text, path or "a.ipynb", number or 1, tags or { "step:a" })
end

test("tags are changed, and nothing else in the file", function()
  for before, after in pairs {
    ['{"cells":[{"cell_type":"code","metadata":{},"source":"x"}],"nbformat":4}'] =
      '{"cells":[{"cell_type":"code","metadata":{"tags": ["step:a"]},"source":"x"}],"nbformat":4}',
    ['{"nbformat":4,"cells":[{"cell_type":"code","source":"}]\\"{","metadata":{"a":1.0,"tags":["x","y"],"b":[]}}]}'] =
      '{"nbformat":4,"cells":[{"cell_type":"code","source":"}]\\"{","metadata":{"a":1.0,"tags":["step:a"],"b":[]}}]}',
    ['{"nbformat":4,"cells":[{"cell_type":"code","source":"x"}]}'] =
      '{"nbformat":4,"cells":[{"metadata": {"tags": ["step:a"]}, "cell_type":"code","source":"x"}]}',
    ['{\n "cells": [\n  {\n   "cell_type": "code",\n   '
      .. '"metadata": {},\n   "source": []\n  }\n ],\n "nbformat": 4\n}\n'] =
      '{\n "cells": [\n  {\n   "cell_type": "code",\n   "metadata": {\n    "tags": [\n     "step:a"\n    ]\n   },\n'
      .. '   "source": []\n  }\n ],\n "nbformat": 4\n}\n',
    ['{"nbformat":3,"worksheets":[{"cells":[]},{"cells":[{"cell_type":"code","metadata":{"tags":[]}}]}]}'] =
      '{"nbformat":3,"worksheets":[{"cells":[]},{"cells":[{"cell_type":"code","metadata":{"tags":["step:a"]}}]}]}',
  } do
    test.equal(tagged(before), after)
  end
  test.equal(tagged("# %% [markdown] x\n# t\n\n# %% [step:b] title\nx = 1\n", "a.py", 2),
    '# %% [markdown] x\n# t\n\n# %% tags=["step:a"] title="title"\nx = 1\n')
  test.equal(tagged("\nx = 1\n", "a.py", 1), '\n# %% tags=["step:a"]\nx = 1\n')
  test.raises("Usage", function() tagged('{"nbformat":4,"cells":[]}') end)
end)

test("the command adds, replaces, removes and lists tags, and refuses wrong ones", function()
  local path = write("a.ipynb", '{"nbformat":4,"cells":[{"cell_type":"code","metadata":{},"source":"x = 1"}]}')
  local function tags() return notebook.read(path).cells[1].tags end
  test.equal(kale("tag", path, "1", "step:a", "limit:cpu:1").code, 0)
  test.same(tags(), { "step:a", "limit:cpu:1" })
  kale("tag", path, "1", "step:a", "cache:disabled")
  test.same(tags(), { "limit:cpu:1", "step:a", "cache:disabled" })
  kale("tag", path, "1", "--remove", "limit:cpu:1")
  test.same(tags(), { "step:a", "cache:disabled" })
  local wrong = kale("tag", path, "1", "cache:sometimes")
  test.equal(wrong.code, 2)
  assert(wrong.stderr:find("cache:enabled or cache:disabled", 1, true), wrong.stderr)
  test.equal(kale("tag", path, "2", "step:a").code, 2)
  assert(kale("tag", path).stdout:find "step:a cache:disabled")
  test.same(json.decode(kale("tag", path, "--json").stdout),
    { { cell = 1, kind = "code", tags = { "step:a", "cache:disabled" } } })
  kale("tag", path, "1", "--set", "skip")
  test.same(tags(), { "skip" })
  kale("tag", path, "1", "--clear")
  test.same(tags(), {})
end)
