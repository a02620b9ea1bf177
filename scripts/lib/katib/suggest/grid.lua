-- All combinations, in the order of Katib's service (Optuna's grid, shuffled by its seed).
-- At the end there are no more: the real one begins to repeat itself.
local decimal = require "katib.decimal"
local errors = require "errors"
local mersenne = require "katib.suggest.mersenne"
local space = require "katib.space"

local M = {}

local MOST = 1000000

local function text_of(value)
  if math.type(value) == "float" then return decimal.python_text(value) end
  return tostring(value)
end

-- Names in their order, the last one turns fastest.
local function sorted_axes(experiment)
  local axes, count = {}, 1
  for i, parameter in ipairs(experiment.spec.parameters) do
    local values, problem = space.grid(parameter)
    if not values then errors.raise { code = "Space", message = problem, path = parameter.name } end
    axes[i] = { name = parameter.name, values = values, place = i }
    count = count * #values
    if count > MOST then
      errors.raise { code = "Space", message = ("the grid has more than %d combinations"):format(MOST) }
    end
  end
  table.sort(axes, function(a, b) return a.name < b.name end)
  return axes, count
end

local function combination(axes, index)
  local assignments = {}
  for i = #axes, 1, -1 do
    local axis = axes[i]
    assignments[axis.place] = { name = axis.name, value = text_of(axis.values[index % #axis.values + 1]) }
    index = index // #axis.values
  end
  return assignments
end

---@param context katib.Context
---@param n integer
function M.suggest(context, n)
  local axes, count = sorted_axes(context.experiment)
  local order = {}
  for i = 1, count do order[i] = i - 1 end
  mersenne.shuffle(order, math.tointeger(tonumber(context.settings.random_state)) or 0)
  local suggestions = {}
  for i = context.drawn + 1, math.min(context.drawn + n, count) do
    suggestions[#suggestions + 1] = combination(axes, order[i])
  end
  return suggestions
end

return M
