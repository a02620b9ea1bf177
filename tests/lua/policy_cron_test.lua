local test = require "test"
local cron = require "policy.inside.cron"

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
