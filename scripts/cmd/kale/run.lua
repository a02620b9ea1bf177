-- kfhost kale run: a notebook as a pipeline on this machine, a process per step.
local cli = require "cli"

-- Exactly one line on standard output, whatever happens.
local function print_json(result, names, directory)
  local json = require "json"
  local line = {
    state = result.state, metrics = json.object {}, steps = json.array {}, directory = directory or json.null,
  }
  for name, value in pairs(result.metrics or {}) do line.metrics[name] = value end
  for i, t in ipairs(result.tasks or {}) do
    line.steps[i] = { name = names[t.name] or t.name, state = t.state, seconds = t.seconds or 0 }
  end
  print(json.encode(line, { sort = true }))
end

local function print_summary(result, names, directory)
  local term = require "term"
  local rows = {}
  for _, t in ipairs(result.tasks or {}) do
    rows[#rows + 1] = { names[t.name] or t.name, t.state, t.seconds and ("%.2f s"):format(t.seconds) or "" }
  end
  io.stdout:write("\n", term.table(rows, { header = { "STEP", "STATE", "TIME" }, align = { [3] = "right" } }))
  local metrics = {}
  for name, value in pairs(result.metrics or {}) do metrics[#metrics + 1] = { name, ("%.6g"):format(value) } end
  table.sort(metrics, function(a, b) return a[1] < b[1] end)
  if #metrics > 0 then
    io.stdout:write("\n", term.table(metrics, { header = { "METRIC", "VALUE" }, align = { [2] = "right" } }))
  end
  local colour = result.state == "succeeded" and "bold green" or "bold red"
  print(("\n%s  %s"):format(term.style(result.state, colour), require("fs").join(directory, "report.html")))
end

-- The last lines of each step that failed.
local function tell_failures(result, names)
  local fs, term = require "fs", require "term"
  for _, t in ipairs(result.tasks or {}) do
    if t.state == "failed" then
      io.stderr:write(term.style(("\nstep %s failed"):format(names[t.name] or t.name), "bold red", "stderr"), "\n")
      local lines = {}
      for line in ((t.log and fs.try.read(t.log)) or ""):gmatch "[^\n]+" do lines[#lines + 1] = line end
      for i = math.max(1, #lines - 14), #lines do io.stderr:write("    ", lines[i], "\n") end
    end
  end
  if result.error then io.stderr:write(require("errors").text(result.error), "\n") end
end

local function write_report(run, result, names)
  local ok, problem = pcall(function() return require("kale.report").write(run, result, names) end)
  if not ok then io.stderr:write("the report could not be written: ", require("errors").text(problem), "\n") end
end

local function run_notebook(args)
  local follow, kale_run = require "kale.follow", require "kale.run"
  local run = kale_run.prepare(args.notebook, { runs = args.runs, python = args.python })
  if run.unchecked then io.stderr:write("syntax was checked by the parser alone: ", run.unchecked, "\n") end
  local names = kale_run.step_names(run.plan)
  local result
  do
    local view <close> = follow.new(names, #run.plan.steps)
    result = kale_run.execute(run, {
      params = args.param, jobs = args.jobs, python = args.python, cache = args.cache, on_event = view.on_event,
    })
  end
  write_report(run, result, names)
  return run, result, names
end

return cli.main {
  name = "kale run",
  summary = "Runs a notebook as a pipeline on this machine.",
  arguments = { { "NOTEBOOK", "an .ipynb file with tagged cells" } },
  options = {
    { "-p, --param K=V", "a parameter's value", repeated = true },
    { "-j, --jobs N", "how many steps at a time; the number of processors without it", type = "int" },
    { "--python FILE", "the interpreter for images python:*" },
    { "--runs DIR", "where run directories lie; .kfhost/runs beside the notebook without it" },
    { "--cache", "take steps whose program and inputs are the same from earlier runs" },
    { "--json", "one line of machine output at the end" },
  },
  run = function(args)
    local errors = require "errors"
    local ok, run, result, names = pcall(run_notebook, args)
    if not ok then
      local problem = run
      local cancelled = errors.is(problem, "Cancelled")
      if args.json then print_json({ state = cancelled and "cancelled" or "failed" }, {}, nil) end
      error(problem, 0)
    end
    if result.state ~= "succeeded" then tell_failures(result, names) end
    if args.json then print_json(result, names, run.directory)
    else print_summary(result, names, run.directory) end
    return result.state == "succeeded" and 0 or 1
  end,
}(...)
