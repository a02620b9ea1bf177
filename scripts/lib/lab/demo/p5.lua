-- P5: an older Kale's program calls before the network of its pod is up. Repaired by kale-trial.
local experiment = require "lab.demo.experiment"
local older = require "lab.demo.older"

local PLACE <const> = "team-a"

local function before(on)
  on:profile(PLACE)
  on.uploaded = older.prepare(on, PLACE, 0.2)
end

-- How the training has ended; its proxy, which goes on, is P3's matter.
local function ended(on)
  local pod = experiment.pod(on, PLACE)
  for _, status in ipairs(pod and pod.status and pod.status.containerStatuses or {}) do
    if status.name == "main" and status.state.terminated then return status.state.terminated.exitCode end
  end
end

local function act(on)
  experiment.create(on, PLACE, older.container(on.uploaded, 0.5), older.MORE)
  local code = on:eventually(function() return ended(on) end)
  experiment.tell(on, PLACE)
  return code == 0
end

return {
  number = "P5", title = "a trial calls before the network of its pod is up", policies = { "kale-trial" },
  settings = "kale-trial: {trial_image: kfhost}\n", lab = { nodes = 1, time_scale = 4, mesh = { native = false } },
  kubeflow = true, single_user = true,
  picture = { { name = "program", note = "starts at once" }, { name = "istio-proxy", note = "not ready yet",
    state = "failed" }, { name = "Pipelines", note = "is never reached" } },
  why = "All traffic of the pod goes through a proxy that needs a moment to start; the program does not know. The fix "
    .. "was a sleep. `kfhost kale trial` waits until Pipelines answers, however long that takes within its budget.",
  before = before, act = act,
}
