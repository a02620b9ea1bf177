-- The plan: everything that is known of a notebook as a pipeline, as plain data.
-- Not for how a pipeline is written (kale.ir) or run (kfp.run).
--   local plan = require "kale.plan".read "train.ipynb"; print(plan.steps[1].name)
local analysis = require "kale.analysis"
local cells = require "kale.cells"
local compose = require "kale.compose"
local diagnostics = require "kale.diagnostics"
local fingerprint = require "kale.fingerprint"
local fs = require "fs"
local json = require "json"
local metadata = require "kale.metadata"
local nodes = require "kale.nodes"
local notebook = require "kale.notebook"
local parameters = require "kale.parameters"
local source = require "kale.source"
local sorted_keys = require "kfhost.keys".sorted

local M = {}

-- --- putting it together ----------------------------------------------------------------------------------

local function by_place(a, b)
  if a.cell ~= b.cell then return a.cell < b.cell end
  return a.first < b.first
end

-- How a cell is called where its code runs.
local function label(layout, number)
  if not layout.modules then return number end
  local cell, inner = compose.owner(layout, number)
  return inner and ("%d of %s"):format(cell, fs.basename(inner.path)) or cell
end

-- The cell that made each value that leaves a step: of one that only passes, where it was made.
local function made_in(step, names, layout)
  local cells_of = {}
  for _, name in ipairs(names) do
    local at = step
    while not at.summary.stored_in[name] and at.crossing[name] do at = at.crossing[name].from end
    local number = at.summary.stored_in[name]
    cells_of[name] = number and label(layout, number)
  end
  return cells_of
end

-- For each value that leaves a step, which others that leave it every taker has anyway.
local function taken_with(steps)
  local common = {}
  for _, step in ipairs(steps) do
    for name, crossing in pairs(step.crossing) do
      if crossing.how == "value" then
        local from = crossing.from
        common[from] = common[from] or {}
        local known = common[from][name]
        local now = {}
        for other in pairs(known or from.outgoing) do
          if step.sources[other] or step.summary.stores[other] then now[other] = true end
        end
        common[from][name] = now
      end
    end
  end
  return common
end

-- The definitions of a step that other steps can make again.
local function definitions_of(step, layout)
  local list = {}
  for _, name in ipairs(sorted_keys(step.summary.definitions)) do
    local definition = step.summary.definitions[name]
    if not definition.why then
      list[#list + 1] = {
        name = name, cell = label(layout, definition.piece.cell), line = definition.piece.line,
        last_line = definition.piece.last_line, needs = json.array(sorted_keys(definition.head)),
      }
    end
  end
  return list
end

-- The parameters that a step takes, with their types: the notebook's own, or those of its part; and in which notebook
-- around the step they are set.
local function parameters_of(step, layout, by_name)
  local list, depths = {}, {}
  for i, name in ipairs(sorted_keys(step.params)) do
    local inside = step.group and layout.modules[step.group]
    list[i] = by_name[name] or inside.by_name[name]
    depths[name] = by_name[name] and 0 or inside.depths[name]
  end
  return list, depths
end

local function label_pieces(layout, pieces)
  if not layout.modules then return pieces end
  local labelled = {}
  for i, piece in ipairs(pieces) do
    labelled[i] = setmetatable({ cell = label(layout, piece.cell) }, { __index = piece })
  end
  return labelled
end

local function finish_step(step, common, layout, by_name)
  local after, values_in, values_out = {}, {}, {}
  for _, name in ipairs(step.prev) do after[name] = true end
  for _, name in ipairs(sorted_keys(step.crossing)) do
    local crossing = step.crossing[name]
    after[crossing.from.name] = true
    if crossing.how == "value" then values_in[#values_in + 1] = { name = name, from = crossing.from.name } end
  end
  for _, name in ipairs(sorted_keys(step.valued or {})) do values_out[#values_out + 1] = name end
  table.sort(step.setup, by_place)
  local code, numbers = {}, {}
  for i, cell in ipairs(step.cells) do
    if not step.cell then numbers[i] = cell.number end
    local python = cell.parsed.python
    if python:find "%S" then
      code[#code + 1] = {
        cell = label(layout, cell.number), line = 1, source = python, words = fingerprint.tree(cell.parsed.tree),
      }
    end
  end
  table.sort(step.metrics or {})
  local known_params, depths = parameters_of(step, layout, by_name)
  return {
    name = step.name, after = sorted_keys(after), prev = step.prev, ins = sorted_keys(step.crossing),
    outs = sorted_keys(step.outgoing), params = sorted_keys(step.params), metrics = step.metrics or {},
    cells = step.cell and { step.cell } or numbers, values_in = values_in, values_out = values_out, code = code,
    setup = label_pieces(layout, step.setup), known_params = known_params, param_depths = depths,
    groups = step.groups or {}, inner_name = step.inner_name, waits = step.waits,
    security = step.security, folder = step.folder,
    options = step.options, made_in = made_in(step, values_out, layout),
    definitions = definitions_of(step, layout),
    taken_with = common[step] or {},
  }
end

local function describe_crossings(layout)
  local list, steps = {}, layout.steps
  local function named(number)
    return "cell " .. label(layout, math.tointeger(number))
  end
  for _, step in ipairs(steps) do
    for _, name in ipairs(sorted_keys(step.crossing)) do
      local crossing = step.crossing[name]
      if crossing.how == "value" then
        crossing.from.valued = crossing.from.valued or {}
        crossing.from.valued[name] = true
      end
      list[#list + 1] = {
        name = name, from = crossing.from.name, to = step.name, how = crossing.how,
        why = crossing.why:gsub("cell (%d+)", named),
      }
    end
  end
  return list
end

local function warn_about_paths(layout, directory, report)
  for _, step in ipairs(layout.steps) do
    for _, cell in ipairs(step.cells) do
      local parsed = source.parse(cell, report)
      for _, constant_text in ipairs(source.strings(parsed)) do
        local text = constant_text.text
        if text:find "[%w]" and #text < 256 and not text:find "[%c*?]" and text:sub(1, 1) ~= "/" then
          local stat = fs.try.stat(fs.join(directory, text))
          if stat and stat.type == "file" then
            local place = nodes.place(parsed, constant_text.node)
            place.text = text
            report("relative-path", place)
          end
        end
      end
    end
  end
end

-- Every place has its line.
local function add_sources(found, nb)
  for _, d in ipairs(found) do
    local cell = d.cell and d.line and not d.source and nb.cells[d.cell]
    if cell then
      local number = 0
      for line in (cell.source .. "\n"):gmatch "([^\n]*)\n" do
        number = number + 1
        if number == d.line then d.source = line end
      end
    end
  end
end

local function has_notebooks(layout)
  for _, step in ipairs(layout.steps) do
    if step.reference then return true end
  end
  return false
end

---Makes a plan of a notebook that has been read.
---@param nb table of kale.notebook
---@param options {infer: boolean?}? infer: edges follow data, besides prev tags
---@return table plan
function M.make(nb, options)
  local found, add = diagnostics.collector()
  local function report(code, fields) add(diagnostics.new(code, fields)) end
  for _, problem in ipairs(nb.problems or {}) do report("notebook", problem) end
  if nb.language and not nb.language:lower():find "^i?python" then report("language", { name = nb.language }) end
  local known = metadata.read(nb, report)
  local layout = cells.read(nb, known, report)
  local params, by_name = parameters.read(layout.parameters, report)
  local metrics = parameters.metrics(layout.metrics, report)
  layout.inner = {}
  report = compose.reporter(layout, report)
  local composed = has_notebooks(layout) and compose.expand(layout, nb, by_name, metrics, report)
  for _, volume in ipairs(composed and known.mounts or {}) do
    if volume.kind == "create" then
      local wanted = "a claim that is there already, where notebooks are parts"
      report("volume-wrong", { name = volume.name, wanted = wanted })
    end
  end
  analysis.resolve(layout, by_name, metrics, report, {
    infer = composed or options and options.infer, image = known.base_image,
    is_shared = known.abs_working_dir ~= nil,
  })
  warn_about_paths(layout, fs.dirname(nb.path), report)
  local plan = {
    name = known.pipeline_name or fs.stem(nb.path), path = nb.path, metadata = known, params = params,
    metrics = {}, steps = {}, crossings = describe_crossings(layout), diagnostics = found,
  }
  local seen = {}
  for _, metric in ipairs(metrics) do
    if not seen[metric.name] then table.insert(plan.metrics, metric.name) end
    seen[metric.name] = true
  end
  table.sort(plan.metrics)
  local common = taken_with(layout.steps)
  for i, step in ipairs(layout.steps) do plan.steps[i] = finish_step(step, common, layout, by_name) end
  add_sources(found, nb)
  diagnostics.sort(found)
  return plan
end

---Reads a notebook and plans it.
---@param path string
---@param options {infer: boolean?}? of M.make
---@return table plan # raises "Notebook" when the file is no notebook; mistakes in it are plan.diagnostics
function M.read(path, options)
  return M.make(notebook.read(path, { tolerant = true }), options)
end

return M
