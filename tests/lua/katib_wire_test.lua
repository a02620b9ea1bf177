-- The pure functions of katib against what the real webhooks, controller and services answered.
local fs = require "fs"
local json = require "json"
local katib = require "katib"
local test = require "test"

local FOLDER = "tests/fixtures/wire-katib"
local judged = {}

local function records(pattern)
  local list = {}
  for _, file in ipairs(fs.list(FOLDER)) do
    local wanted = file:find "^%d.*%.json$" and file:find(pattern)
    if wanted then list[#list + 1] = json.decode(fs.read(FOLDER .. "/" .. file)) end
  end
  assert(#list > 0, "no fixture matches " .. pattern)
  return list
end

-- What the recorder's API server had besides: objects of the same name.
local function is_conflict(record)
  return record.response.status == 409
end

for _, record in ipairs(records "^%d+%-%a+%-") do
  local request = record.request or {}
  local body = request.body
  local writes = type(body) == "table" and body.kind == "Experiment" and request.method == "POST"
  if writes and not is_conflict(record) then
    judged[#judged + 1] = record.name
    test(record.name .. ": refused in the same words, or stored the same", function()
      local denial = katib.denial(katib.validate(body))
      if record.response.status == 201 then
        test.equal(denial, nil)
        test.same(katib.default(body).spec, record.response.body.spec)
      else
        test.equal(denial, record.response.body.message)
      end
    end)
  end
end

local function by_name(pattern)
  local map = {}
  for _, record in ipairs(records(pattern)) do map[record.name] = record end
  return map
end

local function find(set, pattern)
  for name, record in pairs(set) do
    if name:find(pattern) then return record end
  end
  error("no record is named like " .. pattern)
end

-- --- updates -------------------------------------------------------------------------------------------

test("updates of finished experiments are judged as recorded", function()
  local restart, state = by_name "%-restart%-", by_name "%-state%-experiment%-"
  local checked = 0
  for name, record in pairs(restart) do
    local body = record.request.body
    local experiment = record.request.path:match "/experiments/([%w-]+)$"
    local before = experiment and state[("%s"):format(name)] or nil
    for _, candidate in pairs(state) do
      local object = candidate.response.body
      if object.metadata and object.metadata.name == experiment then before = object end
    end
    if record.request.method == "PATCH" and type(body) == "table" and body.spec and before then
      local after = json.decode(json.encode(before))
      for key, value in pairs(body.spec) do
        if type(value) == "table" then for inner, x in pairs(value) do after.spec[key][inner] = x end
        else after.spec[key] = value end
      end
      local denial = katib.denial(katib.validate(after, { old = before }))
      test.equal(denial, record.response.status == 400 and record.response.body.message or nil)
      checked = checked + 1
    end
  end
  assert(checked >= 4, "only " .. checked .. " updates were there to check")
end)

test("an update through the webhook itself is judged as recorded", function()
  local record = records("207%-webhook")[1]
  local request = record.request.body.request
  local findings = katib.validate(request.object, { old = request.oldObject })
  local webhook = require "katib.webhook"
  test.equal(webhook.denial({ findings[1] }), record.response.body.response.status.message)
  test.equal(findings[2] and findings[2].stage, "run")
end)

-- --- settings ----------------------------------------------------------------------------------------------

local function experiment_of(message)
  local spec = message.experiment.spec
  local parameters = json.array {}
  for i, parameter in ipairs((spec.parameter_specs or {}).parameters or {}) do
    local feasible = parameter.feasible_space or {}
    parameters[i] = { name = parameter.name, parameterType = parameter.parameter_type:lower(), feasibleSpace = {
      min = feasible.min, max = feasible.max, step = feasible.step, list = feasible.list,
    } }
  end
  local function settings(algorithm)
    local list = json.array {}
    for i, setting in ipairs(algorithm.algorithm_settings or {}) do
      list[i] = { name = setting.name, value = setting.value }
    end
    return { algorithmName = algorithm.algorithm_name, algorithmSettings = list }
  end
  return { spec = {
    parameters = parameters, algorithm = settings(spec.algorithm or {}),
    objective = { type = "maximize", objectiveMetricName = "accuracy" },
    maxTrialCount = spec.max_trial_count, parallelTrialCount = spec.parallel_trial_count,
  } }, settings
end

for _, record in ipairs(records "%-suggestion%-validate%-") do
  local unknown = record.name:find "unknown%-algorithm"
  if not unknown then
    judged[#judged + 1] = record.name
    test(record.name .. ": the settings are judged in the same words", function()
      local settings = require "katib.settings"
      local problem
      if record.request.method:find "EarlyStopping" then
        local stopping = record.request.message.early_stopping
        local list = json.array {}
        for i, setting in ipairs(stopping.algorithm_settings or {}) do
          list[i] = { name = setting.name, value = setting.value }
        end
        problem = settings.stopping_problem { spec = { earlyStopping = {
          algorithmName = stopping.algorithm_name, algorithmSettings = list,
        } } }
      else
        problem = settings.problem((experiment_of(record.request.message)))
      end
      local details = record.response.details
      if details and details:find "object at 0x" then -- Python's address of an object
        test.equal(problem:match ": (.*)$", details:match "%): (.*)$")
      else
        test.equal(problem, details)
      end
    end)
  end
end

-- --- trials -------------------------------------------------------------------------------------------------

-- What is left of a recorded life cycle: the experiment with its last status, the trials by name.
local function replay(record)
  local experiment, trials = nil, {}
  for _, event in ipairs(record.events) do
    local object = type(event.object) == "table" and event.object or {}
    if event.kind == "experiments" then
      experiment = object.spec and object or experiment
      if experiment and object.status then experiment.status = object.status end
    elseif event.kind == "trials" then
      local name = object.metadata.name
      local before = trials[name] or {}
      trials[name] = event.type ~= "DELETED"
        and { metadata = object.metadata, spec = object.spec or before.spec, status = object.status or before.status }
        or nil
    end
  end
  local list = {}
  for _, trial in pairs(trials) do list[#list + 1] = trial end
  table.sort(list, function(a, b) return a.metadata.name < b.metadata.name end)
  return experiment, list
end

local lifecycles = records "%-lifecycle%-"

test("recorded trials are what the templates render to", function()
  local checked = 0
  for _, record in ipairs(lifecycles) do
    local experiment, trials = replay(record)
    for _, trial in ipairs(trials) do
      local options = { trial = trial.metadata.name, assignments = trial.spec.parameterAssignments }
      test.same(katib.render(experiment, options), trial.spec.runSpec)
      checked = checked + 1
    end
  end
  assert(checked >= 15, "only " .. checked .. " trials were there to check")
end)

local LISTS = {
  succeededTrialList = "Succeeded", failedTrialList = "Failed", metricsUnavailableTrialList = "MetricsUnavailable",
  earlyStoppedTrialList = "EarlyStopped", runningTrialList = "Running", pendingTrialList = "Pending",
}

-- The recorder did not see every trial; the status counts them all, and knows the best one's metrics.
local function trials_of_status(experiment)
  local trials, status = {}, experiment.status
  for list, state in pairs(LISTS) do
    for _, name in ipairs(status[list] or {}) do
      local observation = status.currentOptimalTrial.bestTrialName == name and status.currentOptimalTrial.observation
      trials[#trials + 1] = { name = name, state = state, status = { observation = observation or nil } }
    end
  end
  return trials
end

test("an experiment is over when katib.next says so, for its reasons", function()
  local checked = 0
  for _, record in ipairs(records "%-state%-experiment%-") do
    local experiment = record.response.body
    local conditions = (experiment.status or {}).conditions or {}
    local last = conditions[#conditions]
    local trials = last and trials_of_status(experiment) or {}
    if #trials > 0 then
      local step = katib.next(experiment, trials)
      test.same({ record.name, step.condition, step.reason, step.message },
        { record.name, last.type, last.reason, last.message })
      checked = checked + 1
    end
  end
  assert(checked >= 12, "only " .. checked .. " experiments were there to check")
end)

test("the best trial is the recorded one", function()
  local checked = 0
  for _, record in ipairs(lifecycles) do
    local experiment, trials = replay(record)
    local optimal = experiment.status.currentOptimalTrial
    if #trials == experiment.status.trials and optimal.bestTrialName then
      local metrics = { status = { observation = optimal.observation } }
      test.equal(katib.best(experiment, trials).value,
        tonumber(require "katib.status".objective(experiment, metrics)))
      checked = checked + 1
    end
  end
  assert(checked >= 3, "only " .. checked .. " life cycles were there to check")
end)

test("observations are what the controller recorded", function()
  local entries = find(by_name "%-grpc%-", "247%-grpc%-get%-all").response.message.observation_log.metric_logs
  local metrics = {}
  for i, entry in ipairs(entries) do
    metrics[i] = { name = entry.metric.name, value = entry.metric.value, timestamp = entry.time_stamp }
  end
  test.same(katib.observation(metrics, { "accuracy", "loss" }), {
    { name = "accuracy", min = "0.5", max = "0.91", latest = "unavailable" },
    { name = "loss", min = "0.25", max = "0.25", latest = "0.25" },
  })
end)

test("the recorded stop rule is the mean of the first values", function()
  local experiment = find(by_name "%-earlystop%-", "163%-earlystop%-create").response.body
  local rules = find(by_name "%-earlystop%-", "167%-earlystop%-suggestion").response.body.status.suggestions[2]
  local history = {}
  for i, value in ipairs { "0.6", "0.7", "0.9" } do history[i] = { name = "accuracy", value = value } end
  test.same(katib.stop_rules(experiment, { { state = "Succeeded", history = history } }), rules.earlyStoppingRules)
  test.same(katib.stop_rules(experiment, { { state = "Running", history = history } }), {})
end)

test("exactly the exchanges of the manifest were judged, and each is in a class", function()
  local manifest, class = json.decode(fs.read(FOLDER .. "/manifest.json")), {}
  table.sort(judged)
  test.same(judged, manifest.judged)
  for name, list in pairs(manifest) do
    for _, exchange in ipairs(list) do class[exchange] = name end
  end
  for _, file in ipairs(fs.list(FOLDER)) do
    local exchange = file:match "^(%d.+)%.json$"
    if exchange and not class[exchange] then error(exchange .. " is in no class") end
  end
end)
