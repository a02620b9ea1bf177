-- Notebooks in a notebook: a cell tagged notebook:NAME stands for the steps of the notebook that its metadata's
-- notebook_path names. Not for how they are written: in the IR each is a pipeline of its own, see kale.ir.
--   compose.expand(layout, nb, metrics, report)  -- layout.steps has the steps of both
local cells = require "kale.cells"
local errors = require "errors"
local fs = require "fs"
local metadata = require "kale.metadata"
local notebook = require "kale.notebook"
local parameters = require "kale.parameters"
local source = require "kale.source"

local M = {}

-- Cells of other notebooks are numbered from a multiple of this, so that all stay apart.
local BASE = 100000

local MOST = 1000 -- notebooks in one

---Whose cell a number is: that of the notebook itself, or of one in it.
---@param layout table
---@param number integer
---@return integer cell
---@return table? inner {path, name, cell}: the notebook it belongs to, and the cell that names it
function M.owner(layout, number)
  if number < BASE then return number end
  return number % BASE, layout.inner[number // BASE]
end

---A report that says of which inner notebook a finding is: it stands at the cell that names the notebook.
---@param layout table
---@param report fun(code: string, fields: table)
---@return fun(code: string, fields: table)
function M.reporter(layout, report)
  return function(code, fields)
    if not fields.cell or fields.cell < BASE then return report(code, fields) end
    local copy, places = {}, {}
    for key, value in pairs(fields) do copy[key] = value end
    while copy.cell >= BASE do
      local number, inner = M.owner(layout, copy.cell)
      local place = fs.basename(inner.path)
      if number > 0 then place = ("%s, cell %d"):format(place, number) end
      table.insert(places, 1, place)
      copy.cell = inner.cell
    end
    local within = table.concat(places, ": ")
    if fields.line then within = ("%s, line %d, column %d"):format(within, fields.line, fields.column or 1) end
    copy.within, copy.line, copy.column, copy.source = within, nil, nil, nil
    report(code, copy)
  end
end

-- --- one notebook ------------------------------------------------------------------------------------------

-- What a part has no place for: it belongs to a pipeline as a whole.
local WHOLE = { timeout = "the outer notebook's holds for the whole pipeline" }

local function check_metadata(known, report)
  for key, why in pairs(WHOLE) do
    if known[key] then report("metadata-ignored", { key = key, why = why }) end
  end
  for _, volume in ipairs(known.mounts) do
    if volume.kind == "create" then
      local wanted = "a claim that is there already, where notebooks are parts"
      report("volume-wrong", { name = volume.name, wanted = wanted })
    end
  end
end

-- The chain of files from the outermost notebook to this one, when the path is in it.
local function chain_to(nb, path)
  local names, at, found = { fs.basename(path) }, nb, false
  local real = fs.realpath(path)
  while at and not found do
    table.insert(names, 1, fs.basename(at.path))
    found, at = (fs.try.realpath(at.path) or at.path) == real, at.within
  end
  return found and names or nil
end

local function read_file(nb, step, layout, wrong)
  if step.reference:find("\0", 1, true) then return wrong("notebook-missing", {}) end
  local path = fs.join(fs.dirname(nb.path), step.reference)
  if not fs.exists(path) then return wrong("notebook-missing", {}) end
  local chain = chain_to(nb, path)
  if chain and #chain == 2 then return wrong("notebook-itself", {}) end
  if chain then return wrong("notebook-cycle", { chain = table.concat(chain, " → ") }) end
  if #layout.inner >= MOST then return wrong("notebook-many", { most = MOST }) end
  local ok, inner = pcall(notebook.read, path, { tolerant = true })
  if not ok then return wrong("notebook-wrong", { message = errors.text(inner) }) end
  inner.path, inner.within = path, nb
  return inner
end

local function read_inner(nb, step, layout, report)
  local cell = step.cells[1]
  local function wrong(code, fields)
    fields.cell, fields.name, fields.path = cell.number, step.name, step.reference
    report(code, fields)
  end
  if type(step.reference) ~= "string" or step.reference == "" then return wrong("notebook-path", {}) end
  local inner = read_file(nb, step, layout, wrong)
  if not inner then return nil end
  local number = #layout.inner + 1
  layout.inner[number] = { path = inner.path, name = step.name, cell = cell.number }
  for _, own in ipairs(inner.cells) do own.number = number * BASE + own.number end
  local function report_inner(code, fields)
    if not fields.cell then fields.cell = number * BASE end
    report(code, fields)
  end
  for _, problem in ipairs(inner.problems) do
    report_inner("notebook", { message = problem.message, cell = problem.cell and number * BASE + problem.cell,
      line = problem.line, column = problem.column })
  end
  local known = metadata.read(inner, report_inner)
  check_metadata(known, report_inner)
  local inside = cells.read(inner, known, report_inner)
  local _, own_params = parameters.read(inside.parameters, report_inner)
  inside.params, inside.metrics_made = own_params, parameters.metrics(inside.metrics, report_inner)
  return inside, known, inner
end

-- Code in the cell that names a notebook has no place.
local function check_code(step, report)
  local cell = step.cells[1]
  local parsed = source.parse(cell, report)
  for node = 2, parsed.tree.count do
    if parsed.tree.kind[node] ~= "comment" then
      report("notebook-code", { cell = cell.number, line = 1, column = 1, source = cell.source:match "^[^\n]*" })
      return
    end
  end
end

-- What the metadata of an inner notebook says of its steps.
local function settle(step, known)
  local options = step.options
  options.image = options.image or known.base_image
  if options.cache == nil and known.enable_caching == false then options.cache = false end
  for _, volume in ipairs(known.mounts) do
    if volume.kind == "use" then
      options.volumes[volume.path] = options.volumes[volume.path] or volume.name
      if volume.env then options.env[volume.env] = options.env[volume.env] or volume.path end
    end
  end
  step.security = step.security or known.security
  step.folder = step.folder or known.abs_working_dir
end

-- The steps of an inner notebook under names of their own, after what the reference comes after.
local function adopt(reference, inside, known)
  local prefix = reference.name .. "."
  for _, step in ipairs(inside.steps) do
    if not step.groups then
      settle(step, known)
      step.inner_name, step.groups = step.name, {}
    end
    for i, group in ipairs(step.groups) do step.groups[i] = prefix .. group end
    table.insert(step.groups, 1, reference.name)
    step.name, step.group = prefix .. step.name, step.groups[#step.groups]
    local waits = {}
    for name in pairs(step.waits or {}) do waits[prefix .. name] = true end
    step.waits = waits
    if #step.prev == 0 then step.prev = table.move(reference.prev, 1, #reference.prev, 1, {})
    else
      for k, name in ipairs(step.prev) do step.prev[k] = prefix .. name end
    end
    step.cell = reference.cells[1].number
  end
  return inside.steps
end

-- The parameters of a part: its own, and in their place those of the notebooks around it; each with the depth of the
-- notebook that sets it, 0 for the outermost.
local function parameters_of(inside, around, depth)
  local by_name, depths = {}, {}
  for name, parameter in pairs(inside.params) do by_name[name], depths[name] = parameter, depth end
  for name, parameter in pairs(around.by_name) do
    by_name[name], depths[name] = parameter, around.depths and around.depths[name] or 0
  end
  inside.by_name, inside.depths = by_name, depths
end

-- --- their order -------------------------------------------------------------------------------------------

local function names_of(item, report)
  local needs, stores = {}, {}
  for _, step in ipairs(item) do
    local summary = source.summarize(step.cells, report)
    for name in pairs(summary.needs) do
      if not stores[name] then needs[name] = true end
    end
    for name in pairs(summary.stores) do stores[name] = true end
  end
  return needs, stores
end

-- A notebook that makes what an item before it needs goes before that item.
local function in_order(items, report)
  for _, item in ipairs(items) do item.needs, item.stores = names_of(item, report) end
  local result, done, open = {}, {}, {}
  local made = {}
  local function place(item)
    if done[item] then return end
    if open[item] then
      report("notebook-order", { cell = item.cell, name = item.name })
      return
    end
    open[item] = true
    for name in pairs(item.needs) do
      if not made[name] then
        for _, other in ipairs(items) do
          if other ~= item and other.is_notebook and other.stores[name] and not done[other] then place(other) end
        end
      end
    end
    for name in pairs(item.stores) do made[name] = true end
    done[item] = true
    result[#result + 1] = item
  end
  for _, item in ipairs(items) do place(item) end
  return result
end

local expand

-- The steps that a reference stands for, and in layout.modules what they are in.
local function take_in(step, at, report)
  local layout = at.layout
  check_code(step, report)
  local inside, known, inner = read_inner(at.nb, step, layout, report)
  if not inside then return nil end
  parameters_of(inside, at.around, at.depth + 1)
  local deeper = { nb = inner, layout = layout, around = inside, depth = at.depth + 1, metrics = at.metrics,
    modules = {} }
  expand(inside, deeper, report)
  table.move(inside.metrics_made, 1, #inside.metrics_made, #at.metrics + 1, at.metrics)
  at.modules[step.name] = inside
  for name, module in pairs(deeper.modules) do at.modules[step.name .. "." .. name] = module end
  return adopt(step, inside, known)
end

-- Puts the steps of the notebooks that a notebook names in their place.
function expand(inside, at, report)
  local items, expands = {}, {}
  for _, step in ipairs(inside.steps) do
    if not step.reference then
      items[#items + 1] = { step, cell = step.cells[1].number, name = step.name }
    else
      local list = take_in(step, at, report)
      expands[step.name] = {}
      if list then
        for i, own in ipairs(list) do expands[step.name][i] = own.name end
        list.is_notebook, list.cell, list.name = true, step.cells[1].number, step.name
        items[#items + 1] = list
      end
    end
  end
  if next(expands) == nil then return false end
  inside.steps = {}
  for _, item in ipairs(in_order(items, report)) do
    for _, step in ipairs(item) do
      local prev = {}
      step.waits = step.waits or {}
      for _, name in ipairs(step.prev) do
        for _, other in ipairs(expands[name] or { name }) do
          prev[#prev + 1] = other
          step.waits[other] = step.waits[other] or expands[name] ~= nil or nil
        end
      end
      step.prev = prev
      inside.steps[#inside.steps + 1] = step
    end
  end
  return true
end

---Puts the steps of the notebooks that a layout names in their place, to any depth. layout.modules then has for each
---inner notebook, "outer.inner", its imports, functions and parameters; layout.inner their paths.
---@param layout table of kale.cells
---@param nb table of kale.notebook
---@param params table<string, table> of the notebook, by name
---@param metrics table[] those of inner notebooks are added
---@param report fun(code: string, fields: table)
---@return boolean # whether there are any
function M.expand(layout, nb, params, metrics, report)
  layout.modules = {}
  local found = expand(layout, {
    nb = nb, layout = layout, around = { by_name = params }, depth = 0, metrics = metrics, modules = layout.modules,
  }, report)
  if not found then return false end
  layout.by_name = {}
  for _, step in ipairs(layout.steps) do layout.by_name[step.name] = step end
  return true
end

return M
