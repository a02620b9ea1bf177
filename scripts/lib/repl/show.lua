-- repl.show: a value as the text that a person wants to see: a table, YAML, a tree, a Lua literal.
-- Not for machines (json, yaml) nor for colours; a value whose metatable has __show says it itself.
--   show.value({ 1, 2, { a = true } }) -> "{1, 2, {a = true}}"

local json = require "json"
local term = require "term"

local M = {}

local MOST_LINES <const> = 200 -- of one value, unless the caller wants all
local NARROW <const> = 72 -- columns of a literal that stays on one line

---@class repl.show.options
---@field columns integer? the width to fit (none: as wide as it is)
---@field lines integer|false|nil the most lines (200), false: all
---@field numbers boolean? number the rows of a listing

-- --- cutting ------------------------------------------------------------------------------------------

---The first lines of a text, and how many there are more.
---@param text string
---@param most integer|false|nil
---@return string
function M.cut(text, most)
  most = most == nil and MOST_LINES or most
  if not most then return text end
  local at, lines = 1, 0
  while lines < most do
    local newline = text:find("\n", at, true)
    if not newline then return text end
    at, lines = newline + 1, lines + 1
  end
  if at > #text then return text end
  local _, more = text:sub(at):gsub("\n", "")
  if text:sub(-1) ~= "\n" then more = more + 1 end
  return ("%s… %d more line%s\n"):format(text:sub(1, at - 1), more, more == 1 and "" or "s")
end

-- --- lines for reading --------------------------------------------------------------------------------

-- One line broken at blanks, none longer than `columns` where a blank allows it.
local function broken(line, columns, indent)
  local lines, current = {}, ""
  for blank, word in line:gmatch "(%s*)(%S+)" do
    if current ~= "" and term.width(current .. blank .. word) > columns then
      lines[#lines + 1] = current
      current = indent .. word
    else current = current .. blank .. word end
  end
  lines[#lines + 1] = current
  return table.concat(lines, "\n")
end

---A text for reading whose lines are broken between words.
---@param text string
---@param columns integer? nil: as it is
---@param indent string? before what goes on
---@return string
function M.wrapped(text, columns, indent)
  if not columns then return text end
  return (text:gsub("[^\n]+", function(line)
    return term.width(line) > columns and broken(line, columns, indent or "") or line
  end))
end

---A text without its colours.
---@param text string
---@return string
function M.without_styles(text) return (text:gsub("\27%[[%d;]*m", "")) end

---Writes to a standard stream: a terminal gets no commands from what others wrote.
---@param stream "stdout"|"stderr"
---@param text string
function M.write(stream, text)
  io[stream]:write(term.is_terminal(stream) and term.safe(text) or text)
end

-- --- Lua literals ---------------------------------------------------------------------------------------

local KEYWORDS = {}
for word in ([[and break do else elseif end false for function goto if in local nil not or repeat return then true
  until while]]):gmatch "%S+" do KEYWORDS[word] = true end

local function key_text(key)
  if type(key) == "string" and key:find "^[%a_][%w_]*$" and not KEYWORDS[key] then return key end
  return "[" .. (type(key) == "string" and ("%q"):format(key) or tostring(key)) .. "]"
end

local function scalar(value)
  if value == json.null then return "null" end
  if type(value) == "string" then return (("%q"):format(value):gsub("\\\n", "\\n")) end
  return tostring(value)
end

local function by_kind(a, b)
  if type(a) == type(b) and (type(a) == "number" or type(a) == "string") then return a < b end
  if type(a) ~= type(b) then return type(a) < type(b) end
  return tostring(a) < tostring(b)
end

-- The parts of a table: its elements, then its fields by name.
local function parts_of(value, depth, seen)
  local parts, keys, count = {}, {}, #value
  for index = 1, count do parts[index] = M.literal(value[index], depth + 1, seen) end
  for key in next, value do
    if not (math.type(key) == "integer" and key >= 1 and key <= count) then keys[#keys + 1] = key end
  end
  table.sort(keys, by_kind)
  for _, key in ipairs(keys) do
    parts[#parts + 1] = key_text(key) .. " = " .. M.literal(value[key], depth + 1, seen)
  end
  return parts
end

---A value as Lua writes it; what is long goes over several lines.
---@param value any
---@param depth integer? of what it stands in
---@param seen table<table, boolean>? what it stands in
---@return string
function M.literal(value, depth, seen)
  depth, seen = depth or 0, seen or {}
  if type(value) ~= "table" then return scalar(value) end
  local meta = getmetatable(value)
  if type(meta) == "table" and meta.__tostring and depth > 0 then return tostring(value) end
  if seen[value] then return "{…}" end
  if depth >= 12 then return next(value) and "{…}" or "{}" end
  seen[value] = true
  local parts = parts_of(value, depth, seen)
  seen[value] = nil
  local line = "{" .. table.concat(parts, ", ") .. "}"
  if #line + 2 * depth <= NARROW and not line:find "\n" then return line end
  local indent = ("  "):rep(depth + 1)
  return "{\n" .. indent .. table.concat(parts, ",\n" .. indent) .. "\n" .. ("  "):rep(depth) .. "}"
end

-- --- tables of records ------------------------------------------------------------------------------------

local function is_flat(record)
  if type(record) ~= "table" or #record > 0 or next(record) == nil then return false end
  for key, value in next, record do
    if type(key) ~= "string" or type(value) == "table" and value ~= json.null then return false end
  end
  return true
end

local function is_records(value)
  if #value == 0 then return false end
  for _, record in ipairs(value) do
    if not is_flat(record) then return false end
  end
  for key in next, value do
    if math.type(key) ~= "integer" then return false end
  end
  return true
end

local LEADING = { name = 1, namespace = 0 }

local function record_columns(records)
  local names, seen = {}, {}
  for _, record in ipairs(records) do
    for name in next, record do
      if not seen[name] then
        seen[name] = true
        names[#names + 1] = name
      end
    end
  end
  table.sort(names, function(a, b)
    local x, y = LEADING[a] or 2, LEADING[b] or 2
    if x ~= y then return x < y end
    return a < b
  end)
  return names
end

local function cell(value)
  if value == nil then return "" end
  return (tostring(value == json.null and "null" or value):gsub("%s*\n%s*", " "))
end

-- --- tables that are too wide -----------------------------------------------------------------------------

local GAP <const>, LEAST <const> = 2, 6

-- The width of each column, and whether there is anything in it.
local function measure(titles, rows)
  local widths, filled = {}, {}
  for column, title in ipairs(titles) do widths[column] = term.width(title) end
  for _, row in ipairs(rows) do
    for column = 1, #titles do
      local text = row[column]
      widths[column] = math.max(widths[column], term.width(text))
      filled[column] = filled[column] or text ~= "" and text ~= "<none>"
    end
  end
  return widths, filled
end

-- What each column keeps at least: its title, and names as much as there is room for.
local function least_of(titles, widths, columns)
  local least, named = {}, nil
  for column, title in ipairs(titles) do
    local kept = math.max(LEAST, term.width(title))
    if not named and title:find "NAME$" then
      kept, named = math.max(kept, columns // 2), true
    end
    least[column] = math.min(widths[column], kept)
  end
  return least
end

local function total(widths)
  local sum = -GAP
  for _, width in ipairs(widths) do sum = sum + width + GAP end
  return sum
end

local function without_column(column, ...)
  for _, list in ipairs { ... } do table.remove(list, column) end
end

---Leaves columns out until the rest fits: those without anything in them, then the last ones.
---@param titles string[]
---@param rows string[][]
---@param columns integer
---@return string[] titles, string[][] rows, string[] left_out, {least: integer[], widths: integer[]} of the columns
function M.fitted(titles, rows, columns)
  local widths, filled = measure(titles, rows)
  local kept, left_out = { table.unpack(titles) }, {}
  local places = {}
  for column = 1, #titles do places[column] = column end
  local column = #kept
  while column > 2 and total(widths) > columns do
    if not filled[column] then
      table.insert(left_out, 1, kept[column])
      without_column(column, kept, widths, filled, places)
    end
    column = column - 1
  end
  local least = least_of(kept, widths, columns)
  while #kept > 2 and total(least) > columns do
    table.insert(left_out, 1, kept[#kept])
    without_column(#kept, kept, widths, least, places)
  end
  local of_columns = { least = least, widths = table.move(widths, 1, #kept, 1, {}) }
  if #left_out == 0 then return titles, rows, left_out, of_columns end
  local short = {}
  for index, row in ipairs(rows) do
    local cells = {}
    for at, place in ipairs(places) do cells[at] = row[place] end
    short[index] = cells
  end
  return kept, short, left_out, of_columns
end

---Rows with titles, aligned; where they are too wide for `columns`, columns are left out, and which is told below.
---@param titles string[]
---@param rows any[][]
---@param options repl.show.options?
---@return string
function M.grid(titles, rows, options)
  options = options or {}
  local most = options.lines == nil and MOST_LINES or options.lines
  local texts = {}
  for index = 1, math.min(#rows, most or #rows) do
    local row = {}
    for column = 1, titles[1] and #titles or #rows[index] do row[column] = cell(rows[index][column]) end
    texts[index] = row
  end
  local left_out, of_columns = {}, {}
  if options.columns and titles[1] then
    titles, texts, left_out, of_columns = M.fitted(titles, texts, options.columns)
  end
  local text = term.table(texts, { header = titles[1] and titles or nil, columns = options.columns or 100000,
    least = of_columns.least, widths = of_columns.widths })
  if #left_out > 0 then
    text = text .. term.style(term.cut("no room for " .. table.concat(left_out, ", "), options.columns), "dim") .. "\n"
  end
  if #rows > #texts then text = ("%s… %d more rows\n"):format(text, #rows - #texts) end
  return text
end

local function records(value, options)
  local names, rows = record_columns(value), {}
  for index, record in ipairs(value) do
    local row = {}
    for column, name in ipairs(names) do row[column] = cell(record[name]) end
    rows[index] = row
  end
  local titles = {}
  for index, name in ipairs(names) do titles[index] = name:upper() end
  return M.grid(titles, rows, options)
end

-- --- objects of Kubernetes ----------------------------------------------------------------------------------

local function is_object(value)
  return type(value.kind) == "string" and type(value.metadata) == "table" and value.apiVersion ~= nil
end

local function is_objects(value)
  if #value == 0 then return false end
  for _, object in ipairs(value) do
    if type(object) ~= "table" or not is_object(object) then return false end
  end
  return true
end

local function without_managed_fields(object)
  if object.metadata.managedFields == nil then return object end
  local copy, metadata = json.object {}, json.object {}
  for key, value in next, object do copy[key] = value end
  for key, value in next, object.metadata do
    if key ~= "managedFields" then metadata[key] = value end
  end
  copy.metadata = metadata
  return copy
end

---An object as YAML, without its managed fields.
---@param object table
---@return string
function M.yaml(object)
  if is_object(object) then object = without_managed_fields(object) end
  if rawget(object, "kind") == nil and object.kind then -- from a list, which alone says the kind
    local copy = json.object { kind = object.kind, apiVersion = object.apiVersion }
    for key, value in next, object do copy[key] = value end
    object = copy
  end
  return require("yaml").encode(object, { sort = true })
end

-- A key or text of KYAML: texts are always quoted, keys where they could be taken for something else.
local function kyaml_key(key)
  local plain = key:find "^[%a_][%w_.-]*$" and not key:lower():find "^[yn]$" and not key:lower():find "^no$"
    and not key:lower():find "^o[nf]+$" and not key:lower():find "^yes$" and not key:lower():find "^null$"
    and not key:lower():find "^true$" and not key:lower():find "^false$"
  return plain and key or json.encode(key)
end

local function kyaml_value(value, indent)
  if type(value) ~= "table" or value == json.null then return json.encode(value) end
  local parts, inner = {}, indent .. "  "
  local is_list = #value > 0 or json.encode(value) == "[]"
  if is_list then
    for _, element in ipairs(value) do parts[#parts + 1] = kyaml_value(element, inner) end
  else
    local keys = {}
    for key in next, value do keys[#keys + 1] = key end
    table.sort(keys)
    for _, key in ipairs(keys) do parts[#parts + 1] = kyaml_key(key) .. ": " .. kyaml_value(value[key], inner) end
  end
  local open, close = is_list and "[" or "{", is_list and "]" or "}"
  if #parts == 0 then return open .. close end
  return open .. "\n" .. inner .. table.concat(parts, ",\n" .. inner) .. ",\n" .. indent .. close
end

---An object as KYAML, the YAML that is JSON with comments and trailing commas.
---@param object table
---@return string
function M.kyaml(object)
  if is_object(object) then object = without_managed_fields(object) end
  return kyaml_value(object, "") .. "\n"
end

local function objects(value, options)
  local rows = {}
  for index, object in ipairs(value) do
    local metadata = object.metadata
    rows[index] = { metadata.namespace or "", object.kind, metadata.name or "", metadata.creationTimestamp or "" }
  end
  return M.grid({ "NAMESPACE", "KIND", "NAME", "CREATED" }, rows, options)
end

-- --- any value -------------------------------------------------------------------------------------------------

local function table_text(value, options)
  if is_object(value) then return M.cut(M.yaml(value), options.lines) end
  if is_objects(value) then return objects(value, options) end
  if is_records(value) then return records(value, options) end
  return M.cut(M.literal(value) .. "\n", options.lines)
end

---The text for one value.
---@param value any
---@param options repl.show.options?
---@return string text ends with a newline, unless it is empty
function M.value(value, options)
  options = options or {}
  local meta = getmetatable(value)
  local text
  if type(meta) == "table" and meta.__show then text = meta.__show(value, options)
  elseif type(value) == "table" and not (type(meta) == "table" and meta.__tostring) then
    text = table_text(value, options)
  else text = M.cut(tostring(value), options.lines)
  end
  if text ~= "" and text:sub(-1) ~= "\n" then text = text .. "\n" end
  return text
end

---The text for what a statement gave: scalars on one line as Lua prints them, tables each on their own.
---@param values table with n
---@param options repl.show.options?
---@return string
function M.values(values, options)
  local pieces, line = {}, {}
  local function flush()
    if #line > 0 then pieces[#pieces + 1] = table.concat(line, "\t") .. "\n" end
    line = {}
  end
  for index = 1, values.n do
    local value = values[index]
    if type(value) == "table" then
      flush()
      pieces[#pieces + 1] = M.value(value, options)
    else
      line[#line + 1] = M.cut(tostring(value), options and options.lines)
    end
  end
  flush()
  return table.concat(pieces)
end

-- --- trees -----------------------------------------------------------------------------------------------------

local function add_branches(lines, node, indent)
  local children = node.children or {}
  for index, child in ipairs(children) do
    local last = index == #children
    lines[#lines + 1] = indent .. (last and "└─ " or "├─ ") .. child.text
    add_branches(lines, child, indent .. (last and "   " or "│  "))
  end
end

---A tree: {text, children = {…}}.
---@param node {text: string, children: table[]?}
---@return string
function M.tree(node)
  local lines = { node.text }
  add_branches(lines, node, "")
  return table.concat(lines, "\n") .. "\n"
end

---A value that shows itself as a tree.
---@param node table
---@return table
function M.as_tree(node)
  return setmetatable(node, { __show = function(value, options) return M.cut(M.tree(value), options.lines) end })
end

---A value that shows itself as a text.
---@param value table
---@param text string|fun(value: table, options: table): string
---@return table
function M.as_text(value, text)
  return setmetatable(value, { __show = function(self, options)
    return M.cut(type(text) == "string" and text or text(self, options), options.lines)
  end })
end

return M
