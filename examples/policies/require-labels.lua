-- Every workload says whose it is; one that never did so may still be changed, or it could not even be deleted.
local policy = require "policy"

policy.config { labels = { type = "list", default = { "owner" }, doc = "labels that must be there" } }

local function labels_of(object)
  return object and object.metadata.labels or {}
end

policy.validate {
  name = "require-labels",
  match = { resource = "deployments.apps | jobs.batch | notebooks.kubeflow.org" },
  check = function(req)
    local labels, before = labels_of(req.object), labels_of(req.old)
    for _, label in ipairs(req.config.labels) do
      local never_had_it = req.operation == "UPDATE" and not before[label]
      if (labels[label] or "") == "" and not never_had_it then return req:deny("the label %s is missing", label) end
    end
  end,
}

local function job(labels)
  return { apiVersion = "batch/v1", kind = "Job", metadata = { name = "j", labels = labels }, spec = {} }
end

policy.test { name = "a job with its label passes", object = job { owner = "ann" }, expect = { allowed = true } }
policy.test { name = "one without is refused", object = job(), expect = { allowed = false, message = "label owner" } }
policy.test { name = "nobody takes the label off", old = job { owner = "ann" }, object = job(),
  expect = { allowed = false, message = "label owner" } }
policy.test { name = "one that never had it may be changed", old = job(), object = job { other = "x" },
  expect = { allowed = true } }
policy.test { name = "a site asks for more", object = job { owner = "ann" }, config = { labels = { "owner", "cost" } },
  expect = { allowed = false, message = "label cost" } }
