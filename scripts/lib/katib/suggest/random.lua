-- Random values: each trial has its own stream, so that the same trial gets the same values.
local Random = require "katib.random"
local unit = require "katib.unit"

local M = {}

---@param dimensions katib.Dimension[]
---@param random table
---@return number[]
function M.point(dimensions, random)
  local point = {}
  for i = 1, #dimensions do point[i] = random:uniform() end
  return point
end

---@param context katib.Context
---@param n integer
function M.suggest(context, n)
  local suggestions = {}
  for i = 1, n do
    local random = Random.new(context.seed, context.drawn + i)
    suggestions[i] = unit.assignments(context.dimensions, M.point(context.dimensions, random))
  end
  return suggestions
end

return M
