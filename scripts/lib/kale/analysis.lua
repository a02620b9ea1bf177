-- The room where names find their makers: which names cross from step to step, and how.
-- Not for Python's grammar (kale.source) and not for KFP (kale.ir).
--   analysis.resolve(layout, params, report) -> steps with after, ins, outs, setup …
local changes = require "kale.changes"
local diagnostics = require "kale.diagnostics"
local source = require "kale.source"

local at = diagnostics.at

local M = {}

-- Names that every step has: Python's builtins and what IPython adds.
local BUILTINS = {}
for name in ([[__name__ __doc__ __file__ __builtins__ __spec__ __package__ __loader__ __import__ __build_class__
  __debug__
  ArithmeticError AssertionError AttributeError BaseException BaseExceptionGroup BlockingIOError BrokenPipeError
  BufferError BytesWarning ChildProcessError ConnectionAbortedError ConnectionError ConnectionRefusedError
  ConnectionResetError DeprecationWarning EOFError Ellipsis EncodingWarning EnvironmentError Exception
  ExceptionGroup False FileExistsError FileNotFoundError FloatingPointError FutureWarning GeneratorExit IOError
  ImportError ImportWarning IndentationError IndexError InterruptedError IsADirectoryError KeyError
  KeyboardInterrupt LookupError MemoryError ModuleNotFoundError NameError None NotADirectoryError NotImplemented
  NotImplementedError OSError OverflowError PendingDeprecationWarning PermissionError ProcessLookupError
  RecursionError ReferenceError ResourceWarning RuntimeError RuntimeWarning StopAsyncIteration StopIteration
  SyntaxError SyntaxWarning SystemError SystemExit TabError TimeoutError True TypeError UnboundLocalError
  UnicodeDecodeError UnicodeEncodeError UnicodeError UnicodeTranslateError UnicodeWarning UserWarning ValueError
  Warning ZeroDivisionError abs aiter all anext any ascii bin bool breakpoint bytearray bytes callable chr
  classmethod compile complex copyright credits delattr dict dir divmod enumerate eval exec exit filter float
  format frozenset getattr globals hasattr hash help hex id input int isinstance issubclass iter len license
  list locals map max memoryview min next object oct open ord pow print property quit range repr reversed round
  set setattr slice sorted staticmethod str sum super tuple type vars zip
  display get_ipython In Out _ __ ___ _i __class__]]):gmatch "%S+" do BUILTINS[name] = true end

-- --- sets of steps as bits ---------------------------------------------------------------------------

local function has_bit(set, i)
  local word = set[i // 63 + 1]
  return word ~= nil and word & (1 << i % 63) ~= 0
end

local function add_bit(set, i)
  local word = i // 63 + 1
  for k = #set + 1, word do set[k] = 0 end
  set[word] = set[word] | 1 << i % 63
end

local function add_all(set, other)
  for k = #set + 1, #other do set[k] = 0 end
  for k, word in ipairs(other) do set[k] = set[k] | word end
end

-- --- makers of a name ----------------------------------------------------------------------------------

-- The steps that may hold the last value of each name, in the order of steps. Three levels: those
-- that store it, those that surely change it in place, those that may.
local LEVELS = { store = 1, strong = 2, weak = 3 }

local Makers = {}
Makers.__index = Makers

local function new_makers()
  return setmetatable({ {}, {}, {} }, Makers)
end

-- Notes the step at its level and those above; `total`: it comes after all earlier ones in the list.
function Makers:add(name, step, level)
  for i = LEVELS[level], 3 do
    local list = self[i][name]
    if not list then
      list = {}
      self[i][name] = list
    end
    local last = list[#list]
    if not last or last.step ~= step then
      list[#list + 1] = {
        step = step, total = not last or last.total and has_bit(step.ancestors, last.step.number),
      }
    end
  end
end

-- The one maker before `step` that comes after all others before it; or nil and two that do not.
function Makers:latest(name, step, level)
  local list = self[level][name] or {}
  for i = #list, 1, -1 do
    local maker = list[i]
    if has_bit(step.ancestors, maker.step.number) then
      if maker.total then return maker.step end
      for k = i - 1, 1, -1 do
        local other = list[k].step
        if has_bit(step.ancestors, other.number) and not has_bit(maker.step.ancestors, other.number) then
          return nil, maker.step, other
        end
      end
      return maker.step
    end
  end
  return nil
end

-- --- resolving one step ----------------------------------------------------------------------------------

local Resolver = {}
Resolver.__index = Resolver

function Resolver:complain(code, step, need, fields)
  local place = need.cell and need or { cell = step.cells[1].number }
  self.report(code, at(place, fields))
end

-- A defined name within two letters of the wanted one.
function Resolver:near(name)
  local best, best_distance
  local function try(candidate)
    if math.abs(#candidate - #name) > 1 or candidate == name then return end
    local differ = 0
    for i = 1, math.max(#name, #candidate) do
      if name:byte(i) ~= candidate:byte(i) then differ = differ + 1 end
    end
    if candidate:lower() == name:lower() then differ = 0 end
    local sorted_a, sorted_b = { name:byte(1, -1) }, { candidate:byte(1, -1) }
    table.sort(sorted_a)
    table.sort(sorted_b)
    if #name == #candidate and table.concat(sorted_a, ",") == table.concat(sorted_b, ",") then differ = 1 end
    if differ <= 1 and (not best or differ < best_distance or differ == best_distance and candidate < best) then
      best, best_distance = candidate, differ
    end
  end
  for candidate in pairs(self.everything) do try(candidate) end
  return best and ("did you mean '%s'?"):format(best) or nil
end

-- The step that the value of a name comes from; complains when there is no single one.
function Resolver:maker(step, name, need)
  local makers = self.makers
  local maker, one = makers:latest(name, step, LEVELS.weak)
  if maker or not one then return maker end
  local changed
  maker, changed = makers:latest(name, step, LEVELS.strong)
  if maker then return maker end
  local other
  maker, one, other = makers:latest(name, step, LEVELS.store)
  if maker then
    self:complain("lost-change", step, need, { name = name, from = changed.name })
    return maker
  end
  if one then
    if need.soft then return one end
    self:complain("two-producers", step, need, { name = name, from = other.name, other = one.name })
    return one
  end
  return nil
end

local function want(step, name, need)
  local known = step.wanted[name]
  if known then
    known.soft = known.soft and need.soft
    return
  end
  step.wanted[name] = at(need, { soft = need.soft, late = need.late })
  step.queue[#step.queue + 1] = name
end

-- What a definition needs where it is made again.
local function want_definition(step, definition)
  for name in pairs(definition.head) do
    if name ~= definition.name then want(step, name, { soft = false }) end
  end
  for name, place in pairs(definition.late) do
    if name ~= definition.name and not step.summary.assigned[name] then
      want(step, name, at(place, { soft = true, late = true }))
    end
  end
end

local function add_piece(step, piece)
  local key = piece.cell .. ":" .. piece.first
  if step.pieces[key] then return end
  step.pieces[key] = piece
  step.setup[#step.setup + 1] = piece
end

-- Statements of the imports and functions cells.
local function use_setup(step, statement, setup)
  if step.used[statement] then return end
  step.used[statement] = true
  add_piece(step, statement.piece)
  local summary = statement.summary
  for name, need in pairs(summary.needs) do
    if not BUILTINS[name] or setup[name] then
      want(step, name, at(need, { soft = false }))
    end
  end
  for _, late in pairs(summary.late_of) do
    for name, place in pairs(late) do
      if not step.summary.assigned[name] and not summary.stores[name] then
        want(step, name, at(place, { soft = true, late = true }))
      end
    end
  end
  for name, place in pairs(summary.late) do
    want(step, name, at(place, { soft = true, late = true }))
  end
end

-- A name made by an earlier step: its definition is made again here, or its value comes in.
local function cross(step, name, maker, how)
  local definition = maker.summary.definitions[name]
  step.sources[name] = how
  if definition and definition.kind == "import" then
    add_piece(step, definition.piece)
    return
  end
  step.crossing[name] = { from = maker, how = how, why = definition and definition.kind or nil }
  maker.outgoing[name] = true
  if how == "definition" then
    add_piece(step, definition.piece)
    want_definition(step, definition)
  end
end

-- What the functions inside a value read when they are called: lambdas, and closures that a function
-- of the notebook made.
local function want_held(step, name, first, setup)
  local function want_all(late)
    for wanted, place in pairs(late or {}) do
      if not step.summary.assigned[wanted] then want(step, wanted, at(place, { soft = true, late = true })) end
    end
  end
  local held = first.summary.holds[name]
  if not held then return end
  want_all(held.late)
  for fn in pairs(held.made_by) do
    local crossing = first.crossing[fn]
    want_all((crossing and crossing.from or first).summary.late_of[fn])
    for _, statement in ipairs(setup[fn] or {}) do want_all(statement.summary.late_of[fn]) end
  end
end

-- Where a definition was first made, however many steps handed it on.
local function origin(maker, name)
  while not maker.summary.stores[name] and maker.crossing[name] do maker = maker.crossing[name].from end
  return maker
end

function Resolver:from_steps(step, name, need)
  local maker = self:maker(step, name, need)
  if not maker then return false end
  local first = origin(maker, name)
  local definition = first.summary.definitions[name]
  if definition and definition.why and not definition.told then
    definition.told = true
    local place = { cell = definition.piece.cell, line = definition.piece.line, column = 1 }
    self:complain("function-by-value", first, place, { name = name, why = definition.why })
  end
  if definition and (not definition.why or definition.kind == "class") then
    cross(step, name, first, "definition")
  else
    cross(step, name, maker, "value")
    want_held(step, name, first, self.setup)
  end
  return true
end

-- A name that nothing before the step makes.
function Resolver:missing(step, name, need)
  if need.soft and not need.late then return end
  for _, other in ipairs(self.steps) do
    if other ~= step and other.summary.stores[name] then
      if need.late and not other.summary.assigned[name] then return end
      self:complain("missing-edge", step, need, { name = name, from = other.name })
      return
    end
  end
  if #step.summary.stars > 0 or #self.stars > 0 then
    step.sources[name] = "star import"
    return
  end
  if need.late and (step.summary.stores[name] or step.summary.late_stores[name]) then return end
  self:complain(need.late and "undefined-in-function" or "undefined-name", step, need,
    { name = name, near = self:near(name) })
end

function Resolver:resolve_name(step, name, need)
  if self:from_steps(step, name, need) then return end
  local statements = self.setup[name]
  if statements then
    for _, statement in ipairs(statements) do use_setup(step, statement, self.setup) end
    step.sources[name] = "setup"
  elseif self.params[name] then
    step.params[name] = true
    step.sources[name] = "parameter"
  elseif not BUILTINS[name] then
    self:missing(step, name, need)
  end
end

-- Names that the step's functions read when they are called, if they are called here.
local function want_late(step)
  local summary, seen = step.summary, {}
  local function follow(late)
    for name, place in pairs(late) do
      if not seen[name] then
        seen[name] = true
        if not summary.assigned[name] then
          want(step, name, at(place, { soft = true, late = true }))
        end
        if summary.late_of[name] then follow(summary.late_of[name]) end
      end
    end
  end
  follow(summary.late)
  for name, late in pairs(summary.late_of) do
    if summary.reads[name] then follow(late) end
  end
end

-- All names that may share an object with one of `names`, by what earlier steps did.
function Resolver:relatives(names)
  local found, queue = {}, names
  for _, name in ipairs(names) do found[name] = true end
  local i = 1
  while i <= #queue do
    for other in pairs(self.aliases[queue[i]] or {}) do
      if not found[other] then
        found[other] = true
        queue[#queue + 1] = other
      end
    end
    i = i + 1
  end
  return queue
end

function Resolver:resolve_queue(step)
  table.sort(step.queue)
  local done = 0
  while done < #step.queue do
    done = done + 1
    local name = step.queue[done]
    self:resolve_name(step, name, step.wanted[name])
  end
  step.queue = {}
end

-- What shares an object with a value that is changed here comes in, too, when it is wanted later:
-- so it is handed on changed, and still shares the object.
function Resolver:want_relatives(step)
  local changed = {}
  for name, change in pairs(step.summary.changes) do
    if change == "strong" and step.sources[name] == "value" then changed[#changed + 1] = name end
  end
  if #changed == 0 then return end
  for _, name in ipairs(self:relatives(changed)) do
    local later = self.later_reads[name]
    if step.sources[name] == "value" then
      step.summary.changes[name] = "strong"
    elseif later and later > step.number and not step.wanted[name] and not step.summary.stores[name] then
      want(step, name, { soft = true })
      step.summary.changes[name] = "strong"
    end
  end
  self:resolve_queue(step)
end

-- Instances are unpickled by reference: a step that loads values gets every class that they could be
-- of, those of the setup cells and of the steps before it.
function Resolver:add_classes(step)
  local loads = false
  for _, crossing in pairs(step.crossing) do loads = loads or crossing.how == "value" end
  if not loads then return end
  for _, statement in ipairs(self.classes) do use_setup(step, statement, self.setup) end
  for _, earlier in ipairs(self.with_classes) do
    if has_bit(step.ancestors, earlier.number) then
      for _, definition in pairs(earlier.summary.definitions) do
        if definition.kind == "class" then
          add_piece(step, definition.piece)
          want_definition(step, definition)
        end
      end
    end
  end
  self:resolve_queue(step)
end

function Resolver:add_alias(a, b)
  self.aliases[a] = self.aliases[a] or {}
  self.aliases[a][b] = true
end

function Resolver:step(step)
  local summary = step.summary
  for name, need in pairs(summary.needs) do want(step, name, need) end
  want_late(step)
  -- What a step stores only perhaps may have to keep its old value, if somebody wants it later.
  for name in pairs(summary.maybe) do
    if not summary.assigned[name] and self.later_reads[name] and self.later_reads[name] > step.number then
      want(step, name, { soft = true })
    end
  end
  for _, statement in ipairs(self.always) do use_setup(step, statement, self.setup) end
  self:resolve_queue(step)
  self:want_relatives(step)
  self:add_classes(step)
  for _, pair in ipairs(summary.aliases) do
    self:add_alias(pair[1], pair[2])
    self:add_alias(pair[2], pair[1])
  end
  for _, definition in pairs(summary.definitions) do
    if definition.kind == "class" and self.with_classes[#self.with_classes] ~= step then
      table.insert(self.with_classes, step)
    end
  end
  for name in pairs(summary.stores) do self.makers:add(name, step, "store") end
  for name in pairs(summary.late_stores) do self.makers:add(name, step, "strong") end
  for name, change in pairs(summary.changes) do
    if step.sources[name] == "value" then self.makers:add(name, step, change) end
  end
end

-- --- the whole ---------------------------------------------------------------------------------------

-- Statements of the imports and functions cells, by the names they bind; and those that always run.
local function read_setup(layout, report)
  local setup, always, stars = {}, {}, {}
  for _, group in ipairs { "imports", "functions" } do
    for _, statement in ipairs(source.statements(layout[group], report)) do
      local summary = statement.summary
      for name in pairs(summary.stores) do
        setup[name] = setup[name] or {}
        table.insert(setup[name], statement)
      end
      if #summary.stars > 0 then
        stars[#stars + 1] = statement
        always[#always + 1] = statement
        local place = statement.place
        report("star-import", at(place))
      elseif statement.kind == "statement" then
        always[#always + 1] = statement
        if next(summary.stores) == nil or next(summary.changes) ~= nil then
          local place = statement.place
          report("effects-repeated", at(place, { kind = group }))
        end
      end
    end
  end
  return setup, always, stars
end

-- The classes of the setup cells, in the order of the notebook.
local function classes_of(setup)
  local list = {}
  for _, statements in pairs(setup) do
    for _, statement in ipairs(statements) do
      for _, definition in pairs(statement.summary.definitions) do
        if definition.kind == "class" then list[#list + 1] = statement end
      end
    end
  end
  table.sort(list, function(a, b)
    if a.piece.cell ~= b.piece.cell then return a.piece.cell < b.piece.cell end
    return a.piece.first < b.piece.first
  end)
  return list
end

local function prepare_steps(layout, report)
  local later_reads, everything = {}, {}
  for i, step in ipairs(layout.steps) do
    step.number = i
    step.summary = source.summarize(step.cells, report)
    step.ancestors, step.wanted, step.queue, step.params = {}, {}, {}, {}
    step.setup, step.pieces, step.used, step.sources = {}, {}, {}, {}
    step.crossing, step.outgoing = {}, {}
    for _, name in ipairs(step.prev) do
      local earlier = layout.by_name[name]
      add_bit(step.ancestors, earlier.number)
      add_all(step.ancestors, earlier.ancestors)
    end
    for _, set in ipairs { step.summary.reads, step.summary.late } do
      for name in pairs(set) do later_reads[name] = i end
    end
    for _, late in pairs(step.summary.late_of) do
      for name in pairs(late) do later_reads[name] = i end
    end
    for name in pairs(step.summary.stores) do everything[name] = true end
    for _, star in ipairs(step.summary.stars) do
      report("star-import", at(star.place))
    end
  end
  return later_reads, everything
end

-- Each metric belongs to the last step that makes it.
local function place_metrics(layout, metrics, makers, report)
  local sink = { number = #layout.steps + 1, ancestors = {} }
  for i in ipairs(layout.steps) do add_bit(sink.ancestors, i) end
  for _, metric in ipairs(metrics) do
    local maker, one, other = makers:latest(metric.name, sink, LEVELS.store)
    if one then
      report("two-producers", at(metric, { name = metric.name, from = other.name, other = one.name }))
    elseif not maker then
      report("metric-unknown", at(metric, { name = metric.name }))
    else
      maker.metrics = maker.metrics or {}
      table.insert(maker.metrics, metric.name)
    end
  end
end

local function learn_functions(layout, report)
  local groups = {}
  local function add(cells)
    local parsed = {}
    for i, cell in ipairs(cells) do parsed[i] = source.parse(cell, report) end
    groups[#groups + 1] = parsed
  end
  add(layout.imports)
  add(layout.functions)
  for _, step in ipairs(layout.steps) do add(step.cells) end
  changes.learn(groups)
end

---Resolves all names of a layout; fills its steps.
---@param layout table of kale.cells
---@param params table<string, table> the pipeline's parameters by name
---@param metrics table[] {name, cell, line, column, source}
---@param report fun(code: string, fields: table)
function M.resolve(layout, params, metrics, report)
  learn_functions(layout, report)
  local setup, always, stars = read_setup(layout, report)
  local later_reads, everything = prepare_steps(layout, report)
  for name in pairs(setup) do everything[name] = true end
  for name in pairs(params) do everything[name] = true end
  for _, metric in ipairs(metrics) do later_reads[metric.name] = #layout.steps + 1 end
  local resolver = setmetatable({
    steps = layout.steps, setup = setup, always = always, stars = stars, params = params, report = report,
    classes = classes_of(setup), with_classes = {}, makers = new_makers(), aliases = {}, later_reads = later_reads,
    everything = everything,
  }, Resolver)
  for _, step in ipairs(layout.steps) do resolver:step(step) end
  place_metrics(layout, metrics, resolver.makers, report)
end

return M
