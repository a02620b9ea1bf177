-- The expressions of an IR: conditions of tasks and selectors of parameters, a part of CEL.
-- Not for other CEL: types are those of JSON, and what cannot be evaluated raises, always.
--   expression.compile("int(inputs.parameter_values['n']) > 2"):eval{ inputs = { parameter_values = { n = 3 } } }
local errors = require "errors"
local json = require "json"

local M = {}

local function fail(text, offset, message, ...)
  errors.raise {
    code = "Expression", message = ("%s in the expression: %s"):format(message:format(...), text), offset = offset,
  }
end

-- --- words ----------------------------------------------------------------------------------------------

local ESCAPES = { n = "\n", t = "\t", r = "\r", a = "\a", b = "\b", f = "\f", v = "\v" }

local function read_string(text, at)
  local raw, quote = text:match("^([rR]?)(['\"])", at)
  if not quote then return nil end
  local triple = quote:rep(3)
  local first = at + #raw
  local close = text:sub(first, first + 2) == triple and triple or quote
  local pieces, i = {}, first + #close
  while true do
    if i > #text then fail(text, at, "a string does not end") end
    if text:sub(i, i + #close - 1) == close then return table.concat(pieces), i + #close end
    local c = text:sub(i, i)
    if c == "\\" and raw == "" then
      local hex = text:match("^x(%x%x)", i + 1) or text:match("^u(%x%x%x%x)", i + 1)
      local octal = text:match("^[0-3][0-7][0-7]", i + 1)
      if hex then
        pieces[#pieces + 1] = utf8.char(tonumber(hex, 16))
        i = i + 2 + #hex
      elseif octal then
        pieces[#pieces + 1] = utf8.char(tonumber(octal, 8))
        i = i + 4
      else
        local escaped = text:sub(i + 1, i + 1)
        pieces[#pieces + 1] = ESCAPES[escaped] or escaped
        i = i + 2
      end
    else
      pieces[#pieces + 1] = c
      i = i + 1
    end
  end
end

local DOUBLE = { ["&&"] = true, ["||"] = true, ["=="] = true, ["!="] = true, ["<="] = true, [">="] = true }

local PATTERNS = { "^%d+%.%d*[eE][+-]?%d+", "^%d+[eE][+-]?%d+", "^%d*%.%d+", "^0x%x+", "^%d+" }

-- The words of an expression: {kind, value, offset}.
local function split(text)
  local words, at = {}, 1
  local function add(kind, value, next_at)
    words[#words + 1] = { kind = kind, value = value, offset = at }
    at = next_at
  end
  while true do
    at = text:find("%S", at) or #text + 1
    if at > #text then break end
    local found
    local value, after = read_string(text, at)
    if value then
      add("value", value, after)
      found = true
    end
    for _, pattern in ipairs(found and {} or PATTERNS) do
      local number = text:match(pattern, at)
      if number then
        local is_float = number:find "[.eE]" and not number:find "^0x"
        local parsed = is_float and tonumber(number) + 0.0 or tonumber(number)
        add("value", parsed, at + #number + (text:match("^[uU]", at + #number) and 1 or 0))
        found = true
        break
      end
    end
    if not found then
      local name = text:match("^[%a_][%w_]*", at)
      local mark = text:sub(at, at + 1)
      if name then add("name", name, at + #name)
      elseif DOUBLE[mark] then add("mark", mark, at + 2)
      else
        local single = text:match("^[%[%](){}.,:?!<>+*/%%-]", at)
        if not single then fail(text, at, "'%s' is not understood", text:sub(at, at)) end
        add("mark", single, at + 1)
      end
    end
  end
  words[#words + 1] = { kind = "end", value = "the end", offset = #text + 1 }
  return words
end

-- --- grammar ----------------------------------------------------------------------------------------------

local BINARY = {
  ["||"] = 2, ["&&"] = 3, ["=="] = 4, ["!="] = 4, ["<"] = 4, ["<="] = 4, [">"] = 4, [">="] = 4, ["in"] = 4,
  ["+"] = 5, ["-"] = 5, ["*"] = 6, ["/"] = 6, ["%"] = 6,
}
local WORDS = { ["true"] = true, ["false"] = false, null = json.null }

local Parser = {}
Parser.__index = Parser

function Parser:peek() return self.words[self.at] end

function Parser:next()
  local word = self.words[self.at]
  self.at = self.at + 1
  return word
end

function Parser:takes(value)
  local word = self:peek()
  if word.kind ~= "value" and word.value == value then
    self.at = self.at + 1
    return word
  end
  return nil
end

function Parser:expect(value)
  if not self:takes(value) then
    local word = self:peek()
    fail(self.text, word.offset, "'%s' is missing before %s", value, tostring(word.value))
  end
end

function Parser:list(close)
  local items = {}
  if self:takes(close) then return items end
  repeat items[#items + 1] = self:expression(1) until not self:takes ","
  self:expect(close)
  return items
end

function Parser:primary()
  local word = self:next()
  if word.kind == "value" then return { op = "constant", value = word.value } end
  if word.kind == "name" then
    if WORDS[word.value] ~= nil then return { op = "constant", value = WORDS[word.value] } end
    if self:takes "(" then return { op = "call", name = word.value, args = self:list ")", offset = word.offset } end
    return { op = "variable", name = word.value, offset = word.offset }
  end
  if word.value == "(" then
    local inner = self:expression(1)
    self:expect ")"
    return inner
  end
  if word.value == "[" then return { op = "list", items = self:list "]" } end
  if word.value == "!" or word.value == "-" then
    return { op = word.value == "!" and "not" or "negative", self:unary(), offset = word.offset }
  end
  return fail(self.text, word.offset, "%s is not expected", tostring(word.value))
end

function Parser:unary()
  local value = self:primary()
  while true do
    if self:takes "." then
      local name = self:next()
      if name.kind ~= "name" then fail(self.text, name.offset, "a name is missing after '.'") end
      if self:takes "(" then
        value = { op = "call", name = name.value, args = { value, table.unpack(self:list ")") }, offset = name.offset }
      else
        value = { op = "index", value, { op = "constant", value = name.value }, offset = name.offset }
      end
    elseif self:peek().kind == "mark" and self:peek().value == "[" then
      local offset = self:next().offset
      local key = self:expression(1)
      self:expect "]"
      value = { op = "index", value, key, offset = offset }
    else
      return value
    end
  end
end

function Parser:expression(level)
  local left = self:unary()
  while true do
    local word = self:peek()
    local strength = word.kind ~= "value" and BINARY[word.value]
    if strength and strength >= level then
      self:next()
      left = { op = word.value, left, self:expression(strength + 1), offset = word.offset }
    elseif level == 1 and self:takes "?" then
      local yes = self:expression(1)
      self:expect ":"
      return { op = "?", left, yes, self:expression(1), offset = word.offset }
    else
      return left
    end
  end
end

-- --- meaning --------------------------------------------------------------------------------------------

local function kind_of(value)
  if value == json.null then return "null" end
  local kind = type(value)
  if kind == "table" then return (json.is_array(value) or #value > 0) and "list" or "map" end
  return kind
end

local function equal(a, b)
  local kind = kind_of(a)
  if kind ~= kind_of(b) then return false end
  if kind ~= "list" and kind ~= "map" then return a == b end
  for key, value in pairs(a) do
    if b[key] == nil or not equal(value, b[key]) then return false end
  end
  for key in pairs(b) do
    if a[key] == nil then return false end
  end
  return true
end

local function to_integer(value)
  if type(value) == "number" then
    local whole = value < 0 and math.ceil(value) or math.floor(value)
    return math.tointeger(whole)
  end
  return type(value) == "string" and value:find "^[+-]?%d+$" and math.tointeger(tonumber(value)) or nil
end

local functions = {}

functions["int"] = to_integer

function functions.double(value)
  local number = type(value) ~= "table" and type(value) ~= "boolean" and tonumber(value)
  return number and number + 0.0
end

function functions.string(value)
  if type(value) == "string" then return value end
  return json.encode(value, { sort = true })
end

function functions.bool(value)
  if type(value) == "boolean" then return value end
  if value == "true" or value == "True" then return true end
  if value == "false" or value == "False" then return false end
  return nil
end

function functions.parseJson(value)
  if type(value) ~= "string" then return value end
  return (json.try.decode(value, { duplicates = "last" }))
end

function functions.size(value)
  if type(value) == "string" then return utf8.len(value) end
  if type(value) ~= "table" then return nil end
  local count = 0
  for _ in pairs(value) do count = count + 1 end
  return count
end

local function of_texts(fn)
  return function(a, b)
    if type(a) == "string" and type(b) == "string" then return fn(a, b) end
    return nil
  end
end

functions.startsWith = of_texts(function(a, b) return a:sub(1, #b) == b end)
functions.endsWith = of_texts(function(a, b) return b == "" or a:sub(-#b) == b end)
functions.contains = of_texts(function(a, b) return a:find(b, 1, true) ~= nil end)

local function ordered(a, b)
  local kind = type(a)
  return kind == type(b) and (kind == "number" or kind == "string")
end

local operators = {}

operators["=="] = equal
operators["!="] = function(a, b) return not equal(a, b) end
operators["<"] = function(a, b) if ordered(a, b) then return a < b end end
operators["<="] = function(a, b) if ordered(a, b) then return a <= b end end
operators[">"] = function(a, b) if ordered(a, b) then return a > b end end
operators[">="] = function(a, b) if ordered(a, b) then return a >= b end end

operators["in"] = function(a, b)
  if kind_of(b) == "map" then return b[a] ~= nil end
  if type(b) ~= "table" then return nil end
  for _, value in ipairs(b) do
    if equal(a, value) then return true end
  end
  return false
end

operators["+"] = function(a, b)
  if type(a) == "number" and type(b) == "number" then return a + b end
  if type(a) == "string" and type(b) == "string" then return a .. b end
  if kind_of(a) == "list" and kind_of(b) == "list" then
    return json.array(table.move(b, 1, #b, #a + 1, table.move(a, 1, #a, 1, {})))
  end
end

local function arithmetic(fn)
  return function(a, b)
    if type(a) == "number" and type(b) == "number" then return fn(a, b) end
  end
end

operators["-"] = arithmetic(function(a, b) return a - b end)
operators["*"] = arithmetic(function(a, b) return a * b end)

-- Integers are divided as CEL does, towards zero; a division by zero has no value.
operators["/"] = arithmetic(function(a, b)
  if math.type(a) == "float" or math.type(b) == "float" then return a / b end
  if b == 0 then return nil end
  return to_integer(a / b)
end)
operators["%"] = arithmetic(function(a, b)
  if math.type(a) == "float" or math.type(b) == "float" or b == 0 then return nil end
  return math.fmod(a, b)
end)

local evaluate

local meanings = {}

function meanings.constant(node) return node.value end

function meanings.variable(node, context)
  local value = context.variables[node.name]
  if value == nil then fail(context.text, node.offset, "'%s' is not known", node.name) end
  return value
end

function meanings.list(node, context)
  local items = json.array {}
  for i, item in ipairs(node.items) do items[i] = evaluate(item, context) end
  return items
end

function meanings.index(node, context)
  local value, key = evaluate(node[1], context), evaluate(node[2], context)
  local kind = kind_of(value)
  local found
  if kind == "list" and to_integer(key) then found = value[to_integer(key) + 1]
  elseif kind == "map" then found = value[key] end
  if found == nil then
    fail(context.text, node.offset, "there is no %s in %s", json.encode(key), json.encode(value, { sort = true }))
  end
  return found
end

function meanings.call(node, context)
  local fn = functions[node.name]
  local args = {}
  for i, argument in ipairs(node.args) do args[i] = evaluate(argument, context) end
  local result = fn(table.unpack(args))
  if result == nil then
    fail(context.text, node.offset, "%s cannot take %s", node.name, json.encode(json.array(args), { sort = true }))
  end
  return result
end

local function truth(node, context, offset)
  local value = evaluate(node, context)
  if type(value) ~= "boolean" then
    fail(context.text, offset, "%s is neither true nor false", json.encode(value, { sort = true }))
  end
  return value
end

meanings["&&"] = function(node, context)
  return truth(node[1], context, node.offset) and truth(node[2], context, node.offset)
end
meanings["||"] = function(node, context)
  return truth(node[1], context, node.offset) or truth(node[2], context, node.offset)
end
meanings["not"] = function(node, context) return not truth(node[1], context, node.offset) end
meanings["?"] = function(node, context)
  return evaluate(truth(node[1], context, node.offset) and node[2] or node[3], context)
end

function meanings.negative(node, context)
  local value = evaluate(node[1], context)
  if type(value) ~= "number" then fail(context.text, node.offset, "only numbers have a sign") end
  return -value
end

function evaluate(node, context)
  local meaning = meanings[node.op]
  if meaning then return meaning(node, context) end
  local a, b = evaluate(node[1], context), evaluate(node[2], context)
  local result = operators[node.op](a, b)
  if result == nil then
    fail(context.text, node.offset, "%s %s %s has no meaning", json.encode(a, { sort = true }), node.op,
      json.encode(b, { sort = true }))
  end
  return result
end

local function check_calls(node, text)
  if node.op == "call" and not functions[node.name] then
    fail(text, node.offset, "there is no function %s", node.name)
  end
  for _, list in ipairs { node, node.args or {}, node.items or {} } do
    for _, inner in ipairs(list) do check_calls(inner, text) end
  end
end

local Program = {}
Program.__index = Program

---@param variables table<string, any>
---@return any # raises "Expression"
function Program:eval(variables)
  return evaluate(self.tree, { text = self.text, variables = variables })
end

---The value as a condition.
---@param variables table<string, any>
---@return boolean # raises "Expression", also for a value that is neither true nor false
function Program:test(variables)
  return truth(self.tree, { text = self.text, variables = variables }, 1)
end

---@param text string
---@return {eval: fun(self, variables: table): any, test: fun(self, variables: table): boolean} # raises "Expression"
function M.compile(text)
  local parser = setmetatable({ text = text, words = split(text), at = 1 }, Parser)
  local tree = parser:expression(1)
  local rest = parser:peek()
  if rest.kind ~= "end" then fail(text, rest.offset, "%s is not expected", tostring(rest.value)) end
  check_calls(tree, text)
  return setmetatable({ text = text, tree = tree }, Program)
end

return M
