-- The first room: a notebook file as plain data, with nothing interpreted yet: .ipynb (nbformat 3 and 4),
-- or plain Python in percent format. Not for tags or Python: see kale.cells.
--   local nb = notebook.read "train.ipynb"; print(nb.cells[1].kind, nb.cells[1].source)
local errors = require "errors"
local fs = require "fs"
local json = require "json"

local M = {}

local function fail(path, place, message)
  local where = place and place .. ": " or ""
  errors.raise { code = "Notebook", message = ("%s: %s%s"):format(path, where, message), path = path }
end

local function is_list(value) return type(value) == "table" and (json.is_array(value) or next(value) == nil) end

-- Text of a cell: a string, or a list of lines that keep their ends.
local function text_of(path, place, source)
  if source == nil then return "" end
  if type(source) == "string" then return source end
  if not is_list(source) then fail(path, place, "'source' is neither a text nor a list of lines") end
  for i, line in ipairs(source) do
    if type(line) ~= "string" then fail(path, place, ("line %d of 'source' is no text"):format(i)) end
  end
  return table.concat(source)
end

local LARGEST = 16 * 1024 * 1024 -- bytes of a cell: nobody has written more

-- Python has no zero bytes; named here, while it is known whose they are.
local function without_zeros(path, place, source)
  if #source > LARGEST then fail(path, place, "'source' is larger than 16 MiB") end
  local at = source:find("\0", 1, true)
  if not at then return source end
  local _, lines = source:sub(1, at):gsub("\n", "")
  fail(path, place, ("line %d of 'source' has a zero byte"):format(lines + 1))
end

local function object_of(path, place, value, name)
  if value == nil then return {} end
  if type(value) ~= "table" or (json.is_array(value) and next(value) ~= nil) then
    fail(path, place, ("'%s' is no object"):format(name))
  end
  return value
end

local function tags_of(path, place, metadata)
  local tags = metadata.tags
  if tags ~= nil and not is_list(tags) then fail(path, place, "'tags' is no list") end
  return tags or {}
end

local function read_cell(path, i, cell, format)
  local place = "cell " .. i
  if type(cell) ~= "table" then fail(path, place, "is no object") end
  local kind, source = cell.cell_type, cell.source
  if type(kind) ~= "string" then fail(path, place, "has no 'cell_type'") end
  if format == 3 then
    if kind == "code" then source = cell.input end
    if kind == "heading" or kind == "html" then kind = "markdown" end
  end
  local metadata = object_of(path, place, cell.metadata, "metadata")
  return {
    number = i, kind = kind, metadata = metadata, tags = tags_of(path, place, metadata),
    source = without_zeros(path, place, text_of(path, place, source):gsub("\r\n?", "\n")),
  }
end

-- The cells of a document, in one row.
local function cells_of(path, document, format)
  if format == 4 then
    if not is_list(document.cells) then fail(path, nil, "'cells' is no list") end
    return document.cells
  end
  local cells = {}
  if not is_list(document.worksheets) then fail(path, nil, "'worksheets' is no list") end
  for i, sheet in ipairs(document.worksheets) do
    local list = type(sheet) == "table" and sheet.cells
    if not is_list(list) then fail(path, "worksheet " .. i, "'cells' is no list") end
    table.move(list, 1, #list, #cells + 1, cells)
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

local function parse_python(text, path)
  local percent = require "kale.percent"
  local _, bad = utf8.len(text)
  if bad then
    local _, lines = text:sub(1, bad - 1):gsub("\n", "")
    fail(path, "line " .. lines + 1, "malformed UTF-8")
  end
  local ok, parsed = pcall(percent.parse, text)
  if not ok then
    if not errors.is(parsed, "PYAST") then error(parsed, 0) end
    fail(path, parsed.line and "line " .. parsed.line, parsed.message)
  end
  local notebook = { path = path, metadata = parsed.metadata, cells = {}, format = "percent" }
  notebook.language = language_of(parsed.metadata)
  for i, cell in ipairs(parsed.cells) do
    local place = "cell " .. i
    notebook.cells[i] = {
      number = i, kind = cell.kind, metadata = cell.metadata, tags = tags_of(path, place, cell.metadata),
      source = without_zeros(path, place, cell.source), first_line = cell.first_line,
    }
  end
  return notebook
end

---Decodes the JSON of a notebook and says its format.
---@param text string
---@param path string for messages
---@return table document
---@return integer format 3 or 4 # raises "Notebook" with the place
function M.decode(text, path)
  local document, err = json.try.decode(text, { duplicates = "last" })
  if err then
    errors.raise {
      code = "Notebook", message = ("%s is no notebook: %s"):format(path, err.message), path = path,
      line = err.line, column = err.column, cause = err,
    }
  end
  if type(document) ~= "table" then fail(path, nil, "a notebook is a JSON object") end
  local format = document.nbformat
  if format == nil then fail(path, nil, "'nbformat' is missing: this is no notebook") end
  if math.type(format) ~= "integer" then fail(path, nil, "'nbformat' is not 3 or 4") end
  if format ~= 3 and format ~= 4 then fail(path, nil, ("nbformat %s is not supported, only 3 and 4"):format(format)) end
  return document, format
end

---Reads the text of a notebook.
---@param text string
---@param path string its ending says the form; for messages, too
---@return {path: string, metadata: table, cells: table[], format: 3|4|"percent", language: string?}
---  raises "Notebook" with the place
function M.parse(text, path)
  if text:find "^\255\254" or text:find "^\254\255" or text:find "^%z?[{%[#]%z" then
    fail(path, nil, "the file is UTF-16 or UTF-32, a notebook is UTF-8")
  end
  text = text:gsub("^\239\187\191", "")  -- what some editors put at the beginning of UTF-8
  if path:find "%.py$" then return parse_python(text, path) end
  local document, format = M.decode(text, path)
  local notebook = {
    path = path, metadata = object_of(path, nil, document.metadata, "metadata"), cells = {}, format = format,
  }
  notebook.language = language_of(notebook.metadata)
  for i, cell in ipairs(cells_of(path, document, format)) do notebook.cells[i] = read_cell(path, i, cell, format) end
  return notebook
end

---@param path string
---@return table notebook as of parse # raises "Notebook", or the errno's name
function M.read(path)
  -- From a device or a pipe without a writer nothing may ever come; what a shell hands over is meant.
  local stat = fs.stat(path)
  if stat and stat.type == "other" and not path:find "^/dev/fd/" and path ~= "/dev/stdin" then
    fail(path, nil, "this is no file")
  end
  return M.parse(fs.read(path), path)
end

return M
