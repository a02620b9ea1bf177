local fs = require "fs"
local host = require "host"
local json = require "json"
local mounts = require "kfp.mounts"
local proc = require "proc"
local test = require "test"

local PYTHON = "/usr/bin/python3"

-- A folder with a notebook in percent form.
local function new_folder(text)
  local folder = test.tmpdir()
  local here = { folder = folder, path = fs.join(folder, "nb.py") }
  function here.write(code) fs.write(here.path, code) end
  function here.run(...)
    local result = proc.run { host.executable(), "kale", "run", here.path, "--json", "--python", PYTHON, ... }
    local said, states = json.decode(result.stdout), {}
    for _, step in ipairs(said.steps) do states[step.name] = step.state end
    return states, said, result
  end
  here.write(text)
  return here
end

local function log_of(said, step) return fs.read(fs.join(said.directory, step, "log.txt")) end

-- Where the kernel refuses mounts, a variable that is the path leads to the folder: so these tests hold everywhere.
local COUNT = [[
# %% [step:write volume:data:/kfhost-test/data env:DATA:/kfhost-test/data]
import os
with open(os.environ["DATA"] + "/lines", "a") as file:
    file.write("line\n")

# %% [step:read prev:write volume:data:/kfhost-test/data env:DATA:/kfhost-test/data]
n = len(open(os.environ["DATA"] + "/lines").readlines())

# %% [pipeline-metrics]
print(n)
]]

test("a claim is a folder that steps and later runs find again", function()
  local here = new_folder(COUNT)
  local states, said, result = here.run()
  test.same(states, { write = "succeeded", read = "succeeded" })
  test.same(said.metrics, { n = 1 })
  test.equal(fs.read(fs.join(here.folder, ".kfhost/runs/volumes/data/lines")), "line\n")
  local _, again = here.run "--fresh"
  test.same(again.metrics, { n = 2 })
  local told = result.stderr:find("volume-not-here", 1, true) ~= nil
  test.equal(told, not mounts.are_possible())
end)

test("a mounted claim is at its path, whatever the machine has there, and for nobody else", function()
  if not mounts.are_possible() then return end
  local here = new_folder [[
# %% [step:a volume:data:/kfhost-test/deep/er volume:more:/usr]
import os
open("/kfhost-test/deep/er/x", "w").write("here")
open("beside.txt", "w").write(str(sorted(os.listdir("/usr"))))
print("user", os.getuid(), "in", os.getcwd())
]]
  -- Python itself is in /usr: the step cannot start.
  test.same(here.run("--volume", "more=" .. here.folder), { a = "failed" })
  here.write(fs.read(here.path):gsub("/usr", "/srv"))
  local states, said = here.run("--volume", "more=" .. here.folder)
  test.same(states, { a = "succeeded" })
  test.equal(fs.read(fs.join(here.folder, ".kfhost/runs/volumes/data/x")), "here")
  assert(fs.read(fs.join(here.folder, "beside.txt")):find("nb.py", 1, true))
  local user = proc.run { "id", "-u" }.stdout:match "%d+"
  test.equal(log_of(said, "a"), ("user %s in %s\n"):format(user, fs.realpath(here.folder)))
  assert(not fs.exists "/kfhost-test")
end)

test("an equal step is taken from an earlier run only while its claim is as that run left it", function()
  local here = new_folder(COUNT)
  here.run()
  test.same(here.run(), { write = "cached", read = "cached" })
  fs.append(fs.join(here.folder, ".kfhost/runs/volumes/data/lines"), "mine\n")
  local states, said = here.run()
  test.same(states, { write = "succeeded", read = "succeeded" })
  test.same(said.metrics, { n = 3 })
  here.write((COUNT:gsub('"line', '"other')))
  states, said = here.run()
  test.same(states, { write = "succeeded", read = "succeeded" })
  test.same(said.metrics, { n = 4 })
  -- What the code of before left there is gone by now.
  here.write(COUNT)
  test.same(here.run(), { write = "succeeded", read = "succeeded" })
  fs.remove(fs.join(here.folder, ".kfhost/runs/volumes"), { recursive = true })
  states, said = here.run()
  test.same(states, { write = "succeeded", read = "succeeded" })
  test.same(said.metrics, { n = 1 })
end)

test("volumes of the notebook's metadata: a claim stays, a new one is empty in each run, a clone a copy", function()
  local here = new_folder [[
# ---
# jupyter:
#   kubeflow_notebook:
#     volumes:
#       - { name: kept, type: pvc, mount_point: /kfhost-test/kept, expose_as_env_var: true }
#       - { name: fresh, type: new_pvc, size: 1Gi, mount_point: /kfhost-test/fresh, expose_as_env_var: true }
#       - { name: copy, type: clone, size: 1Gi, mount_point: /kfhost-test/copy, expose_as_env_var: true }
#       - { name: disk, type: pv, mount_point: /kfhost-test/disk, expose_as_env_var: true }
# ---

# %% [imports]
import os

# %% [step:a]
for name in ("KEPT", "FRESH", "DISK", "COPY"):
    open(os.environ["KALE_VOLUME_" + name] + "/lines", "a").write("line\n")

# %% [step:b prev:a]
kept, fresh, disk, copied = [len(open(os.environ["KALE_VOLUME_" + name] + "/lines").readlines())
                             for name in ("KEPT", "FRESH", "DISK", "COPY")]

# %% [pipeline-metrics]
print(kept)
print(fresh)
print(disk)
print(copied)
]]
  local original = fs.join(here.folder, ".kfhost/runs/volumes/copy")
  fs.mkdir(original, { parents = true })
  fs.write(fs.join(original, "lines"), "old\nold\n")
  local _, said, result = here.run()
  test.equal(said.state, "succeeded", result.stderr)
  _, said = here.run()
  test.equal(said.state, "succeeded")
  test.same(said.metrics, { kept = 2, fresh = 1, disk = 2, copied = 3 })
  test.equal(fs.read(fs.join(original, "lines")), "old\nold\n")
end)

local SECRET = [[
# %% [step:a]
x = 1

# %% [step:b prev:a secret:db:password:KFHOST_TEST_SECRET]
import os
print("it is", os.environ.get("KFHOST_TEST_SECRET"), x)
]]

test("a secret comes from a file, a folder, a manifest or the environment", function()
  local here = new_folder(SECRET)
  fs.write(fs.join(here.folder, "db.env"), "# for tests\nuser = me\npassword='of lines'\n")
  fs.mkdir(fs.join(here.folder, "db"))
  fs.write(fs.join(here.folder, "db", "password"), "of a folder")
  fs.write(fs.join(here.folder, "db.yaml"), "kind: Secret\nmetadata: {name: other}\n---\nkind: Secret\n"
    .. "metadata: {name: db}\ndata: {password: b2YgYSBtYW5pZmVzdA==}\n")
  for source, value in pairs { ["db.env"] = "of lines", db = "of a folder", ["db.yaml"] = "of a manifest" } do
    local states, said, result = here.run("--secret", "db=" .. fs.join(here.folder, source))
    test.same(states.b, "succeeded")  -- each value is new
    test.equal(log_of(said, "b"), ("it is %s 1\n"):format(value))
    assert(not result.stderr:find("secret", 1, true), result.stderr)
  end
  local given = proc.run { host.executable(), "kale", "run", here.path, "--python", PYTHON, "--json",
    env = { KFHOST_TEST_SECRET = "of the environment" } }
  test.equal(log_of(json.decode(given.stdout), "b"), "it is of the environment 1\n")
  for _, folder in ipairs(fs.list(fs.join(here.folder, ".kfhost/runs"))) do
    local path = fs.join(here.folder, ".kfhost/runs", folder, "b")
    for _, name in ipairs(fs.try.list(path) or {}) do
      assert(name == "log.txt" or not (fs.try.read(fs.join(path, name)) or ""):find("of a", 1, true), name)
    end
  end
end)

test("a secret that nothing stands for is told at its cell, before anything runs", function()
  local here = new_folder(SECRET)
  local states, _, result = here.run()
  test.same(states, { a = "succeeded", b = "succeeded" })
  local told, began = result.stderr:find("cell 2: warning: secret 'db' gives KFHOST_TEST_SECRET", 1, true),
    result.stderr:find("succeeded", 1, true) or #result.stderr
  assert(told and told < began, result.stderr)
  fs.write(fs.join(here.folder, "db.env"), "user=me\n")
  local _, _, without = here.run("--secret", "db=" .. fs.join(here.folder, "db.env"))
  assert(without.stderr:find("cell 2: warning: what stands for secret 'db' has no key 'password'", 1, true))
end)

test("what stands for a claim or a secret must be there", function()
  local here = new_folder(COUNT)
  for _, words in ipairs { { "--volume", "data=/no/such" }, { "--secret", "db=/no/such" }, { "--secret", "db" } } do
    local states, said, result = here.run(table.unpack(words))
    test.same({ states, said.state, result.code }, { {}, "failed", 2 })
    assert(result.stderr:find("no/such", 1, true) or result.stderr:find("NAME=PATH", 1, true), result.stderr)
  end
end)

test("options that only a cluster can follow are told once, before the run", function()
  local here = new_folder [[
# %% [step:a limit:memory:4Gi label:team:x node:disk:ssd]
x = 1

# %% [step:b prev:a request:cpu:1 annotation:note:y limit:memory:8Gi]
y = x
]]
  local _, _, result = here.run()
  assert(result.stderr:find("without effect on this machine: annotation:note, label:team, limit:memory, node:disk, "
    .. "request:cpu", 1, true), result.stderr)
end)
