-- kale.tune_init: asks what is to be tuned, checks it as Katib would, and gives the notebook's katib_metadata.
-- Not for writing it (kale.edit.notebook_metadata).
--   local metadata = init.ask(compiled, { read = io.read, write = print })

local errors = require "errors"
local json = require "json"
local sorted_keys = require "kfhost.keys".sorted
local tune = require "kale.tune"

local M = {}

local TRIES = 3
local TYPES = { NUMBER_INTEGER = "int", NUMBER_DOUBLE = "float", STRING = "text", BOOLEAN = "bool" }
local ALGORITHMS = { "random", "grid", "tpe", "multivariate-tpe", "bayesianoptimization", "cmaes", "sobol",
  "hyperband" }

-- Asks until the answer is understood; what is wrong is said.
local function ask(terminal, question, default, understand)
  for _ = 1, TRIES do
    terminal.write(default ~= "" and ("%s [%s]: "):format(question, default) or question .. ": ")
    local line = terminal.read()
    if line == nil then errors.raise { code = "Usage", message = "the answers ended before the questions" } end
    local text = line:match "^%s*(.-)%s*$"
    if text == "" then text = default end
    local ok, value = pcall(understand, text)
    if ok then return value end
    if not errors.is(value) or value.code ~= "Usage" then error(value, 0) end
    terminal.write(value.message .. "\n")
  end
  errors.raise { code = "Usage", message = "no answer was understood" }
end

local function usage(format, ...) errors.raise { code = "Usage", message = format:format(...) } end

local function one_of(list)
  return function(text)
    for _, word in ipairs(list) do
      if word == text then return word end
    end
    usage("it is one of %s", table.concat(list, ", "))
  end
end

local function number(text)
  if not tonumber(text) then usage "it is a number" end
  return text
end

local function count(least)
  return function(text)
    local value = math.tointeger(tonumber(text))
    if not value or value < least then usage("it is a whole number, at least %d", least) end
    return value
  end
end

-- The range that a parameter has in the notebook already, as it is written here.
local function known_space(metadata, name)
  for _, one in ipairs(metadata.parameters or {}) do
    local space = one.feasibleSpace or {}
    if one.name == name and space.list then
      local words = {}
      for i, value in ipairs(space.list) do words[i] = tostring(value) end
      return table.concat(words, ",")
    elseif one.name == name then
      return ("%s..%s%s"):format(space.min, space.max, space.step and "/" .. space.step or "")
    end
  end
  return ""
end

local function ask_parameters(terminal, definitions, metadata)
  local parameters = json.array {}
  for _, name in ipairs(sorted_keys(definitions)) do
    local definition = definitions[name]
    local kind = TYPES[definition.parameterType]
    if kind then
      local value = definition.defaultValue
      local question = ("tune %s (%s, now %s)? MIN..MAX, MIN..MAX/STEP, A,B,C, or - to leave it"):format(name, kind,
        value == nil and "not set" or tostring(value))
      local known = known_space(metadata, name)
      local found = ask(terminal, question, known ~= "" and known or "-", function(text)
        if text == "-" then return false end
        return tune.parse_space(name .. "=" .. text, definitions)
      end)
      if found then parameters[#parameters + 1] = found end
    end
  end
  if #parameters == 0 then usage "nothing is to be tuned" end
  return parameters
end

local function ask_objective(terminal, metrics, known)
  local name = ask(terminal, ("which metric (%s)"):format(table.concat(metrics, ", ")),
    known.objectiveMetricName or metrics[1], one_of(metrics))
  local falls = name:lower():find "loss" or name:lower():find "err" or name:lower():find "mse" or name:find "mae"
  local kind = ask(terminal, "minimize or maximize", known.type or (falls and "minimize" or "maximize"),
    one_of { "minimize", "maximize" })
  return { objectiveMetricName = name, type = kind, goal = known.goal }
end

-- Hyperband gives good trials more of a resource: one of the parameters, and how much of it there is at most. Of its
-- first round, all trials run at once: how many these are, by its factor of three, is what this gives.
local function ask_hyperband(terminal, metadata)
  local known = require "katib.settings".by_name(metadata.algorithm.algorithmSettings)
  local names, most = {}, {}
  for _, one in ipairs(metadata.parameters) do
    if one.parameterType == "int" or one.parameterType == "double" then
      names[#names + 1] = one.name
      most[one.name] = one.feasibleSpace.max
    end
  end
  if #names == 0 then usage "hyperband needs a number among the parameters, of which good trials get more" end
  local resource = ask(terminal, ("which of them is what good trials get more of (%s)"):format(
    table.concat(names, ", ")), known.resource_name or names[1], one_of(names))
  local limit = ask(terminal, ("the most of %s"):format(resource), known.r_l or most[resource], number)
  metadata.algorithm.algorithmSettings = json.array { { name = "resource_name", value = resource },
    { name = "r_l", value = limit } }
  local round = 1
  while round * 3 <= tonumber(limit) do round = round * 3 end
  return round
end

---Asks for all of it.
---@param compiled table of kale.submit.compile
---@param terminal {read: fun(): string?, write: fun(text: string)}
---@return table metadata for katib_metadata # raises "Usage"
function M.ask(compiled, terminal)
  local known = compiled.katib or {}
  local inputs = compiled.ir.root.inputDefinitions or {}
  local metrics = compiled.metrics or {}
  if #metrics == 0 then usage "the notebook has no metrics: tag the cell that prints them pipeline-metrics" end
  local metadata = { parameters = ask_parameters(terminal, inputs.parameters or {}, known),
    objective = ask_objective(terminal, metrics, known.objective or {}) }
  local algorithm = known.algorithm or {}
  local name = ask(terminal, ("algorithm (%s)"):format(table.concat(ALGORITHMS, ", ")),
    algorithm.algorithmName or "random", one_of(ALGORITHMS))
  metadata.algorithm = name == algorithm.algorithmName and algorithm or { algorithmName = name }
  local least = name == "hyperband" and ask_hyperband(terminal, metadata) or 1
  local most = name == "hyperband" and least or math.max(least, known.maxTrialCount or 12)
  metadata.maxTrialCount = ask(terminal, "how many trials", tostring(most), count(least))
  local parallel = math.max(least, math.min(known.parallelTrialCount or 3, metadata.maxTrialCount))
  metadata.parallelTrialCount = ask(terminal, "how many at a time", tostring(parallel), count(least))
  metadata.maxFailedTrialCount = math.min(known.maxFailedTrialCount or 3, metadata.maxTrialCount)
  return metadata
end

---Checks metadata as the experiment that it will be.
---@param compiled table
---@param metadata table
---@return string[] warnings # raises "Usage"
function M.check(compiled, metadata)
  local copy = json.decode(json.encode(metadata))
  local settings = tune.settings({ katib = copy, ir = compiled.ir }, {})
  local experiment = tune.experiment(settings, { pipeline_id = "p", version_id = "v" }, { name = compiled.name,
    namespace = "default", image = "kfhost", kfp_experiment = compiled.name,
    definitions = (compiled.ir.root.inputDefinitions or {}).parameters })
  return tune.check(nil, experiment)
end

return M
