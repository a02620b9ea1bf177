-- What can be wrong with a notebook: every code, and how a finding is told.
-- Not for finding anything: the rooms do that, with diagnostics.new.
--   local d = diagnostics.new("undefined-name", { cell = 3, line = 1, column = 5, name = "x" })
local errors = require "errors"
local term = require "term"

local M = {}

-- code -> severity, message, hint. {field} in a text is replaced by the finding's field.
M.codes = {
  ["syntax"] = { "error", "{message}" },
  ["no-steps"] = {
    "error", "no cell is tagged as a step",
    "tag a cell: kfhost kale tag, or step:NAME in the cell's tags",
  },
  ["tag-unknown"] = { "error", "unknown tag '{tag}'", "known tags: {known}" },
  ["tag-not-text"] = { "error", "a tag is no text" },
  ["tag-without-step"] = { "error", "tag '{tag}' needs a step in the same cell", "add step:NAME" },
  ["tag-ignored"] = { "warning", "tag '{tag}' is ignored in a cell tagged '{special}'" },
  ["tag-no-effect"] = { "warning", "tag '{tag}' is kept, but has no effect yet" },
  ["tag-repeated"] = {
    "warning", "tag '{tag}' is ignored where step '{step}' goes on",
    "put it on the step's first cell",
  },
  ["step-name"] = {
    "error", "'{name}' is no name of a step",
    "letters a-z, digits and _, not beginning with a digit",
  },
  ["several-steps"] = { "error", "a cell is part of one step only" },
  ["prev-unknown"] = { "error", "no step '{name}' before this cell", "steps so far: {known}" },
  ["metrics-not-last"] = {
    "error", "a step follows the cell with the pipeline's metrics",
    "move the metrics cell to the end",
  },
  ["parameter-not-constant"] = {
    "error", "a parameter is one name and a constant",
    "for instance: rate = 0.1",
  },
  ["parameter-repeated"] = { "error", "parameter '{name}' is there twice" },
  ["metric-not-print"] = { "error", "a metrics cell has lines print(name) only" },
  ["metric-unknown"] = { "error", "no step makes the metric '{name}'" },
  ["cell-dropped"] = {
    "warning", "this cell is before the first step and is left out",
    "tag it step:NAME, imports, functions or skip",
  },
  ["effects-repeated"] = { "warning", "this statement of the {kind} cell runs again in every step" },
  ["undefined-name"] = { "error", "'{name}' is not defined anywhere before", "{near}" },
  ["undefined-in-function"] = {
    "warning", "'{name}', which a function uses, is not defined anywhere",
    "{near}",
  },
  ["missing-edge"] = {
    "error", "'{name}' is made in step '{from}', which does not come before this step",
    "add the tag prev:{from}",
  },
  ["two-producers"] = {
    "error", "'{name}' is made both in step '{from}' and in step '{other}', and neither comes after the other",
    "add prev:{from} to '{other}', or use two names",
  },
  ["lost-change"] = {
    "warning", "'{name}' may be changed in step '{from}', in another branch: that change is not seen here",
    "join the branches, or return a new value",
  },
  ["function-by-value"] = {
    "warning", "'{name}' crosses to another step by value, as its {why} may have effects",
    "steps must then run the same minor version of Python",
  },
  ["star-import"] = {
    "warning", "names of 'import *' cannot be known: what is not found elsewhere is taken from it",
  },
  ["magic-unknown"] = { "warning", "'{text}' is no magic that works in a step; it is left out" },
  ["relative-path"] = {
    "warning", "'{text}' is a file beside the notebook: in a cluster it is not in the step's image",
  },
  ["metadata-ignored"] = { "warning", "notebook metadata '{key}' is kept, but has no effect" },
}

---@class kale.Diagnostic
---@field severity "error"|"warning"
---@field code string
---@field message string
---@field hint string?
---@field cell integer? counts all cells from 1
---@field line integer? in the cell
---@field column integer? in characters
---@field source string? the line

---@param code string one of M.codes
---@param fields table cell, line, column, source, and what the code's texts name
---@return kale.Diagnostic
function M.new(code, fields)
  local entry = assert(M.codes[code], code)
  local function fill(text)
    if not text then return nil end
    local filled = text:gsub("{(%w+)}", function(name) return tostring(fields[name] or "") end)
    return filled ~= "" and filled or nil
  end
  return {
    severity = entry[1], code = code, message = fill(entry[2]), hint = fill(entry[3]),
    cell = fields.cell, line = fields.line, column = fields.column, source = fields.source,
  }
end

---The fields of a finding at a place: its cell, line, column and source with others beside them.
---@param place table
---@param fields table?
---@return table
function M.at(place, fields)
  local result = { cell = place.cell, line = place.line, column = place.column, source = place.source }
  for key, value in pairs(fields or {}) do result[key] = value end
  return result
end

---@param list kale.Diagnostic[]
---@return boolean
function M.has_errors(list)
  for _, d in ipairs(list) do
    if d.severity == "error" then return true end
  end
  return false
end

---Sorts by place: whole-notebook findings first, then by cell, line and column.
---@param list kale.Diagnostic[]
function M.sort(list)
  local order = {}
  for i, d in ipairs(list) do order[d] = i end
  table.sort(list, function(a, b)
    for _, key in ipairs { "cell", "line", "column" } do
      local x, y = a[key] or 0, b[key] or 0
      if x ~= y then return x < y end
    end
    return order[a] < order[b]
  end)
end

---The finding as people read it: place, message, the line with a mark under the place, a hint.
---@param path string the notebook
---@param d kale.Diagnostic
---@param style fun(text: string, style: string): string
---@return string
function M.render(path, d, style)
  local place = path
  if d.cell then place = ("%s, cell %d"):format(place, d.cell) end
  if d.line then place = ("%s, line %d, column %d"):format(place, d.line, d.column or 1) end
  local colour = d.severity == "error" and "bold red" or "bold yellow"
  local lines = { ("%s: %s %s [%s]"):format(place, style(d.severity .. ":", colour), d.message, d.code) }
  if d.source then
    local before = d.source:sub(1, (utf8.offset(d.source, d.column or 1) or #d.source + 1) - 1)
    lines[#lines + 1] = "    " .. d.source
    local blank = before:gsub("[^\t]+", function(run) return (" "):rep(term.width(run)) end)
    lines[#lines + 1] = "    " .. blank .. style("^", colour)
  end
  if d.hint then lines[#lines + 1] = "    hint: " .. d.hint end
  return table.concat(lines, "\n")
end

---Raises when there is an error among the findings.
---@param path string
---@param list kale.Diagnostic[]
function M.check(path, list)
  local texts = {}
  for _, d in ipairs(list) do
    if d.severity == "error" then
      texts[#texts + 1] = M.render(path, d, function(text) return text end)
    end
  end
  if #texts == 0 then return end
  errors.raise { code = "Notebook", message = ("%s has errors:\n%s"):format(path, table.concat(texts, "\n")) }
end

return M
