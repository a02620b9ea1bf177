-- Python text without its comments: what is left decides what it does.
-- Not for telling whether two texts do the same: only whether they differ in more than comments.
--   fingerprint.text("x = 1  # one\n", {}) == fingerprint.text("x = 1\n", {})
local pyast = require "pyast"

local M = {}

---@param tree table of pyast.parse
---@return string
function M.tree(tree)
  local source = tree.source
  if not source:find("#", 1, true) then return (source:gsub("%s+$", "")) end
  local pieces, at = {}, 1
  for node = 1, tree.count do
    if tree.kind[node] == "comment" then
      local first, last = tree.first[node], tree.last[node]
      while first > at and source:find("^[ \t]", first - 1) do first = first - 1 end
      -- A line that has nothing else goes as a whole.
      local whole_line = first == 1 or source:sub(first - 1, first - 1) == "\n"
      if whole_line and source:sub(last + 1, last + 1) == "\n" then last = last + 1 end
      pieces[#pieces + 1] = source:sub(at, first - 1)
      at = last + 1
    end
  end
  pieces[#pieces + 1] = source:sub(at)
  return (table.concat(pieces):gsub("%s+$", ""))
end

---@param text string Python
---@param memo table<string, string> what was asked before
---@return string
function M.text(text, memo)
  local result = memo[text]
  if not result then
    result = text:find("#", 1, true) and M.tree(pyast.parse(text)) or text
    memo[text] = result
  end
  return (result:gsub("%s+$", ""))
end

return M
