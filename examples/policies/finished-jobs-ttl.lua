-- Finished jobs go after a time, also those whose authors forgot to say so.
local policy = require "policy"

policy.config { seconds = { type = "int", default = 86400, doc = "how long a finished job stays" } }

policy.mutate {
  name = "finished-jobs-ttl",
  match = { resource = "jobs.batch", operations = { "CREATE" } },
  apply = function(req)
    local spec = req.object.spec
    if spec.ttlSecondsAfterFinished == nil then spec.ttlSecondsAfterFinished = req.config.seconds end
  end,
}

local function job(seconds)
  return { apiVersion = "batch/v1", kind = "Job", metadata = { name = "j" },
    spec = { ttlSecondsAfterFinished = seconds } }
end

policy.test { name = "a day by default", object = job(), expect = { object = { spec = {
  ttlSecondsAfterFinished = 86400 } } } }
policy.test { name = "what was said stays", object = job(60), expect = { patch = {} } }
