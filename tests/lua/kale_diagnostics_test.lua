local codes = require "kale.codes"
local diagnostics = require "kale.diagnostics"
local fs = require "fs"
local here = require "kale.here"
local host = require "host"
local json = require "json"
local machine = require "kale.machine"
local notebook = require "kale.notebook"
local plan = require "kale.plan"
local proc = require "proc"
local test = require "test"

local PAGE = "docs/guide/diagnostics.md"

-- The sections of the page: {code, severity, example}.
local function sections()
  local list = {}
  for code, severity, rest in fs.read(PAGE):gmatch "\n### `([%w-]+)` %((%w+)%)\n(.-)\n```\n" do
    -- What has no notebook has no example: the words of a command.
    local own = rest:match "^(.-)\n### `"
    list[#list + 1] = { code = code, severity = severity }
    if own then
      code, severity = rest:match "\n### `([%w-]+)` %((%w+)%)"
      list[#list + 1] = { code = code, severity = severity }
    end
    list[#list].example = rest:match "```python\n(.*)$" .. "\n"
  end
  return list
end

-- Notebooks that the examples name.
local BESIDE = {
  ["part.py"] = "# %% [step:s]\nx = 1\n", ["circle.py"] = '# %% [notebook:p] notebook_path="example.py"\n',
  ["broken.ipynb"] = "{", ["needs_b.py"] = "# %% [step:s]\na = b\n", ["needs_a.py"] = "# %% [step:s]\nb = a\n",
  ["digits.txt"] = "1\n", ["a.txt"] = "text",
}

-- Each names the next one twice: more than a thousand.
for i = 0, 10 do
  BESIDE[("doubled%d.py"):format(i)] = ('# %%%% [notebook:a] notebook_path="doubled%d.py"\n\n'
    .. '# %%%% [notebook:b] notebook_path="doubled%d.py"\n'):format(i + 1, i + 1)
end
BESIDE["doubled11.py"] = BESIDE["part.py"]

test("every code has a section with its severity, and no other code has one", function()
  local documented = {}
  for _, section in ipairs(sections()) do
    test.equal(documented[section.code], nil)
    documented[section.code] = section.severity
  end
  local known = {}
  for code, entry in pairs(codes) do known[code] = entry[1] end
  test.same(documented, known)
end)

test("every example of the page gives its diagnostic, at a place where there is one", function()
  local folder = test.tmpdir()
  for name, text in pairs(BESIDE) do fs.write(fs.join(folder, name), text) end
  for _, section in ipairs(sections()) do
    if not section.example then test.equal(section.code, "usage") goto next end
    local path = fs.join(folder, "example.py")
    fs.write(path, section.example)
    local found, others = nil, {}
    local read, made = pcall(plan.read, path)
    local all = read and made.diagnostics or { machine.finding(made) }
    -- What only a local run says, on a machine that has nothing.
    for _, d in ipairs(read and here.findings(made, { mounts = false, secrets = { given = {} } }) or {}) do
      all[#all + 1] = d
    end
    for _, d in ipairs(all) do
      if d.code == section.code then found = found or d else others[#others + 1] = d.code end
    end
    assert(found, ("%s is not found; %s"):format(section.code, table.concat(others, ", ")))
    test.equal(found.severity, section.severity)
    if found.line then assert(found.cell and found.column and found.source, section.code) end
    ::next::
  end
end)

test("every code is given by some room, and every room gives known codes", function()
  local used = {}
  for _, name in ipairs(host.scripts()) do
    if name:find "^lib/kale/" and name ~= "lib/kale/codes.lua" then
      for word in require "scripts".source(name):gmatch '"([a-z]+%-?[a-z-]*)"' do used[word] = true end
    end
  end
  for code in pairs(codes) do assert(used[code], code .. " is never given") end
end)

test("a finding is told with its line, a mark under the column and a hint", function()
  local d = diagnostics.new("missing-edge", {
    cell = 2, line = 1, column = 9, source = "\tprint(x)", name = "x", from = "a",
  })
  test.equal(diagnostics.render("nb.ipynb", d, function(text) return text end), table.concat({
    "nb.ipynb, cell 2, line 1, column 9: error: 'x' is made in step 'a', which does not come before this step "
      .. "[missing-edge]", "    \tprint(x)", "    \t       ^", "    hint: add the tag prev:a",
  }, "\n"))
end)

local function check(path, ...) return proc.run { host.executable(), "kale", "check", path, ... } end

local BROKEN = [==[
# %% [markdown]
# text

# %% [step:a odd]
é = "🐍"; print(é, missing)

# %% [step:b]
print(é)
]==]

test("all findings are listed, as JSON with hint and source", function()
  local path = fs.join(test.tmpdir(), "a.py")
  fs.write(path, BROKEN)
  local result = check(path, "--json")
  test.equal(result.code, 1)
  local list = {}
  for i, d in ipairs(json.decode(result.stdout)) do list[i] = ("%s@%s:%s"):format(d.code, d.cell, d.line or "-") end
  test.same(list, { "tag-unknown@2:-", "undefined-name@2:1", "missing-edge@3:1" })
  test.equal(json.decode(result.stdout)[3].hint, "add the tag prev:a")
end)

test("--lsp gives ranges in UTF-16 units: lines of the file for .py, of the cell for .ipynb", function()
  local folder = test.tmpdir()
  local path = fs.join(folder, "a b.py")
  fs.write(path, BROKEN)
  local script = json.decode(check(path, "--lsp").stdout)
  test.equal(#script, 1)
  assert(script[1].uri:find "^file:///.*/a%%20b%.py$", script[1].uri)
  local d = script[1].diagnostics[2]
  test.same({ d.code, d.severity, d.source }, { "undefined-name", 1, "kfhost" })
  test.same(d.range, { start = { line = 4, character = 19 }, ["end"] = { line = 4, character = 26 } })
  local notebook_path = fs.join(folder, "a.ipynb")
  proc.run { host.executable(), "kale", "convert", path, notebook_path }
  local cells = json.decode(check(notebook_path, "--lsp").stdout)
  test.equal(#cells, 2)
  assert(cells[1].uri:find "/a%.ipynb#cell2$", cells[1].uri)
  test.equal(cells[1].diagnostics[2].range.start.line, 0)
  test.equal(cells[2].diagnostics[1].data.hint, "add the tag prev:a")
end)

test("nothing is dropped in silence: each cell, tag and metadata key has an effect or a finding", function()
  local made = plan.make(notebook.parse(json.encode {
    nbformat = 4, metadata = { kubeflow_notebook = { autosnapshot = true, odd = 1 } }, cells = json.array {
      { cell_type = "code", metadata = { tags = json.array {} }, source = "lost = 1" },
      { cell_type = "markdown", metadata = { tags = json.array { "step:x" } }, source = "" },
      { cell_type = "code", metadata = { tags = json.array { "skip", "prev:a" } }, source = "left_out = 1" },
      { cell_type = "code", metadata = { tags = json.array { "step:a", "prev:" } }, source = "x = 1" },
      { cell_type = "code", metadata = { tags = json.array { "cache:disabled" } }, source = "y = 1" },
    },
  }, "a.ipynb"))
  local list = {}
  for i, d in ipairs(made.diagnostics) do list[i] = ("%s@%s"):format(d.code, d.cell or "-") end
  test.same(list, { "metadata-ignored@-", "metadata-unknown@-", "cell-dropped@1", "tag-on-text@2", "tag-ignored@3",
    "tag-empty@4", "tag-without-step@5" })
end)

test("what several steps find in one place is told once", function()
  local made = plan.make(notebook.parse(
    "# %% [functions]\ndef f():\n    return nowhere\n# %% [step:a]\nf()\n# %% [step:b]\nf()\n", "a.py"))
  test.equal(#made.diagnostics, 1)
end)
