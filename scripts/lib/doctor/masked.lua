-- doctor.masked: texts and objects without what must not leave a site: passwords, tokens, keys, however they got there.
-- Not for the kinds of secrets alone (kube.mask): also arguments, annotations, ConfigMaps, logs.
--   masked.text "DB_PASSWORD=x" -> "DB_PASSWORD=(hidden)"

local mask = require "kube.mask"

local M = {}

local HIDDEN <const> = "(hidden)"

-- --- names that tell -----------------------------------------------------------------------------------------

local TELLING = { "passw%a*$", "passphrase$", "pwd$", "secret$", "token$", "api[_%-]?key$", "access[_%-]?key$",
  "private[_%-]?key$", "secret[_%-]?key$", "account[_%-]?key$", "encryption[_%-]?key$", "key%-data$", "credentials?$",
  "^_?auth$", "^authorization$", "cookie$", "signature$", "^sig$", "session[_%-]?id$", "sas$",
  "connection[_%-]?string$" }

---Whether what a name stands for is not to be seen.
---@param name string
---@return boolean
function M.tells(name)
  local low = name:lower()
  for _, pattern in ipairs(TELLING) do
    if low:find(pattern) then return true end
  end
  return false
end

-- --- texts ---------------------------------------------------------------------------------------------------

-- Tokens that are known by their form.
local FORMS = { "eyJ[%w_%-]+%.[%w_%-]+%.?[%w_%-]*", "gh[pousr]_%w%w%w%w%w%w%w+", "github_pat_[%w_]+", "glpat%-[%w_%-]+",
  "xox[abprs]%-[%w%-]+", "hf_%w%w%w%w%w%w%w+", "AIza[%w_%-]+", "sk%-[%w_%-]%w%w%w%w%w%w%w%w+" }

-- Private keys in PEM; of one whose end is cut off the rest of the text.
local function hide_keys(text)
  local parts, at = {}, 1
  while true do
    local _, begins = text:find("%-%-%-%-%-BEGIN [%u ]*PRIVATE KEY%-%-%-%-%-", at)
    if not begins then break end
    local ends = text:find("-----END", begins + 1, true) or #text + 1
    parts[#parts + 1] = text:sub(at, begins) .. HIDDEN
    at = ends
  end
  parts[#parts + 1] = text:sub(at)
  return table.concat(parts)
end

local function hide_forms(text)
  for _, form in ipairs(FORMS) do text = text:gsub("%f[%w_%-]" .. form, HIDDEN) end
  text = hide_keys(text)
  text = text:gsub("(%f[%a][Bb]earer%s+)[^%s\"',]+", "%1" .. HIDDEN)
  text = text:gsub("(%f[%a][Bb]asic%s+)[%w+/_%-][%w+/_%-][%w+/_%-][%w+/_%-]+=*", "%1" .. HIDDEN)
  text = text:gsub("(//)[^/%s@\"'<>]+@", "%1" .. HIDDEN .. "@") -- https://user:password@host
  text = text:gsub("(login%s+%S+%s+password%s+)%S+", "%1" .. HIDDEN) -- .netrc
  return (text:gsub("(<(%w+)>)([^<]*)(</)", function(open, name, _, close)
    if M.tells(name) then return open .. HIDDEN .. close end
  end))
end

local BACKSLASH <const> = 92

-- The place after a quoted value that begins at `from`; nil where it does not end.
local function end_of_quoted(text, from, quote)
  local at = from
  while true do
    local found = text:find(quote, at, true)
    if not found then return nil end
    local slashes = 0
    while found - slashes > from and text:byte(found - slashes - 1) == BACKSLASH do slashes = slashes + 1 end
    if #quote > 1 or slashes % 2 == 0 then return found end
    at = found + 1
  end
end

-- The place where a value that is not quoted ends: of YAML and headers the line, else a blank or what separates.
local function end_of_plain(text, from, separator, begins_line)
  if separator:find(":", 1, true) and begins_line then return (text:find("[\r\n]", from) or #text + 1) end
  return text:find("[%s,;&\"'}%]]", from) or #text + 1
end

-- A block of YAML (| or >) below a line that begins with that many blanks.
local function end_of_block(text, from, indent)
  local at = text:find("\n", from, true)
  while at do
    local blanks, more = text:match("^([ \t]*)(%S?)", at + 1)
    if more ~= "" and #blanks <= #indent then return at end
    if at >= #text then break end
    at = text:find("\n", at + 1, true)
  end
  return #text + 1
end

-- Where the value of a telling name begins and ends: after `after`, which is behind "name:" or "name=".
local function extent(text, after, separator, line)
  local quote = text:match("^\\*[\"']", after)
  if quote then
    local ends = end_of_quoted(text, after + #quote, quote)
    return after + #quote, ends or #text + 1
  end
  if line and text:find("^[|>][+-]?%d?[ \t]*\n", after) then
    return after, end_of_block(text, after, line)
  end
  return after, end_of_plain(text, after, separator, line ~= nil)
end

-- The beginning of the line of a place; `known` is that of an earlier place.
local function line_of(text, place, known)
  while true do
    local newline = text:find("\n", known, true)
    if not newline or newline >= place then return known end
    known = newline + 1
  end
end

-- The frontier: a long word is looked at once, not from each of its letters.
local NAMED <const> = "%f[%w_%-%.]([%w_%-%.]+)(\\*[\"']?[ \t]*[:=][ \t]*)"

local function hide_named(text)
  local parts, at, line = {}, 1, 1
  while true do
    local first, last, name, separator = text:find(NAMED, at)
    if not first then break end
    local next_at = last + 1
    if M.tells(name) then
      line = line_of(text, first, line)
      local lead = text:sub(line, first - 1):match "^[%s%-]*$"
      local from, to = extent(text, last + 1, separator, lead)
      if from < to and text:sub(from, to - 1) ~= HIDDEN and text:find("%S", from) then
        parts[#parts + 1] = text:sub(at, from - 1) .. HIDDEN
        at, next_at = to, to
      end
    end
    if next_at > at then
      parts[#parts + 1] = text:sub(at, next_at - 1)
      at = next_at
    end
  end
  parts[#parts + 1] = text:sub(at)
  return table.concat(parts)
end

---A text without what must not be seen.
---@param text string
---@return string
function M.text(text)
  return hide_named(hide_forms(text))
end

-- --- objects -------------------------------------------------------------------------------------------------

-- Words of a command line: what follows "--password" is one.
local function words(list)
  local copy = setmetatable({}, getmetatable(list))
  for index, word in ipairs(list) do
    local before = index > 1 and type(list[index - 1]) == "string" and list[index - 1]:match "^%-%-?([%w_%-]+)$"
    if type(word) ~= "string" then copy[index] = word
    elseif before and M.tells(before) then copy[index] = HIDDEN
    else copy[index] = M.text(word) end
  end
  return copy
end

local WORDS = { args = true, command = true }

local function all_texts(value, name)
  if type(value) == "string" then return M.text(value) end
  if type(value) ~= "table" then return value end
  if WORDS[name] then return words(value) end
  local copy = setmetatable({}, getmetatable(value))
  for key, field in pairs(value) do
    if type(field) == "string" and type(key) == "string" and M.tells(key) and not field:find(HIDDEN, 1, true) then
      copy[key] = HIDDEN
    else
      copy[key] = all_texts(field, key)
    end
  end
  if type(copy.name) == "string" and type(copy.value) == "string" and M.tells(copy.name) then copy.value = HIDDEN end
  return copy
end

---A copy of an object without what must not be seen.
---@param object table
---@return table
function M.object(object)
  local copy = all_texts(mask.object(object))
  if object.kind == "ConfigMap" and object.binaryData ~= nil then copy.binaryData = HIDDEN end
  return copy
end

return M
