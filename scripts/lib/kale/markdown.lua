-- kale.markdown: Markdown as HTML, for reports: headings, paragraphs, lists, tables, quotes, code, emphasis, links.
-- Not for HTML inside Markdown, which is shown as text, nor for pictures, which would ask the network.
--   markdown.html "# Results\n\n* **0.9** right" -> "<h3>Results</h3><ul><li><strong>0.9</strong> right</li></ul>"

local svg = require "graph.svg"

local M = {}

local DEEPEST, LONGEST = 16, 4096 -- blocks within blocks; letters of a line that is looked into: more is text

-- --- within a line ------------------------------------------------------------------------------------------

-- What is set aside while the rest of a line is read: code and links, whose letters mean nothing else.
local function set_aside(kept, html)
  kept[#kept + 1] = html
  return ("\1%d\2"):format(#kept)
end

local function emphasis(text)
  text = text:gsub("%*%*(%S.-)%*%*", "<strong>%1</strong>"):gsub("__(%S.-)__", "<strong>%1</strong>")
  text = text:gsub("%*(%S.-)%*", "<em>%1</em>"):gsub("~~(%S.-)~~", "<del>%1</del>")
  return (text:gsub("%f[%w_]_(%S.-)_%f[^%w_]", "<em>%1</em>"))
end

local function inline(line)
  if #line > LONGEST then return svg.escape(line) end
  local kept = {}
  line = line:gsub("[\1\2]", ""):gsub("(`+)(.-)%1", function(_, code)
    return set_aside(kept, "<code>" .. svg.escape(code) .. "</code>")
  end)
  line = line:gsub("!?%[([^%]]*)%]%(([^%s)]+)[^)]*%)", function(words, target)
    local safe = target:find "^https?://" or target:find "^mailto:" or target:find "^#"
    local name = svg.escape(words)
    return set_aside(kept, safe and ('<a href="%s" rel="noreferrer">%s</a>'):format(svg.escape(target), name) or name)
  end)
  line = line:gsub("\\([%p])", function(sign) return set_aside(kept, svg.escape(sign)) end)
  line = emphasis(svg.escape(line))
  return (line:gsub("\1(%d+)\2", function(number) return kept[tonumber(number)] end))
end

-- --- blocks -------------------------------------------------------------------------------------------------

local read_blocks -- quotes and items of lists hold blocks again

-- The lines from `at` on that are of one kind, each by what `read` makes of it.
local function take(lines, at, read)
  local found = {}
  while lines[at] do
    local value = read(lines[at], #found == 0)
    if not value then break end
    found[#found + 1], at = value, at + 1
  end
  return found, at
end

local function cells_of(line)
  local cells = {}
  for cell in (line:gsub("^%s*|", ""):gsub("|%s*$", "") .. "|"):gmatch "([^|]*)|" do
    cells[#cells + 1] = inline(cell:match "^%s*(.-)%s*$")
  end
  return cells
end

local function row_of(cells, word, aligned)
  local parts = {}
  for i, cell in ipairs(cells) do
    parts[i] = ("<%s%s>%s</%s>"):format(word, aligned[i] and ' class="number"' or "", cell, word)
  end
  return "<tr>" .. table.concat(parts) .. "</tr>"
end

local function begins_table(lines, at)
  local rule = lines[at + 1] or ""
  return lines[at]:find("|", 1, true) and rule:find "^[%s|:-]+$" and rule:find "%-"
end

local function table_at(lines, at)
  if not begins_table(lines, at) then return nil end
  local aligned = {}
  for i, cell in ipairs(cells_of(lines[at + 1])) do aligned[i] = cell:find ":$" and not cell:find "^:" or nil end
  local parts = { row_of(cells_of(lines[at]), "th", aligned) }
  local rows, after = take(lines, at + 2, function(line) return line:find("|", 1, true) and line end)
  for _, row in ipairs(rows) do parts[#parts + 1] = row_of(cells_of(row), "td", aligned) end
  return "<table>" .. table.concat(parts) .. "</table>", after
end

local function code_at(lines, at)
  local fence = lines[at]:match "^%s*(```+)" or lines[at]:match "^%s*(~~~+)"
  if not fence then return nil end
  local code, after = take(lines, at + 1, function(line) return line:match "^%s*(.-)%s*$" ~= fence and line end)
  return "<pre>" .. svg.escape(table.concat(code, "\n")) .. "</pre>", after + 1
end

local function heading_at(lines, at)
  local marks, words = lines[at]:match "^(#+)%s+(.-)%s*#*%s*$"
  if not marks or #marks > 6 then return nil end
  local word = #marks < 3 and "h3" or "h4"
  return ("<%s>%s</%s>"):format(word, inline(words), word), at + 1
end

local function rule_at(lines, at)
  local line = lines[at]:gsub("%s", "")
  local is_rule = #line >= 3 and (line:find "^%-+$" or line:find "^%*+$" or line:find "^_+$")
  if is_rule then return "<hr>", at + 1 end
end

local function quote_at(lines, at, depth)
  local inner, after = take(lines, at, function(line) return line:match "^%s*>%s?(.*)$" end)
  if #inner == 0 then return nil end
  return "<blockquote>" .. read_blocks(table.concat(inner, "\n"), depth + 1) .. "</blockquote>", after
end

-- The items of a list, with what is indented below them.
local function list_of(mark, word)
  return function(lines, at, depth)
    local items = {}
    while lines[at] and lines[at]:find(mark) do
      local item = { (lines[at]:gsub(mark, "", 1)) }
      local below, after = take(lines, at + 1, function(line) return line:find "^%s%s+%S" and line end)
      for _, line in ipairs(below) do item[#item + 1] = line:gsub("^%s%s%s?%s?", "", 1) end
      items[#items + 1] = "<li>" .. read_blocks(table.concat(item, "\n"), depth + 1, true) .. "</li>"
      at = after
      if lines[at] and not lines[at]:find "%S" and (lines[at + 1] or ""):find(mark) then at = at + 1 end
    end
    if #items > 0 then return ("<%s>%s</%s>"):format(word, table.concat(items), word), at end
  end
end

local BULLET, NUMBERED = "^%s?%s?%s?[*+-]%s+", "^%s?%s?%s?%d+[.)]%s+"
local BLOCKS = { code_at, heading_at, rule_at, table_at, quote_at, list_of(BULLET, "ul"),
  list_of(NUMBERED, "ol") }
local BEGINS = { "^%s*```", "^%s*~~~", "^#+%s", "^%s*>", BULLET, NUMBERED }

-- Whether a paragraph ends here: found without reading the block itself, which may hold others.
local function begins_block(lines, at)
  for _, pattern in ipairs(BEGINS) do
    if lines[at]:find(pattern) then return true end
  end
  return begins_table(lines, at) or rule_at(lines, at)
end

local function block_at(lines, at, depth)
  if depth > DEEPEST then return nil end
  for _, read in ipairs(BLOCKS) do
    local html, after = read(lines, at, depth)
    if html then return html, after end
  end
  return nil
end

local function paragraph_at(lines, at)
  local words = {}
  repeat
    words[#words + 1] = inline(lines[at]):gsub("  +$", "<br>")
    at = at + 1
  until not lines[at] or not lines[at]:find "%S" or begins_block(lines, at)
  return table.concat(words, "\n"), at
end

function read_blocks(text, depth, bare)
  local lines, parts, at = {}, {}, 1
  for line in (text .. "\n"):gmatch "([^\n]*)\n" do lines[#lines + 1] = line end
  while lines[at] do
    local html, after
    if lines[at]:find "%S" then html, after = block_at(lines, at, depth) end
    if html then
      parts[#parts + 1], at = html, after
    elseif lines[at]:find "%S" then
      html, at = paragraph_at(lines, at)
      parts[#parts + 1] = bare and html or "<p>" .. html .. "</p>"
    else
      at = at + 1
    end
  end
  return table.concat(parts)
end

---@param text string
---@return string html
function M.html(text)
  local plain = text:gsub("\r\n?", "\n"):gsub("\t", "    ")
  return read_blocks(plain, 1)
end

return M
