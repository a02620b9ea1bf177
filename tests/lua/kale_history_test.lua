local fs = require "fs"
local host = require "host"
local json = require "json"
local proc = require "proc"
local test = require "test"
local notebooks = dofile "tests/lua/support/notebooks.lua"

local PYTHON = "/usr/bin/python3"

local function kale(...) return proc.run { host.executable(), "kale", ... } end

-- The states of a run's steps by their names.
local function states_of(run)
  local states = {}
  for _, step in ipairs(run.steps) do states[step.name] = step.state end
  return states
end

-- A folder with a notebook of cells {tags, source}; gives functions that write it again and run it.
local function new_folder()
  local folder = test.tmpdir()
  local path = fs.join(folder, "nb.ipynb")
  local here = { path = path, folder = folder }
  function here.write(cells) fs.write(path, notebooks.text(cells)) end
  function here.run(...)
    local result = kale("run", path, "--json", "--python", PYTHON, ...)
    local said = json.decode(result.stdout)
    return states_of(said), said, result
  end
  return here
end

local CHAIN = {
  { "pipeline-parameters", "n = 2" }, { "step:a", "x = [n]" }, { "step:b prev:a", "y = x[0] * 2" },
  { "step:c prev:b", "z = float(y)\nprint('z is', z)" }, { "pipeline-metrics", "print(z)" },
}

test("a second run of an unchanged notebook runs nothing, and says so", function()
  local here = new_folder()
  here.write(CHAIN)
  test.same(here.run(), { a = "succeeded", b = "succeeded", c = "succeeded" })
  local states, said = here.run()
  test.same(states, { a = "cached", b = "cached", c = "cached" })
  test.same(said.metrics, { z = 4 })
  local told = kale("run", here.path, "--python", PYTHON).stdout
  assert(told:find("Nothing had to run: all 3 steps", 1, true), told)
  test.same(here.run "--fresh", { a = "succeeded", b = "succeeded", c = "succeeded" })
end)

test("a changed comment runs nothing, changed code what depends on it, a parameter its steps", function()
  local here = new_folder()
  here.write(CHAIN)
  here.run()
  local cells = { table.unpack(CHAIN) }
  table.insert(cells, 1, { "skip", "# a new cell" })
  cells[3] = { "step:a", "# why\nx = [n]  # because" }
  here.write(cells)
  test.same(here.run(), { a = "cached", b = "cached", c = "cached" })
  cells[4] = { "step:b prev:a", "y = x[0] * 3" }
  here.write(cells)
  test.same(here.run(), { a = "cached", b = "succeeded", c = "succeeded" })
  test.same(here.run("-p", "n=5"), { a = "succeeded", b = "succeeded", c = "succeeded" })
end)

test("a step that is tagged cache:disabled runs each time", function()
  local here = new_folder()
  here.write { { "step:a cache:disabled", "x = 1" }, { "step:b prev:a", "print(x)" } }
  here.run()
  test.same(here.run(), { a = "succeeded", b = "cached" })
end)

test("files and modules beside the notebook that a step names are part of it", function()
  local here = new_folder()
  fs.write(fs.join(here.folder, "data.txt"), "1")
  fs.write(fs.join(here.folder, "helper_of_ours.py"), "def f(): return 1\n")
  here.write {
    { "imports", "import helper_of_ours" }, { "step:a", "x = open('data.txt').read()" },
    { "step:b", "y = helper_of_ours.f()" }, { "step:c", "z = 1" },
  }
  here.run()
  test.same(here.run(), { a = "cached", b = "cached", c = "cached" })
  fs.write(fs.join(here.folder, "data.txt"), "2")
  test.same(here.run(), { a = "succeeded", b = "cached", c = "cached" })
  fs.write(fs.join(here.folder, "helper_of_ours.py"), "def f(): return 2\n")
  test.same(here.run(), { a = "cached", b = "succeeded", c = "cached" })
end)

test("--from runs a step and those after it, --only one alone", function()
  local here = new_folder()
  here.write(CHAIN)
  local _, _, none = here.run("--only", "b")
  test.equal(none.code, 2)
  assert(none.stderr:find("'a', which has not run here yet", 1, true), none.stderr)
  here.run()
  test.same(here.run("--from", "b"), { a = "cached", b = "succeeded", c = "succeeded" })
  local states, said = here.run("--only", "b")
  test.same(states, { a = "cached", b = "succeeded", c = "skipped" })
  test.equal(said.state, "succeeded")
  test.same(here.run("--from", "c"), { a = "skipped", b = "cached", c = "succeeded" })
  local _, _, wrong = here.run("--from", "x")
  test.equal(wrong.code, 2)
  assert(wrong.stderr:find("there are a, b, c", 1, true), wrong.stderr)
end)

test("earlier runs are found by a relative path, and those of another notebook are not taken", function()
  local here = new_folder()
  here.write { { "step:a", "x = 1" }, { "step:b prev:a", "print('x is', x)" } }
  local other = fs.join(here.folder, "other.ipynb")
  fs.copy(here.path, other)
  fs.write(other, (fs.read(other):gsub("x = 1", "x = 2")))
  local function run_below(name, from)
    local path = fs.join(fs.basename(here.folder), name)
    return proc.run {
      host.executable(), "kale", "run", path, "--json", "--python", PYTHON, from and "--from=" .. from,
      cwd = fs.dirname(here.folder), stderr = "stdout",
    }
  end
  test.equal(run_below "nb.ipynb".code, 0)
  assert(run_below("other.ipynb", "b").stdout:find("has not run here yet", 1, true))
  test.equal(run_below "other.ipynb".code, 0)
  local again = run_below("nb.ipynb", "b")
  test.equal(again.code, 0)
  assert(again.stdout:find("x is 1", 1, true), again.stdout)
  local steps = kale("logs", here.path, "b")
  test.equal(steps.stdout, "x is 1\n")
  test.equal(kale("logs", other, "b").stdout, "x is 2\n")
end)

test("a step that is taken from a run with other parameters is told, with their values", function()
  local here = new_folder()
  here.write {
    { "pipeline-parameters", "n = 1\nm = 1" }, { "step:a", "x = n" }, { "step:b prev:a", "y = x" },
    { "step:c prev:b", "print(y, m)" },
  }
  here.run()
  local function notes(...)
    local states, _, result = here.run("--from", "c", ...)
    test.same(states, { a = "skipped", b = "cached", c = "succeeded" })
    return result.stderr:match "b: taken from %S+, where ([^\n]*)"
  end
  test.equal(notes(), nil)
  test.equal(notes("--param", "m=2"), nil)
  test.equal(notes("--param", "n=5", "--param", "m=2"), "n was 1")
  test.equal(notes("--param", "n=7"), "n was 1")  -- not what the run before only took
  test.equal(notes(), nil)
end)

test("a failing step shows its cell, line and last lines at once, while others still run", function()
  local here = new_folder()
  here.write {
    { "step:a", "print('before')\n\nraise ValueError('this one')" },
    { "step:b", "import time, os\nwhile not os.path.exists('go'): time.sleep(0.01)" },
  }
  local process = proc.spawn { host.executable(), "kale", "run", here.path, "--json", "--quiet", "--jobs", "2",
    "--python", PYTHON, stdout = "pipe", stderr = "pipe" }
  local seen = {}
  for line in process:lines "stderr" do
    seen[#seen + 1] = line
    if line:find "ValueError: this one" then fs.write(fs.join(here.folder, "go"), "") end
  end
  local text = table.concat(seen, "\n")
  test.equal(process:wait("30s").code, 1)
  local place = "step a failed in " .. here.path .. ", cell 1, line 3"
  assert(text:find(place, 1, true), text)
  assert(text:find("    before", 1, true) and text:find "b\n?", text)
end)

test("with --fail-fast the first failure ends the run", function()
  local here = new_folder()
  here.write {
    { "step:a", "import time, os\nwhile not os.path.exists('up'): time.sleep(0.01)\nraise SystemExit(3)" },
    { "step:b", "import time\nopen('up', 'w').close()\ntime.sleep(600)" }, { "step:c prev:b", "pass" },
  }
  local states, said, result = here.run("--fail-fast", "--jobs", "2")
  test.same(states, { a = "failed", b = "cancelled", c = "skipped" })
  test.equal(said.state, "failed")
  test.equal(result.code, 1)
end)

test("retries and time limits hold as they are tagged", function()
  local here = new_folder()
  here.write {
    { "step:a retry:2", "import os\nos.makedirs('tries', exist_ok=True)\nn = len(os.listdir('tries'))\n"
      .. "open('tries/%d' % n, 'w').close()\nassert n == 2" },
    { "step:b timeout:1s", "import time\ntime.sleep(600)" },
  }
  local states, _, result = here.run()
  test.same(states, { a = "succeeded", b = "failed" })
  assert(result.stderr:find("did not end within 1 s", 1, true), result.stderr)
end)

test("a failing step that is tried again shows each attempt once, with its place", function()
  local here = new_folder()
  here.write { { "step:a retry:1", "print('before')\n1 / 0" } }
  local function count(text, what) return select(2, text:gsub(what, "")) end
  for _, option in ipairs { "--fresh", "--quiet" } do
    local _, _, result = here.run(option)
    test.equal(count(result.stderr, "\n[^\n]*ZeroDivisionError: "), 2)
    for attempt = 1, 2 do
      local head = ("step a failed in %s, cell 1, line 2, attempt %d of 2: "):format(here.path, attempt)
      assert(result.stderr:find(head, 1, true), result.stderr)
    end
  end
  test.equal(count(proc.run { host.executable(), "kale", "logs", here.path, "a" }.stdout, "%-%-%- attempt 2 %-%-%-"), 1)
end)

test("limits and environment reach the steps", function()
  local here = new_folder()
  here.write {
    { "step:a env:MODE:x=y", "import os, resource\nprint(os.environ['MODE'], "
      .. "resource.getrlimit(resource.RLIMIT_NOFILE)[0])" },
  }
  here.run("--rlimit", "files=77")
  test.equal(kale("logs", here.path, "a").stdout, "x=y 77\n")
  local _, _, wrong = here.run("--rlimit", "colour=red")
  test.equal(wrong.code, 2)
end)

test("an image of one's own needs a command, which --image gives", function()
  local here = new_folder()
  here.write { { "step:a image:registry/mine:1", "print(1)" } }
  local _, _, refused = here.run()
  assert(refused.stderr:find("registry/mine:1", 1, true) and refused.code == 1, refused.stderr)
  test.same(here.run("--image", "registry/*=" .. PYTHON), { a = "succeeded" })
end)

test("logs are shown on demand, not with --quiet", function()
  local here = new_folder()
  here.write(CHAIN)
  local loud = kale("run", here.path, "--python", PYTHON).stderr
  local quiet = kale("run", here.path, "--python", PYTHON, "--quiet", "--fresh").stderr
  assert(loud:find("z is 4.0", 1, true) and not quiet:find("z is 4.0", 1, true))
  assert(kale("logs", here.path, "c").stdout:find("z is 4.0\n", 1, true))
  assert(kale("logs", here.path).stdout:find "b%s+succeeded")
  test.equal(kale("logs", here.path, "x").code, 2)
end)

test("runs are compared by parameters, metrics and times", function()
  local here = new_folder()
  here.write(CHAIN)
  here.run()
  here.run("-p", "n=10")
  local shown = kale("compare", here.path).stdout
  assert(shown:find "n %*%s+2%s+10" and shown:find "z %*%s+4%s+20" and shown:find "STEPS", shown)
  local list = json.decode(kale("compare", here.path, "--json").stdout)
  test.same({ list[1].params.n, list[2].params.n, list[2].metrics.z }, { 2, 10, 20 })
  test.equal(list[1].steps[1].name, "a")
  local html = kale("compare", list[1].directory, list[2].directory, "--html", "-").stdout
  assert(html:find('<tr class="differ"><th>z</th><td>4</td><td>20</td></tr>', 1, true), html)
  test.equal(kale("compare", fs.join(here.folder, "nothing")).code, 2)
end)

-- What a step does to kill the program that runs it, whose number stands in the run's record.
local KILL_PROGRAM = "import glob, json, os\n"
  .. "os.kill(json.load(open(glob.glob('.kfhost/runs/2*/run.json')[0]))['pid'], 9)\n"

test("a run whose program was killed is readable, and is called crashed", function()
  local here = new_folder()
  here.write {
    { "step:a", KILL_PROGRAM .. "import time\ntime.sleep(600)" }, { "step:b prev:a", "" },
  }
  test.equal(kale("run", here.path, "--python", PYTHON).signal, 9)
  local listed = kale("compare", here.path, "--json")
  local run = json.decode(listed.stdout)[1]
  test.equal(run.state, "crashed")
  test.equal(run.steps[1].state, "crashed")
end)

test("a record that cannot be written is told, and does not stop the run", function()
  local here = new_folder()
  here.write {
    { "step:a", "import os, glob\nfor path in glob.glob('.kfhost/runs/2*/run.json'):\n    os.remove(path)\n"
      .. "    os.mkdir(path)" },
    { "step:b prev:a", "print('b ran')" },
  }
  local states, said, result = here.run()
  test.same(states, { a = "succeeded", b = "succeeded" })
  test.equal(said.state, "succeeded")
  assert(result.stderr:find("the record is not written: ", 1, true), result.stderr)
end)

test("after a crash the next run goes on: what had ended is taken, what ran and what waited runs", function()
  local here = new_folder()
  local flag = fs.join(here.folder, "flag")
  here.write {
    { "step:a", "x = 1\nprint('a was here')" },
    { "step:b prev:a", "import os, time\nif not os.path.exists(" .. ("%q"):format(flag)
      .. "):\n    open(" .. ("%q"):format(flag) .. ", 'w').close()\n"
      .. "    exec(" .. ("%q"):format(KILL_PROGRAM:gsub("\n", "; ")) .. ")\n    time.sleep(600)\ny = x + 1" },
    { "step:c prev:b", "z = y + 1" }, { "pipeline-metrics", "print(z)" },
  }
  test.equal(kale("run", here.path, "--python", PYTHON).signal, 9)
  local run = json.decode(kale("compare", here.path, "--json").stdout)[1]
  local states = states_of(run)
  test.same({ run.state, states.a, states.b }, { "crashed", "succeeded", "crashed" })
  local again, said = here.run()
  test.same(again, { a = "cached", b = "succeeded", c = "succeeded" })
  test.same(said.metrics, { z = 3 })
end)
