-- A group of cells in the order in which Python runs it: what is read from outside, stored, changed.
-- Not for where names come from: see kale.analysis.
--   local walker = walk.new(); walker.parsed = parsed; walker:statement(node); walker.summary.needs.x
local changes = require "kale.changes"
local definitions = require "kale.definitions"
local holds = require "kale.holds"
local nodes = require "kale.nodes"

local text_of, child, children, occurrences = nodes.text, nodes.child, nodes.children, nodes.occurrences

local M = {}

---@class kale.Summary
---@field needs table<string, table> names read from outside: place; soft: it may be there already, or guarded
---@field reads table<string, integer> all names read at once, with the moment of the first read
---@field assigned_at table<string, integer> the moment from which a name is there for certain
---@field stores table<string, boolean>
---@field given {[1]: string, [2]: string[]}[] functions that are called, with the names in their arguments
---@field stored_in table<string, integer> the cell that stores a name last
---@field maybe table<string, boolean> stored or deleted by what may not run
---@field gone table<string, boolean> deleted at the end
---@field changes table<string, "strong"|"weak"> names whose value may be changed in place
---@field deep table<string, boolean> names of which not the value itself changes, but what it holds
---@field facts table<string, kale.Facts> of functions and classes by name
---@field nameless {at: integer, facts: kale.Facts}[] of lambdas that may be called at once
---@field definitions table<string, table> functions, classes, imports and constants at top level, as they end
---@field all_definitions table[] all of them in order
---@field held table<string, table> functions that values may hold
---@field aliases string[][] pairs of names that may share an object
---@field same string[][] pairs of names for the very same object
---@field updated table<string, "strong"> names of augmented assignments
---@field stars table[] star imports, and future statements: later steps run them, too

local Walker = {}
Walker.__index = Walker

---A walker with an empty summary.
---@param parsed table?
---@return table
function M.new(parsed)
  local assigned = {}
  return setmetatable({
    summary = {
      needs = {}, reads = {}, assigned_at = {}, stores = {}, maybe = {}, gone = {}, changes = {}, facts = {},
      nameless = {}, definitions = {}, all_definitions = {}, held = {}, aliases = {}, same = {}, updated = {},
      stored_in = {}, given = {}, deep = {}, stars = {},
    },
    assigned = assigned, top = assigned, parsed = parsed, clock = 0, guarded = 0,
  }, Walker)
end

function Walker:place(node)
  local place = nodes.place(self.parsed, node)
  place.node = node
  return place
end

-- A top-level statement as text, with where it begins.
function Walker:piece(node)
  local place = self:place(node)
  local source = text_of(self.parsed, node)
  return {
    cell = place.cell, line = place.line, first = self.parsed.tree.first[node],
    last_line = place.line + select(2, source:gsub("\n", "")), source = source .. "\n",
  }
end

-- --- moments ---------------------------------------------------------------------------------------

function Walker:read(name, node)
  local summary = self.summary
  self.clock = self.clock + 1
  summary.reads[name] = summary.reads[name] or self.clock
  if self.assigned[name] then return end
  local need = summary.needs[name]
  local soft = summary.maybe[name] or self.guarded > 0
  if not need or need.quiet and not soft then
    local was_soft = need and need.soft
    need = self:place(node)
    need.soft = soft and was_soft ~= false
    summary.needs[name] = need
  elseif not soft then
    need.soft = false
  end
end

-- From now on the name is there, in this branch at least.
function Walker:assign(name)
  self.assigned[name] = true
  if self.assigned == self.top then
    self.summary.assigned_at[name] = self.summary.assigned_at[name] or self.clock
    self.summary.gone[name] = nil
  end
end

function Walker:store(name, may_not_run)
  local summary = self.summary
  self.clock = self.clock + 1
  summary.stores[name] = true
  summary.definitions[name] = nil
  summary.stored_in[name] = self.parsed.cell.number
  if may_not_run and not self.assigned[name] then summary.maybe[name] = true
  else self:assign(name) end
end

function Walker:delete(name, node)
  self:read(name, node)
  local summary = self.summary
  summary.definitions[name], summary.assigned_at[name] = nil, nil
  if self.assigned == self.top then
    self.assigned[name] = nil
    summary.gone[name] = true
  else
    self.assigned[name] = false
    summary.maybe[name] = true
  end
end

function Walker:note_change(name, node)
  local change, deep = changes.change_at(self.parsed, node)
  if change and self.summary.changes[name] ~= "strong" then self.summary.changes[name] = change end
  if change and deep then self.summary.deep[name] = true end
end

local READING = { load = true, update = true, delete = true }
local STORING = { store = true, update = true, definition = true, import = true }

-- `x: int = 1` also writes into __annotations__, which somebody reads.
function Walker:annotate(node)
  local tree = self.parsed.tree
  if not child(tree, node, "type") or tree.kind[child(tree, node, "left")] ~= "identifier" then return end
  local above = tree.parent[node]
  while above > 1 and tree.kind[above] ~= "class_definition" do above = tree.parent[above] end
  if tree.kind[above] == "class_definition" then return end
  self.guarded = self.guarded + 1
  self:read("__annotations__", node)
  self.guarded = self.guarded - 1
  self:store("__annotations__", self.assigned ~= self.top)
end

-- A statement without a block of its own, or the head of one that has. What functions in it do when
-- they are called is left out. Returns the names it stores.
function Walker:simple(first, next)
  local stores, in_branch, uses = {}, self.assigned ~= self.top, self.parsed.uses
  holds.note(self, first, next)
  for _, i in ipairs(occurrences(self.parsed, first, next)) do
    if not uses.late[i] then
      local context, name, node = uses.context[i], uses.name[i], uses.node[i]
      if READING[context] then self:note_change(name, node) end
      if context == "load" or context == "update" then self:read(name, node) end
      if context == "update" then
        local right = child(self.parsed.tree, self.parsed.tree.parent[node], "right")
        local of = holds.PARTS[right and self.parsed.tree.kind[right]] and "changes" or "updated"
        self.summary[of][name] = "strong"
      end
      if STORING[context] then
        self:store(name, uses.conditional[i] and not in_branch)
        stores[name] = true
      elseif context == "delete" then
        self:delete(name, node)
      end
    end
  end
  return stores
end

-- The names that nodes read at once.
function Walker:head(first, next)
  local head, uses = {}, self.parsed.uses
  for _, i in ipairs(occurrences(self.parsed, first, next)) do
    local context = uses.context[i]
    if not uses.late[i] and (context == "load" or context == "update") then head[uses.name[i]] = true end
  end
  return head
end

-- --- blocks ------------------------------------------------------------------------------------------

-- Whether a block never goes on after its end.
local function leaves(parsed, block)
  local tree, last = parsed.tree, nil
  for statement in children(tree, block) do
    if tree.kind[statement] ~= "comment" then last = statement end
  end
  local kind = last and tree.kind[last]
  return kind == "raise_statement" or kind == "continue_statement" or kind == "break_statement"
end

-- Runs what may not run; gives the names that it certainly stores, nil when it never goes on.
function Walker:branch(block, before)
  local outer, in_it = self.assigned, {}
  self.assigned = setmetatable(in_it, { __index = outer })
  if before then before() end
  if block then self:block(block) end
  self.assigned = outer
  for name, there in pairs(in_it) do
    if not outer[name] or not there then self.summary.maybe[name] = true end
    if not there then outer[name] = nil end
  end
  if block and leaves(self.parsed, block) then return nil end
  return in_it
end

-- What every branch that goes on stores is there for certain.
function Walker:join(branches)
  local first
  for _, branch in pairs(branches) do first = first or branch end
  for name, there in pairs(first or {}) do
    for _, branch in pairs(branches) do there = there and branch[name] end
    if there then self:assign(name) end
  end
end

local compound = {}

function compound.if_statement(self, node)
  local tree = self.parsed.tree
  local condition = child(tree, node, "condition")
  self:simple(condition, tree.next[condition])
  local branches, complete = {}, false
  table.insert(branches, (self:branch(child(tree, node, "consequence"))))
  for alternative in children(tree, node) do
    if tree.kind[alternative] == "elif_clause" then
      table.insert(branches, (self:branch(child(tree, alternative, "consequence"), function()
        local test = child(tree, alternative, "condition")
        self:simple(test, tree.next[test])
      end)))
    elseif tree.kind[alternative] == "else_clause" then
      complete = true
      table.insert(branches, (self:branch(child(tree, alternative, "body"))))
    end
  end
  if complete then self:join(branches) end
end

function compound.for_statement(self, node)
  local tree = self.parsed.tree
  local right, left = child(tree, node, "right"), child(tree, node, "left")
  holds.bind(self, left, right, true)
  self:simple(right, tree.next[right])
  self:branch(child(tree, node, "body"), function() self:simple(left, tree.next[left]) end)
  local alternative = child(tree, node, "alternative")
  if alternative then self:branch(child(tree, alternative, "body")) end
end

function compound.while_statement(self, node)
  local tree = self.parsed.tree
  local condition = child(tree, node, "condition")
  self:simple(condition, tree.next[condition])
  self:branch(child(tree, node, "body"))
  local alternative = child(tree, node, "alternative")
  if alternative then self:branch(child(tree, alternative, "body")) end
end

-- `except E as name`: the name is deleted at the clause's end.
function Walker:except_clause(clause)
  local tree, bound = self.parsed.tree, {}
  for at = clause, tree.next[clause] - 1 do
    if tree.kind[at] == "as_pattern_target" then
      bound[text_of(self.parsed, at)] = true
      break
    elseif tree.kind[at] == "block" then
      break
    end
  end
  local before = {}
  for name in pairs(bound) do before[name] = self.summary.stores[name] or false end
  local stored = self:branch(nil, function()
    for part in children(tree, clause) do
      if tree.kind[part] == "block" then self:block(part) else self:simple(part, tree.next[part]) end
    end
    for name in pairs(bound) do self.assigned[name] = nil end
  end)
  for name in pairs(bound) do
    if not before[name] then self.summary.stores[name], self.summary.maybe[name] = nil, nil end
  end
  for part in children(tree, clause) do
    if tree.kind[part] == "block" and leaves(self.parsed, part) then return nil end
  end
  return stored
end

local GUARDS = { NameError = true, Exception = true, BaseException = true, UnboundLocalError = true }

-- Whether a try statement goes on when a name is missing.
local function guards_names(parsed, node)
  local tree = parsed.tree
  for clause in children(tree, node) do
    if tree.kind[clause] == "except_clause" then
      local bare = true
      for at = clause + 2, tree.next[clause] - 1 do
        if tree.kind[at] == "block" then break end
        if tree.named[at] and tree.kind[at] ~= "comment" then bare = false end
        if tree.kind[at] == "identifier" and GUARDS[text_of(parsed, at)] then return true end
      end
      if bare then return true end
    end
  end
  return false
end

function compound.try_statement(self, node)
  local tree, parsed = self.parsed.tree, self.parsed
  local body, branches, last = child(tree, node, "body"), {}, nil
  if guards_names(parsed, node) then self.guarded = self.guarded + 1 end
  for clause in children(tree, node) do
    if tree.kind[clause] == "else_clause" then last = child(tree, clause, "body") end
  end
  -- What the else block stores comes on top of what the body stored.
  table.insert(branches, (self:branch(last, function() self:block(body) end)))
  if guards_names(parsed, node) then self.guarded = self.guarded - 1 end
  for clause in children(tree, node) do
    local kind = tree.kind[clause]
    if kind == "except_clause" or kind == "except_group_clause" then
      table.insert(branches, (self:except_clause(clause)))
    end
  end
  self:join(branches)
  for clause in children(tree, node) do
    if tree.kind[clause] == "finally_clause" then
      for part in children(tree, clause) do
        if tree.kind[part] == "block" then self:block(part) end
      end
    end
  end
end

function compound.with_statement(self, node)
  local tree = self.parsed.tree
  local body = child(tree, node, "body")
  self:simple(node + 1, body)
  self:block(body)
end

function compound.match_statement(self, node)
  local tree = self.parsed.tree
  local body, branches, complete = child(tree, node, "body"), {}, false
  self:simple(node + 1, body)
  for clause in children(tree, body) do
    if tree.kind[clause] == "case_clause" then
      local block = child(tree, clause, "consequence")
      table.insert(branches, (self:branch(block, function() self:simple(clause + 1, block) end)))
      local head = text_of(self.parsed, clause):match "^case%s+([%a_][%w_]*)%s*:"
      if head and head ~= "None" and head ~= "True" and head ~= "False" then complete = true end
    end
  end
  if complete then self:join(branches) end
end

-- --- statements ---------------------------------------------------------------------------------------

function Walker:add_definition(definition)
  local summary, piece = self.summary, definition.piece
  if not piece.names then
    piece.names, piece.needs = { definition.name }, {}
    for name in pairs(definition.head) do piece.needs[#piece.needs + 1] = name end
    table.sort(piece.needs)
  end
  summary.all_definitions[#summary.all_definitions + 1] = definition
  if self.assigned == self.top then summary.definitions[definition.name] = definition end
end

-- For each name that a definition reads where it stands: the definition it means, false for another
-- value made here, true for what comes from outside.
function Walker:meanings(names)
  local meant = {}
  for name in pairs(names) do
    meant[name] = self.summary.definitions[name] or not self.summary.stores[name]
  end
  return meant
end

function Walker:definition(node)
  local parsed, tree, summary = self.parsed, self.parsed.tree, self.summary
  local inner = tree.kind[node] == "decorated_definition" and child(tree, node, "definition") or node
  local name = text_of(parsed, child(tree, inner, "name"))
  local facts, head = definitions.facts(self, node), self:head(node, tree.next[node])
  head[name] = nil
  local meant = self:meanings(head)
  self:simple(node, tree.next[node])
  summary.facts[name] = facts
  for other, meaning in pairs(parsed.learned and parsed.learned.callables[name] and meant or {}) do
    if type(meaning) ~= "table" and changes.is_value(parsed, other) then
      summary.aliases[#summary.aliases + 1] = { name, other }
    end
  end
  holds.decorated(self, node, name)
  holds.defined(self, name, inner)
  if not summary.stores[name] then return end
  local why = definitions.impurity(self, node, inner, meant, facts)
  local is_class = tree.kind[inner] == "class_definition"
  local runs = is_class and definitions.run_for_class(parsed, name) or nil
  holds.registered(self, name, runs or {})
  if why == definitions.CHANGES_ITSELF then
    facts.changes[name], facts.late[name] = "strong", facts.late[name] or self:place(node)
  end
  self:add_definition {
    name = name, kind = is_class and "class" or "function", head = meant,
    runs = runs,
    facts = facts, why = why, cached = definitions.has_cache(parsed, node, inner, facts),
    changed = why == definitions.CHANGES_ITSELF,
    amends = definitions.amends(parsed, node), piece = self:piece(node),
  }
end

-- type X = …: what it means is looked up when somebody asks for it.
function Walker:alias(node)
  local facts = definitions.facts(self, node)
  for name in pairs(self:simple(node, self.parsed.tree.next[node])) do
    self.summary.facts[name] = facts
    self:add_definition { name = name, kind = "alias", head = {}, facts = facts, piece = self:piece(node) }
  end
end

function Walker:import(node)
  local tree, summary = self.parsed.tree, self.summary
  local stores = self:simple(node, tree.next[node])
  local piece = self:piece(node)
  piece.names, piece.needs = {}, {}
  for name in pairs(stores) do
    piece.names[#piece.names + 1] = name
    self:add_definition { name = name, kind = "import", head = {}, piece = piece }
  end
  table.sort(piece.names)
  if tree.kind[node] == "future_import_statement" then
    summary.stars[#summary.stars + 1] = { piece = piece, place = self:place(node), future = true }
  end
  for at = node + 1, tree.next[node] - 1 do
    if tree.kind[at] == "wildcard_import" then
      summary.stars[#summary.stars + 1] = { piece = piece, place = self:place(node) }
    end
  end
end

-- name = constant, and name = namedtuple(…): what can be made again anywhere.
function Walker:assignment(node)
  local tree = self.parsed.tree
  local kind, name = definitions.remade(self.parsed, node)
  if not kind then return self:simple(node, tree.next[node]) end
  local meant = self:meanings(self:head(node, tree.next[node]))
  self:simple(node, tree.next[node])
  local why = definitions.unknown_head(meant)
  if kind == "class" or not why then
    self:add_definition { name = name, kind = kind, head = meant, why = why, piece = self:piece(node) }
  end
end

local IMPORTS = { import_statement = true, import_from_statement = true, future_import_statement = true }
local DEFINITIONS = { function_definition = true, class_definition = true, decorated_definition = true }

---What kind of statement a node is for setup cells.
---@param parsed table
---@param node integer
---@return "import"|"definition"|"text"|"statement"
function M.kind(parsed, node)
  local kind = parsed.tree.kind[node]
  if IMPORTS[kind] then return "import" end
  if DEFINITIONS[kind] or kind == "type_alias_statement" then return "definition" end
  if kind == "expression_statement" and parsed.tree.kind[node + 1] == "string" then return "text" end
  return "statement"
end

function Walker:statement(node)
  local tree, kind = self.parsed.tree, self.parsed.tree.kind[node]
  if kind == "comment" then return end
  if DEFINITIONS[kind] then self:definition(node)
  elseif IMPORTS[kind] then self:import(node)
  elseif compound[kind] then compound[kind](self, node)
  elseif kind == "expression_statement" then self:assignment(node)
  elseif kind == "type_alias_statement" then self:alias(node)
  else self:simple(node, tree.next[node]) end
end

function Walker:block(node)
  for statement in children(self.parsed.tree, node) do self:statement(statement) end
end

return M
