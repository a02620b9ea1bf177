-- lab.katib.experiments: what Katib's controller does about an experiment: asks for suggestions, makes trials, counts.
-- Not for what is decided (katib.next, katib.best).
--   experiments.look(controller, experiment)

local conditions = require "lab.katib.conditions"
local json = require "json"
local katib = require "katib"
local names = require "lab.katib.names"
local status_of = require "katib.status"

local M = {}

local FINALIZER = "update-prometheus-metrics"

local function is_completed(experiment)
  return conditions.holds(experiment.status, "Succeeded") or conditions.holds(experiment.status, "Failed")
end

-- --- counting -----------------------------------------------------------------------------------------------

local GROUPS = {
  Succeeded = { "trialsSucceeded", "succeededTrialList" }, Failed = { "trialsFailed", "failedTrialList" },
  Killed = { "trialsKilled", "killedTrialList" }, Running = { "trialsRunning", "runningTrialList" },
  Pending = { "trialsPending", "pendingTrialList" },
  EarlyStopped = { "trialsEarlyStopped", "earlyStoppedTrialList" },
  MetricsUnavailable = { "trialMetricsUnavailable", "metricsUnavailableTrialList" },
}

local function count(status, trials)
  for _, group in pairs(GROUPS) do status[group[1]], status[group[2]] = nil, nil end
  status.trials = #trials > 0 and #trials or nil
  for _, trial in ipairs(trials) do
    local group = GROUPS[status_of.state(trial)]
    status[group[1]] = (status[group[1]] or 0) + 1
    status[group[2]] = status[group[2]] or json.array {}
    table.insert(status[group[2]], trial.metadata.name)
  end
end

local function optimal(experiment, trials)
  local best = katib.best(experiment, trials)
  if not best then return { observation = json.object {} } end
  return { bestTrialName = best.name, parameterAssignments = best.assignments,
    observation = { metrics = best.metrics } }
end

-- --- trials -------------------------------------------------------------------------------------------------

local function make_trial(self, experiment, suggestion)
  local spec, template = experiment.spec, experiment.spec.trialTemplate
  local labels = json.object {}
  for key, value in pairs(experiment.metadata.labels or {}) do labels[key] = value end
  for key, value in pairs(suggestion.labels or {}) do labels[key] = value end
  labels[names.EXPERIMENT_LABEL] = experiment.metadata.name
  self:create { apiVersion = names.VERSION, kind = "Trial",
    metadata = { name = suggestion.name, namespace = experiment.metadata.namespace, labels = labels,
      ownerReferences = { names.owner(experiment) } },
    spec = { objective = spec.objective, parameterAssignments = suggestion.parameterAssignments,
      earlyStoppingRules = suggestion.earlyStoppingRules,
      runSpec = katib.render(experiment, { trial = suggestion.name, assignments = suggestion.parameterAssignments,
        config_maps = self:config_maps(template) }),
      primaryContainerName = template.primaryContainerName, primaryPodLabels = template.primaryPodLabels,
      successCondition = template.successCondition, failureCondition = template.failureCondition,
      metricsCollector = spec.metricsCollectorSpec, retainRun = template.retain == true or nil,
      labels = suggestion.labels } }
end

local function make_suggestion(self, experiment, requests)
  local spec = experiment.spec
  return self:create { apiVersion = names.VERSION, kind = "Suggestion",
    metadata = { name = experiment.metadata.name, namespace = experiment.metadata.namespace,
      labels = experiment.metadata.labels, ownerReferences = { names.owner(experiment) } },
    spec = { algorithm = spec.algorithm, earlyStopping = spec.earlyStopping, requests = requests,
      resumePolicy = spec.resumePolicy } }
end

-- Those that were stopped early and whose metrics have not come: Katib asks for as many suggestions too few.
local function unobserved(trials)
  local found = 0
  for _, trial in ipairs(trials) do
    if status_of.state(trial) == "EarlyStopped" and not (trial.status or {}).observation then found = found + 1 end
  end
  return found
end

-- Trials for suggestions that have none yet; more suggestions are asked for.
local function make_trials(self, experiment, trials, more)
  local requests = #trials + more - unobserved(trials)
  local suggestion = self:get(names.SUGGESTIONS, experiment.metadata.namespace, experiment.metadata.name)
  if not suggestion then
    make_suggestion(self, experiment, requests)
    return
  end
  if conditions.holds(suggestion.status, "Failed") then
    conditions.finish(experiment.status, "Failed", "ExperimentFailed", "Suggestion has failed")
    return
  end
  local known = {}
  for _, trial in ipairs(trials) do known[trial.metadata.name] = true end
  for _, one in ipairs(suggestion.status and suggestion.status.suggestions or {}) do
    if not known[one.name] and more > 0 then
      make_trial(self, experiment, one)
      more = more - 1
    end
  end
  if suggestion.spec.requests ~= requests then
    suggestion.spec.requests = requests
    self.client:update(suggestion)
  end
end

-- Too many at a time, since parallelTrialCount was lowered: the newest go.
local function delete_trials(self, trials, fewer)
  for i = #trials, 1, -1 do
    local state = status_of.state(trials[i])
    if fewer > 0 and (state == "Running" or state == "Pending") then
      self:delete(names.TRIALS, trials[i])
      fewer = fewer - 1
    end
  end
end

-- --- beginning and end --------------------------------------------------------------------------------------

local ENDS = { Never = "Suggestion is succeeded, can't be restarted",
  FromVolume = "Suggestion is succeeded, suggestion volume is not deleted, can be restarted" }

local function end_suggestion(self, experiment)
  local message = ENDS[experiment.spec.resumePolicy]
  local suggestion = message and self:get(names.SUGGESTIONS, experiment.metadata.namespace, experiment.metadata.name)
  if not suggestion then return end
  local status = suggestion.status or {}
  if conditions.holds(status, "Failed") or conditions.holds(status, "Succeeded") then return end
  conditions.set(status, "Running", "False", "Suggestion is succeeded", "Suggestion is not running")
  conditions.set(status, "DeploymentReady", "False", "Suggestion is succeeded", "Deployment is not ready")
  conditions.set(status, "Succeeded", "True", "Experiment is succeeded", message)
  suggestion.status = status
  self:save_status(suggestion)
end

-- A finished experiment goes on when it may have more trials than it has had.
local function restarts(experiment)
  local succeeded = conditions.get(experiment.status, "Succeeded")
  if not succeeded or succeeded.reason ~= "ExperimentMaxTrialsReached" then return false end
  local policy = experiment.spec.resumePolicy
  return (policy == "LongRunning" or policy == "FromVolume")
    and (experiment.spec.maxTrialCount or 0) ~= (experiment.status.trials or 0)
end

local function restart(self, experiment)
  conditions.remove(experiment.status, "Succeeded")
  conditions.set(experiment.status, "Restarting", "True", "ExperimentRestarting", "Experiment is restarted")
  local suggestion = experiment.spec.resumePolicy == "FromVolume"
    and self:get(names.SUGGESTIONS, experiment.metadata.namespace, experiment.metadata.name)
  if suggestion and conditions.holds(suggestion.status, "Succeeded") then
    conditions.remove(suggestion.status, "Succeeded")
    conditions.set(suggestion.status, "Running", "False", "Experiment is restarting", "Suggestion is not running")
    self:save_status(suggestion)
  end
end

local function begin(experiment)
  local status = experiment.status or {}
  experiment.status = status
  status.startTime, status.completionTime = conditions.now(), json.null
  status.currentOptimalTrial = status.currentOptimalTrial or { observation = json.object {} }
  conditions.set(status, "Created", "True", "ExperimentCreated", "Experiment is created")
end

-- Goes on with one that is there: counts, decides, makes or deletes trials.
local function advance(self, experiment)
  local status, trials = experiment.status, self:trials_of(experiment)
  if status.completionTime == json.null then status.completionTime = nil end
  local decision = katib.next(experiment, trials)
  if #trials > 0 then
    count(status, trials)
    status.currentOptimalTrial = optimal(experiment, trials)
    if decision.condition == "Running" then
      conditions.set(status, "Running", "True", decision.reason, decision.message)
    elseif not is_completed(experiment) then
      conditions.finish(status, decision.condition, decision.reason, decision.message)
      status.completionTime = conditions.now()
    end
  end
  if is_completed(experiment) then return end
  if decision.delete > 0 then delete_trials(self, trials, decision.delete) end
  if decision.create > 0 then make_trials(self, experiment, trials, decision.create) end
end

---@param self lab.KatibController
---@param experiment table
function M.look(self, experiment)
  if experiment.metadata.deletionTimestamp then return self:drop_finalizer(experiment, FINALIZER) end
  if self:add_finalizer(experiment, FINALIZER) then return end
  local before = json.encode(experiment.status or {}, { sort = true })
  if not conditions.holds(experiment.status, "Created") then
    begin(experiment)
  elseif is_completed(experiment) and restarts(experiment)
    and not (experiment.status.trialsRunning or experiment.status.trialsPending) then
    restart(self, experiment)
    advance(self, experiment)
  elseif is_completed(experiment) then
    local trials = self:trials_of(experiment)
    count(experiment.status, trials)
    if #trials > 0 then experiment.status.currentOptimalTrial = optimal(experiment, trials) end
    end_suggestion(self, experiment)
  else
    advance(self, experiment)
    if is_completed(experiment) then end_suggestion(self, experiment) end
  end
  if json.encode(experiment.status, { sort = true }) ~= before then self:save_status(experiment) end
end

return M
