-- lab.katib.controller: experiments make trials, trials make jobs, and the jobs' printed metrics come back.
-- Not for what is decided (the pure functions of katib); it talks to any Kubernetes API.
--   local c = controller.start(require "kube".connect {}, {}); c:stop()

local conditions = require "lab.katib.conditions"
local crds = require "lab.katib.crds"
local errors = require "errors"
local hash = require "hash"
local katib = require "katib"

local M = {}

local EXPERIMENTS, TRIALS = "experiments.v1beta1.kubeflow.org", "trials.v1beta1.kubeflow.org"
local EXPERIMENT_LABEL, TRIAL_LABEL = "katib.kubeflow.org/experiment", "katib.kubeflow.org/trial"
local MANAGER = "katib-controller"

local Controller = {}
Controller.__index = Controller

local function now()
  return os.date "!%Y-%m-%dT%H:%M:%SZ"
end

local function owner_of(object)
  return { apiVersion = object.apiVersion, kind = object.kind, name = object.metadata.name, uid = object.metadata.uid,
    controller = true, blockOwnerDeletion = true }
end

local function write_status(self, kind, object, status)
  return self.client:patch(kind, object.metadata.name, { status = status },
    { namespace = object.metadata.namespace, subresource = "status", type = "merge", manager = MANAGER })
end

-- --- trials -----------------------------------------------------------------------------------------------

local function names_of(objective)
  local names = { objective.objectiveMetricName }
  for _, name in ipairs(objective.additionalMetricNames or {}) do names[#names + 1] = name end
  return names
end

local function make_job(self, trial)
  local job = trial.spec.runSpec
  local metadata = job.metadata
  metadata.labels = metadata.labels or {}
  metadata.labels[TRIAL_LABEL] = trial.metadata.name
  metadata.ownerReferences = { owner_of(trial) }
  local template = job.spec.template
  template.metadata = template.metadata or {}
  template.metadata.labels = template.metadata.labels or {}
  template.metadata.labels[TRIAL_LABEL] = trial.metadata.name
  template.metadata.labels[EXPERIMENT_LABEL] = trial.metadata.labels[EXPERIMENT_LABEL]
  local made, problem = self.client.try:create(job, { manager = MANAGER })
  if not made and problem.code ~= "AlreadyExists" then error(problem, 0) end
end

-- What the trial's pods have printed, read as its collector would.
local function observe(self, trial)
  local pods = self.client:list("pods", { namespace = trial.metadata.namespace,
    labels = TRIAL_LABEL .. "=" .. trial.metadata.name })
  local texts = {}
  for _, pod in ipairs(pods) do
    local text = self.client.try:logs { name = pod.metadata.name, namespace = trial.metadata.namespace,
      container = trial.spec.primaryContainerName }
    texts[#texts + 1] = type(text) == "string" and text or nil
  end
  local names = names_of(trial.spec.objective)
  local metrics, unavailable = katib.metrics(table.concat(texts), names)
  return katib.observation(metrics, names), unavailable
end

local function message_of(job)
  for _, one in ipairs(job.status.conditions or {}) do
    if one.status == "True" and (one.type == "Complete" or one.type == "Failed") then
      return one.message or "", one.reason or ""
    end
  end
  return "", ""
end

local function finish(self, trial, job, status, succeeded)
  local message, reason = message_of(job)
  if succeeded then
    local metrics, unavailable = observe(self, trial)
    status.observation = { metrics = metrics }
    if unavailable then
      conditions.set(status, "MetricsUnavailable", "MetricsUnavailable", "Metrics are not available")
    else
      conditions.set(status, "Succeeded", "TrialSucceeded. Job reason: " .. reason,
        "Trial has succeeded. Job message: " .. message)
    end
  else
    conditions.set(status, "Failed", "TrialFailed. Job reason: " .. reason,
      "Trial has failed. Job message: " .. message)
  end
  status.completionTime = now()
  write_status(self, TRIALS, trial, status)
end

function Controller:trial(trial)
  if conditions.final(trial) or trial.metadata.deletionTimestamp then return end
  local status = trial.status or {}
  local job, problem = self.client.try:get("jobs.v1.batch", trial.metadata.name,
    { namespace = trial.metadata.namespace })
  if not job then
    if problem.status ~= 404 then error(problem, 0) end
    make_job(self, trial)
    status.startTime = status.startTime or now()
    conditions.set(status, "Created", "TrialCreated", "Trial is created")
    conditions.set(status, "Running", "TrialRunning", "Trial is running")
    write_status(self, TRIALS, trial, status)
    return
  end
  if katib.condition(trial.spec.successCondition, job) then return finish(self, trial, job, status, true) end
  if katib.condition(trial.spec.failureCondition, job) then return finish(self, trial, job, status, false) end
end

-- --- experiments ------------------------------------------------------------------------------------------

-- The trials of an experiment; those that were made a moment ago and are not seen yet among them.
local function trials_of(self, experiment)
  local made = self.made[experiment.metadata.uid] or {}
  self.made[experiment.metadata.uid] = made
  local list, seen = {}, {}
  for _, trial in ipairs(self.trials:list { namespace = experiment.metadata.namespace,
    labels = EXPERIMENT_LABEL .. "=" .. experiment.metadata.name }) do
    list[#list + 1] = trial
    seen[trial.metadata.name] = true
  end
  for name, trial in pairs(made) do
    if not seen[name] then list[#list + 1] = trial end
  end
  table.sort(list, function(a, b)
    local x, y = a.metadata.creationTimestamp or "", b.metadata.creationTimestamp or ""
    if x ~= y then return x < y end
    return a.metadata.name < b.metadata.name
  end)
  return list, made
end

local function make_trial(self, experiment, assignments, made)
  local spec = experiment.spec
  local name = ("%s-%s"):format(experiment.metadata.name, hash.random_hex(4))
  local template = spec.trialTemplate
  local trial = self.client:create({ apiVersion = "kubeflow.org/v1beta1", kind = "Trial",
    metadata = { name = name, namespace = experiment.metadata.namespace, ownerReferences = { owner_of(experiment) },
      labels = { [EXPERIMENT_LABEL] = experiment.metadata.name } },
    spec = { objective = spec.objective, parameterAssignments = assignments,
      runSpec = katib.render(experiment, { trial = name, assignments = assignments }),
      primaryContainerName = template.primaryContainerName, successCondition = template.successCondition,
      failureCondition = template.failureCondition, metricsCollector = spec.metricsCollectorSpec,
      retainRun = template.retain } }, { manager = MANAGER })
  made[name] = trial
end

local function make_trials(self, experiment, trials, made, count)
  local uid = experiment.metadata.uid
  local suggestions, state = katib.suggest(experiment, trials, count, { state = self.states[uid] })
  self.states[uid] = state
  for _, assignments in ipairs(suggestions) do make_trial(self, experiment, assignments, made) end
  return #suggestions
end

local GROUPS = { Succeeded = "trialsSucceeded", Failed = "trialsFailed", Killed = "trialsKilled",
  MetricsUnavailable = "trialMetricsUnavailable", EarlyStopped = "trialsEarlyStopped" }

local function count(status, trials)
  for _, field in pairs(GROUPS) do status[field] = nil end
  status.trials, status.trialsRunning = #trials, 0
  for _, trial in ipairs(trials) do
    local final = conditions.final(trial)
    if final then status[GROUPS[final]] = (status[GROUPS[final]] or 0) + 1
    else status.trialsRunning = status.trialsRunning + 1 end
  end
end

local function optimal(experiment, trials)
  local best = katib.best(experiment, trials)
  if not best then return nil end
  return { bestTrialName = best.name, parameterAssignments = best.assignments,
    observation = { metrics = best.metrics } }
end

function Controller:experiment(given)
  if conditions.final(given) or given.metadata.deletionTimestamp then return end
  local experiment = katib.default(given)
  experiment.metadata = given.metadata
  local trials, made = trials_of(self, experiment)
  local decision = katib.next(experiment, trials)
  local status = given.status or {}
  status.startTime = status.startTime or now()
  conditions.set(status, "Created", "ExperimentCreated", "Experiment is created")
  if decision.create > 0 and decision.condition ~= "Succeeded" and decision.condition ~= "Failed" then
    make_trials(self, experiment, trials, made, decision.create)
    trials = trials_of(self, experiment)
  end
  conditions.set(status, decision.condition, decision.reason, decision.message)
  count(status, trials)
  status.currentOptimalTrial = optimal(experiment, trials)
  if conditions.final { status = status } then status.completionTime = now() end
  write_status(self, EXPERIMENTS, given, status)
end

-- --- what happens -----------------------------------------------------------------------------------------

local function touch_experiment(self, trial)
  local name = trial.metadata.labels and trial.metadata.labels[EXPERIMENT_LABEL]
  local experiment = name and self.client.try:get(EXPERIMENTS, name, { namespace = trial.metadata.namespace })
  if experiment then self:experiment(experiment) end
end

local function touch_trial(self, job)
  local name = job.metadata.labels and job.metadata.labels[TRIAL_LABEL]
  local trial = name and self.client.try:get(TRIALS, name, { namespace = job.metadata.namespace })
  if trial then self:trial(trial) end
end

-- One thing at a time: what is decided twice at once would be done twice.
local function in_turn(self, handle)
  return function(_, object)
    if not object then return end
    local turn = self.turn
    local mine = require "task".event()
    self.turn = mine
    if turn then turn:wait() end
    local ok, problem = pcall(handle, object)
    mine:set()
    if not ok then
      if not errors.is(problem, "Cancelled") then self.log(errors.text(problem)) end
      error(problem, 0)
    end
  end
end

---@param client table of kube.connect
---@param options {log: fun(text: string)?}?
function M.start(client, options)
  local log = options and options.log or function() end
  local self = setmetatable({ client = client, made = {}, states = {}, log = log }, Controller)
  for _, crd in ipairs(crds.all()) do
    local made, problem = client.try:create(crd, { manager = MANAGER })
    if not made and problem.code ~= "AlreadyExists" then error(problem, 0) end
    client:wait { kind = "customresourcedefinitions", name = crd.metadata.name, condition = "Established",
      timeout = "10s" }
  end
  self.trials = client:informer { kind = TRIALS, namespace = "*", handler = in_turn(self, function(trial)
    self:trial(trial)
    if conditions.final(trial) then touch_experiment(self, trial) end
  end) }
  self.trials:sync "10s"
  self.jobs = client:informer { kind = "jobs.v1.batch", namespace = "*",
    handler = in_turn(self, function(job) touch_trial(self, job) end) }
  self.experiments = client:informer { kind = EXPERIMENTS, namespace = "*",
    handler = in_turn(self, function(experiment) self:experiment(experiment) end) }
  return self
end

function Controller:stop()
  for _, one in ipairs { self.experiments, self.jobs, self.trials } do one:stop() end
end

return M
