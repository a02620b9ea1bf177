-- What can be wrong with a notebook: every code, and how a finding is told.
-- Not for finding anything: the rooms do that, with diagnostics.new.
--   local d = diagnostics.new("undefined-name", { cell = 3, line = 1, column = 5, name = "x" })
local errors = require "errors"
local term = require "term"

local M = {}

-- code -> severity, message, hint.
M.codes = require "kale.codes"

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
  local message = fill(entry[2])
  if fields.within then message = fields.within .. ": " .. (message or "") end
  return {
    severity = entry[1], code = code, message = message, hint = fill(entry[3]),
    cell = fields.cell, line = fields.line, column = fields.column, source = fields.source,
  }
end

---A list of findings in which each stands once: what several steps find in one place is told once.
---@return kale.Diagnostic[] list
---@return fun(d: kale.Diagnostic) add
function M.collector()
  local list, seen = {}, {}
  return list, function(d)
    local key = ("%s %s %s %s %s"):format(d.code, d.cell, d.line, d.column, d.message)
    if seen[key] then return end
    seen[key], list[#list + 1] = true, d
  end
end

---The fields of a finding at a place: its cell, line, column and source with others beside them.
---@param place table
---@param fields table?
---@return table
function M.at(place, fields)
  local result = {
    cell = place.cell, line = place.line, column = place.column, source = place.source, quiet = place.quiet,
  }
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

local WIDEST = 160 -- bytes of a line on each side of a place

-- What stands before a place in a line, and the line; of a long one the part around the place.
local function clip(line, at)
  local first, last = 1, #line
  if at > WIDEST then first = utf8.offset(line, 0, at - WIDEST) or 1 end
  if last - at > WIDEST then last = (utf8.offset(line, 0, at + WIDEST) or at + WIDEST) - 1 end
  local left, right = first > 1 and "…" or "", last < #line and "…" or ""
  return left .. line:sub(first, at), left .. line:sub(first, last) .. right
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
    local before, shown = clip(d.source, (utf8.offset(d.source, d.column or 1) or #d.source + 1) - 1)
    lines[#lines + 1] = "    " .. shown
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
