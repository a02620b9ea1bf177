-- Event files of TensorFlow: what trainings write there, and where a bad one is bad.
local fs = require "fs"
local katib = require "katib"
local test = require "test"

local FILES = "tests/fixtures/katib-events"
local TRAIN = FILES .. "/train/events.out.tfevents.1"

local function shown(found)
  local list = {}
  for i, one in ipairs(found) do list[i] = ("%s=%s %s"):format(one.name, one.value, one.timestamp:sub(15, 20)) end
  return list
end

test("scalars of both kinds are found; a folder before the name says whose", function()
  local found, unavailable = katib.events(FILES, { "train/accuracy", "loss", "epoch" })
  test.equal(unavailable, false)
  test.same(shown(found), { "epoch=1 00:11Z", "epoch=2 00:12Z", "train/accuracy=0.5 00:00Z",
    "train/accuracy=0.8125 00:01Z", "train/accuracy=0.75 00:02Z", "loss=3e-05 00:00Z", "loss=2e-05 00:01Z",
    "loss=1e-05 00:02Z" })
end)

test("what a training wrote before it began anew is void from that step on", function()
  test.same(shown((katib.events(FILES .. "/test", { "accuracy" }))), { "accuracy=0.1 00:11Z", "accuracy=0.3 00:12Z" })
end)

test("without the objective there is one entry: unavailable", function()
  for _, directory in ipairs { FILES, "/nowhere" } do
    local found, unavailable = katib.events(directory, { "reward", "loss" })
    test.equal(unavailable, true)
    test.same({ #found, found[1].name, found[1].value }, { 1, "reward", "unavailable" })
  end
  local found, unavailable = katib.events(FILES, { "note" }) -- a text is no metric
  test.same({ found[1].value, unavailable }, { "unavailable", true })
end)

-- What is read of changed bytes, and what is told of them.
local function read_changed(change)
  local directory, told = test.tmpdir(), {}
  fs.write(directory .. "/events.out.tfevents.x", change(fs.read(TRAIN)))
  local found = katib.events(directory, { "accuracy" }, function(text) told[#told + 1] = text:match ": (.*)$" end)
  local values = {}
  for i, one in ipairs(found) do values[i] = one.value end
  return values, told
end

test("what comes before a bad record counts, and it is told where that is", function()
  local bytes = fs.read(TRAIN)
  local first = string.unpack("<I8", bytes) + 16 -- where the second record begins
  local second = first + string.unpack("<I8", bytes, first + 1) + 16
  local function flip(at)
    return function(text) return text:sub(1, at) .. string.char(text:byte(at + 1) ~ 1) .. text:sub(at + 2) end
  end
  local cases = {
    { function(text) return text:sub(1, #text - 1) end, { "0.5", "0.8125", "0.75" }, "is cut off" },
    { function(text) return text:sub(1, second + 5) end, { "0.5" }, ("byte %d is cut off"):format(second) },
    { flip(second), { "0.5" }, ("byte %d has a wrong checksum of its length"):format(second) },
    { flip(second + 20), { "0.5" }, ("byte %d has a wrong checksum of its data"):format(second) },
    { flip(0), { "unavailable" }, "byte 0 has a wrong checksum of its length" },
    { function(text) return text .. "x" end, { "0.5", "0.8125", "0.75" }, ("byte %d is cut off"):format(#bytes) },
    { function() return "" end, { "unavailable" } },
  }
  for _, case in ipairs(cases) do
    local values, told = read_changed(case[1])
    test.same(values, case[2])
    test.equal(#told, case[3] and 1 or 0)
    if case[3] and not told[1]:find(case[3], 1, true) then test.equal(told[1], case[3]) end
  end
end)

test("files that are no event files are passed over", function()
  local directory = test.tmpdir()
  fs.write(directory .. "/7.pid", "completed\n")
  fs.write(directory .. "/events.out.tfevents.1", fs.read(TRAIN))
  local found = katib.events(directory, { "loss" }, error)
  test.equal(#found, 3)
end)
