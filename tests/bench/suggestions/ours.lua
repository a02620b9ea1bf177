-- The regrets of katib.suggest on known functions. Not a test: compare.py calls it.
--   kfhost ours.lua ALGORITHM FUNCTION FIRST_SEED LAST_SEED TRIALS     one line of JSON: [regret, …]
local functions = dofile((arg[0]:gsub("[^/]*$", "functions.lua")))
local json = require "json"
local katib = require "katib"

local algorithm, name, first, last, trials = table.unpack(arg)

local function run(problem, seed)
  local experiment = { spec = {
    objective = { type = "minimize", objectiveMetricName = "f" }, parameters = problem.parameters,
    algorithm = { algorithmName = algorithm },
  } }
  local done, state, lowest = {}, nil, math.huge
  for i = 1, math.tointeger(trials) do
    local suggestions
    suggestions, state = katib.suggest(experiment, done, 1, { seed = seed, state = state })
    local values = {}
    for _, assignment in ipairs(suggestions[1]) do
      values[assignment.name] = tonumber(assignment.value) or assignment.value
    end
    local value = problem.cost(values)
    lowest = math.min(lowest, value)
    done[i] = { name = "t" .. i, state = "Succeeded", value = value, assignments = suggestions[1] }
  end
  return lowest - problem.optimum
end

local regrets = json.array {}
for seed = math.tointeger(first), math.tointeger(last) do
  regrets[#regrets + 1] = run(functions[name], seed)
end
print(json.encode(regrets))
