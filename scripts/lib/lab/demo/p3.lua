-- P3: with a sidecar the job of a trial never ends: the pod waits for the proxy, for ever. Repaired by trial-sidecar.
local experiment = require "lab.demo.experiment"

local PLACE <const> = "team-a"
local LONG_ENOUGH <const> = 6 -- seconds after the training's end, in which nothing more happens

local function before(on)
  on:profile(PLACE)
end

local function act(on, repaired)
  experiment.create(on, PLACE, { image = "busybox", command = { "sh", "-c" },
    args = { "echo accuracy=0.9 lr=${trialParameters.lr}" } })
  on:eventually(function() return experiment.has_trained(on, PLACE) or experiment.over(on, PLACE) end)
  return experiment.finish(on, PLACE, not repaired and LONG_ENOUGH or nil)
end

return {
  number = "P3", title = "with a sidecar the job of a trial never ends", policies = { "trial-sidecar" },
  lab = { nodes = 1, time_scale = 0.05, mesh = { native = false } }, kubeflow = true,
  picture = { { name = "training", note = "has ended", state = "succeeded" },
    { name = "collector", note = "waits for all processes" }, { name = "istio-proxy", note = "never ends",
      state = "failed" }, { name = "Job", note = "goes on" } },
  why = "A pod is over when all its containers are; a proxy never is. Katib's collector shares the pod's processes and "
    .. "waits for the proxy too. By default the policy gives trials a token instead of a sidecar; where there must be "
    .. "one, it is native, or told to quit at the pod's own localhost when the collector has reported.",
  before = before, act = act,
}
