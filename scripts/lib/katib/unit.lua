-- Values of a search space as places between 0 and 1, and back; evenly spread where the distribution is.
-- Not for reading the space: see space.
--   unit.value(dimension, 0.5)      unit.place(dimension, "0.02")      unit.text(dimension, 0.02)
local decimal = require "katib.decimal"

local M = {}

-- --- the normal distribution ---------------------------------------------------------------------------

-- The area to the left of x, by a continued fraction far out and a series near the middle.
local function normal_area(x)
  local a = math.abs(x)
  local tail
  if a > 3 then
    local fraction = 0.0
    for k = 40, 1, -1 do fraction = k / (a + fraction) end
    tail = math.exp(-a * a / 2) / math.sqrt(2 * math.pi) / (a + fraction)
  else
    local term, sum = a, a
    for k = 1, 60 do
      term = term * a * a / (2 * k + 1)
      sum = sum + term
    end
    tail = 0.5 - sum * math.exp(-a * a / 2) / math.sqrt(2 * math.pi)
  end
  return x > 0 and 1 - tail or tail
end

local EDGE = normal_area(-3)

-- Between -3 and 3 deviations, as Katib takes a range of a normal distribution.
local function normal_quantile(u)
  local target, low, high = EDGE + u * (1 - 2 * EDGE), -3.0, 3.0
  for _ = 1, 60 do
    local middle = (low + high) / 2
    if normal_area(middle) < target then low = middle else high = middle end
  end
  return (low + high) / 2
end

-- --- scales ------------------------------------------------------------------------------------------------

---How many values a dimension has; nil for a continuous one.
---@param d katib.Dimension
---@return integer?
function M.levels(d)
  if d.kind == "list" then return #d.choices end
  local step = d.step or (d.kind == "int" and 1)
  return step and math.floor((d.high - d.low) / step + 1e-9) + 1 or nil
end

local function scale(d, value)
  local low, high = d.low, d.high
  if d.log then low, high, value = math.log(low), math.log(high), math.log(value) end
  local u = high > low and (value - low) / (high - low) or 0.5
  if d.normal then u = (normal_area(6 * u - 3) - EDGE) / (1 - 2 * EDGE) end
  return math.min(math.max(u, 0.0), 1.0)
end

local function unscale(d, u)
  if d.normal then u = (normal_quantile(u) + 3) / 6 end
  local low, high = d.low, d.high
  if d.log then return math.exp(math.log(low) + u * (math.log(high) - math.log(low))) end
  return low + u * (high - low)
end

-- Where the values of a step are evenly spread, each gets the same share of the places.
local function is_even(d)
  return not d.log and not d.normal
end

-- Of a discrete list, the order by number.
local function order_of(d)
  if not d.order then
    d.order = {}
    for i = 1, #d.choices do d.order[i] = i end
    if d.discrete then
      table.sort(d.order, function(a, b)
        local x, y = tonumber(d.choices[a]) or 0, tonumber(d.choices[b]) or 0
        return x < y or (x == y and a < b)
      end)
    end
    d.rank = {}
    for rank, index in ipairs(d.order) do d.rank[d.choices[index]] = rank end
  end
  return d.order
end

local function nearest_step(d, value)
  local step = d.step or 1
  local k = math.floor((value - d.low) / step + 0.5)
  k = math.min(math.max(k, 0), M.levels(d) - 1)
  return d.low + k * step
end

---@param d katib.Dimension
---@param u number 0 to 1
---@return number|string value
function M.value(d, u)
  local levels = M.levels(d)
  if d.kind == "list" then return d.choices[order_of(d)[math.min(math.floor(u * levels), levels - 1) + 1]] end
  if not levels then return math.min(math.max(unscale(d, u), d.low), d.high) end
  local value
  if is_even(d) then value = d.low + math.min(math.floor(u * levels), levels - 1) * (d.step or 1)
  else value = nearest_step(d, unscale(d, u)) end
  return d.kind == "int" and math.tointeger(value) or value
end

---@param d katib.Dimension
---@param text string of a trial
---@return number? u # nil for what is no value of the dimension
function M.place(d, text)
  local levels = M.levels(d)
  if d.kind == "list" then
    order_of(d)
    local rank = d.rank[text]
    return rank and (rank - 0.5) / levels
  end
  local value = tonumber(text)
  if not value or (d.log and value <= 0) then return nil end
  if levels and is_even(d) then
    local k = math.floor((value - d.low) / (d.step or 1) + 0.5)
    return (math.min(math.max(k, 0), levels - 1) + 0.5) / levels
  end
  return scale(d, value)
end

---@param d katib.Dimension
---@param value number|string
---@return string
function M.text(d, value)
  if d.kind == "list" then return value end
  if d.kind == "int" then return ("%d"):format(value) end
  return decimal.python_text(value)
end

---All dimensions at once: the assignments of a point.
---@param dimensions katib.Dimension[]
---@param point number[]
---@return {name: string, value: string}[]
function M.assignments(dimensions, point)
  local list = {}
  for i, d in ipairs(dimensions) do list[i] = { name = d.name, value = M.text(d, M.value(d, point[i])) } end
  return list
end

---@param dimensions katib.Dimension[]
---@param assignments {name: string, value: string}[]
---@return number[]? point # nil when a value is missing or foreign
function M.point(dimensions, assignments)
  local texts, point = {}, {}
  for _, assignment in ipairs(assignments) do texts[assignment.name or ""] = assignment.value end
  for i, d in ipairs(dimensions) do
    point[i] = texts[d.name] ~= nil and M.place(d, texts[d.name]) or nil
    if not point[i] then return nil end
  end
  return point
end

return M
