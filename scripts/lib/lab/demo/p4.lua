-- P4: an older Kale's program asks every 30 seconds and dies at the first question that fails. Repaired by kale-trial.
local experiment = require "lab.demo.experiment"
local older = require "lab.demo.older"

local PLACE <const> = "team-a"
local AWAY <const> = 2 -- seconds

local function before(on)
  on:profile(PLACE)
  on.uploaded = older.prepare(on, PLACE, 6)
end

local function runs(on)
  local k = require("kfp").connect { endpoint = on.kubeflow.pipelines.url }
  local list = {}
  for run in k.runs:list() do list[#list + 1] = run end
  return list
end

local function act(on)
  experiment.create(on, PLACE, older.container(on.uploaded, 0.5), older.MORE)
  on:eventually(function() return runs(on)[1] end)
  on:does("Pipelines is away for %d seconds, as in an upgrade", AWAY)
  on.kubeflow.pipelines:go_away(AWAY)
  return experiment.finish(on, PLACE)
end

return {
  number = "P4", title = "a trial's program dies at the first question that fails", policies = { "kale-trial" },
  settings = "kale-trial: {trial_image: kfhost}\n", lab = { nodes = 1, time_scale = 0.05 }, kubeflow = true,
  single_user = true,
  picture = { { name = "older program", note = "asks every 30 s" }, { name = "Pipelines", note = "away for a moment",
    state = "failed" }, { name = "trial", note = "has failed" }, { name = "run", note = "goes on, for nobody" } },
  why = "The older program takes one refused connection for the end: the trial has failed, its run goes on, and "
    .. "nobody reads the result. `kfhost kale trial` has a budget for failures, asks at the pace of the run, takes its "
    .. "own run up again after a restart, and ends it when it is told to stop.",
  before = before, act = act,
}
