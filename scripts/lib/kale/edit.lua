-- Changes the tags of a cell in a notebook's file, or the notebook's metadata, and leaves every other byte as it is.
-- Not for sources of cells.
--   local text = edit.tags(text, "a.ipynb", 3, { "step:train", "prev:load" })
local document = require "kale.document"
local errors = require "errors"
local json = require "json"
local notebook = require "kale.notebook"
local percent = require "kale.percent"

local M = {}

-- --- places in a JSON text that is known to be well formed ---------------------------------------------

local skip

local function blanks(text, at) return text:find("[^ \t\r\n]", at) end

local function skip_string(text, at)
  at = at + 1
  while true do
    at = text:find('["\\]', at)
    if text:byte(at) == 34 then return at + 1 end
    at = at + 2
  end
end

-- Calls fn(key, first, after) for the members of the object or list at a place; gives the place after it.
local function each(text, at, fn)
  local is_object, close = text:sub(at, at) == "{", text:sub(at, at) == "{" and "}" or "]"
  local index = 0
  at = blanks(text, at + 1)
  while text:sub(at, at) ~= close do
    local key = index
    if is_object then
      local after = skip_string(text, at)
      key = json.decode(text:sub(at, after - 1))
      at = blanks(text, blanks(text, after) + 1)
    end
    local after = skip(text, at)
    if fn then fn(key, at, after) end
    index = index + 1
    at = blanks(text, after)
    if text:sub(at, at) == "," then at = blanks(text, at + 1) end
  end
  return at + 1
end

function skip(text, at)
  local c = text:sub(at, at)
  if c == '"' then return skip_string(text, at) end
  if c == "{" or c == "[" then return each(text, at) end
  return text:find("[,%]} \t\r\n]", at) or #text + 1
end

local function member(text, at, wanted)
  local first, after
  each(text, at, function(key, from, to)
    if key == wanted then first, after = from, to end
  end)
  return first, after
end

-- --- .ipynb ----------------------------------------------------------------------------------------------

-- Where the object of a cell begins.
local function place_of_cell(text, format, number)
  local root = blanks(text, 1)
  if format == 4 then return (member(text, (member(text, root, "cells")), number - 1)) end
  local found, count = nil, 0
  each(text, (member(text, root, "worksheets")), function(_, sheet)
    each(text, (member(text, sheet, "cells")), function(_, first)
      count = count + 1
      if count == number then found = first end
    end)
  end)
  return found
end

-- The blanks before the first member of the object at a place: how its members are set.
local function indentation(text, at)
  local first = blanks(text, at + 1)
  return text:sub(at + 1, first - 1)
end

local function write_list(tags, indent)
  if #tags == 0 then return "[]" end
  local texts = {}
  for i, tag in ipairs(tags) do texts[i] = json.encode(tag) end
  if not indent:find "\n" then return "[" .. table.concat(texts, ", ") .. "]" end
  local step = indent:match "\n(%s*)$"
  local inner = "\n" .. step .. " "
  return "[" .. inner .. table.concat(texts, "," .. inner) .. "\n" .. step .. "]"
end

local function insert(text, object, key, value, indent)
  local first = blanks(text, object + 1)
  local is_empty = text:sub(first, first) == "}"
  local entry = json.encode(key) .. ": " .. value
  if not is_empty then
    return text:sub(1, first - 1) .. entry .. "," .. (indent == "" and " " or indent) .. text:sub(first)
  end
  local close = indent:find "\n" and indent:gsub(" $", "") or ""
  return text:sub(1, object) .. indent .. entry .. close .. text:sub(first)
end

local function edit_json(text, path, number, tags)
  local _, format = document.read(text, path)
  local cell = place_of_cell(text, format, number)
  local metadata = member(text, cell, "metadata")
  local cell_indent = indentation(text, cell)
  if not metadata then
    text = insert(text, cell, "metadata", "{}", cell_indent)
    metadata = member(text, cell, "metadata")
  end
  local indent = indentation(text, metadata)
  if text:sub(blanks(text, metadata + 1)):sub(1, 1) == "}" then
    indent = cell_indent:find "\n" and cell_indent .. " " or ""
  end
  local first, after = member(text, metadata, "tags")
  local list = write_list(tags, indent)
  if first then return text:sub(1, first - 1) .. list .. text:sub(after) end
  return insert(text, metadata, "tags", list, indent)
end

-- --- .py -------------------------------------------------------------------------------------------------

local function edit_python(text, number, tags)
  local cell = percent.parse(text).cells[number]
  local metadata = {}
  for key, value in pairs(cell.metadata) do metadata[key] = value end
  metadata.tags = #tags > 0 and json.array(tags) or nil
  local marker, count = percent.write_marker(cell.kind, metadata), 0
  if not cell.marker_line then
    -- Code before the first marker has none yet.
    local before, rest = {}, text
    for _ = 1, cell.first_line - 1 do
      local line, after = rest:match "^([^\n]*\n)(.*)$"
      before[#before + 1], rest = line, after
    end
    return table.concat(before) .. marker .. "\n" .. rest
  end
  return (text:gsub("[^\n]*\n?", function(line)
    count = count + 1
    if count ~= cell.marker_line then return nil end
    return marker .. line:match "\r?\n?$"
  end))
end

-- --- the notebook's own metadata -------------------------------------------------------------------------

-- A value as JSON whose further lines stand below its first.
local function write_value(value, indent)
  if not indent:find "\n" then return json.encode(value, { sort = true }) end
  local step = indent:match "\n(%s*)$"
  return (json.encode(value, { sort = true, indent = 1 }):gsub("\n", "\n" .. step))
end

local function set_json(text, path, keys, value)
  document.read(text, path)
  local object = blanks(text, 1)
  local indent = indentation(text, object)
  for i, key in ipairs(keys) do
    local first, after = member(text, object, key)
    if i == #keys then
      local written = write_value(value, indent)
      if first then return text:sub(1, first - 1) .. written .. text:sub(after) end
      return insert(text, object, key, written, indent)
    end
    if not first then
      text = insert(text, object, key, "{}", indent)
      first = member(text, object, key)
    end
    local is_empty = text:sub(blanks(text, first + 1)):sub(1, 1) == "}"
    indent = is_empty and (indent:find "\n" and indent .. " " or "") or indentation(text, first)
    object = first
  end
end

local function set_python(text, keys, value)
  local metadata = percent.parse(text).metadata
  local object = metadata
  for i = 1, #keys - 1 do
    object[keys[i]] = type(object[keys[i]]) == "table" and object[keys[i]] or json.object {}
    object = object[keys[i]]
  end
  object[keys[#keys]] = value
  local yaml = require "yaml".encode({ jupyter = metadata }, { sort = true }):gsub("\n$", "")
  local header = "# ---\n" .. ("# " .. yaml:gsub("\n", "\n# ")) .. "\n# ---\n"
  local _, last = text:find "^# %-%-%-\n.-\n# %-%-%-\n"
  return header .. text:sub((last or 0) + 1)
end

---The text of a notebook with a member of its own metadata set.
---@param text string of the file
---@param path string
---@param keys string[] where: { "kubeflow_notebook", "katib_metadata" }
---@param value any
---@return string # raises "Notebook"
function M.notebook_metadata(text, path, keys, value)
  if path:find "%.py$" then return set_python(text, keys, value) end
  return set_json(text, path, table.move(keys, 1, #keys, 2, { "metadata" }), value)
end

---The text of a notebook with the tags of one cell replaced.
---@param text string of the file
---@param path string
---@param number integer of the cell, all cells counted from 1
---@param tags string[]
---@return string # raises "Notebook"; "Usage" when there is no such cell
function M.tags(text, path, number, tags)
  local nb = notebook.parse(text, path)
  if not nb.cells[number] then
    errors.raise { code = "Usage", message = ("%s has no cell %d, but %d cells"):format(path, number, #nb.cells) }
  end
  if nb.format == "percent" then return edit_python(text, number, tags) end
  return edit_json(text, path, number, tags)
end

return M
