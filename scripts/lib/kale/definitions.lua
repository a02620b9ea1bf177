-- Functions, classes and what else can be made again in another step: what they do when they are
-- called, and why some cannot be made again.
-- Not for the order of statements: see kale.walk.
--   definitions.facts(walker, node).late.rate  -- the place where a function reads the global `rate`
local changes = require "kale.changes"
local nodes = require "kale.nodes"

local text_of, child, children = nodes.text, nodes.child, nodes.children

local M = {}

---What the functions below a node do when they are called.
---@class kale.Facts
---@field late table<string, table> globals that they read, with a place
---@field stores table<string, boolean> globals that they store or delete
---@field makes table<string, boolean> those that they store without reading them first
---@field changes table<string, "strong"|"weak"> globals whose value they may change in place

local STORING = { store = true, update = true, definition = true, import = true, delete = true }
local MAKING = { store = true, definition = true, import = true }

---@param walker table of kale.walk
---@param node integer
---@return kale.Facts
function M.facts(walker, node)
  local parsed = walker.parsed
  local facts = { late = {}, stores = {}, makes = {}, changes = {} }
  local uses, changed = parsed.uses, nil
  for _, i in ipairs(nodes.occurrences(parsed, node, parsed.tree.next[node])) do
    if uses.late[i] then
      local name, context = uses.name[i], uses.context[i]
      if context == "load" or context == "update" then
        facts.late[name] = facts.late[name] or walker:place(uses.node[i])
        changed = changed or changes.within(parsed, node)
        local change = changed[name]
        if change and facts.changes[name] ~= "strong" then facts.changes[name] = change end
      end
      if STORING[context] then facts.stores[name] = true end
      if MAKING[context] then facts.makes[name] = true end
    end
  end
  return facts
end

M.CHANGES_ITSELF = "methods that change the class"

-- --- whether a definition can be made again -----------------------------------------------------------

local function set(text)
  local result = {}
  for name in text:gmatch "%S+" do result[name] = true end
  return result
end

-- Decorators and calls that may run again in another step without being noticed.
local HARMLESS = set [[staticmethod classmethod property setter getter deleter abstractmethod overload dataclass
  total_ordering contextmanager asynccontextmanager wraps lru_cache cache cached_property singledispatch
  singledispatchmethod unique final override
  runtime_checkable field Field auto TypeVar namedtuple NamedTuple TypedDict NewType ParamSpec range len str int
  float bool tuple frozenset type super object isinstance min max sum abs round sorted]]
-- Functions of modules whose value is another one each time.
local FRESH = set [[random randint choice shuffle sample uniform rand randn normal now today time perf_counter
  monotonic uuid1 uuid4 getpid urandom token_hex open read input default_rng getenv get print]]

-- Whether a call in a class's body is that of something the body made itself: @eat.register(str).
local function adds_to_own(parsed, call, method)
  local tree, at = parsed.tree, child(parsed.tree, call, "function")
  if method ~= "register" or tree.kind[at] ~= "attribute" then return false end
  local object = child(tree, at, "object")
  return tree.kind[object] == "identifier" and parsed.at[object] == nil
end

-- Whether a call in the head of a definition may be made again.
local function is_harmless(parsed, call)
  local name, method = changes.called(parsed, call)
  if not name or FRESH[name] then return false end
  local learned = parsed.learned
  if adds_to_own(parsed, call, name) then return true end
  if HARMLESS[name] then return method or not learned or not (learned.classes[name] or learned.functions[name]) end
  local root = method and changes.root_name(parsed, call) or name
  return parsed.learned ~= nil and parsed.learned.imports[root] == true
end

local MUTABLE = set "list dictionary set list_comprehension set_comprehension dictionary_comprehension"
local CONTAINERS = set "list dict set defaultdict OrderedDict Counter deque"

-- The lists and the like that a class's body binds, and that no method gives each object anew.
local function shared_attributes(parsed, definition)
  local tree, shared, own = parsed.tree, {}, {}
  for at = definition, tree.next[definition] - 1 do
    if tree.kind[at] == "assignment" then
      local left, right = child(tree, at, "left"), child(tree, at, "right")
      local name = text_of(parsed, left)
      local is_body = tree.parent[tree.parent[at]] == child(tree, definition, "body")
      if is_body and right and (MUTABLE[tree.kind[right]]
        or tree.kind[right] == "call" and CONTAINERS[changes.called(parsed, right)]) then
        shared[name] = true
      end
      own[name:match "^self%.([%w_]+)$" or ""] = true
    end
  end
  for name in pairs(own) do shared[name] = nil end
  return shared
end

-- Whether a method changes such an attribute in place by way of its object: self.items.append(x).
local function changes_shared(parsed, definition)
  local tree, shared = parsed.tree, shared_attributes(parsed, definition)
  if not next(shared) then return false end
  for at = definition, tree.next[definition] - 1 do
    if tree.kind[at] == "identifier" and text_of(parsed, at) == "self" then
      local attribute = tree.kind[tree.parent[at]] == "attribute" and child(tree, tree.parent[at], "attribute")
      if attribute and shared[text_of(parsed, attribute)] and changes.change_at(parsed, at) == "strong" then
        return true
      end
    end
  end
  return false
end

-- Methods whose first argument is a class that is being made: what they set of it is its own.
local MAKING_CLASSES = set "__init_subclass__ __init__ __prepare__"

-- Whether methods change the class by their first argument: cls.count += 1, mcls.registry[name] = made.
local function changes_by_argument(parsed, definition, is_metaclass)
  local tree = parsed.tree
  for at = definition, tree.next[definition] - 1 do
    local name = tree.kind[at] == "function_definition" and text_of(parsed, child(tree, at, "name"))
    local is_for_class = name and (is_metaclass or name == "__new__" or name == "__init_subclass__"
      or text_of(parsed, tree.parent[at]):find "^@%s*classmethod")
    local first = is_for_class and text_of(parsed, child(tree, at, "parameters")):match "^%(%s*([%w_]+)"
    if first and not MAKING_CLASSES[name] and changes.within(parsed, at)[first] then return true end
    for inner = at, first and tree.next[at] - 1 or 0 do
      if tree.kind[inner] == "identifier" and text_of(parsed, inner) == first then
        local change, deep = changes.change_at(parsed, inner)
        if change == "strong" and deep then return true end
      end
    end
  end
  return false
end

-- Whether the objects of a class are classes.
local function is_metaclass(parsed, name, seen)
  local known = parsed.learned and parsed.learned.classes[name]
  if type(known) ~= "table" or seen[name] then return name == "type" or name:find "Meta$" ~= nil end
  seen[name] = true
  for _, base in ipairs(known.bases) do
    if is_metaclass(parsed, base, seen) then return true end
  end
  return false
end

-- Attributes of a class that its own methods set: cls.count += 1, type(self).all.append(self).
local function changes_itself(parsed, definition, facts)
  local tree = parsed.tree
  local own = text_of(parsed, child(tree, definition, "name"))
  if facts.changes[own] == "strong" or changes_shared(parsed, definition) then return true end
  if changes_by_argument(parsed, definition, is_metaclass(parsed, own, {})) then return true end
  for at = definition, tree.next[definition] - 1 do
    local left = (tree.kind[at] == "assignment" or tree.kind[at] == "augmented_assignment") and child(tree, at, "left")
    local text = left and text_of(parsed, left)
    if text and (text:find "^type%(self%)%." or text:find "^self%.__class__%.") then return true end
  end
  return false
end

---The classes of the notebook whose code runs when a class is made: metaclasses, and bases with __init_subclass__.
---@param parsed table
---@param name string
---@return string[]
function M.run_for_class(parsed, name)
  local classes, found, seen = parsed.learned and parsed.learned.classes or {}, {}, {}
  local function visit(base, is_below)
    local known = classes[base]
    if type(known) ~= "table" or seen[base] then return end
    seen[base] = true
    if is_below and known.makes_below then found[#found + 1] = base end
    if classes[known.metaclass] then found[#found + 1] = known.metaclass end
    for _, other in ipairs(known.bases) do visit(other, true) end
  end
  visit(name, false)
  return found
end

---@param meant table<string, any> of walker:meanings
---@return string? why
function M.unknown_head(meant)
  for name, meaning in pairs(meant) do
    if meaning == false then return ("use of '%s' where it is defined"):format(name) end
  end
  return nil
end

-- The calls between two nodes that may not be made again.
local function bad_call(parsed, first, stop, is_class)
  local tree, at = parsed.tree, first
  while at < stop do
    local kind = tree.kind[at]
    if kind == "call" and not is_harmless(parsed, at) then return true end
    local inner = is_class and kind == "function_definition" and child(tree, at, "body")
    if kind == "lambda" or inner and not child(tree, at, "parameters") then
      at = tree.next[at]
    elseif tree.kind[tree.parent[at]] == "function_definition" and tree.field[at] == "body" and at ~= first then
      at = tree.next[at]  -- a method's body runs later: only its head counts
    else
      at = at + 1
    end
  end
  return false
end

---The function of the notebook that a definition adds to by its decorator, @describe.register: it stands
---again wherever that function does.
---@param parsed table
---@param node integer
---@return string?
function M.amends(parsed, node)
  local tree = parsed.tree
  for decorator in children(tree, node) do
    local text = tree.kind[decorator] == "decorator" and text_of(parsed, decorator)
    local root = text and text:match "^@%s*([%w_]+)%.register%f[^%w_]"
    if root and parsed.learned and parsed.learned.functions[root] then return root end
  end
  return nil
end

local CACHING = set "lru_cache cache cached"

---Whether a function remembers what it gave and does more than to give it: to call it again is not the same.
---@param parsed table
---@param node integer the definition with its decorators
---@param definition integer
---@param facts kale.Facts
---@return boolean
function M.has_cache(parsed, node, definition, facts)
  local tree, caches = parsed.tree, false
  for decorator in children(tree, node) do
    local path = tree.kind[decorator] == "decorator" and text_of(parsed, decorator):match "^@%s*([%w_%.]+)"
    caches = caches or path and CACHING[path:match "[%w_]+$"] or false
  end
  if not caches then return false end
  if parsed.learned and parsed.learned.asks_caches then return true end
  if next(facts.stores) or next(facts.changes) or changes.changes_default(parsed, definition) then return true end
  for at = child(tree, definition, "body"), tree.next[definition] - 1 do
    if tree.kind[at] == "call" and FRESH[changes.called(parsed, at)] then return true end
  end
  return false
end

---Why the function or class cannot simply be defined again in another step, or nil.
---@param walker table
---@param node integer the definition with its decorators
---@param definition integer
---@param meant table<string, any>
---@param facts kale.Facts
---@return string?
function M.impurity(walker, node, definition, meant, facts)
  local parsed = walker.parsed
  local tree = parsed.tree
  for decorator in children(tree, node) do
    if tree.kind[decorator] == "decorator" then
      local path = text_of(parsed, decorator):match "^@%s*([%w_%.]+)" or ""
      local imported = parsed.learned and parsed.learned.imports[path:match "^[%w_]+"]
      if not imported and not HARMLESS[path:match "[%w_]+$"] and not M.amends(parsed, node) then return "decorator" end
    end
  end
  local is_class = tree.kind[definition] == "class_definition"
  if is_class and changes_itself(parsed, definition, facts) then return M.CHANGES_ITSELF end
  local body = child(tree, definition, "body")
  if bad_call(parsed, definition + 1, is_class and tree.next[definition] or body, is_class) then
    return is_class and "body" or "default value"
  end
  if not is_class and changes.changes_default(parsed, definition) then return "default value" end
  return M.unknown_head(meant)
end

-- --- assignments that can be made again ---------------------------------------------------------------

local CONSTANT = { integer = true, float = true, string = true, ["true"] = true, ["false"] = true, none = true }
local CLASS_MAKERS = set [[namedtuple NamedTuple TypedDict NewType make_dataclass Enum IntEnum StrEnum Flag IntFlag
  TypeVar]]

local function is_constant(tree, node)
  local kind = tree.kind[node]
  if kind == "string" then
    for at = node, tree.next[node] - 1 do
      if tree.kind[at] == "interpolation" then return false end
    end
    return true
  end
  if CONSTANT[kind] then return true end
  if kind == "unary_operator" then return is_constant(tree, node + 2) end
  if kind ~= "tuple" then return false end
  for part in children(tree, node) do
    if tree.named[part] and not is_constant(tree, part) then return false end
  end
  return true
end

---Whether a statement binds one name to something that another step can make again.
---@param parsed table
---@param statement integer an expression statement
---@return "constant"|"class"|nil kind
---@return string? name
function M.remade(parsed, statement)
  local tree, assignment = parsed.tree, statement + 1
  if tree.kind[assignment] ~= "assignment" then return nil end
  local left, right = child(tree, assignment, "left"), child(tree, assignment, "right")
  if not right or tree.kind[left] ~= "identifier" then return nil end
  local name = text_of(parsed, left)
  if is_constant(tree, right) then return "constant", name end
  if tree.kind[right] ~= "call" then return nil end
  local called = changes.called(parsed, right)
  if not CLASS_MAKERS[called] then return nil end
  local arguments = child(tree, right, "arguments")
  local first = arguments and tree.named[arguments + 2] and arguments + 2
  if first and tree.kind[first] == "string" and text_of(parsed, first):match "^['\"](.*)['\"]$" == name then
    return "class", name
  end
  return nil
end

return M
