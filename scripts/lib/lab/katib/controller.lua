-- lab.katib.controller: Katib beside a lab's API: webhooks, metrics database, services, and the controller whose queue
-- is filled by what changes.
-- Not for what is decided (experiments, suggestions, trials), nor for collecting (collector).
--   local katib = controller.start(client, { authority = lab.authority }); katib:stop()

local config = require "lab.katib.config"
local crds = require "lab.katib.crds"
local conditions = require "lab.katib.conditions"
local databases = require "lab.katib.database"
local errors = require "errors"
local names = require "lab.katib.names"
local register = require "lab.katib.register"
local services = require "lab.katib.service"
local task = require "task"
local template = require "katib.template"

local M = {}

local LONGEST_BACKOFF = 5

---@class lab.KatibController
---@field client table of kube.connect
---@field database lab.KatibDatabase
---@field service lab.KatibService
---@field log fun(text: string)
local Controller = {}
Controller.__index = Controller

local LOOKS = { experiment = { names.EXPERIMENTS, "lab.katib.experiments" },
  suggestion = { names.SUGGESTIONS, "lab.katib.suggestions" }, trial = { names.TRIALS, "lab.katib.trials" } }

-- --- reading and writing ------------------------------------------------------------------------------------

-- A kind as the client wants it: "Job.v1.batch".
local function long_name(version, kind)
  local group, short = version:match "^(.*)/(.*)$"
  return group and ("%s.%s.%s"):format(kind, short, group) or ("%s.%s"):format(kind, version)
end

---@return table? object nil when it is not there
function Controller:get(kind, namespace, name)
  local object, problem = self.client.try:get(kind, name, { namespace = namespace })
  if not object and problem.code ~= "NotFound" then error(problem, 0) end
  return object
end

---@param version string apiVersion
---@return table? object nil also when there is no such kind
function Controller:get_any(version, kind, namespace, name)
  return self:get(long_name(version, kind), namespace, name)
end

---@return table? object nil when it is there already
function Controller:create(object)
  local made, problem = self.client.try:create(object)
  if not made and problem.code ~= "AlreadyExists" then error(problem, 0) end
  return made
end

---Makes what is not there yet.
---@return table object as it stands
function Controller:ensure(object)
  local kind = long_name(object.apiVersion, object.kind)
  return self:get(kind, object.metadata.namespace, object.metadata.name) or self:create(object) or object
end

function Controller:delete(kind, object)
  local _, problem = self.client.try:delete(kind, object.metadata.name, { namespace = object.metadata.namespace })
  if problem and problem.code ~= "NotFound" then error(problem, 0) end
end

---@return table object
function Controller:save_status(object) return self.client:update(object, { subresource = "status" }) end

---@return boolean added whether it was missing
function Controller:add_finalizer(object, name)
  local list = object.metadata.finalizers or {}
  for _, one in ipairs(list) do
    if one == name then return false end
  end
  list[#list + 1] = name
  object.metadata.finalizers = list
  self.client:update(object)
  return true
end

function Controller:drop_finalizer(object, name)
  local left = {}
  for _, one in ipairs(object.metadata.finalizers or {}) do
    if one ~= name then left[#left + 1] = one end
  end
  if #left == #(object.metadata.finalizers or {}) then return end
  object.metadata.finalizers = #left > 0 and left or nil
  self.client:update(object)
end

---The trials of an experiment, oldest first.
---@param experiment table
---@return table[]
function Controller:trials_of(experiment)
  local list = self.client:list(names.TRIALS, { namespace = experiment.metadata.namespace,
    labels = names.EXPERIMENT_LABEL .. "=" .. experiment.metadata.name })
  table.sort(list, function(a, b)
    local x, y = a.metadata.creationTimestamp or "", b.metadata.creationTimestamp or ""
    return x < y or x == y and a.metadata.name < b.metadata.name
  end)
  return list
end

---The ConfigMap that a template is taken from, as katib.render wants it.
---@return table config_maps
function Controller:config_maps(trial_template)
  return template.config_maps(trial_template, function(...) return self:get("configmaps", ...) end)
end

-- --- the queue ----------------------------------------------------------------------------------------------

---Looks at something soon.
---@param what "experiment"|"suggestion"|"trial"
function Controller:add(what, namespace, name)
  local key = table.concat({ what, namespace, name }, "/")
  if self.queued[key] then return end
  self.queued[key] = true
  table.insert(self.queue, { what = what, namespace = namespace, name = name, key = key })
  self.wake:set()
end

---Looks at something after some seconds.
function Controller:later(what, namespace, name, seconds)
  local key = table.concat({ what, namespace, name }, "/")
  if self.timers[key] or self.stopped then return end
  self.timers[key] = task.spawn(function()
    local ok = pcall(task.sleep, seconds)
    self.timers[key] = nil
    if ok and not self.stopped then self:add(what, namespace, name) end
  end)
end

local function look(self, item)
  local kind, module = table.unpack(LOOKS[item.what])
  local object = self:get(kind, item.namespace, item.name)
  if object then require(module).look(self, object) end
end

-- A failure is tried again, later each time; another's write in between is no failure.
local function retry(self, item, problem)
  local failures = (self.failures[item.key] or 0) + 1
  self.failures[item.key] = failures
  if not errors.is(problem) or problem.status ~= 409 and problem.status ~= 404 then
    self.log(("katib: %s %s: %s"):format(item.what, item.name, errors.text(problem)))
  end
  self:later(item.what, item.namespace, item.name, math.min(0.02 * 2 ^ failures, LONGEST_BACKOFF))
end

local function run(self)
  while not self.stopped do
    local item = table.remove(self.queue, 1)
    if not item then
      self.wake:clear()
      self.wake:wait()
    else
      self.queued[item.key] = nil
      local ok, problem = pcall(look, self, item)
      if ok then self.failures[item.key] = nil
      elseif errors.is(problem, "Cancelled") then error(problem, 0)
      elseif not self.stopped then retry(self, item, problem) end
    end
  end
end

-- --- what changes -------------------------------------------------------------------------------------------

-- What a change of an object of a kind makes the controller look at.
local function on(self, kind, told)
  self.informers[#self.informers + 1] = self.client:informer { kind = kind, namespace = "*",
    handler = function(_, object, last)
      local known = object or last
      if known then told(known, known.metadata.namespace) end
    end }
end

local function owner_changed(self, what, kind)
  return function(object, namespace)
    local owner = names.owned_by(object, kind)
    if owner then self:add(what, namespace, owner) end
  end
end

---Watches runs of a kind, if it is not watched yet.
function Controller:watch_runs(version, kind)
  local name = long_name(version, kind)
  if self.watched[name] then return end
  self.watched[name] = true
  on(self, name, owner_changed(self, "trial", "Trial"))
end

local function watch(self)
  local owner_of_trial = owner_changed(self, "experiment", "Experiment")
  on(self, names.EXPERIMENTS, function(object, namespace)
    self:add("experiment", namespace, object.metadata.name)
  end)
  on(self, names.SUGGESTIONS, function(object, namespace)
    self:add("suggestion", namespace, object.metadata.name)
    self:add("experiment", namespace, object.metadata.name)
  end)
  on(self, names.TRIALS, function(object, namespace)
    self:add("trial", namespace, object.metadata.name)
    owner_of_trial(object, namespace)
  end)
  on(self, "deployments.v1.apps", owner_changed(self, "suggestion", "Suggestion"))
  self:watch_runs("batch/v1", "Job")
end

-- --- services -----------------------------------------------------------------------------------------------

local function find_trial(self, name)
  for _, trial in ipairs((self.client:list(names.TRIALS, { namespace = "*" }))) do
    if trial.metadata.name == name then return trial end
  end
  return nil
end

---Marks a trial as stopped early, as the early-stopping service does.
---@param name string
---@return string? problem
function Controller:stop_trial(name)
  for _ = 1, 10 do
    local trial = find_trial(self, name)
    if not trial then return ('(404) trials.kubeflow.org "%s" not found'):format(name) end
    trial.status = trial.status or {}
    conditions.set(trial.status, "EarlyStopped", "True", "TrialEarlyStopped", "Trial is early stopped")
    local ok, problem = pcall(self.save_status, self, trial)
    if ok then return nil end
    if not errors.is(problem) or problem.status ~= 409 then error(problem, 0) end
  end
  return "(409) the trial changes all the time"
end

---A trial's metrics have come.
---@param name string
function Controller:reported(name)
  local trial = find_trial(self, name)
  if trial then self:add("trial", trial.metadata.namespace, name) end
end

---@param client table of kube.connect
---@param options {authority: table?, cluster: lab.Cluster?, database: string?, log: fun(text: string)?}?
---  authority: of lab.serve, for the webhooks; cluster: whose pods find the database; database: path
---@return lab.KatibController
function M.start(client, options)
  options = options or {}
  local self = setmetatable({ client = client, queue = {}, queued = {}, failures = {}, timers = {}, informers = {},
    watched = {}, wake = task.event(), log = options.log or function() end,
    database = databases.open(options.database) }, Controller)
  self.service = services.new { database = self.database, stop = function(name) return self:stop_trial(name) end }
  register.kinds(client, crds.all())
  client:apply(config.object(), { force = true })
  self.servers = register.serve(self, options)
  self.task = task.spawn(function()
    local ok, problem = pcall(run, self)
    if not ok and not errors.is(problem, "Cancelled") then error(problem, 0) end
  end)
  watch(self)
  return self
end

function Controller:stop()
  self.stopped = true
  self.wake:set()
  for _, one in ipairs(self.informers) do one:stop() end
  for _, timer in pairs(self.timers) do timer:cancel() end
  self.task:cancel()
  for _, server in ipairs(self.servers) do server:close() end
  self.database:close()
end

return M
