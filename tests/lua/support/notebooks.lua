-- Notebooks as tests write them: rows of cells, and what is planned of them.
--   local notebooks = dofile "tests/lua/support/notebooks.lua"; notebooks.plan { { "step:a", "x = 1" } }
local fs = require "fs"
local json = require "json"
local notebook = require "kale.notebook"
local plan = require "kale.plan"
local test = require "test"

local M = {}

-- Tags of a list, or of a text with blanks between them.
local function tags_of(tags)
  if type(tags) == "table" then return json.array(tags) end
  local list = json.array {}
  for tag in tags:gmatch "%S+" do list[#list + 1] = tag end
  return list
end

---A notebook as nbformat 4 has it.
---@param cells {[1]: string|string[], [2]: string, [3]: string?}[] tags, source, and a kind that is not "code"
---@param metadata table? Kale's
---@return table
function M.document(cells, metadata)
  local made = {
    nbformat = 4, nbformat_minor = 5, metadata = json.object { kubeflow_notebook = metadata }, cells = json.array {},
  }
  for i, cell in ipairs(cells) do
    local kind = cell[3] or "code"
    made.cells[i] = {
      cell_type = kind, metadata = { tags = tags_of(cell[1]) }, source = cell[2],
      outputs = kind == "code" and json.array {} or nil,
    }
  end
  return made
end

---@param cells table[] of M.document
---@param metadata table?
---@return string
function M.text(cells, metadata) return json.encode(M.document(cells, metadata)) end

---Writes a notebook into a folder of its own.
---@param cells table[] of M.document
---@param name string? of the file
---@return string path
function M.write(cells, name)
  local path = fs.join(test.tmpdir(), name or "a.ipynb")
  fs.write(path, M.text(cells))
  return path
end

---@param cells table[] of M.document
---@param metadata table?
---@param options table? of kale.plan
---@return table plan
function M.plan(cells, metadata, options)
  return plan.make(notebook.parse(M.text(cells, metadata), "nb.ipynb"), options)
end

---A plan of steps s1, s2 and so on, each after the one before, in a folder where nothing else is.
---@param sources string[]
---@return table plan
function M.chain(sources)
  local cells = {}
  for i, source in ipairs(sources) do
    cells[i] = { "step:s" .. i .. (i > 1 and " prev:s" .. i - 1 or ""), source }
  end
  return plan.make(notebook.parse(M.text(cells), fs.join(test.tmpdir(), "a.ipynb")))
end

return M
