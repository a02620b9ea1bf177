-- The doctor beside a lab, as processes: each fault is made by writes to the API, found, named, taken back; then all
-- at once. ./dev test runs this as a suite of its own.
local test = require "test"
local lab_of = dofile "tests/doctor/lab.lua"
local faults = dofile "tests/doctor/faults.lua"

local function start()
  return lab_of.start(test.tmpdir())
end

-- Makes each fault alone; what was not found as it should be.
local function one_at_a_time(lab, list)
  local problems = {}
  local function complain(what, name, found)
    problems[#problems + 1] = ("%s, %s: %s"):format(name, what, table.concat(found, "; "))
  end
  for _, fault in ipairs(list) do
    local name, expected, make = table.unpack(fault)
    make(lab)
    local is_so, found = lab:comes_to(expected)
    if not is_so then complain("made", name, found) end
    lab:undo()
    is_so, found = lab:comes_to {}
    if not is_so then complain("taken back", name, found) end
  end
  return problems
end

test("each fault, made by writes to the API, is found and named, and nothing else; taken back, it is gone", function()
  local lab <close> = start()
  test.same(one_at_a_time(lab, faults.list), {})
end)

-- What of the first list is not in the second.
local function lacking(wanted, found)
  local there, missing = {}, {}
  for _, one in ipairs(found) do there[one] = true end
  for _, one in ipairs(wanted) do
    if not there[one] then missing[#missing + 1] = one end
  end
  return missing
end

test("all faults at once are all found, and nothing else; taken back, all are gone", function()
  local lab <close> = start()
  local expected = {}
  for _, late in ipairs { false, true } do
    for _, fault in ipairs(faults.list) do
      if (fault.last or false) == late then
        fault[3](lab)
        table.move(fault[2], 1, #fault[2], #expected + 1, expected)
      end
    end
  end
  local found
  for _ = 1, 100 do
    found = lab:findings()
    if #lacking(expected, found) == 0 then break end
    require("task").sleep(0.05)
  end
  test.same({ lacking(expected, found), lacking(found, expected) }, { {}, {} })
  lab:undo()
  local is_so, left = lab:comes_to {}
  assert(is_so, table.concat(left, "; "))
end)

local READS = { get = true, list = true, watch = true }
local REVIEWS = { selfsubjectreviews = true, selfsubjectaccessreviews = true, tokenreviews = true }

test("the doctor writes nothing, with a bundle either: the audit log has reads and reviews of it only", function()
  local lab <close> = start()
  faults.list[1][3](lab)
  local bundle = require("fs").join(lab.folder, "support.tar.gz")
  local done = lab:doctor { "--bundle", bundle, "--html", require("fs").join(lab.folder, "page.html") }
  test.equal(done.code, 1)
  local events, writes, logs = lab:audited(), {}, 0
  for _, event in ipairs(events) do
    local about = event.objectRef or {}
    local review = event.verb == "create" and REVIEWS[about.resource]
    if not READS[event.verb] and not review then writes[#writes + 1] = event.verb .. " " .. event.requestURI end
    if about.subresource == "log" then logs = logs + 1 end
  end
  test.same(writes, {})
  assert(#events > 40 and logs > 0, ("%d requests, %d logs"):format(#events, logs))
end)

test("each other fault that the doctor knows is found, too", function()
  local lab <close> = start()
  test.same(one_at_a_time(lab, faults.more), {})
end)
