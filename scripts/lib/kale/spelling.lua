-- Names that somebody may have meant.
-- Not for what is defined where.
--   spelling.near("totla", { total = true })  -- "did you mean 'total'?"
local M = {}

local function letters(name)
  local list = { name:byte(1, -1) }
  table.sort(list)
  return table.concat(list, ",")
end

-- How far apart two names are: 0 but for case, 1 for a letter or two letters swapped, more otherwise.
local function distance(a, b)
  if math.abs(#a - #b) > 1 then return 9 end
  if a:lower() == b:lower() then return 0 end
  if #a ~= #b then
    if #a > #b then a, b = b, a end
    local i = 1
    while i <= #a and a:byte(i) == b:byte(i) do i = i + 1 end
    return a:sub(i) == b:sub(i + 1) and 1 or 9
  end
  local differ = 0
  for i = 1, #a do differ = differ + (a:byte(i) ~= b:byte(i) and 1 or 0) end
  if differ == 2 and letters(a) == letters(b) then return 1 end
  return differ
end

---@param name string
---@param known table<string, any> names that there are
---@return string? hint
function M.near(name, known)
  local best, best_distance
  for candidate in pairs(known) do
    local d = candidate ~= name and distance(candidate, name) or 9
    if d <= 1 and (not best or d < best_distance or d == best_distance and candidate < best) then
      best, best_distance = candidate, d
    end
  end
  return best and ("did you mean '%s'?"):format(best) or nil
end

return M
