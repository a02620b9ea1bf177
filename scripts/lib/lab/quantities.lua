-- lab.quantities: amounts in objects: their canonical text, sums and comparison.
-- Not for parsing by itself: that is kube.quantity.
--   quantities.tidy("1000m") -> "1"

local errors = require "errors"
local kube = require "kube"
local status = require "lab.status"

local M = {}

M.PATTERN = "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"

---@param value string|number
---@return any quantity raises BadRequest
function M.parse(value)
  local ok, quantity = pcall(kube.quantity, type(value) == "number" and ("%s"):format(value) or value)
  if ok then return quantity end
  if errors.is(quantity) then status.bad_request("%s", M.PATTERN) end
  error(quantity, 0)
end

local canonical = {} -- text -> canonical text
local count = 0

---@param value string|number
---@return string canonical text; raises BadRequest
function M.tidy(value)
  local known = canonical[value]
  if known then return known end
  if count > 2000 then canonical, count = {}, 0 end
  local text = tostring(M.parse(value))
  canonical[value], count = text, count + 1
  return text
end

---Makes all amounts of a map canonical, in place.
---@param map table<string, string|number>
function M.tidy_map(map)
  for name, value in pairs(map) do
    local text = canonical[value] or M.tidy(value)
    if text ~= value then map[name] = text end
  end
end

---@return number
function M.value(value) return M.parse(value):value() end

---@return number not rounded: of "250m" 0.25
function M.number(value) return M.parse(value):milli() / 1000 end

---@return integer -1, 0, 1
function M.compare(a, b)
  if a == b then return 0 end
  local x, y = M.parse(a), M.parse(b)
  return x < y and -1 or y < x and 1 or 0
end

---@return string the sum, canonical
function M.add(a, b) return tostring(M.parse(a) + M.parse(b)) end

---@return string the difference, canonical
function M.subtract(a, b) return tostring(M.parse(a) - M.parse(b)) end

return M
