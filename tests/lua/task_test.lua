local errors = require "errors"
local host = require "host"
local task = require "task"
local test = require "test"

-- --- waiting in every place where Lua can be suspended --------------------------------------------

test("a sleeping task lets others run, and wakes at its time", function()
  local order = {}
  local slow = task.spawn(function() task.sleep(2) order[#order + 1] = "slow" end)
  local quick = task.spawn(function() task.sleep "500ms" order[#order + 1] = "quick" end)
  test.advance(1)
  test.same(order, { "quick" })
  test.advance(1)
  slow:wait()
  quick:wait()
  test.same(order, { "quick", "slow" })
end)

test("time moves only by advance", function()
  local before = task.now()
  local t = task.spawn(task.sleep, 3600)
  test.advance(1800)
  test.equal(t:status(), "running")
  test.equal(task.now() - before, 1800.0)
  test.advance(1800)
  t:wait()
end)

test("whoever waits for a moment finds the clock there, also when another timer is due a hair before", function()
  local due, seen = task.now() + 1 + 5e-7, nil
  local early = task.spawn(task.sleep, 1)
  local waiting = task.spawn(function() task.sleep(due - task.now()) seen = task.now() end)
  test.advance(1)
  early:wait()
  waiting:wait()
  assert(seen >= due - 1e-9, due - seen)
end)

test("timers that are due at the same time fire in the order of their start", function()
  local order, tasks = {}, {}
  for i = 1, 20 do
    tasks[i] = task.spawn(function() task.sleep(1) order[#order + 1] = i end)
  end
  test.advance(1)
  for i = 1, 20 do
    tasks[i]:wait()
    test.equal(order[i], i)
  end
end)

-- Runs fn in a task while time passes; what fn returned.
local function with_time(fn)
  local t = task.spawn(fn)
  test.advance(1)
  return t:wait(0)
end

test("waiting works in a user's coroutine, which yields its own values only", function()
  local values = with_time(function()
    local list = {}
    local generate = coroutine.wrap(function()
      for i = 1, 3 do
        task.sleep(0.1)
        coroutine.yield(i)
      end
    end)
    for value in generate do list[#list + 1] = value end
    return list
  end)
  test.same(values, { 1, 2, 3 })
end)

test("waiting works two coroutines deep, by resume", function()
  local ok, value = with_time(function()
    local outer = coroutine.create(function()
      local inner = coroutine.create(function()
        task.sleep(0.1)
        return "deep"
      end)
      return select(2, coroutine.resume(inner))
    end)
    return coroutine.resume(outer)
  end)
  test.equal(ok, true)
  test.equal(value, "deep")
end)

test("waiting works under pcall and in metamethods", function()
  local sum = with_time(function()
    local slow = setmetatable({}, {
      __index = function(_, key) task.sleep(0.1) return key end,
      __add = function() task.sleep(0.1) return 40 end,
    })
    local ok, value = pcall(function() return slow + slow + slow[2] end)
    return ok and value
  end)
  test.equal(sum, 42)
end)

test("waiting in a sort comparator is refused with a hint", function()
  local err = test.raises("cannot wait here", function()
    table.sort({ 3, 2, 1 }, function(a, b) task.sleep(1) return a < b end)
  end)
  test.equal(err:find "comparator" ~= nil, true)
end)

test("yielding in a gsub function is refused with a hint", function()
  local co = coroutine.wrap(function() return (("x"):gsub("x", coroutine.yield)) end)
  test.raises("across a C%-call boundary: .*gsub", co)
end)

test("a module does not wait while it loads", function()
  package.preload["task_test.waits"] = function() task.sleep(1) end
  test.raises("cannot wait here: not while a module loads", function() require "task_test.waits" end)
  package.preload["task_test.waits"] = nil
end)

test("a coroutine that waits in one task cannot be resumed or closed by another", function()
  local co = coroutine.create(function() task.sleep(1) return "mine" end)
  local t = task.spawn(coroutine.resume, co)
  test.advance(0)
  local ok, problem = coroutine.resume(co)
  test.equal(ok, false)
  test.equal(problem, "cannot resume a coroutine that waits in another task")
  test.raises("cannot close a coroutine that waits", function() coroutine.close(co) end)
  test.advance(1)
  local _, value = t:wait()
  test.equal(value, "mine")
end)

test("a suspended coroutine is anchored until its event fires", function()
  local t = task.spawn(function()
    local text = ("x"):rep(100)
    task.sleep(1)
    return text
  end)
  test.advance(0)
  for _ = 1, 3 do collectgarbage() end
  test.advance(1)
  test.equal(t:wait(), ("x"):rep(100))
end)

-- --- results, errors and time limits ---------------------------------------------------------------

test("wait returns all that the function returned, nil included", function()
  local t = task.spawn(function(...) return select("#", ...), nil, ... end, "a", nil)
  local result = table.pack(t:wait())
  test.equal(result.n, 4)
  test.equal(result[1], 2)
  test.equal(result[3], "a")
end)

test("an error in a task is raised again at wait, each time and with its identity", function()
  local problem = errors.new { code = "Odd", message = "odd" }
  local t = task.spawn(error, problem)
  for _ = 1, 2 do
    local ok, err = pcall(t.wait, t)
    test.equal(ok, false)
    test.equal(rawequal(err, problem), true)
  end
end)

test("wait raises Timeout when the task takes longer, and the task goes on", function()
  local t = task.spawn(function() task.sleep(2) return "late" end)
  local waiting = task.spawn(function() test.raises("Timeout", function() t:wait(1) end) end)
  test.advance(2)
  waiting:wait()
  test.equal(t:wait(), "late")
end)

test("a task cannot wait for itself", function()
  test.raises("wait for itself", function() task.current():wait() end)
end)

test("timeout returns what the function returns, or cancels it and raises Timeout", function()
  test.equal(task.timeout(1, function(a, b) return a + b end, 20, 22), 42)
  local closed = false
  local t = task.spawn(function()
    task.timeout("1s", function()
      local _ <close> = setmetatable({}, { __close = function() closed = true end })
      task.sleep(100)
    end)
  end)
  test.advance(1)
  test.raises("Timeout", function() t:wait() end)
  test.equal(closed, true)
end)

test("times are seconds or texts, and anything else is misuse", function()
  test.equal(task.seconds(1.5), 1.5)
  test.equal(task.seconds "500ms", 0.5)
  test.equal(task.seconds "1h30m", 5400.0)
  test.equal(task.seconds "2d", 172800.0)
  for _, wrong in ipairs { "", "5", "x", "1s2", "-1s", " 1s", -1, 0 / 0, "nans" } do
    test.raises("a duration such as", function() task.seconds(wrong) end)
  end
end)

test("all returns the results in order", function()
  local results = with_time(function()
    return task.all {
      function() task.sleep(0.5) return "a" end,
      function() return "b" end,
    }
  end)
  test.equal(results[1], "a")
  test.equal(results[2], "b")
end)

test("all raises the first error and cancels the others", function()
  local cancelled
  local t = task.spawn(task.all, {
    function() cancelled = select(2, pcall(task.sleep, 100)).code end,
    function() task.sleep(1) error("second", 0) end,
  })
  test.advance(1)
  test.raises("^second$", function() t:wait() end)
  test.equal(cancelled, "Cancelled")
end)

test("race returns what ends first and cancels the others", function()
  local cancelled
  local t = task.spawn(task.race, {
    function() cancelled = select(2, pcall(task.sleep, 100)).code end,
    function() task.sleep(1) return "first", 1 end,
  })
  test.advance(1)
  local name, number = t:wait()
  test.equal(name, "first")
  test.equal(number, 1)
  test.equal(cancelled, "Cancelled")
end)

test("cancelling a task that waits in all or race cancels what they started", function()
  for _, run in ipairs { task.all, task.race } do
    local cancelled
    local t = task.spawn(run, { function() cancelled = select(2, pcall(task.sleep, 100)).code end })
    test.advance(0)
    t:cancel()
    test.raises("Cancelled", function() t:wait() end)
    test.advance(0)
    test.equal(cancelled, "Cancelled")
  end
end)

-- --- cancelling ------------------------------------------------------------------------------------

test("a cancelled task gets the error from its wait and from every further one", function()
  local codes = {}
  local t = task.spawn(function()
    for i = 1, 3 do codes[i] = select(2, pcall(task.sleep, 100)).code end
  end)
  test.advance(0)
  t:cancel()
  t:wait()
  test.same(codes, { "Cancelled", "Cancelled", "Cancelled" })
end)

test("the close variables of a cancelled task run", function()
  local closed = {}
  local t = task.spawn(function()
    local _ <close> = setmetatable({}, { __close = function(_, err) closed[1] = err.code end })
    task.sleep(100)
  end)
  test.advance(0)
  t:cancel()
  test.raises("Cancelled", function() t:wait() end)
  test.same(closed, { "Cancelled" })
end)

test("a task that is cancelled before it starts meets the error at its first wait", function()
  local reached = false
  local t = task.spawn(function()
    reached = true
    task.sleep(1)
  end)
  t:cancel()
  test.raises("Cancelled", function() t:wait() end)
  test.equal(reached, true)
end)

test("a cancelled task that goes on all the same is closed after the grace", function()
  local closed, rounds = false, 0
  local t = task.spawn(function()
    local _ <close> = setmetatable({}, { __close = function() closed = true end })
    while true do
      pcall(task.sleep, 1)
      rounds = rounds + 1
    end
  end)
  test.advance(0)
  t:cancel()
  test.advance(9)
  test.equal(t:status(), "running")
  test.advance(1.5)
  test.equal(t:status(), "failed")
  test.equal(closed, true)
  test.equal(rounds > 0, true)
  test.raises("did not end within 10 s", function() t:wait() end)
end)

test("closing by force also closes the coroutine inside the task that waits", function()
  local closed = {}
  local function note(name)
    return setmetatable({}, { __close = function() closed[#closed + 1] = name end })
  end
  local t = task.spawn(function()
    local _ <close> = note "outer"
    coroutine.wrap(function()
      local _ <close> = note "inner"
      while true do pcall(task.sleep, 1) end
    end)()
  end)
  test.advance(0)
  t:cancel()
  test.advance(11)
  test.same(closed, { "inner", "outer" })
  test.raises("Cancelled", function() t:wait() end)
end)

test("cancelling twice, or after the end, changes nothing", function()
  local t = task.spawn(function() return 1 end)
  test.equal(t:wait(), 1)
  t:cancel()
  t:cancel()
  test.equal(t:wait(), 1)
end)

test("an event wakes all who wait, in their order, and those who come later", function()
  local event, woken = task.event(), {}
  local tasks = {}
  for i = 1, 3 do
    tasks[i] = task.spawn(function() if event:wait() then woken[#woken + 1] = i end end)
  end
  test.advance(0)
  event:set()
  for i = 1, 3 do tasks[i]:wait() end
  test.same(woken, { 1, 2, 3 })
  test.equal(event:wait(0), true)
  event:clear()
  test.equal(event:wait(0), false)
end)

-- --- the loop of a test ----------------------------------------------------------------------------

test("what a function leaves behind on its loop is counted", function()
  local ok, _, left = host.testing.run(function() task.spawn(task.sleep, 100) task.sleep(0) end)
  test.equal(ok, true)
  test.equal(left.tasks, 1)
  test.equal(left.timers, 1)
end)

test("a test that waits for time that nobody moves is told so", function()
  local ok, err = host.testing.run(task.sleep, 1)
  test.equal(ok, false)
  test.equal(err.code, "Deadlock")
end)

test("an error in a task that nobody waits for fails the test", function()
  local ok, err = host.testing.run(function()
    task.spawn(error, "unheard", 0)
    test.advance(1)
  end)
  test.equal(ok, false)
  test.equal(errors.text(err):find "unheard" ~= nil, true)
end)

test("what clears up has its time after a signal", function()
  local proc = require "proc"
  local p <close> = proc.spawn { host.executable(), "-e", [[
    local task = require "task"
    task.spawn(function() -- when the main task waits
      io.stdout:write "ready\n"
      io.stdout:flush()
    end)
    pcall(task.sleep, 60)
    task.last(function()
      local inner = task.spawn(task.sleep, 0.05)
      inner:wait()
      io.stdout:write "cleared up\n"
      io.stdout:flush()
    end)
  ]], stderr = "null" }
  test.equal(p:read_line "stdout", "ready")
  require "pod".kill(p.pid, 15)
  test.equal(p:read_line("stdout", 20), "cleared up")
  test.equal(p:read_line("stdout", 20), nil)
  test.equal(p:wait().code, 143)
end)
