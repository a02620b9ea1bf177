-- What the suggestion and early-stopping services say about the settings of an algorithm, in their words.
-- The webhook never asks them: a wrong setting makes the Suggestion, then the experiment, fail.
--   local problem = settings.problem(experiment)      --> "random_state should be great or equal than zero"
local space = require "katib.space"

local M = {}

local function by_name(list)
  local settings = {}
  for _, setting in ipairs(list or {}) do settings[setting.name or ""] = setting.value or "" end
  return settings
end

M.by_name = by_name

local function as_integer(text)
  return math.tointeger(tonumber((text:match "^%s*([+-]?%d+)%s*$")))
end

local function as_number(text)
  return text:find "^%s*[+-]?[%d.]" and tonumber(text) or nil
end

-- --- hyperopt: random and tpe ------------------------------------------------------------------------

local function not_a_number(name, text, whole)
  local wanted = whole and "invalid literal for int() with base 10: '%s'" or "could not convert string to float: '%s'"
  return ("failed to validate %s(%s): " .. wanted):format(name, text, text)
end

local function random_state(text)
  local value = as_integer(text)
  if not value then return not_a_number("random_state", text, true) end
  if value < 0 then return "random_state should be great or equal than zero" end
end

local hyperopt = {
  random_state = random_state,
  gamma = function(text)
    local value = as_number(text)
    if not value then return not_a_number("gamma", text) end
    if value <= 0 or value >= 1 then return "gamma should be in the range of (0, 1)" end
  end,
  prior_weight = function(text)
    local value = as_number(text)
    if not value then return not_a_number("prior_weight", text) end
    if value <= 0 then return "prior_weight should be great than zero" end
  end,
  n_EI_candidates = function(text)
    local value = as_integer(text)
    if not value then return not_a_number("n_EI_candidates", text, true) end
    if value <= 0 then return "n_EI_candidates should be great than zero" end
  end,
}

local function at_least_zero(name)
  return function(text)
    local value = as_integer(text)
    if not value then return not_a_number(name, text, true) end
    if value < 0 then return name .. " should be greate or equal than zero" end
  end
end

local multivariate = {
  n_startup_trials = at_least_zero "n_startup_trials",
  n_ei_candidates = at_least_zero "n_ei_candidates",
  random_state = at_least_zero "random_state",
}

-- All settings of an algorithm by a table of checks, in the order in which they stand.
local function each(checks, unknown)
  return function(spec)
    local name = spec.algorithm.algorithmName
    for _, setting in ipairs(spec.algorithm.algorithmSettings or {}) do
      local check = checks[setting.name]
      if not check then return unknown:format(setting.name, name) end
      local problem = check(setting.value or "")
      if problem then return problem end
    end
  end
end

local UNKNOWN = "unknown setting %s for algorithm %s"

-- --- the others ------------------------------------------------------------------------------------------

local algorithms = {
  random = each({ random_state = random_state }, UNKNOWN),
  tpe = each(hyperopt, UNKNOWN),
  ["multivariate-tpe"] = each(multivariate, UNKNOWN),
}

function algorithms.grid(spec)
  local problem = each({ random_state = at_least_zero "random_state" }, UNKNOWN)(spec)
  if problem then return problem end
  local count = 1
  for _, parameter in ipairs(spec.parameters or {}) do
    local choices, wrong = space.grid(parameter)
    if not choices then return "failed to validate parameters: " .. wrong end
    count = count * #choices
  end
  if spec.maxTrialCount and spec.maxTrialCount > count then
    return ("Max Trial Count: %d > all possible search combinations: %d"):format(spec.maxTrialCount, count)
  end
end

local function first_duplicate(spec)
  local seen = {}
  for _, parameter in ipairs(spec.parameters or {}) do
    local name = parameter.name or ""
    if seen[name] then return "Detect duplicated parameter name: " .. name end
    seen[name] = true
  end
end

function algorithms.cmaes(spec)
  local numbers = 0
  for _, parameter in ipairs(spec.parameters or {}) do
    if parameter.parameterType == "double" or parameter.parameterType == "int" then numbers = numbers + 1 end
  end
  if numbers < 2 then return "CMA-ES only supports two or more dimensional continuous search space." end
  local strategy = by_name(spec.algorithm.algorithmSettings).restart_strategy
  if strategy and strategy ~= "ipop" and strategy ~= "bipop" and strategy ~= "none" then
    return ("Failed to create goptuna study and search space: invalid restart_strategy: '%s'"):format(strategy)
  end
  return first_duplicate(spec)
end

algorithms.sobol = first_duplicate

local ONE_OF = {
  base_estimator = { GP = true, RF = true, ET = true, GBRT = true },
  acq_func = { gp_hedge = true, LCB = true, EI = true, PI = true, EIps = true, PIps = true },
  acq_optimizer = { auto = true, sampling = true, lbfgs = true },
}

local skopt = {
  n_initial_points = at_least_zero "n_initial_points",
  random_state = at_least_zero "random_state",
}

for name, choices in pairs(ONE_OF) do
  skopt[name] = function(text)
    if not choices[text] then return ("%s %s is not supported in Bayesian optimization"):format(name, text) end
  end
end

algorithms.bayesianoptimization = each(skopt, UNKNOWN)

function algorithms.hyperband(spec)
  local settings = by_name(spec.algorithm.algorithmSettings)
  if not settings.r_l or not settings.resource_name then return "r_l and resource_name must be set." end
  local limit = as_number(settings.r_l)
  if not limit or limit < 0 then return "r_l must be a positive float number." end
  local eta = as_number(settings.eta or "3")
  eta = eta and eta >= 1 and math.floor(eta) or 3
  local smax = eta > 1 and math.floor(math.log(limit) / math.log(eta)) or 0
  local parallel = math.ceil(eta ^ smax)
  if (spec.parallelTrialCount or 0) < parallel then
    return ("parallelTrialCount must be not less than %d."):format(parallel)
  end
  for _, parameter in ipairs(spec.parameters or {}) do
    if parameter.name == settings.resource_name then return nil end
  end
  return "value of resource_name setting must be in parameters."
end

function algorithms.pbt(spec)
  local settings = by_name(spec.algorithm.algorithmSettings)
  local missing = {}
  for _, name in ipairs { "suggestion_trial_dir", "n_population", "truncation_threshold" } do
    if not settings[name] then missing[#missing + 1] = name end
  end
  if #missing > 0 then return "Required params missing: " .. table.concat(missing, ", ") end
  if (as_integer(settings.n_population) or 0) < 5 then return "Param(n_population) should be >= 5" end
  local threshold = as_number(settings.truncation_threshold) or -1
  if threshold < 0 or threshold > 1 then return "Param(truncation_threshold) should be between 0 and 1, inclusive" end
  if settings.resample_probability then
    return "Param(resample_probability) cannot be given: the service compares its text with numbers and fails"
  end
end

---What the algorithm's service refuses.
---@param experiment table
---@return string? problem
function M.problem(experiment)
  local spec = experiment.spec
  local check = algorithms[(spec.algorithm or {}).algorithmName or ""]
  return check and check(spec)
end

---What the early-stopping service refuses.
---@param experiment table
---@return string? problem
function M.stopping_problem(experiment)
  local stopping = experiment.spec.earlyStopping
  if not stopping or stopping.algorithmName ~= "medianstop" then return nil end
  for _, setting in ipairs(stopping.algorithmSettings or {}) do
    local value = as_integer(setting.value or "")
    if setting.name == "min_trials_required" then
      if not value or value <= 0 then return "min_trials_required must be greater than zero (>0)" end
    elseif setting.name == "start_step" then
      if not value or value < 1 then return "start_step must be greater or equal than one (>=1)" end
    else
      return ("unknown setting %s for algorithm medianstop"):format(setting.name)
    end
  end
end

return M
