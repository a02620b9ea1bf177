-- repl.listing: rows of objects as the server prints them: sorted, filtered, numbered, in any form of output.
-- Not for asking the server (repl.objects); all here works on tables in memory.
--   local l = listing.new { columns = columns, rows = rows, kind = "pods" }; l[3].name

local errors = require "errors"
local json = require "json"
local show = require "repl.show"
local term = require "term"

local M = {}

-- --- rows -----------------------------------------------------------------------------------------------

local row_mark = {}

-- These are the object's, whatever columns are called; row.Status is the cell.
local OF_OBJECT = { apiVersion = true, metadata = true, spec = true, status = true, data = true, object = true }
-- These a row has by itself, or not at all: an object of the cluster has no namespace.
local OWN = { name = true, namespace = true, labels = true }

-- A row has name, namespace, kind, its cells by title (lower case), and the fields of its object.
function row_mark.__index(row, key)
  if type(key) ~= "string" then return rawget(row, "cells")[key] end
  local listing = rawget(row, "listing")
  local column = not OF_OBJECT[key] and listing.by_title[key:lower()]
  if column then return rawget(row, "cells")[column] end
  if OWN[key] then return nil end
  local object = M.object_of(row)
  return object and object[key]
end

row_mark.__name = "repl.Row"

function row_mark.__show(row, options)
  return show.cut(show.yaml(M.object_of(row)), options.lines)
end

function row_mark.__tostring(row)
  return ("%s/%s"):format(row.kind, row.name)
end

---The whole object of a row; asked for once.
---@param row table
---@return table?
function M.object_of(row)
  local object = rawget(row, "whole")
  if object then return object end
  local fetch = rawget(row, "listing").fetch
  object = fetch and fetch(row)
  rawset(row, "whole", object)
  return object
end

local function name_column(columns)
  for index, column in ipairs(columns) do
    if column.format == "name" or column.name == "Name" then return index end
  end
  return 1
end

local function make_row(listing, given, name_index)
  local object = type(given.object) == "table" and given.object or nil
  local metadata = object and object.metadata or {}
  return setmetatable({
    cells = given.cells, listing = listing, kind = listing.kind,
    name = metadata.name or given.cells[name_index], namespace = metadata.namespace or listing.namespace,
    labels = metadata.labels, whole = given.whole,
  }, row_mark)
end

-- --- listings ---------------------------------------------------------------------------------------------

local methods = {}
local listing_mark = { __name = "repl.Listing" }

function listing_mark.__index(listing, key)
  if math.type(key) == "integer" then return rawget(listing, "rows")[key] end
  return methods[key]
end

function listing_mark.__len(listing) return #rawget(listing, "rows") end

---@param given {columns: table[], rows: table[], kind: string, namespace: string?, spread: boolean?,
---  fetch: (fun(row: table): table)?, options: table?}
---@return table listing
function M.new(given)
  local self = setmetatable({
    columns = given.columns, kind = given.kind, namespace = given.namespace, spread = given.spread,
    fetch = given.fetch, version = given.version or false, options = given.options or {}, by_title = {}, rows = {},
  }, listing_mark)
  for index, column in ipairs(given.columns) do self.by_title[column.name:lower()] = index end
  local name_index = name_column(given.columns)
  for index, row in ipairs(given.rows) do self.rows[index] = make_row(self, row, name_index) end
  return self
end

---A listing with other rows.
---@param listing table
---@param rows table[]
---@return table
function M.copy(listing, rows)
  local copy = setmetatable({}, listing_mark)
  for key, value in next, listing do copy[key] = value end
  copy.rows = rows
  return copy
end

---The names of the rows.
function methods:names()
  local names = {}
  for index, row in ipairs(self.rows) do names[index] = row.name end
  return names
end

---The rows for which fn is true.
function methods:where(fn)
  local rows = {}
  for _, row in ipairs(self.rows) do
    if fn(row) then rows[#rows + 1] = row end
  end
  return M.copy(self, rows)
end

-- --- filters ------------------------------------------------------------------------------------------------

-- A row as a reader sees it.
local function row_text(self, row)
  local parts = { self.spread and row.namespace or nil }
  for _, cell in ipairs(rawget(row, "cells")) do parts[#parts + 1] = tostring(cell) end
  return table.concat(parts, " ")
end

-- Anchors are those of the row, or of the name in it.
local function finds(self, expression, row)
  return expression:matches(row.name) or expression:matches(row_text(self, row))
end

local function fuzzy(text, wanted)
  local at = 1
  text = text:lower()
  for c in wanted:lower():gmatch(utf8.charpattern) do
    local found = text:find(c, at, true)
    if not found then return false end
    at = found + #c
  end
  return true
end

local function predicate_of(lua)
  if type(lua) == "function" then return lua end
  local chunk, problem = load("local o = ...; return " .. lua, "=where", "t")
  if not chunk then errors.raise { code = "Usage", message = "--where: " .. problem } end
  return chunk
end

---The rows that the options keep: match, without (regular expressions), fuzzy, where (Lua over the row, `o`).
---@param options table
function methods:filtered(options)
  local list = self
  local function keep(fn) list = list:where(fn) end
  if options.match then
    local expression = require("regex").compile(options.match)
    keep(function(row) return finds(self, expression, row) end)
  end
  if options.without then
    local expression = require("regex").compile(options.without)
    keep(function(row) return not finds(self, expression, row) end)
  end
  if options.fuzzy then keep(function(row) return fuzzy(row.name, options.fuzzy) end) end
  if options.where then keep(predicate_of(options.where)) end
  return list
end

-- --- sorting --------------------------------------------------------------------------------------------------

local UNITS = { s = 1, m = 60, h = 3600, d = 86400, y = 31536000 }

-- A cell as a number where it is one: 12, 1/2, 3d4h, 10Gi; else nil.
local function number_of(cell)
  if type(cell) == "number" then return cell end
  local plain = tonumber(cell)
  if plain then return plain end
  if cell:find "^[%d]+[smhdy]" and not cell:find "[^%dsmhdy]" then
    local seconds = 0
    for count, unit in cell:gmatch "(%d+)(%a)" do seconds = seconds + tonumber(count) * UNITS[unit] end
    return seconds
  end
  local ready, all = cell:match "^(%d+)/(%d+)$"
  if ready then return tonumber(ready) + tonumber(all) / 1e6 end
  local quantity = cell:find "^[%d.]+[%a]+$" and require("kube").quantity
  local ok, milli = pcall(function() return quantity and quantity(cell):milli() end)
  if ok and milli then return milli / 1000 end
  return tonumber((cell:match "^(%d+)"))
end

local function is_before(a, b)
  if a.number and b.number and a.number ~= b.number then return a.number < b.number end
  if (a.number == nil) ~= (b.number == nil) then return a.number ~= nil end
  if a.text ~= b.text then return a.text < b.text end
  return a.at < b.at
end

---The rows in the order of a column; "-age" turns it round.
---@param title string
function methods:sorted(title)
  local backwards = title:sub(1, 1) == "-"
  local column = self.by_title[title:gsub("^-", ""):lower()]
  if not column and title:gsub("^-", ""):lower() ~= "namespace" then
    local titles = {}
    for _, known in ipairs(self.columns) do titles[#titles + 1] = known.name:lower() end
    errors.raise { code = "Usage", message = ("there is no column '%s'; there are %s"):format(title,
      table.concat(titles, ", ")) }
  end
  local keys = {}
  for index, row in ipairs(self.rows) do
    local cell = column and rawget(row, "cells")[column] or row.namespace or ""
    keys[index] = { row = row, text = tostring(cell), number = number_of(cell), at = index }
  end
  table.sort(keys, function(a, b)
    if backwards then a, b = b, a end
    return is_before(a, b)
  end)
  local rows = {}
  for index, key in ipairs(keys) do rows[index] = key.row end
  return M.copy(self, rows)
end

-- --- output --------------------------------------------------------------------------------------------------

-- A cell is one line.
local function cell_text(cell)
  if cell == nil or cell == json.null then return "" end
  local text = tostring(cell)
  return text:find "%c" and text:gsub("%s+", " ") or text
end

---A cell as a terminal shows it: without commands, and without colours of its own.
---@param text string
---@return string
function M.shown(text)
  if not text:find "[^\32-\126]" then return text end
  return term.safe(show.without_styles(text))
end

-- What a person is to see at once: what has failed, what waits, what is over.
local COLOURS = {
  { "red", { "BackOff", "^Err", "Error", "Failed", "Evicted", "OOMKilled", "Unknown", "Lost", "NotReady", "Refused" } },
  { "yellow", { "Pending", "Creating", "Initializing", "Terminating", "^Init:", "Unschedulable", "Suspended" } },
  { "gray", { "Completed", "Succeeded", "^Complete$" } },
}
local STATES = { Status = true, Phase = true, State = true }

---The colour that a state is shown in; nil for what is as it should be.
---@param title string of its column
---@param text string
---@return string?
function M.colour(title, text)
  if not STATES[title] then return nil end
  for _, one in ipairs(COLOURS) do
    for _, pattern in ipairs(one[2]) do
      if text:find(pattern) then return one[1] end
    end
  end
end

-- A cell for a person, in the colour of its state; `known`: texts of states that were seen, of which there are few.
local function for_person(known)
  return function(text, name)
    if not STATES[name] then return M.shown(text) end
    if not known[text] then
      local shown, colour = M.shown(text), M.colour(name, text)
      known[text] = colour and term.style(shown, colour) or shown
    end
    return known[text]
  end
end

---Titles and the cells of all rows as texts, with the namespace where several are listed.
---@param listing table
---@param wide boolean? also the columns that are left out otherwise
---@param text_of (fun(text: string, name: string): string)? how the cell of a column is written
---@return string[] titles, string[][] rows, table<integer, table> columns by the place of their title
function M.matrix(listing, wide, text_of)
  local titles, rows, columns, places = {}, {}, {}, {}
  if listing.spread then titles[1] = "NAMESPACE" end
  for place, column in ipairs(listing.columns) do
    if wide or (column.priority or 0) == 0 then
      titles[#titles + 1], places[#places + 1] = column.name:upper(), place
      columns[#titles] = column
    end
  end
  for index, row in ipairs(listing.rows) do
    local cells = { listing.spread and (row.namespace or "") or nil }
    for _, place in ipairs(places) do
      local text = cell_text(rawget(row, "cells")[place])
      cells[#cells + 1] = text_of and text_of(text, listing.columns[place].name) or text
    end
    rows[index] = cells
  end
  return titles, rows, columns
end

-- Columns by path: "NAME:.metadata.name,.spec.nodeName".
local function path_matrix(listing, spec)
  local kube = require "kube"
  local titles, paths, rows = {}, {}, {}
  for part in spec:gmatch "[^,]+" do
    local title, path = part:match "^([^:.{]+):(.+)$"
    path = path or part
    titles[#titles + 1] = title or path:match "([%w_-]+)[^%w_-]*$":upper()
    paths[#paths + 1] = path:find "^{" and path or "{" .. path .. "}"
  end
  for index, row in ipairs(listing.rows) do
    local cells, object = {}, M.object_of(row)
    for column, path in ipairs(paths) do
      local ok, text = pcall(kube.jsonpath, path, object)
      cells[column] = ok and text ~= "" and text or "<none>"
    end
    rows[index] = cells
  end
  return titles, rows
end

local function number_rows(titles, rows)
  table.insert(titles, 1, "#")
  for index, row in ipairs(rows) do table.insert(row, 1, tostring(index)) end
end

local function table_text(listing, options)
  local titles, rows
  if listing.options.columns then titles, rows = path_matrix(listing, listing.options.columns)
  else
    local most = options.lines or #listing.rows
    local visible = listing
    if #listing.rows > most then visible = M.copy(listing, table.move(listing.rows, 1, most, 1, {})) end
    titles, rows = M.matrix(visible, listing.options.output == "wide", options.numbers and for_person {})
  end
  if options.numbers then number_rows(titles, rows) end
  if listing.options.no_header then titles = {} end
  if #titles == 0 and rows[1] then
    return term.table(rows, { columns = options.columns or 100000 })
  end
  local text = show.grid(titles, rows, { columns = options.columns, lines = false })
  local more = #listing.rows - #rows
  if more > 0 then text = ("%s… %d more rows (| less shows all)\n"):format(text, more) end
  return text
end

local function csv_cell(text)
  if text:find '[,"\n]' then return '"' .. text:gsub('"', '""') .. '"' end
  return text
end

local function csv(listing)
  local titles, rows = M.matrix(listing, true)
  local lines = {}
  for _, row in ipairs { titles, table.unpack(rows) } do
    local cells = {}
    for index, cell in ipairs(row) do cells[index] = csv_cell(cell) end
    lines[#lines + 1] = table.concat(cells, ",")
  end
  return table.concat(lines, "\n") .. "\n"
end

local function objects_of(listing)
  local list = json.array {}
  for index, row in ipairs(listing.rows) do list[index] = M.object_of(row) end
  return list
end

local FORMS = {}

function FORMS.yaml(listing)
  local texts = {}
  for index, object in ipairs(objects_of(listing)) do texts[index] = show.yaml(object) end
  return table.concat(texts, "---\n")
end

function FORMS.json(listing)
  local list = objects_of(listing)
  return json.encode(#list == 1 and list[1] or list, { sort = true, indent = 2 }) .. "\n"
end

function FORMS.lua(listing)
  local list = objects_of(listing)
  return show.literal(#list == 1 and list[1] or list) .. "\n"
end

function FORMS.name(listing)
  local lines = {}
  for index, row in ipairs(listing.rows) do lines[index] = ("%s/%s\n"):format(listing.kind, row.name) end
  return table.concat(lines)
end

FORMS.csv = csv

function FORMS.kyaml(listing)
  local texts = {}
  for index, object in ipairs(objects_of(listing)) do texts[index] = "---\n" .. show.kyaml(object) end
  return table.concat(texts)
end

local function jsonpath(listing, expression)
  local lines = {}
  for index, object in ipairs(objects_of(listing)) do
    lines[index] = require("kube").jsonpath(expression, object) .. "\n"
  end
  return table.concat(lines)
end

---The listing as text, in the form that its options name.
---@param options repl.show.options
---@return string
function methods:text(options)
  local output = self.options.output
  local file = output and output:match "^jsonpath%-file=(.+)$"
  if file then output = "jsonpath=" .. require("fs").read(file):gsub("%s+$", "") end
  if output and output:find "^jsonpath=" then return show.cut(jsonpath(self, output:sub(10)), options.lines) end
  if output and FORMS[output] then return show.cut(FORMS[output](self), options.lines) end
  if output and output ~= "wide" then
    errors.raise { code = "Usage", message = ("no output '%s': wide, yaml, json, kyaml, name, csv, lua, jsonpath=…, "
      .. "custom-columns=…"):format(output) }
  end
  if #self.rows == 0 then
    return ("no %s%s\n"):format(self.kind, self.namespace and not self.spread and " in " .. self.namespace or "")
  end
  return table_text(self, options)
end

listing_mark.__show = function(listing, options) return listing:text(options) end

return M
