-- Python of a group of cells: what it reads from outside, stores, defines and may change.
-- Not for where names come from: see kale.analysis.
--   local summary = source.summarize(cells, report); summary.needs.x, summary.stores.y
local changes = require "kale.changes"
local magics = require "kale.magics"
local nodes = require "kale.nodes"
local pyast = require "pyast"

local text_of, child, children = nodes.text, nodes.child, nodes.children
local called = changes.called

local M = {}
-- Decorators that may run again in another step without being noticed.
local HARMLESS = {
  staticmethod = true, classmethod = true, property = true, abstractmethod = true, overload = true,
  dataclass = true, total_ordering = true, contextmanager = true, wraps = true, lru_cache = true,
  cache = true, unique = true, final = true, override = true, runtime_checkable = true,
}
-- Calls that a class's body may make again.
local HARMLESS_CALLS = { field = true, auto = true, TypeVar = true, namedtuple = true }
-- --- one cell -------------------------------------------------------------------------------------

-- Scopes in whose code runs later than where it stands.
local function late_scopes(scopes)
  local late = {}
  for i, scope in ipairs(scopes) do
    late[i] = scope.kind == "function" or scope.kind == "lambda" or late[scope.parent] or false
  end
  return late
end

-- A parsed cell: its tree, and for each identifier node of a module-level name its use.
local function parse_cell(cell)
  local python, unknown = magics.translate(cell.source)
  local tree = pyast.parse(python)
  local scopes, uses = pyast.scopes(tree)
  local late, at = late_scopes(scopes), {}
  for i = 1, uses.count do
    if uses.resolved[i] == 0 then
      local list = at[uses.node[i]]
      local use = { name = uses.name[i], context = uses.context[i], late = late[uses.scope[i]] }
      if list then list[#list + 1] = use else at[uses.node[i]] = { use } end
    end
  end
  local stars = {}
  return { cell = cell, python = python, tree = tree, at = at, unknown = unknown, stars = stars }
end
-- --- statements -------------------------------------------------------------------------------------

local Walker = {}
Walker.__index = Walker

function Walker:place(node)
  local parsed = self.parsed
  local line, column = pyast.position(parsed.python, parsed.tree.first[node])
  return { cell = parsed.cell.number, line = line, column = column, node = node, source = parsed.lines(line) }
end

-- A read of a name: from outside unless it was assigned before.
function Walker:read(name, node)
  local summary = self.summary
  summary.reads[name] = true
  if self.assigned[name] then return end
  local need = summary.needs[name]
  local soft = self.maybe[name] or false
  if not need then
    need = self:place(node)
    need.soft = soft
    summary.needs[name] = need
  elseif not soft then
    need.soft = false
  end
end

function Walker:store(name)
  self.assigned[name] = true
  self.summary.stores[name] = true
  self.summary.definitions[name] = nil
end

-- A walker over one group of cells, with an empty summary.
local function new_walker(parsed)
  local summary = {
    needs = {}, reads = {}, late = {}, late_of = {}, late_stores = {}, stores = {}, deleted = {},
    changes = {}, definitions = {}, stars = {}, maybe = {}, assigned = {}, aliases = {}, holds = {},
  }
  return setmetatable({
    summary = summary, assigned = summary.assigned, top = summary.assigned, maybe = summary.maybe,
    parsed = parsed,
  }, Walker)
end

-- Notes which functions the value of an assignment may hold: its lambdas, and what is made by functions
-- of the notebook that make functions.
function Walker:note_held(assignment)
  local parsed, tree = self.parsed, self.parsed.tree
  local right = child(tree, assignment, "right")
  local held
  for node = right, tree.next[right] - 1 do
    local fn = tree.kind[node] == "call" and called(parsed, node)
    local makes = fn and parsed.learned and parsed.learned.makers[fn]
    if makes or tree.kind[node] == "lambda" then
      held = held or { late = {}, made_by = {} }
      if makes then held.made_by[fn] = true end
    end
  end
  if not held then return end
  for node = right, tree.next[right] - 1 do
    for _, use in ipairs(parsed.at[node] or {}) do
      if use.late and use.context == "load" then held.late[use.name] = self:place(node) end
    end
  end
  for _, name in ipairs(changes.stored_names(parsed, child(tree, assignment, "left"))) do
    self.summary.holds[name] = held
  end
end

-- One statement without a block of its own, or the head of one that has: reads, then stores.
function Walker:simple(first, next, late_set)
  local parsed, summary = self.parsed, self.summary
  local stores = {}
  for node = first, next - 1 do
    local kind = parsed.tree.kind[node]
    if kind == "assignment" and child(parsed.tree, node, "right") then
      self:note_held(node)
      changes.add_aliases(parsed, changes.stored_names(parsed, child(parsed.tree, node, "left")),
        child(parsed.tree, node, "right"), summary.aliases)
    end
    for _, use in ipairs(parsed.at[node] or {}) do
      local context = use.context
      if context == "load" or context == "update" or context == "delete" then
        local change = changes.change_at(parsed, node)
        local known = summary.changes[use.name]
        if change and known ~= "strong" then summary.changes[use.name] = change end
      end
      if use.late then
        if context == "load" or context == "update" then
          late_set[use.name] = late_set[use.name] or self:place(node)
        end
        if context == "store" or context == "update" or context == "definition" or context == "import" then
          summary.late_stores[use.name] = true
        end
      elseif context == "load" then
        if not stores[use.name] or parsed.tree.kind[parsed.tree.parent[node]] ~= "named_expression" then
          self:read(use.name, node)
        end
      elseif context == "update" then
        self:read(use.name, node)
        summary.changes[use.name] = "strong"
        stores[use.name] = true
      elseif context == "store" or context == "import" or context == "definition" then
        if parsed.tree.kind[parsed.tree.parent[node]] == "named_expression" then self:store(use.name) end
        stores[use.name] = true
      elseif context == "delete" then
        self:read(use.name, node)
        summary.deleted[use.name] = true
      end
    end
  end
  for name in pairs(stores) do self:store(name) end
  return stores
end

-- Runs a block that may not run: what it stores is stored maybe. Returns the names it stores.
function Walker:branch(block, before)
  local outer = self.assigned
  self.assigned = setmetatable({}, { __index = outer })
  if before then before() end
  if block then self:block(block) end
  local stored = {}
  for name in pairs(self.assigned) do stored[name] = true end
  self.assigned = outer
  for name in pairs(stored) do
    if not outer[name] then self.maybe[name] = true end
  end
  return stored
end

-- What is stored by every one of the branches is stored for certain.
function Walker:join(branches)
  for name in pairs(branches[1] or {}) do
    local everywhere = true
    for i = 2, #branches do everywhere = everywhere and branches[i][name] end
    if everywhere then self.assigned[name] = true end
  end
end

local compound = {}

function compound.if_statement(self, node)
  local tree = self.parsed.tree
  local condition = child(tree, node, "condition")
  self:simple(condition, tree.next[condition], self.summary.late)
  local branches, complete = { self:branch(child(tree, node, "consequence")) }, false
  for alternative in children(tree, node) do
    if tree.kind[alternative] == "elif_clause" then
      branches[#branches + 1] = self:branch(child(tree, alternative, "consequence"), function()
        local test = child(tree, alternative, "condition")
        self:simple(test, tree.next[test], self.summary.late)
      end)
    elseif tree.kind[alternative] == "else_clause" then
      complete = true
      branches[#branches + 1] = self:branch(child(tree, alternative, "body"))
    end
  end
  if complete then self:join(branches) end
end

function compound.for_statement(self, node)
  local tree = self.parsed.tree
  local right, left = child(tree, node, "right"), child(tree, node, "left")
  changes.add_aliases(self.parsed, changes.stored_names(self.parsed, left), right, self.summary.aliases)
  self:simple(right, tree.next[right], self.summary.late)
  self:branch(child(tree, node, "body"), function() self:simple(left, tree.next[left], self.summary.late) end)
  local alternative = child(tree, node, "alternative")
  if alternative then self:branch(child(tree, alternative, "body")) end
end

function compound.while_statement(self, node)
  local tree = self.parsed.tree
  local condition = child(tree, node, "condition")
  self:simple(condition, tree.next[condition], self.summary.late)
  self:branch(child(tree, node, "body"))
  local alternative = child(tree, node, "alternative")
  if alternative then self:branch(child(tree, alternative, "body")) end
end

function compound.try_statement(self, node)
  local tree = self.parsed.tree
  self:branch(child(tree, node, "body"))
  for clause in children(tree, node) do
    local kind = tree.kind[clause]
    if kind == "except_clause" or kind == "except_group_clause" then
      self:branch(nil, function()
        for part in children(tree, clause) do
          if tree.kind[part] == "block" then self:block(part)
          else self:simple(part, tree.next[part], self.summary.late) end
        end
      end)
    elseif kind == "else_clause" then
      self:branch(child(tree, clause, "body"))
    elseif kind == "finally_clause" then
      for part in children(tree, clause) do
        if tree.kind[part] == "block" then self:block(part) end
      end
    end
  end
end

function compound.with_statement(self, node)
  local tree = self.parsed.tree
  local body = child(tree, node, "body")
  self:simple(node + 1, body, self.summary.late)
  self:block(body)
end

function compound.match_statement(self, node)
  local tree = self.parsed.tree
  local body = child(tree, node, "body")
  self:simple(node + 1, body, self.summary.late)
  for clause in children(tree, body) do
    local block = child(tree, clause, "consequence")
    self:branch(block, function() self:simple(clause + 1, block, self.summary.late) end)
  end
end

-- --- definitions ------------------------------------------------------------------------------------

-- Why the function or class cannot simply be defined again elsewhere, or nil.
local function impurity(parsed, node, definition)
  local tree = parsed.tree
  for decorator in children(tree, node) do
    if tree.kind[decorator] == "decorator" then
      local path = text_of(parsed, decorator):match "^@%s*([%w_%.]+)"
      if not HARMLESS[(path or ""):match "[%w_]+$"] then return "decorator" end
    end
  end
  local body, is_class = child(tree, definition, "body"), tree.kind[definition] == "class_definition"
  local stop = is_class and tree.next[definition] or body
  local at = definition + 1
  while at < stop do
    local kind = tree.kind[at]
    if kind == "call" then
      local name = called(parsed, at)
      if not HARMLESS_CALLS[name] and not HARMLESS[name] then return is_class and "body" or "default value" end
    end
    -- A method's body runs later: only its head counts.
    local inner = is_class and kind == "function_definition" and child(tree, at, "body")
    if inner then
      local default = child(tree, at, "parameters")
      at = default and tree.next[inner] or at + 1
    elseif kind == "lambda" then
      at = tree.next[at]
    else
      at = at + 1
    end
  end
  return nil
end

function Walker:definition(node)
  local parsed, tree, summary = self.parsed, self.parsed.tree, self.summary
  local definition = tree.kind[node] == "decorated_definition" and child(tree, node, "definition") or node
  local late, head = {}, {}
  local reads_before = summary.reads
  summary.reads = head
  local stores = self:simple(node, tree.next[node], late)
  summary.reads = reads_before
  for name in pairs(head) do reads_before[name] = true end
  local name = text_of(parsed, child(tree, definition, "name"))
  if not stores[name] then return end
  summary.late_of[name] = late
  if self.assigned == self.top then
    summary.definitions[name] = {
      name = name, kind = tree.kind[definition] == "class_definition" and "class" or "function",
      head = head, late = late, why = impurity(parsed, node, definition), piece = self:piece(node),
    }
  end
end

function Walker:import(node)
  local tree, summary = self.parsed.tree, self.summary
  local stores = self:simple(node, tree.next[node], summary.late)
  local piece = self:piece(node)
  for name in pairs(stores) do
    if self.assigned == self.top then
      summary.definitions[name] = { name = name, kind = "import", head = {}, late = {}, piece = piece }
    end
  end
  for at = node + 1, tree.next[node] - 1 do
    if tree.kind[at] == "wildcard_import" then
      summary.stars[#summary.stars + 1] = { piece = piece, place = self:place(node) }
    end
  end
end

local IMPORTS = { import_statement = true, import_from_statement = true, future_import_statement = true }
local DEFINITIONS = { function_definition = true, class_definition = true, decorated_definition = true }

-- A top-level statement as text, with where it begins.
function Walker:piece(node)
  local place = self:place(node)
  return {
    cell = place.cell, line = place.line, first = self.parsed.tree.first[node],
    source = text_of(self.parsed, node) .. "\n",
  }
end

function Walker:statement(node)
  local tree, kind = self.parsed.tree, self.parsed.tree.kind[node]
  if DEFINITIONS[kind] then self:definition(node)
  elseif IMPORTS[kind] then self:import(node)
  elseif compound[kind] then compound[kind](self, node)
  else self:simple(node, tree.next[node], self.summary.late) end
end

function Walker:block(node)
  for statement in children(self.parsed.tree, node) do self:statement(statement) end
end
-- --- groups of cells ---------------------------------------------------------------------------------

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
      cell = cell.number, line = problem.line, column = problem.column, message = problem.message,
      source = parsed.lines(problem.line),
    })
  end
  for _, magic in ipairs(parsed.unknown) do
    report("magic-unknown", {
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

---@class kale.Summary
---@field needs table<string, table> names read from outside: place; soft: an earlier statement may have stored it
---@field reads table<string, boolean> all names read at once
---@field late table<string, table> names that nameless functions read when they are called
---@field late_of table<string, table<string, table>> likewise by the function's name
---@field late_stores table<string, boolean> globals that functions store
---@field stores table<string, boolean>
---@field maybe table<string, boolean> stored by a statement that may not run
---@field assigned table<string, boolean> stored for certain
---@field deleted table<string, boolean>
---@field changes table<string, "strong"|"weak"> names whose value may be changed in place
---@field definitions table<string, table> functions, classes and imports at top level
---@field stars table[] star imports
---@field holds table<string, table> functions that values may hold: what they read late, and who made them
---@field aliases string[][] pairs of names that may share an object

---@param cells table[]
---@param report fun(code: string, fields: table)
---@return kale.Summary
function M.summarize(cells, report)
  local walker = new_walker()
  local summary = walker.summary
  for _, cell in ipairs(cells) do
    walker.parsed = M.parse(cell, report)
    for statement in children(walker.parsed.tree, 1) do
      if walker.parsed.tree.kind[statement] ~= "comment" then
        walker:statement(statement)
      end
    end
  end
  changes.spread(summary.changes, summary.aliases)
  return summary
end

---The top-level statements of setup cells, each with its own summary.
---@param cells table[]
---@param report fun(code: string, fields: table)
---@return table[] statements {piece, kind, binds, head, late, summary}
function M.statements(cells, report)
  local list = {}
  for _, cell in ipairs(cells) do
    local parsed = M.parse(cell, report)
    for node in children(parsed.tree, 1) do
      local kind = parsed.tree.kind[node]
      if kind ~= "comment" then
        local walker = new_walker(parsed)
        walker:statement(node)
        local docstring = kind == "expression_statement" and parsed.tree.kind[node + 1] == "string"
        list[#list + 1] = {
          piece = walker:piece(node), summary = walker.summary, place = walker:place(node),
          kind = IMPORTS[kind] and "import" or DEFINITIONS[kind] and "definition" or docstring and "text"
            or "statement",
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
