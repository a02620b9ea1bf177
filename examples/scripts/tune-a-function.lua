-- Looks for the minimum of a function with one of Katib's algorithms, four trials at a time.
--   kfhost tune-a-function.lua [ALGORITHM [TRIALS]]
local katib = require "katib"

local experiment = { spec = {
  objective = { type = "minimize", objectiveMetricName = "loss" },
  algorithm = { algorithmName = arg[1] or "tpe" },
  parameters = {
    { name = "rate", parameterType = "double",
      feasibleSpace = { min = "0.0001", max = "1", distribution = "logUniform" } },
    { name = "depth", parameterType = "int", feasibleSpace = { min = "1", max = "10" } },
    { name = "kernel", parameterType = "categorical", feasibleSpace = { list = { "linear", "cubic" } } },
  },
} }

local function loss(values)
  local penalty = values.kernel == "cubic" and 0 or 0.5
  return (math.log(tonumber(values.rate), 10) + 2) ^ 2 + (tonumber(values.depth) - 6) ^ 2 / 10 + penalty
end

local trials, state = {}, nil
local most = math.tointeger(tonumber(arg[2])) or 40
while #trials < most do
  local suggestions
  suggestions, state = katib.suggest(experiment, trials, math.min(4, most - #trials), { seed = 7, state = state })
  for _, assignments in ipairs(suggestions) do
    local values = {}
    for _, assignment in ipairs(assignments) do values[assignment.name] = assignment.value end
    trials[#trials + 1] = {
      name = "trial-" .. #trials + 1, state = "Succeeded", assignments = assignments, value = loss(values),
    }
  end
end

local best = katib.best(experiment, trials)
print(("%s of %d: loss %.4f"):format(best.name, #trials, best.value))
for _, assignment in ipairs(best.assignments) do print(("  %s = %s"):format(assignment.name, assignment.value)) end
