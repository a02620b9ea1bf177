-- A notebook's text as a JSON document, and what is wrong with it: every problem, not only the first.
-- Not for cells: see kale.notebook.
--   local problems = document.problems "a.ipynb"; local doc, format = document.decode(text, problems)
local errors = require "errors"
local json = require "json"

local M = {}

---@class kale.Problem
---@field message string
---@field cell integer? counts all cells from 1
---@field line integer? of the cell's source, or of the file where no cell is named
---@field column integer?
---@field source string? the line

---@class kale.Problems
---@field path string
---@field list kale.Problem[]
local Problems = {}
Problems.__index = Problems

---@param path string of the notebook, for messages
---@return kale.Problems
function M.problems(path) return setmetatable({ path = path, list = {} }, Problems) end

---Notes a problem.
---@param problem kale.Problem
function Problems:add(problem) self.list[#self.list + 1] = problem end

local function text_of(path, problem)
  local place = path
  for _, key in ipairs { "cell", "line", "column" } do
    if problem[key] then place = ("%s, %s %d"):format(place, key, problem[key]) end
  end
  return place .. ": " .. problem.message
end

---Raises what was found.
function Problems:raise()
  local texts = {}
  for i, problem in ipairs(self.list) do texts[i] = text_of(self.path, problem) end
  errors.raise {
    code = "Notebook", message = table.concat(texts, "\n"), path = self.path, problems = self.list,
  }
end

---Raises what was found, and this: what makes reading on impossible.
---@param message string
---@param place kale.Problem? cell, line, column
function Problems:stop(message, place)
  local problem = place or {}
  problem.message = message
  self:add(problem)
  self:raise()
end

-- --- JSON -----------------------------------------------------------------------------------------------------

local MOST = 100 -- problems inside texts that are told

-- What is wrong inside a text and leaves its end where it is: what is taken for the byte at its place.
local INSIDE = { ["UTF%-8"] = "_", ["control character"] = " ", surrogate = "_", ["no such escape"] = "n" }

local function taken_for(message)
  for pattern, byte in pairs(INSIDE) do
    if message:find(pattern) then return byte end
  end
end

local function line_of(text, number)
  local at = 1
  for _ = 2, number do at = (text:find("\n", at, true) or #text) + 1 end
  local line = text:match("[^\n]*", at)
  return utf8.len(line) and line or nil
end

-- Where it is: in a cell when the path says which, else in the file.
local function place_of(text, err)
  local cell, rest = (err.path or ""):match "^%$%.cells%[(%d+)%](.*)$"
  if cell then
    local line = rest:match "^%.source%[(%d+)%]$"
    return { cell = cell + 1, line = line and line + 1 }
  end
  return { line = err.line, column = err.column, source = line_of(text, err.line) }
end

---Decodes the JSON of a notebook and says its format.
---@param text string
---@param problems kale.Problems what is wrong inside texts is added, the text is taken without it
---@return table document
---@return integer format 3 or 4 # raises "Notebook" with the place when it is no notebook
function M.decode(text, problems)
  local mended, last = text, -1
  local document, err = json.try.decode(mended, { duplicates = "last" })
  while err do
    local byte = err.offset > last and #problems.list < MOST and taken_for(err.message)
    if not byte then
      problems:stop("this is no notebook: " .. err.message, { line = err.line, column = err.column,
        source = line_of(text, err.line) })
    end
    local place = place_of(text, err)
    place.message = err.message
    problems:add(place)
    mended, last = mended:sub(1, err.offset) .. byte .. mended:sub(err.offset + 2), err.offset
    document, err = json.try.decode(mended, { duplicates = "last" })
  end
  if type(document) ~= "table" then problems:stop "a notebook is a JSON object" end
  local format = document.nbformat
  if format == nil then problems:stop "'nbformat' is missing: this is no notebook" end
  if math.type(format) ~= "integer" then problems:stop "'nbformat' is not 3 or 4" end
  if format ~= 3 and format ~= 4 then
    problems:stop(("nbformat %s is not supported, only 3 and 4"):format(format))
  end
  return document, format
end

---Decodes the JSON of a notebook in which nothing is wrong.
---@param text string
---@param path string for messages
---@return table document
---@return integer format 3 or 4 # raises "Notebook" with the places
function M.read(text, path)
  local problems = M.problems(path)
  local document, format = M.decode(text, problems)
  if #problems.list > 0 then problems:raise() end
  return document, format
end

return M
