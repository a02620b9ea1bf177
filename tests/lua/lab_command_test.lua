-- The commands that start, change and end a lab, as a script of somebody's would call them.
local fs = require "fs"
local host = require "host"
local json = require "json"
local proc = require "proc"
local test = require "test"
local wait = dofile "tests/lua/support/wait.lua"

local KFHOST = host.executable()

-- Runs kfhost with pipes for its streams, and temporary files in a directory of the test.
local function run(directory, ...)
  local words = { KFHOST, ... }
  words.env, words.stderr = { TMPDIR = directory }, "pipe"
  return proc.run(words)
end

local function wait_for(what, holds) return wait(what, holds, 30) end

test("lab up --detach --json returns on a pipe, and lab down leaves no process and no file", function()
  for _, words in ipairs { { "--nodes", "0" }, { "--plain-pods" }, { "--kubeflow", "--nodes", "0" } } do
    local directory = test.tmpdir()
    local up = run(directory, "lab", "up", "--detach", "--json", table.unpack(words))
    test.equal(up.code, 0)
    local facts = json.decode(up.stdout)
    test.equal(fs.exists(("/proc/%d"):format(facts.pid)), true)
    test.equal(type(facts.server), "string")
    local down = run(directory, "lab", "down", "--kubeconfig", facts.kubeconfig)
    test.equal(down.code, 0)
    test.equal(fs.exists(("/proc/%d"):format(facts.pid)), false)
    test.same(fs.list(directory), {})
  end
end)

test("lab up --detach says why a lab does not start", function()
  local directory = test.tmpdir()
  fs.write(fs.join(directory, "state"), "no directory")
  local up = run(directory, "lab", "up", "--detach", "--json", "--state", fs.join(directory, "state"))
  test.equal(up.code, 1)
  test.equal(up.stderr:find("the lab did not start: ", 1, true) ~= nil, true)
end)

test("a lab that is told to end by a signal removes what it made", function()
  local directory = test.tmpdir()
  local lab <close> = proc.spawn { KFHOST, "lab", "up", "--json", "--nodes", "0", env = { TMPDIR = directory } }
  json.decode(lab:read_line())
  lab:kill "TERM"
  test.equal(lab:wait().code, 143)
  wait_for("the directory is empty", function() return #fs.list(directory) == 0 end)
end)

test("a kubeconfig of the same lab may be there, another file may not", function()
  local directory = test.tmpdir()
  local config, state = fs.join(directory, "config"), fs.join(directory, "state")
  local words = { KFHOST, "lab", "up", "--json", "--nodes", "0", "--state", state, "--kubeconfig", config }
  local lab = proc.spawn(words)
  local port = json.decode(lab:read_line()).server:match "%d+$"
  lab:kill "KILL"
  lab:wait()
  test.equal(fs.exists(config), true)
  table.move({ "--port", port }, 1, 2, #words + 1, words)
  local again = proc.spawn(words)
  test.equal(json.decode(again:read_line()).kubeconfig, config)
  again:kill "TERM"
  again:wait()
  fs.write(config, "somebody's")
  words.stderr = "pipe"
  test.equal(proc.run(words).code, 1)
  test.equal(fs.read(config), "somebody's")
end)
