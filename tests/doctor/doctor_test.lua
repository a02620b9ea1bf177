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

test("harmless variations of a healthy Kubeflow, made by writes to the API, give no finding", function()
  local lab <close> = start()
  local variations, problems = dofile "tests/doctor/variations.lua", {}
  assert(#variations >= 30)
  for _, one in ipairs(variations) do
    one[2](lab)
    for _ = 1, 2 do -- at once, and when the lab's controllers have looked
      local found = lab:findings()
      if #found > 0 then problems[#problems + 1] = one[1] .. ": " .. table.concat(found, "; ") end
      require("task").sleep(0.05)
    end
    lab:undo()
  end
  test.same(problems, {})
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

-- --- what helps ----------------------------------------------------------------------------------------------

-- A command of a remedy; they stand in backquotes.
local function chosen(finding, pattern)
  for command in finding.fix:gmatch "`([^`]+)`" do
    if command:find(pattern) then return command end
  end
  error(("%s: no command with %s in: %s"):format(finding.code, pattern, finding.fix))
end

-- What is done of a remedy, as one who reads it does.
local function kubectl(lab, finding) return lab:shell(chosen(finding, "^kubectl ")) end
local function manifest(lab, finding) return lab:shell("kubectl apply -f - <<'EOF'\n" .. finding.manifest .. "EOF") end
local function policy(lab, finding) return lab:serve(chosen(finding, "^kfhost policy serve ")) end

local REMEDIES = {
  ["wrong-audience"] = kubectl, ["forged-header"] = kubectl, ["webhook-order"] = kubectl, ["owner-mismatch"] = kubectl,
  ["katib-injection-label"] = kubectl, ["collector-restricted"] = kubectl, ["poddefault-conflict"] = kubectl,
  ["stuck-finalizer"] = kubectl, ["multi-attach"] = kubectl, ["group-binding"] = kubectl, ["experiment-name"] = kubectl,
  ["certificate-expired"] = kubectl, ["webhook-service"] = kubectl, ["rwx-pending"] = kubectl,
  ["strict-mtls"] = manifest,
  ["kfp-policy-absent"] = policy, ["kfp-refused"] = policy, ["collector-waits"] = policy,
}

-- What is still found of a fault when its remedy was done.
local function left_after(lab, fault, remedy)
  fault[3](lab)
  local is_so, found = lab:comes_to(fault[2])
  if not is_so then return "not found: " .. table.concat(found, "; ") end
  local _, report = lab:findings()
  local stop = remedy(lab, report.findings[1])
  local gone, left = lab:comes_to {}
  if stop then stop() end
  return not gone and "left: " .. table.concat(left, "; ") or nil
end

-- The first fault of each code that has one of these remedies.
local function each_remedy(is_policy, run)
  local problems, done = {}, {}
  for _, list in ipairs { faults.list, faults.more } do
    for _, fault in ipairs(list) do
      local code = fault[2][1]:match "^%S+"
      local remedy = REMEDIES[code]
      if remedy and (remedy == policy) == is_policy and not done[code] then
        done[code] = true
        local left = run(fault, remedy)
        if left then problems[#problems + 1] = code .. ", " .. left end
      end
    end
  end
  test.same(problems, {})
end

test("a remedy that is a command or a manifest takes its finding away", function()
  local lab <close> = start()
  each_remedy(false, function(fault, remedy)
    local left = left_after(lab, fault, remedy)
    lab:undo()
    return left
  end)
end)

test("a remedy that is a policy takes its finding away", function()
  each_remedy(true, function(fault, remedy)
    local lab <close> = start() -- policies leave something behind
    return left_after(lab, fault, remedy)
  end)
end)

test("each other fault that the doctor knows is found, too", function()
  local lab <close> = start()
  test.same(one_at_a_time(lab, faults.more), {})
end)
