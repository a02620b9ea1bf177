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

test("an ejected Python file is used too, without its heading, and may be outdated", function()
  local data, name = test.tmpdir(), "kale/runtime/step.py"
  local function compile()
    return kfhost(data, "kale", "compile", "examples/notebooks/prices.ipynb")
  end
  local bundled = compile().stdout
  kfhost(data, "scripts", "eject", name)
  local path = data .. "/kfhost/scripts/" .. name
  test.equal(fs.read(path):match "^# kfhost %S+ %x+ (%S+)\n", name)
  test.equal(compile().stdout, bundled)
  fs.write(path, fs.read(path) .. "# mine\n")
  test.equal(compile().stdout == bundled, false)
  fs.write(path, "# kfhost 0.0.1 " .. ("0"):rep(64) .. " " .. name .. "\npass\n")
  test.equal(select(2, compile().stderr:gsub("was ejected from another version", "")), 1)
end)

-- Folders with lib/marked.lua and cmd/marked.lua that say which one they are.
local function marked(name)
  local folder = fs.join(test.tmpdir(), name)
  for _, kind in ipairs { "lib", "cmd" } do
    fs.mkdir(fs.join(folder, kind), { parents = true })
    fs.write(fs.join(folder, kind, "marked.lua"), ("print '%s'"):format(name))
  end
  return folder
end

test("scripts are searched in --scripts, KFHOST_PATH, the user's folder, the program; in this order", function()
  local option, listed, later = marked "option", marked "listed", marked "later"
  local home = test.tmpdir()
  fs.mkdir(home .. "/.local/share/kfhost", { parents = true })
  fs.rename(marked "home", home .. "/.local/share/kfhost/scripts")
  local env = { HOME = home, XDG_DATA_HOME = "", KFHOST_PATH = "/no/such:" .. listed .. ":" .. later }
  local function found(...)
    local options, said = { ... }, {}
    for i, words in ipairs { { "marked" }, { "-e", "require 'marked'" } } do
      local command = { host.executable(), env = env, stderr = "null" }
      for _, list in ipairs { options, words } do table.move(list, 1, #list, #command + 1, command) end
      said[i] = proc.run(command).stdout
    end
    test.equal(said[1], said[2])
    return said[1]
  end
  test.equal(found("--scripts", option), "option\n")
  test.equal(found(), "listed\n")
  env.KFHOST_PATH = ""
  test.equal(found(), "home\n")
  env.XDG_DATA_HOME = home .. "/.local/share"
  env.HOME = "/no/such"
  test.equal(found(), "home\n")
end)

test("nothing is taken from the working directory", function()
  local folder = marked "here"
  fs.write(fs.join(folder, "marked.lua"), "print 'here'")
  for _, path in ipairs { "", ".", ":", "./lib", "." .. folder } do
    local env = { KFHOST_PATH = path, XDG_DATA_HOME = ".", HOME = ".", LUA_PATH = "./?.lua", LUA_CPATH = "./?.so" }
    for _, words in ipairs { { "marked" }, { "-e", "require 'marked'" } } do
      local result = proc.run { cwd = folder, env = env, stderr = "pipe", host.executable(), table.unpack(words) }
      test.equal(result.stdout, "")
      test.equal(result.code > 0, true)
    end
  end
  for entry in (package.path .. ";" .. package.cpath):gmatch "[^;]+" do test.equal(entry:sub(1, 1), "/") end
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
