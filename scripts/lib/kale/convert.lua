-- A notebook from one form into another: .ipynb of nbformat 4, and Python in percent format.
-- Not for other formats of jupytext. Nothing is lost: what a .py file has no place for (outputs, identifiers,
-- exact line ends) stands in a comment at its end.   local text = convert.text("a.ipynb", "a.py")
local errors = require "errors"
local fs = require "fs"
local hash = require "hash"
local json = require "json"
local notebook = require "kale.notebook"
local percent = require "kale.percent"

local M = {}

local PLAIN = { cell_type = true, metadata = true, source = true }
local TOP = { cells = true, metadata = true }

local function text_of(source)
  return type(source) == "table" and table.concat(source) or source or ""
end

-- As nbformat writes a text: a list of lines with their ends.
local function lines_of(text)
  local lines = json.array {}
  for line in text:gmatch "[^\n]*\n?" do
    if line ~= "" then lines[#lines + 1] = line end
  end
  return lines
end

local function same(a, b) return json.encode(a, { sort = true }) == json.encode(b, { sort = true }) end

-- --- nbformat 3 as 4 ----------------------------------------------------------------------------------------

local OUTPUTS = { pyout = "execute_result", pyerr = "error" }
local MIMES = {
  text = "text/plain", html = "text/html", svg = "image/svg+xml", png = "image/png", jpeg = "image/jpeg",
  latex = "text/latex", json = "application/json", javascript = "application/javascript",
}

local function upgrade_output(output)
  local kind = OUTPUTS[output.output_type] or output.output_type
  if kind == "stream" then return { output_type = kind, name = output.stream or "stdout", text = output.text } end
  if kind == "error" then
    return { output_type = kind, ename = output.ename, evalue = output.evalue, traceback = output.traceback }
  end
  local data = json.object {}
  for short, mime in pairs(MIMES) do data[mime] = output[short] end
  return {
    output_type = kind, data = data, metadata = json.object {},
    execution_count = kind == "execute_result" and (output.prompt_number or json.null) or nil,
  }
end

local function upgrade_cell(cell)
  local result = { cell_type = cell.cell_type, metadata = cell.metadata or json.object {}, source = cell.source }
  if cell.cell_type == "code" then
    result.source, result.execution_count = cell.input, cell.prompt_number or json.null
    result.outputs = json.array {}
    for i, output in ipairs(cell.outputs or {}) do result.outputs[i] = upgrade_output(output) end
  elseif cell.cell_type == "heading" then
    result.cell_type = "markdown"
    result.source = ("#"):rep(math.tointeger(cell.level) or 1) .. " " .. text_of(cell.source)
  elseif cell.cell_type == "html" then
    result.cell_type = "markdown"
  end
  return result
end

-- A document of any format as nbformat 4.
local function read_document(text, path)
  notebook.parse(text, path) -- says what is wrong with it
  local read, format = require "kale.document".read(text, path)
  if format == 4 then return read end
  local result = { nbformat = 4, nbformat_minor = 5, cells = json.array {} }
  result.metadata = read.metadata or json.object {}
  for _, sheet in ipairs(read.worksheets) do
    for _, cell in ipairs(sheet.cells) do
      local upgraded = upgrade_cell(cell)
      upgraded.id = ("cell-%d"):format(#result.cells + 1)
      table.insert(result.cells, upgraded)
    end
  end
  return result
end

-- --- to percent --------------------------------------------------------------------------------------------

-- What the percent form does not give back of a cell.
local function lost_of(cell, kind, source)
  local lost = json.object {}
  for key, value in pairs(cell) do
    if not PLAIN[key] then lost[key] = value end
  end
  if kind ~= cell.cell_type then lost.cell_type = cell.cell_type end
  if percent.again(kind, source) ~= source then lost.source = cell.source
  elseif type(cell.source) == "string" then lost.source_form = "text"
  elseif not same(cell.source or json.null, lines_of(source)) then lost.source = cell.source end
  if cell.source == nil then lost.source_form = "none" end
  local _, metadata = percent.read_marker(percent.write_marker(kind, cell.metadata or {}))
  if cell.metadata == nil or not same(metadata, cell.metadata) then lost.metadata = cell.metadata or json.null end
  return lost
end

local KINDS = { code = true, markdown = true, raw = true }

local function to_percent(document, keep)
  local cells, lost_cells = {}, json.array {}
  for i, cell in ipairs(document.cells) do
    local kind, source = KINDS[cell.cell_type] and cell.cell_type or "raw", text_of(cell.source)
    cells[i] = { kind = kind, metadata = cell.metadata or {}, source = source }
    lost_cells[i] = { hash = hash.sha256(percent.again(kind, source)):sub(1, 16), kept = lost_of(cell, kind, source) }
  end
  local kept = { cells = lost_cells, document = json.object {} }
  for key, value in pairs(document) do
    if not TOP[key] then kept.document[key] = value end
  end
  kept.no_metadata = document.metadata == nil or nil
  local metadata = type(document.metadata) == "table" and document.metadata or {}
  return percent.write({ metadata = metadata, cells = cells }, keep and kept or nil)
end

-- --- from percent --------------------------------------------------------------------------------------------

-- The kept parts by the text of their cell; each is used once.
local function by_hash(kept)
  local found = {}
  for _, entry in ipairs(kept and kept.cells or {}) do
    found[entry.hash] = found[entry.hash] or {}
    table.insert(found[entry.hash], entry.kept)
  end
  return function(source)
    local list = found[hash.sha256(source):sub(1, 16)]
    return list and table.remove(list, 1) or nil
  end
end

local function new_cell(cell, number)
  local result = {
    cell_type = cell.kind, metadata = cell.metadata, source = lines_of(cell.source), id = ("cell-%d"):format(number),
  }
  if cell.kind == "code" then result.execution_count, result.outputs = json.null, json.array {} end
  return result
end

local function put_back(cell, kept)
  local result = { cell_type = cell.kind, metadata = cell.metadata, source = lines_of(cell.source) }
  for key, value in pairs(kept) do
    if key ~= "source_form" then result[key] = value end
  end
  if kept.source_form == "text" then result.source = cell.source end
  if kept.source_form == "none" then result.source = nil end
  if kept.metadata == json.null then result.metadata = nil end
  return result
end

local function from_percent(text)
  local parsed = percent.parse(text)
  local document = {}
  for key, value in pairs(parsed.kept and parsed.kept.document or { nbformat = 4, nbformat_minor = 5 }) do
    document[key] = value
  end
  document.metadata = next(parsed.metadata) and parsed.metadata or json.object {}
  if parsed.kept and parsed.kept.no_metadata then document.metadata = nil end
  document.cells = json.array {}
  local find = by_hash(parsed.kept)
  for i, cell in ipairs(parsed.cells) do
    local kept = find(cell.source)
    document.cells[i] = kept and put_back(cell, kept) or new_cell(cell, i)
  end
  return document
end

-- --- both ----------------------------------------------------------------------------------------------------

local function form_of(path)
  local form = path:match "%.(%w+)$"
  if form == "py" or form == "ipynb" then return form end
  return errors.raise { code = "Usage", message = ("%s is neither a .ipynb nor a .py file"):format(path) }
end

---The text of a notebook in the form that the target's name asks for.
---@param from string path
---@param to string path or name
---@param options {outputs: boolean?}? outputs: false leaves outputs and identifiers out of a .py file
---@return string # raises "Notebook", "Usage", or the errno's name
function M.text(from, to, options)
  local source_form, target_form, text = form_of(from), form_of(to), fs.read(from)
  if source_form == "py" then
    if target_form == "py" then return text end
    return json.encode(from_percent(text), { sort = true, indent = 1 }) .. "\n"
  end
  local document = read_document(text, from)
  if target_form == "ipynb" then return json.encode(document, { sort = true, indent = 1 }) .. "\n" end
  return to_percent(document, not options or options.outputs ~= false)
end

return M
