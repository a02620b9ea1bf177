-- The parameters and metrics cells: constants that become a run's parameters, names that are printed.
-- Not for what steps do with them: see kale.analysis.
--   local list, by_name = parameters.read(layout.parameters, report); list[1].default
local json = require "json"
local nodes = require "kale.nodes"
local source = require "kale.source"

local M = {}

local TYPES = { integer = "int", float = "float", string = "str", ["true"] = "bool", ["false"] = "bool" }

local ESCAPES = {
  n = "\n", t = "\t", r = "\r", ["\\"] = "\\", ["'"] = "'", ['"'] = '"', ["0"] = "\0", a = "\a", b = "\b",
  f = "\f", v = "\v",
}

-- What stands after a backslash: the text it means, and how many bytes it takes; nil for what needs a table of names.
local function escape(body, at)
  local c = body:sub(at, at)
  if c == "\n" then return "", 1 end
  local octal = body:match("^[0-7][0-7]?[0-7]?", at)
  if octal then return utf8.char(tonumber(octal, 8)), #octal end
  for letter, digits in pairs { x = "^%x%x", u = "^%x%x%x%x", U = "^%x%x%x%x%x%x%x%x" } do
    local hex = c == letter and body:match(digits, at + 1)
    if hex then return utf8.char(tonumber(hex, 16)), 1 + #hex end
  end
  if c == "N" then return nil end
  if ESCAPES[c] then return ESCAPES[c], 1 end
  return "\\" .. c, 1
end

local function unescape(body)
  local pieces, at = {}, 1
  while true do
    local backslash = body:find("\\", at, true)
    if not backslash then break end
    pieces[#pieces + 1] = body:sub(at, backslash - 1)
    local text, size = escape(body, backslash + 1)
    if not text then return nil end
    pieces[#pieces + 1] = text
    at = backslash + 1 + size
  end
  pieces[#pieces + 1] = body:sub(at)
  return table.concat(pieces)
end

-- The value of a string literal, or nil for one that is no plain text (bytes, f-string).
local function string_value(text)
  local prefix, quote, body = text:match "^([%a]*)(['\"])(.*)%2$"
  if not prefix or prefix:lower():find "[bft]" then return nil end
  local triple = quote .. quote
  if body:sub(1, 2) == triple and body:sub(-2) == triple and #body >= 4 then body = body:sub(3, -3) end
  if prefix:lower():find "r" then return body end
  return unescape(body)
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
  elseif kind == "concatenated_string" then
    local pieces, at = {}, node + 1
    while at < tree.next[node] do
      local piece = tree.kind[at] == "string" and string_value(python:sub(tree.first[at], tree.last[at]))
      if not piece then return nil end
      pieces[#pieces + 1], at = piece, tree.next[at]
    end
    return "str", table.concat(pieces)
  elseif (kind == "integer" or kind == "float") and text:find "[jJ]$" then return nil
  elseif kind == "integer" then
    local value = integer_value(text)
    if value and value < math.huge then return "int", value end
  elseif kind == "float" then
    local value = tonumber((text:gsub("_", ""))) + 0.0
    if value < math.huge then return "float", value end  -- JSON has no infinity
  elseif TYPES[kind] then return "bool", kind == "true"
  elseif kind == "none" then return "none", json.null end
  return nil
end

local ANNOTATIONS = { int = "int", float = "float", str = "str", bool = "bool" }

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
      if tree.named[at] and tree.kind[at] ~= "comment" and tree.kind[at] ~= "ERROR" then fn(parsed, at) end
      at = tree.next[at]
    end
  end
end

---The parameters of a notebook, sorted by name.
---@param cells_ table[] cells tagged pipeline-parameters
---@param report fun(code: string, fields: table)
---@return {name: string, type: "int"|"float"|"str"|"bool", default: any, cell: integer, line: integer}[] list
---@return table<string, table> by_name
function M.read(cells_, report)
  local list, by_name = {}, {}
  each_statement(cells_, report, function(parsed, node)
    local place = nodes.place(parsed, node)
    local parameter = read_parameter(parsed, node)
    if not parameter then
      if parsed.tree.kind[node] ~= "pass_statement" then report("parameter-not-constant", place) end
    elseif by_name[parameter.name] then
      place.name = parameter.name
      report("parameter-repeated", place)
    else
      parameter.cell, parameter.line = place.cell, place.line
      -- KFP's numbers are doubles.
      if parameter.type == "int" and math.abs(parameter.default == json.null and 0 or parameter.default) > 2 ^ 53 then
        place.name = parameter.name
        report("parameter-large", place)
      end
      by_name[parameter.name] = parameter
      list[#list + 1] = parameter
    end
  end)
  table.sort(list, function(a, b) return a.name < b.name end)
  return list, by_name
end

---The metrics of a notebook, in its order.
---@param cells_ table[] cells tagged pipeline-metrics
---@param report fun(code: string, fields: table)
---@return {name: string, cell: integer, line: integer, column: integer, source: string}[]
function M.metrics(cells_, report)
  local list, seen = {}, {}
  each_statement(cells_, report, function(parsed, node)
    local text = parsed.python:sub(parsed.tree.first[node], parsed.tree.last[node])
    local place = nodes.place(parsed, node)
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

return M
