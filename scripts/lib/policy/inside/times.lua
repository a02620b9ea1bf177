-- policy.inside.times: durations as people write them.
-- Not for clocks.
--   times.seconds "500ms" -> 0.5     times.seconds "1h30m" -> 5400.0

local M = {}

local UNITS = { ms = 0.001, s = 1, m = 60, h = 3600, d = 86400 }

---@param value number|string seconds, or a text of numbers with units
---@return number? seconds nil when it is neither
function M.seconds(value)
  if type(value) == "number" then return value >= 0 and value or nil end
  if type(value) ~= "string" or value == "" then return nil end
  local total, rest = 0, value
  while rest ~= "" do
    local number, unit, after = rest:match "^(%d+%.?%d*)(%a+)(.*)$"
    if not number or not UNITS[unit] then return nil end
    total = total + tonumber(number) * UNITS[unit]
    rest = after
  end
  return total
end

return M
