-- Names that the interactive shell keeps: what cells displayed (_, __, _7, Out) and what they were (In, _i).
-- In a step only its own cells were run: `_` is there after a cell of it that displays something.
--   shell.keeps "_12" -> true; shell.has_shown(step, "_", place)
local nodes = require "kale.nodes"

local M = {}

local NAMES = { In = true, Out = true, _ = 1, __ = 2, ___ = 3, _i = true, _ii = true, _iii = true, _dh = true,
  _ih = true, _oh = true, _exit_code = true }

---@param name string
---@return boolean
function M.keeps(name)
  return NAMES[name] ~= nil or name:find "^_i?%d+$" ~= nil
end

-- Whether a cell's last statement is an expression, which is displayed.
local function shows(cell)
  local parsed = cell.parsed
  local tree, last = parsed.tree, nil
  for statement in nodes.children(tree, 1) do
    if tree.kind[statement] ~= "comment" then last = statement end
  end
  if not last or tree.kind[last] ~= "expression_statement" then return false end
  local kind = tree.kind[last + 1]
  return kind ~= "assignment" and kind ~= "augmented_assignment" and not parsed.python:find ";%s*$"
end

-- Whether a shell line stands in the step's cells up to the place; it leaves its exit code.
local function has_run(step, place)
  for _, cell in ipairs(step.cells) do
    if cell.parsed.python:find("get_ipython().system(", 1, true) then return true end
    if cell.number == place.cell then return false end
  end
  return false
end

---Whether cells of the step before the place may have displayed what `_`, `__` or `___` stands for, or have run
---the command whose exit code is asked for.
---@param step table
---@param name string
---@param place table
---@return boolean
function M.has_shown(step, name, place)
  if name == "_exit_code" then return has_run(step, place) end
  local wanted, count = NAMES[name], 0
  if type(wanted) ~= "number" then return false end
  for _, cell in ipairs(step.cells) do
    if cell.number ~= place.cell or place.late then
      count = count + (shows(cell) and 1 or 0)
    end
    if cell.number == place.cell then break end
  end
  return count >= wanted
end

return M
