-- Experiments in a cluster: created after they were judged, followed, resumed, with their trials as a table.
-- Not for the services of Katib themselves.
--   local k = client.connect { client = kube.connect {}, namespace = "team" }
--   k:create(experiment)      local done = k:wait("demo")
local database = require "katib.database"
local errors = require "errors"
local status = require "katib.status"
local task = require "task"
local template = require "katib.template"

local M = {}

local EXPERIMENTS, TRIALS = "experiments.kubeflow.org", "trials.kubeflow.org"
local EXPERIMENT_LABEL = "katib.kubeflow.org/experiment="
local FIRST_PAUSE, LONGEST_PAUSE = 1, 10
local TRIES = 12 -- of a change that met another's

---@class katib.Client
---@field kube table
---@field namespace string
---@field db katib.Database|katib.Ui
local Client = {}
Client.__index = Client

-- --- experiments -----------------------------------------------------------------------------------------

---@param name string
---@return table
function Client:get(name)
  return self.kube:get(EXPERIMENTS, name, { namespace = self.namespace })
end

---@return table[]
function Client:list()
  return (self.kube:list(EXPERIMENTS, { namespace = self.namespace }))
end

-- The ConfigMap that a template lies in; nil where it may not be read.
local function config_maps_of(self, experiment)
  local unreadable
  local maps = template.config_maps((experiment.spec or {}).trialTemplate, function(namespace, name)
    local found, problem = errors.try(self.kube):get("configmaps", name, { namespace = namespace })
    unreadable = not found and problem.code ~= "NotFound"
    return found
  end)
  return not unreadable and maps or nil
end

-- The first error among the findings, as an error table that has them all.
local function refuse(findings)
  for _, finding in ipairs(findings) do
    if finding.severity == "error" then
      errors.raise { code = "Experiment", message = finding.message, path = finding.path, findings = findings }
    end
  end
end

---Creates an experiment, unless something is wrong with it.
---@param experiment table
---@param options {unchecked: boolean?, everywhere: boolean?}? everywhere: look for the name in all namespaces, too
---@return table experiment, katib.Finding[] warnings # raises "Experiment" with all findings
function Client:create(experiment, options)
  options = options or {}
  local findings = {}
  if not options.unchecked then
    local others = options.everywhere and self.kube:list(EXPERIMENTS, { namespace = "*" }) or nil
    findings = require "katib".validate(experiment, { others = others,
      config_maps = config_maps_of(self, experiment) })
    refuse(findings)
  end
  local made = self.kube:create(experiment, { namespace = self.namespace })
  return made, findings
end

---@param name string
---@param options table? see kube: propagation, wait
function Client:delete(name, options)
  local given = { namespace = self.namespace, propagation = "Foreground" }
  for key, value in pairs(options or {}) do given[key] = value end
  return self.kube:delete(EXPERIMENTS, name, given)
end

-- The controller writes the same object all the time: a patch that met it is sent again.
local function patch(self, name, spec)
  local problem
  for attempt = 1, TRIES do
    local done
    done, problem = errors.try(self.kube):patch(EXPERIMENTS, name, { spec = spec },
      { namespace = self.namespace, type = "merge" })
    if done then return done end
    if problem.status ~= 409 then break end
    task.sleep(math.min(0.05 * attempt, 0.5))
  end
  error(problem, 0)
end

---Lets a finished experiment go on to more trials.
---@param name string
---@param most integer the new maxTrialCount
---@return table # raises "Experiment" when Katib would not restart it
function Client:resume(name, most)
  local before = self:get(name)
  local after = require "katib.defaults".experiment(before)
  after.spec.maxTrialCount = most
  refuse(require "katib.webhook".validate(after, { old = require "katib.defaults".experiment(before) }))
  return patch(self, name, { maxTrialCount = most })
end

---Ends an experiment soon. Katib has no word for it, and lets the maximum only be above the trials there are: one
---more begins, those that run come to their end.
---@param name string
---@return table
function Client:stop(name)
  local experiment = self:get(name)
  local most = ((experiment.status or {}).trials or 0) + 1
  local failed = experiment.spec.maxFailedTrialCount
  return patch(self, name, {
    maxTrialCount = most, parallelTrialCount = 1, maxFailedTrialCount = failed and math.min(failed, most) or nil,
  })
end

-- --- trials ------------------------------------------------------------------------------------------------

local function row_of(experiment, trial)
  local values, metrics = {}, {}
  for _, assignment in ipairs(status.assignments(trial)) do values[assignment.name] = assignment.value end
  for _, metric in ipairs(((trial.status or {}).observation or {}).metrics or {}) do metrics[metric.name] = metric end
  return {
    name = status.name(trial), state = status.state(trial), values = values, metrics = metrics,
    objective = tonumber(status.objective(experiment, trial)), started = (trial.status or {}).startTime,
    ended = (trial.status or {}).completionTime, trial = trial,
  }
end

---The trials of an experiment, oldest first.
---@param name string
---@param experiment table? when it is at hand
---@return table[] rows {name, state, values, metrics, objective, started, ended, trial}
function Client:trials(name, experiment)
  experiment = experiment or self:get(name)
  local items = self.kube:list(TRIALS, { namespace = self.namespace, labels = EXPERIMENT_LABEL .. name })
  local rows = {}
  for i, trial in ipairs(items) do rows[i] = row_of(experiment, trial) end
  table.sort(rows, function(a, b)
    local x = (a.trial.metadata or {}).creationTimestamp or ""
    local y = (b.trial.metadata or {}).creationTimestamp or ""
    return x < y or (x == y and a.name < b.name)
  end)
  return rows
end

---The metrics that a trial reported: from the database, or from the web interface, which shows one a second.
---@param trial string
---@param metric string?
---@return {name: string, value: string, timestamp: string}[]
function Client:history(trial, metric)
  return self.db:history(trial, metric)
end

-- --- waiting -----------------------------------------------------------------------------------------------

-- The condition that holds: the last one.
local function current(experiment)
  local conditions = (experiment.status or {}).conditions or {}
  return conditions[#conditions]
end

local function signature(rows)
  local parts = {}
  for i, row in ipairs(rows) do parts[i] = row.name .. "=" .. row.state end
  return table.concat(parts, ",")
end

---Waits until an experiment has succeeded or failed.
---@param name string
---@param options {timeout: number|string|nil, on_change: fun(rows: table[], experiment: table)?}?
---@return table experiment, {type: string, reason: string, message: string} condition # raises "Timeout"
function Client:wait(name, options)
  options = options or {}
  local deadline = options.timeout and task.now() + task.seconds(options.timeout)
  local pause, before = FIRST_PAUSE, nil
  while true do
    local experiment = self:get(name)
    local condition = current(experiment)
    if options.on_change then
      local rows = self:trials(name, experiment)
      local now = signature(rows) .. (condition and condition.type or "")
      if now ~= before then
        before, pause = now, FIRST_PAUSE
        options.on_change(rows, experiment)
      end
    end
    if condition and (condition.type == "Succeeded" or condition.type == "Failed") then return experiment, condition end
    local left = deadline and deadline - task.now()
    if left and left <= 0 then
      errors.raise { code = "Timeout", message = ("experiment %s is still %s"):format(name,
        condition and condition.type or "without a condition") }
    end
    task.sleep(left and math.min(pause, left) or pause)
    pause = math.min(pause * 1.5, LONGEST_PAUSE)
  end
end

---@param options {client: table?, context: string?, namespace: string?, database: string|function|nil,
---  ui: string|table|nil}? ui: of katib.ui, when the database cannot be reached
---@return katib.Client
function M.connect(options)
  options = options or {}
  local kube = options.client or require "kube".connect { context = options.context, namespace = options.namespace }
  local namespace = options.namespace or kube.namespace
  local client = setmetatable({
    kube = kube, namespace = namespace,
    db = options.ui and require "katib.ui".connect(options.ui, namespace)
      or database.connect(options.database or "katib-db-manager.kubeflow:6789"),
  }, Client)
  client.try = errors.try(client)
  return client
end

return M
