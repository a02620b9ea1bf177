-- kfhost kale trial: what the pod of a Katib trial runs.
local cli = require "cli"

local TOKEN = "/var/run/secrets/kfhost/kfp/token"
local ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount/token"
local METADATA = "metadata-grpc-service.kubeflow:8080"

-- Where a path of this pod is: plain pods of the lab have theirs below $KFHOST_ROOT.
local function in_pod(path) return (os.getenv "KFHOST_ROOT" or "") .. path end

-- A client of the cluster that this pod is in, made when it is needed; nil elsewhere.
local function cluster()
  local made
  return function()
    if made == nil then
      local is_pod = os.getenv "KUBERNETES_SERVICE_HOST" and require "fs".exists(in_pod(ACCOUNT))
      local ok, client = pcall(function() return is_pod and require "kube".connect { log = function() end } end)
      made = ok and client or false
    end
    return made or nil
  end
end

return cli.main {
  name = "kale trial",
  summary = "Runs one trial: the pipeline with the trial's parameters, its metrics as lines.",
  description = "KFHOST_TRIAL says which pipeline and experiment, KFHOST_P_1, KFHOST_P_2, … are the parameters. Exit "
    .. "codes: 0 done, 1 the run failed, 2 usage, 3 refused, 4 no objective, 5 Pipelines was away too long, "
    .. "143 cancelled.",
  options = {
    { "--cancel", "end the trial's run instead" },
    { "--objective-wait TIME", "how long after the run's end its objective may still come; 30s" },
    { "--endpoint URL", "of the KFP API; KF_PIPELINES_ENDPOINT or the cluster without it" },
  },
  run = function(args)
    local trial = require "kale.trial"
    local spec = trial.read(os.getenv)
    local token = require "fs".exists(in_pod(TOKEN)) and in_pod(TOKEN) or nil
    local k = require "kfp".connect { endpoint = args.endpoint, namespace = spec.namespace, token_file = token,
      tries = 1 }
    local kube, memory = cluster(), ("%s/kfhost-%s.uid"):format(os.getenv "TMPDIR" or "/tmp", spec.trial)
    if args.cancel then return trial.cancel(k, trial.recall(spec, kube(), memory)) end
    return trial.run(k, spec, io.stdout, { objective_wait = args.objective_wait, kube = kube, memory = memory,
      metadata = os.getenv "KUBERNETES_SERVICE_HOST" and METADATA or nil })
  end,
}(...)
