-- How an experiment stands: its best trial, whether it is over and why, how many trials it needs.
-- Not for changing anything. Trials are API objects, or {name, state, value, assignments} for short.
--   local step = status.next(experiment, trials)      --> { condition = "Running", create = 2, … }
local json = require "json"

local M = {}

local UNAVAILABLE = "unavailable"

-- The order in which a trial's conditions count.
local STATES = { "Killed", "Failed", "MetricsUnavailable", "Succeeded", "EarlyStopped", "Running" }

---@param trial table
---@return "Killed"|"Failed"|"MetricsUnavailable"|"Succeeded"|"EarlyStopped"|"Running"|"Pending"
function M.state(trial)
  if trial.state then return trial.state end
  local holds = {}
  for _, condition in ipairs((trial.status or {}).conditions or {}) do
    if condition.status == "True" then holds[condition.type or ""] = true end
  end
  for _, state in ipairs(STATES) do
    if holds[state] then return state end
  end
  return "Pending"
end

---@param trial table
---@return string
function M.name(trial)
  return trial.name or (trial.metadata or {}).name or ""
end

---@param trial table
---@return {name: string, value: string}[]
function M.assignments(trial)
  return trial.assignments or (trial.spec or {}).parameterAssignments or {}
end

local function strategy_of(objective)
  for _, strategy in ipairs(objective.metricStrategies or {}) do
    if strategy.name == objective.objectiveMetricName then return strategy.value end
  end
  return ({ minimize = "min", maximize = "max" })[objective.type] or "latest"
end

---The text of a trial's objective by the experiment's strategy, or "unavailable".
---@param experiment table
---@param trial table
---@return string
function M.objective(experiment, trial)
  if trial.value ~= nil then return tostring(trial.value) end
  local objective = experiment.spec.objective or {}
  for _, metric in ipairs(((trial.status or {}).observation or {}).metrics or {}) do
    if metric.name == objective.objectiveMetricName then
      local value = metric[strategy_of(objective)]
      return (value == nil or value == UNAVAILABLE) and metric.latest or value
    end
  end
  return UNAVAILABLE
end

local better = {
  minimize = function(a, b) return a < b end,
  maximize = function(a, b) return a > b end,
}

-- The best trial and its value. Of values that are no numbers the last one wins, as in the controller.
local function find_best(experiment, trials)
  local is_better = better[experiment.spec.objective.type] or function() return false end
  local best, best_value
  for _, trial in ipairs(trials) do
    local text = M.objective(experiment, trial)
    local value = tonumber(text)
    if text ~= UNAVAILABLE and (not value or best == nil) then best, best_value = trial, value or best_value end
    if value and (best_value == nil or is_better(value, best_value)) then best, best_value = trial, value end
  end
  return best, best_value
end

---The best trial so far.
---@param experiment table
---@param trials table[]
---@return {name: string, value: number?, assignments: table[], metrics: table[]}? # nil when no trial has a value
function M.best(experiment, trials)
  local trial, value = find_best(experiment, trials)
  if not trial then return nil end
  local metrics = ((trial.status or {}).observation or {}).metrics
  return { name = M.name(trial), value = value, assignments = M.assignments(trial), metrics = metrics or json.array {} }
end

local function count(trials)
  local counts = {
    Killed = 0, Failed = 0, MetricsUnavailable = 0, Succeeded = 0, EarlyStopped = 0, Running = 0, Pending = 0,
  }
  for _, trial in ipairs(trials) do
    local state = M.state(trial)
    counts[state] = (counts[state] or 0) + 1
  end
  return counts
end

local function goal_reached(experiment, trials)
  local objective = experiment.spec.objective
  local _, value = find_best(experiment, trials)
  if not objective.goal or not value then return false end
  return value == objective.goal or (better[objective.type] or better.maximize)(value, objective.goal)
end

local OUTCOMES = {
  goal = { "Succeeded", "ExperimentGoalReached", "Experiment has succeeded because Objective goal has reached" },
  failed = { "Failed", "ExperimentFailed", "Experiment has failed because max failed count has reached" },
  trials = {
    "Succeeded", "ExperimentMaxTrialsReached", "Experiment has succeeded because max trial count has reached",
  },
  running = { "Running", "ExperimentRunning", "Experiment is running" },
}

local function outcome_of(experiment, trials, counts)
  local spec = experiment.spec
  if goal_reached(experiment, trials) then return OUTCOMES.goal end
  local failed = counts.Failed + counts.MetricsUnavailable
  if spec.maxFailedTrialCount and failed >= spec.maxFailedTrialCount and failed > 0 then return OUTCOMES.failed end
  local completed = counts.Succeeded + failed + counts.Killed + counts.EarlyStopped
  if spec.maxTrialCount and completed >= spec.maxTrialCount then return OUTCOMES.trials end
  return OUTCOMES.running
end

-- The controller leaves trials without metrics out of the finished ones here; see katib-istio 1.4.
local function difference(spec, counts)
  local parallel = spec.parallelTrialCount or 3
  local active = counts.Pending + counts.Running
  local completed = counts.Succeeded + counts.Failed + counts.Killed + counts.EarlyStopped
  if active > parallel then return 0, active - parallel end
  local wanted = parallel
  if spec.maxTrialCount then wanted = math.min(spec.maxTrialCount - completed, parallel) end
  return math.max(wanted - active, 0), 0
end

---What the controller does next.
---@param experiment table
---@param trials table[]
---@return {condition: string, reason: string, message: string, create: integer, delete: integer, counts: table}
function M.next(experiment, trials)
  local counts = count(trials)
  local outcome = outcome_of(experiment, trials, counts)
  local create, delete = 0, 0
  if outcome == OUTCOMES.running then create, delete = difference(experiment.spec, counts) end
  return { condition = outcome[1], reason = outcome[2], message = outcome[3], create = create, delete = delete,
    counts = counts }
end

-- --- median stop -------------------------------------------------------------------------------------------

-- The mean of a trial's first values of the objective.
local function early_mean(experiment, trial, steps)
  local sum, used = 0.0, 0
  local name = (experiment.spec.objective or {}).objectiveMetricName
  for _, entry in ipairs(trial.history or {}) do
    if entry.name == name and used < steps and tonumber(entry.value) then
      sum, used = sum + tonumber(entry.value), used + 1
    end
  end
  return used > 0 and sum / used or nil
end

---The rules that the next trial stops by: those of medianstop, which is a mean in truth.
---@param experiment table
---@param trials table[] with history = {{name, value, timestamp}, …} in the order of time
---@return {name: string, value: string, comparison: "less"|"greater", startStep: integer}[]
function M.stop_rules(experiment, trials)
  local stopping = experiment.spec.earlyStopping
  if not stopping or stopping.algorithmName ~= "medianstop" then return {} end
  local settings = require "katib.settings".by_name(stopping.algorithmSettings)
  local least = tonumber(settings.min_trials_required) or 3
  local start = math.tointeger(tonumber(settings.start_step)) or 4
  local sum, seen = 0.0, 0
  for _, trial in ipairs(trials) do
    local mean = M.state(trial) == "Succeeded" and early_mean(experiment, trial, start)
    if mean then sum, seen = sum + mean, seen + 1 end
  end
  if seen == 0 or seen < least then return {} end
  return { {
    name = experiment.spec.objective.objectiveMetricName, value = require "katib.decimal".python_text(sum / seen),
    comparison = experiment.spec.objective.type == "maximize" and "less" or "greater", startStep = start,
  } }
end

return M
