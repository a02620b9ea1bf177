-- Tree-structured Parzen estimators: values that are likely among the good trials and unlikely among the rest.
-- tpe looks at each parameter alone, multivariate-tpe at all together.
local bayesian = require "katib.suggest.bayesian"
local Random = require "katib.random"
local unit = require "katib.unit"

local M = {}

local SQRT2, SQRT2PI = math.sqrt(2), math.sqrt(2 * math.pi)

-- The error function, to 1e-7.
local function erf(x)
  local t = 1 / (1 + 0.3275911 * math.abs(x))
  local y = ((((1.061405429 * t - 1.453152027) * t + 1.421413741) * t - 0.284496736) * t + 0.254829592) * t
  local value = 1 - y * math.exp(-x * x)
  return x < 0 and -value or value
end

-- --- one kernel per trial -----------------------------------------------------------------------------------

---@class katib.Parzen
---@field kernels number[][] the middle of each kernel; the last one is the prior's
---@field weights number[]
---@field widths number[][] by kernel and dimension

-- How wide the kernels of a dimension are: as far as the neighbours. With inner_only, the edges are none.
local function neighbour_widths(values, narrowest, inner_only)
  local order = {}
  for i = 1, #values do order[i] = i end
  table.sort(order, function(a, b) return values[a] < values[b] end)
  local widths = {}
  for rank, index in ipairs(order) do
    local left = rank > 1 and values[index] - values[order[rank - 1]]
    local right = rank < #order and values[order[rank + 1]] - values[index]
    if #order == 1 or not inner_only then left, right = left or values[index], right or 1 - values[index] end
    widths[index] = math.min(math.max(left or 0, right or 0, narrowest), 1)
  end
  return widths
end

local function parzen(entries, count, together, prior_weight)
  local kernels, weights, widths = {}, {}, {}
  local narrowest = 1 / math.min(100, 2 + #entries)
  for i, entry in ipairs(entries) do kernels[i], weights[i], widths[i] = entry.point, 1.0, {} end
  for d = 1, count do
    local column = {}
    for i, entry in ipairs(entries) do column[i] = entry.point[d] end
    local own = neighbour_widths(column, narrowest, together)
    for i = 1, #entries do widths[i][d] = own[i] end
  end
  local middle, wide = {}, {}
  for d = 1, count do middle[d], wide[d] = 0.5, 1.0 end
  kernels[#kernels + 1], weights[#weights + 1], widths[#widths + 1] = middle, prior_weight, wide
  local sum = 0.0
  for _, w in ipairs(weights) do sum = sum + w end
  for i, w in ipairs(weights) do weights[i] = w / sum end
  return { kernels = kernels, weights = weights, widths = widths }
end

-- The density of a normal kernel that is cut off at 0 and 1.
local function density(x, middle, width)
  local z = (x - middle) / width
  local inside = 0.5 * (erf((1 - middle) / width / SQRT2) - erf(-middle / width / SQRT2))
  return math.exp(-z * z / 2) / (SQRT2PI * width * inside)
end

-- The probability of a choice: that of its kernel, mixed with all being alike.
local function choice_density(u, middle, levels, kernels)
  local alike = 1 / levels
  local own = math.floor(u * levels) == math.floor(middle * levels) and 1 or 0
  local trust = kernels / (kernels + levels)
  return (trust * own + (1 - trust) * alike) * levels
end

-- One dimension of one kernel at a place.
local function part(model, dimensions, i, d, u)
  if dimensions[d].kind == "list" and not dimensions[d].discrete then
    if i == #model.kernels then return 1.0 end
    return choice_density(u, model.kernels[i][d], #dimensions[d].choices, #model.kernels)
  end
  if i == #model.kernels then return 1.0 end -- the prior: evenly spread
  return density(u, model.kernels[i][d], model.widths[i][d])
end

local function log_density(model, dimensions, point, only)
  local sum = 0.0
  for i = 1, #model.kernels do
    local product = model.weights[i]
    for d = only or 1, only or #dimensions do product = product * part(model, dimensions, i, d, point[d]) end
    sum = sum + product
  end
  return math.log(sum + 1e-300)
end

-- --- drawing ----------------------------------------------------------------------------------------------------

local function pick(weights, random)
  local u, sum = random:uniform(), 0.0
  for i, w in ipairs(weights) do
    sum = sum + w
    if u < sum then return i end
  end
  return #weights
end

local function draw(model, dimensions, i, d, random)
  local dimension = dimensions[d]
  if i == #model.kernels then return random:uniform() end
  local middle = model.kernels[i][d]
  if dimension.kind == "list" and not dimension.discrete then
    local trust = #model.kernels / (#model.kernels + #dimension.choices)
    return random:uniform() < trust and middle or random:uniform()
  end
  for _ = 1, 20 do
    local u = middle + model.widths[i][d] * random:normal()
    if u >= 0 and u < 1 then return u end
  end
  return middle
end

-- --- suggesting ---------------------------------------------------------------------------------------------------

local function split(context)
  local sorted = table.move(context.told, 1, #context.told, 1, {})
  table.sort(sorted, function(a, b) return a.cost < b.cost end)
  local gamma = tonumber(context.settings.gamma)
  local good = gamma and math.ceil(gamma * math.sqrt(#sorted)) or math.ceil(0.1 * #sorted)
  good = math.min(math.max(good, 1), 25)
  local below, above = {}, {}
  for i, entry in ipairs(sorted) do table.insert(i <= good and below or above, entry) end
  for _, entry in ipairs(context.pending) do above[#above + 1] = entry end
  return below, above
end

local function best_together(models, dimensions, candidates, random)
  local best, highest
  for _ = 1, candidates do
    local kernel, point = pick(models.good.weights, random), {}
    for d = 1, #dimensions do point[d] = draw(models.good, dimensions, kernel, d, random) end
    local value = log_density(models.good, dimensions, point) - log_density(models.bad, dimensions, point)
    if not highest or value > highest then best, highest = point, value end
  end
  return best
end

local function best_alone(models, dimensions, candidates, random)
  local best = {}
  for d = 1, #dimensions do
    local highest
    for _ = 1, candidates do
      local point = {}
      point[d] = draw(models.good, dimensions, pick(models.good.weights, random), d, random)
      local value = log_density(models.good, dimensions, point, d) - log_density(models.bad, dimensions, point, d)
      if not highest or value > highest then best[d], highest = point[d], value end
    end
  end
  return best
end

local function integer(text)
  return math.tointeger(tonumber(text))
end

---@param context katib.Context
---@param n integer
function M.suggest(context, n)
  local dimensions, given = context.dimensions, context.settings
  local together = context.name == "multivariate-tpe"
  local startup = integer(given.n_startup_trials) or 10
  -- Together, a candidate has to be good in all dimensions at once: more of them are looked at.
  local usual = together and math.max(24, 12 * #dimensions) or 24
  local candidates = integer(given.n_EI_candidates or given.n_ei_candidates) or usual
  local suggestions = {}
  for i = 1, n do
    local index = context.drawn + i
    local point
    local random = Random.new(context.seed, index)
    if index <= startup or #context.told < 2 then
      point = bayesian.spread(#dimensions, context.seed, index)
    else
      local below, above = split(context)
      local prior = tonumber(given.prior_weight) or 1.0
      local models = {
        good = parzen(below, #dimensions, together, prior), bad = parzen(above, #dimensions, together, prior),
      }
      point = (together and best_together or best_alone)(models, dimensions, candidates, random)
    end
    suggestions[i] = unit.assignments(dimensions, point)
    context.pending[#context.pending + 1] = { point = point }
  end
  return suggestions
end

return M
