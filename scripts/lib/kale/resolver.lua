-- How one step finds the makers of its names, and what it hands on: the rules of what crosses.
-- Not for the order of steps and what is known before (kale.analysis).
--   local r = resolver.new { … }; r:step(step)
local builtins = require "kale.builtins"
local diagnostics = require "kale.diagnostics"
local magics = require "kale.magics"
local makers = require "kale.makers"
local shell = require "kale.shell"
local spelling = require "kale.spelling"

local at, has_bit, LEVELS = diagnostics.at, makers.has_bit, makers.LEVELS

local M = {}

local Resolver = {}
Resolver.__index = Resolver

function Resolver:complain(code, step, need, fields)
  local place = need.cell and need or { cell = step.cells[1].number }
  self.report(code, at(place, fields))
end

-- --- what a step wants -------------------------------------------------------------------------------

-- need: its place; soft: no error when it is nowhere; late: a function reads it when it is called;
-- by: the function.
local function want(step, name, need)
  local known = step.wanted[name]
  if known then
    known.soft = known.soft and need.soft
    if known.quiet and not need.quiet then
      for _, key in ipairs { "cell", "line", "column", "source", "quiet", "late" } do known[key] = need[key] end
    end
    return
  end
  step.wanted[name] = at(need, { soft = need.soft, late = need.late, by = need.by, why = need.why })
  step.queue[#step.queue + 1] = name
end

local function there_before(step, name, moment)
  local assigned = step.summary.assigned_at[name]
  return assigned ~= nil and assigned <= moment
end

-- The function facts of a name may do: what they read is wanted unless the step has made it before.
function Resolver:use_facts(step, facts, moment, by)
  for name, place in pairs(facts.late) do
    if not there_before(step, name, moment) then
      want(step, name, at(place, { soft = true, late = true, by = by }))
    end
    self:use(step, name, moment)
  end
  for name in pairs(facts.stores) do
    step.may_store[name] = true
    step.may_make[name] = step.may_make[name] or facts.makes[name]
    if not there_before(step, name, moment) and self:is_needed_after(step, name) then
      want(step, name, { soft = true, why = "a function may leave it as it is" })
    end
  end
  for name, change in pairs(facts.changes) do
    if step.late_changes[name] ~= "strong" then step.late_changes[name] = change end
  end
end

-- A name is read: the functions that its value is, or may hold, may be called.
function Resolver:use(step, name, moment)
  local seen = step.seen[name]
  if seen and seen <= moment then return end
  step.seen[name] = moment
  -- A closure or a function with a state of its own may be called, directly or by another.
  if self.learned.callables[name] then
    step.late_changes[name] = "strong"
    if not there_before(step, name, moment) and self:is_needed_after(step, name) then
      want(step, name, { soft = true, why = "it may change when it is called" })
    end
  end
  for _, facts in ipairs(self.facts[name] or {}) do self:use_facts(step, facts, moment, name) end
  local local_facts = step.summary.facts[name]
  if local_facts then self:use_facts(step, local_facts, moment, name) end
  for _, held in ipairs { self.held[name] or false, step.summary.held[name] or false } do
    if held then
      for _, facts in ipairs(held.facts) do self:use_facts(step, facts, moment, name) end
      for other in pairs(held.names) do
        if other ~= name then self:use(step, other, moment) end
      end
      for other in pairs(held.weak or {}) do
        if not there_before(step, other, moment) then
          want(step, other, { soft = true, why = ("'%s' points at it and does not keep it"):format(name) })
        end
      end
    end
  end
end

-- --- definitions made again ----------------------------------------------------------------------------

local function add_piece(step, piece)
  local key = piece.cell .. ":" .. piece.first
  if step.pieces[key] then return end
  step.pieces[key] = piece
  step.setup[#step.setup + 1] = piece
end

-- A statement of the imports or functions cells.
function Resolver:use_setup(step, statement)
  if step.used[statement] then return end
  step.used[statement] = true
  add_piece(step, statement.piece)
  for name, need in pairs(statement.summary.needs) do
    if self.setup[name] or not builtins.has(name, self.minor) then want(step, name, at(need, { soft = false })) end
  end
  for name in pairs(statement.summary.reads) do self:use(step, name, 0) end
end

-- A definition of an earlier step, with what it needs where it stands.
function Resolver:make_again(step, origin, definition)
  local key = definition.piece.cell .. ":" .. definition.piece.first
  if step.pieces[key] then return end
  add_piece(step, definition.piece)
  for _, amendment in ipairs(self.amendments[definition.name] or {}) do
    if amendment.step == step or has_bit(step.ancestors, amendment.step.number) then
      self:make_again(step, amendment.step, amendment.definition)
    else
      self:complain("lost-change", step, {}, { name = definition.name, from = amendment.step.name })
    end
  end
  for name, meaning in pairs(definition.head) do
    if type(meaning) == "table" then
      self:make_again(step, origin, meaning)
    elseif meaning then
      local crossing, how = origin.crossing[name], origin.sources[name]
      if crossing and crossing.definition then
        self:make_again(step, crossing.from, crossing.definition)
      elseif how == "setup" then
        for _, statement in ipairs(self.setup[name] or {}) do self:use_setup(step, statement) end
      elseif how == "import" then
        local first = origin.imports[name]
        self:make_again(step, first, first.summary.definitions[name])
      elseif how == "parameter" then
        step.params[name] = true
      end
    end
  end
end

-- A value that the functions of a name may read when they are called, in that step or before.
function Resolver:value_behind(step, name, seen)
  if seen[name] then return nil end
  seen[name] = true
  local summary, all = step.summary, { step.summary.facts[name] }
  for _, facts in ipairs(self.facts[name] or {}) do all[#all + 1] = facts end
  for _, facts in ipairs(all) do
    for other in pairs(facts.late) do
      local own = summary.definitions[other]
      local is_value = step.sources[other] == "value" or summary.stores[other] and (not own or own.kind == "constant")
      local found = is_value and other or self:value_behind(step, other, seen)
      if found then return found end
    end
  end
  return nil
end

-- Whether a definition can stand in another step: what it reads where it stands is not a value.
local function settle(step, definition)
  if definition.why or definition.settled then return definition.why end
  definition.settled = true
  for name, meaning in pairs(definition.head) do
    if type(meaning) == "table" then
      if settle(step, meaning) then definition.why = ("use of '%s' where it is defined"):format(name) end
    elseif meaning and step.sources[name] == "value" then
      local crossing = step.crossing[name]
      if crossing.constant then crossing.definition = crossing.constant
      else definition.why = ("use of '%s' where it is defined"):format(name) end
    end
  end
  return definition.why
end

-- --- where a name comes from ----------------------------------------------------------------------------

-- The step that the value of a name comes from; complains when there is no single one.
function Resolver:maker(step, name, need)
  local known = self.makers
  local maker, one = known:latest(name, step, LEVELS.weak)
  if maker or not one then return maker end
  local changed
  maker, changed = known:latest(name, step, LEVELS.strong)
  if maker then return maker end
  local other
  maker, one, other = known:latest(name, step, LEVELS.store)
  if maker then
    if not need.why then self:complain("lost-change", step, need, { name = name, from = changed.name }) end
    return maker
  end
  if one then
    if need.soft and not need.late then return one end
    self:complain("two-producers", step, need, { name = name, from = other.name, other = one.name })
    return one
  end
  return nil
end

-- Where a definition was first made, however many steps handed it on.
local function origin_of(maker, name)
  while not maker.summary.stores[name] and not maker.may_store[name] and maker.crossing[name] do
    maker = maker.crossing[name].from
  end
  return maker
end

local function why_of(step, need)
  if need.why then return need.why end
  if need.by then return ("'%s' uses it"):format(need.by) end
  if need.line and need.cell then return ("read in cell %d, line %d"):format(need.cell, need.line) end
  return "step '" .. step.name .. "' reads it"
end

function Resolver:tell_by_value(first, name, definition)
  if definition.told then return end
  definition.told = true
  local place = { cell = definition.piece.cell, line = definition.piece.line, column = 1 }
  self:complain("function-by-value", first, place, { name = name, why = definition.why })
end

function Resolver:tell_unsaved(step, name, maker, need)
  local unsaved = self.learned.unsaved[name]
  local what = unsaved and unsaved[origin_of(maker, name).summary.stored_in[name]]
  if not what or step.told_unsaved[name] then return end
  step.told_unsaved[name] = true
  self:complain("not-saved", step, need, { name = name, what = what, from = maker.name })
end

function Resolver:tell_beside(step, name, maker, need)
  if need.why then return end
  local beside = self.makers:beside(name, maker, step)
  if beside then self:complain("lost-change", step, need, { name = name, from = beside.name }) end
end

function Resolver:from_steps(step, name, need)
  local maker = self:maker(step, name, need)
  if not maker or maker.summary.gone[name] then return false end
  self:tell_beside(step, name, maker, need)
  local first = origin_of(maker, name)
  local definition = first.summary.definitions[name]
  if definition and definition.kind == "import" then
    step.sources[name] = "import"
    self:make_again(step, first, definition)
    step.imports[name] = first
    return true
  end
  local constant = definition and definition.kind == "constant"
  local by_source = definition and not constant and not definition.why
  if definition and definition.why and not constant then self:tell_by_value(first, name, definition) end
  if not by_source then self:tell_unsaved(step, name, maker, need) end
  local from = by_source and first or maker
  step.sources[name] = by_source and "definition" or "value"
  step.crossing[name] = {
    from = from, how = step.sources[name], why = why_of(step, need), definition = by_source and definition or nil,
    constant = constant and definition or nil, kind = definition and definition.kind or nil,
  }
  from.outgoing[name] = true
  if by_source then self:make_again(step, first, definition) end
  return true
end

-- A name that nothing before the step makes.
function Resolver:missing(step, name, need)
  if need.soft and not need.late or step.may_make[name] or self.unread:covers(name, need) then return end
  if self.stars[step] or #self.setup_stars > 0 then
    step.sources[name] = "star import"
    return
  end
  if shell.has_shown(step, name, need) then return end
  local other = self.first_maker[name]
  if need.late and step.summary.stores[name] then
    -- In one process the function would find what the other step had made.
    if other and other.number < step.number and not has_bit(step.ancestors, other.number) then
      self:complain("lost-change", step, need, { name = name, from = other.name })
    end
    return
  end
  if other and other ~= step then
    if need.late and other.number > step.number then return end
    local before = has_bit(step.ancestors, other.number)
    self:complain(before and "name-deleted" or "missing-edge", step, need, { name = name, from = other.name })
    return
  end
  if need.quiet or need.late and other or self.unread:makes_names(step) then return end
  local code = need.late and "undefined-in-function" or shell.keeps(name) and "shell-history" or "undefined-name"
  self:complain(code, step, need, { name = name, near = self:advice(step, name, need) })
end

-- What to do about a name that is nowhere: the one that was meant, or where it may come from.
function Resolver:advice(step, name, need)
  local near = spelling.near(name, self.everything) or need.source and magics.bare(need.source)
  if near then return near end
  for i = step.number - 1, 1, -1 do
    local earlier = self.steps[i]
    local star = earlier.summary.stars[1]
    local how = star and not star.future and "'import *'" or self.unread:makes_names(earlier)
    if how then
      return has_bit(step.ancestors, i) and ("perhaps %s of step '%s' makes it: import or assign it by its name")
        :format(how, earlier.name) or ("perhaps from %s of step '%s': add the tag prev:%s")
        :format(how, earlier.name, earlier.name)
    end
  end
end

-- A definition that came from another notebook may need what that one imports.
function Resolver:setup_elsewhere(name)
  if next(self.modules) == nil or self.params[name] then return nil end
  if self.own.setup[name] then return self.own.setup[name] end
  for _, module in pairs(self.modules) do
    if module.setup[name] then return module.setup[name] end
  end
  return nil
end

function Resolver:resolve_name(step, name, need)
  if self:from_steps(step, name, need) then return end
  local statements = self.setup[name] or self:setup_elsewhere(name)
  if statements then
    for _, statement in ipairs(statements) do self:use_setup(step, statement) end
    step.sources[name] = "setup"
  elseif self.params[name] then
    step.params[name] = true
    step.sources[name] = "parameter"
  elseif not builtins.has(name, self.minor) then
    self:missing(step, name, need)
  else
    local other = not need.soft and self.first_maker[name]
    if other and other.number < step.number then
      self:complain("missing-edge", step, need, { name = name, from = other.name })
    end
  end
end

function Resolver:resolve_queue(step)
  local done = 0
  while done < #step.queue do
    table.sort(step.queue)
    local queue = step.queue
    step.queue, done = {}, 0
    for _, name in ipairs(queue) do self:resolve_name(step, name, step.wanted[name]) end
  end
end

-- --- one step ------------------------------------------------------------------------------------------

function Resolver:is_needed_after(step, name)
  return (self.needed[name] or 0) > step.number
end

-- Takes a name along, changed or not, so that it leaves the step with those that share its object.
function Resolver:relay(step, name)
  if step.summary.stores[name] and not step.sources[name] then return end
  if not step.wanted[name] then
    want(step, name, { soft = true, relay = true, why = "it may share an object with what changes here" })
    self:resolve_queue(step)
  end
  if step.sources[name] == "value" then step.changed[name] = "strong" end
end

-- The names that may share an object with one, and that are wanted later, leave the step with it; when
-- nothing of them changes later, those that its change here reaches.
function Resolver:relay_family(step, name, deep)
  local function keep(member) return (self.needed[member] or 0) >= step.number end
  -- A figure, its axes and what is drawn on them all know each other.
  local later = (self.last_change[self.families:root(name)] or 0) > step.number or self.learned.figures[name]
  local reached = not later and self.families:reached(name, deep, keep)
  for _, member in ipairs(self.families:alive(name, keep)) do
    if member ~= name and self:is_needed_after(step, member) and (later or reached[member]) then
      self:relay(step, member)
    end
  end
end

function Resolver:relay_relatives(step)
  local changed = {}
  for name, change in pairs(step.changed) do
    if change == "strong" and step.sources[name] == "value" then changed[#changed + 1] = name end
  end
  table.sort(changed)
  local summary = step.summary
  for _, name in ipairs(changed) do
    self:relay_family(step, name, summary.deep[name] or step.late_changes[name] or not summary.changes[name])
  end
end

-- A name that comes to share an object here, which a later step changes: both leave this step together.
function Resolver:relay_new_relatives(step)
  for _, pair in ipairs(step.summary.aliases) do
    local one, other = pair[1], pair[2]
    for _ = 1, 2 do
      if step.sources[other] == "value" and step.summary.stores[one] and self:is_needed_after(step, one)
        and self:is_needed_after(step, other)
        and (self.last_change[self.families:root(other)] or 0) > step.number then
        step.changed[other] = "strong"
        self:relay_family(step, other)
      end
      one, other = other, one
    end
  end
end

local function append(list, more)
  for _, value in ipairs(more) do list[#list + 1] = value end
end

-- What the step's functions and values are to the steps after it.
function Resolver:publish(step)
  local summary = step.summary
  for name, facts in pairs(summary.facts) do
    if summary.assigned_at[name] then self.facts[name] = { facts }
    else
      self.facts[name] = self.facts[name] or {}
      table.insert(self.facts[name], facts)
    end
  end
  for name, held in pairs(summary.held) do
    local known = self.held[name]
    if not known or summary.stores[name] and not summary.needs[name] then self.held[name] = held
    else
      append(known.facts, held.facts)
      for other in pairs(held.names) do known.names[other] = true end
    end
  end
  for _, definition in ipairs(summary.all_definitions) do
    if definition.amends and not definition.why then
      self.amendments[definition.amends] = self.amendments[definition.amends] or {}
      table.insert(self.amendments[definition.amends], { step = step, definition = definition })
    end
  end
  for name in pairs(summary.stores) do self.makers:add(name, step, "store") end
  for name in pairs(summary.gone) do self.makers:add(name, step, "store") end
  for name in pairs(step.may_store) do self.makers:add(name, step, "store") end
  for name, change in pairs(step.changed) do
    if step.sources[name] == "value" then self.makers:add(name, step, change) end
  end
end

local function collect_changes(step)
  for name, change in pairs(step.summary.changes) do step.changed[name] = change end
  for name, change in pairs(step.late_changes) do
    if step.changed[name] ~= "strong" then step.changed[name] = change end
  end
end

function Resolver:stars_before(step)
  for _, earlier in ipairs(self.with_stars) do
    local before = has_bit(step.ancestors, earlier.number)
    for _, star in ipairs(earlier.summary.stars) do
      if before or star.future then add_piece(step, star.piece) end
      if before and not star.future then self.stars[step] = true end
    end
  end
  if #step.summary.stars > 0 then table.insert(self.with_stars, step) end
  for _, star in ipairs(step.summary.stars) do
    if not star.future then self.stars[step] = true end
  end
end

local function by_moment(reads)
  local list = {}
  for name, moment in pairs(reads) do list[#list + 1] = { name, moment } end
  table.sort(list, function(a, b) return a[2] < b[2] end)
  return list
end

-- The setup cells and parameters that a step has: those of its own notebook.
function Resolver:enter(module)
  for field, value in pairs(module) do self[field] = value end
end

function Resolver:step(step)
  local summary = step.summary
  if step.group then self:enter(self.modules[step.group]) elseif next(self.modules) then self:enter(self.own) end
  self:stars_before(step)
  for name, need in pairs(summary.needs) do want(step, name, need) end
  for _, read in ipairs(by_moment(summary.reads)) do self:use(step, read[1], read[2]) end
  for _, lambda in ipairs(summary.nameless) do self:use_facts(step, lambda.facts, lambda.at) end
  -- What a step stores only perhaps has to keep its old value, if somebody wants it later.
  for name in pairs(summary.maybe) do
    if not summary.assigned_at[name] and self:is_needed_after(step, name) then
      want(step, name, { soft = true, why = "this step may leave it as it is" })
    end
  end
  for _, statement in ipairs(self.always) do self:use_setup(step, statement) end
  self:resolve_queue(step)
  collect_changes(step)
  self:relay_relatives(step)
  self:relay_new_relatives(step)
  for _, definition in ipairs(summary.all_definitions) do
    for _, name in ipairs(definition.runs or {}) do
      local value = self:value_behind(step, name, {})
      if value then definition.why = definition.why or ("use of '%s' where it is defined"):format(value) end
    end
  end
  for _, definition in ipairs(summary.all_definitions) do settle(step, definition) end
  self:publish(step)
end

---@param fields table
function M.new(fields) return setmetatable(fields, Resolver) end

return M
