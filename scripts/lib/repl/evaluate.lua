-- repl.evaluate: lines become statements, statements are run, and what they give is kept as _ and _1, _2, …
-- Of large lists only the last ones are kept, so that looking again and again does not fill the memory.
-- Not for reading lines nor for printing (cmd.repl).
--   local e = evaluate.new { environment = {} }; local statement = e:feed "1 + 1"; e:run(statement).values[1] -> 2

local errors = require "errors"

local M = {}

---@class repl.Statement
---@field number integer
---@field source string what was typed
---@field lua string the Lua it stands for
---@field chunk function

local evaluator = {}
evaluator.__index = evaluator

---@param options {environment: table, vocabulary: table?, name: string?}
function M.new(options)
  return setmetatable({
    environment = options.environment, vocabulary = options.vocabulary, name = options.name or "=stdin",
    lines = {}, count = 0, statements = {}, kept = {}, rows = 0, dropped = {},
  }, evaluator)
end

local function is_incomplete(problem)
  return problem:sub(-5) == "<eof>"
end

-- The chunk of a text: an expression gives its values.
function evaluator:compile(text)
  local chunk = load("return " .. text, self.name, "t", self.environment)
  if chunk then return chunk end
  return load(text, self.name, "t", self.environment)
end

local function statement_of(self, source, lua, chunk)
  self.lines = {}
  return { number = self.count + 1, source = source, lua = lua, chunk = chunk }
end

-- What a wrong line of Lua may have been meant as.
local function with_hint(self, problem)
  local vocabulary = self.vocabulary
  local first = self.lines[1] or ""
  local name = vocabulary and require("repl.words").leading(first:match "^%s*(.*)$", vocabulary.known)
  if not name then return problem end
  return ("%s\n(read as Lua; ':%s' reads it as words)"):format(problem, first:match "^%s*(.-)%s*$")
end

---Takes one more line.
---@param line string
---@return repl.Statement|nil statement nil: more lines are needed, or the problem
---@return any problem a text or an error; nil: more lines are needed, or it was empty
function evaluator:feed(line)
  local vocabulary = self.vocabulary
  if #self.lines == 0 then
    local kind = vocabulary and vocabulary:kind(line) or line:find "%S" and "lua" or "empty"
    if kind == "empty" then return nil end
    if kind == "words" then
      local ok, lua = pcall(vocabulary.translate, vocabulary, line)
      if not ok then return nil, lua end
      local chunk, problem = self:compile(lua)
      if not chunk then return nil, problem end
      return statement_of(self, line, lua, chunk)
    end
    line = line:gsub("^%s*=", "", 1)
  end
  self.lines[#self.lines + 1] = line
  local text = table.concat(self.lines, "\n")
  local chunk, problem = self:compile(text)
  if chunk then return statement_of(self, text, text, chunk) end
  if is_incomplete(problem) then return nil end
  problem = with_hint(self, problem)
  self.lines = {}
  return nil, problem
end

---Takes a text of several lines apart, as if they came one after the other; a text that is one statement of Lua
---stays one.
---@param text string
---@return string[] pieces
---@return boolean whole false: the last piece needs more lines
function evaluator:split(text)
  local vocabulary = self.vocabulary
  local function is_words(line) return vocabulary and vocabulary:kind(line) == "words" end
  if not text:find("\n", 1, true) and is_words(text) then return { text }, true end
  local _, problem = self:compile((text:gsub("^%s*=", "", 1)))
  if not is_words(text:match "^[^\n]*") and not problem then return { text }, true end
  if not text:find("\n", 1, true) then return { text }, not is_incomplete(problem) end
  local pieces, piece = {}, nil
  for line in (text .. "\n"):gmatch "(.-)\n" do
    if piece then piece = piece .. "\n" .. line
    elseif line:find "%S" then piece = line end
    local _, wrong
    if piece and not is_words(piece) then _, wrong = self:compile((piece:gsub("^%s*=", "", 1))) end
    if piece and not (wrong and is_incomplete(wrong)) then
      pieces[#pieces + 1] = piece
      piece = nil
    end
  end
  pieces[#pieces + 1] = piece
  return pieces, piece == nil
end

---Whether a statement has begun and needs more lines.
---@return boolean
function evaluator:pending()
  return #self.lines > 0
end

---Gives up the statement that has begun: the problem of its end, or nil.
---@return string?
function evaluator:drop()
  if #self.lines == 0 then return nil end
  local _, problem = self:compile(table.concat(self.lines, "\n"))
  self.lines = {}
  return problem
end

local function with_traceback(problem)
  if errors.is(problem) then return problem end
  local text = debug.traceback(errors.text(problem), 2)
  text = text:gsub("\n[^\n]*%[C%]: in function 'xpcall'.*$", "")
  text = text:gsub("\nstack traceback:\n[^\n]*%[C%]: in function 'error'\n[^\n]*: in main chunk$", "")
  return (text:gsub("\nstack traceback:\n[^\n]*: in main chunk$", ""):gsub("\nstack traceback:%s*$", ""))
end

-- --- what is kept -----------------------------------------------------------------------------------------

local MOST_ROWS <const> = 15000 -- that all kept values have together; the last value is kept whatever it has

-- How much a value holds on to, in rows.
local function weight_of(value)
  if type(value) ~= "table" then return 0 end
  local rows = rawget(value, "rows")
  return type(rows) == "table" and #rows or #value
end

-- The value is _ and _NUMBER; the oldest large ones make room.
local function keep(self, value)
  local weight = weight_of(value)
  self.kept[#self.kept + 1] = { number = self.count, weight = weight }
  self.rows = self.rows + weight
  rawset(self.environment, "_", value)
  rawset(self.environment, "_" .. self.count, value)
  local at, gone = 1, false
  while self.rows > MOST_ROWS and at < #self.kept do
    if self.kept[at].weight > 0 then
      local old = table.remove(self.kept, at)
      self.rows = self.rows - old.weight
      rawset(self.environment, "_" .. old.number, nil)
      self.dropped["_" .. old.number] = old.weight
      gone = true
    else at = at + 1 end
  end
  if gone then collectgarbage() end
end

---The message for a value that was given up to make room; nil when the name is no such value.
---@param name string
---@return string?
function evaluator:gone(name)
  local rows = self.dropped[name]
  return rows and ("%s had %d rows and was given up for later lists; a variable keeps one (x = _)"):format(name, rows)
end

---@class repl.Result
---@field ok boolean
---@field values table? with n
---@field problem any

---Runs a statement; its first value is _ and _NUMBER from now on.
---@param statement repl.Statement
---@return repl.Result
function evaluator:run(statement)
  self.count = self.count + 1
  self.statements[#self.statements + 1] = statement
  local results = table.pack(xpcall(statement.chunk, with_traceback))
  if not results[1] then return { ok = false, problem = results[2] } end
  local values = table.move(results, 2, results.n, 1, { n = results.n - 1 })
  if values.n > 0 and values[1] ~= nil then keep(self, values[1]) end
  return { ok = true, values = values }
end

return M
