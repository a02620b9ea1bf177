-- lab.katib.trials: what Katib's controller does about a trial: its run is made and watched, its metrics are fetched.
-- Not for the run itself (the cluster's controllers) nor for reading logs (lab.katib.collector).
--   trials.look(controller, trial)

local conditions = require "lab.katib.conditions"
local json = require "json"
local katib = require "katib"
local names = require "lab.katib.names"

local M = {}

local FINALIZER = "clean-metrics-in-db"

local function metric_names(objective)
  local list = { objective.objectiveMetricName }
  for _, name in ipairs(objective.additionalMetricNames or {}) do list[#list + 1] = name end
  return list
end

-- --- the run ------------------------------------------------------------------------------------------------

local function copy(value) return json.decode(json.encode(value)) end

local function find_run(self, trial)
  local spec = trial.spec.runSpec
  return self:get_any(spec.apiVersion, spec.kind, trial.metadata.namespace, trial.metadata.name)
end

local function make_run(self, trial)
  local run = copy(trial.spec.runSpec)
  run.metadata.ownerReferences = { names.owner(trial) }
  self:watch_runs(run.apiVersion, run.kind)
  return self:create(run)
end

-- What holds of a run: the failure is looked for first.
local function outcome_of(trial, run)
  for _, one in ipairs { { "Failed", trial.spec.failureCondition }, { "Succeeded", trial.spec.successCondition } } do
    local holds, first = katib.condition(one[2], run)
    if holds then return one[1], first or {} end
  end
  return nil
end

-- --- its end ------------------------------------------------------------------------------------------------

local REASONS = {
  Succeeded = { "TrialSucceeded", "Trial has succeeded" }, Failed = { "TrialFailed", "Trial has failed" },
  MetricsUnavailable = { "MetricsUnavailable", "Metrics are not available" },
}

local function finish(trial, kind, first)
  local reason, message = table.unpack(REASONS[kind])
  if (first.reason or "") ~= "" then reason = ("%s. Job reason: %s"):format(reason, first.reason) end
  if (first.message or "") ~= "" then message = ("%s. Job message: %s"):format(message, first.message) end
  conditions.finish(trial.status, kind, reason, message)
  trial.status.completionTime = conditions.now()
end

-- What the database has of it; nil when nothing has come.
local function observe(self, trial)
  local objective = trial.spec.objective
  local log = self.database:history(trial.metadata.name)
  if #log == 0 and trial.spec.metricsCollector.collector.kind == "Push" then
    local now = os.date "!%Y-%m-%dT%H:%M:%SZ"
    log = { { name = objective.objectiveMetricName, value = "unavailable", timestamp = now } }
    self.database:report(trial.metadata.name, log)
  end
  if #log == 0 then return nil end
  return { metrics = katib.observation(log, metric_names(objective)) }
end

local function is_available(trial)
  for _, metric in ipairs(trial.status.observation.metrics or {}) do
    if metric.name == trial.spec.objective.objectiveMetricName then
      return metric.latest ~= nil and metric.latest ~= "unavailable"
        or metric.min ~= nil and metric.min ~= "unavailable"
    end
  end
  return false
end

local function settle(self, trial, run)
  local outcome, first = outcome_of(trial, run)
  if outcome == "Failed" then
    if not conditions.final(trial) then finish(trial, "Failed", first) end
    return
  end
  if outcome ~= "Succeeded" then
    if not conditions.final(trial) then
      conditions.set(trial.status, "Running", "True", "TrialRunning", "Trial is running")
    end
    return
  end
  trial.status.observation = trial.status.observation or observe(self, trial)
  if not trial.status.observation then return self:later("trial", trial.metadata.namespace, trial.metadata.name, 1) end
  if conditions.final(trial) then return end
  finish(trial, is_available(trial) and "Succeeded" or "MetricsUnavailable", first)
end

local function advance(self, trial)
  local final = conditions.final(trial)
  local run = find_run(self, trial)
  if final and not trial.spec.retainRun then
    if run and not run.metadata.deletionTimestamp then
      self.client:delete(run.kind == "Job" and "jobs.v1.batch" or run.kind, run.metadata.name,
        { namespace = run.metadata.namespace, propagation = "Foreground" })
    end
    return
  end
  if final and (final ~= "EarlyStopped" or trial.status.observation) then return end
  if not run then
    if final then return end
    run = make_run(self, trial)
  end
  if run then settle(self, trial, run) end
end

---@param self lab.KatibController
---@param trial table
function M.look(self, trial)
  if trial.metadata.deletionTimestamp then
    self.database:forget(trial.metadata.name)
    return self:drop_finalizer(trial, FINALIZER)
  end
  if self:add_finalizer(trial, FINALIZER) then return end
  local before = json.encode(trial.status or {}, { sort = true })
  trial.status = trial.status or {}
  if not conditions.holds(trial.status, "Created") then
    trial.status.startTime, trial.status.completionTime = conditions.now(), json.null
    conditions.set(trial.status, "Created", "True", "TrialCreated", "Trial is created")
  else
    if trial.status.completionTime == json.null then trial.status.completionTime = nil end
    advance(self, trial)
  end
  if json.encode(trial.status, { sort = true }) ~= before then self:save_status(trial) end
end

return M
