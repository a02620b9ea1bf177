-- The room where names find their makers: which names cross from step to step, how and why.
-- Not for Python's grammar (kale.source), not for what leaves no name (kale.state), not for KFP (kale.ir).
--   analysis.resolve(layout, params, metrics, report, { infer = false })
local builtins = require "kale.builtins"
local diagnostics = require "kale.diagnostics"
local learn = require "kale.learn"
local makers = require "kale.makers"
local resolvers = require "kale.resolver"
local setup_cells = require "kale.setup"
local source = require "kale.source"
local state = require "kale.state"
local unread = require "kale.unread"

local at, LEVELS = diagnostics.at, makers.LEVELS

local M = {}

-- What a function puts into a global may be what it is given: the global holds it then.
local function note_given(steps, facts)
  local known = setmetatable({}, { __index = facts })
  for _, step in ipairs(steps) do
    for name, one in pairs(step.summary.facts) do known[name] = { one } end
    for _, given in ipairs(step.summary.given) do
      for _, one in ipairs(known[given[1]] or {}) do
        for global, change in pairs(one.changes) do
          for _, name in ipairs(change == "strong" and given[2] or {}) do
            if name ~= global then
              local held = step.summary.held[global] or { names = {}, facts = {} }
              step.summary.held[global] = held
              held.names[name] = true
              table.insert(step.summary.aliases, { global, name })
            end
          end
        end
      end
    end
  end
end

-- The last step that needs each name from outside, also through the functions that it reads.
local function last_needs(steps, modules, metrics)
  local reads, needed, edges = {}, {}, {}
  local function edge(from, to)
    edges[from] = edges[from] or {}
    table.insert(edges[from], to)
  end
  local function add_edges(summary)
    for name, facts in pairs(summary.facts) do
      for other in pairs(facts.late) do edge(name, other) end
    end
    for name, held in pairs(summary.held) do
      for other in pairs(held.names) do edge(name, other) end
      for _, facts in ipairs(held.facts) do
        for other in pairs(facts.late) do edge(name, other) end
      end
    end
  end
  for i, step in ipairs(steps) do
    for name in pairs(step.summary.needs) do needed[name] = i end
    for name in pairs(step.summary.reads) do reads[name] = i end
    for _, lambda in ipairs(step.summary.nameless) do
      for name in pairs(lambda.facts.late) do reads[name], needed[name] = i, i end
    end
    add_edges(step.summary)
  end
  for _, metric in ipairs(metrics) do needed[metric.name] = #steps + 1 end
  for _, module in ipairs(modules) do
    for _, statements in pairs(module.setup) do
      for _, statement in ipairs(statements) do add_edges(statement.summary) end
    end
  end
  local order = {}
  for name, last in pairs(reads) do order[#order + 1] = { name, last } end
  table.sort(order, function(a, b) return a[2] > b[2] end)
  local seen = {}
  for _, start in ipairs(order) do
    local stack = { start[1] }
    while #stack > 0 do
      local name = table.remove(stack)
      if not seen[name] then
        seen[name] = true
        for _, other in ipairs(edges[name] or {}) do
          needed[other] = math.max(needed[other] or 0, start[2])
          stack[#stack + 1] = other
        end
      end
    end
  end
  return needed, reads
end

-- Names that may share objects over the whole notebook, and the last step that changes one of a family.
local function read_families(steps, modules, needed, reads)
  local families, last_change = makers.families(), {}
  -- What a function changes may change as long as somebody reads the function.
  local function note_facts(i, name, facts)
    local last = math.max(i, needed[name] or 0, reads[name] or 0)
    for changed, change in pairs(facts.changes) do
      local root = change == "strong" and families:root(changed)
      if root then last_change[root] = math.max(last_change[root] or 0, last) end
    end
  end
  for i, step in ipairs(steps) do
    -- A name that ends with its step joins the others only there.
    local inner = makers.families()
    for _, pair in ipairs(step.summary.aliases) do inner:join(pair[1], pair[2]) end
    local function lives(member) return (needed[member] or 0) > i or step.summary.needs[member] end
    local ended = {}
    for root, members in pairs(inner.members) do
      local first
      for _, member in ipairs(members) do
        if not lives(member) then ended[root] = true end
      end
      for _, member in ipairs(members) do
        if lives(member) then
          if first then families:join(first, member) end
          if first and ended[root] then families:relate { first, member } end
          first = first or member
        end
      end
    end
    for _, pair in ipairs(step.summary.aliases) do
      if not ended[inner:root(pair[1])] then families:relate(pair) end
    end
  end
  for i, step in ipairs(steps) do
    for name, change in pairs(step.summary.changes) do
      local root = change == "strong" and families:root(name)
      if root then last_change[root] = math.max(last_change[root] or 0, i) end
    end
    for name, facts in pairs(step.summary.facts) do note_facts(i, name, facts) end
    for name, held in pairs(step.summary.held) do
      for _, facts in ipairs(held.facts) do note_facts(i, name, facts) end
    end
    for _, lambda in ipairs(step.summary.nameless) do note_facts(i, "", lambda.facts) end
  end
  for _, module in ipairs(modules) do
    for name, list in pairs(module.facts) do
      for _, facts in ipairs(list) do note_facts(0, name, facts) end
    end
  end
  return families, last_change
end

local function prepare_steps(layout, report, options)
  local everything, first_maker = {}, {}
  for i, step in ipairs(layout.steps) do
    step.number = i
    step.summary = source.summarize(step.cells, report)
    for _, field in ipairs { "ancestors", "wanted", "queue", "params", "setup", "pieces", "used", "sources", "crossing",
      "outgoing", "seen", "may_store", "may_make", "late_changes", "changed", "imports", "told_unsaved" } do
      step[field] = {}
    end
    if options.infer and i > 1 then
      makers.add_bit(step.ancestors, i - 1)
      makers.add_all(step.ancestors, layout.steps[i - 1].ancestors)
    end
    for _, name in ipairs(step.prev) do
      local earlier = layout.by_name[name]
      makers.add_bit(step.ancestors, earlier.number)
      makers.add_all(step.ancestors, earlier.ancestors)
    end
    local function made(name)
      everything[name] = true
      first_maker[name] = first_maker[name] or step
    end
    for name in pairs(step.summary.stores) do made(name) end
    for _, facts in pairs(step.summary.facts) do
      for name in pairs(facts.stores) do made(name) end
    end
    for _, star in ipairs(step.summary.stars) do
      if not star.future then report("star-import", at(star.place)) end
    end
  end
  return everything, first_maker
end

-- A function or class whose attributes are set outside of it, or by itself, is not what its source says.
local function note_changed_definitions(steps)
  local changed = {}
  for _, step in ipairs(steps) do
    for name, change in pairs(step.summary.changes) do changed[name] = changed[name] or change == "strong" end
    for _, facts in pairs(step.summary.facts) do
      for name, change in pairs(facts.changes) do changed[name] = changed[name] or change == "strong" end
    end
  end
  for _, step in ipairs(steps) do
    for _, definition in ipairs(step.summary.all_definitions) do
      local kind = definition.kind
      if changed[definition.name] and (kind == "class" or kind == "function") then
        definition.changed = true
        definition.why = definition.why or "attributes, which are set outside of it,"
      end
    end
  end
end

-- Each metric belongs to the last step that makes it.
local function place_metrics(layout, metrics, known, report)
  local sink = { number = #layout.steps + 1, ancestors = {} }
  for i in ipairs(layout.steps) do makers.add_bit(sink.ancestors, i) end
  for _, metric in ipairs(metrics) do
    local maker, one, other = known:latest(metric.name, sink, LEVELS.store)
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

local function note_futures(layout)
  local cells = {}
  for _, group in ipairs { "imports", "functions" } do
    for _, cell in ipairs(layout[group]) do cells[#cells + 1] = cell end
  end
  for _, step in ipairs(layout.steps) do
    for _, cell in ipairs(step.cells) do cells[#cells + 1] = cell end
  end
  table.sort(cells, function(a, b) return a.number < b.number end)
  source.note_future(cells)
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
  for _, inside in pairs(layout.modules or {}) do
    add(inside.imports)
    add(inside.functions)
  end
  for _, step in ipairs(layout.steps) do add(step.cells) end
  return learn.all(groups)
end

-- What the setup cells and parameters of a notebook are to its steps.
local function read_module(layout, params, report)
  local setup, always, stars, facts, held = setup_cells.read(layout, report)
  return { setup = setup, always = always, setup_stars = stars, facts = facts, held = held, params = params }
end

---Resolves all names of a layout; fills its steps.
---@param layout table of kale.cells
---@param params table<string, table> the pipeline's parameters by name
---@param metrics table[] {name, cell, line, column, source}
---@param report fun(code: string, fields: table)
---@param options {infer: boolean?, image: string?, is_shared: boolean?}?
--- is_shared: the steps' working directory is on a volume
function M.resolve(layout, params, metrics, report, options)
  options = options or {}
  note_futures(layout)
  local learned = learn_functions(layout, report)
  local own, modules = read_module(layout, params, report), {}
  local all = { own }
  for name, inside in pairs(layout.modules or {}) do
    local known = {}
    for key, parameter in pairs(inside.by_name) do known[key] = params[key] or parameter end
    for key, parameter in pairs(params) do known[key] = parameter end
    modules[name] = read_module(inside, known, report)
    all[#all + 1] = modules[name]
  end
  local everything, first_maker = prepare_steps(layout, report, options)
  note_changed_definitions(layout.steps)
  for _, module in ipairs(all) do
    for name in pairs(module.setup) do everything[name] = true end
    for name in pairs(module.params) do everything[name] = true end
  end
  for _, module in ipairs(all) do note_given(layout.steps, module.facts) end
  local needed, reads = last_needs(layout.steps, all, metrics)
  local families, last_change = read_families(layout.steps, all, needed, reads)
  local resolver = resolvers.new {
    steps = layout.steps, own = own, modules = modules, report = report,
    makers = makers.new(), needed = needed, families = families, last_change = last_change,
    everything = everything, first_maker = first_maker, learned = learned, stars = {}, with_stars = {},
    amendments = {}, unread = unread.new(layout.steps, layout),
    minor = builtins.minor_of(options.image),
  }
  resolver:enter(own)
  for _, step in ipairs(layout.steps) do resolver:step(step) end
  place_metrics(layout, metrics, resolver.makers, report)
  state.report(layout, report, options.is_shared)
end

return M
