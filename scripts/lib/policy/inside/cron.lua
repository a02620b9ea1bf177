-- policy.inside.cron: times of cron lines with six fields (seconds first), in a time zone or at an offset.
-- Not for waiting.
--   local cron = cron.parse "0 */5 * * * *"; cron:next(1700000000) -> 1700000100

local M = {}

local FIELDS = {
  { name = "second", from = 0, to = 59 },
  { name = "minute", from = 0, to = 59 },
  { name = "hour", from = 0, to = 23 },
  { name = "day of month", from = 1, to = 31 },
  { name = "month", from = 1, to = 12, names = "JAN FEB MAR APR MAY JUN JUL AUG SEP OCT NOV DEC", first = 1 },
  { name = "day of week", from = 0, to = 7, names = "SUN MON TUE WED THU FRI SAT", first = 0 },
}
local SHORTHANDS = {
  ["@yearly"] = "0 0 0 1 1 *", ["@annually"] = "0 0 0 1 1 *", ["@monthly"] = "0 0 0 1 * *",
  ["@weekly"] = "0 0 0 * * 0", ["@daily"] = "0 0 0 * * *", ["@midnight"] = "0 0 0 * * *", ["@hourly"] = "0 0 * * * *",
}
local HORIZON = 8 * 366 -- days that are looked at: 29 February may be eight years away

local function number_of(field, text)
  local number = math.tointeger(tonumber(text))
  if not number and field.names then
    local place = field.first
    for name in field.names:gmatch "%a+" do
      if name == text:upper() then number = place end
      place = place + 1
    end
  end
  if not number or number < field.from or number > field.to then
    error(("the %s cannot be '%s'"):format(field.name, text), 0)
  end
  return number
end

local function add_part(field, set, part)
  local range, step = part:match "^([^/]+)/?(.*)$"
  if not range then error(("the %s cannot be '%s'"):format(field.name, part), 0) end
  local every = 1
  if part:find "/" then
    every = math.tointeger(tonumber(step))
    if not every or every < 1 then error(("the %s cannot have the step '%s'"):format(field.name, step), 0) end
  end
  local from, to
  if range == "*" or range == "?" then
    from, to = field.from, field.name == "day of week" and 6 or field.to
  else
    local low, high = range:match "^([^-]+)%-([^-]+)$"
    from = number_of(field, low or range)
    to = high and number_of(field, high) or part:find "/" and field.to or from
  end
  if from > to then error(("the %s goes backwards in '%s'"):format(field.name, part), 0) end
  for value = from, to, every do set[field.name == "day of week" and value % 7 or value] = true end
end

local function parse_field(field, text)
  local set = {}
  for part in (text .. ","):gmatch "([^,]*)," do
    if part == "" then error(("the %s has an empty part"):format(field.name), 0) end
    add_part(field, set, part)
  end
  return set
end

-- Days since 1970-01-01 of a date of the Gregorian calendar, and back (Howard Hinnant's algorithms).
local function date_of(days)
  local z = days + 719468
  local era = z // 146097
  local day_of_era = z - era * 146097
  local year_of_era = (day_of_era - day_of_era // 1460 + day_of_era // 36524 - day_of_era // 146096) // 365
  local day_of_year = day_of_era - (365 * year_of_era + year_of_era // 4 - year_of_era // 100)
  local month = (5 * day_of_year + 2) // 153
  local day = day_of_year - (153 * month + 2) // 5 + 1
  return (month < 10) and month + 3 or month - 9, day
end

local cron_methods = {}
cron_methods.__index = cron_methods

local function day_fits(cron, days)
  local month, day = date_of(days)
  if not cron.month[month] then return false end
  local by_day, by_week = cron.day[day] == true, cron.weekday[(days + 4) % 7] == true
  -- As cron has it: when both fields are restricted, either is enough.
  if cron.any_day then return by_week end
  if cron.any_weekday then return by_day end
  return by_day or by_week
end

local function first_in(set, from, to)
  for value = from, to do
    if set[value] then return value end
  end
  return nil
end

-- The first second of a day, from `start` on, that fits; nil when there is none.
local function second_of_day(cron, start)
  local hour, minute, second = start // 3600, start % 3600 // 60, start % 60
  while true do
    local next_hour = first_in(cron.hour, hour, 23)
    if not next_hour then return nil end
    if next_hour > hour then minute, second = 0, 0 end
    local next_minute = first_in(cron.minute, minute, 59)
    if next_minute and next_minute > minute then second = 0 end
    local next_second = next_minute and first_in(cron.second, second, 59)
    if not next_second and next_minute then
      next_minute = first_in(cron.minute, next_minute + 1, 59)
      next_second = next_minute and first_in(cron.second, 0, 59)
    end
    if next_second then return next_hour * 3600 + next_minute * 60 + next_second end
    hour, minute, second = next_hour + 1, 0, 0
    if hour > 23 then return nil end
  end
end

-- The first local time that fits and is not before `from`; local times are seconds of a clock that shows them.
local function first_local(cron, from)
  local days, start = from // 86400, from % 86400
  for day = days, days + HORIZON do
    if day_fits(cron, day) then
      local second = second_of_day(cron, day == days and start or 0)
      if second then return day * 86400 + second end
    end
  end
  return nil
end

-- The first time that fits from `from` on, before `to` (where the offset changes), and what it has to do with the
-- change that began this stretch: hours that the clock skipped are made up for at the jump; hours that it shows twice
-- count once. Lines with a star for the hour go by time that passes, and know neither.
local function in_stretch(cron, stretch, from)
  local offset, before, began = stretch.offset, stretch.before, stretch.from
  local start = from + offset
  if began and before and not cron.any_hour then
    if before < offset and from <= began then
      local skipped = first_local(cron, began + before)
      if skipped and skipped < began + offset then return began end
    elseif before > offset then
      start = math.max(start, began + before)
    end
  end
  local found = first_local(cron, start)
  return found and found - offset
end

---@param after integer seconds since 1970
---@param zone policy.Zone? the offset at a time, and for how long it holds; without it the offset of `parse`
---@return integer? time the first that fits and is later; nil when there is none in eight years
function cron_methods:next(after, zone)
  local from = after + 1
  if not zone then
    local found = first_local(self, from + self.offset)
    return found and found - self.offset
  end
  while from < after + HORIZON * 86400 do
    local offset, began, ends, before = zone:at(from)
    local found = in_stretch(self, { offset = offset, from = began, before = before }, from)
    if not ends then return found end
    if found and found < ends then return found end
    from = ends
  end
  return nil
end

local function has_star(field)
  return field:find "^[*?]" ~= nil
end

---@param text string six fields: second minute hour day-of-month month day-of-week; or @hourly and the like
---@param offset integer? seconds east of UTC
---@return table cron raises a text that names the field
function M.parse(text, offset)
  local fields = {}
  for field in (SHORTHANDS[text] or text):gmatch "%S+" do fields[#fields + 1] = field end
  if #fields == 5 then
    error(("'%s' has five fields; a sixth, the second, comes first: '0 %s'"):format(text, text), 0)
  end
  if #fields ~= 6 then error(("'%s' has %d fields, not six"):format(text, #fields), 0) end
  local sets = {}
  for i, field in ipairs(FIELDS) do sets[i] = parse_field(field, fields[i]) end
  return setmetatable({ second = sets[1], minute = sets[2], hour = sets[3], day = sets[4], month = sets[5],
    weekday = sets[6], any_hour = has_star(fields[3]), any_day = has_star(fields[4]), any_weekday = has_star(fields[6]),
    offset = offset or 0 }, cron_methods)
end

return M
