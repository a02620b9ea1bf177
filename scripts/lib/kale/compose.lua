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

---Whose cell a number is: that of the notebook itself, or of one in it.
---@param layout table
---@param number integer
---@return integer cell
---@return table? inner {path, name, cell}: the notebook it belongs to
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
    local number, inner = M.owner(layout, fields.cell)
    local place = ("%s, cell %d"):format(fs.basename(inner.path), number)
    if fields.line then place = ("%s, line %d, column %d"):format(place, fields.line, fields.column or 1) end
    local copy = { within = place }
    for key, value in pairs(fields) do copy[key] = value end
    copy.cell, copy.line, copy.column, copy.source = inner.cell, nil, nil, nil
    report(code, copy)
  end
end

-- --- one notebook ------------------------------------------------------------------------------------------

local function read_inner(nb, step, layout, report)
  local cell = step.cells[1]
  local path = fs.join(fs.dirname(nb.path), step.reference)
  local function wrong(code, fields)
    fields.cell, fields.name, fields.path = cell.number, step.name, step.reference
    report(code, fields)
  end
  if type(step.reference) ~= "string" or step.reference == "" then return wrong("notebook-path", {}) end
  if not fs.exists(path) then return wrong("notebook-missing", {}) end
  if fs.realpath(path) == (fs.try.realpath(nb.path) or nb.path) then return wrong("notebook-itself", {}) end
  local ok, inner = pcall(notebook.read, path)
  if not ok then return wrong("notebook-wrong", { message = errors.text(inner) }) end
  local number = #layout.inner + 1
  layout.inner[number] = { path = path, name = step.name, cell = cell.number }
  for _, own in ipairs(inner.cells) do own.number = number * BASE + own.number end
  local function report_inner(code, fields)
    if not fields.cell then fields.cell = number * BASE end
    report(code, fields)
  end
  local known = metadata.read(inner, report_inner)
  local inside = cells.read(inner, known, report_inner)
  for _, other in ipairs(inside.steps) do
    if other.reference then return wrong("notebook-nested", {}) end
  end
  inside.params, inside.by_name = parameters.read(inside.parameters, report_inner)
  inside.made_metrics = parameters.metrics(inside.metrics, report_inner)
  return inside, known
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

-- The steps of an inner notebook under names of their own, after what the reference comes after.
local function adopt(step, inside, known)
  local renamed, list = {}, {}
  for _, own in ipairs(inside.steps) do renamed[own.name] = step.name .. "." .. own.name end
  for i, own in ipairs(inside.steps) do
    local prev = {}
    for k, name in ipairs(own.prev) do prev[k] = renamed[name] end
    if #prev == 0 then prev = table.move(step.prev, 1, #step.prev, 1, {}) end
    list[i] = {
      name = renamed[own.name], inner_name = own.name, group = step.name, cells = own.cells, prev = prev,
      options = own.options, cell = step.cells[1].number,
    }
    list[i].options.image = own.options.image or known.base_image
    if own.options.cache == nil and known.enable_caching == false then own.options.cache = false end
  end
  return list
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

---Puts the steps of the notebooks that a layout names in their place. layout.modules then has for each inner
---notebook its imports, functions and parameters; layout.inner their paths.
---@param layout table of kale.cells
---@param nb table of kale.notebook
---@param metrics table[] those of inner notebooks are added
---@param report fun(code: string, fields: table)
---@return boolean # whether there are any
function M.expand(layout, nb, metrics, report)
  local items, expands = {}, {}
  layout.modules, layout.inner = {}, layout.inner or {}
  for _, step in ipairs(layout.steps) do
    if not step.reference then
      items[#items + 1] = { step, cell = step.cells[1].number, name = step.name }
    else
      check_code(step, report)
      local inside, known = read_inner(nb, step, layout, report)
      expands[step.name] = {}
      if inside then
        local list = adopt(step, inside, known)
        layout.modules[step.name] = inside
        table.move(inside.made_metrics, 1, #inside.made_metrics, #metrics + 1, metrics)
        for i, own in ipairs(list) do expands[step.name][i] = own.name end
        list.is_notebook, list.cell, list.name = true, step.cells[1].number, step.name
        items[#items + 1] = list
      end
    end
  end
  if next(expands) == nil then return false end
  layout.steps, layout.by_name = {}, {}
  for _, item in ipairs(in_order(items, report)) do
    for _, step in ipairs(item) do
      local prev = {}
      for _, name in ipairs(step.prev) do
        for _, other in ipairs(expands[name] or { name }) do prev[#prev + 1] = other end
      end
      step.prev = prev
      layout.steps[#layout.steps + 1] = step
      layout.by_name[step.name] = step
    end
  end
  return true
end

return M
