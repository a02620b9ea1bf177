-- lab.go_json: what Go's encoding/json says of a text that is no JSON; clients see these words in answers.
-- Not for reading JSON.
--   go_json.fault '{"a" 1}' --> "invalid character '1' after object key"

local M = {}

local ESCAPES = { ["\n"] = "\\n", ["\r"] = "\\r", ["\t"] = "\\t", ["'"] = "\\'", ["\\"] = "\\\\" }

-- A character as Go quotes it; bytes above 0x7f are taken for code points.
local function quoted(char)
  local byte = char:byte()
  if ESCAPES[char] then return "'" .. ESCAPES[char] .. "'" end
  if char == '"' then return "'\"'" end
  if byte < 32 or byte == 127 then return ("'\\x%02x'"):format(byte) end
  if byte < 128 then return "'" .. char .. "'" end
  if byte < 0xa0 then return ("'\\u%04x'"):format(byte) end
  return "'" .. utf8.char(byte) .. "'"
end

local END = {} -- the text ends too early

local function bad(text, at, context)
  local char = text:sub(at, at)
  error(char == "" and END or { text = ("invalid character %s %s"):format(quoted(char), context) }, 0)
end

local function skip(text, at) return text:find("[^ \t\r\n]", at) or #text + 1 end

local value

local function string_end(text, at)
  while true do
    at = text:find('["\\%c]', at)
    local char = at and text:sub(at, at)
    if not at then error(END, 0) end
    if char == '"' then return at + 1 end
    if char ~= "\\" then bad(text, at, "in string literal") end
    local escape = text:sub(at + 1, at + 1)
    if escape == "u" then
      for i = at + 2, at + 5 do
        if not text:find("^%x", i) then bad(text, i, "in \\u hexadecimal character escape") end
      end
      at = at + 6
    elseif escape:find '^["\\/bfnrt]$' then
      at = at + 2
    else
      bad(text, at + 1, "in string escape code")
    end
  end
end

local function literal(text, at, word)
  for i = 2, #word do
    if text:sub(at + i - 1, at + i - 1) ~= word:sub(i, i) then
      bad(text, at + i - 1, ("in literal %s (expecting '%s')"):format(word, word:sub(i, i)))
    end
  end
  return at + #word
end

local function number(text, at)
  if text:sub(at, at) == "-" then
    at = at + 1
    if not text:find("^%d", at) then bad(text, at, "in numeric literal") end
  end
  at = text:sub(at, at) == "0" and at + 1 or text:find("[^%d]", at) or #text + 1
  if text:sub(at, at) == "." then
    if not text:find("^%d", at + 1) then bad(text, at + 1, "after decimal point in numeric literal") end
    at = text:find("[^%d]", at + 1) or #text + 1
  end
  if text:find("^[eE]", at) then
    at = at + (text:find("^[+-]", at + 1) and 2 or 1)
    if not text:find("^%d", at) then bad(text, at, "in exponent of numeric literal") end
    at = text:find("[^%d]", at) or #text + 1
  end
  return at
end

local function object(text, at)
  at = skip(text, at)
  if text:sub(at, at) == "}" then return at + 1 end
  while true do
    if text:sub(at, at) ~= '"' then bad(text, at, "looking for beginning of object key string") end
    at = skip(text, string_end(text, at + 1))
    if text:sub(at, at) ~= ":" then bad(text, at, "after object key") end
    at = skip(text, value(text, skip(text, at + 1)))
    local char = text:sub(at, at)
    if char == "}" then return at + 1 end
    if char ~= "," then bad(text, at, "after object key:value pair") end
    at = skip(text, at + 1)
  end
end

local function array(text, at)
  at = skip(text, at)
  if text:sub(at, at) == "]" then return at + 1 end
  while true do
    at = skip(text, value(text, at))
    local char = text:sub(at, at)
    if char == "]" then return at + 1 end
    if char ~= "," then bad(text, at, "after array element") end
    at = skip(text, at + 1)
  end
end

function value(text, at)
  local char = text:sub(at, at)
  if char == "{" then return object(text, at + 1) end
  if char == "[" then return array(text, at + 1) end
  if char == '"' then return string_end(text, at + 1) end
  if char == "t" then return literal(text, at, "true") end
  if char == "f" then return literal(text, at, "false") end
  if char == "n" then return literal(text, at, "null") end
  if char:find "^[%-%d]$" then return number(text, at) end
  bad(text, at, "looking for beginning of value")
end

---What Go says of a text.
---@param text string
---@return string? # nil when it is JSON
function M.fault(text)
  local ok, problem = pcall(function()
    local at = skip(text, value(text, skip(text, 1)))
    if at <= #text then bad(text, at, "after top-level value") end
  end)
  if ok then return nil end
  if problem == END then return "unexpected end of JSON input" end
  if type(problem) == "table" and problem.text then return problem.text end
  return "the text is nested too deeply"
end

return M
