-- Pipelines that a script builds.
local build = require "kfp.build"
local kfp = require "kfp"
local test = require "test"

local function two_steps()
  local p = build.pipeline("Two Steps", { parameters = { rate = 0.1, rounds = 3 } })
  local made = p:task("make it", {
    image = "python:3.11", command = { "sh", "-c", "echo" }, inputs = { rate = p:parameter "rate", extra = "x" },
    outputs = { data = "Dataset", score = "NUMBER_DOUBLE" }, env = { A = 1 }, retries = 2,
  })
  p:task("use", {
    image = "python:3.11", command = { "cat" }, inputs = { data = made.data, score = made.score }, cache = false,
  })
  p:task("clean", { image = "python:3.11", command = { "true" }, after = { "use" }, exit = true })
  return p
end

test("a built pipeline is one that a server takes, without a warning", function()
  test.same(kfp.validate(two_steps():ir(), { parameters = {} }), {})
end)

test("inputs, outputs, order and types are written down", function()
  local ir = two_steps():ir()
  test.equal(ir.pipelineInfo.name, "two-steps")
  test.same(ir.root.inputDefinitions.parameters, {
    rate = { parameterType = "NUMBER_DOUBLE", defaultValue = 0.1 },
    rounds = { parameterType = "NUMBER_INTEGER", defaultValue = 3 },
  })
  local use = ir.root.dag.tasks.use
  test.same(use.dependentTasks, { "make-it" })
  test.same(use.inputs.artifacts.data, { taskOutputArtifact = { producerTask = "make-it",
    outputArtifactKey = "data" } })
  test.same(ir.root.dag.tasks["make-it"].inputs.parameters, {
    rate = { componentInputParameter = "rate" }, extra = { runtimeValue = { constant = "x" } },
  })
  test.equal(ir.root.dag.tasks.clean.triggerPolicy.strategy, "ALL_UPSTREAM_TASKS_COMPLETED")
  test.same(ir.deploymentSpec.executors["exec-make-it"].container.env, { { name = "A", value = "1" } })
end)

test("what cannot be is refused where it is said", function()
  local p = two_steps()
  for _, wrong in ipairs {
    function() p:task("use", { image = "x" }) end, function() p:task("new", {}) end,
    function() p:parameter "nobody" end, function() p:task("new", { image = "x", outputs = { a = "Thing" } }) end,
    function() p:task("new", { image = "x", inputs = { a = print } }) end, function() build.pipeline "…" end,
    function()
      local q = two_steps()
      q:task("late", { image = "x", after = { "nobody" } })
      q:ir()
    end, function() build.pipeline("empty"):ir() end,
  } do
    test.raises("Pipeline", wrong)
  end
end)
