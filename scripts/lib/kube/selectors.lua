-- Selectors of objects: by labels (text as kubectl takes it, or a LabelSelector) and by fields.
-- Not for lists on a server, which take the texts as they are.
--   local s = require("kube.selectors").labels "app in (web,db),!old"; print(s:matches { app = "db" })
local core = require "kube.core"
local errors = require "errors"

local M = {}

local function fail(form, ...)
  errors.raise { code = "Selector", message = form:format(...) }
end

local OPERATORS = { In = "%s in (%s)", NotIn = "%s notin (%s)", Exists = "%s", DoesNotExist = "!%s" }

-- What stands for itself in a selector's text; anything else would be read as something else there.
local function word(text, what)
  text = tostring(text)
  if text:find "[%s,=!<>()]" or what == "key" and text == "" then
    fail('Invalid value: "%s": no label %s', text, what)
  end
  return text
end

local function term_of(expression)
  local form = OPERATORS[expression.operator]
  if not form then fail('"%s" is not a valid label selector operator', tostring(expression.operator)) end
  local values, wants = {}, form:find "%(" ~= nil
  for i, value in ipairs(expression.values or {}) do values[i] = word(value, "value") end
  if wants and #values == 0 then
    fail "values: Invalid value: []: for 'in', 'notin' operators, values set can't be empty"
  end
  if not wants and #values > 0 then
    fail("values: Invalid value: [%s]: values set must be empty for exists and does not exist",
      table.concat(values, " "))
  end
  return form:format(word(expression.key, "key"), table.concat(values, ","))
end

local function text_of(selector)
  local terms = {}
  for key, value in pairs(selector.matchLabels or {}) do
    terms[#terms + 1] = word(key, "key") .. "=" .. word(value, "value")
  end
  for _, expression in ipairs(selector.matchExpressions or {}) do terms[#terms + 1] = term_of(expression) end
  table.sort(terms)
  return table.concat(terms, ",")
end

---A label selector: `s:matches(labels)`, `s:requirements()`, `tostring(s)`.
---@param selector string|table # kubectl's syntax, or {matchLabels =, matchExpressions =}
---@return kube.Selector # raises "Selector" with the API server's words
function M.labels(selector)
  if type(selector) == "table" then selector = text_of(selector) end
  return core.selector(selector)
end

-- --- fields --------------------------------------------------------------------------------------

-- The terms between commas; a backslash takes the meaning of the character after it.
local function split_terms(text)
  local terms, start, at = {}, 1, 1
  while at <= #text do
    local c = text:sub(at, at)
    if c == "\\" then
      at = at + 1
    elseif c == "," then
      terms[#terms + 1] = text:sub(start, at - 1)
      start = at + 1
    end
    at = at + 1
  end
  terms[#terms + 1] = text:sub(start)
  return terms
end

local function unescape(value)
  local out, at = {}, 1
  while at <= #value do
    local c = value:sub(at, at)
    if c == "\\" then
      at = at + 1
      local escaped = value:match("^" .. utf8.charpattern, at) or ""
      if escaped == "" or not ("\\,="):find(escaped, 1, true) then
        fail("invalid field selector: invalid escape sequence: \\%s", escaped)
      end
      c = escaped
    elseif c == "," or c == "=" then
      fail("invalid field selector: unescaped character in value: %d", c:byte())
    end
    out[#out + 1] = c
    at = at + 1
  end
  return table.concat(out)
end

local function parse_term(text, term)
  local place = term:find "[!=]"
  while place and term:sub(place, place) == "!" and term:sub(place, place + 1) ~= "!=" do
    place = term:find("[!=]", place + 1)
  end
  if not place then fail("invalid selector: '%s'; can't understand '%s'", text, term) end
  local operator = term:match("^!=", place) or term:match("^==?", place)
  return { field = term:sub(1, place - 1), operator = operator == "!=" and "!=" or "=",
    value = unescape(term:sub(place + #operator)) }
end

-- A field of an object (metadata.name), or of a flat table of fields; what is not there is "".
local function value_of(object, field)
  local value = object[field]
  if value == nil then
    value = object
    for name in field:gmatch "[^.]+" do
      value = type(value) == "table" and value[name] or nil
    end
  end
  local kind = type(value)
  return (kind == "string" or kind == "number" or kind == "boolean") and tostring(value) or ""
end

---@class kube.FieldSelector
local FieldSelector = {}
FieldSelector.__index = FieldSelector

---@param object table # an object, or a flat table of fields
---@return boolean
function FieldSelector:matches(object)
  for _, term in ipairs(self) do
    if (value_of(object, term.field) == term.value) ~= (term.operator == "=") then return false end
  end
  return true
end

---@return {field: string, operator: "="|"!=", value: string}[]
function FieldSelector:requirements()
  return table.move(self, 1, #self, 1, {})
end

function FieldSelector:__tostring()
  local terms = {}
  for i, term in ipairs(self) do
    terms[i] = term.field .. term.operator .. term.value:gsub("[\\,=]", "\\%0")
  end
  return table.concat(terms, ",")
end

---A field selector: `status.phase!=Running,spec.nodeName=`; values escape \, comma and = with a backslash.
---@param text string
---@return kube.FieldSelector # raises "Selector" with the API server's words
function M.fields(text)
  local selector = setmetatable({}, FieldSelector)
  local terms = split_terms(text)
  table.sort(terms)
  for _, term in ipairs(terms) do
    local parsed = term ~= "" and parse_term(text, term)
    if parsed and (parsed.field ~= "" or parsed.value ~= "") then selector[#selector + 1] = parsed end
  end
  return selector
end

return M
