-- kfhost kale tune: the best parameters of a notebook, by a Katib experiment whose trials are runs of its pipeline.
local cli = require "cli"

local function image_of(args)
  local image = args.trial_image or os.getenv "KFHOST_TRIAL_IMAGE"
  if image or args.lab then return image or "kfhost" end
  cli.usage("trials need an image that runs kfhost: --trial-image or KFHOST_TRIAL_IMAGE. To make one:\n"
    .. "  docker build -t REGISTRY/kfhost:1 . && docker push REGISTRY/kfhost:1")
end

local function direction_of(args)
  if args.minimize and args.maximize then cli.usage "--minimize and --maximize exclude each other" end
  return args.minimize and "minimize" or args.maximize and "maximize" or nil
end

local function show_progress(experiment)
  local status = experiment.status or {}
  local best = require "kale.tune".best(experiment)
  local objective = experiment.spec.objective.objectiveMetricName
  io.stderr:write(("trials %d of %d: %d running, %d succeeded, %d failed%s\n"):format(status.trials or 0,
    experiment.spec.maxTrialCount, status.trialsRunning or 0, status.trialsSucceeded or 0, status.trialsFailed or 0,
    best and ("; best %s = %s"):format(objective, best.metrics[objective] or "?") or ""))
end

local function report(experiment, args)
  local best = require "kale.tune".best(experiment)
  local conditions = experiment.status.conditions
  local state = conditions[#conditions].type
  if args.json then
    local json = require "json"
    print(json.encode({ experiment = experiment.metadata.name, state = state, trials = experiment.status.trials,
      succeeded = experiment.status.trialsSucceeded or 0, best = best or json.null }, { sort = true }))
  else
    print(("%s: %s"):format(experiment.metadata.name, state))
    if best then
      print(("best trial %s"):format(best.trial))
      for name, value in pairs(best.values) do print(("  %s = %s"):format(name, value)) end
      for name, value in pairs(best.metrics) do print(("  %s: %s"):format(name, value)) end
    end
  end
  return state == "Succeeded" and 0 or 1
end

-- Where it runs: a lab of our own, or what the environment names.
local function place(args)
  if args.lab then
    local fs = require "fs" -- steps find the files beside the notebook, as in kale run
    local kubeflow = require "lab.kubeflow".start { root = fs.tmpdir "kfhost-lab",
      cwd = fs.dirname(fs.join(fs.cwd(), args.notebook)) }
    local k = require "kfp".connect { endpoint = kubeflow.pipelines.url }
    return { client = kubeflow.client, kfp = k, endpoint = kubeflow.endpoint,
      namespace = args.namespace or "team-a", close = function() kubeflow:close() end }
  end
  local client = require "kube".connect { namespace = args.namespace }
  return { client = client, kfp = require "kfp".connect { endpoint = args.endpoint, namespace = args.namespace },
    endpoint = args.endpoint, namespace = args.namespace or client.namespace, close = function() end }
end

local function tune(at, compiled, args, image)
  local tuning = require "kale.tune"
  local settings = tuning.settings(compiled, { tune = args.tune, objective = args.objective, goal = args.goal,
    direction = direction_of(args), algorithm = args.algorithm, trials = args.trials, parallel = args.parallel })
  local uploaded = at.kfp:upload(compiled.text, { name = compiled.name })
  local inputs = compiled.ir.root.inputDefinitions or {}
  local experiment = tuning.experiment(settings, uploaded, { name = args.name or compiled.name, image = image,
    namespace = at.namespace, kfp_experiment = args.name or compiled.name, endpoint = at.endpoint,
    definitions = inputs.parameters })
  return tuning.run(at.client, experiment, show_progress)
end

return cli.main {
  name = "kale tune",
  summary = "Finds the best parameters of a notebook by a Katib experiment.",
  description = "What is tuned stands in the notebook's katib_metadata, or is said here. With --lab all of it "
    .. "happens on this machine: a small Kubeflow that ends with the command.",
  arguments = { { "NOTEBOOK", "an .ipynb file with tagged cells" } },
  options = {
    { "--tune SPACE", "NAME=MIN..MAX, NAME=MIN..MAX/STEP or NAME=A,B,C", repeated = true },
    { "--objective NAME", "the metric" }, { "--minimize", "smaller is better" }, { "--maximize", "larger is better" },
    { "--goal X", "stop when it is reached", type = "number" },
    { "--algorithm NAME", "random, grid, tpe, bayesianoptimization, cmaes, sobol, hyperband" },
    { "--trials N", "how many", type = "int", min = 1 }, { "--parallel N", "at a time", type = "int", min = 1 },
    { "--trial-image NAME", "an image that runs kfhost" },
    { "--endpoint URL", "of the KFP API" }, { "--namespace NAME", "the profile's namespace" },
    { "--name NAME", "of the experiment" }, { "--lab", "in a lab of its own" }, { "--json", "machine output" },
  },
  run = function(args)
    local image = image_of(args)
    local compiled = require "kale.submit".compile(args.notebook)
    if not compiled then return 1 end
    local at = place(args)
    local ok, experiment = pcall(tune, at, compiled, args, image)
    at.close()
    if not ok then error(experiment, 0) end
    return report(experiment, args)
  end,
}(...)
