-- The first room: a notebook file as plain data, with nothing interpreted yet: .ipynb (nbformat 3 and 4),
-- or plain Python in percent format. Not for tags or Python: see kale.cells.
--   local nb = notebook.read "train.ipynb"; print(nb.cells[1].kind, nb.cells[1].source)
local document = require "kale.document"
local errors = require "errors"
local fs = require "fs"
local json = require "json"

local M = {}

local function is_list(value) return type(value) == "table" and (json.is_array(value) or next(value) == nil) end

-- A value of a notebook, or what stands in for one of another kind, which is noted.
local function object_of(problems, cell, value, name)
  if value == nil then return json.object {} end
  if type(value) == "table" and not (json.is_array(value) and next(value) ~= nil) then return value end
  problems:add { cell = cell, message = ("'%s' is no object"):format(name) }
  return json.object {}
end

local function tags_of(problems, cell, metadata)
  local tags = metadata.tags
  if tags == nil or is_list(tags) then return tags or {} end
  problems:add { cell = cell, message = "'tags' is no list" }
  return {}
end

-- Text of a cell: a string, or a list of lines that keep their ends.
local function text_of(problems, cell, source)
  if source == nil then return "" end
  if type(source) == "string" then return source end
  if not is_list(source) then
    problems:add { cell = cell, message = "'source' is neither a text nor a list of lines" }
    return ""
  end
  local lines = {}
  for i, line in ipairs(source) do
    local is_text = type(line) == "string"
    if not is_text then problems:add { cell = cell, line = i, message = "in 'source' stands what is no text" } end
    lines[i] = is_text and line or "\n"
  end
  return table.concat(lines)
end

local LARGEST = 16 * 1024 * 1024 -- bytes of a cell: nobody has written more

-- Python has no zero bytes; named here, while it is known whose they are.
local function checked(problems, cell, source)
  if #source > LARGEST then
    problems:add { cell = cell, message = "'source' is larger than 16 MiB" }
    return ""
  end
  local at, number, line_start = source:find("\0", 1, true), 1, 1
  if not at then return source end
  for start in source:sub(1, at):gmatch "\n()" do number, line_start = number + 1, start end
  local column = (utf8.len(source, line_start, at) or 1)
  problems:add { cell = cell, line = number, column = column, message = "'source' has a zero byte" }
  return (source:gsub("%z", " "))
end

local function read_cell(problems, i, cell, format)
  if type(cell) ~= "table" or json.is_array(cell) and next(cell) ~= nil then
    problems:add { cell = i, message = "this cell is no object" }
    cell = { cell_type = "raw" }
  end
  local kind, source = cell.cell_type, cell.source
  if type(kind) ~= "string" then
    problems:add { cell = i, message = "this cell has no 'cell_type'" }
    kind = "raw"
  end
  if format == 3 then
    if kind == "code" then source = cell.input end
    if kind == "heading" or kind == "html" then kind = "markdown" end
  end
  local metadata = object_of(problems, i, cell.metadata, "metadata")
  return {
    number = i, kind = kind, metadata = metadata, tags = tags_of(problems, i, metadata),
    source = checked(problems, i, text_of(problems, i, source):gsub("\r\n?", "\n")),
  }
end

-- The cells of a document, in one row.
local function cells_of(problems, read, format)
  if format == 4 then
    if not is_list(read.cells) then problems:stop "'cells' is no list" end
    return read.cells
  end
  local cells = {}
  if not is_list(read.worksheets) then problems:stop "'worksheets' is no list" end
  for i, sheet in ipairs(read.worksheets) do
    local list = type(sheet) == "table" and sheet.cells
    if is_list(list) then table.move(list, 1, #list, #cells + 1, cells)
    else problems:add { message = ("worksheet %d: 'cells' is no list"):format(i) } end
  end
  return cells
end

-- The language, when the notebook says one.
local function language_of(metadata)
  local function name(key, field)
    local entry = metadata[key]
    return type(entry) == "table" and type(entry[field]) == "string" and entry[field] ~= "" and entry[field] or nil
  end
  return name("kernelspec", "language") or name("language_info", "name")
end

-- Lines that are no UTF-8 are noted; the text is taken with a mark in their place.
local function as_utf8(problems, text)
  if utf8.len(text) then return text end
  local lines, number = {}, 0
  for line in (text .. "\n"):gmatch "([^\n]*\n)" do
    number = number + 1
    local _, bad = utf8.len(line)
    if bad then
      problems:add { line = number, column = utf8.len(line:sub(1, bad - 1)) + 1, message = "malformed UTF-8" }
    end
    lines[number] = bad and line:gsub("[\x80-\xff]", "?") or line
  end
  return table.concat(lines):sub(1, -2)
end

local function parse_python(text, problems)
  local percent = require "kale.percent"
  local ok, parsed = pcall(percent.parse, as_utf8(problems, text))
  if not ok then
    if not errors.is(parsed, "PYAST") then error(parsed, 0) end
    problems:stop(parsed.message, { line = parsed.line })
  end
  local notebook = { path = problems.path, metadata = parsed.metadata, cells = {}, format = "percent" }
  notebook.language = language_of(parsed.metadata)
  for i, cell in ipairs(parsed.cells) do
    notebook.cells[i] = {
      number = i, kind = cell.kind, metadata = cell.metadata, tags = tags_of(problems, i, cell.metadata),
      source = checked(problems, i, cell.source), first_line = cell.first_line,
    }
  end
  return notebook
end

local function parse_json(text, problems)
  local read, format = document.decode(text, problems)
  local notebook = {
    path = problems.path, metadata = object_of(problems, nil, read.metadata, "metadata"), cells = {}, format = format,
  }
  notebook.language = language_of(notebook.metadata)
  for i, cell in ipairs(cells_of(problems, read, format)) do
    notebook.cells[i] = read_cell(problems, i, cell, format)
  end
  return notebook
end

---Reads the text of a notebook.
---@param text string
---@param path string its ending says the form; for messages, too
---@param options {tolerant: boolean?}? tolerant: what is wrong with cells is told in `problems`, the rest is read
---@return {path: string, metadata: table, cells: table[], format: 3|4|"percent", language: string?,
---  problems: kale.Problem[]} # raises "Notebook" with all problems and their places
function M.parse(text, path, options)
  local problems = document.problems(path)
  if text:find "^\255\254" or text:find "^\254\255" or text:find "^%z?[{%[#]%z" then
    problems:stop "the file is UTF-16 or UTF-32, a notebook is UTF-8"
  end
  text = text:gsub("^\239\187\191", "")  -- what some editors put at the beginning of UTF-8
  local notebook = (path:find "%.py$" and parse_python or parse_json)(text, problems)
  if #problems.list > 0 and not (options and options.tolerant) then problems:raise() end
  notebook.problems = problems.list
  return notebook
end

---@param path string
---@param options {tolerant: boolean?}? as of parse
---@return table notebook as of parse # raises "Notebook", or the errno's name
function M.read(path, options)
  -- From a device or a pipe without a writer nothing may ever come; what a shell hands over is meant.
  local stat = fs.stat(path)
  if stat and stat.type == "other" and not path:find "^/dev/fd/" and path ~= "/dev/stdin" then
    document.problems(path):stop "this is no file"
  end
  return M.parse(fs.read(path), path, options)
end

return M
