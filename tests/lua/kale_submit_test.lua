-- `kale submit` as somebody types it, against the lab's Pipelines: followed, interrupted, made to recur.
local fs = require "fs"
local host = require "host"
local json = require "json"
local pipelines = require "lab.kfp.serve"
local proc = require "proc"
local task = require "task"
local test = require "test"
local wait_until = dofile "tests/lua/support/wait.lua"

-- use(state of the server, submit): submit(program, …) starts the command for a notebook with that text.
local function with_server(use)
  local directory = test.tmpdir()
  local server = pipelines.start { root = directory .. "/runs" }
  local function submit(program, ...)
    fs.write(directory .. "/long.py", program)
    local words = { host.executable(), "kale", "submit", directory .. "/long.py", "--endpoint", server.url, ... }
    words.stderr = "pipe"
    return proc.spawn(words)
  end
  local ok, problem = pcall(use, server.state, submit)
  server:close()
  if not ok then error(problem, 0) end
end

local function all(process, stream)
  local lines = {}
  for line in process:lines(stream) do lines[#lines + 1] = line end
  return table.concat(lines, "\n")
end

-- Both streams to their ends, then the exit code.
local function outcome(process)
  local out, err
  task.all { function() out = all(process, "stdout") end, function() err = all(process, "stderr") end }
  return process:wait().code, out, err
end

local function only_run(state)
  local _, run = next(state.runs)
  return run
end

local SHORT = "# %% [step:a]\nprint('from the step')\nloss = 2.5\n# %% [pipeline-metrics]\nprint(loss)\n"
local LONG = "# %% [step:a]\nimport time\nprint('it has begun')\ntime.sleep(600)\n"

test("a run is followed to its end: states, what steps print, link, metrics, exit code", function()
  with_server(function(state, submit)
    local code, out, err = outcome(submit(SHORT, "--experiment", "mine"))
    test.equal(code, 0)
    local run = only_run(state)
    test.equal(state.experiments[run.experiment_id].display_name, "mine")
    assert(out:find(("run %s: SUCCEEDED"):format(run.run_id), 1, true), out)
    assert(out:find("loss = 2.5", 1, true), out)
    assert(err:find("/#/runs/details/" .. run.run_id, 1, true), err)
    assert(err:find("from the step", 1, true), err)
    code, out, err = outcome(submit(SHORT, "--json", "--quiet", "--name", "again"))
    test.equal(code, 0)
    local said = json.decode(out)
    test.same({ said.state, said.metrics.loss }, { "SUCCEEDED", 2.5 })
    assert(said.link:find("/runs/details/" .. said.run_id, 1, true), said.link)
    assert(err:find("(there)", 1, true) and not err:find("from the step", 1, true), err)
    test.equal(state.runs[said.run_id].display_name, "again")
  end)
end)

-- Interrupts the command once its step runs.
local function interrupted(state, submit, ...)
  local process = submit(LONG, ...)
  local code, out, err
  local reading = task.spawn(function() code, out, err = outcome(process) end)
  wait_until("the step's first line", function()
    local run = only_run(state)
    local log = run and fs.try.read(("%s/%s/a/log.txt"):format(state.engine.root, run.run_id))
    return log and log:find "it has begun"
  end)
  process:kill "INT"
  reading:wait()
  return code, out, err
end

test("Ctrl-C leaves the run, and says so", function()
  with_server(function(state, submit)
    local code, _, err = interrupted(state, submit)
    test.equal(code, 130)
    local run = only_run(state)
    assert(err:find(("run %s goes on"):format(run.run_id), 1, true), err)
    test.equal(run.state, "RUNNING")
  end)
end)

test("Ctrl-C with --cancel ends the run", function()
  with_server(function(state, submit)
    local code, _, err = interrupted(state, submit, "--cancel")
    test.equal(code, 130)
    local run = only_run(state)
    assert(err:find(("run %s is ended"):format(run.run_id), 1, true), err)
    wait_until("its end", function() return run.state == "FAILED" end)
  end)
end)

test("a schedule makes a recurring run; five fields are refused with the reason and the six", function()
  with_server(function(state, submit)
    local code, out = outcome(submit(SHORT, "--cron", "0 30 3 * * *", "--json"))
    test.equal(code, 0)
    local said = json.decode(out)
    local one = state.recurring[said.recurring_run_id]
    test.same({ one.trigger.cron_schedule.cron, one.status, one.max_concurrency }, { "0 30 3 * * *", "ENABLED", 1 })
    assert(said.link:find("/recurringrun/details/" .. said.recurring_run_id, 1, true), said.link)
    for cron, reason in pairs { ["30 3 * * *"] = "Write '0 30 3 * * *'", often = "has 1 fields" } do
      local refused, nothing, err = outcome(submit(SHORT, "--cron", cron))
      test.same({ refused, nothing }, { 2, "" })
      assert(err:find(reason, 1, true), err)
    end
    test.equal(next(state.runs), nil)
  end)
end)

test("an empty name is refused before anything is sent", function()
  with_server(function(state, submit)
    for _, option in ipairs { "--name", "--experiment" } do
      local code, _, err = outcome(submit(SHORT, option, " "))
      test.equal(code, 2)
      assert(err:find(option .. " is empty", 1, true), err)
    end
    test.equal(next(state.pipelines), nil)
  end)
end)

local REFUSED = { ["@nonsense"] = "is none of @yearly", ["@hourly x"] = "is none of", ["@every 5"] = "no time span",
  ["@every"] = "is none of", ["@every 0s"] = "no time span", ["@every 5d"] = "no time span",
  ["a b c d e f"] = "the second cannot be 'a'", ["60 * * * * *"] = "the second cannot be '60'",
  ["0 0 0 32 1 *"] = "the day of month cannot be '32'", ["0 0 0 * * 7"] = "for KFP Sunday is 0",
  ["0 0 0 30 2 *"] = "never comes", ["0 0 0 1 1 * 2026"] = "has 7 fields", [""] = "has 0 fields" }

test("a schedule that KFP refuses, or that never comes, is refused with the field that is wrong", function()
  local check = require "kale.submit".check_cron
  for cron, reason in pairs(REFUSED) do
    local problem = test.raises("Usage", function() check(cron) end)
    assert(problem.message:find(reason, 1, true), problem.message)
  end
  for _, cron in ipairs { "0 */5 * * * *", "0 0 3 ? * MON-FRI", "0 0 0 * * */7", "@daily", "@every 1h30m",
    "@every 1.5h" } do
    check(cron)
  end
end)
