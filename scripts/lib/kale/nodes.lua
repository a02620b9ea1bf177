-- Nodes of a parsed cell: their text, their place and their children.
-- Not for what they mean: see kale.changes and kale.source.
--   for statement in nodes.children(parsed.tree, 1) do print(nodes.text(parsed, statement)) end
local pyast = require "pyast"

local sub = string.sub

local M = {}

---The source of a node; of a name, the name as Python knows it.
---@param parsed table a parsed cell
---@param node integer
---@return string
function M.text(parsed, node)
  local tree = parsed.tree
  local text = sub(parsed.python, tree.first[node], tree.last[node])
  if parsed.wide and tree.kind[node] == "identifier" then return pyast.identifier(text) end
  return text
end

-- Where a name stands in a line whose Python is another text.
local function column_in(source, text, column)
  local at = source and source:find(text, source:find "[{$]" or 1, true)
  if at then return utf8.len(source, 1, at - 1) + 1 end
  return math.min(column, #(source or "") + 1)
end

---Where a node stands in its cell, as it was written.
---@param parsed table
---@param node integer
---@return {cell: integer, line: integer, column: integer, source: string, quiet: boolean?} # quiet: names there may
---  be those of a shell
function M.place(parsed, node)
  local line, column = pyast.position(parsed.python, parsed.tree.first[node])
  local shift, source = parsed.shift and parsed.shift[line] or 0, parsed.lines(line)
  local rewritten = parsed.rewritten and parsed.rewritten[line]
  if rewritten then column = column_in(source, M.text(parsed, node), column) end
  return {
    cell = parsed.cell.number, line = line, column = math.max(1, column + shift), source = source,
    quiet = rewritten == "shell" or nil,
  }
end

---The first direct child in that role.
---@param tree pyast.Tree
---@param node integer
---@param field string
---@return integer?
function M.child(tree, node, field)
  local next_of, field_of = tree.next, tree.field
  local at, last = node + 1, next_of[node]
  while at < last do
    if field_of[at] == field then return at end
    at = next_of[at]
  end
end

---Iterates over the direct children of a node.
---@param tree pyast.Tree
---@param node integer
---@return fun(): integer?
function M.children(tree, node)
  local next_of = tree.next
  local at, last = node + 1, next_of[node]
  return function()
    if at >= last then return nil end
    local current = at
    at = next_of[at]
    return current
  end
end

local NONE <const> = {}
local SORTED = { function_definition = true, class_definition = true, expression_statement = true,
  import_statement = true, import_from_statement = true, assignment = true, as_pattern = true, for_statement = true }

---The nodes of a kind of statement, in order; of the kinds in SORTED, found in one pass.
---@param parsed table
---@param kind string
---@return integer[]
function M.of_kind(parsed, kind)
  local by_kind = parsed.by_kind
  if not by_kind then
    by_kind = {}
    parsed.by_kind = by_kind
    local kinds = parsed.tree.kind
    for node = 1, parsed.tree.count do
      local known = kinds[node]
      if SORTED[known] then
        local list = by_kind[known]
        if list then list[#list + 1] = node else by_kind[known] = { node } end
      end
    end
  end
  return by_kind[kind] or NONE
end

---The occurrences of module-level names in a range of nodes, as numbers in the order of evaluation.
---@param parsed table
---@param first integer
---@param next integer
---@return integer[]
function M.occurrences(parsed, first, next)
  local at, list = parsed.at, {}
  for node = first, next - 1 do
    local known = at[node]
    if known then
      if type(known) == "table" then table.move(known, 1, #known, #list + 1, list)
      else list[#list + 1] = known end
    end
  end
  if #list > 1 then table.sort(list) end
  return list
end

return M
