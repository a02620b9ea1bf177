-- Trials as pods of a lab: the collectors read what the trainings write, and stop one early.
local fs = require "fs"
local hash = require "hash"
local json = require "json"
local kubeflow = require "lab.kubeflow"
local task = require "task"
local test = require "test"

local NAMESPACE = "team-a"

-- A training prints, or writes, its metrics, by its number: the order in which trainings begin.
local function experiment(name, script, changes)
  local spec = { parallelTrialCount = 1, maxTrialCount = 1, maxFailedTrialCount = 1,
    objective = { type = "maximize", objectiveMetricName = "acc", additionalMetricNames = { "loss" } },
    algorithm = { algorithmName = "random" },
    parameters = { { name = "x", parameterType = "int", feasibleSpace = { min = "1", max = "9" } } },
    trialTemplate = { primaryContainerName = "training", retain = true,
      trialParameters = { { name = "x", reference = "x" } },
      trialSpec = { apiVersion = "batch/v1", kind = "Job", spec = { backoffLimit = 0, template = { spec = {
        restartPolicy = "Never", volumes = { { name = "code", configMap = { name = name } } },
        containers = { { name = "training", image = "busybox", command = { "sh", "/code/train.sh",
          "${trialParameters.x}" }, volumeMounts = { { name = "code", mountPath = "/code" } } } } } } } } } }
  for key, value in pairs(changes or {}) do spec[key] = value end
  return { apiVersion = "v1", kind = "ConfigMap", metadata = { name = name, namespace = NAMESPACE },
    data = { ["train.sh"] = script } },
    { apiVersion = "kubeflow.org/v1beta1", kind = "Experiment", metadata = { name = name, namespace = NAMESPACE },
      spec = spec }
end

local function with_lab(use)
  local cluster = kubeflow.start { root = test.tmpdir() }
  local ok, problem = pcall(use, cluster)
  cluster:close()
  if not ok then error(problem, 0) end
end

local function run(cluster, ...)
  local code, object = experiment(...)
  cluster.client:create(code)
  cluster.client:create(object)
end

local function wait_for(cluster, name)
  for _ = 1, 2000 do
    local now = cluster.client:get("experiments.v1beta1.kubeflow.org", name, { namespace = NAMESPACE })
    for _, one in ipairs(now.status and now.status.conditions or {}) do
      if one.status == "True" and (one.type == "Succeeded" or one.type == "Failed") then return now, one end
    end
    task.sleep(0.02)
  end
  error(name .. " does not end", 0)
end

local function trials(cluster, name)
  return cluster.client:list("trials.v1beta1.kubeflow.org", { namespace = NAMESPACE,
    labels = "katib.kubeflow.org/experiment=" .. name })
end

local function latest(trial)
  local found = {}
  for _, one in ipairs(trial.status.observation and trial.status.observation.metrics or {}) do
    found[one.name] = one.latest
  end
  return found
end

test("collectors for output, files and JSON read what trainings write; a failed training is told", function()
  with_lab(function(cluster)
    run(cluster, "output", "echo epoch 1\necho acc=0.5 loss=2\necho acc=0.75\n")
    run(cluster, "file", "echo 'no acc=9'\nprintf '[acc] 0.6\\n[acc] 0.7\\n' >/out/m.log\n", {
      metricsCollectorSpec = { collector = { kind = "File" }, source = {
        fileSystemPath = { path = "/out/m.log", kind = "File", format = "TEXT" },
        filter = { metricsFormat = { [[\[([a-z]+)\] ([0-9.]+)]] } } } } })
    run(cluster, "jsonfile", [[echo '{"acc":"0.8","loss":"0.1","timestamp":"2026-01-01T10:00:00Z"}' >/out/m.json]], {
      metricsCollectorSpec = { collector = { kind = "File" }, source = {
        fileSystemPath = { path = "/out/m.json", kind = "File", format = "JSON" } } } })
    run(cluster, "broken", "echo acc=0.5\nexit 3\n")
    for name, wanted in pairs { output = { acc = "0.75", loss = "2" }, file = { acc = "0.7", loss = "unavailable" },
      jsonfile = { acc = "0.8", loss = "0.1" } } do
      local _, condition = wait_for(cluster, name)
      test.equal(name .. " " .. condition.type, name .. " Succeeded")
      test.same(latest(trials(cluster, name)[1]), wanted)
    end
    local _, condition = wait_for(cluster, "broken")
    test.equal(condition.type, "Failed")
    test.equal(latest(trials(cluster, "broken")[1]).acc, nil)
  end)
end)

test("the collector of event files reads what TensorBoard's writers wrote, by folder", function()
  with_lab(function(cluster)
    local code, object = experiment("events", "cd /out; mkdir -p r/test; cp /code/*.1 r/; cp /code/*.2 r/test/",
      { objective = { type = "maximize", objectiveMetricName = "test/accuracy", additionalMetricNames = { "loss" } },
        metricsCollectorSpec = { collector = { kind = "TensorFlowEvent" },
          source = { fileSystemPath = { path = "/out", kind = "Directory" } } } })
    code.binaryData = {}
    for name, folder in pairs { ["events.out.tfevents.1"] = "train", ["events.out.tfevents.2"] = "test" } do
      code.binaryData[name] = hash.base64(fs.read(("tests/fixtures/katib-events/%s/%s"):format(folder, name)))
    end
    cluster.client:create(code)
    cluster.client:create(object)
    local _, condition = wait_for(cluster, "events")
    test.equal(condition.type, "Succeeded")
    test.same(latest(trials(cluster, "events")[1]), { ["test/accuracy"] = "0.3", loss = "1e-05" })
  end)
end)

test("a training that is worse than the others were is stopped early; its experiment succeeds", function()
  with_lab(function(cluster)
    -- All but the third are good; the third would go on for an hour.
    local folder = test.tmpdir()
    fs.mkdir(folder .. "/claims")
    run(cluster, "stops", [[
n=1
while ! mkdir /claims/$n 2>/dev/null; do n=$((n+1)); done
v=0.9
[ $n = 3 ] && v=0.1
echo acc=$v
echo acc=$v
[ $n = 3 ] && exec sleep 3600
echo loss=1
]], { maxTrialCount = 4, earlyStopping = { algorithmName = "medianstop", algorithmSettings = {
      { name = "min_trials_required", value = "2" }, { name = "start_step", value = "2" } } },
      trialTemplate = { primaryContainerName = "training", retain = true,
        trialParameters = { { name = "x", reference = "x" } },
        trialSpec = { apiVersion = "batch/v1", kind = "Job", spec = { backoffLimit = 0, template = { spec = {
          restartPolicy = "Never", volumes = { { name = "code", configMap = { name = "stops" } },
            { name = "claims", persistentVolumeClaim = { claimName = "claims" } } },
          containers = { { name = "training", image = "busybox", command = { "sh", "/code/train.sh",
            "${trialParameters.x}" }, volumeMounts = { { name = "code", mountPath = "/code" },
            { name = "claims", mountPath = "/claims" } } } } } } } } } })
    cluster.client:create { apiVersion = "v1", kind = "PersistentVolumeClaim", metadata = { name = "claims",
      namespace = NAMESPACE }, spec = { accessModes = { "ReadWriteMany" },
      resources = { requests = { storage = "1Gi" } } } }
    local done, condition = wait_for(cluster, "stops")
    test.equal(condition.type, "Succeeded")
    test.equal(done.status.trialsEarlyStopped, 1)
    test.equal(done.status.trialsSucceeded, 3)
    local stopped
    for _, trial in ipairs(trials(cluster, "stops")) do
      if trial.metadata.name == done.status.earlyStoppedTrialList[1] then stopped = trial end
    end
    test.equal(latest(stopped).acc, "0.1")
    test.same(json.encode(stopped.spec.earlyStoppingRules[1].comparison), '"less"')
  end)
end)

-- A pod as Katib's webhook leaves it, with a proxy, its collector wrapped as way d does.
local PROXY = [[
local fs, task = require "fs", require "task"
local over = task.event()
local listening = require "server".listen { port = 15020, handler = function(request)
  if request.method == "POST" and request.path == "/quitquitquit" then over:set() end
  return { status = 200, body = "OK" }
end }
over:wait()
task.sleep(0.1)
listening:close()
]]

local function injected(name, wrapper)
  local _, object = experiment(name, "")
  local pod = { metadata = { name = name, namespace = NAMESPACE }, spec = { restartPolicy = "Never", containers = {
    { name = "training", image = "busybox", command = { "sh", "-c", "{ echo acc=0.5; echo acc=0.75; }" } } } } }
  pod.spec.containers[2] = { name = "istio-proxy", image = "kfhost", command = { "kfhost", "-e", PROXY } }
  local mutated = require "lab.katib.pod".mutate(pod, { metadata = { name = name }, spec = {
    objective = object.spec.objective, primaryContainerName = "training",
    metricsCollector = { collector = { kind = "StdOut" } } } })
  require "katib.wrapper".wrap(mutated.spec, mutated.spec.containers[3],
    { wrapper = wrapper, programs = {}, kfhost_image = "kfhost" })
  mutated.apiVersion, mutated.kind = "v1", "Pod"
  return mutated
end

test("the lab's collector is a program: wrapped as way d does, it reports, and the proxy ends with it", function()
  with_lab(function(cluster)
    for _, wrapper in ipairs { "sh", "kfhost" } do
      local name = "wrapped-" .. wrapper
      cluster.client:create(injected(name, wrapper))
      cluster.client:wait { kind = "pods", name = name, namespace = NAMESPACE, jsonpath = "{.status.phase}",
        value = "Succeeded", timeout = 60 }
      local values = {}
      for i, one in ipairs(cluster.katib.database:history(name)) do values[i] = one.name .. "=" .. one.value end
      test.same(values, { "acc=0.5", "acc=0.75" })
    end
  end)
end)

test("variables in commands are expanded as Kubernetes does", function()
  local expand = require "lab.node.environment".expand
  local values = { A = "1", B = "$(A)" }
  for text, wanted in pairs { ["$(A)"] = "1", ["$$(A)"] = "$(A)", ["$$$(A)"] = "$1", ["$(C)"] = "$(C)",
    ["$(B)"] = "$(A)", ["$"] = "$", ["a$"] = "a$", ["$x$(A"] = "$x$(A", ["$$$$.pid"] = "$$.pid",
    ["[ $(head -n 1 d/$$.pid) = $$HOME ]"] = "[ $(head -n 1 d/$$.pid) = $HOME ]", ["$()"] = "$()" } do
    test.equal(expand(text, values), wanted)
  end
end)
