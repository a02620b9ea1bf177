-- The first room: an .ipynb file (nbformat 4) as plain data, with nothing interpreted yet.
-- Not for tags or Python: see kale.cells.
--   local nb = notebook.read "train.ipynb"; print(nb.cells[1].kind, nb.cells[1].source)
local errors = require "errors"
local fs = require "fs"
local json = require "json"

local M = {}

local function fail(path, place, message)
  local where = place and place .. ": " or ""
  errors.raise { code = "Notebook", message = ("%s: %s%s"):format(path, where, message), path = path }
end

-- Text of a cell: a string, or a list of lines that keep their ends.
local function text_of(path, place, source)
  if source == nil then return "" end
  if type(source) == "string" then return source end
  if type(source) ~= "table" or not (json.is_array(source) or next(source) == nil) then
    fail(path, place, "'source' is neither a text nor a list of lines")
  end
  for i, line in ipairs(source) do
    if type(line) ~= "string" then fail(path, place, ("line %d of 'source' is no text"):format(i)) end
  end
  return table.concat(source)
end

-- Python has no zero bytes; named here, while it is known whose they are.
local function without_zeros(path, place, source)
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

local function read_cell(path, i, cell)
  local place = "cell " .. i
  if type(cell) ~= "table" then fail(path, place, "is no object") end
  local kind = cell.cell_type
  if type(kind) ~= "string" then fail(path, place, "has no 'cell_type'") end
  local metadata = object_of(path, place, cell.metadata, "metadata")
  local tags = metadata.tags
  if tags ~= nil and not (type(tags) == "table" and (json.is_array(tags) or next(tags) == nil)) then
    fail(path, place, "'tags' is no list")
  end
  return {
    number = i, kind = kind, metadata = metadata, tags = tags or {},
    source = without_zeros(path, place, text_of(path, place, cell.source):gsub("\r\n?", "\n")),
  }
end

---Reads the text of a notebook.
---@param text string
---@param path string for messages
---@return {path: string, metadata: table, cells: table[]} # raises "Notebook" with the place
function M.parse(text, path)
  local document, err = json.try.decode(text, { duplicates = "last" })
  if err then
    errors.raise {
      code = "Notebook", message = ("%s is no notebook: %s"):format(path, err.message), path = path,
      line = err.line, column = err.column, cause = err,
    }
  end
  if type(document) ~= "table" then fail(path, nil, "a notebook is a JSON object") end
  local format = document.nbformat
  if math.type(format) ~= "integer" then fail(path, nil, "'nbformat' is missing: this is no notebook") end
  if format ~= 4 then fail(path, nil, ("nbformat %s is not supported, only 4"):format(format)) end
  if type(document.cells) ~= "table" or not (json.is_array(document.cells) or next(document.cells) == nil) then
    fail(path, nil, "'cells' is no list")
  end
  local notebook = {
    path = path, metadata = object_of(path, nil, document.metadata, "metadata"), cells = {},
  }
  for i, cell in ipairs(document.cells) do notebook.cells[i] = read_cell(path, i, cell) end
  return notebook
end

---@param path string
---@return {path: string, metadata: table, cells: table[]} # raises "Notebook", or the errno's name
function M.read(path)
  return M.parse(fs.read(path), path)
end

return M
