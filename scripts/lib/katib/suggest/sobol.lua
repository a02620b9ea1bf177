-- Sobol's sequence, with the values of Katib's service (goptuna's sampler): parameters sorted by name, the
-- first point left out, ints that never reach their maximum.
local decimal = require "katib.decimal"
local errors = require "errors"

local M = {}

local BITS = 32

local rows

local function row(dimension)
  if not rows then
    rows = {}
    for line in require "katib.suggest.sobol_numbers":gmatch "[%d ]*%d" do
      local list = {}
      for number in line:gmatch "%d+" do list[#list + 1] = math.tointeger(number) end
      rows[#rows + 1] = list
    end
  end
  return rows[dimension - 1]
end

-- The direction numbers of a dimension, 32 bits each.
local function directions(dimension)
  local v = {}
  if dimension == 1 then
    for i = 1, BITS do v[i] = 1 << (BITS - i) end
    return v
  end
  local numbers = row(dimension)
  if not numbers then
    errors.raise { code = "Space", message = ("Sobol's sequence is here for %d parameters at most"):format(#rows + 1) }
  end
  local coefficients, degree = numbers[1], #numbers - 1
  for i = 1, degree do v[i] = numbers[i + 1] << (BITS - i) end
  for i = degree + 1, BITS do
    v[i] = v[i - degree] ~ (v[i - degree] >> degree)
    for k = 1, degree - 1 do
      if (coefficients >> (degree - 1 - k)) & 1 == 1 then v[i] = v[i] ~ v[i - k] end
    end
  end
  return v
end

---The points number first to last (from 1) of a sequence.
---@param dimensions integer
---@param first integer
---@param last integer
---@return number[][]
function M.points(dimensions, first, last)
  local points = {}
  for i = first, last do points[i - first + 1] = {} end
  for d = 1, dimensions do
    local v, x = directions(d), 0
    for i = 1, last do
      local zero, n = 1, i - 1
      while n & 1 == 1 do zero, n = zero + 1, n >> 1 end
      x = x ~ v[zero]
      if i >= first then points[i - first + 1][d] = x / 2 ^ BITS end
    end
  end
  return points
end

local function text_of(d, u)
  if d.kind == "list" then return d.choices[math.floor(u * #d.choices) + 1] end
  if d.kind == "int" then
    local step = d.step or 1
    return ("%d"):format(math.floor(u * ((d.high - d.low) // step)) * step + d.low)
  end
  if not d.step then return decimal.go_text(u * (d.high - d.low) + d.low) end
  local half = 0.5 * d.step
  local x = u * ((d.high - d.low + half) - (0 - half)) + (0 - half)
  local rounded = x / d.step >= 0 and math.floor(x / d.step + 0.5) or math.ceil(x / d.step - 0.5)
  return decimal.go_text(math.min(math.max(rounded * d.step + d.low, d.low), d.high))
end

---@param context katib.Context
---@param n integer
function M.suggest(context, n)
  local order = {}
  for i, d in ipairs(context.dimensions) do order[i] = { d = d, place = i } end
  table.sort(order, function(a, b) return a.d.name < b.d.name end)
  local suggestions = {}
  for i, point in ipairs(M.points(#order, context.drawn + 1, context.drawn + n)) do
    suggestions[i] = {}
    for axis, entry in ipairs(order) do
      suggestions[i][entry.place] = { name = entry.d.name, value = text_of(entry.d, point[axis]) }
    end
  end
  return suggestions
end

return M
