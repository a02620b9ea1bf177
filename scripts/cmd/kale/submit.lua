-- kfhost kale submit: a notebook as a run on Kubeflow Pipelines, followed to its end.
local cli = require "cli"
local server = require "kale.server"

local function say(format, ...) io.stderr:write(format:format(...), "\n") end

-- --- recurring ------------------------------------------------------------------------------------------------

local function schedule(k, compiled, args)
  local submit, json = require "kale.submit", require "json"
  local made, uploaded = submit.schedule(k, compiled, { experiment = args.experiment, name = args.name,
    params = args.param, cron = args.cron })
  say("pipeline %s (%s)", uploaded.name, uploaded.created and "uploaded" or "there")
  if args.json then
    print(json.encode({ recurring_run_id = made.recurring_run_id, cron = args.cron, link = submit.link(k, made) },
      { sort = true }))
  else
    print(("recurring run %s: %s"):format(made.recurring_run_id, args.cron))
    print(submit.link(k, made))
  end
  return 0
end

-- --- one run --------------------------------------------------------------------------------------------------

local CODES = { SUCCEEDED = 0 }

local function report(k, run, args)
  local metrics, json = {}, require "json"
  local list = k.runs:metrics(run.run_id)
  for _, one in ipairs(list) do metrics[one.name] = one.value end
  local link = require "kale.submit".link(k, run)
  if args.json then
    print(json.encode({ run_id = run.run_id, experiment_id = run.experiment_id, state = run.state,
      metrics = json.object(metrics), link = link }, { sort = true }))
    return
  end
  print(("run %s: %s"):format(run.run_id, run.state))
  for _, one in ipairs(list) do print(("  %s = %g"):format(one.name, one.value)) end
end

-- Follows the run; interrupted, it is ended if that was asked for.
local function follow(k, run, args)
  local view <close> = require "kale.run_view".watch(k, run, { logs = not args.quiet })
  local ok, done = pcall(view.follow, view)
  if ok then return done end
  if not require "errors".is(done, "Cancelled") then error(done, 0) end
  if args.cancel then
    require "task".last(function()
      local _, problem = require "errors".try(k.runs):terminate(run.run_id)
      say(problem and "run %s could not be ended: %s" or "run %s is ended", run.run_id, problem and problem.message)
    end)
  else
    say("run %s goes on", run.run_id)
  end
  error(done, 0)
end

return cli.main {
  name = "kale submit",
  summary = "Sends a notebook to Kubeflow Pipelines and follows its run.",
  description = "Compiles the notebook, uploads the pipeline once (the same text is found again), makes the experiment "
    .. "when it is not there, starts a run and follows it: its states, and what its steps print. Exit code 0 when the "
    .. "run succeeded, 1 when it did not. Ctrl-C leaves the run; with --cancel it ends it.",
  arguments = { { "NOTEBOOK", "an .ipynb file with tagged cells" } },
  options = server.options {
    { "--experiment NAME", "that the run belongs to; the notebook's without it" },
    { "--name NAME", "of the run" },
    { "--param NAME=VALUE", "a pipeline parameter", repeated = true },
    { "--cron SCHEDULE", "run it again and again: six fields, seconds first" },
    { "--cancel", "end the run when this command is interrupted" },
    { "--quiet", "do not show what the steps print" },
    { "--no-wait", "return when the run is accepted" },
    { "--json", "machine output" },
  },
  run = function(args)
    local submit = require "kale.submit"
    local compiled = submit.compile(args.notebook)
    if not compiled then return 1 end
    if args.cron then submit.check_cron(args.cron) end
    if os.getenv "KFHOST_LAB" and (args.cron or args.no_wait) then
      say "this lab ends with the command, and with it all that was begun here: kfhost lab up starts one that stays"
    end
    local k = server.connect(args)
    if args.cron then return schedule(k, compiled, args) end
    local run, uploaded = submit.start(k, compiled, { experiment = args.experiment, name = args.name,
      params = args.param })
    say("pipeline %s (%s), run %s", uploaded.name, uploaded.created and "uploaded" or "there", run.run_id)
    say("%s", submit.link(k, run))
    if not args.no_wait then run = follow(k, run, args) end
    report(k, run, args)
    return args.no_wait and 0 or CODES[run.state] or 1
  end,
}(...)
