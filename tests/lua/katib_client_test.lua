-- Experiments in a cluster: with a client of the API server that is a table, and the recorded bytes of the database.
local errors = require "errors"
local fs = require "fs"
local json = require "json"
local katib = require "katib"
local task = require "task"
local test = require "test"

local FOLDER = "tests/fixtures/wire-katib/"

local function record(name)
  return json.decode(fs.read(FOLDER .. name .. ".json"))
end

local function bytes_of(hex)
  return (hex:gsub("%x%x", function(digits) return string.char(tonumber(digits, 16)) end))
end

local function hex_of(bytes)
  return (bytes:gsub(".", function(byte) return ("%02x"):format(byte:byte()) end))
end

-- --- the database ------------------------------------------------------------------------------------------

local function database(name)
  local exchange, seen = record(name), {}
  local k = katib.connect { client = {}, namespace = "team", database = function(path, bytes)
    seen.path, seen.hex = path, hex_of(bytes)
    return bytes_of(exchange.response.hex)
  end }
  return k, seen, exchange
end

test("metrics are reported in the bytes that were recorded", function()
  local k, seen, exchange = database "240-grpc-report"
  local metrics = {}
  for i, entry in ipairs(exchange.request.message.observation_log.metric_logs) do
    metrics[i] = { name = entry.metric.name, value = entry.metric.value, timestamp = entry.time_stamp }
  end
  k.db:report("wire-trial-1", metrics)
  test.equal(seen.path, exchange.request.method)
  test.equal(seen.hex, exchange.request.hex)
end)

test("a trial's history is read", function()
  local k, seen, exchange = database "247-grpc-get-all"
  local history = k:history "wire-trial-1"
  test.equal(seen.hex, exchange.request.hex)
  local want = exchange.response.message.observation_log.metric_logs
  test.equal(#history, #want)
  test.same(history[1], { name = "accuracy", value = "0.5", timestamp = "2026-01-01T10:00:00Z" })
end)

test("a metric without a time is refused: the database would drop it", function()
  local k = database "240-grpc-report"
  test.raises("timestamp", function() k.db:report("t", { { name = "a", value = 1 } }) end)
end)

-- --- the web interface ---------------------------------------------------------------------------------------

-- A client whose web interface answers one thing.
local function with_ui(answer, options)
  local seen = {}
  local ui = { endpoint = "https://kubeflow.example.org/", user = "me@example.org", transport = function(request)
    seen.request = request
    return { status = answer.status or 200, headers = answer.headers or {}, body = answer.body }
  end }
  for key, value in pairs(options or {}) do ui[key] = value end
  return katib.connect { client = {}, namespace = "team", ui = ui }, seen
end

local TABLE = "metricName,time,value\nacc,2026-01-01T10:00:00,0.5\nloss,2026-01-01T10:00:00,2\n"
  .. "acc,2026-01-01T10:00:01,0.75\n"

test("a trial's history is read from Katib's web interface, with the user's identity", function()
  local k, seen = with_ui { body = json.encode(TABLE) }
  test.same(k:history("demo-x1", "acc"), { { name = "acc", value = "0.5", timestamp = "2026-01-01T10:00:00Z" },
    { name = "acc", value = "0.75", timestamp = "2026-01-01T10:00:01Z" } })
  test.equal(#k:history "demo-x1", 3)
  test.equal(seen.request.method, "GET")
  test.equal(seen.request.url, "https://kubeflow.example.org/katib/fetch_hp_job_trial_info/?namespace=team&trialName="
    .. "demo-x1")
  test.equal(seen.request.headers["kubeflow-userid"], "me@example.org")
  test.same(with_ui { body = '"metricName,time,value\\n"' }:history "demo-x1", {})
end)

test("what the web interface, or a proxy before it, refuses has a code", function()
  local denied = "RBAC: access denied"
  local html = { ["content-type"] = "text/html" }
  for code, answer in pairs {
    Unauthenticated = { status = 401, body = "Request header missing!\n" },
    PermissionDenied = { status = 403, body = "user: me is not authorized to list kubeflow.org.v1beta1.trials\n" },
    Denied = { status = 403, body = denied },
    Login = { status = 302, headers = { location = "/dex/auth?client_id=x" }, body = "" },
    Internal = { status = 500, body = 'trials.kubeflow.org "demo-x1" not found\n' },
    Protocol = { body = "<html><title>Kubeflow</title>", headers = html },
  } do
    local problem = test.raises("", function() with_ui(answer, { tries = 1 }):history "demo-x1" end)
    test.equal(problem.code, code)
  end
  local problem = test.raises("no table of metrics", function() with_ui { body = "{}" }:history "demo-x1" end)
  test.equal(problem.code, "Protocol")
  test.raises("needs an endpoint", function() katib.connect { client = {}, namespace = "team", ui = {} } end)
end)

-- --- experiments ------------------------------------------------------------------------------------------------

-- An API server in a table; each get moves the experiment on to the next of its states.
local function cluster(states, trials)
  local c = { calls = {}, at = 0, namespace = "team" }
  function c:get(_, name)
    self.at = math.min(self.at + 1, #states)
    local state = states[self.at]
    if not state then errors.raise { code = "NotFound", message = name } end
    return state
  end
  function c.list(_, kind, options)
    c.listed = options
    return kind:find "^trials" and (trials or {}) or states
  end
  for _, verb in ipairs { "create", "delete", "patch" } do
    c[verb] = function(_, ...)
      c.calls[#c.calls + 1] = { verb, ... }
      return (...)
    end
  end
  return c
end

local function connect(c) return katib.connect { client = c, namespace = "team" } end

local EXPERIMENT = record "001-create-random".request.body

test("an experiment is judged before it is created", function()
  local c = cluster {}
  local good = json.decode(json.encode(EXPERIMENT))
  good.spec.trialTemplate.trialSpec.spec.backoffLimit = 0
  connect(c):create(good)
  test.equal(c.calls[1][1], "create")
  good.spec.objective.type = "best"
  local err = test.raises("Experiment", function() connect(c):create(good) end)
  test.equal(err.path, "spec.objective.type")
  assert(#err.findings >= 1)
  test.equal(#c.calls, 1)
end)

test("a template in a ConfigMap is judged where the ConfigMap may be read", function()
  local experiment = json.decode(json.encode(EXPERIMENT))
  local template = experiment.spec.trialTemplate
  local spec = template.trialSpec
  spec.spec.backoffLimit = 0
  template.trialSpec = nil
  template.configMap = { configMapName = "jobs", configMapNamespace = "site", templatePath = "job.yaml" }
  template.successCondition, template.failureCondition = "s", "f"
  local function create(get)
    local c = cluster {}
    c.get = get
    local _, warnings = connect(c):create(experiment)
    return #warnings, c.calls[1][1]
  end
  local function of(data)
    return function(_, kind, name, options)
      test.same({ kind, name, options.namespace }, { "configmaps", "jobs", "site" })
      return { data = data }
    end
  end
  local function failing(code) return function() errors.raise { code = code, message = "no" } end end
  test.same({ create(of { ["job.yaml"] = json.encode(spec) }) }, { 0, "create" })
  test.same({ create(failing "Forbidden") }, { 1, "create" }) -- a warning
  test.raises("not found", function() create(failing "NotFound") end)
  test.raises("NotFound", function() create(of(nil)) end)
  spec.kind = nil
  test.raises("to unstructured", function() create(of { ["job.yaml"] = json.encode(spec) }) end)
end)

test("a name that another namespace has is refused where rights reach", function()
  local other = { metadata = { name = EXPERIMENT.metadata.name, namespace = "other" } }
  local err = test.raises("Experiment", function()
    connect(cluster { other }):create(EXPERIMENT, { everywhere = true })
  end)
  test.equal(err.path, "metadata.name")
end)

local function with_condition(kind, reason)
  return { metadata = { name = "demo" }, spec = EXPERIMENT.spec, status = {
    conditions = { { type = "Created", status = "True" }, { type = kind, status = "True", reason = reason } },
      trials = 2,
  } }
end

local TRIALS = record "121-state-trials-goal-reach".response.body.items

test("a wait ends with the experiment, and tells of every change", function()
  local c = cluster({ with_condition "Running", with_condition "Running", with_condition("Succeeded", "x") }, TRIALS)
  local changes = {}
  local waiting = task.spawn(function()
    return connect(c):wait("demo", { on_change = function(rows) changes[#changes + 1] = #rows end })
  end)
  for _ = 1, 20 do test.advance(1) end
  local _, condition = waiting:wait(1)
  test.equal(condition.reason, "x")
  test.same(changes, { #TRIALS, #TRIALS })
  test.raises("Timeout", function()
    local slow = task.spawn(function() return connect(cluster { with_condition "Running" }):wait("demo",
      { timeout = 5 }) end)
    for _ = 1, 10 do test.advance(1) end
    slow:wait(1)
  end)
end)

test("trials are rows with values, metrics and the objective", function()
  local c = cluster({ with_condition "Running" }, TRIALS)
  local rows = connect(c):trials "demo"
  test.equal(c.listed.labels, "katib.kubeflow.org/experiment=demo")
  test.equal(#rows, #TRIALS)
  local row = rows[1]
  assert(row.values.lr and row.metrics.accuracy and row.objective == tonumber(row.metrics.accuracy.max))
end)

test("resuming and stopping keep to what Katib allows", function()
  local function finished(policy)
    local experiment = with_condition("Succeeded", "ExperimentMaxTrialsReached")
    experiment = json.decode(json.encode(experiment))
    experiment.spec.resumePolicy = policy
    return experiment
  end
  local c = cluster { finished "LongRunning" }
  connect(c):resume("demo", 9)
  test.same(c.calls[1][4], { spec = { maxTrialCount = 9 } })
  test.raises("Experiment", function() connect(cluster { finished "Never" }):resume("demo", 9) end)
  test.raises("Experiment", function() connect(cluster { finished "LongRunning" }):resume("demo", 2) end)
  c = cluster { with_condition "Running" }
  connect(c):stop "demo"
  test.same(c.calls[1][4], { spec = { maxTrialCount = 3, parallelTrialCount = 1, maxFailedTrialCount = 1 } })
end)
