-- The ways of trial-sidecar through a whole Katib and a mesh that wants mutual TLS of Pipelines' callers: the training
-- asks Pipelines, its metric is collected, its pod and its job end.
local test = require "test"
local demo = require "lab.demo"
local proc = require "proc"
local stage = require "lab.demo.stage"

local PLACE <const> = "team-a"
local P2 = demo.scene "P2"

-- Asks Pipelines, says so in the termination message, prints (or pushes) the metric, ends as it is told.
local PROGRAM <const> = [[
local answer, problem = require("http").try.request {
  url = "http://ml-pipeline.kubeflow.svc.cluster.local:8888/apis/v2beta1/healthz", timeout = 20,
}
local root = os.getenv "KFHOST_ROOT" or ""
local log = assert(io.open(root .. "/dev/termination-log", "w"))
log:write("Pipelines: " .. (answer and answer.status or problem.message)):close()
if os.getenv "PUSH" == "1" then
  require "katib.database".connect("katib-db-manager.kubeflow:6789", { proxy = os.getenv "http_proxy" })
    :report(os.getenv "KATIB_TRIAL_NAME", { { name = "accuracy", value = "0.9", timestamp = "2026-01-01T00:00:00Z" } })
end
print "accuracy=0.9"
os.exit(tonumber(os.getenv "CODE"))
]]

local function experiment(case)
  return { apiVersion = "kubeflow.org/v1beta1", kind = "Experiment", metadata = { name = "tune", namespace = PLACE },
    spec = { objective = { type = "maximize", objectiveMetricName = "accuracy" }, parallelTrialCount = 1,
      maxTrialCount = 1, maxFailedTrialCount = 0, algorithm = { algorithmName = "random" },
      metricsCollectorSpec = case.push and { collector = { kind = "Push" } } or nil,
      parameters = { { name = "lr", parameterType = "double", feasibleSpace = { min = "0.1", max = "0.2" } } },
      trialTemplate = { primaryContainerName = "main", retain = true,
        trialParameters = { { name = "lr", reference = "lr" } },
        trialSpec = { apiVersion = "batch/v1", kind = "Job", spec = { backoffLimit = 0, template = { spec = {
          restartPolicy = "Never", terminationGracePeriodSeconds = 600, containers = { { name = "main",
            image = "kfhost", command = { "sh", "-c" }, args = { 'kfhost -e "$PROGRAM"' }, env = {
              { name = "PROGRAM", value = PROGRAM }, { name = "LR", value = "${trialParameters.lr}" },
              { name = "CODE", value = tostring(case.code or 0) }, { name = "PUSH", value = case.push },
            } } } } } } } } } }
end

local function condition(object)
  for _, one in ipairs(object.status and object.status.conditions or {}) do
    local over = one.type == "Succeeded" or one.type == "Failed" or one.type == "Complete"
    if over and one.status == "True" then return one.type end
  end
end

local function only(on, kind, labels)
  local list = on.client:list(kind, { namespace = PLACE, labels = labels })
  test.equal(#list, 1)
  return list[1]
end

-- How the containers of the trial's pod have ended: "NAME=CODE" in their order, those that were there first in front.
local function endings(pod)
  local list = {}
  for _, field in ipairs { "initContainerStatuses", "containerStatuses" } do
    for _, status in ipairs(pod.status[field] or {}) do
      local ended = status.state.terminated
      list[#list + 1] = ("%s=%s"):format(status.name, ended and ended.exitCode or "runs")
    end
  end
  return table.concat(list, " ")
end

local function message_of(pod, name)
  for _, status in ipairs(pod.status.containerStatuses) do
    if status.name == name then return status.state.terminated and status.state.terminated.message end
  end
end

-- Plays one trial to its end and gives what it came to.
local function play(case)
  local clock = proc.spawn { "sleep", "600" } -- while a process is pending, real time runs
  local seen = {}
  local scene = setmetatable({ settings = case.settings, lab = { nodes = 1, time_scale = 0.05,
    mesh = { native = case.native ~= false } }, act = function(on)
      on.client:create(experiment(case))
      local ended = on:eventually(function() return condition(only(on, "experiments.kubeflow.org")) end, 180)
      local trial = only(on, "trials.kubeflow.org")
      -- The job of a trial that is told by its metrics may have a moment to go.
      local job = on:eventually(function() return condition(only(on, "jobs")) end)
      local pod = only(on, "pods", "katib.kubeflow.org/trial")
      local metric = on.kubeflow.katib.database:history(trial.metadata.name)[1]
      seen = { experiment = ended, trial = condition(trial), job = job, phase = pod.status.phase,
        containers = endings(pod), said = message_of(pod, "main"), metric = metric and metric.value, pod = pod }
      return true
    end }, { __index = P2 })
  local passed, problem = stage.with(scene, true, { root = test.tmpdir(), say = function() end })
  clock:kill "KILL"
  clock:wait()
  if not passed then error(problem or "it did not pass", 0) end
  local pod = seen.pod
  seen.pod = nil
  return seen, pod
end

local function reached(containers)
  return { experiment = "Succeeded", trial = "Succeeded", job = "Complete", phase = "Succeeded", metric = "0.9",
    containers = containers, said = "Pipelines: 200" }
end

test("b: a native sidecar, and the training pushes its metric", function()
  test.same(play { settings = "trial-sidecar: {way: b}\n", push = "1" },
    reached "istio-validation=0 istio-proxy=0 main=0")
end)

test("c: a native sidecar, and the collector waits for the training alone", function()
  test.same(play { settings = "trial-sidecar: {way: c, manage_katib_config: true}\n" },
    reached "istio-validation=0 istio-proxy=0 main=0 metrics-logger-and-collector=0")
end)

local CLASSIC = "istio-validation=0 istio-proxy=0 main=0 metrics-logger-and-collector=0"

test("d: a classic sidecar is told to quit by the collector's wrapper, a shell", function()
  local seen, pod = play { settings = "trial-sidecar: {way: d}\n", native = false }
  test.same(seen, reached(CLASSIC))
  test.equal(pod.spec.containers[1].name, "istio-proxy") -- held until it is ready
end)

test("d: the wrapper may be kfhost, copied into the pod", function()
  local seen, pod = play { settings = "trial-sidecar: {way: d, wrapper: kfhost}\n", native = false }
  test.same(seen, reached((CLASSIC:gsub("istio%-validation=0", "istio-validation=0 kfhost-collector=0"))))
  test.equal(pod.spec.containers[3].command[1], "/kfhost-copy/loader")
end)

test("d: a training that fails fails its trial, its job and its pod, and the proxy quits all the same", function()
  local seen = play { settings = "trial-sidecar: {way: d}\n", native = false, code = 3 }
  test.same({ seen.experiment, seen.trial, seen.job, seen.phase, seen.metric }, { "Failed", "Failed", "Failed",
    "Failed" })
  test.equal(seen.containers:find("istio-proxy=0 main=3", 1, true) ~= nil, true)
end)

test("a: without a sidecar a strict mesh does not hear the training", function()
  local seen = play { settings = "trial-sidecar: {way: a}\n" }
  test.equal(seen.said:find("Pipelines: ", 1, true) == 1 and seen.said ~= "Pipelines: 200", true)
  test.equal(seen.containers, "main=0 metrics-logger-and-collector=0")
end)

test("auto: in a strict mesh d is taken, where katib-config lets collectors wait for all", function()
  test.same(play { settings = "trial-sidecar: {way: auto}\n", native = false }, reached(CLASSIC))
end)
