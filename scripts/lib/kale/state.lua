-- What a step leaves that is no name's value: random numbers, the environment, settings of modules,
-- attributes of classes. It does not cross, and every such use is said.
-- Not for names: see kale.analysis.
--   state.report(layout, report)
local changes = require "kale.changes"
local nodes = require "kale.nodes"

local text_of, child, place_of = nodes.text, nodes.child, nodes.place

local M = {}

local function set(text)
  local result = {}
  for name in text:gmatch "%S+" do result[name] = true end
  return result
end

-- What calls change, by the path of what is called; "any": every later step may see it, "random": one
-- that draws random numbers, else one that uses the module.
local CALLS = {
  ["random.seed"] = { "the seed of random numbers", "random" }, ["random.setstate"] = { "the random state", "random" },
  ["numpy.random.seed"] = { "the seed of random numbers", "random" },
  ["numpy.random.set_state"] = { "the random state", "random" },
  ["torch.manual_seed"] = { "the seed of random numbers", "random" },
  ["torch.cuda.manual_seed_all"] = { "the seed of random numbers", "random" },
  ["tensorflow.random.set_seed"] = { "the seed of random numbers", "random" },
  ["tensorflow.set_random_seed"] = { "the seed of random numbers", "random" },
  ["keras.utils.set_random_seed"] = { "the seed of random numbers", "random" },
  ["os.chdir"] = { "the working directory", "any" }, ["os.putenv"] = { "the environment", "any" },
  ["os.environ.update"] = { "the environment", "any" }, ["os.environ.setdefault"] = { "the environment", "any" },
  ["os.environ.pop"] = { "the environment", "any" }, ["os.umask"] = { "the file mask", "any" },
  ["sys.path.append"] = { "sys.path", "any" }, ["sys.path.insert"] = { "sys.path", "any" },
  ["sys.path.extend"] = { "sys.path", "any" }, ["sys.setrecursionlimit"] = { "the recursion limit", "any" },
  ["warnings.filterwarnings"] = { "the filter of warnings", "any" },
  ["warnings.simplefilter"] = { "the filter of warnings", "any" },
  ["logging.basicConfig"] = { "the configuration of logging" }, ["locale.setlocale"] = { "the locale", "any" },
  ["importlib.reload"] = { "a module", "any" },
}
-- Functions of any module that change its settings.
local SETTINGS = set [[set_option reset_option set_printoptions set_style set_theme set_context set_palette use
  rc rcParams set_default_dtype set_default_tensor_type set_float32_matmul_precision enable_eager_execution
  set_verbosity set_log_level set_start_method setdefaulttimeout setLevel register install addLevelName
  getcontext setcontext seterr set_backend set_loglevel extension set_config]]
local RANDOM = set [[random randint randn rand choice choices shuffle sample permutation normal uniform fit
  fit_transform fit_predict train_test_split randperm make_classification make_regression make_blobs cross_val_score
  standard_normal binomial poisson gauss randrange getrandbits]]
-- Methods of a logger that change it; it goes to other steps by its name.
local LOGGER = set "setLevel addHandler removeHandler addFilter removeFilter"
-- Modules whose settings show wherever their values do.
local SHOWN = set "pandas numpy polars torch"
-- Modules that work on the same state.
local SAME_STATE = { seaborn = "matplotlib", pylab = "matplotlib", mpl_toolkits = "matplotlib" }
local RANDOM_MODULES = set "random torch tensorflow keras xgboost lightgbm sklearn"

-- The path of what is called or stored, with the module's own name: numpy.random.seed for np.random.seed.
local function path_of(parsed, node)
  local tree, at = parsed.tree, node
  while tree.kind[at] ~= "identifier" do
    at = child(tree, at, "object") or child(tree, at, "value") or child(tree, at, "function")
    if not at then return nil end
  end
  local name = text_of(parsed, at)
  local module = parsed.learned.modules[name]
  if not module then return nil end
  local rest = parsed.python:sub(tree.last[at] + 1, tree.last[node]):gsub("%b[]", ""):gsub("%b()", ""):gsub("%s", "")
  return module .. rest, module, name
end

-- The module whose state a use or a change of it concerns.
local function owner_of(module)
  local top = module:match "^[%w_]+"
  return SAME_STATE[top] or top
end

-- Whether a name at the node is the module's, not a local one of a function.
local function is_global(parsed, node)
  local tree, at = parsed.tree, node
  while tree.kind[at] ~= "identifier" do
    at = child(tree, at, "object") or child(tree, at, "value") or child(tree, at, "function")
    if not at then return false end
  end
  return parsed.at[at] ~= nil
end

-- Whether an attribute is that of a logger.
local function is_logger(parsed, node)
  local object = parsed.tree.kind[node] == "attribute" and child(parsed.tree, node, "object")
  return object and parsed.learned.loggers[text_of(parsed, object)] == true and is_global(parsed, node)
end

-- What a line magic or a shell line leaves behind.
local function effect_of_magic(parsed, call)
  local text = text_of(parsed, call)
  local name, rest = text:match "^get_ipython%(%)%.run_line_magic%('([%w_]+)', '(.*)'%)$"
  if name == "cd" then return { "the working directory", "any" } end
  if (name == "env" or name == "set_env") and rest:find "[= ]" then return { "the environment", "any" } end
  local command = name == "pip" and "pip " .. rest or text:match "^get_ipython%(%)%.system%('(.*)'%)$"
  if command and (command:find "pip3? install" or command:find "conda install" or command:find "apt%-get install"
    or command:find "apt install") then
    return { "what is installed", "any" }
  end
end

-- Effects of one cell: {what, watch, parsed, node}.
local function find_effects(parsed, found)
  local tree = parsed.tree
  for node = 1, tree.count do
    local kind = tree.kind[node]
    if kind == "call" then
      local fn = child(tree, node, "function")
      local path, module = path_of(parsed, fn)
      local rule = path and CALLS[path]
      if not rule and path and is_global(parsed, fn) and path ~= module and SETTINGS[path:match "[%w_]+$"] then
        rule = { ("the settings of '%s'"):format(module), SHOWN[owner_of(module)] and "any" }
      end
      if not rule and is_logger(parsed, fn) and LOGGER[changes.called(parsed, node)] then
        rule = { "the configuration of logging", "logging" }
      end
      if not rule then rule = effect_of_magic(parsed, node) end
      if rule then
        found[#found + 1] = { what = rule[1], watch = rule[2] or owner_of(module), parsed = parsed, node = node }
      end
    elseif kind == "assignment" or kind == "augmented_assignment" or kind == "delete_statement" then
      local left = child(tree, node, "left") or node + 2
      if left <= tree.count and (tree.kind[left] == "attribute" or tree.kind[left] == "subscript") then
        local path, module = path_of(parsed, left)
        if is_logger(parsed, left) and tree.kind[left] == "attribute" then
          path, module = "logging.logger", "logging"
        end
        if path and is_global(parsed, left) then
          local environment = path:find "^os%.environ"
          found[#found + 1] = {
            what = environment and "the environment" or ("the state of '%s'"):format(module),
            watch = (environment or SHOWN[owner_of(module)]) and "any" or owner_of(module), parsed = parsed,
            node = node,
          }
        end
      end
    end
  end
end

-- What of modules the cells of a step use.
local function find_uses(parsed, uses)
  local tree = parsed.tree
  for node = 1, tree.count do
    if tree.kind[node] == "identifier" and parsed.at[node] then
      local name = text_of(parsed, node)
      local module = parsed.learned.modules[name]
      if parsed.learned.loggers[name] then uses.logging = true end
      if module then
        uses[owner_of(module)] = true
        if RANDOM_MODULES[module:match "^[%w_]+"] then uses.random = true end
      end
    elseif tree.kind[node] == "call" then
      if RANDOM[changes.called(parsed, node)] then uses.random = true end
    end
  end
end

local DYNAMIC = { globals = true, locals = true, vars = true, dir = true, exec = true, eval = true }

-- Names that are looked up or made by their text.
local function find_dynamic(parsed, report)
  local tree = parsed.tree
  for node = 1, tree.count do
    local fn = tree.kind[node] == "call" and child(tree, node, "function")
    local name = fn and tree.kind[fn] == "identifier" and parsed.at[fn] and text_of(parsed, fn)
    if name and DYNAMIC[name] then
      local arguments = child(tree, node, "arguments")
      local empty = not arguments or tree.next[arguments] - arguments <= 3
      if name ~= "vars" and name ~= "dir" or empty then
        local place = place_of(parsed, node)
        place.name = name
        report("dynamic-names", place)
      end
    end
  end
end

-- For each kind of use, the last step with one.
local function last_uses(steps)
  local last, first = {}, {}
  for i, step in ipairs(steps) do
    local uses = { any = true }
    for _, cell in ipairs(step.cells) do find_uses(cell.parsed, uses) end
    for kind in pairs(uses) do
      last[kind] = i
      first[kind] = first[kind] or {}
      table.insert(first[kind], i)
    end
  end
  return last, first
end

local function report_effects(steps, report)
  local last, users = last_uses(steps)
  for i, step in ipairs(steps) do
    local found = {}
    for _, cell in ipairs(step.cells) do
      find_effects(cell.parsed, found)
      find_dynamic(cell.parsed, report)
    end
    for _, effect in ipairs(found) do
      if (last[effect.watch] or 0) > i then
        local later
        for _, number in ipairs(users[effect.watch]) do
          if number > i then
            later = steps[number].name
            break
          end
        end
        local place = place_of(effect.parsed, effect.node)
        place.what, place.step, place.later = effect.what, step.name, later
        report("state-stays", place)
      end
    end
  end
end

-- Classes whose attributes are set where they are used: objects that other steps have do not see it.
local function report_classes(steps, report)
  for _, step in ipairs(steps) do
    for _, definition in ipairs(step.summary.all_definitions) do
      if definition.kind == "class" and definition.changed then
        report("class-state", { cell = definition.piece.cell, line = definition.piece.line, column = 1,
          name = definition.name })
      end
    end
  end
end

-- Functions that remember what they gave: in another step they begin anew, and do again what they do.
local function report_caches(steps, report)
  for _, step in ipairs(steps) do
    for _, definition in ipairs(step.summary.all_definitions) do
      for i = step.number + 1, definition.cached and #steps or 0 do
        local crossing = steps[i].crossing[definition.name]
        if crossing then
          report("state-stays", { cell = definition.piece.cell, line = definition.piece.line, column = 1,
            what = ("the cache of '%s'"):format(definition.name), later = steps[i].name })
          break
        end
      end
    end
  end
end

---@param layout table of kale.cells, analysed
---@param report fun(code: string, fields: table)
function M.report(layout, report)
  report_effects(layout.steps, report)
  report_caches(layout.steps, report)
  if #layout.steps > 1 then report_classes(layout.steps, report) end
end

return M
