-- What the notebook's own code says of its functions, classes and names, before anything is resolved.
-- Not for one statement: see kale.walk.
--   learn.all(groups)  -- then parsed.learned.functions.grow.changed[1] says that grow changes its argument
local changes = require "kale.changes"
local definitions = require "kale.definitions"
local nodes = require "kale.nodes"

local text_of, child, children = nodes.text, nodes.child, nodes.children

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
  ["socket.create_connection"] = "a socket", ["threading.Lock"] = "a lock", ["threading.RLock"] = "a lock",
  ["threading.Thread"] = "a thread", ["threading.Event"] = "an event", ["multiprocessing.Pool"] = "a pool",
  ThreadPoolExecutor = "a pool", ProcessPoolExecutor = "a pool", ["subprocess.Popen"] = "a process",
  create_engine = "an open connection", getOrCreate = "a session", ["requests.Session"] = nil,
  ["ssl.create_default_context"] = "an SSL context", SummaryWriter = "an open file", ["queue.Queue"] = "a queue",
  memoryview = "a view of memory", cmp_to_key = "a key function",
  ["re.match"] = "a match", ["re.search"] = "a match", ["re.fullmatch"] = "a match",
  WeakValueDictionary = "a table of weak references", ["weakref.ref"] = "a weak reference",
  ["weakref.proxy"] = "a weak reference", ["tempfile.NamedTemporaryFile"] = "an open file",
  ["tempfile.TemporaryFile"] = "an open file",
}

local MATCHING = set "search match fullmatch"

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

-- The functions, methods and classes of a cell.
local function find_functions(parsed, list, learned)
  local tree = parsed.tree
  for node = 1, tree.count do
    if tree.kind[node] == "function_definition" then
      local parent = tree.parent[node]
      if tree.kind[parent] == "decorated_definition" then parent = tree.parent[parent] end
      local method = tree.kind[parent] == "block" and tree.kind[tree.parent[parent]] == "class_definition"
      list[#list + 1] = {
        name = text_of(parsed, child(tree, node, "name")), method = method, node = node, parsed = parsed,
        parameters = parameters_of(parsed, node),
        getter = text_of(parsed, tree.parent[node]):find "^@%s*property%s" ~= nil,
      }
    elseif tree.kind[node] == "class_definition" then
      learned.classes[text_of(parsed, child(tree, node, "name"))] = true
    elseif tree.kind[node] == "expression_statement" then
      local kind, name = definitions.remade(parsed, node)
      if kind == "class" then learned.classes[name] = true end
    end
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
  parsed.within = nil
  local found = { changed = {}, returned = {}, returned_globals = {} }
  local kept = fn.method and fn.parameters[1] and changes.sharing(parsed, body, fn.parameters[1])
  for number, name in ipairs(fn.parameters) do
    local place = fn.method and number - 1 or number
    if changed[name] == "strong" or changed[name] and not fn.method then
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
  for node = 1, tree.count do
    local kind = tree.kind[node]
    if kind == "import_statement" or kind == "import_from_statement" then
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

local function note_value(parsed, name, right, learned, stateful)
  local tree, kind = parsed.tree, parsed.tree.kind[right]
  if kind == "generator_expression" then
    learned.iterators[name] = true
    learned.unsaved[name] = { what = "a generator", parsed = parsed, node = right }
    return
  end
  if kind ~= "call" then return end
  local called, method = changes.called(parsed, right)
  if not called then return end
  local path = text_of(parsed, child(tree, right, "function"))
  if ITERATORS[called] then learned.iterators[name] = true end
  if path == "re.compile" then learned.patterns[name] = true end
  if path:find "getLogger$" then learned.loggers[name] = true end
  if method and MATCHING[called] and learned.patterns[changes.root_name(parsed, right)] then
    learned.unsaved[name] = { what = "a match", parsed = parsed, node = right }
  end
  local what = UNSAVED[path] or UNSAVED[called] or UNSAVED[path:match "[%w_]+%.[%w_]+$"]
  if not method and learned.generators[called] or method and learned.generators["." .. called] then
    what = "a generator"
    learned.iterators[name] = true
  end
  if what then learned.unsaved[name] = { what = what, parsed = parsed, node = right } end
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

-- Names that are only ever bound to such values.
local function find_scalars(groups, learned)
  local bound = {}
  for _, cells in ipairs(groups) do
    for _, parsed in ipairs(cells) do
      local tree, uses = parsed.tree, parsed.uses
      for i = 1, uses.count do
        local context, node = uses.context[i], uses.node[i]
        if parsed.at[node] and (context == "store" or context == "definition" or context == "import") then
          local parent = tree.parent[node]
          local kind, right = tree.kind[parent], child(tree, parent, "right")
          local plain = (kind == "assignment" or kind == "for_statement") and tree.field[node] == "left" and right
          local scalar = plain and is_scalar(parsed, right) or false
          if bound[uses.name[i]] ~= false then bound[uses.name[i]] = scalar end
        end
      end
    end
  end
  for name, scalar in pairs(bound) do learned.scalars[name] = scalar or nil end
end

local function find_values(parsed, learned, stateful)
  local tree = parsed.tree
  for node = 1, tree.count do
    local kind = tree.kind[node]
    if kind == "assignment" then
      local left, right = child(tree, node, "left"), child(tree, node, "right")
      if right and tree.kind[left] == "identifier" then
        note_value(parsed, text_of(parsed, left), right, learned, stateful)
      end
    elseif kind == "as_pattern" and child(tree, node, "alias") then
      note_value(parsed, text_of(parsed, child(tree, node, "alias")), node + 1, learned, stateful)
    end
  end
end

---Learns from all groups of parsed cells; each gets `learned`.
---@param groups table[][]
function M.all(groups)
  local learned = {
    functions = {}, methods = {}, imports = {}, makers = {}, classes = {}, generators = {}, iterators = {},
    unsaved = {}, callables = {}, modules = {}, getters = {}, scalars = {}, patterns = {}, loggers = {},
  }
  local list = {}
  for _, cells in ipairs(groups) do
    for _, parsed in ipairs(cells) do
      parsed.learned = learned
      find_imports(parsed, learned)
      find_functions(parsed, list, learned)
    end
  end
  find_scalars(groups, learned)
  for _, fn in ipairs(list) do
    learned[fn.method and "methods" or "functions"][fn.name] = { changed = {}, returned = {}, returned_globals = {} }
    if has(fn.parsed, fn.node, "yield") then learned.generators[(fn.method and "." or "") .. fn.name] = true end
  end
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
  local call = learned.methods.__call__
  learned.stateful = next(stateful) ~= nil or call ~= nil and call.self
  for _, cells in ipairs(groups) do
    for _, parsed in ipairs(cells) do find_values(parsed, learned, stateful) end
  end
  return learned
end

return M
