-- Screens as text that a person can read and a test can compare: ⟦bold red:text⟧ is text in that style, the last
-- line says where the cursor is. Not for driving a terminal (screen.lua).
--   markup.of(tmux_capture_with_escapes) -> text     markup.svg(text) -> a picture of it

local term = require "term"

local M = {}

-- --- from the sequences of a terminal ---------------------------------------------------------------------

local COLOURS = { [0] = "black", "red", "green", "yellow", "blue", "magenta", "cyan", "white" }
local ATTRIBUTES = { [1] = "bold", [2] = "dim", [3] = "italic", [4] = "underline", [7] = "reverse" }
local OFF = { [22] = { "bold", "dim" }, [23] = { "italic" }, [24] = { "underline" }, [27] = { "reverse" } }
local ORDER = { "bold", "dim", "italic", "underline", "reverse" }

local function colour_of(code, base, bright)
  if code >= base and code <= base + 7 then return COLOURS[code - base] end
  if code >= bright and code <= bright + 7 then
    return code == bright and "gray" or "bright-" .. COLOURS[code - bright]
  end
end

-- What one SGR sequence does to a style.
local function apply(style, codes)
  if codes == "" then codes = "0" end
  for text in codes:gmatch "%d+" do
    local code = tonumber(text)
    if code == 0 then for name in pairs(style) do style[name] = nil end
    elseif ATTRIBUTES[code] then style[ATTRIBUTES[code]] = true
    elseif OFF[code] then for _, name in ipairs(OFF[code]) do style[name] = nil end
    elseif code == 39 then style.colour = nil
    elseif code == 49 then style.ground = nil
    else
      style.colour = colour_of(code, 30, 90) or style.colour
      local ground = colour_of(code, 40, 100)
      style.ground = ground and "on-" .. ground or style.ground
    end
  end
end

local function style_text(style)
  local words = {}
  for _, name in ipairs(ORDER) do
    if style[name] then words[#words + 1] = name end
  end
  words[#words + 1] = style.colour
  words[#words + 1] = style.ground
  return table.concat(words, " ")
end

-- One line; the style goes on into the next.
local function line_of(line, style)
  local out, at = {}, 1
  local function text(piece)
    if piece == "" then return end
    local name = style_text(style)
    out[#out + 1] = name == "" and piece or ("⟦%s:%s⟧"):format(name, piece)
  end
  for from, codes, after in line:gmatch "()\27%[([%d;]*)m()" do
    text(line:sub(at, from - 1))
    apply(style, codes)
    at = after
  end
  text(line:sub(at))
  return (table.concat(out):gsub("%s+$", ""))
end

---A screen as tmux gives it with escapes, as text with styles.
---@param lines string[]
---@return string
function M.of(lines)
  local style, list = {}, {}
  for index, line in ipairs(lines) do list[index] = line_of(line:gsub("\14", ""):gsub("\15", ""), style) end
  while list[1] and list[#list] == "" do list[#list] = nil end
  return table.concat(list, "\n") .. "\n"
end

---The text without its styles.
---@param text string
---@return string
function M.plain(text)
  return (text:gsub("⟦[%w %-]*:", ""):gsub("⟧", ""))
end

-- --- pictures --------------------------------------------------------------------------------------------

local WIDTH <const>, HEIGHT <const>, SIZE <const> = 9, 19, 15
local PALETTE = {
  black = "#21252b", red = "#e06c75", green = "#98c379", yellow = "#e5c07b", blue = "#61afef", magenta = "#c678dd",
  cyan = "#56b6c2", white = "#dcdfe4", gray = "#7f848e", paper = "#1e2127", ink = "#d4d7dd",
}
local ESCAPES = { ["&"] = "&amp;", ["<"] = "&lt;", [">"] = "&gt;" }

local function look_of(words)
  local look = { ink = PALETTE.ink }
  for word in words:gmatch "%S+" do
    local ground = word:match "^on%-(.+)$"
    if ground then look.ground = PALETTE[ground:gsub("^bright%-", "")]
    elseif PALETTE[(word:gsub("^bright%-", ""))] then look.ink = PALETTE[(word:gsub("^bright%-", ""))]
    else look[word] = true end
  end
  if look.reverse then look.ink, look.ground = look.ground or PALETTE.paper, look.ink end
  return look
end

-- A run of one style: every character stands in the column that a terminal gives it.
local function draw_run(out, text, look, column, row)
  local from, places, drawn = column, {}, {}
  for _, code in utf8.codes(text, true) do
    local c = utf8.char(code)
    local width = term.width(c)
    if width > 0 then places[#places + 1] = column * WIDTH end
    drawn[#drawn + 1] = c:gsub("[&<>]", ESCAPES)
    column = column + width
  end
  local y = row * HEIGHT
  if look.ground then
    out[#out + 1] = ('<rect x="%d" y="%d" width="%d" height="%d" fill="%s"/>'):format(from * WIDTH, y,
      (column - from) * WIDTH, HEIGHT, look.ground)
  end
  out[#out + 1] = ('<text x="%s" y="%d" fill="%s"%s%s%s xml:space="preserve">%s</text>'):format(
    table.concat(places, " "), y + 14, look.ink, look.bold and ' font-weight="bold"' or "",
    look.dim and ' opacity="0.6"' or "", look.underline and ' text-decoration="underline"' or "",
    table.concat(drawn))
  return column
end

local function draw_line(out, line, row)
  local column, at = 0, 1
  while at <= #line do
    local from, to, words, text = line:find("⟦([%w %-]*):(.-)⟧", at)
    local plain = line:sub(at, (from or #line + 1) - 1)
    if plain ~= "" then column = draw_run(out, plain, look_of "", column, row) end
    if not from then break end
    column = draw_run(out, text, look_of(words), column, row)
    at = to + 1
  end
end

---A picture of a screen.
---@param text string with styles; the first line names the size, the last one the cursor
---@return string svg
function M.svg(text)
  local columns, rows = text:match "^(%d+)×(%d+)\n"
  local cursor_column, cursor_row = text:match "\ncursor (%d+) (%d+)\n$"
  local width, height = (tonumber(columns) or 80) * WIDTH, (tonumber(rows) or 24) * HEIGHT
  local out = {
    ('<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d">'):format(width, height),
    ('<rect width="%d" height="%d" fill="%s"/>'):format(width, height, PALETTE.paper),
    ('<g font-family="DejaVu Sans Mono, monospace" font-size="%d">'):format(SIZE),
  }
  if cursor_column then
    out[#out + 1] = ('<rect x="%d" y="%d" width="%d" height="%d" fill="#6b717d"/>'):format(cursor_column * WIDTH,
      cursor_row * HEIGHT, WIDTH, HEIGHT)
  end
  local row = 0
  local body = text:gsub("^%d+×%d+\n", ""):gsub("cursor [%w ]+\n$", "")
  for line in body:gmatch "(.-)\n" do
    draw_line(out, line, row)
    row = row + 1
  end
  out[#out + 1] = "</g></svg>\n"
  return table.concat(out, "\n")
end

return M
