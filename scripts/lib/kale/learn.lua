-- What the notebook's own code says of its functions, classes and names, before anything is resolved.
-- Not for one statement: see kale.walk.
--   learn.all(groups)  -- then parsed.learned.functions.grow.changed[1] says that grow changes its argument
local changes = require "kale.changes"
local definitions = require "kale.definitions"
local nodes = require "kale.nodes"

local text_of, child, children, of_kind = nodes.text, nodes.child, nodes.children, nodes.of_kind

local M = {}

local function set(text)
  local result = {}
  for name in text:gmatch "%S+" do result[name] = true end
  return result
end

-- Calls whose value is used up by reading it.
local ITERATORS = set [[iter zip map filter enumerate reversed chain cycle islice starmap zip_longest tee count
  takewhile dropwhile accumulate product permutations combinations pairwise batched reader DictReader iterrows
  itertuples finditer scandir open]]
-- Calls whose value cannot be saved, by the whole path of what is called or its last part.
local UNSAVED = {
  open = "an open file", ["sqlite3.connect"] = "an open connection", ["socket.socket"] = "a socket",
  ["socket.create_connection"] = "a socket", ["threading.Thread"] = "a thread",
  ["multiprocessing.Pool"] = "a pool",
  ThreadPoolExecutor = "a pool", ProcessPoolExecutor = "a pool", ["subprocess.Popen"] = "a process",
  create_engine = "an open connection", getOrCreate = "a session", ["requests.Session"] = nil,
  ["ssl.create_default_context"] = "an SSL context", SummaryWriter = "an open file", cmp_to_key = "a key function",
  ["weakref.finalize"] = "a finalizer", copy_context = "a context", ["tempfile.NamedTemporaryFile"] = "an open file",
  ["tempfile.TemporaryFile"] = "an open file",
}

-- What makes generators of random numbers and queues: whoever asks one, or is handed one, takes something from it.
local DRAWN_FROM = set [[RandomState default_rng Generator Random SystemRandom check_random_state manual_seed Queue
  LifoQueue PriorityQueue SimpleQueue]]

-- --- functions ----------------------------------------------------------------------------------------

-- Names of the parameters in order.
local function parameters_of(parsed, fn)
  local tree, names = parsed.tree, {}
  for parameter in children(tree, child(tree, fn, "parameters") or fn) do
    if tree.named[parameter] and tree.kind[parameter] ~= "comment" then
      local name = child(tree, parameter, "name")
      local at = name or parameter
      while tree.kind[at] ~= "identifier" and at < tree.next[parameter] - 1 do at = at + 1 end
      if tree.kind[at] == "identifier" then names[#names + 1] = text_of(parsed, at) end
    end
  end
  return names
end

-- Names in the brackets of a class: its bases, and its metaclass.
local function bases_of(parsed, node)
  local tree, bases, metaclass = parsed.tree, {}, nil
  for argument in children(tree, child(tree, node, "superclasses") or node) do
    local value = tree.kind[argument] == "keyword_argument" and child(tree, argument, "value")
    if value and text_of(parsed, child(tree, argument, "name")) == "metaclass" then
      metaclass = text_of(parsed, value)
    elseif tree.kind[argument] == "identifier" then
      bases[#bases + 1] = text_of(parsed, argument)
    end
  end
  return bases, metaclass
end

-- Whether a class can be called by what it inherits alone: has it a base, and no __call__ of its own. And what is
-- run when a class below it is made.
local function describe_class(parsed, node)
  local tree, superclasses = parsed.tree, child(parsed.tree, node, "superclasses")
  local known = { inherits_call = superclasses ~= nil and tree.next[superclasses] - superclasses > 2 }
  known.bases, known.metaclass = bases_of(parsed, node)
  for at = node, tree.next[node] - 1 do
    local name = tree.kind[at] == "function_definition" and text_of(parsed, child(tree, at, "name"))
    if name == "__call__" then known.inherits_call = false end
    if name == "__init_subclass__" then known.makes_below = true end
  end
  return known
end

-- The functions, methods and classes of a cell.
local function find_functions(parsed, list, learned)
  local tree = parsed.tree
  for _, node in ipairs(of_kind(parsed, "function_definition")) do
    local parent = tree.parent[node]
    if tree.kind[parent] == "decorated_definition" then parent = tree.parent[parent] end
    local method = tree.kind[parent] == "block" and tree.kind[tree.parent[parent]] == "class_definition"
    list[#list + 1] = {
      name = text_of(parsed, child(tree, node, "name")), method = method, node = node, parsed = parsed,
      parameters = parameters_of(parsed, node),
      getter = text_of(parsed, tree.parent[node]):find "^@%s*property%s" ~= nil,
    }
  end
  for _, node in ipairs(of_kind(parsed, "class_definition")) do
    learned.classes[text_of(parsed, child(tree, node, "name"))] = describe_class(parsed, node)
  end
  for _, node in ipairs(of_kind(parsed, "expression_statement")) do
    local kind, name = definitions.remade(parsed, node)
    if kind == "class" then learned.classes[name] = true end
  end
end

-- Whether the body itself has a node of that kind, outside of functions in it.
local function has(parsed, fn, wanted)
  local tree, at = parsed.tree, child(parsed.tree, fn, "body")
  local stop = tree.next[at]
  while at < stop do
    local kind = tree.kind[at]
    if kind == wanted then return true end
    at = (kind == "function_definition" or kind == "lambda" or kind == "class_definition") and tree.next[at] or at + 1
  end
  return false
end

local function merge(into, from)
  local more = false
  for key, value in pairs(from) do
    if into[key] == nil then
      into[key] = value
      more = true
    end
  end
  return more
end

-- What is found of a function by what is known of those that it calls; whether that is new.
local function study(fn, learned)
  local parsed, node = fn.parsed, fn.node
  parsed.within = nil
  local body = child(parsed.tree, node, "body")
  local changed, returned = changes.within(parsed, body), changes.returned(parsed, body)
  local updated = changes.updated(parsed, body)
  parsed.within = nil
  local found = { changed = {}, returned = {}, returned_globals = {} }
  local kept = fn.method and fn.parameters[1] and changes.sharing(parsed, body, fn.parameters[1])
  for number, name in ipairs(fn.parameters) do
    local place = fn.method and number - 1 or number
    local by_super = fn.method and number == 1 and changed.super == "strong"
    if by_super or updated[name] or changed[name] == "strong" or changed[name] and not fn.method then
      found.changed[name], found.changed[place] = true, true
      if fn.method and number == 1 then found.self = true end
    end
    if returned[name] then
      found.returned[name], found.returned[place] = true, true
      if fn.method and number == 1 then found.returned.self = true end
    end
  end
  local uses = parsed.uses
  for _, i in ipairs(nodes.occurrences(parsed, body, parsed.tree.next[body])) do
    local name = uses.name[i]
    if uses.late[i] and returned[name] and not learned.imports[name] then found.returned_globals[name] = true end
  end
  for number, name in ipairs(kept and fn.parameters or {}) do
    if number > 1 and kept[name] then found.kept = true end
  end
  local into = learned[fn.method and "methods" or "functions"][fn.name]
  local more = merge(into.changed, found.changed)
  more = merge(into.returned, found.returned) or more
  more = merge(into.returned_globals, found.returned_globals) or more
  if found.self and not into.self then into.self, more = true, true end
  if found.kept and not into.kept then into.kept, more = true, true end
  return more
end

-- Functions whose value may hold functions or instances: those with a function in them, and those that
-- name a class or another such function.
local function find_makers(list, learned)
  local users = {}
  for _, fn in ipairs(list) do
    local body = child(fn.parsed.tree, fn.node, "body")
    for at = body, fn.parsed.tree.next[body] - 1 do
      local kind = fn.parsed.tree.kind[at]
      if kind == "function_definition" or kind == "lambda" and changes.escapes(fn.parsed, at, body) then
        learned.makers[fn.name] = true
      end
      if kind == "identifier" then
        local name = text_of(fn.parsed, at)
        if learned.classes[name] then learned.makers[fn.name] = true end
        users[name] = users[name] or {}
        table.insert(users[name], fn.name)
      end
    end
  end
  local queue = {}
  for name in pairs(learned.makers) do queue[#queue + 1] = name end
  while #queue > 0 do
    for _, user in ipairs(users[table.remove(queue)] or {}) do
      if not learned.makers[user] then
        learned.makers[user] = true
        queue[#queue + 1] = user
      end
    end
  end
end

-- Closures that change what they close over, and instances with __call__ that change themselves.
local function find_closures(list)
  local stateful = {}
  for _, fn in ipairs(list) do
    local tree = fn.parsed.tree
    local body = child(tree, fn.node, "body")
    for at = body, tree.next[body] - 1 do
      if tree.kind[at] == "function_definition" or tree.kind[at] == "lambda" then
        for inner = at, tree.next[at] - 1 do
          if tree.kind[inner] == "nonlocal_statement" then stateful[fn.name] = true end
        end
        local changed = changes.within(fn.parsed, at)
        if next(changed) then stateful[fn.name] = true end
      end
    end
  end
  return stateful
end

-- --- imports ------------------------------------------------------------------------------------------

-- Which module, or what of it, each imported name is.
local function find_imports(parsed, learned)
  local tree = parsed.tree
  for _, kind in ipairs { "import_statement", "import_from_statement" } do
    for _, node in ipairs(of_kind(parsed, kind)) do
      local module = child(tree, node, "module_name")
      local prefix = module and text_of(parsed, module) .. "." or ""
      for part in children(tree, node) do
        if tree.field[part] == "name" then
          local alias = child(tree, part, "alias")
          local name = alias and text_of(parsed, child(tree, part, "name")) or text_of(parsed, part)
          local bound = alias and text_of(parsed, alias) or (module and name or name:match "^[%w_]+")
          learned.imports[bound] = learned.imports[bound] or parsed.at[alias or part + 1] ~= nil or nil
          if learned.imports[bound] then
            learned.modules[bound] = prefix .. (alias and name or module and name or name:match "^[%w_]+")
          end
        end
      end
    end
  end
end

-- --- names ----------------------------------------------------------------------------------------------

-- A value that cannot be saved, and the cells in which a name is bound to one last.
local function note_unsaved(parsed, name, learned, what)
  local cells = learned.unsaved[name] or {}
  learned.unsaved[name] = cells
  cells[parsed.cell.number] = what
end

-- What a call makes that cannot be saved.
local function unsaved_of(parsed, call, called)
  local path = text_of(parsed, child(parsed.tree, call, "function"))
  return UNSAVED[path] or UNSAVED[called] or UNSAVED[path:match "[%w_]+%.[%w_]+$"]
end

local DISPLAYS = set "list tuple set dictionary pair list_comprehension dictionary_comprehension expression_list"

-- What of that a display holds: [Thread(target=f) for f in jobs].
local function unsaved_in(parsed, node)
  local tree = parsed.tree
  if tree.kind[node] == "call" then
    local called = changes.called(parsed, node)
    return called and unsaved_of(parsed, node, called)
  end
  for part in nodes.children(tree, DISPLAYS[tree.kind[node]] and node or tree.count) do
    local what = unsaved_in(parsed, part)
    if what then return what end
  end
end

local function note_value(parsed, name, right, learned, stateful)
  local tree, kind = parsed.tree, parsed.tree.kind[right]
  note_unsaved(parsed, name, learned, DISPLAYS[kind] and unsaved_in(parsed, right) or nil)
  if kind == "generator_expression" then
    learned.iterators[name] = true
    note_unsaved(parsed, name, learned, "a generator")
    return
  end
  if kind ~= "call" then return end
  local called, method = changes.called(parsed, right)
  if not called then return end
  local path = text_of(parsed, child(tree, right, "function"))
  if ITERATORS[called] then learned.iterators[name] = true end
  if path:find "getLogger$" then learned.loggers[name] = true end
  if DRAWN_FROM[called] then learned.drawn_from[name] = true end
  if path:find "ContextVar$" then learned.variables[name] = true end
  if method and called == "set" and learned.variables[changes.root_name(parsed, right)] then
    note_unsaved(parsed, name, learned, "a token")
  end
  local what = unsaved_of(parsed, right, called)
  if not method and learned.generators[called] or method and learned.generators["." .. called] then
    what = "a generator"
    learned.iterators[name] = true
  end
  if what == "an open file" and parsed.python:find("%f[%w_]" .. name .. "%.close%s*%(") then what = nil end
  if what then note_unsaved(parsed, name, learned, what) end
  if not method and learned.classes[called] and learned.methods.__next__ then learned.iterators[name] = true end
  if not method and (stateful[called] or learned.classes[called] and learned.methods.__call__
    and learned.methods.__call__.self) then
    learned.callables[name] = true
  end
end

local SCALAR = { integer = true, float = true, string = true, ["true"] = true, ["false"] = true, none = true,
  comparison_operator = true, not_operator = true, concatenated_string = true }
local SCALAR_CALLS = set "len int float str round bool ord chr hash id repr ascii format time perf_counter range"

-- Whether an expression's value is surely one that nothing can change in place.
local function is_scalar(parsed, node)
  local tree, kind = parsed.tree, parsed.tree.kind[node]
  if SCALAR[kind] then return true end
  if kind == "unary_operator" or kind == "parenthesized_expression" then return is_scalar(parsed, node + 2) end
  if kind == "tuple" then
    for part in children(tree, node) do
      if tree.named[part] and not is_scalar(parsed, part) then return false end
    end
    return true
  end
  return kind == "call" and SCALAR_CALLS[changes.called(parsed, node)] == true
end

-- What makes objects of libraries that give something new when they are called: nn.MSELoss(), Net().to(device)
-- of a class of the notebook that has no __call__ of its own.
local function is_caller(parsed, node, learned)
  local tree = parsed.tree
  if tree.kind[node] ~= "call" then return false end
  local name, method = changes.called(parsed, node)
  local root = name and (method and changes.root_name(parsed, node) or name)
  if not root then return false end
  for at = node, tree.next[node] - 1 do
    local kind = tree.kind[at]
    if kind == "lambda" or kind == "identifier" and learned.functions[text_of(parsed, at)] then return false end
  end
  if learned.imports[root] then return name:find "^%u" ~= nil end
  local class = learned.classes[root]
  return type(class) == "table" and class.inherits_call and not learned.methods.__call__
end

local PLAIN = set [[list dictionary set tuple list_comprehension dictionary_comprehension set_comprehension]]
local PLAIN_CALLS = set "list dict set tuple sorted defaultdict OrderedDict Counter deque"

-- Whether an expression's value is a list, dict, set or tuple.
local function is_plain(parsed, node)
  local kind = parsed.tree.kind[node]
  if kind ~= "call" then return PLAIN[kind] end
  local name, method = changes.called(parsed, node)
  return not method and PLAIN_CALLS[name]
end

-- Whether an expression's value holds numbers and the like only: [1, 2], range(3), "abc".
local function is_numbers(parsed, node)
  local tree, kind = parsed.tree, parsed.tree.kind[node]
  if kind ~= "list" and kind ~= "set" then return is_scalar(parsed, node) end
  for part in children(tree, node) do
    if tree.named[part] and not is_scalar(parsed, part) then return false end
  end
  return true
end

-- What a name is when all that it is ever bound to is of that kind. What a loop takes from something is of the first
-- kind only.
local KINDS = { scalars = is_scalar, plain = is_plain, numbers = is_numbers, callers = is_caller }

-- The expression that an occurrence binds its name to alone, or that a loop takes the name's values from.
local function bound_to(parsed, node)
  local tree, parent = parsed.tree, parsed.tree.parent[node]
  local kind = tree.kind[parent]
  if tree.field[node] ~= "left" or kind ~= "assignment" and kind ~= "for_statement" then return nil end
  return child(tree, parent, "right"), kind
end

-- Names that are only ever bound to values that nothing changes in place, to plain containers, to such objects.
local function find_constant_kinds(groups, learned)
  local known = {}
  for key in pairs(KINDS) do known[key] = {} end
  for _, cells in ipairs(groups) do
    for _, parsed in ipairs(cells) do
      local uses, at = parsed.uses, parsed.at
      local contexts, use_nodes = uses.context, uses.node
      for i = 1, uses.count do
        local context, node = contexts[i], use_nodes[i]
        if (context == "store" or context == "definition" or context == "import") and at[node] then
          local name, right, kind = uses.name[i], bound_to(parsed, node)
          for key, is_kind in pairs(KINDS) do
            local meant = right and (kind == "assignment" or key == "scalars")
            if known[key][name] ~= false then known[key][name] = meant and is_kind(parsed, right, learned) or false end
          end
        end
      end
    end
  end
  for key, names in pairs(known) do
    for name, is_kind in pairs(names) do learned[key][name] = is_kind or nil end
  end
end

local FIGURES = set "Figure subplots subplot_mosaic subplot add_subplot gca gcf figure axes twinx twiny"

-- Names of figures and axes, which everything that is drawn changes: fig, ax = plt.subplots(), for a in axes.
local function find_figures(parsed, learned)
  local tree = parsed.tree
  local function note(left)
    for at = left, tree.next[left] - 1 do
      if tree.kind[at] == "identifier" then learned.figures[text_of(parsed, at)] = true end
    end
  end
  for _, node in ipairs(of_kind(parsed, "assignment")) do
    local right = child(tree, node, "right")
    if right and tree.kind[right] == "call" then
      local drawn = next(learned.figures) and learned.figures[changes.root_name(parsed, right)]
      if drawn or FIGURES[changes.called(parsed, right)] then note(child(tree, node, "left")) end
    end
  end
  for _, node in ipairs(next(learned.figures) and of_kind(parsed, "for_statement") or {}) do
    local roots = {}
    changes.add_roots(parsed, child(tree, node, "right"), roots)
    for _, root in ipairs(roots) do
      if learned.figures[root] then note(child(tree, node, "left")) end
    end
  end
end

local function find_values(parsed, learned, stateful)
  local tree = parsed.tree
  for _, node in ipairs(of_kind(parsed, "assignment")) do
    local left, right = child(tree, node, "left"), child(tree, node, "right")
    if right and tree.kind[left] == "identifier" then
      note_value(parsed, text_of(parsed, left), right, learned, stateful)
    end
  end
  find_figures(parsed, learned)
  for _, node in ipairs(of_kind(parsed, "as_pattern")) do
    local alias = child(tree, node, "alias")
    -- `with open(…) as f` closes the file; with a context manager of the notebook, it is what that yields.
    local called = tree.kind[node + 1] == "call" and changes.called(parsed, node + 1)
    if alias and called ~= "open" and not learned.generators[called] then
      note_value(parsed, text_of(parsed, alias), node + 1, learned, stateful)
    end
  end
end

-- Functions that a decorator with a state has wrapped, in a default of its own, a closure or an instance: to call
-- one may change that.
local function find_decorated(list, learned, stateful)
  local call = learned.methods.__call__
  for _, fn in ipairs(list) do
    local above = fn.parsed.tree.parent[fn.node]
    if not fn.method and fn.parsed.tree.kind[above] == "decorated_definition" then
      for decorator in nodes.children(fn.parsed.tree, above) do
        local root = fn.parsed.tree.kind[decorator] == "decorator"
          and text_of(fn.parsed, decorator):match "^@%s*([%a_][%w_]*)"
        local is_callable = learned.callables[root] or stateful[root]
          or learned.classes[root] and call and call.self
        if root and is_callable then learned.callables[fn.name] = true end
      end
    end
  end
end

---Learns from all groups of parsed cells; each gets `learned`.
---@param groups table[][]
function M.all(groups)
  local learned = {
    functions = {}, methods = {}, imports = {}, makers = {}, classes = {}, generators = {}, iterators = {},
    unsaved = {}, callables = {}, modules = {}, getters = {}, scalars = {}, loggers = {},
    callers = {}, plain = {}, figures = {}, variables = {}, drawn_from = {},
    numbers = {},
  }
  local list = {}
  for _, cells in ipairs(groups) do
    for _, parsed in ipairs(cells) do
      parsed.learned = learned
      learned.reads_annotations = learned.reads_annotations or parsed.python:find("__annotations__", 1, true) ~= nil
      learned.asks_caches = learned.asks_caches or parsed.python:find("cache_info", 1, true) ~= nil
      find_imports(parsed, learned)
      find_functions(parsed, list, learned)
    end
  end
  for _, fn in ipairs(list) do
    learned[fn.method and "methods" or "functions"][fn.name] = { changed = {}, returned = {}, returned_globals = {} }
    if has(fn.parsed, fn.node, "yield") then learned.generators[(fn.method and "." or "") .. fn.name] = true end
  end
  find_constant_kinds(groups, learned)
  local more, rounds = #list > 0, 0
  while more and rounds < 12 do  -- what is found of one function may tell of those that call it
    more, rounds = false, rounds + 1
    for _, fn in ipairs(list) do more = study(fn, learned) or more end
  end
  for _, fn in ipairs(list) do
    if fn.getter and learned.methods[fn.name].self then learned.getters[fn.name] = true end
  end
  find_makers(list, learned)
  for _, fn in ipairs(list) do
    if not fn.method and changes.changes_default(fn.parsed, fn.node) then learned.callables[fn.name] = true end
  end
  local stateful = find_closures(list)
  find_decorated(list, learned, stateful)
  local call = learned.methods.__call__
  learned.stateful = next(stateful) ~= nil or call ~= nil and call.self
  for _, cells in ipairs(groups) do
    for _, parsed in ipairs(cells) do find_values(parsed, learned, stateful) end
  end
  return learned
end

return M
