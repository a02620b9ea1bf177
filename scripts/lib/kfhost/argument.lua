-- kfhost.argument: the types of what public functions are given, said as Lua says it of its own functions.
-- Not for what stands in a table that came from a file: that is the world's, and an error table.
--   argument.check("katib.best", 1, experiment, "table")

local M = {}

---@param name string of the function
---@param number integer of the argument
---@param wanted string
---@param value any
---@param level integer as of error
function M.refuse(name, number, wanted, value, level)
  local given = value == nil and "no value" or type(value)
  error(("bad argument #%d to '%s' (%s expected, got %s)"):format(number, name, wanted, given), level + 1)
end

---@param name string of the function
---@param number integer of the argument
---@param value any
---@param ... string types that it may have, "nil" too; raises misuse where the function was called
function M.check(name, number, value, ...)
  local given = type(value)
  for i = 1, select("#", ...) do
    if given == select(i, ...) then return end
  end
  M.refuse(name, number, (...), value, 3)
end

return M
