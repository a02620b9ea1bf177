-- lab.kfp.macros: what the values of a recurring run's parameters stand for in one of its runs.
-- Not for values that steps hand on (kfp.placeholders).
--   macros.fill("at [[ScheduledTime.15-04]], [[Index]]", { scheduled = 1700000000, now = …, index = 3, id = "…" })

local M = {}

local DEFAULT = "20060102150405"

-- What a layout of Go's shows of its reference time, and how os.date writes it; of two that begin alike the longer one
-- comes first.
local LAYOUT = {
  { "2006", "%Y" }, { "January", "%B" }, { "Jan", "%b" }, { "Monday", "%A" }, { "Mon", "%a" }, { "MST", "UTC" },
  { "Z07:00", "Z" }, { "-07:00", "+00:00" }, { "-0700", "+0000" }, { "002", "%j" }, { "01", "%m" }, { "02", "%d" },
  { "_2", "%e" }, { "15", "%H" }, { "03", "%I" }, { "04", "%M" }, { "05", "%S" }, { "06", "%y" }, { "PM", "%p" },
  { "1", "%m", short = true }, { "2", "%d", short = true }, { "3", "%I", short = true }, { "4", "%M", short = true },
  { "5", "%S", short = true },
}

local function part_at(layout, at)
  for _, part in ipairs(LAYOUT) do
    if layout:sub(at, at + #part[1] - 1) == part[1] then return part end
  end
  return nil
end

---A time as Go writes it.
---@param seconds integer since 1970
---@param layout string such as "2006-01-02"
---@return string
function M.time(seconds, layout)
  local out, at = {}, 1
  while at <= #layout do
    local part = part_at(layout, at)
    local text = part and os.date("!" .. part[2], seconds) or layout:sub(at, at)
    out[#out + 1] = part and part.short and text:gsub("^0", "") or text
    at = at + (part and #part[1] or 1)
  end
  return table.concat(out)
end

local function macro(name, about)
  if name == "RunUUID" then return about.id end
  if name == "Index" then return ("%d"):format(about.index) end
  local which, layout = name:match "^(%a+)Time%.?(.*)$"
  local seconds = which == "Scheduled" and about.scheduled or which == "Current" and about.now
  if not seconds then return nil end
  return M.time(seconds, layout ~= "" and layout or DEFAULT)
end

---@param value any texts are looked into, also those of lists and maps
---@param about {scheduled: integer, now: integer, index: integer, id: string}
---@return any
function M.fill(value, about)
  if type(value) == "table" then
    local filled = setmetatable({}, getmetatable(value))
    for key, inner in pairs(value) do filled[key] = M.fill(inner, about) end
    return filled
  end
  if type(value) ~= "string" then return value end
  value = value:gsub("%[%[(.-)%]%]", function(name) return macro(name, about) end)
  return (value:gsub("{{%$%.scheduledTime%.strftime%(['\"](.-)['\"]%)}}", function(format)
    local ok, text = pcall(os.date, "!" .. format, about.scheduled)
    return ok and text or nil
  end))
end

return M
