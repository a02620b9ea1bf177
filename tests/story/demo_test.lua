-- The seven breakages and their repairs, as `kfhost lab demo` shows them: each breaks without its policy, by the
-- cluster's own words, and works with it.
local test = require "test"
local demo = require "lab.demo"
local fs = require "fs"
local proc = require "proc"
local show = require "lab.demo.show"

-- What must have been heard without the policy.
local WORDS = {
  P1 = "Unauthenticated: ", P2 = "Connection reset by peer", P3 = "container istio-proxy: runs",
  P4 = "the older program ends", P5 = "Connection refused", P6 = "File volume provisioning is not supported",
  P7 = 'violates PodSecurity "restricted:latest"',
}

-- A transcript without what is different each time: what the cluster says is cut after whom it is about.
local function skeleton(text)
  local lines = {}
  for line in text:gmatch "[^\n]+" do
    if line:find "^      %S" then line = line:match "^[^:]*":gsub("lab%-%d", "lab-N") end
    lines[#lines + 1] = line
  end
  return table.concat(lines, "\n")
end

-- What the guide shows of a scene.
local function in_guide(number)
  local text = fs.read "docs/guide/story.md":match("\n(" .. number .. "  .-)\n\nP%d  ")
  return text or fs.read "docs/guide/story.md":match("\n(" .. number .. "  .-)\n\n    WHAT")
end

local function heard(act)
  local lines = {}
  for index, line in ipairs(act.lines) do lines[index] = line.text end
  return table.concat(lines, "\n")
end

for _, number in ipairs(demo.NUMBERS) do
  test(number .. ": " .. demo.scene(number).title, function()
    local clock = proc.spawn { "sleep", "300" } -- while a process is pending, real time runs
    local told = {}
    local results = demo.play({ number }, { root = test.tmpdir(), say = show.teller(function(text)
      told[#told + 1] = text
    end) })
    clock:kill "KILL"
    clock:wait()
    local result = results[1]
    local broken = heard(result.acts.broken)
    if not broken:find(WORDS[number], 1, true) or not result.held then error(table.concat(told), 0) end
    test.equal(skeleton(table.concat(told)), skeleton(in_guide(number)))
  end)
end

test("a page shows each scene with its picture", function()
  local scene = demo.scene "P6"
  local act = { lines = { { kind = "does", text = "create <x>" }, { kind = "hears", text = "no & never" } } }
  local page = show.page { { scene = scene, acts = { broken = act, repaired = { lines = {}, passed = true } } } }
  for _, piece in ipairs { "<svg", "ReadWriteMany", "$ create &lt;x&gt;", "no &amp; never",
    "With vsphere-rwo: works" } do
    if not page:find(piece, 1, true) then error(piece .. " is not in the page", 0) end
  end
end)

test("machines are told whether each act passed, and what was done and heard", function()
  local lines = { { kind = "does", text = "create x" }, { kind = "hears", text = "no" } }
  local told = show.machine { { scene = demo.scene "P1", held = true,
    acts = { broken = { lines = lines }, repaired = { lines = {}, passed = true } } } }
  test.equal(#told, 1)
  test.equal(told[1].scene, "P1")
  test.same(told[1].policies, { "kfp-access" })
  test.equal(told[1].held, true)
  test.same(told[1].broken, { passed = false, lines = lines })
  test.same(told[1].repaired, { passed = true, lines = {} })
end)
