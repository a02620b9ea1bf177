-- Python of a group of cells: parsed once, and what it reads from outside, stores, defines and may change.
-- Not for where names come from: see kale.analysis.
--   local summary = source.summarize(cells, report); summary.needs.x, summary.stores.y
local changes = require "kale.changes"
local magics = require "kale.magics"
local nodes = require "kale.nodes"
local pyast = require "pyast"
local walk = require "kale.walk"

local text_of, children = nodes.text, nodes.children

local M = {}

-- --- one cell -------------------------------------------------------------------------------------

-- Scopes whose code runs later than where it stands: true; of a generic function or class: "bounds", as
-- the bounds of its type parameters do.
local function late_scopes(scopes, tree)
  local late = {}
  for i, scope in ipairs(scopes) do
    local generic = scope.kind == "type parameters"
    late[i] = scope.kind == "function" or scope.kind == "lambda" or late[scope.parent] == true
      or generic and (tree.kind[scope.node] == "type_alias_statement" or "bounds") or false
  end
  return late
end

local function is_bound(tree, node)
  while node > 1 and tree.field[node] ~= "type_parameters" do node = tree.parent[node] end
  return node > 1
end

-- Under a future statement of an earlier cell, annotations are not evaluated.
local function drop_annotations(tree, at)
  for node = 1, tree.count do
    if tree.kind[node] == "type" then
      for inner = node, tree.next[node] - 1 do at[inner] = nil end
    end
  end
end

---Notes for each cell whether `from __future__ import annotations` stands in an earlier one.
---@param cells table[] in the order of the notebook
function M.note_future(cells)
  local future = false
  for _, cell in ipairs(cells) do
    cell.future = future
    future = future or cell.source:find "from%s+__future__%s+import[^\n]*annotations" ~= nil
  end
end

-- Python itself takes no more: 200 brackets, 100 blocks, and in all what its compiler can follow.
local BRACKETS, BLOCKS, DEEPEST = 200, 100, 5000

local NESTING = { block = "block" }
for kind in ([[parenthesized_expression tuple list dictionary set argument_list parameters list_comprehension
  generator_expression set_comprehension dictionary_comprehension tuple_pattern list_pattern]]):gmatch "%S+" do
  NESTING[kind] = "bracket"
end

local DEEP_INDENT = "\n" .. ("[ \t]"):rep(BLOCKS + 1)

-- Whether a source is worth looking at more closely.
local function may_be_deep(python)
  if #python <= BRACKETS then return false end
  return #python > DEEPEST or select(2, python:gsub("[%(%[{]", "")) > BRACKETS or python:find(DEEP_INDENT) ~= nil
end

-- The first node that is nested deeper than Python takes, and what there is too much of.
local function too_deep(tree)
  local depth, brackets, blocks = { [0] = 0 }, { [0] = 0 }, { [0] = 0 }
  for node = 1, tree.count do
    local parent, kind = tree.parent[node], NESTING[tree.kind[node]]
    depth[node] = depth[parent] + 1
    brackets[node] = brackets[parent] + (kind == "bracket" and 1 or 0)
    blocks[node] = blocks[parent] + (kind == "block" and 1 or 0)
    if brackets[node] > BRACKETS then return node, "too many nested brackets" end
    if blocks[node] > BLOCKS then return node, "too many levels of indentation" end
    if depth[node] > DEEPEST then return node, "too deeply nested" end
  end
  return nil
end

-- Of what is nested too deeply nothing is kept but the finding.
local function shallow(tree, python)
  local node, message = too_deep(tree)
  if not node then return tree end
  local line, column = pyast.position(python, tree.first[node])
  local empty = pyast.parse("")
  empty.errors[1] = { line = line, column = column, message = message }
  return empty
end

-- A parsed cell: its tree, the occurrences of names, and for each identifier of a module-level name the
-- number of its occurrence, or several.
local function parse_cell(cell)
  local python, findings, shift, rewritten = magics.translate(cell.source)
  local tree = pyast.parse(python)
  if may_be_deep(python) then
    local whole = tree
    tree = shallow(whole, python)
    if tree ~= whole then python = "" end
  end
  local scopes, uses = pyast.scopes(tree)
  local late_scope, at, late = late_scopes(scopes, tree), {}, {}
  for i = 1, uses.count do
    if uses.resolved[i] == 0 then
      local known = at[uses.node[i]]
      if not known then at[uses.node[i]] = i
      elseif type(known) == "table" then known[#known + 1] = i
      else at[uses.node[i]] = { known, i } end
      late[i] = late_scope[uses.scope[i]]
      if late[i] == "bounds" then late[i] = is_bound(tree, uses.node[i]) end
    end
  end
  if cell.future then drop_annotations(tree, at) end
  uses.late, uses.resolved, uses.scope, uses.mutation = late, nil, nil, nil
  return {
    cell = cell, python = python, tree = tree, at = at, uses = uses, magics = findings, shift = shift,
    rewritten = rewritten,
    wide = python:find "[\128-\255]" ~= nil,
  }
end

local function line_reader(text)
  local lines
  return function(number)
    if not lines then
      lines = {}
      for line in (text .. "\n"):gmatch "([^\n]*)\n" do lines[#lines + 1] = line end
    end
    return lines[number]
  end
end

local function report_problems(parsed, report)
  local cell = parsed.cell
  for _, problem in ipairs(parsed.tree.errors) do
    report("syntax", {
      cell = cell.number, line = problem.line, message = problem.message,
      column = problem.column + (parsed.shift and parsed.shift[problem.line] or 0),
      source = parsed.lines(problem.line), near = magics.bare(parsed.lines(problem.line) or ""),
    })
  end
  for _, magic in ipairs(parsed.magics) do
    report(magic.code or "magic-unknown", {
      cell = cell.number, line = magic.line, column = 1, text = magic.text, source = magic.text,
    })
  end
end

---Parses a cell once; later calls give the same result.
---@param cell table of kale.cells
---@param report fun(code: string, fields: table)
---@return table parsed
function M.parse(cell, report)
  if not cell.parsed then
    cell.parsed = parse_cell(cell)
    cell.parsed.lines = line_reader(cell.source)
    report_problems(cell.parsed, report)
  end
  return cell.parsed
end

-- --- groups of cells ---------------------------------------------------------------------------------

-- A change of one name is one of those that share its object; x += 1 makes a new object more often
-- than not, so it counts for what is the very same object only.
local function spread(summary)
  changes.spread(summary.changes, summary.aliases, summary.deep)
  for name in pairs(summary.updated) do summary.changes[name] = "strong" end
  changes.spread(summary.updated, summary.same)
  for name in pairs(summary.updated) do summary.changes[name] = "strong" end
end

---@param cells table[]
---@param report fun(code: string, fields: table)
---@return kale.Summary
function M.summarize(cells, report)
  local walker = walk.new()
  for _, cell in ipairs(cells) do
    walker.parsed = M.parse(cell, report)
    walker:block(1)
  end
  spread(walker.summary)
  return walker.summary
end

---The top-level statements of setup cells, each with its own summary.
---@param cells table[]
---@param report fun(code: string, fields: table)
---@return table[] statements {piece, kind, place, summary}
function M.statements(cells, report)
  local list = {}
  for _, cell in ipairs(cells) do
    local parsed = M.parse(cell, report)
    for node in children(parsed.tree, 1) do
      if parsed.tree.kind[node] ~= "comment" then
        local walker = walk.new(parsed)
        walker:statement(node)
        spread(walker.summary)
        local first = walker.summary.all_definitions[1]
        list[#list + 1] = {
          piece = first and first.piece or walker:piece(node), summary = walker.summary, place = walker:place(node),
          kind = walk.kind(parsed, node),
        }
      end
    end
  end
  return list
end

---String constants of a cell, for warnings about files.
---@param parsed table
---@return {text: string, node: integer}[]
function M.strings(parsed)
  local list, tree = {}, parsed.tree
  for node = 1, tree.count do
    if tree.kind[node] == "string_content" then list[#list + 1] = { text = text_of(parsed, node), node = node } end
  end
  return list
end

return M
