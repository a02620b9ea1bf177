-- CMA-ES: a normal distribution that moves and stretches to where the good trials of its generation were.
-- Choices are drawn at random beside it; at least two parameters are numbers.
local bayesian = require "katib.suggest.bayesian"
local core = require "katib.core"
local errors = require "errors"
local json = require "json"
local Random = require "katib.random"
local status = require "katib.status"
local unit = require "katib.unit"

local M = {}

-- --- small matrices ---------------------------------------------------------------------------------------

local function zeros(n)
  local list = {}
  for i = 1, n do list[i] = 0.0 end
  return list
end

local function identity(n)
  local rows = {}
  for i = 1, n do
    rows[i] = zeros(n)
    rows[i][i] = 1.0
  end
  return rows
end

-- One rotation of Jacobi's method: makes a[p][q] zero.
local function rotate(a, vectors, p, q)
  local theta = (a[q][q] - a[p][p]) / (2 * a[p][q])
  local t = (theta >= 0 and 1 or -1) / (math.abs(theta) + math.sqrt(theta * theta + 1))
  local c = 1 / math.sqrt(t * t + 1)
  local s = t * c
  for k = 1, #a do a[k][p], a[k][q] = c * a[k][p] - s * a[k][q], s * a[k][p] + c * a[k][q] end
  for k = 1, #a do a[p][k], a[q][k] = c * a[p][k] - s * a[q][k], s * a[p][k] + c * a[q][k] end
  for k = 1, #a do
    vectors[k][p], vectors[k][q] = c * vectors[k][p] - s * vectors[k][q], s * vectors[k][p] + c * vectors[k][q]
  end
end

-- Eigenvalues and eigenvectors (columns) of a symmetric matrix.
local function eigen(matrix)
  local n, a, vectors = #matrix, {}, identity(#matrix)
  for i = 1, n do a[i] = table.move(matrix[i], 1, n, 1, {}) end
  for _ = 1, 30 do
    local off = 0.0
    for p = 1, n - 1 do
      for q = p + 1, n do
        off = off + a[p][q] ^ 2
        if math.abs(a[p][q]) > 1e-300 then rotate(a, vectors, p, q) end
      end
    end
    if off < 1e-24 then break end
  end
  local values = {}
  for i = 1, n do values[i] = math.max(a[i][i], 1e-20) end
  return values, vectors
end

-- --- the strategy ---------------------------------------------------------------------------------------------

-- Sizes, weights and rates, all from the number of dimensions (and of samples a generation).
local function constants(n, population)
  local weights, positive, negative = {}, 0.0, 0.0
  local mu = population // 2
  for i = 1, population do
    weights[i] = math.log((population + 1) / 2) - math.log(i)
    if i <= mu then positive = positive + weights[i] else negative = negative - weights[i] end
  end
  local squares, squares_low = 0.0, 0.0
  for i = 1, population do
    if i <= mu then squares = squares + (weights[i] / positive) ^ 2
    else squares_low = squares_low + weights[i] ^ 2 end
  end
  local effective = 1 / squares
  local effective_low = squares_low > 0 and negative ^ 2 / squares_low or 0
  local c1 = 2 / ((n + 1.3) ^ 2 + effective)
  local cmu = math.min(1 - c1, 2 * (effective - 2 + 1 / effective) / ((n + 2) ^ 2 + effective))
  local least = math.min(1 + c1 / cmu, 1 + 2 * effective_low / (effective + 2), (1 - c1 - cmu) / (n * cmu))
  for i = 1, population do
    weights[i] = i <= mu and weights[i] / positive or weights[i] * least / math.max(negative, 1e-12)
  end
  local cs = (effective + 2) / (n + effective + 5)
  return {
    weights = weights, mu = mu, effective = effective, c1 = c1, cmu = cmu, cs = cs,
    damping = 1 + 2 * math.max(0, math.sqrt((effective - 1) / (n + 1)) - 1) + cs,
    cc = (4 + effective / n) / (n + 4 + 2 * effective / n),
    expected = math.sqrt(n) * (1 - 1 / (4 * n) + 1 / (21 * n * n)),
  }
end

local function new_strategy(n, sigma, population, mean)
  return {
    mean = mean, sigma = sigma, covariance = identity(n), path_sigma = zeros(n), path = zeros(n), generation = 0,
    population = population,
  }
end

-- C^(-1/2) × vector, from its eigen system.
local function whiten(values, vectors, vector)
  local n, out = #vector, zeros(#vector)
  for k = 1, n do
    local along = 0.0
    for i = 1, n do along = along + vectors[i][k] * vector[i] end
    along = along / math.sqrt(values[k])
    for i = 1, n do out[i] = out[i] + vectors[i][k] * along end
  end
  return out
end

local function norm2(vector)
  local sum = 0.0
  for _, x in ipairs(vector) do sum = sum + x * x end
  return sum
end

local function move_mean(s, c, steps)
  local n, shift = #s.mean, zeros(#s.mean)
  for rank = 1, c.mu do
    for i = 1, n do shift[i] = shift[i] + c.weights[rank] * steps[rank][i] end
  end
  for i = 1, n do s.mean[i] = s.mean[i] + s.sigma * shift[i] end
  return shift
end

local function update_paths(s, c, shift, values, vectors)
  local n, white = #s.mean, whiten(values, vectors, shift)
  for i = 1, n do
    s.path_sigma[i] = (1 - c.cs) * s.path_sigma[i] + math.sqrt(c.cs * (2 - c.cs) * c.effective) * white[i]
  end
  local length = math.sqrt(norm2(s.path_sigma))
  local settled = length / math.sqrt(1 - (1 - c.cs) ^ (2 * s.generation)) < (1.4 + 2 / (n + 1)) * c.expected
  local h = settled and 1 or 0
  for i = 1, n do
    s.path[i] = (1 - c.cc) * s.path[i] + h * math.sqrt(c.cc * (2 - c.cc) * c.effective) * shift[i]
  end
  s.sigma = math.min(s.sigma * math.exp(c.cs / c.damping * (length / c.expected - 1)), 1.0)
  return h
end

local function update_covariance(s, c, steps, h, values, vectors)
  local n, weights, sum = #s.mean, {}, 0.0
  for rank = 1, #steps do
    local w = c.weights[rank]
    sum = sum + w
    weights[rank] = w >= 0 and w or w * n / (norm2(whiten(values, vectors, steps[rank])) + 1e-12)
  end
  local kept = 1 + c.c1 * (1 - h) * c.cc * (2 - c.cc) - c.c1 - c.cmu * sum
  for i = 1, n do
    for j = 1, i do
      local value = kept * s.covariance[i][j] + c.c1 * s.path[i] * s.path[j]
      for rank = 1, #steps do value = value + c.cmu * weights[rank] * steps[rank][i] * steps[rank][j] end
      s.covariance[i][j], s.covariance[j][i] = value, value
    end
  end
end

-- One generation: the samples {x, cost}, as many as the population.
local function tell(s, samples)
  table.sort(samples, function(a, b) return a.cost < b.cost end)
  local c = constants(#s.mean, s.population)
  local values, vectors = eigen(s.covariance)
  local steps = {}
  for rank, sample in ipairs(samples) do
    steps[rank] = {}
    for i = 1, #s.mean do steps[rank][i] = (sample.x[i] - s.mean[i]) / s.sigma end
  end
  s.generation = s.generation + 1
  local shift = move_mean(s, c, steps)
  local h = update_paths(s, c, shift, values, vectors)
  update_covariance(s, c, steps, h, values, vectors)
end

local function is_inside(x)
  for _, u in ipairs(x) do
    if u < 0 or u > 1 then return false end
  end
  return true
end

local function draw(s, random)
  local n, x = #s.mean, nil
  local values, vectors = eigen(s.covariance)
  for _ = 1, 100 do
    x = table.move(s.mean, 1, n, 1, {})
    for k = 1, n do
      local z = s.sigma * math.sqrt(values[k]) * random:normal()
      for i = 1, n do x[i] = x[i] + vectors[i][k] * z end
    end
    if is_inside(x) then return x end
  end
  for i = 1, n do x[i] = math.min(math.max(x[i], 0.0), 1.0) end
  return x
end

-- --- suggesting ------------------------------------------------------------------------------------------------

local function numeric(dimensions)
  local places = {}
  for i, d in ipairs(dimensions) do
    if d.kind ~= "list" then places[#places + 1] = i end
  end
  if #places < 2 then
    errors.raise { code = "Space", message = "CMA-ES needs two parameters that are numbers" }
  end
  return places
end

local function key_of(assignments)
  local parts = {}
  for i, assignment in ipairs(assignments) do parts[i] = assignment.name .. "=" .. assignment.value end
  table.sort(parts)
  return table.concat(parts, "\n")
end

-- The costs of what was asked; a trial that failed counts as the worst.
local function costs_of(context)
  local costs, worst = {}, 0.0
  for _, entry in ipairs(context.told) do
    local key = key_of(status.assignments(entry.trial))
    costs[key] = costs[key] or {}
    table.insert(costs[key], entry.cost)
    worst = math.max(worst, entry.cost)
  end
  for _, trial in ipairs(context.trials) do
    local state = status.state(trial)
    if state == "Failed" or state == "MetricsUnavailable" or state == "Killed" then
      local key = key_of(status.assignments(trial))
      costs[key] = costs[key] or { math.abs(worst) * 2 + 1 }
    end
  end
  return costs
end

-- Takes the finished samples of this generation; a full generation moves the distribution.
local function learn(context, strategy, asked)
  local costs = costs_of(context)
  local waiting, done = {}, {}
  for _, sample in ipairs(asked) do
    local list = costs[sample.key]
    local known = list and table.remove(list, 1)
    if known and sample.generation == strategy.generation then
      done[#done + 1] = { x = sample.x, cost = known, sample = sample }
    elseif not known or sample.generation > strategy.generation then
      waiting[#waiting + 1] = sample
    end
    if #done == strategy.population then
      tell(strategy, done)
      done = {}
    end
  end
  for _, entry in ipairs(done) do table.insert(waiting, 1, entry.sample) end
  return waiting
end

local function start(context, count)
  local sigma = tonumber(context.settings.sigma) or 1 / 6
  local mean = {}
  for i = 1, count do mean[i] = 0.5 end
  return new_strategy(count, sigma, 4 + math.floor(3 * math.log(count)), mean)
end

-- Of several draws, the one of which a Gaussian process over all trials expects most: trials cost more than sums.
local DRAWS = 8

local function model_of(context, strategy)
  if #context.told < 2 * strategy.population then return nil end
  local points, costs = {}, {}
  for i, entry in ipairs(context.told) do points[i], costs[i] = entry.point, entry.cost end
  local levels = {}
  for i, d in ipairs(context.dimensions) do levels[i] = d.kind == "list" and not d.discrete and -#d.choices or 0 end
  local ok, model = pcall(core.gp, points, bayesian.targets(costs), levels)
  return ok and model or nil
end

local function draw_point(context, strategy, places, random)
  local point, x = {}, draw(strategy, random)
  for d = 1, #context.dimensions do point[d] = random:uniform() end
  for k, place in ipairs(places) do point[place] = math.min(x[k], 1.0) end
  return point, x
end

local function best_draw(context, strategy, places, random, model)
  local best, best_x, lowest
  for _ = 1, model and DRAWS or 1 do
    local point, x = draw_point(context, strategy, places, random)
    local mean = model and model:predict(point) or 0
    if not lowest or mean < lowest then best, best_x, lowest = point, x, mean end
  end
  return best, best_x
end

---@param context katib.Context
---@param n integer
function M.suggest(context, n)
  local dimensions, places = context.dimensions, numeric(context.dimensions)
  local before = context.state.strategy and json.decode(json.encode(context.state)) or { asked = {} }
  local strategy = before.strategy or start(context, #places)
  local asked = learn(context, strategy, before.asked)
  local suggestions, model = {}, model_of(context, strategy)
  for i = 1, n do
    local random = Random.new(context.seed, context.drawn + i)
    local point, x = best_draw(context, strategy, places, random, model)
    suggestions[i] = unit.assignments(dimensions, point)
    asked[#asked + 1] = { key = key_of(suggestions[i]), x = x, generation = strategy.generation }
  end
  return suggestions, { strategy = strategy, asked = asked }
end

return M
