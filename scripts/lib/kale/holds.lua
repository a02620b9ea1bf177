-- Which objects and functions the values of names may hold, from the statements that bind them.
-- Not for what the functions do: see kale.definitions.
--   holds.bind(walker, left, right)  -- what `left` is now may be, or hold, what `right` names
local changes = require "kale.changes"
local definitions = require "kale.definitions"
local nodes = require "kale.nodes"

local text_of, child, children = nodes.text, nodes.child, nodes.children

local M = {}

local function entry(walker, name)
  local held = walker.summary.held[name]
  if not held then
    held = { names = {}, facts = {} }
    walker.summary.held[name] = held
  end
  return held
end

-- Whether a call makes an object that no name has yet: Model(rows).fit(xs).
local function makes_new(parsed, call)
  local called, method = changes.called(parsed, call)
  local learned = parsed.learned
  return not method and learned ~= nil and called ~= nil and (learned.classes[called] or learned.imports[called]) ~= nil
end

-- Names whose values a target's assignment reaches: x of x, of x.a[0] and of (x, y).
local function target_names(parsed, node, names)
  local tree, kind = parsed.tree, parsed.tree.kind[node]
  if kind == "identifier" then names[#names + 1] = text_of(parsed, node)
  elseif kind == "attribute" then target_names(parsed, child(tree, node, "object"), names)
  elseif kind == "subscript" then target_names(parsed, child(tree, node, "value"), names)
  elseif kind == "call" and makes_new(parsed, node) then return names
  else
    for part in children(tree, node) do
      if tree.named[part] then target_names(parsed, part, names) end
    end
  end
  return names
end

local IMMEDIATE = { argument_list = true, keyword_argument = true }

local SAME = { identifier = true, assignment = true }
-- Attributes that look at the memory of their object.
local VIEWS = { T = true, mT = true, H = true, A = true, real = true, imag = true, flat = true, values = true,
  array = true, data = true, base = true, iloc = true, loc = true }
local HOLDS = { list = true, tuple = true, set = true, dictionary = true, list_comprehension = true,
  dictionary_comprehension = true, set_comprehension = true, argument_list = true, lambda = true }

-- Whether a value is a part of an object of which other parts may change alone: that of a list or a dict is, what
-- is taken from an array or a frame may look at the same memory.
local function is_part(parsed, node)
  local tree, kind = parsed.tree, parsed.tree.kind[node]
  if kind == "attribute" then return not VIEWS[text_of(parsed, child(tree, node, "attribute"))] end
  if kind ~= "subscript" then return false end
  local of = child(tree, node, "value")
  return tree.kind[of] == "identifier" and parsed.learned ~= nil and parsed.learned.plain[text_of(parsed, of)] == true
end

-- What points at objects without keeping them: somebody else has to.
local WEAK = { ref = true, proxy = true, WeakValueDictionary = true, WeakKeyDictionary = true, WeakSet = true,
  WeakMethod = true }

local PATTERNS = { pattern_list = true, tuple_pattern = true, list_pattern = true }

-- How what is bound and what it is bound to may share objects: as of changes.spread.
local function kind_of(parsed, left, right, parts)
  local tree = parsed.tree
  local kind = tree.kind[right]
  if parts then
    local learned = kind == "identifier" and parsed.learned
    return (HOLDS[kind] or learned and learned.plain[text_of(parsed, right)]) and "part" or nil
  end
  if PATTERNS[tree.kind[left]] then return nil end
  if HOLDS[kind] or tree.kind[left] ~= "identifier" and tree.kind[left] ~= "as_pattern_target" then
    return kind ~= "tuple" and kind ~= "expression_list" and "holds" or nil
  end
  return SAME[kind] and "same" or is_part(parsed, right) and "part" or nil
end

---Notes what a value's names and functions are to the names that it is bound to.
---@param walker table
---@param left integer
---@param right integer
---@param parts boolean? it is the parts of the value that are bound
function M.bind(walker, left, right, parts)
  local parsed = walker.parsed
  local tree, learned = parsed.tree, parsed.learned or { makers = {}, classes = {} }
  local targets, roots = target_names(parsed, left, {}), {}
  changes.add_roots(parsed, right, roots)
  local makers, lambdas = {}, {}
  local at = right
  while at < tree.next[right] do
    local kind = tree.kind[at]
    local fn = kind == "call" and changes.called(parsed, at)
    if fn and (learned.makers[fn] or learned.classes[fn]) then makers[#makers + 1] = fn end
    if kind == "lambda" and changes.escapes(parsed, at, right) then
      lambdas[#lambdas + 1] = definitions.facts(walker, at)
    end
    at = kind == "lambda" and tree.next[at] or at + 1
  end
  local is_weak = tree.kind[right] == "call" and WEAK[changes.called(parsed, right)]
  for _, target in ipairs(targets) do
    for _, root in ipairs(roots) do
      if is_weak and root ~= target then
        local held = entry(walker, target)
        held.weak = held.weak or {}
        held.weak[root] = true
      end
      if root ~= target and changes.is_value(parsed, root) then
        local kind = kind_of(parsed, left, right, parts)
        table.insert(walker.summary.aliases, { target, root, kind = kind })
        -- for w in weights: w -= rate
        local each = parts and tree.kind[left] == "identifier" and not (learned.numbers and learned.numbers[root])
        if kind == "same" or each then table.insert(walker.summary.same, { target, root }) end
      end
      entry(walker, target).names[root] = true
    end
    for _, fn in ipairs(makers) do entry(walker, target).names[fn] = true end
    for _, facts in ipairs(lambdas) do table.insert(entry(walker, target).facts, facts) end
  end
end

-- Whether a lambda may be called by the statement it stands in.
local function may_be_called(tree, node, top)
  local at = tree.parent[node]
  while at >= top do
    if IMMEDIATE[tree.kind[at]] then return true end
    at = tree.parent[at]
  end
  return false
end

-- xs.append(value), registry.add(value): the object holds what it is given.
local function note_kept(walker, call)
  local parsed = walker.parsed
  local tree = parsed.tree
  local fn, arguments = child(tree, call, "function"), child(tree, call, "arguments")
  if fn and arguments and tree.kind[fn] == "identifier" then
    local roots = {}
    changes.add_roots(parsed, arguments, roots)
    if #roots > 0 then table.insert(walker.summary.given, { text_of(parsed, fn), roots }) end
  end
  if not fn or not arguments or tree.kind[fn] ~= "attribute" then return end
  local name, root = changes.called(parsed, call), changes.root_name(parsed, call)
  if not root or not changes.keeps_what_it_gets(parsed, name) then return end
  if parsed.learned and parsed.learned.imports[root] then return end
  M.bind(walker, child(tree, fn, "object"), arguments)
end

-- What xs += … takes new parts from, when it surely changes xs in place.
M.PARTS = { list = true, tuple = true, dictionary = true, set = true, list_comprehension = true }

-- What each kind of node below a statement binds: functions of (walker, node, first node of the statement).
local BINDS = {}

-- Calls whose values know one another: fig, ax = plt.subplots().
local SIBLINGS = { subplots = true, subplot_mosaic = true }

function BINDS.assignment(walker, node)
  local tree = walker.parsed.tree
  local left, right = child(tree, node, "left"), child(tree, node, "right")
  if walker.parsed.learned and walker.parsed.learned.reads_annotations then walker:annotate(node) end
  if not right then return end
  M.bind(walker, left, right)
  if tree.kind[right] == "call" and SIBLINGS[changes.called(walker.parsed, right)] then
    local names = target_names(walker.parsed, left, {})
    for i = 2, #names do table.insert(walker.summary.aliases, { names[i - 1], names[i] }) end
  end
end

function BINDS.augmented_assignment(walker, node)
  local tree = walker.parsed.tree
  local right = child(tree, node, "right")
  if M.PARTS[tree.kind[right]] then M.bind(walker, child(tree, node, "left"), right, true) end
end

function BINDS.named_expression(walker, node)
  local tree = walker.parsed.tree
  M.bind(walker, child(tree, node, "name"), child(tree, node, "value"))
end

function BINDS.as_pattern(walker, node)
  local alias = child(walker.parsed.tree, node, "alias")
  if alias then M.bind(walker, alias, node + 1) end
end

BINDS.call = note_kept

function BINDS.lambda(walker, node, first)
  if not may_be_called(walker.parsed.tree, node, first) then return end
  table.insert(walker.summary.nameless, { at = walker.clock, facts = definitions.facts(walker, node) })
end

---Notes the bindings of a statement and its lambdas.
---@param walker table
---@param first integer
---@param next integer
function M.note(walker, first, next)
  local tree, at = walker.parsed.tree, first
  local kinds = tree.kind
  while at < next do
    local kind = kinds[at]
    local note = BINDS[kind]
    if note then note(walker, at, first) end
    local body = (kind == "function_definition" or kind == "lambda") and child(tree, at, "body")
    at = body and tree.next[body] or at + 1
  end
end

-- Whether a name that a definition reads where it stands is only called there: nothing of it stays.
local function is_only_called(parsed, node)
  local tree, learned = parsed.tree, parsed.learned
  local name, parent = text_of(parsed, node), tree.parent[node]
  if tree.kind[parent] ~= "call" or tree.field[node] ~= "function" or not learned then return false end
  return learned.functions[name] ~= nil and not learned.makers[name]
end

---A function or class holds what it reads where it stands: bases, defaults, descriptors, tables of functions.
---@param walker table
---@param name string
---@param definition integer without its decorators
function M.defined(walker, name, definition)
  local parsed, uses = walker.parsed, walker.parsed.uses
  for _, i in ipairs(nodes.occurrences(parsed, definition, parsed.tree.next[definition])) do
    if not uses.late[i] and uses.context[i] == "load" and not is_only_called(parsed, uses.node[i]) then
      entry(walker, name).names[uses.name[i]] = true
    end
  end
end

---What runs when a class is made, a metaclass or a base, may keep the class.
---@param walker table
---@param name string
---@param runs string[]
function M.registered(walker, name, runs)
  for _, other in ipairs(runs) do entry(walker, other).names[name] = true end
end

---A decorated function holds what its decorators make of it.
---@param walker table
---@param node integer
---@param name string
function M.decorated(walker, node, name)
  local parsed = walker.parsed
  for decorator in children(parsed.tree, node) do
    if parsed.tree.kind[decorator] == "decorator" then
      local root = text_of(parsed, decorator):match "^@%s*([%a_][%w_]*)"
      local learned = parsed.learned
      if root and not (learned and learned.imports[root]) then
        if not learned or learned.makers[root] then entry(walker, name).names[root] = true end
        table.insert(walker.summary.given, { root, { name } })
        if learned and learned.callables[root] then table.insert(walker.summary.aliases, { name, root }) end
        if changes.is_value(parsed, root) then entry(walker, root).names[name] = true end
      end
    end
  end
end

return M
