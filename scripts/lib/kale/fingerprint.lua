-- What Python text does, without what only people read: comments, blank lines, spaces within a line.
-- Not for telling whether two texts do the same: only whether they are spelled the same to Python.
--   fingerprint.text("x = 1  # one\n", {}) == fingerprint.text("x=1\n", {})
local pyast = require "pyast"

local M = {}

local SILENT = { comment = true, line_continuation = true }

---The words of a tree, with the shape of the statements around them.
---@param tree table of pyast.parse
---@return string
function M.tree(tree)
  local source, kind, first, last, next_of = tree.source, tree.kind, tree.first, tree.last, tree.next
  local words, ends = {}, {}
  for node = 1, tree.count do
    while ends[#ends] == node do
      words[#words + 1] = "}"
      ends[#ends] = nil
    end
    if next_of[node] == node + 1 then
      if not SILENT[kind[node]] then words[#words + 1] = source:sub(first[node], last[node]) end
    elseif kind[node] == "block" then
      words[#words + 1] = "{"
      ends[#ends + 1] = next_of[node]
    end
  end
  for _ in ipairs(ends) do words[#words + 1] = "}" end
  return table.concat(words, " ")
end

---@param text string Python
---@param memo table<string, string> what this run of the compiler has seen
---@return string
function M.text(text, memo)
  local result = memo[text]
  if not result then
    result = M.tree(pyast.parse(text))
    memo[text] = result
  end
  return result
end

return M
