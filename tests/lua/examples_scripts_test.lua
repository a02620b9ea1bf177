-- The scripts of examples/scripts: each runs and says what it should.
local fs = require "fs"
local host = require "host"
local proc = require "proc"
local test = require "test"

local function run(name, ...)
  local result = proc.run({ host.executable(), "examples/scripts/" .. name .. ".lua", ... }, { check = false })
  return result.stdout, result
end

test("an experiment is checked", function()
  local path = test.tmpdir() .. "/experiment.yaml"
  fs.write(path, [[
metadata: {name: demo}
spec:
  objective: {type: best, objectiveMetricName: accuracy}
  maxTrailCount: 3
]])
  local said = run("check-experiment", path)
  assert(said:find('refused  spec.objective.type: Invalid value: "best"', 1, true), said)
  assert(said:find("did you mean maxTrialCount", 1, true), said)
end)

test("who may call is told with its reason", function()
  local said = run("who-may-call", "tests/fixtures/kubeflow-manifests/pipelines-istio.yaml", "kubeflow",
    "app=ml-pipeline")
  assert(said:find("a pod without a sidecar    may: stage allow, policy kubeflow/ml-pipeline, rule 2", 1, true), said)
  assert(said:find("the same, naming a user    may not: .- because of source.principals"), said)
end)

test("a function is tuned", function()
  local said = run("tune-a-function", "tpe", "24")
  local loss = tonumber(said:match "of 24: loss ([%d.]+)")
  assert(loss and loss < 1 and said:find("kernel = cubic", 1, true), said)
end)

test("a server that is not there is diagnosed", function()
  local said = run("failed-runs", "http://127.0.0.1:1")
  assert(said:find("server     Failed to connect to 127.0.0.1 port 1", 1, true), said)
  assert(said:find("nothing listens there", 1, true), said)
end)
