-- Python of a group of cells: what it reads from outside, stores, defines and may change.
-- Not for where names come from: see kale.analysis.
--   local summary = source.summarize(cells, report); summary.needs.x, summary.stores.y
local magics = require "kale.magics"
local pyast = require "pyast"

local M = {}

-- Decorators that may run again in another step without being noticed.
local HARMLESS = {
  staticmethod = true, classmethod = true, property = true, abstractmethod = true, overload = true,
  dataclass = true, total_ordering = true, contextmanager = true, wraps = true, lru_cache = true,
  cache = true, unique = true, final = true, override = true, runtime_checkable = true,
}
-- Calls that a class's body may make again.
local HARMLESS_CALLS = { field = true, auto = true, TypeVar = true, namedtuple = true }

-- Functions and methods that leave their arguments and objects as they are.
local PURE = {}
for name in ([[abs all any ascii bin bool bytes callable chr complex dict display divmod enumerate filter float
  format frozenset getattr hasattr hash hex id int isinstance issubclass iter len list map max min oct ord pow
  print range repr reversed round set sorted str sum tuple type zip]]):gmatch "%S+" do PURE[name] = true end
local PURE_METHODS = {}
for name in ([[copy items keys values get index count join split strip lstrip rstrip format lower upper title
  startswith endswith replace encode decode find head tail describe mean std sum min max median var abs round
  astype corr nunique unique value_counts isna isnull notna groupby to_numpy to_dict tolist reshape dot transpose
  predict predict_proba score union intersection difference issubset issuperset isdisjoint most_common]])
  :gmatch "%S+" do PURE_METHODS[name] = true end
-- Methods that change their object for certain.
local CHANGING = {}
for name in ([[append extend insert remove pop clear sort reverse update add discard setdefault popitem
  appendleft extendleft fit partial_fit train write writelines drop_duplicates fillna]]):gmatch "%S+" do
  CHANGING[name] = true
end

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

local function text_of(parsed, node)
  return parsed.python:sub(parsed.tree.first[node], parsed.tree.last[node])
end

local function child(tree, node, field)
  local at = node + 1
  while at < tree.next[node] do
    if tree.field[at] == field then return at end
    at = tree.next[at]
  end
end

-- Iterates over the direct children of a node.
local function children(tree, node)
  local at = node + 1
  return function()
    if at >= tree.next[node] then return nil end
    local current = at
    at = tree.next[at]
    return current
  end
end

-- --- what happens to a name that is read ------------------------------------------------------------

-- The name of what a call calls: its own, and whether it is a method.
local function called(parsed, call)
  local tree = parsed.tree
  local fn = child(tree, call, "function")
  if not fn then return nil end
  if tree.kind[fn] == "identifier" then return text_of(parsed, fn), false end
  local attribute = tree.kind[fn] == "attribute" and child(tree, fn, "attribute")
  return attribute and text_of(parsed, attribute), true
end

-- The name at the root of what a method is called on: x in x.a[0].method().
local function root_name(parsed, call)
  local tree = parsed.tree
  local at = child(tree, call, "function")
  while at and tree.kind[at] ~= "identifier" do
    at = child(tree, at, "object") or child(tree, at, "value") or child(tree, at, "function")
  end
  return at and text_of(parsed, at)
end

-- Functions of libraries that do change what they are given; others hardly ever do.
local LIBRARY_CHANGING = {}
for name in ([[shuffle heappush heappop heapify heapreplace heappushpop insort insort_left insort_right
  fill_diagonal copyto put place putmask setattr delattr setitem delitem iadd imul]]):gmatch "%S+" do
  LIBRARY_CHANGING[name] = true
end

-- Whether a call leaves its arguments as they are. `root`: the name that a method is called on.
local function keeps_arguments(parsed, name, method, root)
  local learned = parsed.learned
  if learned and (root and learned.imports[root] or not method and learned.imports[name]) then
    return not LIBRARY_CHANGING[name]
  end
  if method then return not (learned and learned.methods[name]) end
  if learned and learned.functions[name] ~= nil then return not learned.functions[name] end
  return PURE[name]
end

-- Whether a call leaves what it is called on as it is.
local function is_pure(parsed, name, method)
  local learned = parsed.learned or {}
  local own = method and learned.methods or learned.functions
  if own and own[name] ~= nil then return not own[name] end
  if method then return PURE_METHODS[name] end
  return PURE[name]
end

-- Whether the value read at the node may be changed in place there: "strong", "weak" or nil.
local function change_at(parsed, node)
  local tree, at = parsed.tree, node
  while true do
    local parent = tree.parent[at]
    local kind, field = tree.kind[parent], tree.field[at]
    if (kind == "attribute" and field == "object") or (kind == "subscript" and field == "value") then
      at = parent
    elseif kind == "call" and field == "function" and at ~= node then
      local name = called(parsed, parent)
      if is_pure(parsed, name, true) then return nil end
      return CHANGING[name] and "strong" or "weak"
    elseif kind == "assignment" or kind == "augmented_assignment" then
      if field == "left" then return at ~= node and "strong" or nil end
      return at == node and "weak" or nil
    elseif kind == "delete_statement" or kind == "for_statement" and field == "left" then
      return at ~= node and "strong" or nil
    elseif kind == "argument_list" or kind == "keyword_argument" or kind == "list_splat" then
      local call = parent
      while tree.kind[call] ~= "call" and call > 1 do call = tree.parent[call] end
      local name, method = called(parsed, call)
      if at ~= node then return nil end
      return not keeps_arguments(parsed, name, method, method and root_name(parsed, call)) and "weak" or nil
    elseif kind == "list" or kind == "tuple" or kind == "dictionary" or kind == "pair" or kind == "set"
      or kind == "expression_list" or kind == "parenthesized_expression" or kind == "pattern_list" then
      if at ~= node then return nil end
      return "weak"
    else
      return nil
    end
  end
end

-- --- which names may share an object ------------------------------------------------------------------

local HANDED_ON = {
  enumerate = true, zip = true, reversed = true, sorted = true, iter = true, list = true, tuple = true, dict = true, set = true, filter = true, next = true, min = true, max = true,
}
local VIEWS = { items = true, values = true, get = true }
local DISPLAYS = {
  list = true, tuple = true, set = true, dictionary = true, pair = true, expression_list = true,
  boolean_operator = true,
  parenthesized_expression = true, conditional_expression = true, list_splat = true, argument_list = true,
}

-- Adds the names whose objects, or parts of them, the value of an expression may be or hold.
local function add_roots(parsed, node, roots)
  local tree, kind = parsed.tree, parsed.tree.kind[node]
  if kind == "identifier" then
    roots[#roots + 1] = text_of(parsed, node)
  elseif kind == "attribute" then
    add_roots(parsed, child(tree, node, "object"), roots)
  elseif kind == "subscript" or kind == "keyword_argument" or kind == "named_expression" then
    add_roots(parsed, child(tree, node, "value"), roots)
  elseif kind == "call" then
    local name, method = called(parsed, node)
    local known = method and PURE_METHODS[name] or not method and PURE[name]
    if known and not HANDED_ON[name] and not VIEWS[name] then return end
    if method then add_roots(parsed, child(tree, child(tree, node, "function"), "object"), roots) end
    local arguments = child(tree, node, "arguments")
    if arguments then add_roots(parsed, arguments, roots) end
  elseif DISPLAYS[kind] then
    for part in children(tree, node) do add_roots(parsed, part, roots) end
  end
end

-- The names that a target stores.
local function stored_names(parsed, node)
  local names = {}
  for at = node, parsed.tree.next[node] - 1 do
    for _, use in ipairs(parsed.at[at] or {}) do
      if use.context == "store" then names[#names + 1] = use.name end
    end
  end
  return names
end

local function add_aliases(parsed, targets, value, aliases)
  local roots = {}
  add_roots(parsed, value, roots)
  for _, target in ipairs(targets) do
    for _, root in ipairs(roots) do
      if root ~= target then aliases[#aliases + 1] = { target, root } end
    end
  end
end

-- A change of one name is a change of those that may share its object.
local function spread_changes(changes, aliases)
  local more = #aliases > 0
  while more do
    more = false
    for _, pair in ipairs(aliases) do
      for i = 1, 2 do
        local from, to = changes[pair[i]], changes[pair[3 - i]]
        if from and from ~= to and to ~= "strong" then
          changes[pair[3 - i]] = from
          more = true
        end
      end
    end
  end
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
    changes = {}, definitions = {}, stars = {}, maybe = {}, assigned = {}, aliases = {},
  }
  return setmetatable({
    summary = summary, assigned = summary.assigned, top = summary.assigned, maybe = summary.maybe,
    parsed = parsed,
  }, Walker)
end

-- One statement without a block of its own, or the head of one that has: reads, then stores.
function Walker:simple(first, next, late_set)
  local parsed, summary = self.parsed, self.summary
  local stores = {}
  for node = first, next - 1 do
    local kind = parsed.tree.kind[node]
    if kind == "assignment" and child(parsed.tree, node, "right") then
      add_aliases(parsed, stored_names(parsed, child(parsed.tree, node, "left")),
        child(parsed.tree, node, "right"), summary.aliases)
    end
    for _, use in ipairs(parsed.at[node] or {}) do
      local context = use.context
      if context == "load" or context == "update" or context == "delete" then
        local change = change_at(parsed, node)
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
  add_aliases(self.parsed, stored_names(self.parsed, left), right, self.summary.aliases)
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

-- The functions and methods of a cell: name, whether it is a method, parameters, body.
local function find_functions(parsed, list)
  local tree = parsed.tree
  for node = 1, tree.count do
    if tree.kind[node] == "function_definition" then
      local parent = tree.parent[node]
      if tree.kind[parent] == "decorated_definition" then parent = tree.parent[parent] end
      local method = tree.kind[parent] == "block" and tree.kind[tree.parent[parent]] == "class_definition"
      local parameters, body = child(tree, node, "parameters"), child(tree, node, "body")
      local names = {}
      for at = parameters, tree.next[parameters] - 1 do
        if tree.kind[at] == "identifier" then names[text_of(parsed, at)] = true end
      end
      list[#list + 1] = {
        name = text_of(parsed, child(tree, node, "name")), method = method, names = names, body = body, parsed = parsed,
      }
    end
  end
end

-- Whether a function may change what it is given, as far as is known of the functions it calls.
local function changes_arguments(fn)
  local tree, aliases, changed = fn.parsed.tree, {}, {}
  for node = fn.body, tree.next[fn.body] - 1 do
    local kind = tree.kind[node]
    if kind == "identifier" then
      local change = change_at(fn.parsed, node)
      local bound = tree.kind[tree.parent[node]] == "assignment"
      if change and not bound then changed[text_of(fn.parsed, node)] = change end
    elseif kind == "assignment" or kind == "for_statement" then
      local left, right = child(tree, node, "left"), child(tree, node, "right")
      if right then
        local names = {}
        for at = left, tree.next[left] - 1 do
          if tree.kind[at] == "identifier" then names[#names + 1] = text_of(fn.parsed, at) end
        end
        add_aliases(fn.parsed, names, right, aliases)
      end
    end
  end
  spread_changes(changed, aliases)
  for name in pairs(fn.names) do
    if changed[name] then return true end
  end
  return false
end

---Learns which functions and methods of the notebook change what they are given.
---@param groups table[][] all groups of cells
---@param report fun(code: string, fields: table)
function M.learn(groups, report)
  local learned, list = { functions = {}, methods = {}, imports = {} }, {}
  for _, cells in ipairs(groups) do
    for _, cell in ipairs(cells) do
      local parsed = M.parse(cell, report)
      parsed.learned = learned
      for _, uses in pairs(parsed.at) do
        for _, use in ipairs(uses) do
          if use.context == "import" then learned.imports[use.name] = true end
        end
      end
      find_functions(parsed, list)
    end
  end
  for _, fn in ipairs(list) do learned[fn.method and "methods" or "functions"][fn.name] = false end
  local more = true
  while more do  -- what is found of one function may tell of those that call it
    more = false
    for _, fn in ipairs(list) do
      local known = learned[fn.method and "methods" or "functions"]
      if not known[fn.name] and changes_arguments(fn) then
        known[fn.name] = true
        more = true
      end
    end
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
  spread_changes(summary.changes, summary.aliases)
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
