-- What a step leaves that is no name's value: random numbers, the environment, settings of modules,
-- attributes of classes. It does not cross, and every such use is said.
-- Not for names: see kale.analysis.
--   state.report(layout, report)
local changes = require "kale.changes"
local files = require "kale.files"
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
-- Methods that begin a context by hand.
local OPENING = set "__enter__ __aenter__ enter_context enter_async_context"
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
  local name, rest = text:match "^get_ipython%(%)%.run_line_magic%('([%w_]+)', '(.*)'[,)]"
  if name == "cd" then return "the working directory", "any" end
  if (name == "env" or name == "set_env") and rest:find "[= ]" then return "the environment", "any" end
  local command = name == "pip" and "pip " .. rest or text:match "^get_ipython%(%)%.system%('(.*)'[,)]"
  if command and (command:find "pip3? install" or command:find "conda install" or command:find "apt%-get install"
    or command:find "apt install") then
    return "what is installed", "any"
  end
end

-- --- what one cell does ----------------------------------------------------------------------------------

local function add(scan, parsed, node, what, watch)
  table.insert(scan.effects, { what = what, watch = watch, parsed = parsed, node = node })
end

local ASKS = { input = true, getpass = true, breakpoint = true }
local NAMING = { who = true, whos = true, who_ls = true }
local DYNAMIC = { globals = true, locals = true, vars = true, dir = true, exec = true, eval = true }

-- The magic of a call that lists what names there are.
local function names_magic(parsed, call, name)
  if name ~= "run_line_magic" then return nil end
  local magic = text_of(parsed, call):match "^get_ipython%(%)%.run_line_magic%('([%w_]+)'"
  return NAMING[magic] and "%" .. magic or nil
end

-- Whether a call looks names up, or makes them, by their text.
local function is_dynamic(parsed, call, fn, name)
  if not DYNAMIC[name] or parsed.tree.kind[fn] ~= "identifier" or not parsed.at[fn] then return false end
  local arguments = child(parsed.tree, call, "arguments")
  local empty = not arguments or parsed.tree.next[arguments] - arguments <= 3
  return name ~= "vars" and name ~= "dir" or empty
end

-- The rule for a call: what it changes, and who looks at that.
local function rule_of(parsed, call, fn, name)
  local path, module = path_of(parsed, fn)
  if path then
    local rule = CALLS[path]
    if rule then return rule[1], rule[2] or owner_of(module) end
    if path ~= module and SETTINGS[name] and is_global(parsed, fn) then
      return ("the settings of '%s'"):format(module), SHOWN[owner_of(module)] and "any" or owner_of(module)
    end
  end
  if OPENING[name] and is_global(parsed, fn) then
    return ("the context of '%s'"):format(changes.root_name(parsed, call)), "any"
  end
  if LOGGER[name] and is_logger(parsed, fn) then return "the configuration of logging", "logging" end
  if parsed.calls_shell then return effect_of_magic(parsed, call) end
end

-- What nodes of each kind do: functions of (scan, parsed, node).
local VISIT = {}

function VISIT.call(scan, parsed, node)
  local fn, name = child(parsed.tree, node, "function"), changes.called(parsed, node)
  if not fn then return end
  if ASKS[name] and parsed.tree.kind[fn] == "identifier" and parsed.at[fn] then
    scan.asks[#scan.asks + 1] = { name = name, node = node, parsed = parsed }
  end
  if RANDOM[name] then scan.uses.random = true end
  if is_dynamic(parsed, node, fn, name) then scan.dynamic[#scan.dynamic + 1] = { node, text_of(parsed, fn) .. "()" } end
  local magic = names_magic(parsed, node, name)
  if magic then scan.dynamic[#scan.dynamic + 1] = { node, magic } end
  local what, watch = rule_of(parsed, node, fn, name)
  if what then add(scan, parsed, node, what, watch) end
  local written = files.written(parsed, node, name)
  if next(written) then scan.writing, scan.writing_until = written, parsed.tree.next[node] end
  for text in pairs(written) do
    table.insert(scan.effects, { file = text, watch = "file " .. text, parsed = parsed, node = node })
  end
end

function VISIT.assignment(scan, parsed, node)
  local tree = parsed.tree
  local left = child(tree, node, "left") or node + 2
  if left > tree.count or tree.kind[left] ~= "attribute" and tree.kind[left] ~= "subscript" then return end
  if is_logger(parsed, left) then return add(scan, parsed, node, "the configuration of logging", "logging") end
  local path, module = path_of(parsed, left)
  if not path or not is_global(parsed, left) then return end
  if path:find "^os%.environ" then return add(scan, parsed, node, "the environment", "any") end
  local owner = owner_of(module)
  add(scan, parsed, node, ("the state of '%s'"):format(module), SHOWN[owner] and "any" or owner)
end
VISIT.augmented_assignment, VISIT.delete_statement = VISIT.assignment, VISIT.assignment

function VISIT.identifier(scan, parsed, node)
  if not parsed.at[node] then return end
  local name, learned = text_of(parsed, node), parsed.learned
  local module = learned.modules[name]
  if learned.loggers[name] then scan.uses.logging = true end
  if not module then return end
  scan.uses[owner_of(module)] = true
  if RANDOM_MODULES[module:match "^[%w_]+"] then scan.uses.random = true end
end

function VISIT.string_content(scan, parsed, node)
  local text = text_of(parsed, node)
  if not files.is_name(text) or node < scan.writing_until and scan.writing[text] then return end
  scan.uses["file " .. text] = true
end

-- What a step does to state, and what of it its cells look at: {effects, uses, dynamic}.
local function scan_step(step, report)
  local scan = { effects = {}, uses = { any = true }, dynamic = {}, asks = {} }
  for _, cell in ipairs(step.cells) do
    local parsed = cell.parsed
    local tree = parsed.tree
    local kinds = tree.kind
    scan.writing_until = 0
    parsed.calls_shell = parsed.python:find("get_ipython", 1, true) ~= nil
    for node = 1, tree.count do
      local visit = VISIT[kinds[node]]
      if visit then visit(scan, parsed, node) end
    end
    for _, found in ipairs(scan.dynamic) do
      local place = place_of(parsed, found[1])
      place.name = found[2]
      report("dynamic-names", place)
    end
    scan.dynamic = {}
  end
  for _, ask in ipairs(scan.asks) do
    if not step.summary.stores[ask.name] and not step.crossing[ask.name] then
      local place = place_of(ask.parsed, ask.node)
      place.name = ask.name
      report("asks-person", place)
    end
  end
  return scan
end

-- --- who sees it -------------------------------------------------------------------------------------------

-- For each kind of use, the steps with one, in order.
local function users_of(scans)
  local users = {}
  for i, scan in ipairs(scans) do
    for kind in pairs(scan.uses) do
      users[kind] = users[kind] or {}
      table.insert(users[kind], i)
    end
  end
  return users
end

local function first_after(list, i)
  if not list or list[#list] <= i then return nil end
  for _, number in ipairs(list) do
    if number > i then return number end
  end
end

local function report_effects(steps, report, is_shared)
  local scans = {}
  for i, step in ipairs(steps) do scans[i] = scan_step(step, report) end
  local users = users_of(scans)
  for i, scan in ipairs(scans) do
    for _, effect in ipairs(scan.effects) do
      local module = effect.file and effect.file:match "^([%a_][%w_]*)%.py$"
      local later = first_after(users[effect.watch], i) or module and first_after(users[module], i)
      if later and not (effect.file and is_shared) then
        local place = place_of(effect.parsed, effect.node)
        place.what, place.text, place.step, place.later = effect.what, effect.file, steps[i].name, steps[later].name
        report(effect.file and "file-stays" or "state-stays", place)
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
---@param is_shared boolean? the steps' working directory is on a volume
function M.report(layout, report, is_shared)
  report_effects(layout.steps, report, is_shared)
  report_caches(layout.steps, report)
  if #layout.steps > 1 then report_classes(layout.steps, report) end
end

return M
