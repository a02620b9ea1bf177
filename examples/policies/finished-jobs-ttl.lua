-- Finished jobs and workflows (runs of pipelines) go after a time, also those whose authors forgot to say so.
local policy = require "policy"

policy.config { seconds = { type = "int", default = 86400, doc = "how long a finished one stays" } }

policy.mutate {
  name = "finished-jobs-ttl",
  match = { resource = "jobs.batch", operations = { "CREATE" } },
  apply = function(req)
    local spec = req.object.spec
    if spec.ttlSecondsAfterFinished == nil then spec.ttlSecondsAfterFinished = req.config.seconds end
  end,
}

policy.mutate {
  name = "finished-runs-ttl",
  match = { resource = "workflows.argoproj.io", operations = { "CREATE" } },
  apply = function(req)
    local spec = req.object.spec
    if spec.ttlStrategy == nil then spec.ttlStrategy = { secondsAfterCompletion = req.config.seconds } end
  end,
}

local function job(seconds)
  return { apiVersion = "batch/v1", kind = "Job", metadata = { name = "j" },
    spec = { ttlSecondsAfterFinished = seconds } }
end
local function workflow(strategy)
  return { apiVersion = "argoproj.io/v1alpha1", kind = "Workflow", metadata = { generateName = "run-" },
    spec = { entrypoint = "main", ttlStrategy = strategy } }
end

policy.test { name = "a day by default", object = job(), expect = { object = { spec = {
  ttlSecondsAfterFinished = 86400 } } } }
policy.test { name = "what was said stays", object = job(60), expect = { patch = {} } }
policy.test { name = "a run as well", object = workflow(), config = { seconds = 600 },
  expect = { object = { spec = { ttlStrategy = { secondsAfterCompletion = 600 } } } } }
policy.test { name = "what was said of a run stays", object = workflow { secondsAfterSuccess = 60 },
  expect = { patch = {} } }
