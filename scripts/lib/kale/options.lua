-- What a step asks for besides its code: image, resources, retries … from its tags and the notebook's defaults.
-- Not for how that is written: see kale.ir and kale.platform.
--   local options = require "kale.options".merge(defaults, tags, complain)
local M = {}

-- Options that a step has once; those with keys may be there once per key.
local ONCE = { image = true, cache = true, report = true, retry = true, timeout = true }

local PLURAL = {
  limit = "limits", request = "requests", annotation = "annotations", label = "labels", node = "node", env = "env",
  secret = "secrets", volume = "volumes",
}

---@class kale.Options
---@field image string?
---@field cache boolean?
---@field report boolean?
---@field retry {count: integer, wait: integer, factor: number}?
---@field timeout integer? seconds
---@field packages string[]?
---@field limits table<string, string>
---@field requests table<string, string>
---@field annotations table<string, string>
---@field labels table<string, string>
---@field node table<string, string>
---@field env table<string, string>
---@field secrets table<string, {name: string, key: string}> by variable
---@field volumes table<string, string> claims by path

---@return kale.Options
function M.new()
  local options = {}
  for _, field in pairs(PLURAL) do options[field] = {} end
  return options
end

local function same(a, b)
  if type(a) ~= "table" or type(b) ~= "table" then return a == b end
  for key, value in pairs(a) do
    if b[key] ~= value then return false end
  end
  return true
end

-- Puts one tag in; false when the same is there with another value.
local function put(options, seen, tag)
  if tag.kind == "packages" then
    local list = seen.packages and options.packages or {}
    for _, word in ipairs(tag.value) do list[#list + 1] = word end
    seen.packages, options.packages = true, list
    return true
  end
  local target, key = options, tag.kind
  if not ONCE[tag.kind] then target, key = options[PLURAL[tag.kind]], tag.key end
  local place = tag.kind .. ":" .. (tag.key or "")
  if seen[place] and not same(target[key], tag.value) then return false end
  seen[place] = true
  target[key] = tag.value
  return true
end

---The options of a step: the defaults, and its own tags in their place.
---@param defaults kale.Tag[]
---@param tags kale.Tag[]
---@param conflict fun(tag: kale.Tag) called for a tag that contradicts one before it
---@return kale.Options
function M.merge(defaults, tags, conflict)
  local options = M.new()
  for _, list in ipairs { defaults, tags } do
    local seen = {}
    for _, tag in ipairs(list) do
      if not put(options, seen, tag) then conflict(tag) end
    end
  end
  return options
end

return M
