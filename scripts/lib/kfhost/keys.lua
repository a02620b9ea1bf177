-- kfhost.keys: the keys of a table in an order that is the same each time.
-- Not for keys of several types.
--   keys.sorted { b = 1, a = 2 } -> { "a", "b" }

local M = {}

---@generic K
---@param map table<K, any>? nothing is as an empty one
---@return K[]
function M.sorted(map)
  local list = {}
  for key in pairs(map or {}) do list[#list + 1] = key end
  table.sort(list)
  return list
end

return M
