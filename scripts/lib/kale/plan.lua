-- The plan: everything that is known of a notebook as a pipeline, as plain data.
-- Not for how a pipeline is written (kale.ir) or run (kfp.run).
--   local plan = require "kale.plan".read "train.ipynb"; print(plan.steps[1].name)
local analysis = require "kale.analysis"
local cells = require "kale.cells"
local diagnostics = require "kale.diagnostics"
local fs = require "fs"
local json = require "json"
local notebook = require "kale.notebook"
local pyast = require "pyast"
local source = require "kale.source"

local M = {}

-- --- the parameters and metrics cells ------------------------------------------------------------------

local TYPES = { integer = "int", float = "float", string = "str", ["true"] = "bool", ["false"] = "bool" }

local ESCAPES = {
  n = "\n", t = "\t", r = "\r", ["\\"] = "\\", ["'"] = "'", ['"'] = '"', ["0"] = "\0", a = "\a", b = "\b",
  f = "\f", v = "\v",
}

-- The value of a string literal, or nil for one that is no plain text (bytes, f-string, several).
local function string_value(text)
  local prefix, quote, body = text:match "^([%a]*)(['\"])(.*)%2$"
  if not prefix or prefix:lower():find "[bf]" then return nil end
  local triple = quote .. quote
  if body:sub(1, 2) == triple and body:sub(-2) == triple and #body >= 4 then body = body:sub(3, -3) end
  if prefix:lower():find "r" then return body end
  local function character(hex) return utf8.char(tonumber(hex, 16)) end
  local value = body:gsub("\\\r?\n", ""):gsub("\\x(%x%x)", character):gsub("\\u(%x%x%x%x)", character)
    :gsub("\\([ntr\\'\"0abfv])", ESCAPES)
  return value
end

local function integer_value(text)
  local digits = text:gsub("_", "")
  local base, rest = digits:match "^0([xXoObB])(%x+)$"
  if base then return math.tointeger(tonumber(rest, ({ x = 16, o = 8, b = 2 })[base:lower()])) end
  return math.tointeger(tonumber(digits)) or tonumber(digits)
end

-- The constant at a node: type and value; nil when it is none.
local function constant(tree, python, node)
  local kind = tree.kind[node]
  local text = python:sub(tree.first[node], tree.last[node])
  if kind == "parenthesized_expression" then return constant(tree, python, node + 2) end
  if kind == "unary_operator" then
    local sign = python:sub(tree.first[node], tree.first[node])
    local type_name, value = constant(tree, python, node + 2)
    if (type_name == "int" or type_name == "float") and (sign == "-" or sign == "+") then
      return type_name, sign == "-" and -value or value
    end
    return nil
  end
  if kind == "string" then
    local value = string_value(text)
    if value then return "str", value end
  elseif kind == "integer" then return "int", integer_value(text)
  elseif kind == "float" then return "float", tonumber((text:gsub("_", ""))) + 0.0
  elseif TYPES[kind] then return "bool", kind == "true"
  elseif kind == "none" then return "none", json.null end
  return nil
end

local ANNOTATIONS = { int = "int", float = "float", str = "str", bool = "bool" }

local function place_of(parsed, node)
  local line, column = pyast.position(parsed.python, parsed.tree.first[node])
  return { cell = parsed.cell.number, line = line, column = column, source = parsed.lines(line) }
end

-- name = constant, or name: type = constant
local function read_parameter(parsed, statement)
  local tree = parsed.tree
  local assignment = statement + 1
  if tree.kind[statement] ~= "expression_statement" or tree.kind[assignment] ~= "assignment" then return nil end
  local left, right, annotation
  local at = assignment + 1
  while at < tree.next[assignment] do
    if tree.field[at] == "left" then left = at
    elseif tree.field[at] == "right" then right = at
    elseif tree.field[at] == "type" then annotation = parsed.python:sub(tree.first[at], tree.last[at]) end
    at = tree.next[at]
  end
  if not right or tree.kind[left] ~= "identifier" then return nil end
  local type_name, value = constant(tree, parsed.python, right)
  if not type_name then return nil end
  local wanted = ANNOTATIONS[annotation or ""]
  if type_name == "none" then type_name = wanted or "str"
  elseif wanted == "float" and type_name == "int" then type_name, value = "float", value + 0.0
  elseif wanted and wanted ~= type_name then return nil end
  return { name = parsed.python:sub(tree.first[left], tree.last[left]), type = type_name, default = value }
end

local function each_statement(cells_, report, fn)
  for _, cell in ipairs(cells_) do
    local parsed = source.parse(cell, report)
    local tree, at = parsed.tree, 2
    while at <= tree.count do
      if tree.kind[at] ~= "comment" and tree.kind[at] ~= "ERROR" then fn(parsed, at) end
      at = tree.next[at]
    end
  end
end

local function read_parameters(layout, report)
  local list, by_name = {}, {}
  each_statement(layout.parameters, report, function(parsed, node)
    local place = place_of(parsed, node)
    local parameter = read_parameter(parsed, node)
    if not parameter then
      if parsed.tree.kind[node] ~= "pass_statement" then report("parameter-not-constant", place) end
    elseif by_name[parameter.name] then
      place.name = parameter.name
      report("parameter-repeated", place)
    else
      parameter.cell, parameter.line = place.cell, place.line
      by_name[parameter.name] = parameter
      list[#list + 1] = parameter
    end
  end)
  table.sort(list, function(a, b) return a.name < b.name end)
  return list, by_name
end

local function read_metrics(layout, report)
  local list, seen = {}, {}
  each_statement(layout.metrics, report, function(parsed, node)
    local text = parsed.python:sub(parsed.tree.first[node], parsed.tree.last[node])
    local place = place_of(parsed, node)
    local name = text:match "^print%s*%(%s*([%a_][%w_]*)%s*%)$"
    if not name then
      report("metric-not-print", place)
    elseif not seen[name] then
      seen[name] = true
      place.name = name
      list[#list + 1] = place
    end
  end)
  return list
end

-- --- metadata -------------------------------------------------------------------------------------------

local ACTING = {
  experiment_name = true, experiment = true, pipeline_name = true, pipeline_description = true,
  docker_image = true, base_image = true, katib_run = true, katib_metadata = true, enable_caching = true,
  kfp_host = true, steps_defaults = true,
}
local EMPTY = {
  volumes = true, snapshot_volumes = true, autosnapshot = true, marshal_volume = true, output_path = true,
}

local function read_metadata(nb, report)
  local given = nb.metadata.kubeflow_notebook
  if type(given) ~= "table" then return {} end
  local metadata = {}
  for key, value in pairs(given) do
    if value ~= "" and value ~= json.null then metadata[key] = value end
    local is_empty = value == "" or value == json.null or value == false
      or type(value) == "table" and next(value) == nil
    if not ACTING[key] and not EMPTY[key] and not is_empty then report("metadata-ignored", { key = key }) end
  end
  metadata.base_image = metadata.base_image or metadata.docker_image
  return metadata
end

-- --- putting it together ----------------------------------------------------------------------------------

local function sorted_keys(set)
  local keys = {}
  for key in pairs(set) do keys[#keys + 1] = key end
  table.sort(keys)
  return keys
end

local function by_place(a, b)
  if a.cell ~= b.cell then return a.cell < b.cell end
  return a.first < b.first
end

local function finish_step(step)
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
    numbers[i] = cell.number
    local python = cell.parsed.python
    if python:find "%S" then code[#code + 1] = { cell = cell.number, line = 1, source = python } end
  end
  table.sort(step.metrics or {})
  return {
    name = step.name, after = sorted_keys(after), prev = step.prev, ins = sorted_keys(step.crossing),
    outs = sorted_keys(step.outgoing), params = sorted_keys(step.params), metrics = step.metrics or {},
    cells = numbers, values_in = values_in, values_out = values_out, setup = step.setup, code = code,
    options = step.options,
  }
end

local function describe_crossings(steps)
  local list = {}
  for _, step in ipairs(steps) do
    for _, name in ipairs(sorted_keys(step.crossing)) do
      local crossing = step.crossing[name]
      if crossing.how == "value" then
        crossing.from.valued = crossing.from.valued or {}
        crossing.from.valued[name] = true
      end
      list[#list + 1] = {
        name = name, from = crossing.from.name, to = step.name, how = crossing.how,
        why = crossing.why or "it is read here",
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
            local place = place_of(parsed, constant_text.node)
            place.text = text
            report("relative-path", place)
          end
        end
      end
    end
  end
end

---Makes a plan of a notebook that has been read.
---@param nb table of kale.notebook
---@return table plan
function M.make(nb)
  local found = {}
  local function report(code, fields) found[#found + 1] = diagnostics.new(code, fields) end
  local layout = cells.read(nb, report)
  local metadata = read_metadata(nb, report)
  local params, by_name = read_parameters(layout, report)
  local metrics = read_metrics(layout, report)
  analysis.resolve(layout, by_name, metrics, report)
  warn_about_paths(layout, fs.dirname(nb.path), report)
  local plan = {
    name = metadata.pipeline_name or fs.stem(nb.path), path = nb.path, metadata = metadata, params = params,
    metrics = {}, steps = {}, crossings = describe_crossings(layout.steps), diagnostics = found,
  }
  for i, metric in ipairs(metrics) do plan.metrics[i] = metric.name end
  table.sort(plan.metrics)
  for i, step in ipairs(layout.steps) do plan.steps[i] = finish_step(step) end
  diagnostics.sort(found)
  return plan
end

---Reads a notebook and plans it.
---@param path string
---@return table plan # raises "Notebook" when the file is no notebook; mistakes in it are plan.diagnostics
function M.read(path)
  return M.make(notebook.read(path))
end

return M
