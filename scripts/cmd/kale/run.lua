-- kfhost kale run: a notebook as a pipeline on this machine, a process per step.
local cli = require "cli"

-- The tasks that are steps, in the order of the notebook.
local function tasks_of(result, names)
  local by_name, list = {}, {}
  for _, t in ipairs(result.tasks or {}) do by_name[t.name] = t end
  for _, name in ipairs(names.in_order or {}) do list[#list + 1] = by_name[name] end
  return list
end

-- Exactly one line on standard output, whatever happens.
local function print_json(result, names, directory)
  local json = require "json"
  local line = {
    state = result.state, metrics = json.object {}, steps = json.array {}, directory = directory or json.null,
  }
  for name, value in pairs(result.metrics or {}) do line.metrics[name] = value end
  for i, t in ipairs(tasks_of(result, names)) do
    line.steps[i] = { name = names[t.name], state = t.state, seconds = t.seconds or 0 }
  end
  print(json.encode(line, { sort = true }))
end

-- How many steps ran, of those that succeeded.
local function count_cached(result, names)
  local cached, tasks = 0, tasks_of(result, names)
  for _, t in ipairs(tasks) do
    if t.state == "cached" then cached = cached + 1 end
  end
  return cached, #tasks
end

local function print_summary(result, names, directory)
  local term = require "term"
  local rows = {}
  for i, t in ipairs(tasks_of(result, names)) do
    rows[i] = { names[t.name], t.state, t.seconds and ("%.2f s"):format(t.seconds) or "" }
  end
  io.stdout:write("\n", term.table(rows, { header = { "STEP", "STATE", "TIME" }, align = { [3] = "right" } }))
  local metrics = {}
  for name, value in pairs(result.metrics or {}) do metrics[#metrics + 1] = { name, ("%.6g"):format(value) } end
  table.sort(metrics, function(a, b) return a[1] < b[1] end)
  if #metrics > 0 then
    io.stdout:write("\n", term.table(metrics, { header = { "METRIC", "VALUE" }, align = { [2] = "right" } }))
  end
  local cached, steps = count_cached(result, names)
  if result.state == "succeeded" and cached == steps then
    print(("\nNothing had to run: all %d steps are as in an earlier run (--fresh runs them)."):format(steps))
  end
  local colour = result.state == "succeeded" and "bold green" or "bold red"
  print(("\n%s  %s"):format(term.style(result.state, colour), require("fs").join(directory, "report.html")))
end

local function write_report(run, result, names)
  local ok, problem = pcall(function()
    if run.pipeline then return require "kale.pipeline".report(run, result) end
    return require("kale.report").write(run, result, names)
  end)
  if not ok then io.stderr:write("the report could not be written: ", require("errors").text(problem), "\n") end
end

-- "PATTERN=COMMAND" words as images of kfp.run.
local function read_images(words)
  local images = {}
  for _, word in ipairs(words or {}) do
    local pattern, line = word:match "^([^=]+)=(.*)$"
    if not pattern then cli.usage("'%s' is not PATTERN=COMMAND", word) end
    local command = {}
    for part in line:gmatch "%S+" do command[#command + 1] = part end
    images[pattern] = { command = command }
  end
  return images
end

local LIMITS = { cpu = true, memory = true, files = true, file_size = true, core = true, stack = true }

local function read_limits(words)
  local quantity, limits = require "kale.quantity", nil
  for _, word in ipairs(words or {}) do
    local name, text = word:match "^([%w_-]+)=(.*)$"
    name = name and name:gsub("-", "_")
    local value = name and LIMITS[name] and quantity.read((text:gsub("([KMGT]i)B$", "%1"):gsub("s$", "")))
    if not value or value <= 0 then
      cli.usage("'%s' is no limit: cpu=SECONDS, memory=4Gi, files=N, file-size=1Gi, core=N or stack=8Mi", word)
    end
    limits = limits or {}
    limits[name] = math.tointeger(math.floor(value))
  end
  return limits
end

-- The notebook's warnings, and what this machine has not.
local function tell_before(plan, secrets)
  local diagnostics, term = require "kale.diagnostics", require "term"
  local function tell(d)
    io.stderr:write(diagnostics.render(plan.path, d, function(text, how) return term.style(text, how, "stderr") end),
      "\n")
  end
  for _, d in ipairs(plan.diagnostics) do tell(d) end
  for _, d in ipairs(require "kale.here".findings(plan, { secrets = secrets })) do tell(d) end
end

-- What it has made so far stands in `made`, for those who tell of a failure.
local function run_notebook(args, made)
  local follow, here = require "kale.follow", require "kale.here"
  local is_pipeline = require "kale.pipeline".is_one(args.notebook)
  local kale_run = require(is_pipeline and "kale.pipeline" or "kale.run")
  local images, limits, volumes = read_images(args.image), read_limits(args.rlimit), here.paths(args.volume, cli.usage)
  local secrets = require "kfp.secrets".new(here.paths(args.secret, cli.usage))
  if is_pipeline and (args.from or args.only or args.infer) then
    cli.usage "--from, --only and --infer are about steps of a notebook; this is a pipeline"
  end
  if args.jobs and args.jobs < 1 then cli.usage "--jobs: at least 1" end
  local run = kale_run.prepare(args.notebook, {
    runs = args.runs, python = args.python, from = args.from, only = args.only, infer = args.infer,
  })
  made.run = run
  if run.unchecked then io.stderr:write("syntax was checked by the parser alone: ", run.unchecked, "\n") end
  if not is_pipeline then tell_before(run.plan, secrets) end
  local names = kale_run.step_names(run.plan)
  names.in_order = kale_run.tasks(run.plan)
  local result
  do
    local view <close> = follow.new(names, #run.plan.steps)
    local failures = require "kale.failures".new(args.notebook, not args.quiet)
    result = kale_run.execute(run, {
      params = args.param, jobs = args.jobs, python = args.python, cache = not args.fresh, fail_fast = args.fail_fast,
      images = images, rlimits = limits, volumes = volumes, secrets = secrets,
      on_event = function(event)
        local name = names[event.name] or event.name
        if event.type == "note" and event.about == "place" and not is_pipeline then return end  -- told before
        if event.type == "line" then failures:line(name, event.text) end
        if event.type == "note" and event.about == "retry" then view.progress:print(failures:again(name, event))
        elseif event.type == "note" then view.progress:print(("%s: %s"):format(name, event.text))
        elseif event.type ~= "line" or not args.quiet then view.on_event(event) end
        if event.type == "task" and event.state == "failed" and event.kind == "container" then
          view.progress:print(failures:failed(name, event))
        end
      end,
    })
  end
  write_report(run, result, names)
  return run, result, names
end

return cli.main {
  name = "kale run",
  summary = "Runs a notebook as a pipeline on this machine.",
  description = "A step whose code and inputs are those of an earlier run is not run again.",
  arguments = { { "NOTEBOOK", "an .ipynb file with tagged cells, a .py file in percent format, or a compiled pipeline "
    .. "(.yaml)" } },
  options = {
    { "-p, --param K=V", "a parameter's value", repeated = true },
    { "-j, --jobs N", "how many steps at a time; the number of processors without it", type = "int" },
    { "--from STEP", "run this step and those after it; take the others from earlier runs" },
    { "--only STEP", "run this step alone; take what it needs from earlier runs" },
    { "--fresh", "run every step, whatever earlier runs made" },
    { "--cache", "take steps from earlier runs where nothing changed, as without --fresh" },
    { "--fail-fast", "at the first failure stop everything" },
    { "--keep-going", "after a failure run what does not need the failed step, as without --fail-fast" },
    { "--python FILE", "the interpreter for images python:*" },
    { "--image PATTERN=COMMAND", "the command that stands for an image here", repeated = true },
    { "--volume CLAIM=DIR", "the folder for a claim; .kfhost/runs/volumes/CLAIM without it", repeated = true },
    { "--secret NAME=PATH", "what stands for a secret: KEY=VALUE lines, a folder, or a manifest", repeated = true },
    { "--rlimit NAME=N", "a limit for each step: cpu, memory, files, file-size, core, stack", repeated = true },
    { "--runs DIR", "where run directories lie; .kfhost/runs beside the notebook without it" },
    { "-q, --quiet", "do not show what the steps print; kfhost kale logs does" },
    { "--json", "one line of machine output at the end" },
    { "--infer", "let edges follow data, too, where prev tags are missing" },
  },
  on_misuse = function() print_json({ state = "failed" }, {}) end,
  run = function(args)
    local errors = require "errors"
    local made = {}
    local ok, run, result, names = pcall(run_notebook, args, made)
    if not ok then
      local problem = run
      local cancelled = errors.is(problem, "Cancelled")
      if args.json then
        print_json({ state = cancelled and "cancelled" or "failed" }, {}, made.run and made.run.directory)
      end
      error(problem, 0)
    end
    if result.error then io.stderr:write(require("errors").text(result.error), "\n") end
    if args.json then print_json(result, names, run.directory)
    else print_summary(result, names, run.directory) end
    return result.state == "succeeded" and 0 or 1
  end,
}(...)
