-- What the rooms of the compiler hand each other, as JSON for people who look for a fault.
-- Not a stable format.
--   dump.print("train.ipynb", "analysis")
local cli = require "cli"
local json = require "json"

local M = {}

local rooms = {}

function rooms.notebook(path) return require "kale.notebook".read(path) end

-- The groups of cells by their tags.
function rooms.cells(path)
  local nb = rooms.notebook(path)
  local layout = require "kale.cells".read(nb, require "kale.metadata".read(nb, function() end), function() end)
  layout.by_name = nil
  return layout
end

function rooms.steps(path) return rooms.cells(path).steps end

function rooms.analysis(path) return require "kale.plan".read(path) end

function rooms.ir(path) return (require "kale.ir".build(rooms.analysis(path))) end

---@param path string the notebook
---@param room "notebook"|"cells"|"steps"|"analysis"|"ir"|"yaml"
---@return integer exit_code # raises "Usage" for another room
function M.print(path, room)
  if room == "yaml" then
    local ir = require "kale.ir"
    io.stdout:write(ir.encode(ir.build(rooms.analysis(path))))
    return 0
  end
  if not rooms[room] then cli.usage("no room '%s': notebook, cells, steps, analysis, ir or yaml", room) end
  print(json.encode(rooms[room](path), { sort = true, indent = 2 }))
  return 0
end

return M
