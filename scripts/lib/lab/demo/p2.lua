-- P2: the pod of a trial has no proxy, and the mesh lets only known callers through. Repaired by trial-sidecar.
local experiment = require "lab.demo.experiment"

local PLACE <const> = "team-a"

-- A training that asks Pipelines first.
local PROGRAM <const> = [[
local answer, problem = require("http").try.request {
  url = "http://ml-pipeline.kubeflow.svc.cluster.local:8888/apis/v2beta1/healthz", timeout = 10,
}
local said = "Pipelines: " .. (answer and "answers " .. answer.status or problem.message)
local log = assert(io.open((os.getenv "KFHOST_ROOT" or "") .. "/dev/termination-log", "w"))
log:write(said):close()
if not answer or answer.status ~= 200 then return 1 end
print "accuracy=0.9"
]]

-- A mesh as sites harden it: nobody in kubeflow speaks without mutual TLS.
local function before(on)
  on:profile(PLACE)
  on.client:create { apiVersion = "security.istio.io/v1", kind = "PeerAuthentication", metadata = { name = "default",
    namespace = "kubeflow" }, spec = { mtls = { mode = "STRICT" } } }
end

local function act(on)
  experiment.create(on, PLACE, { image = "kfhost", command = { "sh", "-c" }, args = { 'kfhost -e "$PROGRAM"' },
    env = { { name = "PROGRAM", value = PROGRAM }, { name = "LR", value = "${trialParameters.lr}" } } },
    { labels = { ["sidecar.istio.io/inject"] = "false" } })
  return experiment.finish(on, PLACE)
end

return {
  number = "P2", title = "the pod of a trial cannot pass Istio", policies = { "trial-sidecar" },
  settings = "trial-sidecar: {way: c, manage_katib_config: true}\n",
  lab = { nodes = 1, time_scale = 0.05, mesh = true }, kubeflow = true,
  picture = { { name = "trial's pod", note = "sidecar.istio.io/inject: false" },
    { name = "plain connection", note = "no certificate" }, { name = "ml-pipeline", note = "mTLS: STRICT",
      state = "failed" } },
  why = "Katib's examples switch the sidecar off, because a job with one never ends (P3). Where the mesh wants mutual "
    .. "TLS, a pod without a proxy is nobody. The policy chooses a way that fits the mesh: none and a token (a), or as "
    .. "here a native sidecar, which ends with the pod (c), or a classic one that is told to quit (d).",
  before = before, act = act,
}
