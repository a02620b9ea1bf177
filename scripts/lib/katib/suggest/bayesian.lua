-- Bayesian optimization: a Gaussian process says where the improvement to expect is greatest.
-- Not with forests or trees: base_estimator GP only.
local core = require "katib.core"
local errors = require "errors"
local Random = require "katib.random"
local sobol = require "katib.suggest.sobol"
local unit = require "katib.unit"

local M = {}

local MOST_LEVELS = 1000

---What the process knows of the dimensions: 0 continuous, n steps, -n choices without an order.
---@param dimensions katib.Dimension[]
---@return integer[]
function M.levels(dimensions)
  local levels = {}
  for i, d in ipairs(dimensions) do
    local count = unit.levels(d)
    if d.kind == "list" then levels[i] = d.discrete and count or -count
    elseif count and count <= MOST_LEVELS and not d.log and not d.normal then levels[i] = count
    else levels[i] = 0 end
  end
  return levels
end

-- Places with levels lie in the middle of their share; the process wants the first at 0, the last at 1.
local function to_process(levels, point)
  local moved = {}
  for i, u in ipairs(point) do
    local count = math.abs(levels[i])
    moved[i] = count > 1 and math.floor(u * count) / (count - 1) or count == 1 and 0.5 or u
  end
  return moved
end

local function from_process(levels, point)
  local moved = {}
  for i, u in ipairs(point) do
    local count = math.abs(levels[i])
    moved[i] = count > 0 and (math.floor(u * (count - 1) + 0.5) + 0.5) / count or u
  end
  return moved
end

-- --- costs ------------------------------------------------------------------------------------------------

local function moments(values)
  local sum, squares = 0.0, 0.0
  for _, v in ipairs(values) do sum = sum + v end
  local mean = sum / #values
  for _, v in ipairs(values) do squares = squares + (v - mean) ^ 2 end
  return mean, math.sqrt(squares / #values)
end

local function standardized(values)
  local mean, deviation = moments(values)
  local list = {}
  for i, v in ipairs(values) do list[i] = deviation > 0 and (v - mean) / deviation or 0.0 end
  return list
end

-- The transformation of Yeo and Johnson, and the log of its slope.
local function power(v, lambda)
  if v >= 0 then
    local slope = (lambda - 1) * math.log(v + 1)
    if math.abs(lambda) < 1e-9 then return math.log(v + 1), slope end
    return ((v + 1) ^ lambda - 1) / lambda, slope
  end
  local slope = (1 - lambda) * math.log(1 - v)
  if math.abs(lambda - 2) < 1e-9 then return -math.log(1 - v), slope end
  return -((1 - v) ^ (2 - lambda) - 1) / (2 - lambda), slope
end

local function transformed(values, lambda)
  local list, slopes = {}, 0.0
  for i, v in ipairs(values) do
    local slope
    list[i], slope = power(v, lambda)
    slopes = slopes + slope
  end
  local _, deviation = moments(list)
  local fit = deviation > 0 and slopes - #list * math.log(deviation) or -math.huge
  return list, fit
end

---Costs with a long tail, straightened so that a normal distribution fits them best, then standardized.
---@param costs number[]
---@return number[]
function M.targets(costs)
  local values = standardized(costs)
  local best, highest = values, -math.huge
  for step = -8, 8 do
    local list, fit = transformed(values, step / 4)
    if fit > highest then best, highest = list, fit end
  end
  return standardized(best)
end

-- --- suggesting ----------------------------------------------------------------------------------------------

local CRITERIA = {
  EI = { "EI" }, PI = { "PI" }, LCB = { "LCB" }, EIps = { "EI" }, PIps = { "PI" },
  gp_hedge = { "EI", "EI", "EI", "LCB" },
}

local function lowest(list)
  return math.min(table.unpack(list))
end

---Points that are spread evenly, shifted by the seed.
---@param count integer of dimensions
---@param seed integer
---@param index integer from 1
---@return number[]
function M.spread(count, seed, index)
  local random = Random.new(seed, -1)
  local point = sobol.points(count, index, index)[1]
  for i = 1, count do point[i] = (point[i] + random:uniform()) % 1 end
  return point
end

-- A trial that is not over counts as if it came out as the process expects.
local function believe(levels, points, targets, pending)
  local process = #pending > 0 and core.gp(points, targets, levels)
  for _, point in ipairs(pending) do
    points[#points + 1], targets[#targets + 1] = point, (process:predict(point))
  end
end

local function has(points, point)
  for _, other in ipairs(points) do
    local same = true
    for i = 1, #point do same = same and math.abs(point[i] - other[i]) < 1e-9 end
    if same then return true end
  end
  return false
end

local function propose(context, levels, points, targets, index)
  local criteria = CRITERIA[context.settings.acq_func or "gp_hedge"] or CRITERIA.EI
  local criterion = criteria[(index - 1) % #criteria + 1]
  local random = Random.new(context.seed, index)
  local point = core.gp(points, targets, levels):propose(criterion, lowest(targets), random:bits())
  for _ = 1, 20 do
    if not has(points, point) then break end
    point = to_process(levels, require "katib.suggest.random".point(context.dimensions, random))
  end
  return point
end

local function check(context)
  local estimator = context.settings.base_estimator
  if estimator and estimator ~= "GP" then
    errors.raise { code = "Unsupported", message = ("base_estimator %s: only GP suggests here"):format(estimator) }
  end
end

---@param context katib.Context
---@param n integer
function M.suggest(context, n)
  check(context)
  local initial = math.tointeger(tonumber(context.settings.n_initial_points)) or 10
  local levels, points, costs, pending = M.levels(context.dimensions), {}, {}, {}
  for i, entry in ipairs(context.told) do
    points[i], costs[i] = to_process(levels, entry.point), entry.cost
  end
  for i, entry in ipairs(context.pending) do pending[i] = to_process(levels, entry.point) end
  local targets = #costs > 0 and M.targets(costs) or {}
  local ready = #points >= math.max(math.min(initial, context.drawn), 2)
  if ready then believe(levels, points, targets, pending) end
  local suggestions = {}
  for i = 1, n do
    local index = context.drawn + i
    if index <= initial or not ready then
      suggestions[i] = unit.assignments(context.dimensions, M.spread(#context.dimensions, context.seed, index))
    else
      local point = propose(context, levels, points, targets, index)
      suggestions[i] = unit.assignments(context.dimensions, from_process(levels, point))
      if i < n then believe(levels, points, targets, { point }) end
    end
  end
  return suggestions
end

return M
