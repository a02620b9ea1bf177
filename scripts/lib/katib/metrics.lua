-- Metrics in a log, as Katib's file collector reads them, and what becomes of them in a trial's observation.
-- Not for live curves: the collector reports once, at the end.
--   local found, unavailable = metrics.parse(text, { "accuracy" }, { format = "TEXT" })
local errors = require "errors"
local json = require "json"

local M = {}

M.FILTER = [[([\w|-]+)\s*=\s*([+-]?\d*(\.\d+)?([Ee][+-]?\d+)?)]]
M.NO_TIME = "0001-01-01T00:00:00Z"
M.UNAVAILABLE = "unavailable"

-- --- times -------------------------------------------------------------------------------------------

local DAYS = { 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 }

local function is_leap(year)
  return year % 4 == 0 and (year % 100 ~= 0 or year % 400 == 0)
end

local function days_before(year)
  local y = year - 1
  return y * 365 + y // 4 - y // 100 + y // 400
end

-- Seconds since 1970 and the fraction of an RFC 3339 time, or nil.
local function read_time(text)
  local year, month, day, hour, minute, second, fraction, zone =
    text:match "^(%d%d%d%d)%-(%d%d)%-(%d%d)T(%d%d?):(%d%d):(%d%d)([.,]?%d*)(.+)$"
  if not year then return nil end
  local sign, zone_hour, zone_minute = zone:match "^([+-])(%d%d):(%d%d)$"
  if zone ~= "Z" and not sign then return nil end
  if fraction ~= "" and not fraction:find "^[.,]%d+$" then return nil end
  year, month, day = math.tointeger(year), math.tointeger(month), math.tointeger(day)
  hour, minute, second = math.tointeger(hour), math.tointeger(minute), math.tointeger(second)
  local last = DAYS[month] and DAYS[month] + ((month == 2 and is_leap(year)) and 1 or 0)
  if not last or day < 1 or day > last or hour > 23 or minute > 59 or second > 59 then return nil end
  local days = days_before(year) - days_before(1970) + day - 1
  for m = 1, month - 1 do days = days + DAYS[m] + ((m == 2 and is_leap(year)) and 1 or 0) end
  local seconds = days * 86400 + hour * 3600 + minute * 60 + second
  if sign then
    local offset = math.tointeger(zone_hour) * 3600 + math.tointeger(zone_minute) * 60
    seconds = seconds - (sign == "-" and -offset or offset)
  end
  return seconds, tonumber("0" .. fraction:gsub(",", ".")) or 0
end

-- As time.Unix(seconds, nanoseconds).UTC() prints it, without zeros at the end.
local function write_time(seconds, nanoseconds)
  seconds, nanoseconds = seconds + nanoseconds // 1000000000, nanoseconds % 1000000000
  local fraction = nanoseconds == 0 and "" or ("." .. ("%09d"):format(nanoseconds)):gsub("0+$", "")
  return os.date("!%Y-%m-%dT%H:%M:%S", seconds) .. fraction .. "Z"
end

M.seconds = read_time

-- --- reading -------------------------------------------------------------------------------------------

local function named(names)
  local set = {}
  for _, name in ipairs(names) do set[name] = true end
  return set
end

local function mentions(line, names)
  for _, name in ipairs(names) do
    if line:find(name, 1, true) then return true end
  end
  return false
end

local function trim(text)
  return text:match "^%s*(.-)%s*$"
end

-- All pairs that a filter finds in a line.
local function filter_line(filter, line, wanted, add)
  local at = 1
  while at <= #line + 1 do
    local first, last, groups = filter:find(line, at)
    if not first then return end
    local name, value = trim(groups[1] or ""), trim(groups[2] or "")
    if wanted[name] then add(name, value) end
    at = math.max(last + 1, first + (last < first and 1 or 0), at)
  end
end

local function parse_text(lines, names, filters)
  local regex, wanted, found, compiled = require "regex", named(names), {}, {}
  for i, filter in ipairs(#filters > 0 and filters or { M.FILTER }) do
    compiled[i] = regex.compile(filter)
    if compiled[i]:groups() < 2 then
      errors.raise { code = "Metrics", message = ("the filter %s has fewer than two groups"):format(filter) }
    end
  end
  for _, line in ipairs(lines) do
    if mentions(line, names) then
      local word = line:match "^[^ ]*"
      local timestamp = read_time(word) and word or M.NO_TIME
      for _, filter in ipairs(compiled) do
        filter_line(filter, line, wanted, function(name, value)
          found[#found + 1] = { name = name, value = value, timestamp = timestamp }
        end)
      end
    end
  end
  return found
end

-- A number is split at its point: 1.5 is one second and 5 nanoseconds, as the collector has it.
local function json_time(value)
  if type(value) == "string" then return read_time(value) and value or nil end
  if type(value) ~= "number" then return nil end
  local seconds, rest = require "katib.decimal".go_text(value):match "^(-?%d+)%.?(%d*)$"
  return write_time(math.tointeger(seconds), math.tointeger(rest) or 0)
end

local function parse_json(lines, names)
  local found = {}
  for number, line in ipairs(lines) do
    if line ~= "" then
      local object, problem = json.try.decode(line, { duplicates = "last" })
      if type(object) ~= "table" or json.is_array(object) then
        errors.raise {
          code = "Metrics", line = number, cause = problem, message = ("line %d is no JSON object"):format(number),
        }
      end
      local timestamp = json_time(object.timestamp) or M.NO_TIME
      for _, name in ipairs(names) do
        local value = object[name]
        if type(value) == "string" then
          found[#found + 1] = { name = name, value = value, timestamp = timestamp }
        end
      end
    end
  end
  return found
end

local function split_lines(text)
  local lines = {}
  for line in (text:sub(-1) == "\n" and text or text .. "\n"):gmatch "(.-)\n" do lines[#lines + 1] = line end
  return lines
end

---The metrics of a log, in the order of the lines. Without one of the objective's: a single entry "unavailable".
---@param text string
---@param names string[] the objective first
---@param options {filters: string[]?, format: "TEXT"|"JSON"|nil}?
---@return {name: string, value: string, timestamp: string}[] found, boolean unavailable # raises "Metrics", "Regex"
function M.parse(text, names, options)
  options = options or {}
  local lines = split_lines(text)
  local found = options.format == "JSON" and parse_json(lines, names)
    or parse_text(lines, names, options.filters or {})
  for _, entry in ipairs(found) do
    if entry.name == names[1] then return found, false end
  end
  return { { name = names[1], value = M.UNAVAILABLE, timestamp = M.NO_TIME } }, true
end

-- --- observations ------------------------------------------------------------------------------------------

local function observe(name, entries)
  local metric = { name = name, min = M.UNAVAILABLE, max = M.UNAVAILABLE, latest = M.UNAVAILABLE }
  local low, high, latest
  for _, entry in ipairs(entries) do
    if entry.name == name then
      local value = tonumber(entry.value)
      if value and (not low or value < low) then low, metric.min = value, entry.value end
      if value and (not high or value > high) then high, metric.max = value, entry.value end
      local seconds, fraction = read_time(entry.timestamp)
      local time = (seconds or 0) + (fraction or 0)
      if not latest or time >= latest then latest, metric.latest = time, entry.value end
    end
  end
  return metric
end

---What the controller puts into a trial's status.
---@param entries {name: string, value: string, timestamp: string}[]
---@param names string[]
---@return {name: string, min: string, max: string, latest: string}[]
function M.observation(entries, names)
  local list = {}
  for i, name in ipairs(names) do list[i] = observe(name, entries) end
  return list
end

return M
