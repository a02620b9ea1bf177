-- cli.words: the words of a command line become a table of named, typed values.
-- Not for what a command means: no command is run and nothing is printed here.
--   words.parse(command, {"-o", "out.yaml", "digits.ipynb"}) -> {output="out.yaml", notebook="digits.ipynb"}

local errors = require "errors"
local declare = require "cli.declare"

local M = {}

local function fail(format, ...)
  errors.raise { code = "Usage", message = format:format(...) }
end

-- --- near words -------------------------------------------------------------------------------

-- How many letters must change to make one word of the other (Levenshtein).
local function distance(a, b)
  local row = {}
  for j = 0, #b do row[j] = j end
  for i = 1, #a do
    local diagonal = row[0]
    row[0] = i
    for j = 1, #b do
      local same = a:byte(i) == b:byte(j)
      local best = math.min(row[j] + 1, row[j - 1] + 1, diagonal + (same and 0 or 1))
      diagonal, row[j] = row[j], best
    end
  end
  return row[#b]
end

---The names that somebody who wrote `word` may have meant, nearest first, three at most.
---@param word string
---@param names string[]
---@return string[]
function M.near(word, names)
  local found = {}
  for _, name in ipairs(names) do
    local bare, bare_name = word:gsub("^%-+", ""), name:gsub("^%-+", "")
    local far = distance(bare, bare_name)
    if #bare >= 2 and bare_name:sub(1, #bare) == bare then far = 1 end
    local limit = math.max(1, math.min(3, #bare_name // 2))
    if far <= limit then found[#found + 1] = { name = name, far = far } end
  end
  table.sort(found, function(a, b)
    if a.far ~= b.far then return a.far < b.far end
    return a.name < b.name
  end)
  local near = {}
  for i = 1, math.min(3, #found) do near[i] = found[i].name end
  return near
end

---The usage error for a name that is not known.
---@param kind string "option", "command"
---@param word string what was written
---@param names string[] what could have been
---@return table error {code="Usage", message, word}
function M.unknown(kind, word, names)
  local message = ("unknown %s '%s'"):format(kind, word)
  local near = M.near(word, names)
  if #near > 0 then message = message .. " (did you mean " .. table.concat(near, " or ") .. "?)" end
  return errors.new { code = "Usage", message = message, word = word }
end

-- --- values -----------------------------------------------------------------------------------

local UNITS = { ms = 0.001, s = 1, m = 60, h = 3600, d = 86400 }

-- Each type: reader(text) -> value | nil, and what the message calls it.
local types = {
  text = { function(text) return text end, "a text" },
  int = {
    function(text) return text:find "^[+-]?%d+$" and math.tointeger(tonumber(text)) end,
    "a whole number",
  },
  number = {
    function(text) return text:find "%d" and not text:find "[xX]" and tonumber(text) end,
    "a number",
  },
  bool = { function(text) return ({ ["true"] = true, ["false"] = false })[text] end, "true or false" },
  duration = {
    function(text)
      local count, unit = text:match "^(%d+%.?%d*)(%a*)$"
      local factor = UNITS[unit == "" and "s" or unit]
      return count and factor and tonumber(count) * factor
    end,
    "a time such as 500ms, 30s or 5m",
  },
  pair = {
    function(text)
      local name, value = text:match "^([^=]+)=(.*)$"
      return name and { name = name, value = value }
    end,
    "NAME=VALUE",
  },
}

local function check_range(value, declared, called)
  local least, most = declared.min, declared.max
  if least and value < least then fail("%s: %s is less than %s", called, value, least) end
  if most and value > most then fail("%s: %s is more than %s", called, value, most) end
end

-- Reads the text for an option or argument; `called` is how messages name it.
local function read(text, declared, called)
  if declared.choices then
    for _, choice in ipairs(declared.choices) do
      if choice == text then return text end
    end
    fail("%s: '%s' is none of %s", called, text, table.concat(declared.choices, ", "))
  end
  local kind = types[declared.type or "text"]
  local value = kind[1](text)
  if value == nil or value == false and declared.type ~= "bool" then
    fail("%s: '%s' is not %s", called, text, kind[2])
  end
  check_range(value, declared, called)
  return value
end

-- --- options ----------------------------------------------------------------------------------

local function spellings(command)
  local names = {}
  for _, option in ipairs(command.options) do names[#names + 1] = declare.spelling(option) end
  return names
end

local function find(command, field, name)
  for _, option in ipairs(command.options) do
    if option[field] == name then return option end
  end
end

local function store(args, option, value, called)
  if option.repeated then
    local list = args[option.key]
    list[#list + 1] = value
  elseif args[option.key] and option.meta and args[option.key] ~= option.default then
    fail("%s was given twice", called)
  else
    args[option.key] = value
  end
end

-- The value of an option: what stands after it in the same word, else the next word.
local function take_value(option, attached, cursor, called)
  if attached then return attached end
  local text = cursor.words[cursor.at]
  if text == nil then fail("%s needs a value: %s %s", called, called, option.meta) end
  cursor.at = cursor.at + 1
  return text
end

local function take_long(command, args, word, cursor)
  local name, attached = word:match "^%-%-([^=]+)=(.*)$"
  name = name or word:sub(3)
  local option = find(command, "long", name)
  if not option then error(M.unknown("option", "--" .. name, spellings(command)), 0) end
  local called = "--" .. name
  if option.meta then
    store(args, option, read(take_value(option, attached, cursor, called), option, called), called)
  elseif attached then
    fail("%s takes no value ('%s' was given)", called, attached)
  else
    store(args, option, true, called)
  end
end

-- "-vo out" and "-voout" are -v and -o with the value out.
local function take_short(command, args, word, cursor)
  local at = 2
  while at <= #word do
    local called = "-" .. word:sub(at, at)
    local option = find(command, "short", word:sub(at, at))
    if not option then error(M.unknown("option", word, spellings(command)), 0) end
    at = at + 1
    if option.meta then
      local attached = at <= #word and word:sub(at) or nil
      store(args, option, read(take_value(option, attached, cursor, called), option, called), called)
      return
    end
    store(args, option, true, called)
  end
end

-- --- arguments --------------------------------------------------------------------------------

-- A repeated argument takes what the ones after it leave.
local function place(command, args, plain)
  local at = 1
  for index, argument in ipairs(command.arguments) do
    if argument.repeated then
      local list, last = {}, #plain - (#command.arguments - index)
      for i = at, last do list[#list + 1] = read(plain[i], argument, argument.name) end
      if #list == 0 and not argument.optional then fail("%s is missing", argument.name) end
      args[argument.key], at = list, math.max(at, last + 1)
    elseif plain[at] then
      args[argument.key], at = read(plain[at], argument, argument.name), at + 1
    elseif not argument.optional then
      fail("%s is missing", argument.name)
    else
      args[argument.key] = argument.default
    end
  end
  if plain[at] then fail("'%s' is one word too many", plain[at]) end
end

local function defaults(command)
  local args = {}
  for _, option in ipairs(command.options) do
    if option.repeated then
      args[option.key] = {}
    elseif option.default ~= nil then
      args[option.key] = option.default
    elseif not option.meta then
      args[option.key] = false
    end
  end
  return args
end

local function check_required(command, args)
  for _, option in ipairs(command.options) do
    local value = args[option.key]
    if option.required and (value == nil or option.repeated and #value == 0) then
      fail("%s %s is missing", declare.spelling(option), option.meta)
    end
  end
end

-- Whether what follows this many words is another command's line.
local function begins_verbatim(command, count)
  local argument = command.arguments[math.min(count, #command.arguments)]
  return argument ~= nil and argument.verbatim == true
end

---Reads a command line. Options may stand anywhere before `--`, or before the first word of an argument that is taken
---verbatim.
---@param command table from cli.declare
---@param given string[] the words
---@return table args by key: texts, numbers, seconds, lists of repeated ones, false for absent flags
---raises {code="Usage", message, word}
function M.parse(command, given)
  local args, plain, cursor = defaults(command), {}, { words = given, at = 1 }
  local only_plain = false
  while cursor.at <= #given do
    local word = given[cursor.at]
    cursor.at = cursor.at + 1
    if only_plain or word == "-" or word:sub(1, 1) ~= "-" then
      plain[#plain + 1] = word
      only_plain = only_plain or begins_verbatim(command, #plain)
    elseif word == "--" then
      only_plain = true
    elseif word:sub(1, 2) == "--" then
      take_long(command, args, word, cursor)
    else
      take_short(command, args, word, cursor)
    end
  end
  if args.help then return args end
  place(command, args, plain)
  check_required(command, args)
  return args
end

return M
