-- kale.trials: the trials of an experiment while it goes on: a live table, their logs, runs that outlive their trial,
-- and the end of all of it when it is interrupted.
-- Not for making the experiment (kale.tune).
--   local view <close> = trials.watch(at, experiment, { logs = true }); local done = view:follow()

local errors = require "errors"
local json = require "json"
local metrics = require "kfp.client.metrics"
local run_ids = require "kale.trial".run_ids
local status = require "katib.status"
local task = require "task"
local term = require "term"
local waiting = require "kale.waiting"

local M = {}

local EXPERIMENTS, TRIALS = "experiments.v1beta1.kubeflow.org", "trials.v1beta1.kubeflow.org"
local EXPERIMENT_LABEL = "katib.kubeflow.org/experiment="
local PAUSE = 0.5 -- between looks
local LOG_PAUSE = 1 -- between looks at logs
local WAITING_PAUSE = 5 -- between looks at pods that do not start
local OBSERVED = 3 -- seconds for what trials that were stopped early had come to
local SETTLING = 10 -- seconds for runs that outlive their experiment
local GONE = 8 -- seconds to end an experiment that is interrupted

-- States of runs that have not ended, and of trials.
local UNDER_WAY = { PENDING = true, RUNNING = true, PAUSED = true }
local ACTIVE = { Running = true, Pending = true }

---@class kale.Trials
---@field at {client: table, kfp: table, namespace: string, lab: table?} lab: what ends by itself
---@field clearing task.Task? what ends it all, once it was interrupted
local Trials = {}
Trials.__index = Trials

-- --- what is known ------------------------------------------------------------------------------------------

local function read(self)
  local experiment = self.at.client:get(EXPERIMENTS, self.name, { namespace = self.at.namespace })
  local list = self.at.client:list(TRIALS, { namespace = self.at.namespace, labels = EXPERIMENT_LABEL .. self.name })
  table.sort(list, function(a, b)
    local x, y = a.metadata.creationTimestamp or "", b.metadata.creationTimestamp or ""
    return x < y or x == y and a.metadata.name < b.metadata.name
  end)
  self.experiment, self.list = experiment, list
end

-- The connection may be away for a moment, and the table stands still meanwhile.
local function look(self)
  local ok, problem = pcall(read, self)
  if ok then
    self.failing = nil
    return
  end
  local passes = errors.is(problem) and (problem.code == "Connection" or problem.code == "Timeout"
    or (problem.status or 0) >= 500 or problem.status == 429)
  self.failing = self.failing or task.now()
  if not passes or task.now() - self.failing > 600 then error(problem, 0) end
end

---@param trial table
---@return table<string, string> values of the parameters, as the pipeline gets them
function M.values(trial, choices)
  local values = {}
  for _, one in ipairs(status.assignments(trial)) do
    local table_of = choices and choices[one.name]
    values[one.name] = table_of and table_of[one.value] or one.value
  end
  return values
end

-- One that was given more trials goes on soon, although it still says that all were made.
local function final(experiment)
  local now = experiment.status or {}
  for _, one in ipairs(now.conditions or {}) do
    if one.status == "True" and (one.type == "Succeeded" or one.type == "Failed") then
      local goes_on = one.reason == "ExperimentMaxTrialsReached" and experiment.spec.resumePolicy ~= "Never"
        and (experiment.spec.maxTrialCount or 0) > (now.trials or 0)
      return not goes_on and one.type or nil
    end
  end
  return nil
end

---The run of a trial.
---@param trial table
---@return string? id # nil while it has none
---@return table? run
function Trials:run_of(trial)
  local runs = errors.try(self.at.kfp.runs)
  for _, id in ipairs(run_ids(trial)) do
    local run = runs:get(id)
    if run then return id, run end
  end
  return nil
end

-- --- what is seen -------------------------------------------------------------------------------------------

local COLOURS = { Running = "blue", Succeeded = "green", Failed = "bold red", Killed = "red", EarlyStopped = "yellow",
  MetricsUnavailable = "red", Pending = "dim" }

local function rows_of(self)
  local rows, names = {}, {}
  for _, parameter in ipairs(self.experiment.spec.parameters) do names[#names + 1] = parameter.name end
  for _, trial in ipairs(self.list) do
    local values, state = M.values(trial, self.choices), status.state(trial)
    local row = { trial.metadata.name, term.style(state, COLOURS[state] or "bold", "stderr") }
    for _, name in ipairs(names) do row[#row + 1] = values[name] or "" end
    local value = status.objective(self.experiment, trial)
    row[#row + 1] = value ~= "unavailable" and value or ""
    rows[#rows + 1] = row
  end
  local header = { "TRIAL", "STATE" }
  table.move(names, 1, #names, 3, header)
  header[#header + 1] = self.experiment.spec.objective.objectiveMetricName
  return rows, header
end

---The table of trials as it stands.
---@return string
function Trials:table()
  local rows, header = rows_of(self)
  return term.table(rows, { header = header })
end

---One line about the whole.
---@return string
function Trials:summary()
  local now = self.experiment.status or {}
  local best = require "kale.tune".best(self.experiment, self.choices)
  local objective = self.experiment.spec.objective.objectiveMetricName
  local parts = { ("trials %d of %d: %d running, %d succeeded, %d failed"):format(now.trials or 0,
    self.experiment.spec.maxTrialCount or 0, now.trialsRunning or 0, now.trialsSucceeded or 0, now.trialsFailed or 0) }
  if now.trialsEarlyStopped then parts[#parts + 1] = ("%d stopped early"):format(now.trialsEarlyStopped) end
  if best then
    local value = best.metrics[objective]
    return ("%s; best %s = %s"):format(table.concat(parts, ", "), objective, value or "?")
  end
  return table.concat(parts, ", ")
end

local function draw(self)
  if not self.experiment then return {} end
  local lines = {}
  for line in self:table():gmatch "[^\n]+" do lines[#lines + 1] = line end
  lines[#lines + 1] = term.style(self:summary(), "dim", "stderr")
  return lines
end

-- Where nothing can be redrawn, a line for each change.
local function tell(self)
  if term.shows "stderr" then return self.progress:changed() end
  local text = self:summary()
  if text ~= self.told then self.progress:print(text) end
  self.told = text
end

-- --- logs ---------------------------------------------------------------------------------------------------

local function print_logs(self, name, id)
  for _, entry in ipairs(errors.try(self.at.kfp.runs):tasks(id) or {}) do
    local text = errors.try(self.at.kfp.runs):logs(id, entry.name) or ""
    local place, key = name .. "/" .. entry.name, id .. "/" .. entry.name
    local seen = self.seen[key] or 0
    local whole = text:match "^.*\n" or ""
    for line in whole:sub(seen + 1):gmatch "([^\n]*)\n" do
      if not metrics.is_line(line) then
        self.progress:print(("%s %s"):format(term.style(place .. " |", "cyan", "stderr"), line))
      end
    end
    self.seen[key] = math.max(seen, #whole)
  end
end

local function follow_logs(self)
  for _, trial in ipairs(self.list or {}) do
    local state, id = status.state(trial), nil
    if state ~= "Pending" then id = self:run_of(trial) end
    if id and not self.read[id] then
      print_logs(self, trial.metadata.name, id)
      self.read[id] = not ACTIVE[state] or nil
    end
  end
end

-- --- pods that do not start -----------------------------------------------------------------------------------

-- Katib waits for a pod whose image cannot be pulled, or whose Job may make none, without an end and without a word.
local function tell_waiting(self)
  for _, trial in ipairs(self.list or {}) do
    local name = trial.metadata.name
    local reason = ACTIVE[status.state(trial)] and waiting.reason(self.at.client, self.at.namespace, name)
    if reason and not self.told_waiting[reason] then
      self.told_waiting[reason] = true
      self.progress:print(("trial %s does not start: %s"):format(name, reason))
    end
  end
end

-- --- runs without a trial -----------------------------------------------------------------------------------

local function runs_under_way(self)
  local found = {}
  local experiment = self.at.kfp.experiments:list { filter = { display_name = self.kfp_experiment } }()
  if not experiment then return found end
  local iterator = self.at.kfp.runs:list { experiment_id = experiment.experiment_id, page_size = 100,
    sort_by = "created_at desc" }
  for run in iterator do
    if UNDER_WAY[run.state] then found[#found + 1] = run end
    if #found >= 100 then break end
  end
  return found
end

-- Trials and workflows say which run is theirs, once it is there: Katib's interface links them.
local function annotate(self, runs)
  local there = {}
  for _, run in ipairs(runs) do there[run.run_id] = true end
  for _, one in ipairs(self.list or {}) do
    local key, state, id = one.metadata.uid or one.metadata.name, status.state(one), nil
    if not self.annotated[key] then
      local ended = state == "Succeeded" or state == "EarlyStopped"
      for _, possible in ipairs(run_ids(one)) do id = id or there[possible] and possible end
      if ended and not id then id = self:run_of(one) end
      if id then require "kale.trial".annotate(self.at.client, self.at.namespace, one.metadata.name, id) end
      self.annotated[key] = ended or id
    end
  end
end

---Ends the runs whose trial is gone or has ended: each within 10 s.
---@return string[] ids of those that were ended
function Trials:reap()
  local active, ended = {}, {}
  for _, trial in ipairs(self.list or {}) do
    for _, id in ipairs(ACTIVE[status.state(trial)] and run_ids(trial) or {}) do active[id] = true end
  end
  local ok, runs = pcall(runs_under_way, self)
  for _, run in ipairs(ok and runs or {}) do
    local id = run.run_id
    local mine = (run.display_name or ""):sub(1, #self.name + 1) == self.name .. "-"
    -- A run is older than the list of trials that it is looked for in, or it waits for the next look.
    if mine and not active[id] and self.suspect[id] then
      if not select(2, errors.try(self.at.kfp.runs):terminate(id)) then ended[#ended + 1] = id end
    end
    self.suspect[id] = mine and not active[id] or nil
  end
  if not ok and errors.is(runs, "Cancelled") then error(runs, 0) end
  if ok and self.at.client then annotate(self, runs) end
  return ended
end

-- --- the whole ----------------------------------------------------------------------------------------------

local function in_background(self, pause, work)
  self.tasks[#self.tasks + 1] = task.spawn(function()
    while true do
      task.sleep(pause)
      local ok, problem = pcall(work, self)
      if not ok and (not errors.is(problem) or problem.code == "Cancelled") then error(problem, 0) end
    end
  end)
end

-- What a trial that was stopped early had come to is told a moment after it has been.
local function lacks_observation(self, trial)
  return status.state(trial) == "EarlyStopped" and status.objective(self.experiment, trial) == "unavailable"
end

-- An experiment that has reached its goal leaves its last trials alone: what still runs for them is ended.
local function settle(self)
  local started, runs = task.now(), errors.try(self.at.kfp.runs)
  repeat
    local left, patient = 0, task.now() - started < OBSERVED
    for _, trial in ipairs(self.list or {}) do
      local active, id, run = ACTIVE[status.state(trial)], nil, nil
      if patient and lacks_observation(self, trial) then left = left + 1 end
      if active then id, run = self:run_of(trial) end
      if run and UNDER_WAY[run.state] then runs:terminate(id) end
      -- One that has no run yet may ask for it any moment.
      if active and (not run or UNDER_WAY[run.state] or run.state == "CANCELING") then left = left + 1 end
    end
    if left == 0 then return end
    task.sleep(PAUSE)
    look(self)
  until task.now() - started > SETTLING
end

---Follows the experiment to its end. Interrupted, it deletes the experiment and ends its runs.
---@return table experiment as it ended # raises "Cancelled"
function Trials:follow()
  local ok, problem = pcall(function()
    in_background(self, 2, self.reap)
    in_background(self, WAITING_PAUSE, tell_waiting)
    if self.logs then in_background(self, LOG_PAUSE, follow_logs) end
    local shown
    while true do
      look(self)
      local text = self.experiment and json.encode(self.experiment.status or {}, { sort = true })
      if text ~= shown then tell(self) end
      shown = text
      if self.experiment and final(self.experiment) then break end
      task.sleep(PAUSE)
    end
    settle(self)
    tell(self)
  end)
  for _, one in ipairs(self.tasks) do one:cancel() end
  if not ok then
    if errors.is(problem, "Cancelled") and not self.at.lab then -- a lab of our own ends with all that is in it
      io.stderr:write(("interrupted: experiment %s is being deleted, and its runs are being ended\n"):format(self.name))
      self.clearing = task.last(self.abandon, self)
    end
    error(problem, 0)
  end
  for _, one in ipairs(self.tasks) do pcall(one.wait, one) end
  if self.logs then follow_logs(self) end
  self:reap()
  self:reap()
  return self.experiment
end

---Deletes the experiment, with its trials, and ends their runs.
function Trials:abandon()
  local deadline = task.now() + GONE
  local client, kfp = errors.try(self.at.client), errors.try(self.at.kfp.runs)
  pcall(look, self)
  client:delete(EXPERIMENTS, self.name, { namespace = self.at.namespace, propagation = "Background" })
  for _, trial in ipairs(self.list or {}) do
    for _, id in ipairs(ACTIVE[status.state(trial)] and run_ids(trial) or {}) do kfp:terminate(id) end
  end
  -- A pod may have asked for its run in the meantime.
  repeat
    local ok, runs = pcall(runs_under_way, self)
    local left = 0
    for _, run in ipairs(ok and runs or {}) do
      if (run.display_name or ""):sub(1, #self.name + 1) == self.name .. "-" then
        left = left + 1
        kfp:terminate(run.run_id)
      end
    end
    if left == 0 and ok and task.now() > deadline - GONE + 1 then return end
    task.sleep(0.3)
  until task.now() > deadline
end

function Trials:close()
  for _, one in ipairs(self.tasks) do one:cancel() end
  self.progress:close()
end
Trials.__close = Trials.close

---@param at {client: table, kfp: table, namespace: string}
---@param name string of the experiment
---@param options {kfp_experiment: string, logs: boolean?, choices: table?}
---  kfp_experiment: the name under which its runs lie at KFP; choices: real values by parameter and code
---@return kale.Trials
function M.watch(at, name, options)
  local self = setmetatable({ at = at, name = name, logs = options.logs, choices = options.choices,
    kfp_experiment = options.kfp_experiment, seen = {}, read = {}, suspect = {}, told_waiting = {}, annotated = {},
    tasks = {}, list = {} }, Trials)
  self.progress = term.progress { draw = function() return draw(self) end }
  return self
end

return M
