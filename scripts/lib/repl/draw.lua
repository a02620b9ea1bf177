-- repl.draw: prompt, line, suggestion and menu as rows of a terminal, and the sequences that bring them there.
-- Not for deciding what is shown. All is computed: nothing is read back from the terminal.
--   local rows, at = draw.rows { prompt = "> ", text = "ab", cursor = 2, columns = 80 }

local term = require "term"

local M = {}

-- What is drawn for a character that would move the cursor: as wide as it is drawn.
local function drawable(text)
  return (text:gsub("\t", "  "):gsub("[%c]", "?"))
end

local function add_row(rows)
  local row = { text = "", width = 0 }
  rows[#rows + 1] = row
  return row
end

-- Adds a line (no line break) of one style to rows that wrap at `columns`. Where the byte `cursor` of it is drawn,
-- if it is in it: row and column.
local function add_line(rows, line, columns, style, cursor)
  if line:find "%c" then
    cursor = cursor and #drawable(line:sub(1, cursor - 1)) + 1
    line = drawable(line)
  end
  local row, at, place = rows[#rows], 1, nil
  repeat
    local bytes = term.fit(line:sub(at, at + 4 * columns), columns - row.width)
    if bytes == 0 and at <= #line and row.width == 0 then bytes = (utf8.offset(line, 2, at) or #line + 1) - at end
    local piece = line:sub(at, at + bytes - 1)
    if cursor and cursor >= at and (cursor < at + bytes or cursor > #line and at + bytes > #line) then
      place = { row = #rows, column = row.width + term.width(line:sub(at, cursor - 1)) }
    end
    row.text = row.text .. (style and piece ~= "" and term.style(piece, style) or piece)
    row.width = row.width + term.width(piece)
    at = at + bytes
    if at <= #line then row = add_row(rows) end
  until at > #line
  return place
end

-- The lines of the text around the cursor, no more than may be in sight: the text, where the cursor is in it, and
-- whether it begins at the beginning.
local function around(text, cursor, height)
  local from, to = cursor, cursor - 1
  for _ = 1, height do
    repeat from = from - 1 until from < 1 or text:byte(from) == 10
    if from < 1 then break end
  end
  for _ = 1, height do
    to = text:find("\n", to + 1, true)
    if not to then break end
  end
  from = math.max(from, 0)
  return text:sub(from + 1, to and to - 1 or -1), cursor - from, from == 0
end

-- Adds the lines of a text; gives the place of the cursor.
local function add_text(rows, text, state, cursor)
  local start, place = 1, nil
  while true do
    local ending = text:find("\n", start, true) or #text + 1
    local inside = cursor >= start and cursor <= ending and cursor - start + 1 or nil
    place = add_line(rows, text:sub(start, ending - 1), state.columns, nil, inside) or place
    if ending > #text then return place end
    start = ending + 1
    add_row(rows)
    if state.indent then add_line(rows, state.indent, state.columns, "dim") end
  end
end

-- A prompt comes styled; where it leaves no room, it is a short one.
local function add_prompt(rows, prompt, columns)
  local row = rows[#rows]
  local width = term.width(prompt)
  if width > columns - 8 and width > columns // 2 then
    prompt, width = "> ", 2
  end
  row.text, row.width = row.text .. prompt, row.width + width
end

-- The rows that are in sight, the one of the cursor among them.
local function in_sight(rows, at, height)
  if not height or #rows <= height then return rows, at end
  local first = math.max(1, math.min(at.row - height // 2, #rows - height + 1))
  return table.move(rows, first, first + height - 1, 1, {}), { row = at.row - first + 1, column = at.column }
end

---The rows of the edited line, and where its cursor stands.
---@param state {prompt: string, text: string, cursor: integer, columns: integer, height: integer?,
---  suggestion: string?, menu: string[]?, indent: string?}
---@return string[] rows, {row: integer, column: integer} at from 1 and 0
function M.rows(state)
  local rows = { { text = "", width = 0 } }
  local text, cursor, from_start = around(state.text, state.cursor, state.height or 1000)
  if from_start then add_prompt(rows, state.prompt, state.columns)
  elseif state.indent then add_line(rows, state.indent, state.columns, "dim") end
  local at = add_text(rows, text, state, cursor)
  if at.column >= state.columns then -- the cursor is drawn where the next character would come
    at.row, at.column = at.row + 1, 0
    if at.row > #rows then add_row(rows) end
  end
  if state.suggestion then add_line(rows, state.suggestion, state.columns, "gray") end
  rows, at = in_sight(rows, at, state.height)
  local texts = {}
  for index, row in ipairs(rows) do texts[index] = row.text end
  local room = (state.height or 1000) - #texts
  for index, line in ipairs(state.menu or {}) do
    if index <= room then texts[#texts + 1] = term.cut(line, state.columns) end
  end
  return texts, at
end

---What brings rows onto the terminal in the place of those that were drawn before.
---@param before {row: integer}? the cursor's place then
---@param rows string[]
---@param at {row: integer, column: integer}
---@return string
function M.redraw(before, rows, at)
  local out = { "\r" }
  if before and before.row > 1 then out[#out + 1] = ("\27[%dA"):format(before.row - 1) end
  out[#out + 1] = "\27[J" .. table.concat(rows, "\r\n")
  local up = #rows - at.row
  if up > 0 then out[#out + 1] = ("\27[%dA"):format(up) end
  out[#out + 1] = "\r"
  if at.column > 0 then out[#out + 1] = ("\27[%dC"):format(at.column) end
  return table.concat(out)
end

---Candidates in columns, the chosen one marked.
---@param names string[]
---@param chosen integer? 0 or nil: none
---@param columns integer
---@param most integer rows
---@return string[]
function M.menu(names, chosen, columns, most)
  local widest = 1
  for _, name in ipairs(names) do widest = math.max(widest, term.width(term.safe(name))) end
  local across = math.max(1, columns // (widest + 2))
  local down = math.ceil(#names / across)
  local first = 1
  if down > most then first = math.max(1, math.min(((chosen or 1) - 1) // across + 1 - most // 2, down - most + 1)) end
  local lines = {}
  for row = first, math.min(down, first + most - 1) do
    local cells = {}
    for column = 1, across do
      local index = (row - 1) * across + column
      local name = names[index] and term.safe(names[index])
      if name then
        local padded = name .. (" "):rep(widest + 2 - term.width(name))
        cells[#cells + 1] = index == chosen and term.style(name, "reverse") .. padded:sub(#name + 1) or padded
      end
    end
    lines[#lines + 1] = (table.concat(cells):gsub("%s+$", ""))
  end
  if down > most then lines[#lines + 1] = term.style(("(%d candidates)"):format(#names), "dim") end
  return lines
end

return M
