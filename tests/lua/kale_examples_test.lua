local fs = require "fs"
local host = require "host"
local plan = require "kale.plan"
local proc = require "proc"
local test = require "test"

local FOLDER = "examples/notebooks"
local PYTHON = "/usr/bin/python3"

local function steps_of(name)
  local made = plan.read(fs.join(FOLDER, name .. ".ipynb"))
  local by_name, errors = {}, 0
  for _, step in ipairs(made.steps) do by_name[step.name] = step end
  for _, d in ipairs(made.diagnostics) do
    if d.severity == "error" then errors = errors + 1 end
  end
  return made, by_name, errors
end

test("the passengers are those that their script makes", function()
  local made = proc.run { PYTHON, fs.join(FOLDER, "make_passengers.py") }
  test.equal(made.code, 0)
  test.equal(fs.read(fs.join(FOLDER, "passengers.csv")), made.stdout)
end)

test("the study of passengers has thirteen steps, five models side by side, and one that joins them", function()
  local made, steps, errors = steps_of "survival"
  test.equal(errors, 0)
  test.equal(#made.steps, 13)
  local models = { "decision_tree", "logistic_regression", "naive_bayes", "random_forest", "support_vectors" }
  for _, name in ipairs(models) do test.same(steps[name].prev, { "split" }) end
  test.same(steps.results.after, models)
  test.same(made.metrics, { "best_accuracy", "mean_accuracy", "never_right" })
end)

test("what is to be tuned are parameters, and the objective is a metric", function()
  local made = steps_of "tuning"
  local katib, params, metrics = made.metadata.katib_metadata, {}, {}
  for _, parameter in ipairs(made.params) do params[parameter.name] = parameter.type end
  for _, name in ipairs(made.metrics) do metrics[name] = true end
  for _, parameter in ipairs(katib.parameters) do
    test.equal(params[parameter.name], parameter.parameterType == "int" and "int" or "float")
  end
  assert(metrics[katib.objective.objectiveMetricName])
end)

test("every notebook but the messy one is without errors", function()
  for _, name in ipairs(fs.list(FOLDER)) do
    local stem = name:match "^(.*)%.ipynb$"
    if stem and stem ~= "messy" then
      local _, _, errors = steps_of(stem)
      test.same({ stem, errors }, { stem, 0 })
    end
  end
end)

test("a KFP server has nothing against what becomes of them", function()
  local ir, kfp = require "kale.ir", require "kfp"
  for _, name in ipairs(fs.list(FOLDER)) do
    local stem = name:match "^(.*)%.ipynb$"
    if stem and stem ~= "messy" then
      test.same({ stem, kfp.validate(ir.encode(ir.build((steps_of(stem))))) }, { stem, {} })
    end
  end
end)

test("check says of the messy notebook everything that is wrong with it", function()
  local result = proc.run { host.executable(), "kale", "check", fs.join(FOLDER, "messy.ipynb"), "--python",
    "/nowhere/python3" }
  test.equal(result.code, 1)
  test.golden("kale-check-messy.txt", result.stdout)
end)

test("tuning ends with its metrics, and another rate with others", function()
  local runs = test.tmpdir()
  local function loss(...)
    local result = proc.run { host.executable(), "kale", "run", fs.join(FOLDER, "tuning.ipynb"), "--json",
      "--runs", runs, "--python", PYTHON, "-p", "epochs=5", ... }
    local said = require "json".decode(result.stdout)
    test.equal(said.state, "succeeded")
    return said.metrics.validation_loss
  end
  assert(loss() ~= loss("-p", "learning_rate=0.2"))
end)

test("two notebooks are parts of a third, which overrides a parameter", function()
  local runs = test.tmpdir()
  local result = proc.run { host.executable(), "kale", "run", fs.join(FOLDER, "quarter.ipynb"), "--json",
    "--runs", runs, "--python", PYTHON }
  local said = require "json".decode(result.stdout)
  test.equal(said.state, "succeeded")
  test.equal(#said.steps, 10)
  test.equal(("%.2f"):format(said.metrics.total), "35.70")
end)
