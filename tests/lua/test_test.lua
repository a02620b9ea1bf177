local test = require "test"
local errors = require "errors"

-- Runs `kfhost test` on a file of this text and gives its exit code and its output.
local function run_file(text, options)
  local directory = test.tmpdir()
  local path = directory .. "/sample_test.lua"
  local file = assert(io.open(path, "w"))
  file:write('local test = require "test"\n', text)
  file:close()
  local stat = assert(io.open "/proc/self/stat"):read "l"
  local command = ("/proc/%s/exe test %s %s 2>&1"):format(stat:match "^%d+", options or "", path)
  local pipe = assert(io.popen(command))
  local output = pipe:read "a"
  local _, _, code = pipe:close()
  return code, output
end

local function check_fails(text, expected)
  local code, output = run_file(text)
  test.equal(code, 1)
  if not output:find(expected, 1, true) then error(("no %q in:\n%s"):format(expected, output), 2) end
end

test("a passing file gives exit code 0 and the counts on the last line", function()
  local code, output = run_file [[test("one", function() test.equal(1, 1) end)]]
  test.equal(code, 0)
  test.equal(output:match "ok 1 %- sample: one", "ok 1 - sample: one")
  test.equal(output:match "([^\n]*)\n$", "1 passed, 0 failed")
end)

test("a failed check fails the run and names the line", function()
  check_fails([[test("one", function() test.equal(1, 2) end)]], "sample_test.lua:2: got 1, want 2")
end)

test("a file without tests fails the run", function()
  local code, output = run_file ""
  test.equal(code, 1)
  test.equal(output:match "0 passed, 0 failed", "0 passed, 0 failed")
end)

test("a file that does not compile fails the run", function()
  check_fails("local = 1", "sample_test.lua:2:")
end)

test("an error table that a test raises prints its text", function()
  check_fails([[test("one", function()
    require("errors").raise { code = "Odd", message = "it was odd", path = "a.yaml", line = 3 }
  end)]], "Odd: it was odd (a.yaml, line 3)")
end)

test("a new global fails its test", function()
  check_fails([[test("one", function() leaked = 1 end)]], "new globals: leaked")
end)

test("a changed working directory fails its test", function()
  check_fails([[test("one", function() require("testing").enter "/" end)]], "the working directory is now /")
end)

test("a process that dies fails the test under way", function()
  check_fails([[test("one", function() os.exit(7) end)]], "the process ended with exit code 7")
end)

test("a test that hangs is ended and named", function()
  local code, output = run_file([[
    test("hangs", function() while true do end end)]], "--timeout 1")
  test.equal(code, 1)
  test.equal(output:match "not ok 1 %- sample: hangs\n  # it hung", "not ok 1 - sample: hangs\n  # it hung")
end)

test("garbage collection under stress reaches the tests", function()
  local text = [[test("one", function() test.equal(require("host").gc_stress(), true) end)]]
  test.equal((run_file(text, "--gc-stress")), 0)
  test.equal((run_file(text)), 1)
end)

test("a skip fails the run unless it is allowed by name", function()
  local text = [[test("one", function() test.skip "no such tool" end)]]
  check_fails(text, "skipped: no such tool")
  local code, output = run_file(text, "--allow-skip one")
  test.equal(code, 0)
  test.equal(output:match "# SKIP no such tool", "# SKIP no such tool")
end)

test("a seed gives one order of tests and another seed another one", function()
  local text = [[for i = 1, 9 do test("t" .. i, function() end) end]]
  local function order(seed)
    local _, output = run_file(text, "--seed " .. seed)
    return output:gsub("[^\n]*seed[^\n]*", "")
  end
  test.equal(order(1), order(1))
  test.equal(order(1) == order(2), false)
end)

test("only the tests that the pattern finds run", function()
  local _, output = run_file([[
    test("a claim", function() end)
    test("a pod", function() end)]], "--only claim")
  test.equal(output:match "([^\n]*)\n$", "1 passed, 0 failed")
end)

test("what a test prints does not disturb the report", function()
  local code, output = run_file [[test("one", function() io.write "pass\tother\nend" end)]]
  test.equal(code, 0)
  test.equal(output:match "([^\n]*)\n$", "1 passed, 0 failed")
end)

test("a difference is named by its path", function()
  local err = test.raises("differs", function()
    local ok, text = pcall(test.same, { steps = { { name = "a" } } }, { steps = { { name = "b" } } })
    error(not ok and "differs " .. text or "the same")
  end)
  test.equal(err:match '%.steps%[1%]%.name: got "a", want "b"', '.steps[1].name: got "a", want "b"')
end)

test("a field too many is a difference", function()
  test.raises("%.b: got 2, want nil", function() test.same({ a = 1, b = 2 }, { a = 1 }) end)
end)

test("equal cycles are the same", function()
  local a, b = {}, {}
  a.me, b.me = a, b
  test.same(a, b)
end)

test("texts of several lines name the line that differs", function()
  test.raises('line 2: got "x", want "y"', function() test.same("a\nx\n", "a\ny\n") end)
  test.raises("line 3", function() test.same("a\nx\n", "a\nx\nz") end)
end)

test("raises gives the error and wants the code", function()
  local function fail() errors.raise { code = "Odd", message = "it was odd" } end
  test.equal(test.raises("Odd", fail).message, "it was odd")
  test.raises("want error Even, got Odd", function() test.raises("Even", fail) end)
  test.raises("nothing was raised", function() test.raises("Odd", function() end) end)
end)

test("a temporary directory is gone after its test", function()
  local code, output = run_file [[
    local path
    test("makes", function()
      path = test.tmpdir()
      assert(io.open(path .. "/file", "w")):close()
      print("PATH " .. path)
    end)]]
  test.equal(code, 0)
  local path = output:match "PATH (%S+)"
  test.equal(io.open(path .. "/file"), nil)
end)

test("golden files are written on demand and compared otherwise", function()
  local directory = test.tmpdir()
  assert(os.execute("mkdir -p " .. directory .. "/tests/lua"))
  local path = directory .. "/tests/lua/gold_test.lua"
  local function run(text, option)
    local file = assert(io.open(path, "w"))
    file:write('local test = require "test"\n')
    file:write('test("one", function() test.golden("one.txt", "', text, '\\n") end)')
    file:close()
    local stat = assert(io.open "/proc/self/stat"):read "l"
    local command = ("/proc/%s/exe test %s %s >/dev/null 2>&1"):format(stat:match "^%d+", option, path)
    return (select(3, os.execute(command)))
  end
  test.equal(run("a", ""), 1)
  test.equal(run("a", "--update-golden"), 0)
  test.equal(run("a", ""), 0)
  test.equal(run("b", ""), 1)
end)

test("a task that is left over fails its test", function()
  check_fails([[test("one", function()
    require("task").spawn(function() require("task").sleep(100) end)
    test.advance(0)
  end)]], "1 tasks still run")
end)

test("a timer or a process that is left over fails its test", function()
  check_fails([[test("one", function()
    require("task").spawn(require("task").sleep, 100)
    test.advance(0)
  end)]], "1 timers are still pending")
  check_fails([[local kept
  test("one", function() kept = require("proc").spawn { "sleep", "100" } end)]], "handles are still open")
end)

test("a test that hangs has 60 seconds when nothing else is said", function()
  local proc, host = require "proc", require "host"
  local help = proc.run { host.executable(), "test", "--help" }.stdout
  assert(help:find "%-%-timeout N%s+seconds that a test may take %(default 60%)", help)
end)

test("time moves by advance only", function()
  local code = run_file [[test("one", function()
    local task = require "task"
    local t = task.spawn(function() for _ = 1, 24 do task.sleep "1h" end return "a day" end)
    test.advance(86400)
    test.equal(t:wait(), "a day")
  end)]]
  test.equal(code, 0)
end)
