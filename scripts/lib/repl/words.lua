-- repl.words: is a line of the REPL words or Lua, and which words are they.
-- Not for what a word means (repl.vocabulary): nothing is run here.
--   words.kind("pods -n team | less", known) -> "words"     words.kind("pods = 3", known) -> "lua"

local errors = require "errors"

local M = {}

local LINE_SIGILS = { [":"] = true, ["!"] = true, ["?"] = true, ["%"] = true }

-- What follows a name in Lua and never follows a word; longer ones first.
local OPERATORS = {
  "==", "~=", "<=", ">=", "<<", ">>", "//", "..", "::",
  "+", "-", "*", "/", "%", "^", "&", "~", "|", "<", ">",
  ".", ":", "(", "[", "=", ",",
}
local WORD_OPERATORS = { ["and"] = true, ["or"] = true }

-- --- the rule -------------------------------------------------------------------------------------

---The word that a text begins with, and where what follows it starts.
---@param text string
---@param known table<string, any> the names of all words
---@return string? name
---@return integer? after
function M.leading(text, known)
  local plain = text:match "^[%a_][%w_]*"
  if not plain then return nil end
  local dashed = text:match "^[%a_][%w_%-]*%??" -- can-i, injected?
  if known[dashed] then return dashed, #dashed + 1 end
  local bare = dashed:gsub("%?$", "")
  if known[bare] then return bare, #bare + 1 end
  if known[plain] then return plain, #plain + 1 end
  return nil
end

local function operator_at(text, at)
  for _, operator in ipairs(OPERATORS) do
    if text:sub(at, at + #operator - 1) == operator then return operator end
  end
  local name = text:match("^[%a_][%w_]*", at)
  return WORD_OPERATORS[name] and name or nil
end

-- Whether Lua goes on after the name that ends before `at`.
local function lua_follows(text, at)
  local start = text:find("%S", at)
  if not start then return false end
  local operator = operator_at(text, start)
  if not operator then return false end
  if start == at then return true end -- no blank between
  if operator == "|" or operator == ">" then return false end
  if operator == "-" then return not text:find("^%-[%w%-]", start) end
  return true
end

-- Where a row list such as 3 or 1,4..6 ends, and the list.
local function row_list(text)
  local list, after = text:match "^([%d][%d,.]*)%s+()"
  if not list or list:find "[,.]$" or list:find "%.%.%." then return nil end
  for part in list:gmatch "[^,]+" do
    if not (part:find "^%d+$" or part:find "^%d+%.%.%d+$") then return nil end
  end
  return list, after
end

---Whether a line is words or Lua, by its first characters.
---@param line string
---@param known table<string, any> the names of all words
---@return "words"|"lua"|"empty"
function M.kind(line, known)
  local text = line:match "^%s*(.-)%s*$"
  if text == "" then return "empty" end
  local first = text:sub(1, 1)
  if first == "=" then return "lua" end
  if first == ":" and text:sub(2, 2) == ":" then return "lua" end -- a label
  if LINE_SIGILS[first] or text:sub(-2) == "??" then return "words" end
  local rows, after = row_list(text)
  if rows then return M.leading(text:sub(after), known) and "words" or "lua" end
  local name, following = M.leading(text, known)
  if not name then return "lua" end
  return lua_follows(text, following) and "lua" or "words"
end

-- --- the words of a line ----------------------------------------------------------------------------

local ESCAPES = { n = "\n", t = "\t" }

local function fail(format, ...)
  errors.raise { code = "Usage", message = format:format(...) }
end

-- One word with its quotes taken off, and where it ended.
local function take(text, at)
  local pieces = {}
  while at <= #text and not text:find("^%s", at) do
    local c = text:sub(at, at)
    if c == "'" then
      local close = text:find("'", at + 1, true) or fail "a quote ' has no end"
      pieces[#pieces + 1] = text:sub(at + 1, close - 1)
      at = close + 1
    elseif c == '"' then
      at = at + 1
      while text:sub(at, at) ~= '"' do
        if at > #text then fail 'a quote " has no end' end
        if text:sub(at, at) == "\\" then
          at = at + 1
          local escaped = text:sub(at, at)
          pieces[#pieces + 1] = ESCAPES[escaped] or escaped
        else
          pieces[#pieces + 1] = text:sub(at, at)
        end
        at = at + 1
      end
      at = at + 1
    else
      if c == "\\" and at < #text then
        at = at + 1
        c = text:sub(at, at)
      end
      pieces[#pieces + 1] = c
      at = at + 1
    end
  end
  return table.concat(pieces), at
end

---The words of a text, as a shell takes them apart; `| COMMAND` and `> FILE` after a blank end them.
---@param text string
---@return string[] list
---@return string? pipe the shell's command
---@return string? file
function M.split(text)
  local list, at = {}, 1
  while true do
    at = text:find("%S", at)
    if not at then return list end
    local c = text:sub(at, at)
    if c == "|" then
      local command = text:sub(at + 1):match "^%s*(.-)%s*$"
      if command == "" then fail "after | a command is missing" end
      return list, command
    elseif c == ">" then
      local start = text:find("%S", at + 1) or fail "after > a file is missing"
      local file, after = take(text, start)
      if text:find("%S", after) then fail("'%s' is too much after > %s", text:sub(after):match "%S+", file) end
      return list, nil, file
    end
    list[#list + 1], at = take(text, at)
  end
end

---@class repl.Line
---@field name string the word, a sigil, or "??"
---@field text string what follows the word, as it was written
---@field words string[] what follows the word, taken apart
---@field rows string? "1,4..6"
---@field pipe string?
---@field file string?

---Takes a line of words apart.
---@param line string for which M.kind says "words"
---@param known table<string, any>
---@return repl.Line
---raises {code="Usage"}
function M.parse(line, known)
  local text = line:match "^%s*(.-)%s*$"
  local first = text:sub(1, 1)
  if first == "!" or first == "%" then
    local rest = text:sub(2):match "^%s*(.*)$"
    if first == "!" then return { name = "!", text = rest, words = {} } end
    local name, after = rest:match "^(%a+)%s*()"
    return { name = "%" .. (name or ""), text = rest:sub(after or 1), words = {} }
  end
  if text:sub(-2) == "??" then return { name = "??", text = text:sub(1, -3), words = {} } end
  if first == "?" then
    local list, pipe, file = M.split(text:sub(2))
    return { name = "?", text = text:sub(2), words = list, pipe = pipe, file = file }
  end
  local forced = first == ":"
  if forced then text = text:sub(2):match "^%s*(.*)$" end
  local rows, after = row_list(text)
  if rows then text = text:sub(after) end
  local name, following = M.leading(text, known)
  if not name then
    name, following = text:match "^(%S+)()"
    if not name then fail "a word is missing after ':'" end
    local names = {}
    for key in pairs(known) do names[#names + 1] = key end
    table.sort(names)
    error(require("cli.words").unknown("word", name, names), 0)
  end
  local rest = text:sub(following)
  local list, pipe, file = M.split(rest)
  return {
    name = name, text = rest:match "^%s*(.-)%s*$", words = list, rows = rows, pipe = pipe, file = file,
  }
end

return M
