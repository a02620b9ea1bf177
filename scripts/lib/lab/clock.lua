-- lab.clock: the lab's clock and its texts: RFC 3339 times, ages as kubectl prints them.
-- Not for waiting (see task); a cluster's own clock may be skewed by a fault.
--   clock.text(0) -> "1970-01-01T00:00:00Z"      clock.age(95) -> "95s"

local time = require "kube.time"

local M = {}

---@param seconds number since 1970
---@return string such as "2026-01-02T03:04:05Z"
function M.text(seconds)
  return os.date("!%Y-%m-%dT%H:%M:%SZ", math.floor(seconds))
end

---@param seconds number since 1970
---@return string with six digits after the second, as MicroTime is written
function M.micro(seconds)
  local whole = math.floor(seconds)
  local digits = ("%06d"):format(math.floor((seconds - whole) * 1000000))
  return os.date("!%Y-%m-%dT%H:%M:%S.", whole) .. digits .. "Z"
end

---@param text string RFC 3339, any offset, any number of digits after the second
---@return number? seconds since 1970, nil when it is no such text
function M.parse(text)
  if type(text) ~= "string" then return nil end
  local year, month, day, hour, minute, second, rest =
    text:match "^(%d%d%d%d)%-(%d%d)%-(%d%d)[Tt](%d%d):(%d%d):(%d%d)(.*)$"
  if not year then return nil end
  local fraction, zone = rest:match "^(%.?%d*)(.*)$"
  local offset
  if zone == "Z" or zone == "z" then
    offset = 0
  else
    local sign, h, m = zone:match "^([+-])(%d%d):(%d%d)$"
    if not sign then return nil end
    offset = (tonumber(h) * 60 + tonumber(m)) * 60 * (sign == "-" and -1 or 1)
  end
  month, day, hour, minute, second = tonumber(month), tonumber(day), tonumber(hour), tonumber(minute), tonumber(second)
  if month < 1 or month > 12 or day < 1 or day > 31 or hour > 23 or minute > 59 or second > 59 then return nil end
  local whole = time.days(tonumber(year), month, day) * 86400 + hour * 3600 + minute * 60 + second - offset
  return whole + (fraction ~= "" and fraction ~= "." and tonumber("0" .. fraction) or 0)
end

-- The two largest units of a duration, as kubectl chooses them.
local UNITS = {
  { below = 120, text = function(s) return ("%ds"):format(s) end },
  { below = 600, text = function(s)
    return s % 60 == 0 and ("%dm"):format(s // 60) or ("%dm%ds"):format(s // 60, s % 60)
  end },
  { below = 10800, text = function(s) return ("%dm"):format(s // 60) end },
  { below = 28800, text = function(s)
    local m = s // 60 % 60
    return m == 0 and ("%dh"):format(s // 3600) or ("%dh%dm"):format(s // 3600, m)
  end },
  { below = 172800, text = function(s) return ("%dh"):format(s // 3600) end },
  { below = 691200, text = function(s)
    local h = s // 3600 % 24
    return h == 0 and ("%dd"):format(s // 86400) or ("%dd%dh"):format(s // 86400, h)
  end },
  { below = 63072000, text = function(s) return ("%dd"):format(s // 86400) end },
  { below = 252288000, text = function(s)
    local d = s // 86400 % 365
    return d == 0 and ("%dy"):format(s // 31536000) or ("%dy%dd"):format(s // 31536000, d)
  end },
}

---@param seconds number
---@return string such as "3m20s"
function M.age(seconds)
  seconds = math.floor(seconds)
  if seconds < -1 then return "<invalid>" end
  if seconds < 0 then return "0s" end
  for _, unit in ipairs(UNITS) do
    if seconds < unit.below then return unit.text(seconds) end
  end
  return ("%dy"):format(seconds // 31536000)
end

return M
