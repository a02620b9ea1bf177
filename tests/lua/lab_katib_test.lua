-- The lab's Katib against what the real controller, webhooks, DB manager and services answered; the recordings are in
-- tests/fixtures/wire-katib.
local fs = require "fs"
local grpc = require "grpc"
local hash = require "hash"
local json = require "json"
local kube = require "kube"
local kubeflow = require "lab.kubeflow"
local proto = require "grpc.proto"
local review = require "lab.katib.review"
local task = require "task"
local test = require "test"
local drivers = dofile "tests/lua/support/katib.lua"
local wait = dofile "tests/lua/support/wait.lua"

local FOLDER = "tests/fixtures/wire-katib"
local function record(name)
  return json.decode(fs.read(("%s/%s.json"):format(FOLDER, name)))
end

local function names(pattern)
  local list = {}
  for _, file in ipairs(fs.list(FOLDER)) do
    local name = file:match "^(%d.*)%.json$"
    if name and name:find(pattern) then list[#list + 1] = name end
  end
  assert(#list > 0, "no exchange is named like " .. pattern)
  return list
end

-- --- webhooks -----------------------------------------------------------------------------------------------

local COLLECTORS = {
  ["wh-stdout"] = { collector = { kind = "StdOut" } },
  ["wh-file"] = { collector = { kind = "File" }, source = { fileSystemPath = { path = "/out/m.log", kind = "File",
    format = "TEXT" }, filter = { metricsFormat = { [[([\w|-]+)\s*=\s*((-?\d+)(\.\d+)?)]] } } } },
  ["wh-json"] = { collector = { kind = "File" }, source = { fileSystemPath = { path = "/var/log/katib/metrics.log",
    kind = "File", format = "JSON" } } },
  ["wh-tfevent"] = { collector = { kind = "TensorFlowEvent" }, source = { fileSystemPath = {
    path = "/var/log/katib/tfevent/", kind = "Directory" } } },
  ["wh-custom"] = { collector = { kind = "Custom", customCollector = { name = "my-collector", image = "alpine:3.20",
    args = { "-x" }, resources = json.object {} } }, source = { fileSystemPath = { path = "/out/m.log",
    kind = "File" } } },
  ["wh-push"] = { collector = { kind = "Push" } },
  ["wh-podlabels"] = { collector = { kind = "StdOut" } },
}

-- The objects that the recorded webhook found: a job of the trial's name, and the trial.
local function find_object(version, kind, _, name)
  local experiment = name:match "^(wh%-%a+)%-"
  if not experiment then return nil end
  if kind == "Job" then
    return { metadata = { name = name, ownerReferences = { { apiVersion = "kubeflow.org/v1beta1", kind = "Trial",
      name = name, controller = true } } } }
  end
  test.equal(version, "kubeflow.org/v1beta1")
  return { metadata = { name = name, namespace = "katib-lab", labels = {
    ["katib.kubeflow.org/experiment"] = experiment } }, spec = { primaryContainerName = "training",
    objective = { type = "maximize", objectiveMetricName = "accuracy", additionalMetricNames = { "loss" } },
    metricsCollector = COLLECTORS[experiment],
    primaryPodLabels = experiment == "wh-podlabels" and { role = "master" } or nil } }
end

-- The registries are named otherwise in the recording.
local function plain(value)
  return json.decode((json.encode(value):gsub("ghcr%.io/", "registry.example/")))
end

for _, name in ipairs(names "^2%d%d%-webhook%-") do
  local recorded = json.decode(fs.read(("%s/%s.json"):format(FOLDER, name)))
  local wanted = recorded.response.body
  if not name:find "panics" then
    test(name .. ": the webhook answers the same", function()
      local request = recorded.request
      local body = json.encode(request.body)
      local answer = review.new { get = find_object } { method = "POST", path = request.path, body = body }
      test.equal(answer.status, recorded.response.status)
      if type(wanted) == "string" then return test.equal(answer.body, wanted) end
      local got = json.decode(answer.body)
      if recorded.decoded_patch then
        test.equal(got.response.patchType, "JSONPatch")
        local object = request.body.request.object
        local ours = kube.patch.json(object, json.decode(hash.unbase64(got.response.patch)))
        test.same(plain(ours), plain(kube.patch.json(object, recorded.decoded_patch)))
        got.response.patch, wanted.response.patch = nil, nil
      end
      test.same(got, wanted)
    end)
  end
end

local function mutated(container, changes)
  local spec = { primaryContainerName = "training", objective = { type = "minimize", objectiveMetricName = "loss" },
    metricsCollector = { collector = { kind = "StdOut" } } }
  for key, value in pairs(changes or {}) do spec[key] = value end
  local pod = { metadata = {}, spec = { containers = { container } } }
  return require "lab.katib.pod".mutate(pod, { metadata = { name = "t-1", labels = {} }, spec = spec },
    { early_stopping = "t-random.katib-lab:6788" })
end

test("with stop rules the wrapper tells a stop from a failure, and the collector knows rules and service", function()
  local pod = mutated({ name = "training", image = "alpine:3.20", command = { "python", "t.py" } }, {
    earlyStoppingRules = { { name = "loss", value = "0.5", comparison = "greater", startStep = 4 } } })
  test.equal(pod.spec.containers[1].args[1], "python t.py 1>/var/log/katib/metrics.log 2>&1 || if test -f "
    .. "/var/log/katib/$$$$.pid && [ $(head -n 1 /var/log/katib/$$.pid) = early-stopped ]; then echo Training "
    .. "Container was Early Stopped; else echo Training Container was Failed; exit 1; fi && echo completed > "
    .. "/var/log/katib/$$$$.pid")
  test.equal(table.concat(pod.spec.containers[2].args, " "), "-t t-1 -m loss -o-type minimize -s-db "
    .. "katib-db-manager.kubeflow:6789 -path /var/log/katib/metrics.log -format TEXT -stop-rule loss;0.5;greater;4 "
    .. "-s-earlystop t-random.katib-lab:6788")
end)

test("a collector without a file mounts nothing; one that katib-config does not name is refused", function()
  local pod = mutated({ name = "training", image = "a", command = { "x" } }, { metricsCollector = {
    collector = { kind = "Custom", customCollector = { name = "c", image = "i" } } } })
  test.equal(pod.spec.volumes, nil)
  test.same(pod.spec.containers[1].command, { "x" })
  local none, problem = mutated({ name = "training", image = "a", command = { "x" } }, { metricsCollector = {
    collector = { kind = "PrometheusMetric" }, source = { httpGet = { path = "/metrics", port = 8080 } } } })
  test.equal(none, nil)
  test.equal(problem:find("PrometheusMetric", 1, true) ~= nil, true)
end)

-- --- gRPC ---------------------------------------------------------------------------------------------------

local function bytes_of(hex)
  return ((hex or ""):gsub("%x%x", function(pair) return string.char(tonumber(pair, 16)) end))
end

local function hex_of(bytes)
  return (bytes:gsub(".", function(c) return ("%02x"):format(c:byte()) end))
end

local STATUS = { [2] = "UNKNOWN", [3] = "INVALID_ARGUMENT" }

-- Values that are drawn at random, and texts that name addresses, are compared by their form.
local function compare(name, recorded, ok, answer)
  local wanted = recorded.response
  if wanted.grpc_status ~= 0 then
    if ok then error(name .. " was not refused", 0) end
    test.equal(answer.status, STATUS[wanted.grpc_status])
    local said, details = answer.message:gsub("^[%u_]+: ", ""), wanted.details
    if details:find "object at 0x" then
      said, details = said:match ": (.*)$", details:match "%): (.*)$"
    elseif details:find "Exception calling application" then
      said, details = said:match "^.- Trial: %S+", details:match "^.- Trial: %S+"
    end
    return test.equal(said, details)
  end
  if not ok then error(answer, 0) end
  if name:find "get%-random" then return test.equal(#answer > 0, true) end
  test.equal(hex_of(answer), wanted.hex or "")
end

test("DB manager, suggestion and early-stopping services answer the recorded calls, byte by byte", function()
  local cluster = kubeflow.start { root = test.tmpdir(), nodes = 0 }
  local client = grpc.connect { address = cluster.katib.database_address }
  local function call(name)
    local recorded = record(name)
    compare(name, recorded, pcall(client.call, client, recorded.request.method, bytes_of(recorded.request.hex)))
  end
  local calls = names "^2%d%d%-grpc%-"
  for _, name in ipairs(calls) do
    if name:find "^247" then -- an exchange before it is not here: what it reported is seen in the next answer
      cluster.katib.database:report("wire-trial-1", { { name = "accuracy", value = "unavailable",
        timestamp = "2026-01-01T10:00:04Z" } })
    end
    call(name)
  end
  for _, name in ipairs(names "^2%d%d%-suggestion%-") do call(name) end
  client:close()
  cluster:close()
end)

test("a report through the Python client's message reaches the trial's history", function()
  local cluster = kubeflow.start { root = test.tmpdir(), nodes = 0 }
  local client = grpc.connect { address = cluster.katib.database_address }
  local db = require "katib.database".connect(function(path, bytes) return client:call(path, bytes) end)
  db:report("t", { { name = "loss", value = 0.5, timestamp = "2026-01-01T12:00:00.25+02:00" } })
  test.same(db:history "t", { { name = "loss", value = "0.5", timestamp = "2026-01-01T10:00:00.25Z" } })
  db:forget "t"
  test.same(db:history "t", {})
  client:close()
  cluster:close()
  test.equal(type(proto.message), "function")
end)

-- --- life cycles --------------------------------------------------------------------------------------------

local function is_conflict(recorded) return recorded.response.status == 409 end

local ACCURACY = { "0.7000", "0.8000", "0.8500", "0.9000" }
local LOSS = { "0.3000", "0.2000", "0.1500", "0.1000" }

-- What the recorder's trials did: by experiment, else the values go up.
local function play(driver, run)
  if run.experiment == "all-fail" then return "Failed" end
  if run.experiment:find "^es%-" and run.number == 2 then driver.katib:stop_trial(run.trial) end
  if run.experiment == "no-metrics" then driver:report(run.trial, { { "accuracy", "unavailable" } })
  elseif run.experiment ~= "push-empty" then
    local i = (run.number - 1) % 4 + 1
    local last = run.experiment == "goal-reach" and run.number == 2 and "0.9950" or ACCURACY[i]
    driver:report(run.trial, { { "accuracy", "0.1" }, { "accuracy", "0.9" }, { "loss", LOSS[i] },
      { "accuracy", last } })
  end
  return "Succeeded"
end

local function brief(status)
  local list = {}
  for i, one in ipairs(status and status.conditions or {}) do
    list[i] = ("%s %s %s: %s"):format(one.type, one.status, one.reason, one.message)
  end
  return list
end

local COUNTS = { "trials", "trialsSucceeded", "trialsFailed", "trialsEarlyStopped", "trialMetricsUnavailable",
  "trialsRunning", "trialsPending" }

local function summary(experiment)
  local status = experiment.status or {}
  local best = status.currentOptimalTrial or {}
  local result = { conditions = brief(status), completed = type(status.completionTime) == "string",
    finalizers = experiment.metadata.finalizers, best = best.bestTrialName ~= nil }
  for _, field in ipairs(COUNTS) do result[field] = status[field] end
  return result
end

local function counts_of(status)
  local counts = {}
  for i, field in ipairs(COUNTS) do counts[i] = status and status[field] or 0 end
  return counts
end

local VOLATILE = { "uid", "resourceVersion", "creationTimestamp", "managedFields", "deletionTimestamp" }

local function without_ids(object)
  if type(object) ~= "table" then return object end
  for _, field in ipairs(VOLATILE) do
    if object.metadata then object.metadata[field] = nil end
  end
  return object
end

local function wait_until(what, holds) return wait(what, holds, 20) end

local NAMESPACE = "katib-lab"

local function with_katib(use)
  local cluster = kubeflow.start { root = test.tmpdir(), nodes = 0, profiles = { NAMESPACE } }
  local driver = drivers.start(cluster, NAMESPACE, play)
  local ok, problem = pcall(use, cluster, driver)
  driver:stop()
  cluster:close()
  if not ok then error(problem, 0) end
end

local function post(cluster, recorded)
  return cluster.client:request(recorded.request.method, recorded.request.path,
    { body = recorded.request.body and json.encode(recorded.request.body), query = recorded.request.query,
      headers = { ["Content-Type"] = "application/json" } })
end

local function get(cluster, kind, name)
  return cluster.client.try:get(kind .. ".v1beta1.kubeflow.org", name, { namespace = NAMESPACE })
end

local function same_at_rest(cluster, name, recorded, kind)
  local wanted = kind == "experiments" and summary(recorded) or { conditions = brief(recorded.status),
    requests = recorded.spec.requests, count = (recorded.status or {}).suggestionCount,
    algorithm = recorded.spec.algorithm, policy = recorded.spec.resumePolicy }
  local function now()
    local object = get(cluster, kind, name)
    if not object then return nil end
    return kind == "experiments" and summary(object) or { conditions = brief(object.status),
      requests = object.spec.requests, count = (object.status or {}).suggestionCount, algorithm = object.spec.algorithm,
      policy = object.spec.resumePolicy }
  end
  local text = json.encode(wanted, { sort = true })
  pcall(wait_until, name, function()
    local state = now()
    return state and json.encode(state, { sort = true }) == text
  end)
  test.same(now(), wanted)
end

test("experiments are refused and stored as recorded, and come to the recorded ends", function()
  with_katib(function(cluster)
    local made, let_in = {}, {}
    for _, name in ipairs(names "^%d+%-create%-") do
      local recorded = record(name)
      local answer = post(cluster, recorded)
      test.equal(answer.status, recorded.response.status)
      if not is_conflict(recorded) then
        test.same(without_ids(json.decode(answer.body)), without_ids(recorded.response.body))
        made[recorded.request.body.metadata.name] = true
      end
      if name:find "grid%-no%-max" then -- it makes trials without end, as there
        cluster.client:delete("experiments.v1beta1.kubeflow.org", "grid-nomax", { namespace = NAMESPACE })
        made["grid-nomax"] = nil
        wait_until("its end", function() return not get(cluster, "experiments", "grid-nomax") end)
        local gone = record "170-earlystop-grid-nomax"
        test.same(json.decode(post(cluster, gone).body), gone.response.body)
      end
    end
    for _, name in ipairs(names "^%d+%-reject%-") do
      local recorded = record(name)
      local answer = post(cluster, recorded)
      test.equal(answer.status, recorded.response.status)
      test.same(without_ids(json.decode(answer.body)), without_ids(recorded.response.body))
      if answer.status == 201 then let_in[recorded.request.body.metadata.name] = true end
    end
    for name in pairs(let_in) do -- they cannot work
      cluster.client.try:delete("experiments.v1beta1.kubeflow.org", name, { namespace = NAMESPACE })
    end
    local compared = 0
    for _, name in ipairs(names "^%d+%-state%-[es]%a+%-") do
      local recorded = record(name).response.body
      local kind = name:find "experiment" and "experiments" or "suggestions"
      local moving = name:find "early%-stop" or name:find "primary%-demo"
      if made[recorded.metadata.name] and not moving then
        same_at_rest(cluster, recorded.metadata.name, recorded, kind)
        compared = compared + 1
      end
    end
    if compared < 12 then error(("only %d objects were at rest"):format(compared), 0) end
    -- a finished experiment goes on, or does not
    for _, name in ipairs(names "^%d+%-restart%-") do
      local recorded = record(name)
      if recorded.request.method == "PATCH" then
        local answer = cluster.client:request("PATCH", recorded.request.path, {
          body = json.encode(recorded.request.body), headers = { ["Content-Type"] = "application/merge-patch+json" } })
        test.equal(answer.status, recorded.response.status)
        if answer.status >= 400 then test.equal(json.decode(answer.body).message, recorded.response.body.message) end
      end
    end
    local lifecycle, last = record "905-lifecycle-longrun-demo", nil
    for _, event in ipairs(lifecycle.events) do
      local o = event.kind == "experiments" and type(event.object) == "table" and event.object or {}
      if type(o.status) == "table" and o.status.trialsSucceeded == 4 then last = o end
    end
    last.metadata.finalizers = { "update-prometheus-metrics" }
    same_at_rest(cluster, "longrun-demo", last, "experiments")
    -- deletion takes the trials and their metrics along
    local trials = cluster.client:list("trials.v1beta1.kubeflow.org", { namespace = NAMESPACE,
      labels = "katib.kubeflow.org/experiment=push-demo" })
    test.equal(#trials, 2)
    test.equal(#cluster.katib.database:history(trials[1].metadata.name) > 0, true)
    local deleted = record "134-delete-experiment"
    test.equal(post(cluster, deleted).status, 200)
    wait_until("the end of push-demo", function()
      return not get(cluster, "experiments", "push-demo") and not get(cluster, "trials", trials[1].metadata.name)
        and not get(cluster, "trials", trials[2].metadata.name)
    end)
    test.same(cluster.katib.database:history(trials[1].metadata.name), {})
    local gone = record "135-delete-get-deleted"
    test.equal(json.decode(post(cluster, gone).body).message, gone.response.body.message)
    local none = record "136-delete-trials-after-delete"
    local left = json.decode(post(cluster, none).body)
    left.metadata.resourceVersion = none.response.body.metadata.resourceVersion
    test.same(left, none.response.body)
  end)
end)

test("a template in a ConfigMap: without it the experiment is refused, with it trials are made of it", function()
  with_katib(function(cluster)
    local spec = record "001-create-random".request.body.spec
    local template = spec.trialTemplate
    local job = template.trialSpec
    template.trialSpec = nil
    template.configMap = { configMapName = "jobs", configMapNamespace = "kubeflow", templatePath = "job.yaml" }
    template.successCondition, template.failureCondition = "status.succeeded", "status.failed"
    local experiment = { apiVersion = "kubeflow.org/v1beta1", kind = "Experiment", spec = spec,
      metadata = { name = "mapped", namespace = NAMESPACE } }
    test.raises('ConfigMap "jobs" not found', function() cluster.client:create(experiment) end)
    cluster.client:create { apiVersion = "v1", kind = "ConfigMap", data = { ["job.yaml"] = json.encode(job) },
      metadata = { name = "jobs", namespace = "kubeflow" } }
    cluster.client:create(experiment)
    local trials
    wait_until("a trial", function()
      trials = cluster.client:list("trials.v1beta1.kubeflow.org", { namespace = NAMESPACE })
      return #trials > 0
    end)
    local made = trials[1].spec.runSpec
    test.same({ made.kind, made.metadata.name }, { "Job", trials[1].metadata.name })
    test.equal(json.encode(made):find("${trialParameters", 1, true), nil)
  end)
end)

test("early stopping ends with retained runs; without, one suggestion too few is asked for", function()
  with_katib(function(cluster)
    for _, name in ipairs(names "^%d+%-earlystop%-.*create") do
      local recorded = record(name)
      test.equal(post(cluster, recorded).status, recorded.response.status)
    end
    for name, kind in pairs { ["277-earlystop-retain-experiment"] = "experiments",
      ["279-earlystop-retain-suggestion"] = "suggestions", ["165-earlystop-experiment"] = "experiments",
      ["167-earlystop-suggestion"] = "suggestions", ["166-earlystop-experiment-bad"] = "experiments",
      ["278-earlystop-experiment-bad-step"] = "experiments" } do
      local recorded = record(name).response.body
      same_at_rest(cluster, recorded.metadata.name, recorded, kind)
    end
  end)
end)

-- The last of what a recorded life cycle showed of its experiment and of each trial.
local function ends_of(lifecycle)
  local spec, experiment, trials, best = nil, nil, {}, -1
  for _, event in ipairs(lifecycle.events) do
    local o = type(event.object) == "table" and event.object or {}
    if event.kind == "experiments" then
      spec = o.spec or spec
      local conditions = type(o.status) == "table" and o.status.conditions or {}
      if #conditions >= best then experiment, best = o, #conditions end
    elseif event.kind == "trials" and type(o.status) == "table" and #(o.status.conditions or {}) >= 3 then
      trials[o.metadata.name] = o
    end
  end
  return spec, experiment, trials
end

-- Conditions of trials, and the names in their observations, as a sorted list of texts.
local function trial_shapes(trials)
  local list = {}
  for _, trial in pairs(trials) do
    local metrics = {}
    for i, one in ipairs(trial.status.observation and trial.status.observation.metrics or {}) do
      metrics[i] = one.name .. (one.latest == "unavailable" and "?" or "")
    end
    table.sort(metrics)
    list[#list + 1] = table.concat(brief(trial.status), "; ") .. " [" .. table.concat(metrics, " ") .. "] "
      .. tostring(type(trial.status.completionTime) == "string")
  end
  table.sort(list)
  return list
end

local function trials_like(cluster, name, recorded)
  local ours = cluster.client:list("trials.v1beta1.kubeflow.org", { namespace = NAMESPACE,
    labels = "katib.kubeflow.org/experiment=" .. name })
  local have, seen = {}, trial_shapes(ours)
  for _, one in ipairs(seen) do have[one] = true end
  for _, one in ipairs(trial_shapes(recorded)) do -- the recorder did not see the end of each trial
    if not have[one] then
      error(("%s: no trial is like\n%s\nbut\n%s"):format(name, one, table.concat(seen, "\n")), 0)
    end
  end
  return ours
end

local function make(cluster, name, spec)
  cluster.client:create { apiVersion = "kubeflow.org/v1beta1", kind = "Experiment", spec = spec,
    metadata = { name = name, namespace = NAMESPACE } }
end

test("recorded life cycles end in the lab as they did: experiments, and each of their trials", function()
  with_katib(function(cluster)
    local cycles = {}
    for _, name in ipairs { "900-lifecycle-random-demo", "901-lifecycle-grid-demo", "903-lifecycle-all-fail",
      "904-lifecycle-no-metrics", "906-lifecycle-bad-settings", "907-lifecycle-push-demo", "908-lifecycle-volume-demo",
      "909-lifecycle-file-demo", "911-lifecycle-es-demo", "912-lifecycle-es-retain" } do
      local spec, experiment, trials = ends_of(record(name))
      experiment.metadata.finalizers = { "update-prometheus-metrics" }
      cycles[#cycles + 1] = { experiment = experiment, trials = trials }
      make(cluster, experiment.metadata.name, spec)
    end
    for _, cycle in ipairs(cycles) do
      same_at_rest(cluster, cycle.experiment.metadata.name, cycle.experiment, "experiments")
      trials_like(cluster, cycle.experiment.metadata.name, cycle.trials)
    end
  end)
end)

-- A trial without what was drawn for it.
local function drawn_out(trial)
  local spec = json.decode(json.encode(trial.spec))
  for _, one in ipairs(spec.parameterAssignments) do one.value = "V" end
  spec.runSpec.metadata.name, spec.runSpec.spec.template.spec.containers = "TRIAL", nil
  for _, rule in ipairs(spec.earlyStoppingRules or {}) do rule.value = "V" end
  return json.encode({ labels = trial.metadata.labels, finalizers = trial.metadata.finalizers, spec = spec },
    { sort = true })
end

test("experiments whose creation was not recorded come to their recorded ends, and so do their trials", function()
  with_katib(function(cluster)
    for _, name in ipairs { "091-state-experiment-grid-demo", "093-state-experiment-all-fail",
      "101-state-experiment-meta-demo" } do
      local recorded = record(name).response.body
      make(cluster, recorded.metadata.name, recorded.spec)
      same_at_rest(cluster, recorded.metadata.name, recorded, "experiments")
    end
    same_at_rest(cluster, "grid-demo", record "114-state-suggestion-grid-demo".response.body, "suggestions")
    local made_by = { ["121-state-trials-goal-reach"] = "001-create-random",
      ["123-state-trials-no-metrics"] = "006-create-no-metrics", ["125-state-trials-push-demo"] = "007-create-push",
      ["168-earlystop-trials"] = "163-earlystop-create" }
    for name, creation in pairs(made_by) do
      local recorded, spec = record(name), record(creation).request.body.spec
      local list = recorded.response.body.items
      local experiment = list[1].metadata.labels["katib.kubeflow.org/experiment"]
      if experiment == "goal-reach" then spec.maxTrialCount, spec.parallelTrialCount = 9, 1 end -- two are enough
      make(cluster, experiment, spec)
      local ours = wait_until("trials as in " .. name, function()
        local ok, found = pcall(trials_like, cluster, experiment, list)
        return ok and #found == #list and found or nil
      end)
      local have = {}
      for _, one in ipairs(ours) do have[drawn_out(one)] = true end
      for _, one in ipairs(list) do
        if not have[drawn_out(one)] then error(drawn_out(one) .. "\n" .. (next(have) or ""), 0) end
      end
      local answer = json.decode(post(cluster, recorded).body)
      test.same({ answer.kind, answer.apiVersion, #answer.items }, { "TrialList", "kubeflow.org/v1beta1", #list })
    end
  end)
end)

-- All that objects of a kind were, as a watcher saw them.
local function versions(cluster, kind, seen)
  return task.spawn(function()
    for event in cluster.client:watch(kind .. ".v1beta1.kubeflow.org", { namespace = NAMESPACE }) do
      local name = event.object.metadata and event.object.metadata.name or ""
      seen[kind .. "/" .. name] = seen[kind .. "/" .. name] or {}
      table.insert(seen[kind .. "/" .. name], event.object)
    end
  end)
end

local function state_text(object)
  return json.encode { brief(object.status), counts_of(object.status), object.spec.requests }
end

test("what was recorded in the middle of something, the lab goes through", function()
  with_katib(function(cluster)
    local seen = {}
    local looking = { versions(cluster, "experiments", seen), versions(cluster, "suggestions", seen) }
    local function passes_through(name, kind)
      local recorded = record(name).response.body
      wait_until("a state as in " .. name, function()
        for _, one in ipairs(seen[kind .. "/" .. recorded.metadata.name] or {}) do
          if state_text(one) == state_text(recorded) then return true end
        end
      end)
    end
    for _, name in ipairs { "097-state-experiment-early-stop", "109-state-experiment-primary-demo",
      "104-state-experiment-grid-nomax" } do
      local recorded = record(name).response.body
      make(cluster, recorded.metadata.name, recorded.spec)
      passes_through(name, "experiments")
    end
    passes_through("117-state-suggestion-early-stop", "suggestions")
    for _, one in ipairs(looking) do
      one:cancel()
      pcall(one.wait, one)
    end
    -- an experiment that is at its beginning, or gone, has no trials
    cluster.client:delete("experiments.v1beta1.kubeflow.org", "early-stop", { namespace = NAMESPACE })
    wait_until("its end", function() return not get(cluster, "experiments", "early-stop") end)
    local none = record "124-state-trials-early-stop"
    local found
    wait_until("the end of its trials", function()
      found = json.decode(post(cluster, none).body)
      return #found.items == 0
    end)
    found.metadata.resourceVersion = none.response.body.metadata.resourceVersion
    test.same(found, none.response.body)
  end)
end)

test("each exchange is answered here, or the table of differences says why not", function()
  local manifest, answered, listed = json.decode(fs.read(FOLDER .. "/manifest.json")), {}, {}
  local differences = fs.read(FOLDER .. "/DIFFERENCES.md"):match "In the lab.*$"
  for _, name in ipairs(manifest.lab) do listed[name] = true end
  local source = fs.read "tests/lua/lab_katib_test.lua"
  for _, file in ipairs(fs.list(FOLDER)) do
    local name = file:match "^(%d.*)%.json$"
    local whole = name and (name:find "^%d+%-create%-" or name:find "^%d+%-reject%-" or name:find "^%d+%-restart%-"
      or name:find "^2%d%d%-webhook%-" or name:find "^2%d%d%-grpc%-" or name:find "^2%d%d%-suggestion%-"
      or name:find "^%d+%-earlystop%-.*create" or name:find "^%d+%-state%-[es]%a+%-")
    local singly = name and source:find('"' .. name .. '"', 1, true)
    if singly or whole and not name:find "panics" then answered[name] = true end
    if name and not listed[name] and not differences:find("\n| " .. name:match "^%d+", 1, true) then
      error(name .. " is not answered, and no line of DIFFERENCES.md says why", 0)
    end
  end
  for name in pairs(listed) do
    if not answered[name] then error(name .. " is in the manifest and not answered here", 0) end
  end
end)

-- What a recorded object says once the clock and the names are taken out.
local function shape(value, replace)
  local text = json.encode(value, { sort = true })
  for _, one in ipairs(replace) do text = text:gsub(one[1]:gsub("%p", "%%%0"), one[2]) end
  return json.decode((text:gsub("%d%d%d%d%-%d%d%-%d%dT[%d:]+Z", "TIME")))
end

test("suggestions' Deployments and Services, trials, jobs and pods are as recorded", function()
  with_katib(function(cluster)
    local recorded = record "912-lifecycle-es-retain"
    test.equal(post(cluster, record "275-earlystop-retain-create").status, 201)
    wait_until("the second trial", function()
      local trials = cluster.client:list("trials.v1beta1.kubeflow.org", { namespace = NAMESPACE })
      return #trials >= 2 and #cluster.client:list("pods", { namespace = NAMESPACE }) >= 2
    end)
    local first = {}
    for _, event in ipairs(recorded.events) do
      if event.type == "ADDED" and event.object.spec then
        first[event.kind] = first[event.kind] or {}
        table.insert(first[event.kind], event.object)
      end
    end
    local trials = cluster.client:list("trials.v1beta1.kubeflow.org", { namespace = NAMESPACE })
    table.sort(trials, function(a, b) return not a.spec.earlyStoppingRules and b.spec.earlyStoppingRules ~= nil end)
    local function values(object)
      object.spec.parameterAssignments, object.spec.runSpec.spec = nil, nil
      return object.spec
    end
    for i = 1, 2 do
      local ours, theirs = trials[i], first.trials[i]
      test.same(shape(ours.spec.parameterAssignments and ours.metadata.labels, {}), theirs.metadata.labels)
      local rules = theirs.spec.earlyStoppingRules -- the values of the recorder's first trial were others
      if rules then rules[1].value, ours.spec.earlyStoppingRules[1].value = "V", "V" end
      test.same(shape(values(ours), { { ours.metadata.name, "TRIAL" } }),
        shape(values(theirs), { { theirs.metadata.name, "TRIAL" } }))
    end
    local service = cluster.client:get("services", "es-retain-random", { namespace = NAMESPACE }).spec
    local theirs = first.services[1].spec
    service.clusterIP, service.clusterIPs, theirs.clusterIP, theirs.clusterIPs = nil, nil, nil, nil
    test.same(service, theirs)
    local deployment = cluster.client:get("deployments.v1.apps", "es-retain-random", { namespace = NAMESPACE })
    test.same(plain(deployment.spec), first.deployments[1].spec)
    test.equal(deployment.metadata.ownerReferences[1].kind, "Suggestion")
  end)
end)

test("the webhook says what is no review: an empty body, another type, no JSON", function()
  local handle = review.new { get = function() end }
  local function message(request)
    request.path, request.method = "/mutate-pod", "POST"
    local response = json.decode(handle(request).body).response
    test.equal(response.allowed, false)
    return response.status.message
  end
  test.equal(message { body = "" }, "request body is empty")
  test.equal(message { body = "{}", headers = { ["content-type"] = "text/plain" } },
    "contentType=text/plain, expected application/json")
  test.equal(message { body = "{", headers = { ["content-type"] = "application/json" } },
    "there is no content to decode")
end)
