local host = require "host"
local proc = require "proc"
local test = require "test"

-- Runs this program with the words and options of proc.run.
local function kfhost(options)
  local command = table.move(options, 1, #options, 2, { host.executable() })
  for key, value in pairs(options) do
    if type(key) == "string" then command[key] = value end
  end
  command.timeout = 50
  return proc.run(command)
end

-- A file with that text; its path.
local function script(text, name)
  local path = test.tmpdir() .. "/" .. (name or "script.lua")
  local file <close> = assert(io.open(path, "w"))
  file:write(text)
  return path
end

-- Starts code, waits until it prints a line, sends the signal; exit and the rest of the output.
local function interrupt(code, signal)
  local p = proc.spawn { host.executable(), "-e", code, stderr = "null" }
  p:read_line "stdout"
  p:kill(signal)
  local rest = {}
  for line in p:lines "stdout" do rest[#rest + 1] = line end
  return p:wait(50), table.concat(rest, "\n")
end

-- --- dispatch --------------------------------------------------------------------------------------

test("a word that ends in .lua or has a / is a script, with its arguments", function()
  local path = script "print(arg[0], arg[1], #arg, ...)"
  test.equal(kfhost({ path, "a", "-b" }).stdout, path .. "\ta\t2\ta\t-b\n")
  local plain = script("print 'plain'", "no_extension")
  test.equal(kfhost({ plain }).stdout, "plain\n")
end)

test("a dash, or no word and piped input, is a script from standard input", function()
  test.equal(kfhost({ "-", "x", stdin = "print(...)" }).stdout, "x\n")
  test.equal(kfhost({ stdin = "print 'piped'" }).stdout, "piped\n")
end)

test("any other word is a command, also one of --scripts DIR", function()
  test.equal(kfhost({ "version" }).stdout:match "^kfhost", "kfhost")
  local dir = test.tmpdir()
  os.execute("mkdir " .. dir .. "/cmd")
  local file = assert(io.open(dir .. "/cmd/mine.lua", "w"))
  file:write "print('mine', ...) return 4"
  file:close()
  local result = kfhost { "--scripts", dir, "mine", "--flag" }
  test.equal(result.stdout, "mine\t--flag\n")
  test.equal(result.code, 4)
end)

test("an unknown command is a usage error that names it and what is near", function()
  local result = kfhost { "verson" }
  test.equal(result.code, 2)
  test.equal(result.stderr:find("unknown command 'verson' (did you mean version", 1, true) ~= nil, true)
end)

test("a file without the ending is told from a command", function()
  local result = kfhost { "plain", cwd = script("", "plain"):match "^(.*)/" }
  test.equal(result.code, 2)
  test.equal(result.stderr:find "ends in .lua or has a /" ~= nil, true)
end)

test("a script that does not exist is a usage error", function()
  local result = kfhost { "no/such.lua" }
  test.equal(result.code, 2)
  test.equal(result.stderr, "kfhost: Usage: cannot open no/such.lua: No such file or directory\n")
end)

test("an unknown option, or one without its value, is a usage error", function()
  local result = kfhost { "--nope" }
  test.equal(result.code, 2)
  test.equal(result.stderr:find "'%-%-nope'" ~= nil, true)
  test.equal(kfhost({ "-e" }).code, 2)
end)

test("two dashes end the options", function()
  test.equal(kfhost({ "--", "-", stdin = "print 'ok'" }).stdout, "ok\n")
end)

test("bytecode is refused wherever code is loaded", function()
  local path = script(string.dump(function() print "ran" end), "binary.lua")
  local folder = path:match "^(.*)/"
  test.equal(load(string.dump(function() end)), nil)
  test.equal(loadfile(path), nil)
  for _, words in ipairs {
    { path }, { "-", stdin = string.dump(function() print "ran" end) }, { "-e", ("dofile %q"):format(path) },
    { "-e", ("package.path = %q; require 'binary'"):format(folder .. "/?.lua") },
    { "-e", ("assert(loadfile(%q, 'b'))()"):format(path) },
  } do
    local result = kfhost(words)
    test.equal(result.stdout, "")
    test.equal(result.code, 1)
    assert(result.stderr:find("attempt to load a binary chunk", 1, true), result.stderr)
  end
end)

test("dofile and package.path give text files, which may wait", function()
  local path = script("require('task').sleep(0.01) return 'did', ...", "text.lua")
  test.equal(kfhost({ "-e", ("print(dofile(%q))"):format(path) }).stdout, "did\n")
  local folder = script("return { loaded = ... }", "found.lua"):match "^(.*)/"
  test.equal(kfhost({ "-e", ("package.path = %q; print(require('found').loaded)"):format(folder .. "/?.lua") }).stdout,
    "found\n")
end)

-- --- what a start costs ------------------------------------------------------------------------------

-- The shared objects and the peak in KiB of this program at the end of some code.
local function footprint(code)
  local result = kfhost { "-e", code .. [[
    for line in io.lines "/proc/self/maps" do print(line:match "%S+$") end
    print(io.open "/proc/self/status":read "a":match "VmHWM:%s*(%d+)")]] }
  if result.code ~= 0 then error(result.stderr) end
  return result.stdout, tonumber(result.stdout:match "(%d+)\n$")
end

test("libcurl is not mapped and the peak is below 8 MB, at the first line and after a compile", function()
  local compile = [[
    local chunk = assert(load(require "scripts".source "cmd/kale/compile.lua"))
    assert(chunk("examples/notebooks/digits.ipynb", "-o", "/dev/null") == 0)]]
  for _, code in ipairs { "", compile } do
    local maps, peak = footprint(code)
    assert(maps:find("libc.so", 1, true))
    for _, library in ipairs { "curl", "nghttp2", "sqlite", "python" } do
      test.equal(maps:find(library, 1, true), nil)
    end
    -- A sanitizer's own memory is no measure.
    if not maps:find("libasan", 1, true) then assert(peak <= 8 * 1024, peak) end
  end
end)

-- --- ends ------------------------------------------------------------------------------------------

test("a program with a large heap closes all that is open, and ends with its code", function()
  local path = test.tmpdir() .. "/written"
  local result = kfhost { "-e", ([[
    kept = {}
    for i = 1, 300000 do kept[i] = { i, "text " .. i } end
    assert(collectgarbage "count" > 16 << 10)
    kept.last = setmetatable({}, { __gc = function() print "collected" end })
    kept.file = io.open(%q, "w")
    kept.file:setvbuf "full"
    kept.file:write "all"
    return 3]]):format(path) }
  test.equal(result.code, 3)
  test.equal(result.stdout, "collected\n")
  test.equal(require "fs".read(path), "all")
end)

test("what a script returns is the exit code", function()
  test.equal(kfhost({ "-e", "return 7" }).code, 7)
  test.equal(kfhost({ "-e", "return false" }).code, 1)
  test.equal(kfhost({ "-e", "return" }).code, 0)
end)

test("an uncaught error ends with 1 and the script's own frames", function()
  local result = kfhost { "-e", "local function f() error 'oops' end\nf()" }
  test.equal(result.code, 1)
  test.equal(result.stderr, [[
kfhost: (command line):1: oops
stack traceback:
	[C]: in function 'error'
	(command line):1: in local 'f'
	(command line):2: in main chunk
]])
end)

test("an uncaught error table is printed with its traceback", function()
  local result = kfhost { "-e", [[
local function f() require("errors").raise { code = "Odd", message = "odd" } end
f()]] }
  test.equal(result.code, 1)
  test.equal(result.stderr:match "^kfhost: Odd: odd\nstack traceback:\n" ~= nil, true)
  test.equal(result.stderr:find("(command line):2: in main chunk\n", 1, true) ~= nil, true)
end)

test("a syntax error ends with 1 and no traceback", function()
  local result = kfhost { "-e", "x = = 1" }
  test.equal(result.code, 1)
  test.equal(result.stderr, "kfhost: (command line):1: unexpected symbol near '='\n")
end)

test("an error in a task that nobody waits for ends the program with 1 and its traceback", function()
  local result = kfhost { "-e", [[
    local task = require "task"
    task.spawn(function() error "unheard" end)
    task.sleep(40)]] }
  test.equal(result.code, 1)
  test.equal(result.seconds < 30, true)
  test.equal(result.stderr:find "unheard\nstack traceback:" ~= nil, true)
end)

test("when the main task fails, the others are cancelled", function()
  local result = kfhost { "-e", [[
    local task = require "task"
    task.spawn(function() print(select(2, pcall(task.sleep, 40)).code) end)
    task.sleep(0)
    error "main"]] }
  test.equal(result.code, 1)
  test.equal(result.stdout, "Cancelled\n")
end)

test("the program goes on until all tasks have ended", function()
  local result = kfhost { "-e", [[
    local task = require "task"
    task.spawn(function() task.sleep(0.01) print "later" end)
    print "main ends"]] }
  test.equal(result.stdout, "main ends\nlater\n")
end)

test("tasks that wait for each other are told so", function()
  local result = kfhost { "-e", [[require("task").event():wait()]] }
  test.equal(result.code, 1)
  test.equal(result.stderr:find "Deadlock" ~= nil, true)
end)

test("os.exit closes the state, in a task too", function()
  local result = kfhost { "-e", [[
    X = setmetatable({}, { __gc = function() print "closed" end })
    require("task").spawn(function() os.exit(5) end):wait()]] }
  test.equal(result.code, 5)
  test.equal(result.stdout, "closed\n")
end)

test("an error in __gc is told as a warning", function()
  local result = kfhost { "-e", "setmetatable({}, { __gc = function() error 'late' end }) collectgarbage()" }
  test.equal(result.code, 0)
  test.equal(result.stderr:find "late" ~= nil, true)
end)

test("warnings are shown in whole, and can be switched off", function()
  local code = [[warn("one, ", "@two") warn "@off" warn "three" warn "@odd" warn "@on" warn "four"]]
  test.equal(kfhost { "-e", code }.stderr, "Lua warning: one, @two\nLua warning: four\n")
end)

test("writing to a closed pipe is an error, not a death", function()
  local code = [[
    local refused
    for _ = 1, 10000 do refused = refused or not io.write(("x"):rep(100)) end
    io.stderr:write(tostring(refused))]]
  local result = proc.run {
    shell = '{ "$PROGRAM" -e "$CODE"; echo " code $?" >&2; } | true',
    env = { PROGRAM = host.executable(), CODE = code },
  }
  test.equal(result.stderr, "true code 0\n")
end)

-- --- signals ---------------------------------------------------------------------------------------

local CLOSES = [[
  local _ <close> = setmetatable({}, { __close = function() print "closed" end })
  print "ready"
  io.stdout:flush()
]]

test("SIGINT cancels the main task: its close variables run, the exit code is 130", function()
  local exit, output = interrupt(CLOSES .. "require('task').sleep(40)", "INT")
  test.equal(exit.code, 130)
  test.equal(output, "closed")
end)

test("SIGTERM ends a script that never waits, with 143", function()
  local exit, output = interrupt(CLOSES .. "while true do end", "TERM")
  test.equal(exit.code, 143)
  test.equal(output, "closed")
end)

test("a second SIGINT ends the program at once", function()
  local p = proc.spawn { host.executable(), "-e", [[
    print "ready" io.stdout:flush()
    while true do
      pcall(function() while true do end end)
      print "again" io.stdout:flush()
    end]], stderr = "null" }
  p:read_line "stdout"
  p:kill "INT"
  p:read_line "stdout"
  local ended, exit
  for _ = 1, 500 do -- those that come at once are one
    pcall(p.kill, p, "INT")
    ended, exit = pcall(p.wait, p, 0.1)
    if ended then break end
  end
  test.equal(ended and exit.code, 130)
  while p:read "stdout" do end
end)

test("a SIGINT that comes twice at once, to the program and to its group, is one", function()
  local p = proc.spawn { host.executable(), "-e", [[
    local task = require "task"
    local _ <close> = setmetatable({}, { __close = function()
      task.last(function()
        task.sleep(0.3)
        print "cleared" io.stdout:flush()
      end)
    end })
    print "ready" io.stdout:flush()
    task.sleep(40)]], stderr = "null" }
  p:read_line "stdout"
  p:kill "INT"
  p:kill "INT"
  test.equal(p:read_line "stdout", "cleared")
  test.equal(p:wait(50).code, 130)
  test.equal(p:read "stdout", nil)
end)

test("SIGINT stops the children that the main task waits on", function()
  local p = proc.spawn { host.executable(), "-e", [[
    local p = require("proc").spawn { "sleep", "100", stdout = "null", stderr = "null" }
    print(p.pid) io.stdout:flush()
    p:wait()]], stderr = "null" }
  local child = p:read_line "stdout"
  p:kill "INT"
  test.equal(p:wait(50).code, 130)
  test.equal(p:read "stdout", nil)
  test.equal(io.open("/proc/" .. child .. "/stat"), nil)
end)

-- --- -i --------------------------------------------------------------------------------------------

test("-i runs statements, prints what expressions give, and goes on after errors", function()
  local result = kfhost { "-i", stdin = [[
x = 20
x * 2, nil
for i = 1, 2 do
print(i)
end
error 'no'
x + 1
]] }
  test.equal(result.stdout, "40\tnil\n1\n2\n21\n")
  test.equal(result.stderr:find "stdin:1: no" ~= nil, true)
  test.equal(result.code, 0)
end)

test("-i ends with the code of the last statement", function()
  test.equal(kfhost({ "-i", stdin = "1\nerror 'no'\n" }).code, 1)
  test.equal(kfhost({ "-i", stdin = "f(\n" }).code, 1)
  test.equal(kfhost({ "-i", stdin = "" }).code, 0)
end)

test("-i waits like any task", function()
  test.equal(kfhost({ "-i", stdin = "require('task').sleep(0.01)\n'awake'\n" }).stdout, "awake\n")
end)
