-- The edges that a picture of a pipeline has: all but those that only say "after the whole notebook" where another
-- edge says it, too. Not for the pipeline itself, which keeps each.
--   for i, after in ipairs(picture.edges(plan)) do … end
local M = {}

-- The data that goes from step to step: to -> from -> true.
local function data_edges(plan)
  local data = {}
  for _, crossing in ipairs(plan.crossings or {}) do
    data[crossing.to] = data[crossing.to] or {}
    data[crossing.to][crossing.from] = true
  end
  return data
end

-- All steps before each step.
local function all_before(steps)
  local before = {}
  for _, step in ipairs(steps) do
    local set = {}
    for _, name in ipairs(step.after) do
      set[name] = true
      for other in pairs(before[name] or {}) do set[other] = true end
    end
    before[step.name] = set
  end
  return before
end

local function has_parts(steps)
  for _, step in ipairs(steps) do
    if next(step.waits or {}) then return true end
  end
  return false
end

---@param plan table of kale.plan
---@return string[][] # for each step the names of those that an edge comes from
function M.edges(plan)
  local list, parts = {}, has_parts(plan.steps)
  local data, before = parts and data_edges(plan), parts and all_before(plan.steps)
  for i, step in ipairs(plan.steps) do
    list[i] = step.after
    if next(step.waits or {}) then
      list[i] = {}
      for _, name in ipairs(step.after) do
        local needed = not step.waits[name] or (data[step.name] or {})[name]
        local follows = false
        for _, other in ipairs(step.after) do follows = follows or before[other][name] == true end
        if needed or not follows then table.insert(list[i], name) end
      end
    end
  end
  return list
end

return M
