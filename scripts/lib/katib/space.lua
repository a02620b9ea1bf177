-- The search space: the values a parameter can take, as numbers between 0 and 1, as points of a grid.
-- Not for choosing among them: see suggest.
--   local space = space.read(experiment)
local errors = require "errors"

local M = {}

---@class katib.Dimension
---@field name string
---@field kind "int"|"double"|"list"
---@field low number?
---@field high number?
---@field step number?
---@field log boolean
---@field normal boolean
---@field choices string[]?

local function fail(parameter, message)
  local name = tostring(parameter.name)
  errors.raise { code = "Space", message = ("parameter '%s' %s"):format(name, message), path = name }
end

local function number(parameter, field)
  local text = (parameter.feasibleSpace or {})[field]
  if text == nil or text == "" then return nil end
  local value = tonumber(text)
  if not value or value ~= value or math.abs(value) == math.huge then
    fail(parameter, ("has no number as %s: '%s'"):format(field, text))
  end
  if parameter.parameterType ~= "int" then return value end
  return math.tointeger(value) or fail(parameter, ("has no whole number as %s: '%s'"):format(field, text))
end

local function list_dimension(parameter)
  local choices = (parameter.feasibleSpace or {}).list or {}
  if #choices == 0 then fail(parameter, "has an empty list") end
  return { name = parameter.name, kind = "list", choices = choices, log = false, normal = false,
    discrete = parameter.parameterType == "discrete" }
end

local LOG = { logUniform = true, logNormal = true }
local NORMAL = { normal = true, logNormal = true }

---@param parameter table of an Experiment
---@return katib.Dimension # raises "Space" when nothing can be chosen
function M.dimension(parameter)
  if type(parameter.name) ~= "string" then fail(parameter, "has no name") end
  local kind = parameter.parameterType
  if kind == "categorical" or kind == "discrete" then return list_dimension(parameter) end
  if kind ~= "int" and kind ~= "double" then fail(parameter, ("is of type %s"):format(tostring(kind))) end
  local low, high, step = number(parameter, "min"), number(parameter, "max"), number(parameter, "step")
  if not low or not high then fail(parameter, "has no min or no max") end
  if low > high then fail(parameter, ("has a min of %s above its max of %s"):format(low, high)) end
  if step and step <= 0 then fail(parameter, ("has a step of %s"):format(step)) end
  local distribution = parameter.feasibleSpace.distribution
  if LOG[distribution] and low <= 0 then fail(parameter, ("has a logarithmic scale and a min of %s"):format(low)) end
  return { name = parameter.name, kind = kind, low = low, high = high, step = step, log = LOG[distribution] or false,
    normal = NORMAL[distribution] or false }
end

---@param experiment table
---@return katib.Dimension[] # raises "Space"
function M.read(experiment)
  local dimensions = {}
  for i, parameter in ipairs(experiment.spec.parameters or {}) do dimensions[i] = M.dimension(parameter) end
  if #dimensions == 0 then errors.raise { code = "Space", message = "the experiment has no parameters" } end
  return dimensions
end

-- --- grids -----------------------------------------------------------------------------------------------

-- As numpy.arange: the second value decides the difference.
local function double_grid(low, high, step)
  local count = math.ceil((high + step - low) / step)
  local delta = (low + step) - low
  local values = {}
  for i = 0, count - 1 do values[i + 1] = i == 1 and low + step or low + i * delta end
  if values[#values] and values[#values] > high then values[#values] = nil end
  return values
end

local MOST = 1000000 -- values of one parameter

---The values of a parameter on a grid, as numbers or texts; not those of one that has more than a million.
---@param parameter table
---@return any[]? values, string? problem
function M.grid(parameter)
  local ok, dimension = pcall(M.dimension, parameter)
  if not ok then return nil, errors.text(dimension) end
  if dimension.kind == "list" then return dimension.choices end
  if dimension.kind == "double" and not dimension.step then
    return nil, ("Param %s step is nil; For discrete search space, all parameters must include step")
      :format(parameter.name)
  end
  local low, high, step = dimension.low, dimension.high, dimension.step or 1
  if (high + 0.0 - low) / step >= MOST then
    return nil, ("parameter '%s' has more than %d values"):format(parameter.name, MOST)
  end
  if dimension.kind == "double" then return double_grid(low, high, step) end
  local values = {}
  low, high, step = math.tointeger(low), math.tointeger(high), math.tointeger(step)
  if not (low and high and step) then return nil, ("parameter '%s' has no whole bounds"):format(parameter.name) end
  for value = low, high, step do values[#values + 1] = value end
  return values
end

return M
