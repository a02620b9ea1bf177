local errors = require "errors"
local host = require "host"
local proc = require "proc"
local task = require "task"
local test = require "test"

local function read_all(process, stream)
  local pieces = {}
  for piece in function() return process:read(stream) end do pieces[#pieces + 1] = piece end
  return table.concat(pieces)
end

local function alive(pid)
  local stat = io.open(("/proc/%d/stat"):format(pid))
  if not stat then return false end
  local state = stat:read("a"):match "%) (%a)"
  stat:close()
  return state ~= "Z"
end

-- Whether a process ends soon: what closes its pipes, or signals it, is a moment ahead of its end.
local function gone(pid)
  for _ = 1, 500 do
    if not alive(pid) then return true end
    proc.run { "sleep", "0.01" }
  end
  return false
end

-- Runs this program with the words; exit and output.
local function kfhost(words)
  local command = table.move(words, 1, #words, 2, { host.executable() })
  for key, value in pairs(words) do
    if type(key) == "string" then command[key] = value end
  end
  return proc.run(command)
end

-- --- results ---------------------------------------------------------------------------------------

test("run collects output and exit code", function()
  local result = proc.run { "sh", "-c", "echo out; echo err >&2; exit 3" }
  test.equal(result.code, 3)
  test.equal(result.signal, nil)
  test.equal(result.stdout, "out\n")
  test.equal(result.stderr, "err\n")
end)

test("a process that a signal ended has a signal and no code", function()
  local result = proc.run { "sh", "-c", "kill -KILL $$" }
  test.equal(result.signal, 9)
  test.equal(result.code, nil)
end)

test("the exit says how long it took, its processor time and its memory", function()
  local result = proc.run { "sh", "-c", "i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done" }
  test.equal(result.seconds > 0, true)
  test.equal(result.cpu_seconds > 0, true)
  test.equal(result.max_rss > 100000, true)
end)

test("without pidfd, the end is noticed by SIGCHLD", function()
  local code = [[
    local proc = require "proc"
    local a, b = proc.spawn { "sleep", "0.05" }, proc.spawn { "sh", "-c", "exit 7" }
    print(a:wait().code, b:wait().code)]]
  local result = kfhost { "-e", code, env = { KFHOST_NO_PIDFD = "1" }, timeout = 20 }
  test.equal(result.stdout, "0\t7\n")
end)

test("a command that cannot be started raises the name of the errno and the path", function()
  local err = test.raises("ENOENT", function() proc.spawn { "/no/such/program" } end)
  test.equal(err.path, "/no/such/program")
  test.raises("EACCES", function() proc.spawn { "/etc/passwd" } end)
  test.raises("ENOENT", function() proc.spawn { "no-such-command-anywhere" } end)
  err = test.raises("ENOENT", function() proc.spawn { "true", cwd = "/no/such/dir" } end)
  test.equal(err.path, "/no/such/dir")
  err = test.raises("ENOENT", function() proc.spawn { "true", stdin = { file = "/no/such/file" } } end)
  test.equal(err.path, "/no/such/file")
end)

test("which finds what a command starts", function()
  test.equal(proc.which "sh":match "/sh$", "/sh")
  test.equal(proc.which "no-such-command-anywhere", nil)
end)

-- --- surroundings ----------------------------------------------------------------------------------

test("words reach the command as they are; a shell only where one is asked for", function()
  test.equal(proc.run({ "printf", "%s|", "a b", "$HOME", "*" }).stdout, "a b|$HOME|*|")
  test.equal(proc.run({ shell = "printf %s $((6 * 7))" }).stdout, "42")
  test.raises("not both", function() proc.spawn { "true", shell = "true" } end)
  test.raises("a command expected", function() proc.spawn {} end)
end)

test("the environment is added to, cut, or replaced", function()
  local added = proc.run { "sh", "-c", "echo $A ${PATH:+path}", env = { A = "x" } }
  test.equal(added.stdout, "x path\n")
  test.equal(proc.run({ "env", env = { B = "2" }, clear_env = true }).stdout, "B=2\n")
  test.equal(proc.run({ "sh", "-c", "echo ${HOME-none}", env = { HOME = false } }).stdout, "none\n")
end)

test("a process starts in the given directory", function()
  local dir = test.tmpdir()
  test.equal(proc.run({ "pwd", "-P", cwd = dir }).stdout, proc.run({ "realpath", dir }).stdout)
end)

test("limits hold in the child", function()
  local result = proc.run { "sh", "-c", "ulimit -n; ulimit -c", rlimits = { files = 64, core = 0 } }
  test.equal(result.stdout, "64\n0\n")
end)

test("a child has no descriptors but its own three", function()
  local result = proc.run { "sh", "-c", "ls /proc/self/fd | wc -l" }
  test.equal(tonumber(result.stdout), 4)  -- and the one by which ls reads the folder
end)

test("a child gets the default signal handling", function()
  local mask = proc.run({ "grep", "^Sig[BI]", "/proc/self/status" }).stdout
  local standard = 0x7fffffff  -- 1 to 31; the C library keeps 32 and 33 to itself
  test.equal(tonumber(mask:match "SigBlk:%s*(%x+)", 16) & standard, 0)
  test.equal(tonumber(mask:match "SigIgn:%s*(%x+)", 16) & standard, 0)
end)

-- --- streams ---------------------------------------------------------------------------------------

test("text goes in, megabytes too, while output comes back", function()
  local text = ("0123456789abcdef"):rep(200000)
  test.equal(proc.run({ "cat", stdin = text }).stdout == text, true)
  test.equal(proc.run({ "cat", stdin = "" }).stdout, "")
end)

test("a pipe is written and closed by hand", function()
  local p = proc.spawn { "tr", "a-z", "A-Z", stdin = "pipe" }
  p:write "hello "
  p:write "world"
  p:close_stdin()
  test.equal(read_all(p, "stdout"), "HELLO WORLD")
  test.equal(p:wait().code, 0)
end)

test("writing to a process that has gone raises Closed, and no signal", function()
  local p = proc.spawn { "true", stdin = "pipe" }
  p:wait()
  test.raises("Closed", function()
    for _ = 1, 100 do
      p:write(("x"):rep(100000))
      task.sleep(0)
    end
  end)
  p:close_stdin()
end)

test("lines come without their ends, the last one too when it has none", function()
  local p = proc.spawn { "printf", "a\\n\\nb" }
  local lines = {}
  for line in p:lines "stdout" do lines[#lines + 1] = line end
  test.same(lines, { "a", "", "b" })
  p:wait()
end)

test("wait does not hang on a process that prints more than a pipe holds", function()
  local p = proc.spawn { "head", "-c", "3000000", "/dev/zero" }
  test.equal(p:wait(20).code, 0)
  test.equal(#read_all(p, "stdout"), 3000000)
end)

test("streams go to files, and standard error to standard output", function()
  local path = test.tmpdir() .. "/out"
  proc.run { "sh", "-c", "echo one; echo two >&2", stdout = { file = path }, stderr = "stdout" }
  local file <close> = assert(io.open(path))
  test.equal(file:read "a", "one\ntwo\n")
end)

test("read raises Timeout when nothing comes, and the process goes on", function()
  local p = proc.spawn { "cat", stdin = "pipe" }
  test.raises("Timeout", function() p:read("stdout", 0.01) end)
  p:write "x"
  test.equal(p:read "stdout", "x")
  p:close_stdin()
  p:wait()
end)

-- --- stopping --------------------------------------------------------------------------------------

test("run with a time limit stops the process and raises Timeout", function()
  local err = test.raises("Timeout", function() proc.run { "sleep", "100", timeout = "50ms" } end)
  test.equal(err.message, "sleep did not end within 50ms")
end)

test("stop ends the whole group", function()
  local p = proc.spawn { "sh", "-c", "sleep 100 & echo $!; wait" }
  local grandchild = tonumber(p:read "stdout")
  p:stop()
  test.equal(p:wait().signal, 15)
  read_all(p, "stdout")  -- ends when the grandchild is gone
  test.equal(gone(grandchild), true)
end)

test("stop kills after the grace what ignores TERM", function()
  local p = proc.spawn { "sh", "-c", "trap '' TERM; echo ready; while :; do sleep 0.05; done", grace = 0.1 }
  p:read "stdout"
  p:stop()
  test.equal(p:wait().signal, 9)
  read_all(p, "stdout")
end)

test("a cancelled task that waits on a child stops it", function()
  local p = proc.spawn { "sleep", "100", stdout = "null" }
  local t = task.spawn(p.wait, p)
  task.sleep(0)
  t:cancel()
  test.raises("Cancelled", function() t:wait() end)
  test.equal(p:wait(20).signal, 15)
end)

test("the end of a variable's scope stops the process", function()
  local p
  do
    local child <close> = proc.spawn { "sleep", "100", stdout = "null" }
    p = child
  end
  test.equal(p:wait(20).signal, 15)
end)

test("children die with this program", function()
  local code = [[
    local p = require("proc").spawn { "sleep", "100", stdout = "null", stderr = "null" }
    print(p.pid)
    io.stdout:flush()
    os.execute("kill -KILL " .. require("host").pid())]]
  local result = kfhost { "-e", code }
  local pid = tonumber(result.stdout)
  test.equal(gone(pid), true)
end)

test("with ends_group, its end is that of its group and its streams", function()
  local p <close> = proc.spawn {
    "sh", "-c", "setsid sleep 100 & echo $!; (trap '' TERM; sleep 100) & echo $!; echo last", ends_group = true,
  }
  local left, killed = tonumber(p:read_line "stdout"), tonumber(p:read_line "stdout")
  test.equal(read_all(p, "stdout"), "last\n")
  test.equal(p:wait().code, 0)
  test.equal(gone(killed), true)
  test.equal(require("fs").exists("/proc/" .. left), true)
  os.execute("kill " .. left)
end)

-- A command that leaves processes behind: in its group, in a session of their own, twice removed, without any
-- variable. Each writes its number into a file of the folder; the command waits for all, then does `last`.
local function leaving(last)
  return ([[cd "$0"
    left() { trap "" TERM INT HUP; echo $$ > "$1.new"; mv "$1.new" "$1"; exec sleep 600; }
    export -f left
    bash -c "left group" &
    setsid bash -c "left session" > /dev/null 2>&1 &
    (setsid bash -c "setsid bash -c 'left away' &" > /dev/null 2>&1 &)
    env -i setsid bash -c 'echo $$ > bare.new; mv bare.new bare; exec sleep 600' &
    for name in group session away bare; do while ! [ -f $name ]; do sleep 0.01; done; done
    ]]) .. last
end

local LEFT = { "group", "session", "away", "bare" }

local function pids_in(folder)
  local pids = {}
  for i, name in ipairs(LEFT) do pids[i] = tonumber((require("fs").read(folder .. "/" .. name))) end
  return pids
end

test("with ends_all, whatever it has started is gone when it has ended", function()
  for last, wanted in pairs { ["exit 3"] = { code = 3 }, ["kill -SEGV $$"] = { signal = 11 } } do
    local folder = test.tmpdir()
    local p <close> = proc.spawn { "bash", "-c", leaving(last), folder, ends_all = true }
    local exit = p:wait()
    test.same({ code = exit.code, signal = exit.signal }, wanted)
    for _, pid in ipairs(pids_in(folder)) do test.equal(require("fs").exists("/proc/" .. pid), false) end
    test.equal(p:read "stdout", nil)
  end
end)

test("with ends_all, a stop ends all, too", function()
  local folder = test.tmpdir()
  local p <close> = proc.spawn { "bash", "-c", leaving "echo ready; wait", folder, ends_all = true, grace = 0 }
  test.equal(p:read_line(), "ready")
  test.equal(require("fs").exists("/proc/" .. p.pid), true)
  p:stop()
  p:wait()
  for _, pid in ipairs(pids_in(folder)) do test.equal(require("fs").exists("/proc/" .. pid), false) end
end)

test("with ends_all, all ends when this program is killed", function()
  local folder = test.tmpdir()
  local code = ([[
    local p = require("proc").spawn { "bash", "-c", %q, %q, ends_all = true, stderr = "null" }
    p:read_line()
    os.execute("kill -KILL " .. require("host").pid())]]):format(leaving "echo ready; wait", folder)
  kfhost { "-e", code }
  for _, pid in ipairs(pids_in(folder)) do test.equal(gone(pid), true) end
end)

test("with ends_all, what cannot be started is told as ever, and streams, limits and times are its own", function()
  test.raises("ENOENT", function() proc.spawn { "no-such-program", ends_all = true } end)
  test.raises("ENOENT", function() proc.spawn { "true", cwd = "/no/such/folder", ends_all = true } end)
  local script = "cat; ulimit -n; echo err >&2; i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done"
  local result = proc.run { "sh", "-c", script,
    stdin = "in\n", rlimits = { files = 33 }, ends_all = true }
  test.same({ result.code, result.stdout, result.stderr }, { 0, "in\n33\n", "err\n" })
  assert(result.cpu_seconds > 0, result.cpu_seconds)
end)

test("a process that still runs at the end of the program is stopped", function()
  local result = kfhost { "-e", [[print(require("proc").spawn { "sleep", "100", stdout = "null" }.pid)]] }
  test.equal(result.code, 0)
  test.equal(gone(tonumber(result.stdout)), true)
end)

test("while a child runs, so does the clock of a test", function()
  local p <close> = proc.spawn { "sleep", "100", stdout = "null" }
  local before = task.now()
  task.sleep(0.01)
  test.equal(task.now() - before >= 0.01, true)
  p:stop()
  p:wait()
end)

test("every method survives an ended process", function()
  local p = proc.spawn { "true" }
  p:wait()
  p:kill "TERM"
  p:stop()
  test.equal(read_all(p, "stdout"), "")
  test.equal(p:wait().code, 0)
  test.raises("Closed", function() p:write "x" end)
  test.equal(errors.is(select(2, pcall(p.write, p, "x")), "Closed"), true)
end)

test("wrong options are misuse", function()
  test.raises("stdout: ", function() proc.spawn { "true", stdout = "nowhere" } end)
  test.raises("unknown limit 'nofile'", function() proc.spawn { "true", rlimits = { nofile = 1 } } end)
  test.raises("word 2", function() proc.spawn { "true", {} } end)
  test.raises("a signal's name", function()
    local p <close> = proc.spawn { "true" }
    p:wait()
    p:kill "NOSUCH"
  end)
end)
