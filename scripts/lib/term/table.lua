-- term.table: rows of texts as aligned columns.
-- Not for data: numbers are formatted by whoever knows their unit.
--   io.write(term.table({{"load", "0.12 s"}, {"train", "3.40 s"}}, {align={[2]="right"}}))

local term = require "term"

local LEAST = 6 -- columns; a shrunk column stays at least so wide

local function widths_of(rows)
  local widths = {}
  for _, row in ipairs(rows) do
    for index, cell in ipairs(row) do
      widths[index] = math.max(widths[index] or 0, term.width(cell))
    end
  end
  return widths
end

local function sum(widths, gap)
  local total = gap * (#widths - 1)
  for _, width in ipairs(widths) do total = total + width end
  return total
end

-- The widest column that may still shrink.
local function widest(widths, least)
  local found
  for index, width in ipairs(widths) do
    if width > (least[index] or LEAST) and (not found or width > widths[found]) then found = index end
  end
  return found
end

-- Takes columns from the widest until all fit or nothing is left to take.
local function shrink(widths, gap, columns, least)
  for _ = 1, sum(widths, gap) - columns do
    local index = widest(widths, least)
    if not index then return end
    widths[index] = widths[index] - 1
  end
end

local BLANKS <const> = (" "):rep(200)

local function pad(text, missing, align)
  if missing <= 0 then return text end
  local space = missing <= #BLANKS and BLANKS:sub(1, missing) or (" "):rep(missing)
  return align == "right" and space .. text or text .. space
end

local function line(row, widths, align, gap)
  local cells = {}
  for index, width in ipairs(widths) do
    local cell = row[index] or ""
    local taken = term.width(cell)
    if taken > width then
      cell = term.cut(cell, width)
      taken = term.width(cell)
    end
    cells[index] = pad(cell, width - taken, align[index])
  end
  return (table.concat(cells, gap):gsub("%s+$", ""))
end

local function with_header(rows, header)
  if not header then return rows end
  local styled = {}
  for index, title in ipairs(header) do styled[index] = term.style(title, "bold") end
  return { styled, table.unpack(rows) }
end

---@class term.table.options
---@field header? string[] the titles
---@field align? table<integer, "left"|"right"> by column
---@field gap? integer blanks between columns (2)
---@field widths? integer[] how wide the cells of each column are at most, if that is known
---@field least? table<integer, integer> what a column keeps when it is shrunk (6)
---@field columns? integer the width to fit (the terminal's; without one nothing is shrunk)

---Lays rows out as columns. On a terminal columns are shrunk (with …) until a line fits.
---@param rows string[][] each row an array of texts, styled or not
---@param options? term.table.options
---@return string text ends with a newline, empty for no rows
return function(rows, options)
  options = options or {}
  local all, gap = with_header(rows, options.header), options.gap or 2
  if #all == 0 then return "" end
  local widths = options.widths and { table.unpack(options.widths) } or widths_of(all)
  local columns = options.columns or term.is_terminal "stdout" and term.size()
  if columns then shrink(widths, gap, columns, options.least or {}) end
  local lines = {}
  for index, row in ipairs(all) do
    lines[index] = line(row, widths, options.align or {}, (" "):rep(gap))
  end
  return table.concat(lines, "\n") .. "\n"
end
