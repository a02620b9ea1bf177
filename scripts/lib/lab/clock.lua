-- lab.clock: the lab's clock and its texts, as kube.time writes them; times are read as strictly as by a server.
-- Not for waiting (see task); a cluster's own clock may be skewed by a fault.
--   clock.text(0) -> "1970-01-01T00:00:00Z"      clock.age(95) -> "95s"

local time = require "kube.time"

local M = {}

M.text, M.micro = time.text, time.micro

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

---@param seconds number
---@return string such as "3m20s"
function M.age(seconds)
  if math.floor(seconds) < -1 then return "<invalid>" end
  return time.age(seconds)
end

return M
