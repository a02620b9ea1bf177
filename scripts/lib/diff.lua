-- diff: what differs between two texts, line by line, as `diff -u` writes it.
-- Not for large files: its time and memory grow with the product of the parts that differ.
--   diff.unified("a\nb\n", "a\nc\n", { from = "old", to = "new" }) -> "--- old\n+++ new\n@@ …"

local M = {}

local CONTEXT = 3

local function lines_of(text)
  local lines = {}
  for line in text:gmatch "([^\n]*\n?)" do
    if line ~= "" then lines[#lines + 1] = line end
  end
  return lines
end

-- length[i][j]: the longest common subsequence of what follows line i - 1 and line j - 1.
local function common_lengths(old, new, first, old_last, new_last)
  local length = { [old_last + 1] = {} }
  for j = first, new_last + 1 do length[old_last + 1][j] = 0 end
  for i = old_last, first, -1 do
    local row, below = { [new_last + 1] = 0 }, length[i + 1]
    for j = new_last, first, -1 do
      row[j] = old[i] == new[j] and below[j + 1] + 1 or math.max(below[j], row[j + 1])
    end
    length[i] = row
  end
  return length
end

-- The script of edits: {mark=" " | "-" | "+", text, old, new}, old and new are the line numbers before it.
local function edits(old, new)
  local first, old_last, new_last = 1, #old, #new
  while first <= old_last and old[first] == new[first] and first <= new_last do first = first + 1 end
  while old_last >= first and new_last >= first and old[old_last] == new[new_last] do
    old_last, new_last = old_last - 1, new_last - 1
  end
  local length = common_lengths(old, new, first, old_last, new_last)
  local list, i, j = {}, 1, 1
  local function add(mark, text) list[#list + 1] = { mark = mark, text = text, old = i, new = j } end
  while i <= #old or j <= #new do
    local inside = i >= first and j >= first and (i <= old_last or j <= new_last)
    if not inside or (i <= old_last and j <= new_last and old[i] == new[j]) then
      add(" ", old[i])
      i, j = i + 1, j + 1
    elseif j > new_last or (i <= old_last and length[i + 1][j] >= length[i][j + 1]) then
      add("-", old[i])
      i = i + 1
    else
      add("+", new[j])
      j = j + 1
    end
  end
  return list
end

-- Spans of edits that belong together: changes with their context.
local function spans(list)
  local found = {}
  for at, edit in ipairs(list) do
    if edit.mark ~= " " then
      local last = found[#found]
      if last and at - CONTEXT <= last[2] + 1 then
        last[2] = math.min(at + CONTEXT, #list)
      else
        found[#found + 1] = { math.max(at - CONTEXT, 1), math.min(at + CONTEXT, #list) }
      end
    end
  end
  return found
end

local function range(first, count)
  if count == 1 then return tostring(first) end
  return ("%d,%d"):format(count == 0 and first - 1 or first, count)
end

local function hunk(list, span)
  local old_count, new_count, body = 0, 0, {}
  for at = span[1], span[2] do
    local edit = list[at]
    if edit.mark ~= "+" then old_count = old_count + 1 end
    if edit.mark ~= "-" then new_count = new_count + 1 end
    body[#body + 1] = edit.mark .. edit.text
    if edit.text:sub(-1) ~= "\n" then body[#body + 1] = "\n\\ No newline at end of file\n" end
  end
  local start = list[span[1]]
  return ("@@ -%s +%s @@\n%s"):format(range(start.old, old_count), range(start.new, new_count),
    table.concat(body))
end

---@param old string
---@param new string
---@param options { from: string?, to: string? }? names for the heads
---@return string text of the difference; empty when there is none
function M.unified(old, new, options)
  if old == new then return "" end
  local list = edits(lines_of(old), lines_of(new))
  options = options or {}
  local parts = { ("--- %s\n+++ %s\n"):format(options.from or "old", options.to or "new") }
  for _, span in ipairs(spans(list)) do parts[#parts + 1] = hunk(list, span) end
  return table.concat(parts)
end

return M
