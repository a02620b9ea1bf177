-- lab.katib.times: RFC 3339 times as Go reads them, and what Go says of those that are none.
-- Not for durations. Times are kept as texts of one length in UTC, to the microsecond, so that they sort.
--   times.text(times.parse "2026-01-01T12:00:02+02:00")      --> "2026-01-01T10:00:02Z"

local time = require "kube.time"

local M = {}

local LAYOUT = "2006-01-02T15:04:05.999999999Z07:00"

-- Elements of the layout: pattern, what it is called, least and most.
local ELEMENTS = {
  { "^%d%d%d%d", "2006", field = "year" }, { "^%-", "-" }, { "^%d%d", "01", 1, 12, "month", field = "month" },
  { "^%-", "-" }, { "^%d%d", "02", 1, 31, "day", field = "day" }, { "^T", "T" },
  { "^%d%d", "15", 0, 23, "hour", field = "hour" }, { "^:", ":" }, { "^%d%d", "04", 0, 59, "minute", field = "min" },
  { "^:", ":" }, { "^%d%d", "05", 0, 59, "second", field = "sec" },
}

local function days_in(year, month)
  if month == 2 then return (year % 4 == 0 and (year % 100 ~= 0 or year % 400 == 0)) and 29 or 28 end
  return (month == 4 or month == 6 or month == 9 or month == 11) and 30 or 31
end

local function cannot(text, rest, element)
  return nil, ('parsing time "%s" as "%s": cannot parse "%s" as "%s"'):format(text, LAYOUT, rest, element)
end

local function zone_of(text, rest)
  if rest:sub(1, 1) == "Z" then return 0, rest:sub(2) end
  local sign, hours, minutes, after = rest:match "^([+-])(%d%d):(%d%d)(.*)$"
  if not sign then return cannot(text, rest, "Z07:00") end
  return (tonumber(hours) * 3600 + tonumber(minutes) * 60) * (sign == "-" and -1 or 1), after
end

---@param text string
---@return string? sortable "YYYY-MM-DDTHH:MM:SS.ffffff"
---@return string? problem in Go's words
function M.parse(text)
  local rest, got = text, {}
  for _, element in ipairs(ELEMENTS) do
    local piece = rest:match(element[1])
    if not piece then return cannot(text, rest, element[2]) end
    local value = tonumber(piece)
    if element[3] and (value < element[3] or value > element[4]) then
      return nil, ('parsing time "%s": %s out of range'):format(text, element[5])
    end
    if element.field then got[element.field] = math.tointeger(value) end
    rest = rest:sub(#piece + 1)
  end
  local fraction = rest:match "^[.,](%d+)" or ""
  if fraction ~= "" then rest = rest:sub(#fraction + 2) end
  local offset, after = zone_of(text, rest)
  if not offset then return nil, after end
  if after ~= "" then return nil, ('parsing time "%s": extra text: "%s"'):format(text, after) end
  if got.day > days_in(got.year, got.month) then return nil, ('parsing time "%s": day out of range'):format(text) end
  local seconds = time.days(got.year, got.month, got.day) * 86400 + got.hour * 3600 + got.min * 60 + got.sec - offset
  -- The column keeps microseconds, rounded.
  local micro = math.floor(tonumber("0." .. (fraction == "" and "0" or fraction)) * 1e6 + 0.5)
  seconds, micro = seconds + micro // 1000000, micro % 1000000
  local t = os.date("!*t", seconds)
  return ("%04d-%02d-%02dT%02d:%02d:%02d.%06d"):format(t.year, t.month, t.day, t.hour, t.min, t.sec,
    math.tointeger(micro))
end

---@param sortable string of parse
---@return string text RFC 3339, without zeros at the end of the fraction
function M.text(sortable)
  local whole, fraction = sortable:match "^(.*)%.(%d+)$"
  fraction = fraction:gsub("0+$", "")
  return fraction == "" and whole .. "Z" or ("%s.%sZ"):format(whole, fraction)
end

return M
