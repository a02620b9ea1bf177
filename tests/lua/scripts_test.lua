local test = require "test"
local fs = require "fs"
local host = require "host"
local proc = require "proc"
local scripts = require "scripts"
local diff = require "diff"

-- Runs the program with a data directory of its own.
local function kfhost(data, ...)
  local command = { host.executable(), ... }
  command.env = { XDG_DATA_HOME = data, KFHOST_PATH = "" }
  command.stdin = "null"
  return proc.run(command)
end

test("every bundled script is listed", function()
  local result = kfhost(test.tmpdir(), "scripts", "list")
  test.equal(result.code, 0)
  test.equal(result.stdout, table.concat(scripts.names(), "\n") .. "\n")
end)

test("a script can be shown by its name or the end of it", function()
  local data = test.tmpdir()
  for name, file in pairs { ["lib/diff.lua"] = "lib/diff.lua", ["lib/diff"] = "lib/diff.lua",
    bundle = "lib/bundle.lua" } do
    test.equal(kfhost(data, "scripts", "show", name).stdout, scripts.source(file))
  end
end)

test("an unknown name and one that may be two are told apart", function()
  local data = test.tmpdir()
  local result = kfhost(data, "scripts", "show", "nothing")
  test.equal(result.code, 1)
  test.equal(result.stderr:match "NotFound", "NotFound")
  result = kfhost(data, "scripts", "show", "test.lua")
  test.equal(result.code, 1)
  test.equal(result.stderr:match "cmd/test%.lua or lib/test%.lua", "cmd/test.lua or lib/test.lua")
end)

test("an ejected script says where it is from and comes first", function()
  local data = test.tmpdir()
  local result = kfhost(data, "scripts", "eject", "cmd/version.lua")
  test.equal(result.code, 0)
  local path = data .. "/kfhost/scripts/cmd/version.lua"
  test.equal(result.stdout, path .. "\n")
  local heading = ("-- kfhost %s %s cmd/version.lua\n"):format(host.version, scripts.digest "cmd/version.lua")
  test.equal(fs.read(path), heading .. scripts.source "cmd/version.lua")
  fs.write(path, heading .. "print 'mine'\n")
  result = kfhost(data, "version")
  test.equal(result.stdout, "mine\n")
  test.equal(result.stderr, "")
  test.equal(kfhost(data, "scripts", "list").stdout:match "cmd/version%.lua  <%- ([^\n]*)", path .. " (user)")
end)

test("an ejected file is not overwritten unless that is asked for", function()
  local data, place = test.tmpdir(), test.tmpdir()
  fs.mkdir(place .. "/lib")
  fs.write(place .. "/lib/diff.lua", "mine")
  test.equal(kfhost(data, "scripts", "eject", "lib/diff.lua", place).code, 1)
  test.equal(fs.read(place .. "/lib/diff.lua"), "mine")
  test.equal(kfhost(data, "scripts", "eject", "lib/diff.lua", place, "--force").code, 0)
  test.equal(fs.read(place .. "/lib/diff.lua"):match "^%-%- kfhost ", "-- kfhost ")
end)

test("an outdated file is used with a warning", function()
  local data = test.tmpdir()
  local path = data .. "/kfhost/scripts/cmd/version.lua"
  fs.mkdir(fs.dirname(path), { parents = true })
  fs.write(path, "-- kfhost 0.0.1 " .. ("0"):rep(64) .. " cmd/version.lua\nprint 'mine'\n")
  local result = kfhost(data, "version")
  test.equal(result.stdout, "mine\n")
  test.equal(select(2, result.stderr:gsub("was ejected from another version", "")), 1)
  test.equal(kfhost(data, "scripts", "list").stdout:match "outdated", "outdated")
end)

test("diff shows what was changed, without the heading", function()
  local data = test.tmpdir()
  kfhost(data, "scripts", "eject", "lib/diff.lua")
  test.equal(kfhost(data, "scripts", "diff").stdout, "")
  local path = data .. "/kfhost/scripts/lib/diff.lua"
  fs.write(path, fs.read(path) .. "-- mine\n")
  local text = kfhost(data, "scripts", "diff", "lib/diff.lua").stdout
  test.equal(text:match "^%-%-%- kfhost/lib/diff%.lua\n%+%+%+ ([^\n]*)", path)
  test.equal(text:match "\n%+%-%- mine\n$", "\n+-- mine\n")
end)

test("a script cannot take the place of a module in C", function()
  local data = test.tmpdir()
  fs.mkdir(data .. "/kfhost/scripts/lib", { parents = true })
  fs.write(data .. "/kfhost/scripts/lib/sandbox.lua", "return { run = function() return 'mine' end }")
  test.equal(kfhost(data, "-e", "print(require('sandbox').run 'return 1')").stdout, "1\n")
end)

test("a diff is what patch understands", function()
  local old = {}
  for i = 1, 20 do old[i] = "line " .. i end
  local new = table.move(old, 1, 20, 1, {})
  new[3] = "changed"
  table.remove(new, 10)
  table.insert(new, 19, "added")
  local from, to = table.concat(old, "\n") .. "\n", table.concat(new, "\n")
  local folder = test.tmpdir()
  fs.write(folder .. "/a", from)
  fs.write(folder .. "/b", to)
  local theirs = proc.run { "diff", "-u", "--label", "old", "--label", "new", folder .. "/a", folder .. "/b" }
  test.equal(diff.unified(from, to), theirs.stdout)
  test.equal(diff.unified(from, from), "")
  test.equal(diff.unified("", "a\n"), "--- old\n+++ new\n@@ -0,0 +1 @@\n+a\n")
end)
