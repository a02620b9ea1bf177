-- policy.inside.words: what policies say, so that it can stand in an answer: texts of UTF-8, not too long.
-- Not for secrets (policy.inside.secrets).
--   words.of("%s is %d", "x", 1) -> "x is 1"     words.cut(text, 256)     words.verdict { message = "no" }

local M = {}

local MESSAGE = 16384 -- bytes of a refusal

---@param text string
---@return string text bytes that are no UTF-8 are question marks
function M.clean(text)
  if utf8.len(text) then return text end
  return (text:gsub("[\128-\255]", "?"))
end

---@param text string
---@param most integer bytes
---@return string text cut between two characters
function M.cut(text, most)
  if #text <= most then return text end
  return text:sub(1, most - 3):gsub("[\192-\255][\128-\191]*$", "") .. "..."
end

---A text with arguments, as string.format takes them, or any value.
---@return string
function M.of(format, ...)
  if select("#", ...) == 0 then return M.clean(tostring(format)) end
  return M.clean(string.format(format, ...))
end

local CAUSE = { "reason", "message", "field" }

local function causes_of(causes)
  if type(causes) ~= "table" then error("req:deny: causes is a list of {reason, message, field}", 3) end
  local list = require "json".array {}
  for i, cause in ipairs(causes) do
    if type(cause) ~= "table" then error("req:deny: each cause is {reason, message, field}", 3) end
    list[i] = {}
    for _, field in ipairs(CAUSE) do list[i][field] = cause[field] ~= nil and M.of(cause[field]) or nil end
  end
  return list
end

---What a policy refuses with.
---@param given {message: string, code: integer?, reason: string?, causes: table[]?}
---@return table verdict raises a text that says what is wrong
function M.verdict(given)
  if type(given.message) ~= "string" then error("req:deny needs a message", 3) end
  local code = given.code
  if code ~= nil and (math.type(code) ~= "integer" or code < 400 or code > 599) then
    error("req:deny: the code is an integer from 400 to 599", 3)
  end
  return { message = M.cut(M.clean(given.message), MESSAGE), code = code,
    reason = given.reason ~= nil and M.of(given.reason) or nil, causes = given.causes and causes_of(given.causes) }
end

return M
