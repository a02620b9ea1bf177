-- What katib's functions and kfp.run say to what they cannot take: misuse for wrong arguments, error tables with a
-- place for what a file may hold.
local errors = require "errors"
local json = require "json"
local katib = require "katib"
local kfp = require "kfp"
local test = require "test"

local function experiment()
  return {
    metadata = { name = "demo", namespace = "team" },
    spec = {
      objective = { type = "maximize", goal = 0.9, objectiveMetricName = "acc", metricStrategies = { { name = "acc",
        value = "max" } } },
      algorithm = { algorithmName = "random", algorithmSettings = { { name = "random_state", value = "3" } } },
      earlyStopping = { algorithmName = "medianstop", algorithmSettings = { { name = "start_step", value = "2" } } },
      parallelTrialCount = 2, maxTrialCount = 6, maxFailedTrialCount = 2,
      parameters = {
        { name = "lr", parameterType = "double", feasibleSpace = { min = "0.01", max = "0.1", step = "0.01" } },
        { name = "layers", parameterType = "int", feasibleSpace = { min = "1", max = "5" } },
        { name = "kind", parameterType = "categorical", feasibleSpace = { list = { "a", "b" } } },
      },
      trialTemplate = { primaryContainerName = "main", retain = true, trialParameters = { { name = "x",
        reference = "lr" } }, trialSpec = { apiVersion = "batch/v1", kind = "Job", spec = { template = { spec = {
        restartPolicy = "Never", containers = { { name = "main", image = "x", command = { "sh", "-c",
        "${trialParameters.x}" } } } } } } } },
    },
  }
end

local function trials()
  return { { metadata = { name = "t" }, spec = { parameterAssignments = { { name = "lr", value = "0.02" } } },
    status = { conditions = { { type = "Succeeded", status = "True" } },
      observation = { metrics = { { name = "acc", latest = "0.5" } } } },
    history = { { name = "acc", value = "0.5" } } } }
end

local CALLS = {
  validate = function(given) katib.validate(given.experiment) end,
  render = function(given) katib.render(given.experiment, { trial = "t", assignments = { { name = "lr",
    value = "1" } } }) end,
  suggest = function(given) katib.suggest(given.experiment, given.trials, 2, { seed = 1 }) end,
  best = function(given) katib.best(given.experiment, given.trials) end,
  next = function(given) katib.next(given.experiment, given.trials) end,
  stop_rules = function(given) katib.stop_rules(given.experiment, given.trials) end,
}

local ODD = { 5, -1, 0 / 0, 1e308, "", "x", true, json.null, json.object {}, json.array { 1, 2 }, ("y"):rep(5000),
  "9223372036854775807" }

-- use(set): once for each member of a tree of tables; set(value) puts another value there, set() the old one back.
local function each_member(tree, use)
  for key, member in pairs(tree) do
    use(function(value)
      if value == nil then tree[key] = member else tree[key] = value end
    end)
    if type(member) == "table" then each_member(member, use) end
  end
end

for name, call in pairs(CALLS) do
  test("whatever stands in an experiment or a trial, it is taken or refused by an error table: " .. name, function()
    local given = { experiment = experiment(), trials = trials() }
    call(given)
    for _, part in ipairs { given.experiment, given.trials } do
      each_member(part, function(set)
        for _, value in ipairs(ODD) do
          set(value)
          local ok, problem = pcall(call, given)
          set()
          if not ok and not errors.is(problem) then error(problem, 0) end
        end
      end)
    end
  end)
end

test("wrong arguments are misuse, said at the caller's line", function()
  for _, case in ipairs {
    { function() return katib.best(nil, {}) end, "#1 to 'katib.best' (table expected, got no value)" },
    { function() return katib.next(experiment(), 5) end, "#2 to 'katib.next' (table expected, got number)" },
    { function() return katib.metrics({}, { "a" }) end, "#1 to 'katib.metrics' (string expected, got table)" },
    { function() return katib.metrics("a=1", { "a" }, { filters = 5 }) end, "#3 to 'katib.metrics'" },
    { function() return katib.suggest(experiment(), {}, -1) end, "#3 to 'katib.suggest' (count expected" },
    { function() return katib.condition(5, {}) end, "#1 to 'katib.condition' (string expected, got number)" },
    { function() return kfp.run(5) end, "#1 to 'kfp.run' (string expected, got number)" },
    { function() return kfp.connect "x" end, "#1 to 'kfp.connect' (table expected, got string)" },
  } do
    local ok, problem = pcall(function()
      local value = case[1]()
      return value
    end)
    test.equal(ok, false)
    assert(type(problem) == "string" and problem:find(case[2], 1, true), problem)
  end
end)

test("what lacks a part, or has another thing in its place, is named with its place", function()
  local given = experiment()
  given.spec.parameters[2].feasibleSpace = 5
  local problem = test.raises("Experiment", function() katib.suggest(given, {}, 1) end)
  test.same({ problem.path, problem.message }, { "spec.parameters[1].feasibleSpace", "an object is expected here" })
  problem = test.raises("Experiment", function() katib.best({ spec = {} }, {}) end)
  test.equal(problem.path, "spec.objective")
  problem = test.raises("Experiment", function() katib.next(experiment(), { { status = { conditions = 5 } } }) end)
  test.equal(problem.path, "trials[0].status.conditions")
end)

test("a grid of more values than anyone tries is refused before it is made", function()
  for _, space in ipairs {
    { { "int", "1", "9223372036854775807" } }, { { "double", "0", "1", "1e-300" } },
    { { "int", "1", "2000" }, { "int", "1", "2000" } }, { { "int", "-9223372036854775807", "9223372036854775807" } },
  } do
    local given = experiment()
    given.spec.algorithm = { algorithmName = "grid" }
    given.spec.parameters = {}
    for i, one in ipairs(space) do
      given.spec.parameters[i] = { name = "p" .. i, parameterType = one[1],
        feasibleSpace = { min = one[2], max = one[3], step = one[4] } }
    end
    test.raises("Space", function() katib.suggest(given, {}, 1) end)
  end
end)

test("a pipeline with another type than belongs there does not run, and the place is named", function()
  local function ir() return { schemaVersion = "2.1.0", pipelineInfo = { name = "p" }, root = { dag = { tasks = {
    a = { componentRef = { name = "comp" }, inputs = { parameters = {} } } } } }, components = { comp = {
    executorLabel = "exec" } }, deploymentSpec = { executors = { exec = { container = { image = "x" } } } } }
  end
  for path, change in pairs {
    ["$.root"] = function(given) given.root = 5 end,
    ["$.root.dag"] = function(given) given.root.dag = "x" end,
    ["$.root.dag.tasks.a.inputs.parameters"] = function(given) given.root.dag.tasks.a.inputs.parameters = 5 end,
    ["$.deploymentSpec.executors"] = function(given) given.deploymentSpec.executors = 5 end,
    ["$.root.dag.tasks.a"] = function(given) given.deploymentSpec.executors.exec.container.image = 5 end,
  } do
    local given = ir()
    change(given)
    local problem = test.raises("Pipeline", function() kfp.run(given, { root = test.tmpdir() .. "/r" }) end)
    test.equal(problem.path, path)
  end
end)
