-- kube.patch.diff on values at random: its patch makes the one of the other, and nothing of nothing.
local test = require "test"
local json = require "json"
local kube = require "kube"

local KEYS = { "a", "b", "name", "x/y", "z~" }

local function pick(list) return list[math.random(#list)] end

local function random_value(depth)
  local kind = math.random(depth > 3 and 4 or 8)
  if kind == 1 then return math.random(0, 3) end
  if kind == 2 then return "s" .. math.random(0, 3) end
  if kind == 3 then return math.random() < 0.5 end
  if kind == 4 then return json.null end
  local value = kind <= 6 and json.object {} or json.array {}
  for i = 1, math.random(0, 4) do value[kind <= 6 and pick(KEYS) or i] = random_value(depth + 1) end
  return value
end

local function random_change(value, depth)
  if math.random() < 0.15 then return random_value(depth) end
  if type(value) ~= "table" then return value end
  local changed = json.is_array(value) and json.array {} or json.object {}
  if json.is_array(value) then
    for _, item in ipairs(value) do
      if math.random() > 0.1 then changed[#changed + 1] = random_change(item, depth + 1) end
    end
    if math.random() < 0.1 then table.insert(changed, math.random(#changed + 1), random_value(depth + 1)) end
  else
    for key, inner in pairs(value) do
      if math.random() > 0.1 then changed[key] = random_change(inner, depth + 1) end
    end
    if math.random() < 0.1 then changed.new = random_value(depth + 1) end
  end
  return changed
end

local function text(value) return json.encode(value, { sort = true }) end

test("the patch of two values makes the one of the other", function()
  for _ = 1, 2000 do
    local before = random_value(0)
    local after = random_change(before, 0)
    local first = text(before)
    local operations = kube.patch.diff(before, after)
    test.equal(text(kube.patch.json(before, operations)), text(after))
    test.equal(#operations == 0, first == text(after))
    test.equal(text(before), first)
  end
end)

test("members are changed in the order of their keys, whatever they hold", function()
  local before = { c = { y = 1, x = 1 }, a = 1, b = { { name = "n", v = 1 } } }
  local after = { c = { y = 2, x = 2 }, d = 1, b = { { name = "n", v = 2, w = 3 } } }
  local paths = {}
  for i, operation in ipairs(kube.patch.diff(before, after)) do paths[i] = operation.op .. " " .. operation.path end
  test.same(paths, { "remove /a", "replace /b/0/v", "add /b/0/w", "replace /c/x", "replace /c/y", "add /d" })
end)

test("what is no JSON value is refused with its place, equal parts aside", function()
  local circle = {}
  circle.circle = circle
  test.raises("Patch", function() kube.patch.diff({ a = 1, b = 2 }, { a = 1, b = circle }) end)
  test.raises("Patch", function() kube.patch.diff({ a = 1 }, { a = { 1, nil, 3, x = 2 } }) end)
end)
