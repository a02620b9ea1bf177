-- The next values to try: by algorithm, from what the trials so far have shown.
-- Not for asking Katib's own services. Pure: seed and state in, state out; the state is plain data (JSON).
--   local suggestions, state = suggest.suggest(experiment, trials, 4, { seed = 7, state = state })
local errors = require "errors"
local settings = require "katib.settings"
local space = require "katib.space"
local status = require "katib.status"
local unit = require "katib.unit"

local M = {}

local ALGORITHMS = {
  random = "katib.suggest.random", grid = "katib.suggest.grid", sobol = "katib.suggest.sobol",
  tpe = "katib.suggest.tpe", ["multivariate-tpe"] = "katib.suggest.tpe", cmaes = "katib.suggest.cmaes",
  bayesianoptimization = "katib.suggest.bayesian", hyperband = "katib.suggest.hyperband",
}

---@class katib.Context
---@field experiment table
---@field name string of the algorithm
---@field dimensions katib.Dimension[]
---@field settings table<string, string>
---@field seed integer
---@field drawn integer how many were suggested before
---@field state table
---@field trials table[]
---@field told {point: number[], cost: number, trial: table}[] finished, with a value
---@field pending {point: number[], trial: table}[] not finished yet

local function fail(code, message)
  errors.raise { code = code, message = message }
end

-- Sorts the trials by what is known of them. A trial whose values are not in the space teaches nothing.
local function sort_trials(context)
  local sign = (context.experiment.spec.objective or {}).type == "maximize" and -1 or 1
  for _, trial in ipairs(context.trials) do
    local point = unit.point(context.dimensions, status.assignments(trial))
    local value = tonumber(status.objective(context.experiment, trial))
    local state = status.state(trial)
    if point and value and value == value and math.abs(value) < math.huge and state ~= "Running" then
      context.told[#context.told + 1] = { point = point, cost = sign * value, trial = trial }
    elseif point and (state == "Running" or state == "Pending") then
      context.pending[#context.pending + 1] = { point = point, trial = trial }
    end
  end
end

local function seed_of(options, given)
  return math.tointeger(options.seed or tonumber(given.random_state)) or 0
end

---@param experiment table
---@param trials table[] all so far, in the order in which they were made
---@param n integer how many to suggest
---@param options {seed: integer?, state: table?}?
---@return {name: string, value: string}[][] suggestions fewer than n only when the algorithm is at its end
---@return table state for the next call
---# raises "Space", or "Unsupported" for an algorithm that is not here
function M.suggest(experiment, trials, n, options)
  options = options or {}
  local name = (experiment.spec.algorithm or {}).algorithmName or ""
  local module = ALGORITHMS[name]
  if not module then
    fail("Unsupported", ("algorithm '%s' suggests nothing here; it needs its own service in a cluster"):format(name))
  end
  local given = settings.by_name(experiment.spec.algorithm.algorithmSettings)
  local state = options.state or { drawn = #trials }
  local context = {
    experiment = experiment, name = name, dimensions = space.read(experiment), settings = given, trials = trials,
    seed = seed_of(options, given), drawn = state.drawn or 0, state = state, told = {}, pending = {},
  }
  sort_trials(context)
  local suggestions, after = require(module).suggest(context, n)
  after = after or {}
  after.drawn = context.drawn + #suggestions
  return suggestions, after
end

return M
