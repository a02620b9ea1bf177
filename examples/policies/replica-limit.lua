-- Deployments have no more replicas than the site likes, however they are scaled.
local policy = require "policy"

policy.config { most = { type = "int", default = 10, doc = "replicas of one Deployment" } }

policy.validate {
  name = "replica-limit",
  match = { { resource = "deployments.apps" }, { resource = "deployments.apps/scale", operations = { "UPDATE" } } },
  check = function(req)
    local wanted, before = req.object.spec.replicas or 1, req.old and req.old.spec.replicas or 0
    if wanted > req.config.most and wanted > before then
      return req:deny("%d replicas are more than %d", wanted, req.config.most)
    end
  end,
}

local function deployment(replicas)
  return { apiVersion = "apps/v1", kind = "Deployment", metadata = { name = "web" }, spec = { replicas = replicas } }
end
local function scale(replicas)
  return { apiVersion = "autoscaling/v1", kind = "Scale", metadata = { name = "web" }, spec = { replicas = replicas } }
end

policy.test { name = "a few are fine", object = deployment(3), expect = { allowed = true } }
policy.test { name = "many are not", object = deployment(11), expect = { allowed = false, message = "11 replicas" } }
policy.test { name = "nor by kubectl scale", resource = "deployments.apps/scale", old = scale(3), object = scale(11),
  expect = { allowed = false } }
policy.test { name = "fewer of too many are fine", old = deployment(20), object = deployment(15),
  expect = { allowed = true } }
