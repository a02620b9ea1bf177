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
  test.equal(err.message, "a.ipynb: cell 2: line 2 of 'source' has a zero byte")
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
