local test = require "test"
local host = require "host"
local proc = require "proc"

-- Runs kfhost with the words, in a terminal 80 columns wide that shows no colours.
local function kfhost(...)
  local command = { host.executable(), ... }
  command.env = { COLUMNS = "80" }
  return proc.run(command)
end

-- A folder of scripts with the command "shout" in it, whose run is the given Lua text.
local function command_folder(run)
  local folder = test.tmpdir()
  assert(os.execute("mkdir -p " .. folder .. "/cmd"))
  local file <close> = assert(io.open(folder .. "/cmd/shout.lua", "w"))
  file:write(('return require "cli".main { name = "shout", run = function(args) %s end }(...)'):format(run))
  return folder
end

local function shout(run, ...)
  return proc.run { host.executable(), "--scripts", command_folder(run), "shout", ... }
end

test("version says the program and its libraries", function()
  local result = kfhost "version"
  test.equal(result.code, 0)
  test.equal(result.stdout:match "^kfhost (%d+%.%d+%.%d+)\n", host.version)
  assert(result.stdout:find "Lua +5%.4%.%d")
end)

test("version --json can be decoded", function()
  local json = require "json"
  local this = json.decode(proc.run({ host.executable(), "version", "--json" }).stdout)
  test.equal(this.version, host.version)
  assert(this.libraries.libyaml)
end)

test("help lists every command", function()
  local result = kfhost "help"
  test.equal(result.code, 0)
  for _, name in ipairs(require("cli.commands").names()) do
    assert(result.stdout:find("\n  " .. name .. " ", 1, true), name .. " is not listed")
  end
end)

test("help of a command is what its --help prints", function()
  local names = require("cli.commands").names()
  for _, name in ipairs(names) do
    local result = proc.run { host.executable(), "help", name }
    test.equal(result.code, 0)
    test.equal(result.stdout, proc.run({ host.executable(), name, "--help" }).stdout)
  end
end)

test("every command of commands says what it does", function()
  local count = 0
  for _, name in ipairs(require("scripts").names()) do
    local command, sub = name:match "^cmd/(%l+)/(%l+)%.lua$"
    if command then
      local result = proc.run { host.executable(), command, sub, "--help" }
      if result.code ~= 0 or not result.stdout:find "^usage: kfhost" then
        error(("%s %s --help: %s%s"):format(command, sub, result.stdout, result.stderr), 0)
      end
      count = count + 1
    end
  end
  assert(count > 25, count)
end)

test("help of an unknown command suggests a near one", function()
  local result = proc.run { host.executable(), "help", "versoin" }
  test.equal(result.code, 2)
  assert(result.stderr:find("did you mean version?", 1, true))
end)

test("a wrong option is a usage error: exit code 2, the word and the nearest option", function()
  local result = proc.run { host.executable(), "version", "--jsno" }
  test.equal(result.code, 2)
  test.equal(result.stdout, "")
  test.equal(result.stderr, "kfhost version: unknown option '--jsno' (did you mean --json?)\n" ..
    "Try: kfhost version --help\n")
end)

test("an integer that a command returns is the exit code", function()
  test.equal(shout("return 7").code, 7)
  test.equal(shout("return").code, 0)
end)

test("an error table ends a command with exit code 1 and its text", function()
  local run = 'require "errors".raise { code = "NotFound", message = "no such notebook" }'
  local result = shout(run)
  test.equal(result.code, 1)
  test.equal(result.stderr, "kfhost shout: NotFound: no such notebook\n")
end)

test("--debug shows where an error table was raised", function()
  local result = shout('require "errors".raise { code = "X", message = "y" }', "--debug")
  assert(result.stderr:find("cmd/shout.lua:1: in", 1, true), result.stderr)
end)

test("a bug in a command shows its traceback without being asked", function()
  local result = shout "local nothing; return nothing.field"
  test.equal(result.code, 1)
  assert(result.stderr:find "stack traceback")
end)

test("cli.usage in a command is a usage error", function()
  local result = shout 'require "cli".usage("%s is not a colour", "loud")'
  test.equal(result.code, 2)
  assert(result.stderr:find("kfhost shout: loud is not a colour", 1, true))
end)

test("asking for help does not run the command", function()
  local result = shout('print "ran"', "--help")
  test.equal(result.code, 0)
  assert(not result.stdout:find "ran")
end)

-- --- colours -------------------------------------------------------------------------------------

-- What term.style gives where standard output is a terminal of its own.
local function styled(environment)
  local code = [[io.write(require "term".style("word", "bold red"))]]
  local command = ("%s '%s' -e '%s'"):format(environment, host.executable(), code)
  return proc.run({ "script", "-qec", "env " .. command, "/dev/null", env = { TERM = "xterm" } }).stdout
end

test("a terminal gets colours", function()
  test.equal(styled "-u NO_COLOR", "\27[1;31mword\27[0m")
end)

test("NO_COLOR, a dumb terminal and a pipe get none", function()
  test.equal(styled "NO_COLOR=1", "word")
  test.equal(styled "-u NO_COLOR TERM=dumb", "word")
  test.equal(kfhost("-e", [[io.write(require "term".style("word", "bold red"))]]).stdout, "word")
end)

test("the terminal's size comes from COLUMNS and LINES first", function()
  local code = [[print(require "term".size())]]
  local result = proc.run { host.executable(), "-e", code, env = { COLUMNS = "61", LINES = "17" } }
  test.equal(result.stdout, "61\t17\n")
end)
