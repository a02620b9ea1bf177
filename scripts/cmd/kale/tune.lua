-- kfhost kale tune: the best parameters of a notebook, by a Katib experiment whose trials are runs of its pipeline.
local cli = require "cli"
local server = require "kale.server"

local function image_of(args)
  local image = args.trial_image or os.getenv "KFHOST_TRIAL_IMAGE"
  if image or args.lab then return image or "kfhost" end
  cli.usage("trials need an image that runs kfhost: --trial-image or KFHOST_TRIAL_IMAGE. To make one:\n"
    .. "  ./dev package && docker build -f packaging/Dockerfile -t REGISTRY/kfhost:1 build/release\n"
    .. "  docker push REGISTRY/kfhost:1\n"
    .. "Or let them run in the steps' own image: --trial-runner python")
end

local function direction_of(args)
  if args.minimize and args.maximize then cli.usage "--minimize and --maximize exclude each other" end
  return args.minimize and "minimize" or args.maximize and "maximize" or nil
end

-- Where it runs: a lab of our own, or what the environment names.
local function place(args)
  if args.lab then
    local fs = require "fs" -- steps find the files beside the notebook, as in kale run
    local folder = require "kfhost.folder".new "kfhost-lab"
    local kubeflow = require "lab.kubeflow".start { root = folder.path,
      cwd = fs.dirname(fs.join(fs.cwd(), args.notebook)) }
    local k = require "kfp".connect { endpoint = kubeflow.pipelines.url }
    return { client = kubeflow.client, kfp = k, endpoint = kubeflow.endpoint, lab = kubeflow,
      namespace = args.namespace or "team-a", close = function()
        kubeflow:close()
        folder:close()
      end }
  end
  -- The table of trials says what happens: each write need not be told beside it.
  local client = require "kube".connect { namespace = args.namespace, log = function() end }
  return { client = client, kfp = server.connect(args, client.namespace),
    endpoint = require "kale.tune".endpoint_of_trials(args.endpoint), namespace = args.namespace or client.namespace,
    close = function() end }
end

local function say(format, ...) io.stderr:write(format:format(...), "\n") end

-- --- asking ---------------------------------------------------------------------------------------------------

local function initialise(compiled, args)
  local fs, init = require "fs", require "kale.tune_init"
  local metadata = init.ask(compiled, { read = function() return io.read "l" end, write = function(text)
    io.stderr:write(text)
  end })
  for _, warning in ipairs(init.check(compiled, metadata)) do say("warning: %s", warning) end
  local text = require "kale.edit".notebook_metadata(fs.read(args.notebook), args.notebook,
    { "kubeflow_notebook", "katib_metadata" }, metadata)
  fs.write(args.notebook, text)
  say("%s has its katib_metadata now; kfhost kale tune %s starts", args.notebook, args.notebook)
  return 0
end

-- --- the experiment -------------------------------------------------------------------------------------------

local PLANNED = { pipeline_id = "planned", version_id = "planned" } -- until it is uploaded

local function settings_of(compiled, args)
  return require "kale.tune".settings(compiled, { tune = args.tune, objective = args.objective, goal = args.goal,
    direction = direction_of(args), algorithm = args.algorithm, settings = args.setting, trials = args.trials,
    parallel = args.parallel, median_stop = args.median_stop })
end

local function build(at, compiled, settings, uploaded, args)
  local tuning = require "kale.tune"
  local inputs = compiled.ir.root.inputDefinitions or {}
  return tuning.experiment(settings, uploaded, { name = args.name or compiled.name, image = at.image,
    namespace = at.namespace, kfp_experiment = args.name or compiled.name, endpoint = at.endpoint,
    definitions = inputs.parameters, resumable = args.resumable, runner = args.trial_runner,
    service_account = at.service_account, step_image = tuning.step_image(compiled.ir) })
end

-- An experiment that was asked for as the interruption came may be there, or come yet. A lab of our own ends with it.
local function clear(at, experiment, kfp_experiment)
  if at.lab or not require "kale.tune".was_made(at.client, experiment) then return end
  local view <close> = require "kale.trials".watch(at, experiment.metadata.name, { kfp_experiment = kfp_experiment })
  view:abandon()
end

local function create(at, experiment, kfp_experiment)
  local errors = require "errors"
  local ok, made = pcall(require "kale.tune".create, at.client, experiment)
  if ok then return made end
  if errors.is(made, "Cancelled") then require "task".last(clear, at, experiment, kfp_experiment) end
  error(made, 0)
end

-- Says what it will cost, and makes the experiment, or goes on with the one there is. Nothing is uploaded or created
-- before all of it is found to be right.
local function begin(at, compiled, args)
  local tuning, cost = require "kale.tune", require "kale.cost"
  local settings = settings_of(compiled, args)
  local planned = build(at, compiled, settings, PLANNED, args)
  if args.resume then return tuning.resume(at.client, planned), settings end
  for _, warning in ipairs(tuning.check(at.client, planned)) do say("warning: %s", warning) end
  at.service_account = args.service_account or tuning.account(at.client, at.kfp, at.namespace)
  local uploaded = at.kfp:upload(compiled.text, { name = compiled.name })
  local experiment = build(at, compiled, settings, uploaded, args)
  say("experiment %s: %s", experiment.metadata.name,
    cost.text(settings, cost.last_run(at.kfp, uploaded, args.notebook)))
  return create(at, experiment, args.name or compiled.name), settings
end

-- What each trial reported while it went on.
local function histories(at, view)
  local found = {}
  for _, one in ipairs(view.list) do
    local id = view:run_of(one)
    found[one.metadata.name] = id and require "errors".try(at.kfp.runs):metrics(id)
  end
  return found
end

local function write_report(at, view, args, choices)
  local fs = require "fs"
  local path = args.report
  if not path then
    local folder = fs.join(fs.dirname(args.notebook), ".kfhost", "tune")
    fs.mkdir(folder, { parents = true })
    path = fs.join(folder, view.name .. ".html")
  end
  fs.write(path, require "kale.tune_report".render(view.experiment, view.list,
    { histories = histories(at, view), choices = choices, notebook = fs.basename(args.notebook) }))
  return path
end

-- What was found out is told even where no report can be written.
local function try_report(...)
  local ok, path = pcall(write_report, ...)
  if ok then return path end
  local errors = require "errors"
  if not errors.is(path) or path.code == "Cancelled" then error(path, 0) end
  say("the report is not written: %s", errors.text(path))
  return nil
end

-- A folder that is not there is better known before the trials than after them.
local function check_report(path)
  local fs = require "fs"
  if path and not fs.exists(fs.dirname(path)) then
    cli.usage(("--report: there is no folder %s"):format(fs.dirname(path)))
  end
end

local function tune(at, compiled, args)
  local made, settings = begin(at, compiled, args)
  local choices = require "kale.tune".choices(settings)
  local view <close> = require "kale.trials".watch(at, made.metadata.name,
    { kfp_experiment = args.name or compiled.name, logs = args.logs, choices = choices })
  local done = view:follow()
  view:close()
  return done, view, choices, try_report(at, view, args, choices)
end

local REASONS = { ExperimentGoalReached = "the goal is reached", ExperimentMaxTrialsReached = "all trials were made" }

local function print_plain(experiment, view, best, state, path)
  io.stdout:write(view:table())
  local conditions = experiment.status.conditions
  local last = conditions[#conditions]
  print(("%s: %s, %s"):format(experiment.metadata.name, state, REASONS[last.reason] or last.message))
  if best then
    print(("best trial %s"):format(best.trial))
    for _, list in ipairs { { best.values, "  %s = %s" }, { best.metrics, "  %s: %s" } } do
      local names = {}
      for name in pairs(list[1]) do names[#names + 1] = name end
      table.sort(names)
      for _, name in ipairs(names) do print(list[2]:format(name, list[1][name])) end
    end
  end
  if path then print(("report: %s"):format(path)) end
end

local function report(experiment, view, choices, path, args)
  local best = require "kale.tune".best(experiment, choices)
  local conditions, status = experiment.status.conditions, experiment.status
  local state = conditions[#conditions].type
  if args.json then
    local json = require "json"
    print(json.encode({ experiment = experiment.metadata.name, state = state, trials = status.trials,
      succeeded = status.trialsSucceeded or 0, failed = status.trialsFailed or 0,
      early_stopped = status.trialsEarlyStopped or 0, best = best or json.null, report = path or json.null },
      { sort = true }))
  else
    print_plain(experiment, view, best, state, path)
  end
  return state == "Succeeded" and path and 0 or 1
end

return cli.main {
  name = "kale tune",
  summary = "Finds the best parameters of a notebook by a Katib experiment.",
  description = "What is tuned stands in the notebook's katib_metadata (--init asks for it and writes it there), or is "
    .. "said here. With --lab all of it happens on this machine: a small Kubeflow that ends with the command. Ctrl-C "
    .. "deletes the experiment and ends its runs.",
  arguments = { { "NOTEBOOK", "an .ipynb file with tagged cells" } },
  options = server.options {
    { "--tune SPACE", "NAME=MIN..MAX, NAME=MIN..MAX/STEP or NAME=A,B,C", repeated = true },
    { "--objective NAME", "the metric" }, { "--minimize", "smaller is better" }, { "--maximize", "larger is better" },
    { "--goal X", "stop when it is reached", type = "number" },
    { "--algorithm NAME", "random, grid, tpe, bayesianoptimization, cmaes, sobol, hyperband" },
    { "--setting NAME=VALUE", "of the algorithm: random_state=7; hyperband needs r_l and resource_name",
      repeated = true },
    { "--median-stop", "end trials early that are worse than others were" },
    { "--trials N", "how many", type = "int", min = 1 }, { "--parallel N", "at a time", type = "int", min = 1 },
    { "--init", "ask what is tuned, check it and write it into the notebook; nothing is started" },
    { "--resume", "go on with the experiment that is there: follow it, or let it have more --trials" },
    { "--resumable", "let the experiment be continued after its end; its suggestion service stays" },
    { "--logs", "show what the steps of the trials print" },
    { "--report FILE", "where the HTML report goes; .kfhost/tune beside the notebook without it" },
    { "--trial-image NAME", "an image that runs kfhost" },
    { "--trial-runner NAME", "python: trials run in the steps' image, by a client of Python's standard library",
      choices = { "kfhost", "python" } },
    { "--service-account NAME", "of the trials' pods; default-editor, in a single-user installation pipeline-runner" },
    { "--name NAME", "of the experiment" }, { "--lab", "in a lab of its own" }, { "--json", "machine output" },
  },
  run = function(args)
    if args.resume and args.lab then
      cli.usage "a lab of its own has nothing to go on with: --resume needs a cluster"
    end
    local image = (args.init or args.trial_runner == "python") and "none" or image_of(args)
    local compiled = require "kale.submit".compile(args.notebook)
    if not compiled then return 1 end
    if args.init then return initialise(compiled, args) end
    check_report(args.report)
    local at = place(args)
    at.image = image
    local ok, experiment, view, choices, path = pcall(tune, at, compiled, args)
    if not ok then
      require "task".last(at.close) -- nothing can wait any more in here, once it was interrupted
      error(experiment, 0)
    end
    at.close()
    return report(experiment, view, choices, path, args)
  end,
}(...)
