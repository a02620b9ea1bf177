-- policy.zone: time zones by their IANA names, from the system's files (TZif, RFC 8536).
-- Not for calendars: policy.inside.cron asks only for the offset that holds at a time, and until when.
--   local zone = zone.open "Europe/Berlin"; zone:at(1700000000) -> 3600, from, to

local errors = require "errors"
local fs = require "fs"
local calendar = require "kube.time"

local M = {}

local DIRECTORY = "/usr/share/zoneinfo/"

---@class policy.Zone
local Zone = {}
Zone.__index = Zone

local function fail(name, format, ...)
  errors.raise { code = "Config", message = ("time zone '%s': "):format(name) .. format:format(...) }
end

-- --- the file ---------------------------------------------------------------------------------------------------

-- The second block has 64-bit times; in the first they have 32 bits, and it is passed over.
local function parse(name, data)
  if data:sub(1, 4) ~= "TZif" then fail(name, "%s%s is no file of a time zone", DIRECTORY, name) end
  local function counts(at) return string.unpack(">I4I4I4I4I4I4", data, at + 20) end
  local utc, standard, leap, times, types, letters = counts(1)
  if data:byte(5) < 0x32 then fail(name, "its file is too old (version 1)") end
  local at = 1 + 44 + times * 5 + types * 6 + letters + leap * 8 + standard + utc
  utc, standard, leap, times, types, letters = counts(at)
  at = at + 44
  local transitions, offsets = {}, {}
  for i = 1, times do transitions[i] = { at = string.unpack(">i8", data, at + 8 * (i - 1)) } end
  for i = 1, types do offsets[i] = string.unpack(">i4", data, at + 9 * times + 6 * (i - 1)) end
  for i = 1, times do transitions[i].offset = offsets[data:byte(at + 8 * times + i - 1) + 1] end
  local rule = data:sub(at + 9 * times + 6 * types + letters + 12 * leap + standard + utc):match "^\n([^\n]*)\n"
  return transitions, offsets[1] or 0, rule or ""
end

-- --- the rule for the years after the last transition (POSIX TZ) ---------------------------------------------------

local function seconds_of(text)
  local sign, hours, minutes, seconds = text:match "^([+-]?)(%d+):?(%d*):?(%d*)$"
  if not hours then return nil end
  local value = tonumber(hours) * 3600 + (tonumber(minutes) or 0) * 60 + (tonumber(seconds) or 0)
  return math.tointeger(sign == "-" and -value or value)
end

-- "CET-1CEST,M3.5.0,M10.5.0/3" -> {standard = 3600, summer = 7200, from = {…}, to = {…}}
local function parse_rule(text)
  local function word(rest)
    local after = rest:match "^<[^>]*>(.*)$" or rest:match "^%a+(.*)$"
    return after or ""
  end
  local rest = word(text)
  local offset, more = rest:match "^([+-]?[%d:]+)(.*)$"
  if not offset then return nil end
  local rule = { standard = -seconds_of(offset) }
  if more == "" then return rule end
  more = word(more)
  local summer, dates = more:match "^([+-]?[%d:]*),(.*)$"
  rule.summer = summer ~= "" and -seconds_of(summer) or rule.standard + 3600
  local function date(part)
    local month, week, day, time = part:match "^M(%d+)%.(%d+)%.(%d+)/?(.*)$"
    if not month then return nil end
    return { month = tonumber(month), week = tonumber(week), day = tonumber(day),
      time = time ~= "" and seconds_of(time) or 7200 }
  end
  local from, to = dates:match "^([^,]+),([^,]+)$"
  rule.from, rule.to = from and date(from), to and date(to)
  if not rule.from or not rule.to then return nil end
  return rule
end

-- The local moment of a rule's date in a year, as seconds since 1970 of a clock that shows it.
local function moment(date, year)
  local first = calendar.days(year, date.month, 1)
  local day = first + (date.day - (first + 4)) % 7 + (date.week - 1) * 7
  local next_month = date.month == 12 and calendar.days(year + 1, 1, 1) or calendar.days(year, date.month + 1, 1)
  while day >= next_month do day = day - 7 end
  return day * 86400 + date.time
end

-- The transitions of the years around a time, in order.
local function transitions_around(rule, time)
  local year = 1970 + time // 31556952
  local list = {}
  for y = year - 1, year + 2 do
    list[#list + 1] = { at = moment(rule.from, y) - rule.standard, offset = rule.summer }
    list[#list + 1] = { at = moment(rule.to, y) - rule.summer, offset = rule.standard }
  end
  table.sort(list, function(a, b) return a.at < b.at end)
  return list
end

-- --- a zone -------------------------------------------------------------------------------------------------------

-- The last entry that is not later than a time; 0 when all are.
local function place(list, time)
  local low, high = 0, #list
  while low < high do
    local middle = (low + high + 1) // 2
    if list[middle].at <= time then low = middle else high = middle - 1 end
  end
  return low
end

---The offset at a time, and for how long it holds.
---@param time integer seconds since 1970
---@return integer offset seconds east of UTC
---@return integer? from when it began; nil: ever
---@return integer? to when the next one begins; nil: never
---@return integer? before the offset before it
function Zone:at(time)
  local list, first = self.transitions, self.first
  local index = place(list, time)
  if index == #list and self.rule and self.rule.from then
    local last = list[index]
    list = transitions_around(self.rule, time)
    index = place(list, time)
    local from = list[index].at
    if last and from < last.at then -- the file's last transition is the later one
      return last.offset, last.at, list[index + 1].at, self.transitions[#self.transitions - 1].offset
    end
  end
  local here, following = list[index], list[index + 1]
  if not here then return first, nil, following and following.at end
  local before = list[index - 1]
  return here.offset, here.at, following and following.at, before and before.offset or first
end

local open = {}

---@param name string such as "Europe/Berlin" or "UTC"
---@return policy.Zone raises "Config" when there is no such zone on this machine
function M.open(name)
  if open[name] then return open[name] end
  if not name:find "^%a[%w_+/-]*$" or name:find("//", 1, true) then fail(name, "this is no name of one") end
  local data = fs.try.read(DIRECTORY .. name)
  if not data then
    if name == "UTC" then return setmetatable({ transitions = {}, first = 0 }, Zone) end
    local why = fs.exists(DIRECTORY) and "there is none of that name in %s"
      or "%s is not there: install the package tzdata"
    fail(name, why, DIRECTORY)
  end
  local transitions, first, rule = parse(name, data)
  open[name] = setmetatable({ transitions = transitions, first = first, rule = parse_rule(rule) }, Zone)
  return open[name]
end

return M
