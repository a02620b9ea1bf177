-- policy.inside.secrets: the values of Secrets that code has seen, and texts without them.
-- Not for hiding values from the code itself: it was allowed to read them.
--   local seen = secrets.new(); seen:note(object); seen:mask("the password is hunter22") -> "the password is ***"

local hash = require "hash"
local json = require "json"

local M = {}

local SHORTEST = 4 -- bytes of a value that is worth hiding; shorter ones are words
local LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"

---@class policy.Secrets
local Secrets = {}
Secrets.__index = Secrets

---@return policy.Secrets
function M.new()
  return setmetatable({ values = {}, seen = {} }, Secrets)
end

local function add(self, value)
  if type(value) ~= "string" or #value < SHORTEST or self.seen[value] then return end
  self.seen[value] = true
  table.insert(self.values, value)
  self.sorted = false
end

-- A value as it may be told: whole, as JSON writes it, in a path of a patch, or a line of it.
local function add_value(self, value)
  if type(value) ~= "string" then return end
  add(self, value)
  add(self, (value:gsub("~", "~0"):gsub("/", "~1")))
  add(self, json.encode(value):sub(2, -2))
  if value:find "\n" then
    for line in value:gmatch "[^\r\n]+" do add(self, line) end
  end
end

---Remembers the values of an object, if it is a Secret.
---@param object any
function Secrets:note(object)
  if type(object) ~= "table" or object.kind ~= "Secret" then return end
  for _, value in pairs(type(object.data) == "table" and object.data or {}) do
    add_value(self, value)
    local ok, bytes = pcall(hash.unbase64, value)
    if ok then add_value(self, bytes) end
  end
  for _, value in pairs(type(object.stringData) == "table" and object.stringData or {}) do
    add_value(self, value)
    add_value(self, type(value) == "string" and hash.base64(value) or nil)
  end
  local annotations = type(object.metadata) == "table" and object.metadata.annotations
  if type(annotations) == "table" then add_value(self, annotations[LAST_APPLIED]) end
end

local function without(text, value)
  local parts, from = {}, 1
  while true do
    local first, last = text:find(value, from, true)
    if not first then break end
    parts[#parts + 1] = text:sub(from, first - 1)
    from = last + 1
  end
  if from == 1 then return text end
  parts[#parts + 1] = text:sub(from)
  return table.concat(parts, "***")
end

---@param text any
---@return any text without the values that were seen; what is no text stays
function Secrets:mask(text)
  if type(text) ~= "string" or #self.values == 0 then return text end
  if not self.sorted then -- the longest first: one may be a part of another
    table.sort(self.values, function(a, b) return #a > #b end)
    self.sorted = true
  end
  for _, value in ipairs(self.values) do text = without(text, value) end
  return text
end

---@param value any
---@return any value a copy of it in which all texts are masked; as it is when nothing was seen
function Secrets:mask_all(value)
  if #self.values == 0 then return value end
  if type(value) ~= "table" then return self:mask(value) end
  local copy = setmetatable({}, getmetatable(value))
  for key, inner in pairs(value) do copy[self:mask(key)] = self:mask_all(inner) end
  return copy
end

return M
