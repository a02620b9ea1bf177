local test = require "test"
local cron = require "policy.inside.cron"
local fs = require "fs"
local policy = require "policy"
local task = require "task"
local time_of = require "kube.time".parse
local timetable = require "policy.timetable"
local zones = require "policy.zone"

local function next_of(line, after)
  return os.date("!%Y-%m-%d %H:%M:%S", cron.parse(line):next(after))
end

local START = 1700000000 -- 2023-11-14 22:13:20 UTC, a Tuesday

test("the next time is the first that fits and is later", function()
  for line, want in pairs {
    ["* * * * * *"] = "2023-11-14 22:13:21",
    ["20 13 22 * * *"] = "2023-11-15 22:13:20",
    ["0 */5 * * * *"] = "2023-11-14 22:15:00",
    ["30 0 8-18/2 * * MON-FRI"] = "2023-11-15 08:00:30",
    ["0 0 0 1 1 *"] = "2024-01-01 00:00:00",
    ["0 0 12 29 2 *"] = "2024-02-29 12:00:00",
    ["0 0 0 * * 7"] = "2023-11-19 00:00:00",
    ["0 0 0 13 * 5"] = "2023-11-17 00:00:00",
    ["@hourly"] = "2023-11-14 23:00:00",
    ["5,10 59 23 31 DEC *"] = "2023-12-31 23:59:05",
  } do
    test.equal(next_of(line, START), want)
  end
end)

test("an offset moves the fields, not the clock", function()
  test.equal(os.date("!%H:%M", cron.parse("0 0 9 * * *", 3600):next(START)), "08:00")
end)

test("a date that never comes gives nil", function()
  test.equal(cron.parse "0 0 0 31 2 *":next(START), nil)
end)

test("what is wrong in a line is named", function()
  for line, problem in pairs {
    ["*/5 * * * *"] = "has five fields",
    ["60 * * * * *"] = "the second cannot be '60'",
    ["0 0 0 0 * *"] = "the day of month cannot be '0'",
    ["0 0 0 * FOO *"] = "the month cannot be 'FOO'",
    ["0 0 0 5-2 * *"] = "the day of month goes backwards",
    ["0 0/0 * * * *"] = "cannot have the step '0'",
    ["0 , * * * *"] = "has an empty part",
    [""] = "has 0 fields",
  } do
    local ok, message = pcall(cron.parse, line)
    test.equal(ok, false)
    if not message:find(problem, 1, true) then error(("%s: %s"):format(line, message)) end
  end
end)

-- --- time zones -------------------------------------------------------------------------------------

-- The next times of a line in a zone, as UTC.
local function times_of(line, name, from, count)
  local schedule, zone = cron.parse(line), zones.open(name)
  local time, list = time_of(from), {}
  for i = 1, count do
    time = schedule:next(time, zone)
    list[i] = os.date("!%Y-%m-%d %H:%M:%S", time)
  end
  return list
end

test("a line is about the clock of its zone, in summer and in winter", function()
  test.same(times_of("0 0 9 * * *", "Europe/Berlin", "2024-07-01T12:00:00Z", 1), { "2024-07-02 07:00:00" })
  test.same(times_of("0 0 9 * * *", "Europe/Berlin", "2024-12-01T12:00:00Z", 1), { "2024-12-02 08:00:00" })
  test.same(times_of("0 0 9 * * *", "Asia/Kolkata", "2024-12-01T12:00:00Z", 1), { "2024-12-02 03:30:00" })
  test.same(times_of("0 0 9 * * *", "UTC", "2024-12-01T12:00:00Z", 1), { "2024-12-02 09:00:00" })
end)

test("an hour that the clock skips is made up for at the jump, once", function()
  test.same(times_of("0 30 2 * * *", "Europe/Berlin", "2024-03-29T12:00:00Z", 3), -- 02:00 is followed by 03:00
    { "2024-03-30 01:30:00", "2024-03-31 01:00:00", "2024-04-01 00:30:00" })
  test.same(times_of("0 0,15,30 2 * * *", "Europe/Berlin", "2024-03-30T12:00:00Z", 2),
    { "2024-03-31 01:00:00", "2024-04-01 00:00:00" })
  test.same(times_of("0 0 3 * * *", "Europe/Berlin", "2024-03-30T12:00:00Z", 2),
    { "2024-03-31 01:00:00", "2024-04-01 01:00:00" })
end)

test("an hour that the clock shows twice counts once", function()
  test.same(times_of("0 30 2 * * *", "Europe/Berlin", "2024-10-26T12:00:00Z", 2), -- 02:59 is followed by 02:00
    { "2024-10-27 00:30:00", "2024-10-28 01:30:00" })
  test.same(times_of("0 30 1,2,3 * * *", "America/New_York", "2024-11-03T04:00:00Z", 3),
    { "2024-11-03 05:30:00", "2024-11-03 07:30:00", "2024-11-03 08:30:00" })
end)

test("a line with a star for the hour goes by the time that passes", function()
  test.same(times_of("0 30 * * * *", "Europe/Berlin", "2024-10-26T23:00:00Z", 3),
    { "2024-10-26 23:30:00", "2024-10-27 00:30:00", "2024-10-27 01:30:00" })
  test.same(times_of("0 0 * * * *", "Europe/Berlin", "2024-03-31T00:00:00Z", 2),
    { "2024-03-31 01:00:00", "2024-03-31 02:00:00" })
end)

test("after the last transition of its file a zone goes by its rule", function()
  test.same(times_of("0 0 9 * * *", "America/New_York", "2096-07-01T00:00:00Z", 1), { "2096-07-01 13:00:00" })
  test.same(times_of("0 0 9 * * *", "America/New_York", "2096-12-01T00:00:00Z", 1), { "2096-12-01 14:00:00" })
  test.same(times_of("0 0 9 * * *", "Australia/Sydney", "2096-12-01T00:00:00Z", 1), { "2096-12-01 22:00:00" })
end)

test("offsets are those that Python knows, at every transition and beside it", function()
  local result = require "proc".run { "/usr/bin/python3", "-c", [[
import datetime, random, zoneinfo
random.seed(7)
names = "Europe/Berlin America/New_York Asia/Kolkata Australia/Lord_Howe America/Sao_Paulo Africa/Casablanca"
for name in names.split():
    zone = zoneinfo.ZoneInfo(name)
    for _ in range(400):
        time = random.randrange(0, 4_000_000_000)
        offset = datetime.datetime.fromtimestamp(time, zone).utcoffset()
        print(name, time, int(offset.total_seconds()))
]] }
  test.equal(result.stderr, "")
  local count = 0
  for name, time, offset in result.stdout:gmatch "(%S+) (%d+) (%-?%d+)\n" do
    count = count + 1
    local ours = zones.open(name):at(math.tointeger(time))
    if ours ~= tonumber(offset) then error(("%s at %s: %d, not %s"):format(name, time, ours, offset)) end
  end
  test.equal(count, 2400)
end)

test("a zone that is not known fails the load, and says what to do", function()
  for name, words in pairs { ["Europe/Atlantis"] = "there is none of that name",
    ["../../etc/passwd"] = "no name of one", ["/etc/passwd"] = "no name of one", ["zone.tab"] = "no name of one" } do
    local directory = test.tmpdir()
    fs.write(directory .. "/site.lua", ([[local policy = require "policy"
      policy.schedule { name = "nightly", cron = "0 0 2 * * *", zone = %q, run = function() end }]]):format(name))
    local raised = test.raises("Config", function() policy.load(directory .. "/site.lua") end)
    test.equal(raised.message:find("policy.schedule 'nightly': time zone '" .. name, 1, true) ~= nil, true)
    test.equal(raised.message:find(words, 1, true) ~= nil, true)
  end
end)

test("moments are written as the C library writes them, on days of all kinds", function()
  local time = require "kube.time"
  for seconds = time_of "1899-12-30T23:59:59Z", time_of "2101-03-02T00:00:00Z", 86399 * 7 do
    test.equal(time.text(seconds), os.date("!%Y-%m-%dT%H:%M:%SZ", seconds))
    test.equal(time_of(time.text(seconds)), seconds)
  end
  for _, text in ipairs { "1970-01-01T00:00:00Z", "2000-02-29T12:00:00Z", "2024-02-29T00:00:00Z",
    "2024-03-01T00:00:00Z", "2100-02-28T23:59:59Z", "2100-03-01T00:00:00Z", "2023-12-31T23:59:59Z" } do
    test.equal(time.text(time_of(text)), text)
  end
  test.equal(time.micro(1591869602.25), "2020-06-11T10:00:02.250000Z")
end)

test("a schedule waits until it is due, and until the clock says so", function()
  local now = time_of "2024-03-31T00:59:00Z"
  local start = task.now()
  local function clock() return now + math.floor(task.now() - start) end
  local due = task.spawn(function()
    local times = timetable.new { cron = "0 30 2 * * *", zone = "Europe/Berlin" }
    times:wait(clock)
    return clock()
  end)
  test.advance(59)
  test.equal(due:status(), "running")
  test.advance(1)
  test.equal(os.date("!%H:%M:%S", due:wait(1)), "01:00:00")
  local interval = task.spawn(function() return timetable.new { every = 90 }:wait(clock) end)
  test.advance(89)
  test.equal(interval:status(), "running")
  test.advance(1)
  test.equal(interval:wait(1), true)
end)
