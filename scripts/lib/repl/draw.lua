-- repl.draw: prompt, line, suggestion and menu as rows of a terminal, and the sequences that bring them there.
-- Not for deciding what is shown. All is computed: nothing is read back from the terminal.
--   local rows, at = draw.rows { prompt = "> ", text = "ab", cursor = 2, columns = 80 }

local term = require "term"

local M = {}

-- Adds a text of one style to rows that wrap at `columns`; calls at_byte(byte) before each character.
local function add(rows, text, columns, style, at_byte)
  local byte = 1
  for _, code in utf8.codes(text, true) do
    local c = utf8.char(code)
    if at_byte then at_byte(byte, rows) end
    byte = byte + #c
    local row = rows[#rows]
    if c == "\n" then
      rows[#rows + 1] = { text = "", width = 0 }
      if rows.indent then add(rows, rows.indent, columns, "dim") end
    else
      local width = term.width(c)
      if row.width + width > columns then
        row = { text = "", width = 0 }
        rows[#rows + 1] = row
      end
      row.text = row.text .. (style and term.style(c, style) or c)
      row.width = row.width + width
    end
  end
  if at_byte then at_byte(byte, rows) end
end

-- A prompt comes styled; its width is that of its text.
local function add_prompt(rows, prompt)
  local row = rows[#rows]
  row.text = row.text .. prompt
  row.width = row.width + term.width(prompt)
end

---The rows of the edited line, and where its cursor stands.
---@param state {prompt: string, text: string, cursor: integer, columns: integer, suggestion: string?, menu: string[]?,
---  indent: string?}
---@return string[] rows, {row: integer, column: integer} at from 1 and 0
function M.rows(state)
  local rows = { { text = "", width = 0 }, indent = state.indent }
  local at = { row = 1, column = 0 }
  add_prompt(rows, state.prompt)
  add(rows, state.text, state.columns, nil, function(byte, so_far)
    if byte == state.cursor then at.row, at.column = #so_far, so_far[#so_far].width end
  end)
  if at.column >= state.columns then -- the cursor is drawn where the next character would come
    at.row, at.column = at.row + 1, 0
    if at.row > #rows then rows[#rows + 1] = { text = "", width = 0 } end
  end
  if state.suggestion then add(rows, state.suggestion, state.columns, "gray") end
  local texts = {}
  for index, row in ipairs(rows) do texts[index] = row.text end
  for _, line in ipairs(state.menu or {}) do texts[#texts + 1] = term.cut(line, state.columns) end
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
  for _, name in ipairs(names) do widest = math.max(widest, term.width(name)) end
  local across = math.max(1, columns // (widest + 2))
  local down = math.ceil(#names / across)
  local first = 1
  if down > most then first = math.max(1, math.min(((chosen or 1) - 1) // across + 1 - most // 2, down - most + 1)) end
  local lines = {}
  for row = first, math.min(down, first + most - 1) do
    local cells = {}
    for column = 1, across do
      local index = (row - 1) * across + column
      local name = names[index]
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
