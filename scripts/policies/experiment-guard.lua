-- experiment-guard: Katib experiments that would be accepted and then fail, or not be what was written.
--
-- Katib's resource definitions carry no schema: a misspelt field is dropped without a word, and its webhook lets
-- much through that goes wrong later. What katib.validate finds is said here: what cannot work is refused, what
-- may surprise is a warning.

local policy = require "policy"
local katib = require "katib"

policy.config {
  unique_names = { type = "bool", default = true,
    doc = "refuse a name that another namespace's experiment has: Katib mixes their trials up" },
}

policy.grant { reads = { "experiments.kubeflow.org" } }

local function twin_of(req)
  for _, other in ipairs(req:find("experiments.kubeflow.org", { namespace = "*" })) do
    if other.metadata.name == req.name and other.metadata.namespace ~= req.namespace then
      return other.metadata.namespace
    end
  end
  return nil
end

policy.validate {
  name = "experiment-guard",
  doc = "says what is wrong in an experiment before it runs",
  match = { resource = "experiments.kubeflow.org", operations = { "CREATE", "UPDATE" } },
  on_error = "allow",
  check = function(req)
    local causes, texts = {}, {}
    for _, finding in ipairs(katib.validate(req.object)) do
      if finding.severity == "error" then
        causes[#causes + 1] = { field = finding.path, reason = "FieldValueInvalid", message = finding.message }
        texts[#texts + 1] = ("%s: %s"):format(finding.path, finding.message)
      else
        req:warn("%s: %s", finding.path, finding.message)
      end
    end
    if #causes > 0 then
      return req:deny { message = table.concat(texts, "; "), code = 422, reason = "Invalid", causes = causes }
    end
    local twin = req.config.unique_names and req.operation == "CREATE" and twin_of(req)
    if twin then
      return req:deny("namespace %s has an experiment of this name, and Katib tells trials by the name alone: "
        .. "choose another one", twin)
    end
  end,
}

-- --- tests ----------------------------------------------------------------------------------------------------

local function experiment(change)
  local object = { apiVersion = "kubeflow.org/v1beta1", kind = "Experiment",
    metadata = { name = "tune", namespace = "team-a" },
    spec = { objective = { type = "maximize", objectiveMetricName = "accuracy" },
      algorithm = { algorithmName = "random" }, parallelTrialCount = 1, maxTrialCount = 2, maxFailedTrialCount = 1,
      parameters = { { name = "lr", parameterType = "double", feasibleSpace = { min = "0.1", max = "0.5" } } },
      trialTemplate = { primaryContainerName = "main", trialParameters = { { name = "lr", reference = "lr" } },
        trialSpec = { apiVersion = "batch/v1", kind = "Job", spec = { template = { spec = { restartPolicy = "Never",
          containers = { { name = "main", image = "python", command = { "python", "train.py" },
            args = { "--lr=${trialParameters.lr}" } } } } } } } } } }
  change(object)
  return object
end

policy.test { name = "a sound experiment passes", object = experiment(function() end), expect = { allowed = true } }

policy.test { name = "a missing algorithm is refused with its path",
  object = experiment(function(e) e.spec.algorithm = nil end),
  expect = { allowed = false, code = 422, message = "spec.algorithm" } }

policy.test { name = "a name that another namespace has is refused", object = experiment(function() end),
  objects = { experiment(function(e) e.metadata.namespace = "team-b" end) },
  expect = { allowed = false, message = "namespace team%-b has an experiment of this name" } }

policy.test { name = "its own name is no twin", object = experiment(function() end),
  objects = { experiment(function() end) }, expect = { allowed = true } }
