-- kube.time: the moments that Kubernetes writes (RFC 3339), as seconds since 1970 and back.
-- Not for durations (task.seconds) and not for waiting.
--   time.parse "2020-06-11T10:00:02Z" -> 1591869602      time.micro(1591869602.25) -> "2020-…02.250000Z"

local M = {}

---Days from 1970-01-01 to a date of the Gregorian calendar.
---@param year integer
---@param month integer
---@param day integer
---@return integer
function M.days(year, month, day)
  if month <= 2 then year = year - 1 end
  local era = year // 400
  local of_era = year - era * 400
  local of_year = (153 * (month + (month > 2 and -3 or 9)) + 2) // 5 + day - 1
  return era * 146097 + of_era * 365 + of_era // 4 - of_era // 100 + of_year - 719468
end

---@param text string
---@return number? seconds since 1970, with fractions; nil when the text is no moment
function M.parse(text)
  local year, month, day, hour, minute, second, zone =
    text:match "^(%d%d%d%d)%-(%d%d)%-(%d%d)[Tt ](%d%d):(%d%d):(%d%d%.?%d*)(.*)$"
  if not year then return nil end
  local offset = 0
  if zone:upper() ~= "Z" then
    local sign, hours, minutes = zone:match "^([+-])(%d%d):?(%d%d)$"
    if not sign then return nil end
    offset = (hours * 3600 + minutes * 60) * (sign == "-" and -1 or 1)
  end
  local whole = M.days(math.tointeger(year), math.tointeger(month), math.tointeger(day)) * 86400
    + hour * 3600 + minute * 60 - offset
  local value = whole + tonumber(second)
  return math.tointeger(value) or value
end

-- Year, month and day of a day since 1970-01-01.
local function date_of(days)
  local shifted = days + 719468 -- since 0000-03-01: a year ends with its leap day
  local era = shifted // 146097
  local of_era = shifted - era * 146097
  local year = (of_era - of_era // 1460 + of_era // 36524 - of_era // 146096) // 365
  local of_year = of_era - (365 * year + year // 4 - year // 100)
  local shifted_month = (5 * of_year + 2) // 153
  local month = shifted_month < 10 and shifted_month + 3 or shifted_month - 9
  return year + era * 400 + (month <= 2 and 1 or 0), month, of_year - (153 * shifted_month + 2) // 5 + 1
end

-- Policies have no os.date.
local function whole_text(seconds)
  local days, rest = seconds // 86400, seconds % 86400
  local year, month, day = date_of(days)
  return ("%04d-%02d-%02dT%02d:%02d:%02d"):format(year, month, day, rest // 3600, rest % 3600 // 60, rest % 60)
end

---@param seconds number since 1970
---@return string # as Kubernetes' Time: whole seconds, UTC
function M.text(seconds)
  return whole_text(math.floor(seconds)) .. "Z"
end

---@param seconds number since 1970
---@return string # as Kubernetes' MicroTime: six digits after the point
function M.micro(seconds)
  local whole = math.floor(seconds)
  local micro = math.floor((seconds - whole) * 1e6)
  return whole_text(whole) .. (".%06dZ"):format(micro)
end

-- Largest unit first: up to which age it is used, and the units that are shown.
local AGES = {
  { 120, 1, "s" }, { 600, 60, "m", 1, "s" }, { 10800, 60, "m" }, { 28800, 3600, "h", 60, "m" },
  { 172800, 3600, "h" }, { 691200, 86400, "d", 3600, "h" }, { 63072000, 86400, "d" },
  { 252288000, 31536000, "y", 86400, "d" }, { math.huge, 31536000, "y" },
}

---An age as kubectl prints it: "95s", "3m5s", "2d4h".
---@param seconds number
---@return string
function M.age(seconds)
  seconds = math.max(0, math.floor(seconds))
  for _, rule in ipairs(AGES) do
    if seconds < rule[1] then
      local text = ("%d%s"):format(seconds // rule[2], rule[3])
      local rest = rule[4] and seconds % rule[2] // rule[4] or 0
      return rest > 0 and text .. ("%d%s"):format(rest, rule[5]) or text
    end
  end
end

return M
