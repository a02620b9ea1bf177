-- Which values a piece of Python may change in place, and which names may share an object.
-- A guess on the safe side, from the code alone; names of well-known functions make it a good one.
--   changes.change_at(parsed, node)  -- "strong" for xs in `xs.append(1)`
local nodes = require "kale.nodes"

local text_of, child, children = nodes.text, nodes.child, nodes.children

local M = {}

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
-- --- what happens to a name that is read ------------------------------------------------------------

---The name of what a call calls: its own, and whether it is a method.
---@param parsed table
---@param call integer
---@return string? name
---@return boolean? method
function M.called(parsed, call)
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

---Whether the value read at the node may be changed in place there.
---@param parsed table
---@param node integer
---@return "strong"|"weak"|nil
function M.change_at(parsed, node)
  local tree, at = parsed.tree, node
  while true do
    local parent = tree.parent[at]
    local kind, field = tree.kind[parent], tree.field[at]
    if (kind == "attribute" and field == "object") or (kind == "subscript" and field == "value") then
      at = parent
    elseif kind == "call" and field == "function" and at ~= node then
      local name = M.called(parsed, parent)
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
      local name, method = M.called(parsed, call)
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
  enumerate = true, zip = true, reversed = true, sorted = true, iter = true, list = true, tuple = true,
  dict = true, set = true, filter = true, next = true, min = true, max = true,
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
    local name, method = M.called(parsed, node)
    local known = method and PURE_METHODS[name] or not method and PURE[name]
    if known and not HANDED_ON[name] and not VIEWS[name] then return end
    if method then add_roots(parsed, child(tree, child(tree, node, "function"), "object"), roots) end
    local arguments = child(tree, node, "arguments")
    if arguments then add_roots(parsed, arguments, roots) end
  elseif DISPLAYS[kind] then
    for part in children(tree, node) do add_roots(parsed, part, roots) end
  end
end

---The names that a target stores.
---@param parsed table
---@param node integer
---@return string[]
function M.stored_names(parsed, node)
  local names = {}
  for at = node, parsed.tree.next[node] - 1 do
    for _, use in ipairs(parsed.at[at] or {}) do
      if use.context == "store" then names[#names + 1] = use.name end
    end
  end
  return names
end

---Notes which names may share an object after an assignment.
---@param parsed table
---@param targets string[]
---@param value integer the node of what is assigned
---@param aliases string[][] pairs are added here
function M.add_aliases(parsed, targets, value, aliases)
  local roots = {}
  add_roots(parsed, value, roots)
  for _, target in ipairs(targets) do
    for _, root in ipairs(roots) do
      if root ~= target then aliases[#aliases + 1] = { target, root } end
    end
  end
end

---A change of one name is a change of those that may share its object.
---@param changes table<string, "strong"|"weak">
---@param aliases string[][]
function M.spread(changes, aliases)
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
-- --- what the notebook's own functions do ----------------------------------------------------------------

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
      local change = M.change_at(fn.parsed, node)
      local bound = tree.kind[tree.parent[node]] == "assignment"
      if change and not bound then changed[text_of(fn.parsed, node)] = change end
    elseif kind == "assignment" or kind == "for_statement" then
      local left, right = child(tree, node, "left"), child(tree, node, "right")
      if right then
        local names = {}
        for at = left, tree.next[left] - 1 do
          if tree.kind[at] == "identifier" then names[#names + 1] = text_of(fn.parsed, at) end
        end
        M.add_aliases(fn.parsed, names, right, aliases)
      end
    end
  end
  M.spread(changed, aliases)
  for name in pairs(fn.names) do
    if changed[name] then return true end
  end
  return false
end

---Learns which functions and methods of the notebook change what they are given.
---@param groups table[][] all groups of parsed cells
function M.learn(groups)
  local learned, list = { functions = {}, methods = {}, imports = {}, makers = {} }, {}
  for _, cells in ipairs(groups) do
    for _, parsed in ipairs(cells) do
      parsed.learned = learned
      for _, uses in pairs(parsed.at) do
        for _, use in ipairs(uses) do
          if use.context == "import" then learned.imports[use.name] = true end
        end
      end
      find_functions(parsed, list)
    end
  end
  for _, fn in ipairs(list) do
    learned[fn.method and "methods" or "functions"][fn.name] = false
    for node = fn.body, fn.parsed.tree.next[fn.body] - 1 do
      local kind = fn.parsed.tree.kind[node]
      -- A function with a function in it may return it.
      if kind == "function_definition" or kind == "lambda" then learned.makers[fn.name] = true end
    end
  end
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

return M
