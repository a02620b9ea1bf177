-- Hyperband: many trials with few resources, the best of them again with more. The state holds what Katib's
-- service keeps in status.algorithmSettings: eta, s_max, r_l, b_l, r, n, current_s, current_i, evaluating_trials.
local Random = require "katib.random"
local random_search = require "katib.suggest.random"
local status = require "katib.status"
local unit = require "katib.unit"

local M = {}

local function integer(value)
  return value >= 0 and math.floor(value) or math.ceil(value)
end

local function bracket_size(p)
  return math.ceil((p.s_max + 1) * (p.eta ^ p.current_s / (p.current_s + 1)))
end

-- What the settings leave open.
local function complete(p)
  if p.eta <= 1 then p.eta = 3.0 end
  if p.s_max < 0 then p.s_max = integer(math.log(p.r_l) / math.log(p.eta) + 1e-12) end
  if p.b_l < 0 then p.b_l = (p.s_max + 1) * p.r_l end
  if p.current_s < 0 then p.current_s = p.s_max end
  if p.current_i < 0 then p.current_i = 0 end
  if p.n < 0 then p.n = bracket_size(p) end
  if p.r < 0 then p.r = p.r_l * p.eta ^ -p.current_s end
  return p
end

local function read(context)
  local p = { eta = 3.0, s_max = -1, r_l = -1, b_l = -1, r = -1, n = -1, current_s = -2, current_i = -1,
    evaluating_trials = 0, resource_name = context.settings.resource_name or "" }
  for name, default in pairs(p) do
    local text = context.state[name] or context.settings[name]
    if text and type(default) == "number" then p[name] = tonumber(text) or default end
  end
  if p.current_s == -1 then return p end
  return complete(p)
end

local function next_bracket(p)
  p.current_s, p.current_i = p.current_s - 1, 0
  if p.current_s >= 0 then p.n, p.r = bracket_size(p), p.r_l * p.eta ^ -p.current_s end
end

local function with_resource(assignments, p, amount)
  local copy = {}
  for i, assignment in ipairs(assignments) do
    local value = assignment.name == p.resource_name and ("%d"):format(amount) or assignment.value
    copy[i] = { name = assignment.name, value = value }
  end
  return copy
end

local function fresh(context, p, n)
  local suggestions = {}
  for i = 1, n do
    local random = Random.new(context.seed, context.drawn + i)
    local point = random_search.point(context.dimensions, random)
    suggestions[i] = with_resource(unit.assignments(context.dimensions, point), p, integer(p.r))
  end
  return suggestions
end

-- The best of the last trials again; nil while one of them is not over.
local function promoted(context, p)
  local all, last = context.trials, {}
  table.move(all, math.max(#all - p.evaluating_trials + 1, 1), #all, 1, last)
  for _, trial in ipairs(last) do
    if status.state(trial) ~= "Succeeded" then return nil end
  end
  local sign = context.experiment.spec.objective.type == "maximize" and -1 or 1
  local cost = {}
  for _, trial in ipairs(last) do
    cost[trial] = sign * (tonumber(status.objective(context.experiment, trial)) or sign * math.huge)
  end
  table.sort(last, function(a, b) return cost[a] < cost[b] end)
  local top = math.ceil(math.ceil(p.n * p.eta ^ -p.current_i) / p.eta)
  p.current_i = p.current_i + 1
  if p.current_i > p.current_s then next_bracket(p) end
  local amount, suggestions = integer(p.r * p.eta ^ p.current_i), {}
  for i = 1, math.min(top, #last) do
    suggestions[i] = with_resource(status.assignments(last[i]), p, amount)
  end
  return suggestions
end

---@param context katib.Context
---@param n integer as the real service takes it: the size of a bracket's first round, of which later ones get a part
function M.suggest(context, n)
  local p = read(context)
  if p.current_s < 0 then return {}, p end
  local suggestions
  p.n = n
  if p.evaluating_trials == 0 then
    suggestions = fresh(context, p, n)
  else
    suggestions = promoted(context, p)
    if not suggestions then return {}, p end
  end
  p.evaluating_trials = p.current_i < p.current_s and #suggestions or 0
  if p.evaluating_trials == 0 then next_bracket(p) end
  return suggestions, p
end

return M
