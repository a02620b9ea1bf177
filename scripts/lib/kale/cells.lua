-- The second room: tags. Each code cell gets its part: imports, functions, parameters, metrics,
-- skip, or a step with its options. Not for Python: see kale.source.
--   local layout = cells.read(notebook, report)  -- layout.steps, layout.imports, …
local M = {}

local SPECIAL = {
  ["skip"] = "skip", ["imports"] = "imports", ["functions"] = "functions",
  ["pipeline-parameters"] = "parameters", ["pipeline-metrics"] = "metrics",
}

-- Options of a step, by the tag's first word. What a later version acts on is marked "kept".
local OPTIONS = {
  annotation = "kept", label = "kept", limit = "kept", image = "image", cache = "cache",
  report = "kept", notebook = "kept", secret = "kept",
}

local KNOWN = "imports, functions, pipeline-parameters, pipeline-metrics, skip, step:NAME, prev:NAME"

-- Takes a cell's tags apart: special part, step name, earlier steps, options.
local function read_tags(cell, report)
  local result = { prev = {}, options = {} }
  for _, tag in ipairs(cell.tags) do
    local where = { cell = cell.number, tag = tostring(tag), known = KNOWN }
    if type(tag) ~= "string" then
      report("tag-not-text", where)
    elseif SPECIAL[tag] then
      result.special = result.special or tag
    else
      local word, value = tag:match "^([%w_-]+):(.*)$"
      if word == "step" or word == "block" then
        if value ~= "" then
          if not value:find "^[_a-z][_a-z0-9]*$" then
            where.name = value
            report("step-name", where)
          elseif result.step and result.step ~= value then
            report("several-steps", where)
          else
            result.step = value
          end
        end
      elseif word == "prev" then
        if value ~= "" then result.prev[#result.prev + 1] = value end
      elseif word and OPTIONS[word] then
        result.options[#result.options + 1] = { tag = tag, name = word, value = value, act = OPTIONS[word] }
      else
        report("tag-unknown", where)
      end
    end
  end
  return result
end

local function add_unique(list, value)
  for _, known in ipairs(list) do
    if known == value then return end
  end
  list[#list + 1] = value
end

local Reader = {}
Reader.__index = Reader

function Reader:warn(code, cell, fields)
  fields = fields or {}
  fields.cell = cell.number
  self.report(code, fields)
end

function Reader:special(cell, tags)
  local special = SPECIAL[tags.special]
  for _, tag in ipairs(cell.tags) do
    if tag ~= tags.special and type(tag) == "string" then
      self:warn("tag-ignored", cell, { tag = tag, special = tags.special })
    end
  end
  if special ~= "skip" then
    self.active = self.layout[special]
    table.insert(self.active, cell)
    if special == "metrics" then self.metrics_cell = self.metrics_cell or cell end
  end
end

function Reader:new_step(cell, tags)
  local layout = self.layout
  local step = { name = tags.step, cells = { cell }, prev = {}, options = {} }
  if self.metrics_cell then self:warn("metrics-not-last", self.metrics_cell) end
  for _, name in ipairs(tags.prev) do
    if layout.by_name[name] then
      add_unique(step.prev, name)
    else
      local known = {}
      for i, other in ipairs(layout.steps) do known[i] = other.name end
      self:warn("prev-unknown", cell, { name = name, known = #known > 0 and table.concat(known, ", ") or "none" })
    end
  end
  for _, option in ipairs(tags.options) do
    if option.act == "kept" then self:warn("tag-no-effect", cell, { tag = option.tag }) end
    step.options[#step.options + 1] = option
  end
  table.insert(layout.steps, step)
  layout.by_name[step.name] = step
  self.active = step.cells
end

function Reader:step(cell, tags)
  local known = self.layout.by_name[tags.step]
  if not known then return self:new_step(cell, tags) end
  for _, tag in ipairs(cell.tags) do
    if type(tag) == "string" and not tag:find "^step:" and not tag:find "^block:" then
      self:warn("tag-repeated", cell, { tag = tag, step = tags.step })
    end
  end
  table.insert(known.cells, cell)
  self.active = known.cells
end

function Reader:untagged(cell, tags)
  for _, name in ipairs(tags.prev) do self:warn("tag-without-step", cell, { tag = "prev:" .. name }) end
  for _, option in ipairs(tags.options) do self:warn("tag-without-step", cell, { tag = option.tag }) end
  if self.active then
    table.insert(self.active, cell)
  elseif cell.source:find "%S" then
    self:warn("cell-dropped", cell, { line = 1, column = 1, source = cell.source:match "^[^\n]*" })
  end
end

---@param notebook table of kale.notebook
---@param report fun(code: string, fields: table)
---@return table layout steps, by_name, and the cells of imports, functions, parameters, metrics
function M.read(notebook, report)
  local layout = { steps = {}, by_name = {}, imports = {}, functions = {}, parameters = {}, metrics = {} }
  local reader = setmetatable({ layout = layout, report = report }, Reader)
  for _, cell in ipairs(notebook.cells) do
    if cell.kind == "code" then
      local tags = read_tags(cell, report)
      if tags.special then reader:special(cell, tags)
      elseif tags.step then reader:step(cell, tags)
      else reader:untagged(cell, tags) end
    end
  end
  if #layout.steps == 0 then report("no-steps", {}) end
  return layout
end

return M
