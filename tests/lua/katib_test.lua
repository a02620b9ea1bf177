-- katib's pure functions: what only we find, rendering, conditions, metrics, what comes next.
local json = require "json"
local katib = require "katib"
local test = require "test"

-- An experiment without a fault; change edits it.
local function experiment(change)
  local object = {
    apiVersion = "kubeflow.org/v1beta1", kind = "Experiment", metadata = { name = "demo", namespace = "team" },
    spec = {
      objective = { type = "maximize", objectiveMetricName = "accuracy" },
      algorithm = { algorithmName = "random" },
      parallelTrialCount = 2, maxTrialCount = 6, maxFailedTrialCount = 2,
      parameters = {
        { name = "lr", parameterType = "double", feasibleSpace = { min = "0.01", max = "0.1" } },
        { name = "layers", parameterType = "int", feasibleSpace = { min = "2", max = "5" } },
      },
      trialTemplate = {
        primaryContainerName = "main",
        trialParameters = {
          { name = "rate", reference = "lr" }, { name = "depth", reference = "layers" },
        },
        trialSpec = {
          apiVersion = "batch/v1", kind = "Job",
          spec = { backoffLimit = 0, template = { spec = { restartPolicy = "Never", containers = { {
            name = "main", image = "python:3.11",
            command = { "python3", "t.py", "--lr=${trialParameters.rate}", "${trialParameters.depth}" },
          } } } } },
        },
      },
    },
  }
  if change then change(object.spec, object, object.spec.trialTemplate) end
  return object
end

local function main(template)
  return template.trialSpec.spec.template.spec.containers[1]
end

-- --- what only we find --------------------------------------------------------------------------------

test("an experiment without a fault has no findings", function()
  test.same(katib.validate(experiment()), {})
end)

-- By sentence: the change, the path of the finding, a piece of its message, options.
local FINDINGS = {
  ["a misspelt field"] = {
    function(spec) spec.maxTrailCount = 3 end, "spec.maxTrailCount", "did you mean maxTrialCount",
  },
  ["a misspelt field deep inside"] = {
    function(spec) spec.parameters[1].feasibleSpace.maximum = "1" end, "spec.parameters[0].feasibleSpace.maximum",
    "did you mean max?",
  },
  ["a member beside the spec"] = { function(_, object) object.extra = 1 end, "extra", "no such field" },
  ["a name with a dot"] = { function(_, object) object.metadata.name = "a.b" end, "metadata.name", "no DNS label" },
  ["a name that ends in a dash"] = {
    function(_, object) object.metadata.name = "a-" end, "metadata.name", "DNS label",
  },
  ["a name too long for pbt"] = { function(spec, object)
    object.metadata.name = ("a"):rep(27)
    spec.algorithm.algorithmName = "pbt"
  end, "metadata.name", "26" },
  ["bounds the wrong way round"] = {
    function(spec) spec.parameters[1].feasibleSpace = { min = "2", max = "1" } end, "spec.parameters[0].feasibleSpace",
    "above its max",
  },
  ["a bound that is no number"] = {
    function(spec) spec.parameters[1].feasibleSpace.min = "low" end, "spec.parameters[0].feasibleSpace", "no number",
  },
  ["a bound of an int that is none"] = {
    function(spec) spec.parameters[2].feasibleSpace.min = "1.5" end, "spec.parameters[1].feasibleSpace.min", "no int",
  },
  ["a logarithmic scale from zero"] = { function(spec)
    spec.parameters[1].feasibleSpace = { min = "0", max = "1", distribution = "logUniform" }
  end, "spec.parameters[0].feasibleSpace", "logarithmic" },
  ["a step of zero"] = {
    function(spec) spec.parameters[1].feasibleSpace.step = "0" end, "spec.parameters[0].feasibleSpace", "step of 0",
  },
  ["a step wider than the range"] = {
    function(spec) spec.parameters[1].feasibleSpace.step = "1" end, "spec.parameters[0].feasibleSpace.step", "wider",
  },
  ["an empty list"] = { function(spec)
    spec.parameters[1] = { name = "lr", parameterType = "categorical", feasibleSpace = { list = json.array {} } }
  end, "spec.parameters[0].feasibleSpace", "empty list" },
  ["a choice with a quote"] = { function(spec)
    spec.parameters[1] = { name = "lr", parameterType = "categorical", feasibleSpace = { list = { 'a"b', "c" } } }
  end, "spec.parameters[0].feasibleSpace.list[0]", "breaks" },
  ["a choice with a placeholder"] = { function(spec)
    local list = { "${trialParameters.depth}" }
    spec.parameters[1] = { name = "lr", parameterType = "categorical", feasibleSpace = { list = list } }
  end, "spec.parameters[0].feasibleSpace.list[0]", "placeholder" },
  ["a discrete choice that is no number"] = { function(spec)
    spec.parameters[1] = { name = "lr", parameterType = "discrete", feasibleSpace = { list = { "1", "x" } } }
  end, "spec.parameters[0].feasibleSpace.list[1]", "no number" },
  ["a parameter that is there twice"] = {
    function(spec) spec.parameters[3] = spec.parameters[1] end, "spec.parameters[2].name", "twice",
  },
  ["a parameter that nothing refers to"] = { function(spec)
    spec.parameters[3] = { name = "x", parameterType = "int", feasibleSpace = { min = "1", max = "2" } }
  end, "spec.parameters[2].name", "no trial parameter" },
  ["a grid without an end"] = { function(spec)
    spec.algorithm.algorithmName, spec.maxTrialCount = "grid", nil
    spec.parameters[1].feasibleSpace.step = "0.01"
  end, "spec.maxTrialCount", "for ever" },
  ["a grid smaller than the trials"] = { function(spec)
    spec.algorithm.algorithmName, spec.maxTrialCount = "grid", 100
    spec.parameters[1].feasibleSpace.step = "0.05"
  end, "spec.algorithm", "Max Trial Count: 100 > all possible search combinations: 8" },
  ["a setting that the service refuses"] = { function(spec)
    spec.algorithm.algorithmSettings = { { name = "bogus", value = "1" } }
  end, "spec.algorithm", "unknown setting bogus" },
  ["too few trials at once for hyperband"] = { function(spec)
    spec.algorithm = { algorithmName = "hyperband", algorithmSettings = {
      { name = "r_l", value = "9" }, { name = "resource_name", value = "layers" },
    } }
  end, "spec.algorithm", "parallelTrialCount must be not less than 9" },
  ["a primary container that is not there"] = {
    function(_, _, template) template.primaryContainerName = "training" end,
    "spec.trialTemplate.trialSpec.spec.template.spec.containers", 'no container "training"',
  },
  ["a kind that is not allowed"] = { function(_, _, template)
    template.trialSpec.apiVersion = "batch/v2"
  end, "spec.trialTemplate.trialSpec.kind", "does not allow Job.v2.batch" },
  ["an argument whose quoting is lost"] = { function(_, _, template)
    main(template).args = { "it's" }
  end, "spec.trialTemplate.trialSpec.spec.template.spec.containers[0]", "quoting is lost" },
  ["a command that is only a shell"] = { function(_, _, template)
    main(template).command = { "sh" }
    main(template).args = nil
    template.trialParameters[1].name, template.trialParameters[2].name = "rate", "depth"
    main(template).env = {
      { name = "A", value = "${trialParameters.rate}" }, { name = "B", value = "${trialParameters.depth}" },
    }
  end, "spec.trialTemplate.trialSpec.spec.template.spec.containers[0].command", "only a shell" },
  ["a shell by its path"] = { function(_, _, template)
    main(template).command = { "/bin/sh", "-c", "t ${trialParameters.rate} ${trialParameters.depth}" }
  end, "spec.trialTemplate.trialSpec.spec.template.spec.containers[0].command", "runs within sh" },
  ["six retries"] = { function(_, _, template)
    template.trialSpec.spec.backoffLimit = nil
  end, "spec.trialTemplate.trialSpec.spec.backoffLimit", "minutes" },
  ["early stopping that gets stuck"] = { function(spec)
    spec.earlyStopping = { algorithmName = "medianstop" }
  end, "spec.trialTemplate.retain", "must be true" },
  ["a metric that the filter never finds"] = { function(spec)
    spec.objective.objectiveMetricName = "val/accuracy"
  end, "spec.objective", "metricsFormat" },
  ["a filter with one group"] = { function(spec)
    spec.metricsCollectorSpec = {
      collector = { kind = "File" }, source = { filter = { metricsFormat = { "(?:a)=(x)(?:y)" } } },
    }
  end, "spec.metricsCollectorSpec.source.filter.metricsFormat[0]", "has 1" },
  ["a label without a key"] = { function(_, _, template)
    template.trialParameters[3] = { name = "l", reference = "${trialSpec.Labels}" }
    main(template).args = { "${trialParameters.l}" }
  end, "spec.trialTemplate.trialParameters[2].reference", "needs a key" },
  ["a name that another namespace uses"] = {
    function() end, "metadata.name", "namespace other has an experiment of this name",
    { others = { { metadata = { name = "demo", namespace = "other" } } } },
  },
  ["hyperband with more trials than its rounds have"] = {
    function(spec)
      spec.algorithm = { algorithmName = "hyperband", algorithmSettings = { { name = "r_l", value = "9" },
        { name = "resource_name", value = "layers" } } }
      spec.parallelTrialCount, spec.maxTrialCount = 9, 12
    end, "spec.maxTrialCount", "after 9 or 10 trials",
  },
  ["a namespace without collectors"] = {
    function() end, "metadata.namespace", "no collector", { namespace = { metadata = { name = "team" } } },
  },
}

for sentence, case in pairs(FINDINGS) do
  test("found, and let pass by the webhook: " .. sentence, function()
    local change, path, message, options = table.unpack(case)
    local findings = katib.validate(experiment(change), options)
    test.equal(katib.denial(findings), nil)
    for _, finding in ipairs(findings) do
      local is_it = finding.path == path and finding.message:find(message, 1, true)
      if is_it then return test.equal(finding.stage, "run") end
    end
    error("not found among " .. json.encode(findings))
  end)
end

-- --- rendering -------------------------------------------------------------------------------------------

local ASSIGNMENTS = { { name = "lr", value = "0.05" }, { name = "layers", value = "3" } }

test("values, name and namespace are put into the template", function()
  local job = katib.render(experiment(), { trial = "demo-1", assignments = ASSIGNMENTS })
  test.same(job.spec.template.spec.containers[1].command, { "python3", "t.py", "--lr=0.05", "3" })
  test.same(job.metadata, { name = "demo-1", namespace = "team" })
end)

test("the trial's own name, namespace, kind, version, labels and annotations can be referred to", function()
  local object = experiment(function(_, _, template)
    template.trialSpec.metadata = { labels = { a = "x" }, annotations = { ["b/c"] = "y" } }
    local references = { "Name", "Namespace", "Kind", "APIVersion", "Labels[a]", "Annotations[b/c]" }
    for i, reference in ipairs(references) do
      template.trialParameters[#template.trialParameters + 1] = {
        name = "m" .. i, reference = ("${trialSpec.%s}"):format(reference),
      }
    end
    main(template).args = { "${trialParameters.m1} ${trialParameters.m2}",
      "${trialParameters.m3} ${trialParameters.m4} ${trialParameters.m5} ${trialParameters.m6}" }
  end)
  local job = katib.render(object, { trial = "demo-1", assignments = ASSIGNMENTS })
  test.same(main { trialSpec = job }.args, { "demo-1 team", "Job batch/v1 x y" })
  object.spec.trialTemplate.trialSpec.metadata.labels = nil
  test.raises("Template", function() katib.render(object, { trial = "demo-1", assignments = ASSIGNMENTS }) end)
end)

test("a template in a ConfigMap may be YAML", function()
  local object = experiment(function(_, _, template)
    template.trialSpec = nil
    template.configMap = { configMapName = "t", configMapNamespace = "kubeflow", templatePath = "job.yaml" }
  end)
  local text = "apiVersion: batch/v1\nkind: Job\nspec:\n  parallelism: ${trialParameters.depth}\n"
    .. "  x: ${trialParameters.rate}\n"
  local options = { trial = "d", assignments = ASSIGNMENTS, config_maps = { ["kubeflow/t"] = { ["job.yaml"] = text } } }
  test.same(katib.render(object, options).spec, { parallelism = 3, x = 0.05 })
  test.raises("Template", function() katib.render(object, { trial = "d", assignments = ASSIGNMENTS }) end)
end)

test("too many values, a missing one, and one that breaks the text are refused", function()
  local more = { ASSIGNMENTS[1], ASSIGNMENTS[2], { name = "x", value = "1" } }
  local quote = { { name = "lr", value = '"' }, ASSIGNMENTS[2] }
  for _, assignments in ipairs { more, { ASSIGNMENTS[1] }, quote } do
    test.raises("Template", function() katib.render(experiment(), { trial = "d", assignments = assignments }) end)
  end
end)

-- --- conditions --------------------------------------------------------------------------------------------

local JOB = { status = { succeeded = 1, conditions = {
  { type = "SuccessCriteriaMet", status = "True", reason = "CompletionsReached" },
  { type = "Complete", status = "True", reason = "CompletionsReached", message = "done" },
  { type = "Failed", status = "False" },
} } }

test("Katib's own conditions hold for what is complete", function()
  local holds, first = katib.condition('status.conditions.#(type=="Complete")#|#(status=="True")#', JOB)
  test.equal(holds, true)
  test.equal(first.message, "done")
  test.equal((katib.condition('status.conditions.#(type=="Failed")#|#(status=="True")#', JOB)), false)
  test.equal((katib.condition('status.conditions.#(type=="Failed")#|#(status=="True")#', {})), false)
end)

test("other conditions are read as GJSON reads them", function()
  for expression, want in pairs {
    ['status.conditions.#(type=="Complete")'] = true, ["status"] = true, ["status.succeeded"] = false,
    ['status.conditions.#(type=="Nothing")#'] = false, ['status.conditions.#(type%"Suc*")#'] = true,
    ["status.conditions.1"] = true, ["status.conditions.7"] = false, ["status.cond*.#.type"] = true,
    ["status.conditions.#(message)#"] = true, ["status.conditions.#(nothing)#"] = false,
    ['status.conditions.#(type!="Complete")#|#(status=="False")#'] = true, ["@this"] = true,
    ['status.conditions.@reverse.0'] = true, ['status.conditions.#(type=="Complete")#.reason'] = true,
  } do
    test.same({ expression, (katib.condition(expression, JOB)) }, { expression, want })
  end
  test.raises("Condition", function() katib.condition("{a,b}", JOB) end)
end)

-- --- metrics ---------------------------------------------------------------------------------------------

test("metrics are found by Katib's own filter, with the time that a line begins with", function()
  local found, unavailable = katib.metrics("2026-01-02T03:04:05.5Z accuracy=0.9 loss = 1e-3\n"
    .. "no time here: accuracy=0.95, f1=3\nnothing\n", { "accuracy", "loss" })
  test.equal(unavailable, false)
  test.same(found, {
    { name = "accuracy", value = "0.9", timestamp = "2026-01-02T03:04:05.5Z" },
    { name = "loss", value = "1e-3", timestamp = "2026-01-02T03:04:05.5Z" },
    { name = "accuracy", value = "0.95", timestamp = "0001-01-01T00:00:00Z" },
  })
end)

test("without the objective there is one entry that says so", function()
  local found, unavailable = katib.metrics("loss=1\n", { "accuracy", "loss" })
  test.equal(unavailable, true)
  test.same(found, { { name = "accuracy", value = "unavailable", timestamp = "0001-01-01T00:00:00Z" } })
end)

test("filters of one's own are used instead", function()
  local found = katib.metrics("{metric=val/acc, 0.5}\nval/acc=0.7\n", { "val/acc" },
    { filters = { [[{metric=([^,]+),\s*([\d.]+)}]] } })
  test.same(found, { { name = "val/acc", value = "0.5", timestamp = "0001-01-01T00:00:00Z" } })
  test.raises("Regex", function() katib.metrics("", { "a" }, { filters = { "(" } }) end)
  test.raises("Metrics", function() katib.metrics("", { "a" }, { filters = { "(a)=b" } }) end)
end)

test("JSON lines hold texts, and a time as text or number", function()
  local found = katib.metrics('{"acc":"0.5","timestamp":"2026-01-02T03:04:05+01:00"}\n'
    .. '{"acc":"0.6","loss":1,"timestamp":1767323045}\n\n{"acc":"0.7","timestamp":"yesterday"}\n', { "acc", "loss" },
    { format = "JSON" })
  test.same(found, {
    { name = "acc", value = "0.5", timestamp = "2026-01-02T03:04:05+01:00" },
    { name = "acc", value = "0.6", timestamp = "2026-01-02T03:04:05Z" },
    { name = "acc", value = "0.7", timestamp = "0001-01-01T00:00:00Z" },
  })
  test.raises("Metrics", function() katib.metrics("accuracy=1\n", { "accuracy" }, { format = "JSON" }) end)
end)

-- --- what comes next -----------------------------------------------------------------------------------------

local function step(states, change)
  local trials = {}
  for i, state in ipairs(states) do
    trials[i] = { name = "t" .. i, state = state, value = state == "Succeeded" and i or nil }
  end
  local s = katib.next(experiment(change), trials)
  return ("%s %s +%d -%d"):format(s.condition, s.reason, s.create, s.delete)
end

test("trials are created up to the parallel count and the maximum", function()
  test.equal(step {}, "Running ExperimentRunning +2 -0")
  test.equal(step { "Running" }, "Running ExperimentRunning +1 -0")
  test.equal(step { "Running", "Pending", "Running" }, "Running ExperimentRunning +0 -1")
  local five = { "Succeeded", "Succeeded", "Succeeded", "Succeeded", "Succeeded" }
  test.equal(step(five), "Running ExperimentRunning +1 -0")
end)

test("goal comes before failures, failures before the maximum", function()
  local function goal(spec) spec.objective.goal = 1 end
  test.equal(step({ "Failed", "Failed", "Succeeded" }, goal), "Succeeded ExperimentGoalReached +0 -0")
  test.equal(step { "Failed", "MetricsUnavailable" }, "Failed ExperimentFailed +0 -0")
  test.equal(step({ "Failed", "Succeeded", "EarlyStopped", "Killed" }, function(spec) spec.maxTrialCount = 4 end),
    "Succeeded ExperimentMaxTrialsReached +0 -0")
end)

test("the best trial is the one with the best value of its strategy", function()
  local trials = {
    { metadata = { name = "a" }, status = { observation = { metrics = {
      { name = "accuracy", min = "0.1", max = "0.9", latest = "0.2" } } } } },
    { metadata = { name = "b" }, status = { observation = { metrics = {
      { name = "accuracy", min = "0.3", max = "0.5", latest = "0.4" } } } } },
    { metadata = { name = "c" } },
  }
  test.equal(katib.best(experiment(), trials).name, "a")
  test.equal(katib.best(experiment(function(spec)
    spec.objective.metricStrategies = { { name = "accuracy", value = "latest" } }
  end), trials).name, "b")
  test.equal(katib.best(experiment(), { trials[3] }), nil)
end)

-- --- Jobs as their Go type reads them ---------------------------------------------------------------------------

local ROOT = { apiVersion = "batch/v1", kind = "Job", spec = { template = { spec = { containers = { {
  name = "c", image = "i", command = { "${trialParameters.x}" } } } } } } }

-- What the webhook says of a Job with a value at a path, in short; nil when it takes it.
local function judge_job(path, value)
  local job = json.decode(json.encode(ROOT))
  local at, last = job, nil
  for word in path:gmatch "[^/]+" do
    if last then
      at[last] = at[last] or (tonumber(word) and json.array {} or json.object {})
      at = at[last]
    end
    last = math.tointeger(tonumber(word)) or word
  end
  at[last] = value
  local findings = katib.validate({ metadata = { name = "e" }, spec = { parallelTrialCount = 1, maxTrialCount = 2,
    objective = { type = "maximize", objectiveMetricName = "a" }, algorithm = { algorithmName = "random" },
    parameters = { { name = "x", parameterType = "int", feasibleSpace = { min = "1", max = "2" } } },
    trialTemplate = { primaryContainerName = "c", trialParameters = { { name = "x", reference = "x" } },
      trialSpec = job } } }, { config_maps = {} })
  for _, finding in ipairs(findings) do
    if finding.stage == "webhook" then
      local text = finding.message:gsub(", converted template.*", ""):gsub("^.*spec.TrialTemplate: map.* to Job: ", "")
      return (text:gsub('^Invalid value: "": invalid spec.trialTemplate: unable to convert: ', ""))
    end
  end
end

-- Each of these was asked of the validator of Katib 0.19.0 itself.
test("a Job whose values Go cannot convert, or writes otherwise, is refused in the webhook's words", function()
  local CONTAINER = "spec/template/spec/containers/1/"
  local QUANTITY = "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
  for _, case in ipairs {
    { "metadata/labels", "text", "cannot restore map from string" },
    { "metadata/labels", json.object {}, "/metadata/labels - map[] to Job" },
    { "metadata/labels", json.object { a = 1 }, "cannot convert int64 to string" },
    { "metadata/labels", json.object { a = true }, "unrecognized type: string" },
    { "metadata/generation", 0, "/metadata/generation - 0 to Job" },
    { "metadata/generation", "5", "unrecognized type: int64" },
    { "metadata/creationTimestamp", "text",
      'parsing time "text" as "2006-01-02T15:04:05Z07:00": cannot parse "text" as "2006"' },
    { "metadata/creationTimestamp", 5, "json: cannot unmarshal number into Go value of type string" },
    { "spec/backoffLimit", 0 }, { "spec/backoffLimit", 2.0 },
    { "spec/backoffLimit", 1.5, "cannot convert float64 to int32" },
    { "spec/backoffLimit", "2", "unrecognized type: int32" },
    { "spec/backoffLimit", 5000000000, "/spec/backoffLimit - 5e+09 to Job" },
    { "spec/suspend", false }, { "spec/suspend", json.null, "/spec/suspend - <nil> to Job" },
    { "spec/selector", json.array {}, "cannot restore struct from: slice" },
    { "spec/bogus", 1000000, "/spec/bogus - 1e+06 to Job" },
    { CONTAINER .. "args", json.array {}, "/spec/template/spec/containers/0/args - [] to Job" },
    { CONTAINER .. "args", json.object {}, "cannot restore slice from map" },
    { CONTAINER .. "tty", false, "/spec/template/spec/containers/0/tty - false to Job" },
    { CONTAINER .. "tty", 1, "unrecognized type: bool" },
    { CONTAINER .. "image", "", "/spec/template/spec/containers/0/image -  to Job" },
    { CONTAINER .. "resources/limits/cpu", 0.5 }, { CONTAINER .. "resources/limits/cpu", "0.1" },
    { CONTAINER .. "resources/limits/cpu", "much", QUANTITY }, { CONTAINER .. "resources/limits/cpu", true, QUANTITY },
    { CONTAINER .. "livenessProbe/httpGet/port", "web" },
    { CONTAINER .. "livenessProbe/httpGet/port", 1.5, "json: cannot unmarshal number 1.5 into Go value of type int32" },
    { CONTAINER .. "livenessProbe/httpGet/port", true, "json: cannot unmarshal bool into Go value of type int32" },
    { "spec/template/spec/hostNetwork", false, "/spec/template/spec/hostNetwork - false to Job" },
    { "spec/template/spec/shareProcessNamespace", false },
    { "spec/template/spec/volumes", json.array { { name = "v", emptyDir = { sizeLimit = 1 } } },
      "/spec/template/spec/volumes/0/emptyDir/sizeLimit - 1 to Job" },
  } do
    local said = judge_job(case[1], case[2])
    if said ~= case[3] then error(("%s: %s, not %s"):format(case[1], said, case[3]), 0) end
  end
end)

test("settings and parameters without a name are refused, and nothing breaks", function()
  local whole = { metadata = { name = "e" }, spec = { objective = { type = "maximize", objectiveMetricName = "a" },
    algorithm = { algorithmName = "random", algorithmSettings = { { value = "1" } } },
    parameters = { { parameterType = "int", feasibleSpace = { min = "1", max = "2" } } },
    trialTemplate = { primaryContainerName = "c", trialParameters = { { name = "x", reference = "x" } },
      trialSpec = ROOT } } }
  test.equal(#katib.validate(whole) > 0, true)
end)

test("what is not at hand is a warning: kinds of a site's own, a template in a ConfigMap", function()
  local function severities(change, options)
    local given = { metadata = { name = "e" }, spec = { parallelTrialCount = 1, maxTrialCount = 2,
      objective = { type = "maximize", objectiveMetricName = "a" }, algorithm = { algorithmName = "random" },
      parameters = { { name = "x", parameterType = "int", feasibleSpace = { min = "1", max = "2" } } },
      trialTemplate = { primaryContainerName = "c", trialParameters = { { name = "x", reference = "x" } },
        successCondition = "s", failureCondition = "f" } } }
    change(given.spec.trialTemplate)
    local list = {}
    for _, finding in ipairs(katib.validate(given, options)) do
      list[#list + 1] = finding.severity .. " " .. finding.path
    end
    return list
  end
  local function workflow(template)
    template.trialSpec = { apiVersion = "argoproj.io/v1alpha1", kind = "Workflow",
      spec = { x = "${trialParameters.x}" } }
  end
  local KIND = " spec.trialTemplate.trialSpec.kind"
  test.same(severities(workflow), { "warning" .. KIND })
  test.same(severities(workflow, { config = { kinds = { "Job.v1.batch" } } }), { "error" .. KIND })
  local function mapped(template)
    template.configMap = { configMapName = "n", configMapNamespace = "s", templatePath = "p" }
  end
  test.same(severities(mapped), { "warning spec.trialTemplate.configMap" })
  test.same(severities(mapped, { config_maps = {} }), { "error spec.trialTemplate" })
end)

test("a log with carriage returns is read as Katib's collector reads it", function()
  test.same(katib.metrics("acc=0.5\r\n\r\nacc=0.75\r\n", { "acc" })[2].value, "0.75")
  test.equal(katib.metrics('{"acc":"1"}\r\n', { "acc" }, { format = "JSON" })[1].value, "1")
  test.raises("Metrics", function() katib.metrics('{"acc":"1"}\r\n\r\n', { "acc" }, { format = "JSON" }) end)
end)
