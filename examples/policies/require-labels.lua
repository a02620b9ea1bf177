-- Every workload says whose it is.
local policy = require "policy"

policy.config { labels = { type = "list", default = { "owner" }, doc = "labels that must be there" } }

policy.validate {
  name = "require-labels",
  match = { resource = "deployments.apps | jobs.batch | notebooks.kubeflow.org" },
  check = function(req)
    local labels = req.object.metadata.labels or {}
    for _, label in ipairs(req.config.labels) do
      if (labels[label] or "") == "" then return req:deny("the label %s is missing", label) end
    end
  end,
}

local function job(labels)
  return { apiVersion = "batch/v1", kind = "Job", metadata = { name = "j", labels = labels }, spec = {} }
end

policy.test { name = "a job with its label passes", object = job { owner = "ann" }, expect = { allowed = true } }
policy.test { name = "one without is refused", object = job(), expect = { allowed = false, message = "label owner" } }
policy.test { name = "a site asks for more", object = job { owner = "ann" }, config = { labels = { "owner", "cost" } },
  expect = { allowed = false, message = "label cost" } }
