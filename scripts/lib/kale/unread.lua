-- What of a notebook's code cannot be read: cells that are no Python, and names that are made by their text.
-- Not for what is said of it: see kale.source and kale.state.
--   local unread = require "kale.unread".new(steps, layout); unread:covers("x", place)
local M = {}

local Unread = {}
Unread.__index = Unread

-- Functions and magics that make names which stand nowhere in the code.
local MAKING = { "exec", "globals", "locals", "vars" }
local MAGICS = { run = true, store = true }

local function note_cell(unread, cell)
  local parsed = cell.parsed
  if not parsed or #parsed.tree.errors == 0 then return end
  unread.cells[cell.number] = true
  local tree = parsed.tree
  for node = 1, tree.count do
    if tree.kind[node] == "identifier" then
      unread.names[parsed.python:sub(tree.first[node], tree.last[node])] = true
    end
  end
end

-- The first magic in cells that may make names: one that is not known, or that runs a file.
local function magic_in(cells)
  for _, cell in ipairs(cells) do
    local unknown, python = cell.parsed.magics[1], cell.parsed.python
    if unknown then return unknown.text:match "^%%+%S*" or "magic" end
    if python:find("run_cell_magic(", 1, true) then return "run_cell_magic()" end
    for magic in python:gmatch "run_line_magic%('(%a+)'" do
      if MAGICS[magic] then return "%" .. magic end
    end
  end
  return nil
end

---@param steps table[] summarized
---@param layout table of kale.cells
---@return table
function M.new(steps, layout)
  local unread = setmetatable({ cells = {}, names = {} }, Unread)
  for _, group in ipairs { "imports", "functions" } do
    for _, cell in ipairs(layout[group]) do note_cell(unread, cell) end
    unread.setup_magic = unread.setup_magic or magic_in(layout[group])
  end
  for _, step in ipairs(steps) do
    for _, cell in ipairs(step.cells) do note_cell(unread, cell) end
  end
  return unread
end

---Whether nothing can be said of a name that is missing: it is read in a cell that is no Python, or such a
---cell names it.
---@param name string
---@param place table
---@return boolean
function Unread:covers(name, place)
  return self.names[name] or self.cells[place.cell] or false
end

---What in a step makes names by their text, as people call it.
---@param step table
---@return string?
function Unread:makes_names(step)
  for _, name in ipairs(MAKING) do
    if step.wanted[name] and not step.summary.stores[name] then return name .. "()" end
  end
  return magic_in(step.cells) or self.setup_magic
end

return M
