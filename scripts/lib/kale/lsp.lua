-- Findings as the Language Server Protocol has them: for editors, in UTF-16 units counted from 0.
-- Not a language server.
--   lsp.publish(plan, nb) -> {{ uri = "file:///a.ipynb#cell2", diagnostics = {…} }, …}
local fs = require "fs"
local json = require "json"

local M = {}

local SEVERITY = { error = 1, warning = 2 }

local function uri_of(path)
  local full = fs.try.realpath(path) or path
  return "file://" .. full:gsub("[^%w/._~-]", function(c) return ("%%%02X"):format(c:byte()) end)
end

-- The UTF-16 units before a column (in characters, from 1) of a line.
local function units_before(line, column)
  local units, count = 0, 1
  for _, code in utf8.codes(line) do
    if count >= column then break end
    units, count = units + (code > 0xffff and 2 or 1), count + 1
  end
  return units
end

-- The characters of the word at a column: at least one.
local function word_length(line, column)
  local at = utf8.offset(line, column)
  local word = at and line:match("^[%w_\x80-\xff]+", at) or " "
  return utf8.len(word) or 1
end

local function range_of(d, first_line)
  local line = first_line + (d.line or 1) - 2
  local source, column = d.source or "", d.column or 1
  local from = d.source and units_before(source, column) or 0
  local to = d.source and units_before(source, column + word_length(source, column)) or 0
  return { start = { line = line, character = from }, ["end"] = { line = line, character = math.max(to, from) } }
end

---@param plan table of kale.plan
---@param nb table of kale.notebook
---@return table[] # PublishDiagnosticsParams; a cell of an .ipynb file is a document of its own
function M.publish(plan, nb)
  local list, by_uri, base = json.array {}, {}, uri_of(plan.path)
  for _, d in ipairs(plan.diagnostics) do
    local cell = d.cell and nb.cells[d.cell]
    local in_script = nb.format == "percent"
    local uri = (in_script or not cell) and base or ("%s#cell%d"):format(base, d.cell)
    if not by_uri[uri] then
      by_uri[uri] = { uri = uri, diagnostics = json.array {} }
      list[#list + 1] = by_uri[uri]
    end
    table.insert(by_uri[uri].diagnostics, {
      range = range_of(d, in_script and cell and cell.first_line or 1), severity = SEVERITY[d.severity], code = d.code,
      source = "kfhost", message = d.message, data = { cell = d.cell, hint = d.hint },
    })
  end
  return list
end

return M
