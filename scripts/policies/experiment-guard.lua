-- experiment-guard: Katib experiments that would be accepted and then fail, or not be what was written.
--
-- Katib's resource definitions carry no schema: a misspelt field is dropped without a word, and its webhook lets
-- much through that goes wrong later. What katib.validate finds is said here: what cannot work is refused, what
-- may surprise is a warning (`refuse = false`: everything is a warning).
--
-- An update that leaves the spec as it is passes: finalizers and labels are no business of this policy.

local policy = require "policy"
local katib = require "katib"

policy.config {
  refuse = { type = "bool", default = true, doc = "refuse what cannot work; else only warn" },
  unique_names = { type = "bool", default = true,
    doc = "refuse a name that another namespace's experiment has: Katib mixes their trials up" },
  kinds = { type = "list", default = {}, doc = "trialResources of katib-config, where they are not the shipped ones" },
  suggestions = { type = "list", default = {}, doc = "algorithms of katib-config, where these are not the shipped" },
  collectors = { type = "list", default = {}, doc = "collectors of katib-config, where they are not the shipped ones" },
}

policy.grant { reads = { "experiments.kubeflow.org", "namespaces" } }

-- What the site says of katib-config; what it does not say is as shipped.
local function katib_config(config)
  local said = {}
  for _, field in ipairs { "kinds", "suggestions", "collectors" } do
    if #config[field] > 0 then said[field] = config[field] end
  end
  return said
end

local function is_same(a, b)
  local json = require "json"
  return json.encode(a or {}, { sort = true }) == json.encode(b or {}, { sort = true })
end

policy.validate {
  name = "experiment-guard",
  doc = "says what is wrong in an experiment before it runs",
  match = { resource = "experiments.kubeflow.org", operations = { "CREATE", "UPDATE" } },
  on_error = "allow",
  check = function(req)
    local experiment, config = req.object, req.config
    if req.operation == "UPDATE" and is_same(experiment.spec, req.old.spec) then return end
    local causes, texts = {}, {}
    for _, finding in ipairs(katib.validate(experiment, { old = req.old, config = katib_config(config),
      namespace = req:lookup("namespaces", nil, req.namespace),
      others = config.unique_names and req.operation == "CREATE"
        and req:find("experiments.kubeflow.org", { namespace = "*" }) or {} })) do
      if finding.severity == "error" and config.refuse then
        causes[#causes + 1] = { field = finding.path, reason = "FieldValueInvalid", message = finding.message }
        texts[#texts + 1] = ("%s: %s"):format(finding.path, finding.message)
      else
        req:warn("%s: %s", finding.path, finding.message)
      end
    end
    if #causes == 0 then return end
    return req:deny { message = table.concat(texts, "; "), code = 422, reason = "Invalid", causes = causes }
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

-- What Katib's own webhook lets through.

local function container_of(e)
  return e.spec.trialTemplate.trialSpec.spec.template.spec.containers[1]
end

local REFUSED = {
  ["a misspelt field, which would vanish"] = { "did you mean maxTrialCount", function(e)
    e.spec.maxTrailCount, e.spec.maxTrialCount = 3, nil
  end },
  ["a misspelt field of the job"] = { "backofLimit", function(e)
    e.spec.trialTemplate.trialSpec.spec.backofLimit = 0
  end },
  ["a name that is no label"] = { "is no DNS label", function(e) e.metadata.name = "a.b" end },
  ["a name that ends with a dash"] = { "is no DNS label", function(e) e.metadata.name = "a-" end },
  ["a name of 41 characters"] = { "metadata.name", function(e) e.metadata.name = ("a"):rep(41) end },
  ["a name of 27 characters with pbt"] = { "more than 26 characters", function(e)
    e.metadata.name = ("a"):rep(27)
    e.spec.algorithm = { algorithmName = "pbt", algorithmSettings = { { name = "suggestion_trial_dir", value = "/x" },
      { name = "n_population", value = "5" }, { name = "truncation_threshold", value = "0.2" } } }
  end },
  ["a primary container that is not there"] = { 'no container "other"', function(e)
    e.spec.trialTemplate.primaryContainerName = "other"
  end },
  ["a kind that is not allowed"] = { "does not allow Workflow", function(e)
    e.spec.trialTemplate.trialSpec.apiVersion, e.spec.trialTemplate.trialSpec.kind = "argoproj.io/v1alpha1", "Workflow"
  end },
  ["a grid without an end"] = { "begins anew for ever", function(e)
    e.spec.algorithm.algorithmName, e.spec.maxTrialCount, e.spec.maxFailedTrialCount = "grid", nil, nil
    e.spec.parameters[1].feasibleSpace.step = "0.1"
  end },
  ["bounds in the wrong order"] = { "feasibleSpace", function(e)
    e.spec.parameters[1].feasibleSpace = { min = "0.5", max = "0.1" }
  end },
  ["a shell that Katib does not know"] = { "known as a shell", function(e)
    container_of(e).command = { "/bin/sh", "-c", "python train.py --lr=${trialParameters.lr}" }
  end },
  ["a command that is only a shell"] = { "only a shell", function(e)
    local container = container_of(e)
    container.command, container.args = { "sh" }, nil
    container.env = { { name = "LR", value = "${trialParameters.lr}" } }
  end },
  ["a parameter that is there twice"] = { "is there twice", function(e)
    e.spec.parameters[2] = e.spec.parameters[1]
  end },
  ["a logarithmic scale down to nothing"] = { "feasibleSpace", function(e)
    e.spec.parameters[1].feasibleSpace = { min = "0", max = "1", distribution = "logUniform" }
  end },
}
for what, case in pairs(REFUSED) do
  policy.test { name = what .. " is refused", object = experiment(case[2]),
    expect = { allowed = false, code = 422, message = case[1] } }
end

policy.test { name = "quotes that a shell takes away are a warning", object = experiment(function(e)
  container_of(e).args = { "--lr=${trialParameters.lr}", "--title", "it's \"two words\"" }
end), expect = { allowed = true, warnings = "its quoting is lost" } }

policy.test { name = "a kind that the site allows passes", config = { kinds = { "Workflow.v1alpha1.argoproj.io" } },
  object = experiment(function(e)
    e.spec.trialTemplate = { primaryContainerName = "main", successCondition = 'status.phase=="Succeeded"',
      failureCondition = 'status.phase=="Failed"', trialParameters = e.spec.trialTemplate.trialParameters,
      primaryPodLabels = { main = "true" }, trialSpec = { apiVersion = "argoproj.io/v1alpha1", kind = "Workflow",
        spec = { arguments = "${trialParameters.lr}" } } }
  end), expect = { allowed = true } }

policy.test { name = "a namespace without the collector's label is told", expect = { allowed = false,
  message = "metrics%-collector%-injection=enabled" }, object = experiment(function() end),
  objects = { { apiVersion = "v1", kind = "Namespace", metadata = { name = "team-a", labels = {} } } } }

policy.test { name = "what is only to be said is a warning", config = { refuse = false },
  object = experiment(function(e) e.spec.maxTrailCount = 3 end),
  expect = { allowed = true, warnings = "would vanish" } }

policy.test { name = "an update that leaves the spec alone passes, whatever it is", expect = { allowed = true },
  old = experiment(function(e) e.spec.maxTrailCount = 3 end), object = experiment(function(e)
    e.spec.maxTrailCount, e.metadata.labels = 3, { a = "b" }
  end) }
