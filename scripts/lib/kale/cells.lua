-- The second room: tags. Each code cell gets its part: imports, functions, parameters, metrics,
-- skip, or a step with its options. Not for Python: see kale.source.
--   local layout = cells.read(notebook, metadata, report)  -- layout.steps, layout.imports, …
local options = require "kale.options"
local tags = require "kale.tags"

local M = {}

local function add_unique(list, value)
  for _, known in ipairs(list) do
    if known == value then return end
  end
  list[#list + 1] = value
end

local Reader = {}
Reader.__index = Reader

function Reader:tell(code, cell, fields)
  fields = fields or {}
  fields.cell = cell.number
  self.report(code, fields)
end

-- Takes a cell's tags apart: special part, step or notebook, earlier steps, options.
function Reader:tags(cell)
  local result = { prev = {}, options = {} }
  for _, text in ipairs(cell.tags) do
    local tag, code, fields = tags.read(text)
    if not tag then
      self:tell(code, cell, fields)
      result.misnamed = result.misnamed or code == "step-name" and not text:find "^prev:"
    elseif tag.kind == "special" then
      result.special = result.special or tag
    elseif tag.kind == "empty" then
      self:tell("tag-empty", cell, { tag = tag.tag })
    elseif tag.kind == "prev" then
      add_unique(result.prev, tag.value)
    elseif tag.kind == "step" or tag.kind == "notebook" then
      if result.step and (result.step ~= tag.value or result.kind ~= tag.kind) then self:tell("several-steps", cell)
      else result.step, result.kind = tag.value, tag.kind end
    else
      table.insert(result.options, tag)
    end
  end
  return result
end

function Reader:special(cell, found)
  local special = found.special
  for _, tag in ipairs(cell.tags) do
    if tag ~= special.tag and type(tag) == "string" then
      self:tell("tag-ignored", cell, { tag = tag, special = special.tag })
    end
  end
  if special.value == "skip" then return end
  if special.value == "metrics" then self.metrics_cell = self.metrics_cell or cell
  elseif self.metrics_cell then self:tell("metrics-not-last", self.metrics_cell) end
  self.active = self.layout[special.value]
  table.insert(self.active, cell)
end

-- What KFP has no place for.
function Reader:check_resources(cell, step)
  local accelerator
  for _, group in ipairs { "limits", "requests" } do
    for name in pairs(step.options[group]) do
      local is_accelerator = name:find("/", 1, true) ~= nil
      if not is_accelerator and name ~= "cpu" and name ~= "memory" then
        self:tell("resource-unknown", cell, { name = name })
      elseif is_accelerator and group == "requests" then
        self:tell("resource-request", cell, { name = name })
      elseif is_accelerator and accelerator then
        self:tell("resource-second", cell, { name = math.max(name, accelerator) })
      elseif is_accelerator then
        accelerator = name
      end
    end
  end
end

function Reader:prev(cell, found)
  local list, layout = {}, self.layout
  for _, name in ipairs(found.prev) do
    if layout.by_name[name] and name ~= found.step then
      list[#list + 1] = name
    else
      local known = {}
      for i, other in ipairs(layout.steps) do known[i] = other.name end
      self:tell("prev-unknown", cell, { name = name, known = #known > 0 and table.concat(known, ", ") or "none" })
    end
  end
  return list
end

function Reader:new_step(cell, found)
  local layout = self.layout
  if self.metrics_cell then self:tell("metrics-not-last", self.metrics_cell) end
  local step = { name = found.step, cells = { cell }, prev = self:prev(cell, found) }
  step.options = options.merge(self.defaults, found.options, function(tag)
    self:tell("tag-contradicts", cell, { tag = tag.tag })
  end)
  self:check_resources(cell, step)
  if found.kind == "notebook" then
    step.reference, self.active = cell.metadata.notebook_path or "", nil
    self.after_reference = step
  else
    self.active, self.after_reference = step.cells, nil
    for i, earlier in ipairs(self.waiting or {}) do table.insert(step.cells, i, earlier) end
    self.waiting = nil
  end
  table.insert(layout.steps, step)
  layout.by_name[step.name] = step
end

function Reader:step(cell, found)
  local known = self.layout.by_name[found.step]
  if not known then return self:new_step(cell, found) end
  if known.reference or found.kind == "notebook" then return self:tell("step-twice", cell, { name = found.step }) end
  for _, tag in ipairs(cell.tags) do
    if type(tag) == "string" and not tag:find "^step:" and not tag:find "^block:" then
      self:tell("tag-repeated", cell, { tag = tag, step = found.step })
    end
  end
  if self.metrics_cell then self:tell("metrics-not-last", self.metrics_cell) end
  table.insert(known.cells, cell)
  self.active, self.after_reference = known.cells, nil
end

function Reader:untagged(cell, found)
  -- Of a step whose name is wrong, that alone is said.
  if not found.misnamed then
    for _, name in ipairs(found.prev) do self:tell("tag-without-step", cell, { tag = "prev:" .. name }) end
    for _, tag in ipairs(found.options) do self:tell("tag-without-step", cell, { tag = tag.tag }) end
  end
  if not cell.source:find "%S" then return end
  if self.active then
    table.insert(self.active, cell)
  elseif self.after_reference then
    -- Code after a reference belongs to the next step.
    self.waiting = self.waiting or {}
    table.insert(self.waiting, cell)
  else
    self:tell("cell-dropped", cell, { line = 1, column = 1, source = cell.source:match "^[^\n]*" })
  end
end

-- Tags count on code cells only: one that was meant for the pipeline is missed.
function Reader:text(cell)
  for _, text in ipairs(cell.tags) do
    local tag, code = tags.read(text)
    if tag or code == "tag-value" or code == "step-name" then self:tell("tag-on-text", cell, { tag = text }) end
  end
end

---@param notebook table of kale.notebook
---@param metadata table of kale.metadata
---@param report fun(code: string, fields: table)
---@return table layout steps, by_name, and the cells of imports, functions, parameters, metrics
function M.read(notebook, metadata, report)
  local layout = { steps = {}, by_name = {}, imports = {}, functions = {}, parameters = {}, metrics = {} }
  local reader = setmetatable({ layout = layout, report = report, defaults = metadata.step_defaults or {} }, Reader)
  for _, cell in ipairs(notebook.cells) do
    if cell.kind == "code" then
      local found = reader:tags(cell)
      if found.special then reader:special(cell, found)
      elseif found.step then reader:step(cell, found)
      else reader:untagged(cell, found) end
    else
      reader:text(cell)
    end
  end
  for _, cell in ipairs(reader.waiting or {}) do
    reader:tell("cell-after-reference", cell, { line = 1, column = 1, source = cell.source:match "^[^\n]*" })
  end
  if #layout.steps == 0 then report("no-steps", {}) end
  return layout
end

return M
