-- policy.timetable: when the schedules of a set of policies are due.
-- Not for what they do (policy.controller). What was due while another run lasted, or nobody led, is not made up for.
--   local t = timetable.new { cron = "0 0 7 * * MON-FRI", zone = "Europe/Berlin" }; t:wait(os.time)

local cron = require "policy.inside.cron"
local task = require "task"
local zones = require "policy.zone"

local M = {}

local LONGEST = 60 -- seconds of one sleep: the clock may be set meanwhile

---@class policy.Timetable
local Timetable = {}
Timetable.__index = Timetable

---@param schedule {cron: string?, every: number?, zone: string?}
---@return policy.Timetable raises "Config" for a zone that is not known
function M.new(schedule)
  return setmetatable({ every = schedule.every, times = schedule.cron and cron.parse(schedule.cron),
    zone = schedule.zone and zones.open(schedule.zone) }, Timetable)
end

---@param after integer seconds since 1970
---@return integer? time nil: never again
function Timetable:next(after)
  if self.times then return self.times:next(after, self.zone) end
  return after + self.every
end

---Waits until it is due.
---@param clock fun(): integer seconds since 1970
---@return boolean due false: it never will be
function Timetable:wait(clock)
  if not self.times then
    task.sleep(self.every)
    return true
  end
  local due = self:next(clock())
  if not due then return false end
  while clock() < due do task.sleep(math.min(due - clock(), LONGEST)) end
  return true
end

return M
