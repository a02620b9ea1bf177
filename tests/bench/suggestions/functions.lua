-- Functions with known minima, as search spaces of Katib. functions.py has the same ones.
local M = {}

local function doubles(prefix, count, low, high)
  local list = {}
  for i = 1, count do
    list[i] = {
      name = prefix .. i, parameterType = "double", feasibleSpace = { min = tostring(low), max = tostring(high) },
    }
  end
  return list
end

M.branin = { optimum = 0.39788735772973816, parameters = {
  { name = "x1", parameterType = "double", feasibleSpace = { min = "-5", max = "10" } },
  { name = "x2", parameterType = "double", feasibleSpace = { min = "0", max = "15" } },
}, cost = function(v)
  local a, b = v.x2 - 5.1 / (4 * math.pi ^ 2) * v.x1 ^ 2 + 5 / math.pi * v.x1 - 6, 10 * (1 - 1 / (8 * math.pi))
  return a * a + b * math.cos(v.x1) + 10
end }

local A = { { 10, 3, 17, 3.5, 1.7, 8 }, { 0.05, 10, 17, 0.1, 8, 14 }, { 3, 3.5, 1.7, 10, 17, 8 },
  { 17, 8, 0.05, 10, 0.1, 14 } }
local P = { { 1312, 1696, 5569, 124, 8283, 5886 }, { 2329, 4135, 8307, 3736, 1004, 9991 },
  { 2348, 1451, 3522, 2883, 3047, 6650 }, { 4047, 8828, 8732, 5743, 1091, 381 } }
local ALPHA = { 1.0, 1.2, 3.0, 3.2 }

M.hartmann6 = { optimum = -3.3223680114155147, parameters = doubles("x", 6, 0, 1), cost = function(v)
  local sum = 0
  for i = 1, 4 do
    local inner = 0
    for j = 1, 6 do inner = inner + A[i][j] * (v["x" .. j] - P[i][j] * 1e-4) ^ 2 end
    sum = sum + ALPHA[i] * math.exp(-inner)
  end
  return -sum
end }

M.rosenbrock4 = { optimum = 0, parameters = doubles("x", 4, -2, 2.5), cost = function(v)
  local sum = 0
  for i = 1, 3 do
    local x, y = v["x" .. i], v["x" .. i + 1]
    sum = sum + 100 * (y - x * x) ^ 2 + (1 - x) ^ 2
  end
  return sum
end }

-- The minimum is not in the middle, where some begin.
M.ackley10 = { optimum = 0, parameters = doubles("x", 10, -20, 35), cost = function(v)
  local squares, cosines = 0, 0
  for i = 1, 10 do
    local x = v["x" .. i]
    squares, cosines = squares + x * x, cosines + math.cos(2 * math.pi * x)
  end
  return -20 * math.exp(-0.2 * math.sqrt(squares / 10)) - math.exp(cosines / 10) + 20 + math.exp(1)
end }

local PENALTY = { sgd = 0.3, adam = 0.0, rmsprop = 0.15, adagrad = 0.5 }

-- Like a training: a rate on a logarithmic scale, a depth, an optimizer that shifts the best rate, a batch size.
M.mixed = { optimum = 0, parameters = {
  { name = "rate", parameterType = "double",
    feasibleSpace = { min = "0.00001", max = "1", distribution = "logUniform" } },
  { name = "depth", parameterType = "int", feasibleSpace = { min = "1", max = "12" } },
  { name = "optimizer", parameterType = "categorical",
    feasibleSpace = { list = { "sgd", "adam", "rmsprop", "adagrad" } } },
  { name = "batch", parameterType = "discrete", feasibleSpace = { list = { "16", "32", "64", "128", "256" } } },
  { name = "dropout", parameterType = "double", feasibleSpace = { min = "0", max = "0.9" } },
}, cost = function(v)
  local best = v.optimizer == "sgd" and -1.2 or -2.7
  return PENALTY[v.optimizer] + 0.25 * (math.log(v.rate, 10) - best) ^ 2 + 0.02 * (v.depth - 7) ^ 2
    + 0.1 * math.abs(math.log(v.batch, 2) - 6) + 2 * (v.dropout - 0.35) ^ 2
end }

return M
