-- Which values a piece of Python may change in place, and which names may share an object.
-- A guess on the safe side, from the code alone; what kale.learn knows of the notebook makes it a good one.
--   changes.change_at(parsed, node)  -- "strong" for xs in `xs.append(1)`
local nodes = require "kale.nodes"

local text_of, child, children = nodes.text, nodes.child, nodes.children

local M = {}

local function set(text)
  local result = {}
  for name in text:gmatch "%S+" do result[name] = true end
  return result
end

-- Functions and methods that leave their arguments and objects as they are, and give something new.
local PURE = set [[abs all any ascii bin bool bytes callable chr complex dict display divmod enumerate filter float
  format frozenset getattr hasattr hash hex id int isinstance issubclass iter len list map max min oct ord pow
  print range repr reversed round set sorted str sum tuple type zip input open]]
local PURE_METHODS = set [[copy items keys values get index count join split rsplit splitlines partition strip lstrip
  rstrip format lower upper title capitalize swapcase startswith endswith replace encode decode find rfind zfill
  center ljust rjust isdigit isalpha isnumeric head tail describe mean std sum min max median mode abs round astype
  corr cov nunique unique value_counts isna isnull notna notnull groupby to_numpy to_dict tolist to_list reshape dot
  transpose flatten ravel squeeze argmax argmin argsort prod cumsum cumprod cumcount nonzero take repeat clip
  predict predict_proba predict_log_proba decision_function score transform inverse_transform get_params evaluate
  summary kneighbors union intersection difference issubset issuperset isdisjoint symmetric_difference most_common
  elements drop dropna fillna drop_duplicates merge apply applymap map assign rename reset_index set_index
  sort_values sort_index query filter pivot pivot_table melt stack unstack agg aggregate rolling resample shift diff
  isin where mask select_dtypes iterrows itertuples to_csv to_parquet to_json to_excel to_string to_html to_pickle
  to_markdown to_records to_series info memory_usage quantile between nlargest nsmallest idxmax idxmin sample first
  last nth size rank pct_change interpolate explode duplicated equals crosstab plot hist boxplot numpy item detach
  cpu dim numel parameters named_parameters state_dict isoformat strftime timestamp total_seconds date time weekday
  search match fullmatch findall finditer sub subn group groups groupdict span exists is_dir is_file read_text
  read_bytes write_text write_bytes glob rglob iterdir mkdir as_posix resolve with_suffix with_name hexdigest digest
  conjugate bit_length as_integer_ratio keys_view to_arrow to_pandas with_columns select collect lazy group_by
  get_feature_names_out tobytes mro isalnum isspace islower isupper removeprefix removesuffix expandtabs]]
-- Methods that change their object for certain.
local CHANGING = set [[append extend insert remove pop clear sort reverse update add discard setdefault popitem
  appendleft extendleft popleft rotate fit fit_transform partial_fit train train_on_batch compile write writelines
  intersection_update difference_update symmetric_difference_update subtract move_to_end put put_nowait fill
  partition_inplace itemset resize setflags setattr set_params load_state_dict step zero_grad backward eval
  normal integers uniform standard_normal permutation permuted choice shuffle send throw execute commit seek read
  readline readlines insert_column add_module register_forward_hook load_weights set_weights push enqueue dequeue set
  reset]]
-- Methods after which an object holds what it was given.
local KEEPING = set [[append extend insert add setdefault update appendleft extendleft put push enqueue register
  put_nowait]]
-- Functions of libraries that do change what they are given; others hardly ever do.
local LIBRARY_CHANGING = set [[shuffle heappush heappop heapify heapreplace heappushpop insort insort_left insort_right
  fill_diagonal copyto put place putmask setattr delattr setitem delitem iadd imul put_along_axis]]
-- Functions of libraries whose value shares objects with what they are given.
local SHARING = set [[asarray asanyarray atleast_1d atleast_2d atleast_3d reshape ravel squeeze transpose broadcast_to
  array_split split chain partial cycle tee islice starmap zip_longest from_numpy as_tensor copy defaultdict deque
  from_iterable attrgetter itemgetter methodcaller nditer swapaxes moveaxis expand_dims reduce repeat
  takewhile dropwhile groupby accumulate product replace evolve cast frombuffer asmatrix mat as_strided
  sliding_window_view ascontiguousarray asfortranarray require diagonal flip fliplr flipud rot90 rollaxis hsplit
  vsplit dsplit broadcast_arrays real imag check_array unsqueeze permute narrow
  ref proxy]]

-- --- what is called --------------------------------------------------------------------------------------

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

---The name at the root of what a method is called on: x in x.a[0].method().
---@param parsed table
---@param call integer
---@return string?
function M.root_name(parsed, call)
  local tree = parsed.tree
  local at = child(tree, call, "function")
  while at and tree.kind[at] ~= "identifier" do
    at = child(tree, at, "object") or child(tree, at, "value") or child(tree, at, "function")
  end
  return at and text_of(parsed, at)
end

---Whether an object holds what it is given by that method.
---@param parsed table
---@param method string?
---@return boolean?
function M.keeps_what_it_gets(parsed, method)
  local known = parsed.learned and parsed.learned.methods[method]
  return KEEPING[method] or known and known.kept
end

-- --- what happens to a name that is read ----------------------------------------------------------------

-- Whether a call has the keyword argument inplace=True.
local function is_in_place(parsed, call)
  local tree = parsed.tree
  for argument in children(tree, child(tree, call, "arguments") or call) do
    if tree.kind[argument] == "keyword_argument" and text_of(parsed, argument):find "^inplace%s*=%s*True" then
      return true
    end
  end
  return false
end

-- What a method does to its object.
local function change_by_method(parsed, call)
  local name = M.called(parsed, call)
  local learned = parsed.learned and parsed.learned.methods[name]
  local root = M.root_name(parsed, call)
  if parsed.learned and root and parsed.learned.imports[root] then return nil end
  if not name then return parsed.learned and parsed.learned.stateful and "strong" or "weak" end
  if learned and learned.self or CHANGING[name] or is_in_place(parsed, call) then return "strong" end
  if root and parsed.learned and parsed.learned.figures[root] then return not name:find "^get_" and "strong" or nil end
  if root and parsed.learned and parsed.learned.drawn_from[root] then return "strong" end
  if learned ~= nil or PURE_METHODS[name] then return nil end
  return "weak"
end

-- What @bus.on does to `bus`: it calls the method.
local function change_by_decorator(parsed, root, attribute)
  local learned, tree = parsed.learned, parsed.tree
  if tree.kind[attribute] ~= "attribute" or learned and learned.imports[text_of(parsed, root)] then return nil end
  local name = text_of(parsed, child(tree, attribute, "attribute"))
  local known = learned and learned.methods[name]
  if known then return known.self and "strong" or nil end
  return CHANGING[name] and "strong" or not PURE_METHODS[name] and "weak" or nil
end

-- Which argument of a call a node is: its number, or its name.
local function argument_key(parsed, node)
  local tree, parent = parsed.tree, parsed.tree.parent[node]
  if tree.kind[parent] == "keyword_argument" then return text_of(parsed, child(tree, parent, "name")) end
  if tree.kind[parent] ~= "argument_list" then return "*" end
  local number = 0
  for argument in children(tree, parent) do
    if tree.named[argument] then number = number + 1 end
    if argument == node then return number end
  end
end

-- What a call does to an argument.
local function change_by_call(parsed, call, node)
  local name, method = M.called(parsed, call)
  local learned = parsed.learned
  if not name or not learned then return "weak" end
  local known = method and learned.methods[name] or not method and learned.functions[name]
  local root = method and M.root_name(parsed, call)
  if root == "super" then return nil end
  -- frame.plot(ax=ax), sns.heatmap(frame, ax=axes[0])
  if learned.figures[text_of(parsed, node):match "^[%w_]+"] and not PURE[name] then return "strong" end
  if learned.drawn_from[text_of(parsed, node)] and not PURE[name] then return "strong" end
  if root and learned.imports[root] or not method and learned.imports[name] then
    return LIBRARY_CHANGING[name] and "strong" or nil
  end
  if not method and learned.callers[name] then return nil end
  if known then
    if learned.scalars[text_of(parsed, node)] then return nil end
    local key = argument_key(parsed, node)
    if known.changed[key] or key == "*" and next(known.changed) then return "strong" end
    return nil
  end
  if method or PURE[name] or learned.classes[name] or learned.scalars[text_of(parsed, node)] then return nil end
  return LIBRARY_CHANGING[name] and "strong" or "weak"
end

local PATTERNS = set "expression_list pattern_list tuple_pattern list_pattern list_splat_pattern"

---Whether the value read at the node may be changed in place there.
---@param parsed table
---@param node integer
---@return "strong"|"weak"|nil
---@return boolean? deep it is not the object itself that changes, but what it holds
function M.change_at(parsed, node)
  local tree, at, level = parsed.tree, node, 0
  if parsed.learned and parsed.learned.iterators[text_of(parsed, node)] then return "strong" end
  while true do
    local parent = tree.parent[at]
    local kind, field = tree.kind[parent], tree.field[at]
    if kind == "attribute" and field == "object" then
      if parsed.learned and parsed.learned.getters[text_of(parsed, child(tree, parent, "attribute"))] then
        return "strong", true
      end
      at, level = parent, level + 1
    elseif kind == "subscript" and field == "value" then
      at, level = parent, level + 1
    elseif kind == "parenthesized_expression" and at ~= node then
      at = parent
    elseif kind == "decorator" and at ~= node then
      return change_by_decorator(parsed, node, at), level > 1
    elseif kind == "call" and field == "function" and at == node and text_of(parsed, node) == "super" then
      at = parent  -- super().append(x)
    elseif kind == "call" and field == "function" then
      if at ~= node then
        local name = M.called(parsed, parent)
        local own = level == 1 and name and not (parsed.learned and parsed.learned.methods[name])
        return change_by_method(parsed, parent), not own
      end
      -- A closure or an instance changes itself when it is called.
      local learned, name = parsed.learned, text_of(parsed, node)
      if not learned then return nil end
      local called_value = learned.stateful and M.is_value(parsed, name) and not PURE[name] and parsed.at[node]
      if learned.callables[name] or called_value then return "strong", true end
      return learned.callers[name] and "weak" or nil, true
    elseif kind == "assignment" or kind == "augmented_assignment" then
      return field == "left" and at ~= node and "strong" or nil, level > 1
    elseif kind == "delete_statement" or kind == "for_statement" and field == "left" then
      return at ~= node and "strong" or nil, level > 1
    elseif PATTERNS[kind] and at ~= node then
      at = parent  -- xs[0], [ys[0], *ys[1]] = …
    elseif kind == "argument_list" or kind == "keyword_argument" or kind == "list_splat" then
      local call = parent
      while tree.kind[call] ~= "call" and call > 1 do call = tree.parent[call] end
      if tree.kind[call] ~= "call" then return nil end
      local change = change_by_call(parsed, call, at)
      return change ~= "weak" and change or at == node and change or nil, true
    else
      return nil
    end
  end
end

local MUTABLE = set [[list dictionary set list_comprehension set_comprehension dictionary_comprehension]]

---Whether a function changes a default of its own, and so itself: def f(x, seen=[]): seen.append(x).
---@param parsed table
---@param definition integer
---@return boolean
function M.changes_default(parsed, definition)
  local tree, parameters = parsed.tree, child(parsed.tree, definition, "parameters")
  for parameter in children(tree, parameters or definition) do
    local value = child(tree, parameter, "value")
    if value and (MUTABLE[tree.kind[value]] or tree.kind[value] == "identifier") then
      local name = child(tree, parameter, "name")
      if name and M.within(parsed, definition)[text_of(parsed, name)] then return true end
    end
  end
  return false
end

-- --- which names may share an object --------------------------------------------------------------------

local HANDED_ON = set "enumerate zip reversed sorted iter list tuple dict set filter next min max"
local VIEWS = set [[items keys values get pop popleft popitem setdefault copy ravel reshape squeeze transpose head tail
  parameters named_parameters state_dict numpy to_numpy detach cpu groupby rolling resample lazy]]
local DISPLAYS = set [[list tuple set dictionary pair expression_list boolean_operator parenthesized_expression
  conditional_expression list_splat argument_list dictionary_splat await]]
local COPYING = set "comparison_operator list binary_operator unary_operator boolean_operator"

---Whether a name is, as far as is known, neither an import nor a function or class of the notebook.
---@param parsed table
---@param name string
---@return boolean
function M.is_value(parsed, name)
  local learned = parsed.learned
  if not learned or learned.callables[name] then return true end
  return not (learned.imports[name] or learned.classes[name] or learned.functions[name] or learned.scalars[name])
end

local add_roots

-- A call of a function of the notebook: what it returns of what it is given, and of globals.
local function add_returned(parsed, call, known, roots)
  local tree = parsed.tree
  for name in pairs(known.returned_globals) do roots[#roots + 1] = name end
  local arguments = child(tree, call, "arguments")
  for argument in children(tree, arguments or call) do
    if tree.named[argument] then
      local keyword = tree.kind[argument] == "keyword_argument"
      local value = keyword and child(tree, argument, "value") or argument
      local key = argument_key(parsed, value)
      if known.returned[key] or key == "*" then add_roots(parsed, value, roots) end
    end
  end
end

local function add_call_roots(parsed, node, roots)
  local tree, learned = parsed.tree, parsed.learned
  local name, method = M.called(parsed, node)
  local arguments = child(tree, node, "arguments")
  local object = method and child(tree, child(tree, node, "function"), "object")
  if not name then
    if arguments then add_roots(parsed, arguments, roots) end
    local fn = child(tree, node, "function")
    if fn then add_roots(parsed, fn, roots) end
    return
  end
  if learned and not method and learned.callers[name] then return end
  local root = method and M.root_name(parsed, node) or name
  local known = learned and (method and learned.methods[name] or not method and learned.functions[name])
  if root == "super" and name == "__new__" then return end
  if learned and learned.imports[root] then
    if not SHARING[name] and not name:find "^%u" and not name:find "^make_" then return end
  elseif known then
    if object and known.returned.self then add_roots(parsed, object, roots) end
    if not method and learned.callables[name] then roots[#roots + 1] = name end
    -- A closure or an instance may hold whatever it was made with.
    if not method and learned.makers[name] and arguments then return add_roots(parsed, arguments, roots) end
    return add_returned(parsed, node, known, roots)
  elseif (method and PURE_METHODS[name] and not (learned and learned.figures[root]) or not method and PURE[name])
    and not HANDED_ON[name]
    and not VIEWS[name] then
    return
  end
  if object then add_roots(parsed, object, roots) end
  if arguments then add_roots(parsed, arguments, roots) end
  -- What a value is when it is called may be, or hold, what it holds itself.
  if learned and not method and not PURE[name] and not learned.imports[name] and not learned.classes[name] then
    roots[#roots + 1] = name
  end
end

local COMPREHENSIONS = set "list_comprehension dictionary_comprehension set_comprehension generator_expression"

-- Its elements may be, or hold, what its body names; a variable of its own stands for parts of what it
-- runs over.
local function add_comprehension_roots(parsed, node, roots)
  local tree, named, own = parsed.tree, {}, {}
  local body = child(tree, node, "body")
  if body then add_roots(parsed, body, named) end
  if #named == 0 then return end
  local is_named = {}
  for _, name in ipairs(named) do is_named[name] = true end
  for clause in children(tree, node) do
    local left = tree.kind[clause] == "for_in_clause" and child(tree, clause, "left")
    local runs_over = false
    for at = left or 1, left and tree.next[left] - 1 or 0 do
      if tree.kind[at] == "identifier" then
        own[text_of(parsed, at)] = true
        runs_over = runs_over or is_named[text_of(parsed, at)]
      end
    end
    if runs_over then add_roots(parsed, child(tree, clause, "right"), roots) end
  end
  for _, name in ipairs(named) do
    if not own[name] then roots[#roots + 1] = name end
  end
end

---Adds the names whose objects, or parts of them, the value of an expression may be or hold.
---@param parsed table
---@param node integer
---@param roots string[]
function M.add_roots(parsed, node, roots)
  local tree, kind = parsed.tree, parsed.tree.kind[node]
  if kind == "identifier" then
    roots[#roots + 1] = text_of(parsed, node)
  elseif kind == "attribute" then
    add_roots(parsed, child(tree, node, "object"), roots)
  elseif kind == "subscript" then
    local index = child(tree, node, "subscript")
    if not index or not COPYING[tree.kind[index]] then add_roots(parsed, child(tree, node, "value"), roots) end
  elseif kind == "keyword_argument" or kind == "named_expression" then
    local key = kind == "keyword_argument" and text_of(parsed, child(tree, node, "name"))
    if key ~= "key" then add_roots(parsed, child(tree, node, "value"), roots) end
  elseif kind == "call" then
    add_call_roots(parsed, node, roots)
  elseif kind == "lambda" then  -- it holds its defaults
    for parameter in children(tree, child(tree, node, "parameters") or node) do
      local value = child(tree, parameter, "value")
      if value then add_roots(parsed, value, roots) end
    end
  elseif kind == "assignment" then  -- a = b = value
    add_roots(parsed, child(tree, node, "left"), roots)
    local right = child(tree, node, "right")
    if right then add_roots(parsed, right, roots) end
  elseif COMPREHENSIONS[kind] then
    add_comprehension_roots(parsed, node, roots)
  elseif DISPLAYS[kind] then
    for part in children(tree, node) do
      if tree.named[part] then add_roots(parsed, part, roots) end
    end
  end
end
add_roots = M.add_roots

local LAZY = set "map filter"

-- Whether the value of a call may hold the functions among its arguments.
local function holds_arguments(parsed, call)
  local name, method = M.called(parsed, call)
  local learned = parsed.learned
  if not name or not learned then return true end
  local root = method and M.root_name(parsed, call) or name
  if learned.imports[root] then return SHARING[name] or name:find "^%u" ~= nil end
  if method then return not PURE_METHODS[name] and not CHANGING[name] end
  return not PURE[name] or LAZY[name] or false
end

---Whether a function at a node may be, or be held by, the value of the expression `top`: not when it is
---only an argument of a call that is done with it.
---@param parsed table
---@param node integer
---@param top integer
---@return boolean
function M.escapes(parsed, node, top)
  local tree, at = parsed.tree, node
  while at > top do
    local parent = tree.parent[at]
    if tree.kind[at] == "argument_list" and not holds_arguments(parsed, parent) then return false end
    at = parent
  end
  return true
end

-- What a change of one name of a pair means for the other: whether it changes, and in what it holds.
-- {a, b}: a is b ("same"), a part of b ("part"), or holds b ("holds"); without a kind, any of them.
---@param kind string?
---@param forward boolean it is a that changes
---@param deep boolean? in what it holds
---@return boolean? passed
---@return boolean? deep
function M.passes(kind, forward, deep)
  if kind == "same" then return true, deep end
  if kind == "part" and forward or kind == "holds" and not forward then return true, true end
  if kind == "part" or kind == "holds" then return deep, deep end
  return true, true
end

---A change of one name is a change of those that may share its object.
---@param found table<string, "strong"|"weak">
---@param aliases table[] pairs of names, with a kind
---@param deep table<string, boolean>? names of which what they hold changes
function M.spread(found, aliases, deep)
  deep = deep or {}
  local more = #aliases > 0
  while more do
    more = false
    for _, pair in ipairs(aliases) do
      for i = 1, 2 do
        local name, other = pair[i], pair[3 - i]
        local change = found[name]
        local passed, is_deep = false, false
        if change then passed, is_deep = M.passes(pair.kind, i == 1, deep[name]) end
        if passed and found[other] ~= change and found[other] ~= "strong" then
          found[other] = change
          more = true
        end
        if passed and is_deep and not deep[other] then
          deep[other] = true
          more = true
        end
      end
    end
  end
end

-- Pairs of names, local ones too, that statements below a node make share an object.
local function pairs_below(parsed, node)
  local tree, pairs_found = parsed.tree, {}
  for at = node, tree.next[node] - 1 do
    local kind = tree.kind[at]
    if kind == "assignment" or kind == "for_statement" or kind == "for_in_clause" then
      local left, right = child(tree, at, "left"), child(tree, at, "right")
      local roots = {}
      if right then add_roots(parsed, right, roots) end
      for target = left, tree.next[left] - 1 do
        if tree.kind[target] == "identifier" and tree.field[target] ~= "attribute" then
          for _, root in ipairs(roots) do
            if M.is_value(parsed, root) then pairs_found[#pairs_found + 1] = { text_of(parsed, target), root } end
          end
        end
      end
    end
  end
  return pairs_found
end

---All names below a node whose value may be changed in place there: globals and local ones.
---@param parsed table
---@param node integer
---@return table<string, "strong"|"weak">
function M.within(parsed, node)
  parsed.within = parsed.within or {}
  if parsed.within[node] then return parsed.within[node] end
  local tree, found = parsed.tree, {}
  for at = node, tree.next[node] - 1 do
    if tree.kind[at] == "identifier" then
      local change = M.change_at(parsed, at)
      local name = change and text_of(parsed, at)
      if name and found[name] ~= "strong" then found[name] = change end
    end
  end
  M.spread(found, pairs_below(parsed, node))
  parsed.within[node] = found
  return found
end

---The names whose values an augmented assignment to a local name below a node may change: w of w -= rate, and weights
---of for w in weights.
---@param parsed table
---@param node integer
---@return table<string, "strong"|"weak">
function M.updated(parsed, node)
  local tree, found = parsed.tree, {}
  for at = node, tree.next[node] - 1 do
    local left = tree.kind[at] == "augmented_assignment" and child(tree, at, "left")
    if left and tree.kind[left] == "identifier" and not parsed.at[left] then found[text_of(parsed, left)] = "strong" end
  end
  if next(found) then M.spread(found, pairs_below(parsed, node)) end
  return found
end

---The names that statements below a node make share an object with one.
---@param parsed table
---@param node integer
---@param name string
---@return table<string, "weak">
function M.sharing(parsed, node, name)
  local found = { [name] = "weak" }
  local tree = parsed.tree
  local pairs_found = pairs_below(parsed, node)
  for at = node, tree.next[node] - 1 do
    if tree.kind[at] == "call" and M.keeps_what_it_gets(parsed, (M.called(parsed, at))) then
      local root, roots = M.root_name(parsed, at), {}
      add_roots(parsed, child(tree, at, "arguments") or at, roots)
      for _, other in ipairs(roots) do pairs_found[#pairs_found + 1] = { root, other } end
    end
  end
  M.spread(found, pairs_found)
  return found
end

---The names that a function's return and yield statements may give objects of.
---@param parsed table
---@param node integer
---@return table<string, boolean>
function M.returned(parsed, node)
  local tree, found = parsed.tree, {}
  for at = node, tree.next[node] - 1 do
    if tree.kind[at] == "return_statement" or tree.kind[at] == "yield" then
      local roots = {}
      for part in children(tree, at) do
        if tree.named[part] then add_roots(parsed, part, roots) end
      end
      for _, root in ipairs(roots) do found[root] = "weak" end
    end
  end
  M.spread(found, pairs_below(parsed, node))
  return found
end

return M
