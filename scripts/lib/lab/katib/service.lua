-- lab.katib.service: what Katib's suggestion and early-stopping services answer, over gRPC and to the controller.
-- Not for the algorithms themselves (katib.suggest, katib.stop_rules).
--   local service = services.new { database = db, stop = function(trial) … end }
--   grpc.serve { methods = service:methods() }

local grpc = require "grpc"
local json = require "json"
local katib = require "katib"
local message = require "grpc.proto".message
local settings = require "katib.settings"

local M = {}

local SUGGESTION, STOPPING = "/api.v1.beta1.Suggestion/", "/api.v1.beta1.EarlyStopping/"

-- --- messages -----------------------------------------------------------------------------------------------

local setting = message { name = { 1, "string" }, value = { 2, "string" } }
local algorithm = message { algorithm_name = { 1, "string" }, algorithm_settings = { 2, setting, repeated = true } }
local space = message { max = { 1, "string" }, min = { 2, "string" }, list = { 3, "string", repeated = true },
  step = { 4, "string" }, distribution = { 5, "enum" } }
local parameter = message { name = { 1, "string" }, parameter_type = { 2, "enum" }, feasible_space = { 3, space } }
local objective = message { type = { 1, "enum" }, goal = { 2, "double" }, objective_metric_name = { 3, "string" },
  additional_metric_names = { 4, "string", repeated = true } }
local experiment = message { name = { 1, "string" }, spec = { 2, message {
  parameter_specs = { 1, message { parameters = { 1, parameter, repeated = true } } }, objective = { 2, objective },
  algorithm = { 3, algorithm }, early_stopping = { 4, algorithm }, parallel_trial_count = { 5, "int32" },
  max_trial_count = { 6, "int32" } } } }
local assignments = message { assignments = { 1, setting, repeated = true }, trial_name = { 2, "string" } }
local trial = message { name = { 1, "string" },
  spec = { 2, message { objective = { 2, objective }, parameter_assignments = { 3, assignments } } },
  status = { 3, message { start_time = { 1, "string" }, completion_time = { 2, "string" }, condition = { 3, "enum" },
    observation = { 4, message { metrics = { 1, setting, repeated = true } } } } } }
local rule = message { name = { 1, "string" }, value = { 2, "string" }, comparison = { 3, "enum" },
  start_step = { 4, "int32" } }

local KINDS = {
  Suggest = message { experiment = { 1, experiment }, trials = { 2, trial, repeated = true },
    current_request_number = { 4, "int32" }, total_request_number = { 5, "int32" } },
  Suggested = message { parameter_assignments = { 1, assignments, repeated = true }, algorithm = { 2, algorithm } },
  Validate = message { experiment = { 1, experiment } },
  Rules = message { experiment = { 1, experiment }, trials = { 2, trial, repeated = true },
    db_manager_address = { 3, "string" } },
  Ruled = message { early_stopping_rules = { 1, rule, repeated = true } },
  ValidateStopping = message { early_stopping = { 1, algorithm } },
  Stop = message { trial_name = { 1, "string" } },
}

-- --- messages as objects of the API -------------------------------------------------------------------------

local TYPES = { "double", "int", "discrete", "categorical" }
local DISTRIBUTIONS = { "uniform", "logUniform", "normal", "logNormal" }
local OBJECTIVES = { "minimize", "maximize" }
local STATES = { [0] = "Pending", "Running", "Succeeded", "Killed", "Failed", "MetricsUnavailable", "EarlyStopped" }
local COMPARISONS = { equal = 1, less = 2, greater = 3 }

local function algorithm_of(given)
  if not given then return nil end
  return { algorithmName = given.algorithm_name or "", algorithmSettings = json.array(given.algorithm_settings or {}) }
end

local function parameters_of(spec)
  local list = json.array {}
  for i, one in ipairs(spec.parameter_specs and spec.parameter_specs.parameters or {}) do
    local feasible = one.feasible_space or {}
    list[i] = { name = one.name, parameterType = TYPES[one.parameter_type or 0] or "unknown", feasibleSpace = {
      min = feasible.min, max = feasible.max, step = feasible.step,
      list = feasible.list and #feasible.list > 0 and feasible.list or nil,
      distribution = DISTRIBUTIONS[feasible.distribution or 1] } }
  end
  return list
end

local function experiment_of(given)
  local spec = given and given.spec or {}
  local goal = spec.objective or {}
  return { metadata = { name = given and given.name or "" }, spec = { parameters = parameters_of(spec),
    objective = { type = OBJECTIVES[goal.type or 0] or "unknown", goal = goal.goal,
      objectiveMetricName = goal.objective_metric_name or "", additionalMetricNames = goal.additional_metric_names },
    algorithm = algorithm_of(spec.algorithm), earlyStopping = algorithm_of(spec.early_stopping),
    parallelTrialCount = spec.parallel_trial_count, maxTrialCount = spec.max_trial_count } }
end

local function trials_of(given, name)
  local list = {}
  for i, one in ipairs(given or {}) do
    local status, value = one.status or {}, nil
    for _, metric in ipairs(status.observation and status.observation.metrics or {}) do
      if metric.name == name then value = metric.value end
    end
    local values = one.spec and one.spec.parameter_assignments
    list[i] = { name = one.name, state = STATES[status.condition or 0] or "Pending", value = value,
      assignments = values and values.assignments or {} }
  end
  return list
end

-- --- the service --------------------------------------------------------------------------------------------

---@class lab.KatibService
---@field states table<string, table> of algorithms, by experiment
local Service = {}
Service.__index = Service

local KNOWN = {}
for _, name in ipairs(require "katib.webhook".CONFIG.suggestions) do KNOWN[name] = true end

---What the services say of an experiment's settings.
---@param object table
---@return string? problem
function Service.problem(_, object)
  local given = object.spec.algorithm or {}
  if not KNOWN[given.algorithmName] then return "unknown algorithm name " .. tostring(given.algorithmName) end
  return settings.problem(object)
end

---@param object table
---@return string? problem
function Service.stopping_problem(_, object) return settings.stopping_problem(object) end

---@param key string of the experiment: what is told apart
---@return table[] assignments
function Service:suggest(key, object, trials, count)
  local found, state = katib.suggest(object, trials, count, { state = self.states[key] })
  if #found == count then self.states[key] = state end -- the controller keeps no state of an answer that it refuses
  return found
end

---@return table[] rules
function Service:rules(object, trials)
  for _, one in ipairs(trials) do
    one.history = self.database:history(one.name or one.metadata.name,
      { metric = object.spec.objective.objectiveMetricName })
  end
  return katib.stop_rules(object, trials)
end

local methods = {}

methods[SUGGESTION .. "ValidateAlgorithmSettings"] = function(self, bytes)
  local problem = self:problem(experiment_of(KINDS.Validate:decode(bytes).experiment))
  if problem then grpc.fail("INVALID_ARGUMENT", problem) end
  return ""
end

methods[SUGGESTION .. "GetSuggestions"] = function(self, bytes)
  local asked = KINDS.Suggest:decode(bytes)
  local object = experiment_of(asked.experiment)
  local key = "grpc/" .. object.metadata.name
  local count = asked.current_request_number or 0
  if count == (asked.total_request_number or 0) then self.states[key] = nil end -- the first request
  local list = {}
  for i, one in ipairs(self:suggest(key, object, trials_of(asked.trials, object.spec.objective.objectiveMetricName),
    count)) do
    list[i] = { assignments = one }
  end
  return KINDS.Suggested:encode { parameter_assignments = list }
end

methods[STOPPING .. "ValidateEarlyStoppingSettings"] = function(self, bytes)
  local given = algorithm_of(KINDS.ValidateStopping:decode(bytes).early_stopping)
  local problem = self:stopping_problem { spec = { earlyStopping = given } }
  if problem then grpc.fail("INVALID_ARGUMENT", problem) end
  return ""
end

methods[STOPPING .. "GetEarlyStoppingRules"] = function(self, bytes)
  local asked = KINDS.Rules:decode(bytes)
  local object, list = experiment_of(asked.experiment), {}
  local trials = trials_of(asked.trials, object.spec.objective.objectiveMetricName)
  for i, one in ipairs(self:rules(object, trials)) do
    list[i] = { name = one.name, value = one.value, comparison = COMPARISONS[one.comparison],
      start_step = one.startStep }
  end
  return KINDS.Ruled:encode { early_stopping_rules = list }
end

methods[STOPPING .. "SetTrialStatus"] = function(self, bytes)
  local name = KINDS.Stop:decode(bytes).trial_name or ""
  local problem = self.stop(name)
  if problem then
    grpc.fail("UNKNOWN", ("Exception calling application: Get Trial: %s failed. Exception: %s"):format(name, problem))
  end
  return ""
end

---@return table<string, fun(bytes: string): string>
function Service:methods()
  local list = {}
  for path, method in pairs(methods) do
    list[path] = function(bytes) return method(self, bytes) end
  end
  return list
end

---@param options {database: lab.KatibDatabase, stop: fun(trial: string): string?}
---  stop: marks a trial as stopped early; returns what is wrong
---@return lab.KatibService
function M.new(options)
  return setmetatable({ database = options.database, stop = options.stop, states = {} }, Service)
end

M.KINDS = KINDS

return M
