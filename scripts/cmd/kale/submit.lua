-- kfhost kale submit: a notebook as a run on Kubeflow Pipelines, followed to its end.
local cli = require "cli"

local CODES = { SUCCEEDED = 0 }

local function connect(args)
  return require "kfp".connect { endpoint = args.endpoint, namespace = args.namespace }
end

-- Says each state of the run once, on standard error.
local function follower(k, run)
  return function(state)
    local term = require "term"
    io.stderr:write(("%s  run %s\n"):format(term.style(state, state == "FAILED" and "bold red" or "cyan", "stderr"),
      run.run_id))
    if state ~= "FAILED" then return end
    for _, one in ipairs(k.runs:tasks(run.run_id)) do
      if one.state == "FAILED" then
        local log = require "errors".try(k.runs):logs(run.run_id, one.name) or ""
        io.stderr:write(("step %s failed\n%s"):format(one.name, log:sub(-2000)))
      end
    end
  end
end

local function report(k, run, args)
  local metrics = {}
  local list = k.runs:metrics(run.run_id)
  for _, one in ipairs(list) do metrics[one.name] = one.value end
  if args.json then
    local json = require "json"
    print(json.encode({ run_id = run.run_id, experiment_id = run.experiment_id, state = run.state,
      metrics = json.object(metrics) }, { sort = true }))
    return
  end
  print(("run %s: %s"):format(run.run_id, run.state))
  for _, one in ipairs(list) do print(("  %s = %g"):format(one.name, one.value)) end
end

return cli.main {
  name = "kale submit",
  summary = "Sends a notebook to Kubeflow Pipelines and follows its run.",
  description = "Compiles the notebook, uploads the pipeline once (the same text is found again), makes the experiment "
    .. "when it is not there, starts a run and follows it. Exit code 0 when the run succeeded, 1 when it did not.",
  arguments = { { "NOTEBOOK", "an .ipynb file with tagged cells" } },
  options = {
    { "--endpoint URL", "of the KFP API; KF_PIPELINES_ENDPOINT, the cluster or a kubeconfig without it" },
    { "--namespace NAME", "the profile's namespace" },
    { "--experiment NAME", "that the run belongs to; the notebook's without it" },
    { "--name NAME", "of the run" },
    { "--param NAME=VALUE", "a pipeline parameter", repeated = true },
    { "--no-wait", "return when the run is accepted" },
    { "--json", "machine output" },
  },
  run = function(args)
    local submit = require "kale.submit"
    local compiled = submit.compile(args.notebook)
    if not compiled then return 1 end
    local k = connect(args)
    local run, uploaded = submit.start(k, compiled, { experiment = args.experiment, name = args.name,
      params = args.param })
    io.stderr:write(("pipeline %s (%s), run %s\n"):format(uploaded.name, uploaded.created and "uploaded" or "there",
      run.run_id))
    if not args.no_wait then
      run = k.runs:wait(run.run_id, { on_state = follower(k, run) })
    end
    report(k, run, args)
    return args.no_wait and 0 or CODES[run.state] or 1
  end,
}(...)
