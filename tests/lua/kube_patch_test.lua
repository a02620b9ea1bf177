-- JSON patch, merge patch and diff: a table of every rule, good and bad.
local json = require "json"
local kube = require "kube"
local test = require "test"

local function text(value) return json.encode(value, { sort = true }) end

-- { document, operations, result } or { document, operations, nil, message, index }
local JSON_PATCHES = {
  { '{"a":1}', "[]", '{"a":1}' },
  { '{"a":1}', '[{"op":"add","path":"/b","value":[1,{}]}]', '{"a":1,"b":[1,{}]}' },
  { '{"a":1}', '[{"op":"add","path":"/a","value":null}]', '{"a":null}' },
  { "{}", '[{"op":"add","path":"/","value":1}]', '{"":1}' },
  { '{"l":[1,3]}', '[{"op":"add","path":"/l/1","value":2}]', '{"l":[1,2,3]}' },
  { '{"l":[1,3]}', '[{"op":"add","path":"/l/2","value":4}]', '{"l":[1,3,4]}' },
  { '{"l":[1,3]}', '[{"op":"add","path":"/l/-","value":4}]', '{"l":[1,3,4]}' },
  { '{"l":[]}', '[{"op":"add","path":"/l/-","value":{}}]', '{"l":[{}]}' },
  { '{"l":[1,3]}', '[{"op":"add","path":"/l/-1","value":4}]', '{"l":[1,3,4]}' },
  { '{"l":[1,3]}', '[{"op":"add","path":"/l/-3","value":0}]', '{"l":[0,1,3]}' },
  { '{"l":[1,3]}', '[{"op":"remove","path":"/l/-1"}]', '{"l":[1]}' },
  { '{"l":[1,3]}', '[{"op":"replace","path":"/l/-2","value":5}]', '{"l":[5,3]}' },
  { '{"l":[1,3]}', '[{"op":"test","path":"/l/-1","value":3}]', '{"l":[1,3]}' },
  { '{"a":{"b":1}}', '[{"op":"remove","path":"/a/b"}]', '{"a":{}}' },
  { '{"a":1}', '[{"op":"replace","path":"/b","value":2}]', '{"a":1,"b":2}' }, -- the server makes it
  { '{"a":1}', '[{"op":"add","path":"/b"}]', '{"a":1,"b":null}' },
  { '{"a":1}', '[{"op":"test","path":"/b","value":null}]', '{"a":1}' },
  { '{"a":1}', '[{"op":"test","path":"","value":{"a":1.0}}]', '{"a":1}' },
  { '{"a":1}', '[{"op":"replace","path":"","value":[]}]', "[]" },
  { '{"a":1}', '[{"op":"add","path":"","value":{"b":2}}]', '{"b":2}' },
  { '"a"', '[{"op":"replace","path":"","value":"b"}]', '"b"' },
  { '{"a":1}', '[{"op":"copy","from":"","path":"/b"}]', '{"a":1,"b":{"a":1}}' },
  { '{"a/b":1,"m~n":2,"~1":3}', '[{"op":"test","path":"/a~1b","value":1},{"op":"test","path":"/m~0n","value":2},'
    .. '{"op":"test","path":"/~01","value":3}]', '{"a/b":1,"m~n":2,"~1":3}' },
  { '{"a":{"x":1},"b":2}', '[{"op":"move","from":"/a/x","path":"/b"}]', '{"a":{},"b":1}' },
  { '{"l":[1,2,3]}', '[{"op":"move","from":"/l/0","path":"/l/2"}]', '{"l":[2,3,1]}' },
  { '{"a":{"x":[1]}}', '[{"op":"copy","from":"/a","path":"/b"},{"op":"add","path":"/b/x/0","value":0}]',
    '{"a":{"x":[1]},"b":{"x":[0,1]}}' },
  { '{"a":1,"x":{"é":"ü"}}', '[{"op":"test","path":"/x","value":{"é":"ü"}}]', '{"a":1,"x":{"é":"ü"}}' },

  { '{"a":1}', '[{"op":"test","path":"/a","value":2}]', nil, "testing value /a failed: test failed", 1 },
  { '{"a":1}', '[{"op":"test","path":"/a","value":"1"}]', nil, "testing value /a failed: test failed", 1 },
  { '{"a":[]}', '[{"op":"test","path":"/a","value":{}}]', nil, "testing value /a failed: test failed", 1 },
  { '{"a":1}', '[{"op":"test","path":"/a"}]', nil, "testing value /a failed: test failed", 1 },
  { '{"a":1}', '[{"op":"remove","path":"/a"},{"op":"remove","path":"/b"}]', nil,
    "error in remove for path: '/b': Unable to remove nonexistent key: b: missing value", 2 },
  { '{"a":1}', '[{"op":"remove","path":"/b/c"}]', nil,
    'remove operation does not apply: doc is missing path: "/b/c": missing value', 1 },
  { '{"a":1}', '[{"op":"add","path":"/a/b","value":1}]', nil,
    'add operation does not apply: doc is missing path: "/a/b": missing value', 1 },
  { '{"a":null}', '[{"op":"add","path":"/a/b","value":1}]', nil,
    'add operation does not apply: doc is missing path: "/a/b": missing value', 1 },
  { '{"l":[1]}', '[{"op":"add","path":"/l/2","value":1}]', nil,
    "error in add for path: '/l/2': Unable to access invalid index: 2: invalid index referenced", 1 },
  { '{"l":[1]}', '[{"op":"add","path":"/l/-3","value":1}]', nil,
    "error in add for path: '/l/-3': Unable to access invalid index: -3: invalid index referenced", 1 },
  { '{"l":[1]}', '[{"op":"add","path":"/l/x","value":1}]', nil, "error in add for path: '/l/x': value was not a proper "
    .. "array index: 'x': strconv.Atoi: parsing \"x\": invalid syntax", 1 },
  { '{"l":[1]}', '[{"op":"remove","path":"/l/-"}]', nil,
    "error in remove for path: '/l/-': strconv.Atoi: parsing \"-\": invalid syntax", 1 },
  { '{"l":[1]}', '[{"op":"remove","path":"/l/1"}]', nil,
    "error in remove for path: '/l/1': Unable to access invalid index: 1: invalid index referenced", 1 },
  { '{"l":[1]}', '[{"op":"replace","path":"/l/1","value":1}]', nil,
    "replace operation does not apply: doc is missing key: /l/1: missing value", 1 },
  { '{"l":[1]}', '[{"op":"replace","path":"/m/1","value":1}]', nil,
    "replace operation does not apply: doc is missing path: /m/1: missing value", 1 },
  { '{"l":[1]}', '[{"op":"test","path":"/l/1e0","value":1}]', nil,
    "error in test for path: '/l/1e0': strconv.Atoi: parsing \"1e0\": invalid syntax", 1 },
  { '{"l":[1]}', '[{"op":"copy","path":"/m"}]', nil,
    "copy operation failed to decode from: operation, missing from field: missing value", 1 },
  { '{"l":[1]}', '[{"op":"move","from":"/n","path":"/m"}]', nil,
    "error in move for path: 'n': Unable to remove nonexistent key: n: missing value", 1 },
  { '{"a":{"b":1}}', '[{"op":"move","from":"/a","path":"/a/b"}]', nil,
    "move operation does not apply: doc is missing destination path: /a/b: missing value", 1 },
  { '{"a":1}', '[{"op":"add","value":1}]', nil, "add operation failed to decode path: missing value", 1 },
  { '{"a":1}', '[{"op":"add","path":7,"value":1}]', nil, "add operation failed to decode path: missing value", 1 },
  { '{"a":1}', '[{"op":"test","value":1}]', nil,
    "test operation failed to decode path: operation missing path field: missing value", 1 },
  { '{"l":[1]}', '[{"op":"copy","from":"/l/7","path":"/m"}]', nil,
    "error in copy for from: '/l/7': Unable to access invalid index: 7: invalid index referenced", 1 },
  { '{"a":1,"l":[1]}', '[{"op":"copy","from":"/a","path":"/l/7"}]', nil,
    "error while adding value during copy: Unable to access invalid index: 7: invalid index referenced", 1 },
  { '{"a":1}', '[{"op":"frob","path":"/a"}]', nil, "Unexpected kind: frob", 1 },
  { '{"a":1}', '[{"path":"/a"}]', nil, "Unexpected kind: unknown", 1 },
  { '{"a":1}', '[{"op":"add","path":"a","value":1}]', nil,
    'add operation does not apply: doc is missing path: "a": missing value', 1 },
  { '{"a":1}', "[1]", nil, "an operation must be an object", 1 },
  { '{"a":1}', '{"op":"add"}', nil, "a JSON patch is a list of operations", 0 },
}

test("JSON patches are applied as the API server does", function()
  for _, case in ipairs(JSON_PATCHES) do
    local doc, ops = json.decode(case[1]), json.decode(case[2])
    local result, err = kube.patch.try.json(doc, ops)
    if case[3] then
      test.equal(err and err.message, nil)
      test.equal(text(result), case[3])
    else
      test.equal(err and err.message, case[4])
      test.equal(err.code, "Patch")
      test.equal(err.index, case[5])
      local op = ops[err.index]
      if type(op) == "table" and type(op.path) == "string" then test.equal(err.path, op.path) end
    end
    test.equal(text(doc), text(json.decode(case[1])))
  end
end)

test("no patch makes a value without bounds", function()
  local ops = {}
  for i = 1, 40 do ops[i] = { op = "copy", from = "/l", path = "/l/-" } end
  local err = test.raises("Patch", function() kube.patch.json({ l = { ("x"):rep(1000) } }, ops) end)
  test.equal(err.message:match "accumulated size increase", "accumulated size increase")
  for i = 1, 600 do ops[i] = { op = "move", from = "/a", path = "/b" } end
  local nested = {}
  for i = 0, 599 do
    nested[2 * i + 1] = { op = "add", path = "/b", value = { a = 1 } }
    nested[2 * i + 2] = { op = "move", from = "/a", path = "/b/a" }
    nested[2 * i + 3] = { op = "move", from = "/b", path = "/a" }
  end
  test.raises("Patch", function() kube.patch.json({ a = 1 }, nested) end)
end)

test("what a patch gives shares nothing with what it took", function()
  local doc, ops = { a = { 1 } }, { { op = "add", path = "/b", value = { 1 } } }
  local result = kube.patch.json(doc, ops)
  result.a[1], result.b[1] = 2, 2
  test.same(doc, { a = { 1 } })
  test.same(ops[1].value, { 1 })
end)

test("marks survive, and tables of scripts are taken as they are written", function()
  test.equal(text(kube.patch.json(json.decode '{"l":[],"m":{}}', {})), '{"l":[],"m":{}}')
  test.equal(text(kube.patch.json({ l = json.array {} }, { { op = "add", path = "/l/-", value = {} } })), '{"l":[{}]}')
  test.equal(text(kube.patch.json({}, {})), "{}")
end)

test("values that are no JSON are refused with their place", function()
  local err = test.raises("Patch", function() kube.patch.json({ a = { print } }, {}) end)
  test.equal(err.path, "$.a[0]")
  local loop = {}
  loop.a = loop
  test.raises("Patch", function() kube.patch.merge(loop, {}) end)
  test.raises("Patch", function() kube.patch.merge({}, json.array { [2] = 1 }) end)
end)

-- { target, patch, result }
local MERGE_PATCHES = {
  { '{"a":"b"}', '{"a":"c"}', '{"a":"c"}' },
  { '{"a":"b"}', '{"b":"c"}', '{"a":"b","b":"c"}' },
  { '{"a":"b"}', '{"a":null}', "{}" },
  { '{"a":"b","b":"c"}', '{"a":null}', '{"b":"c"}' },
  { '{"a":["b"]}', '{"a":"c"}', '{"a":"c"}' },
  { '{"a":"c"}', '{"a":["b"]}', '{"a":["b"]}' },
  { '{"a":{"b":"c"}}', '{"a":{"b":"d","c":null}}', '{"a":{"b":"d"}}' },
  { '{"a":[{"b":"c"}]}', '{"a":[1]}', '{"a":[1]}' },
  { '["a","b"]', '["c","d"]', '["c","d"]' },
  { '{"a":"b"}', '["c"]', '["c"]' },
  { '{"a":"foo"}', "null", "null" },
  { '{"a":"foo"}', '"bar"', '"bar"' },
  { '{"e":null}', '{"a":1}', '{"a":1,"e":null}' },
  { "[1,2]", '{"a":"b","c":null}', '{"a":"b"}' },
  { "{}", '{"a":{"bb":{"ccc":null}}}', '{"a":{"bb":{}}}' },
  { '{"a":1}', "{}", '{"a":1}' },
  { '{"a":1}', '{"a":{"b":{"c":1}}}', '{"a":{"b":{"c":1}}}' },
  { '{"a":{"b":1}}', '{"a":{}}', '{"a":{"b":1}}' },
}

test("merge patches follow RFC 7386", function()
  for _, case in ipairs(MERGE_PATCHES) do
    local doc = json.decode(case[1])
    test.equal(text(kube.patch.merge(doc, json.decode(case[2]))), case[3])
    test.equal(text(doc), text(json.decode(case[1])))
  end
end)

-- { a, b, operations }
local DIFFS = {
  { '{"a":[1,{}]}', '{"a":[1,{}]}', "[]" },
  { "1", "1.0", "[]" },
  { '{"a":1}', '{"a":2}', '[{"op":"replace","path":"/a","value":2}]' },
  { '{"a":1}', '{"a":null}', '[{"op":"replace","path":"/a","value":null}]' },
  { '{"a":[]}', '{"a":{}}', '[{"op":"replace","path":"/a","value":{}}]' },
  { '{"a":1,"b":2}', '{"b":2}', '[{"op":"remove","path":"/a"}]' },
  { "{}", '{"a":{"b":{"c":1}}}', '[{"op":"add","path":"/a","value":{"b":{"c":1}}}]' },
  { '{"a/b":{"m~n":1}}', '{"a/b":{"m~n":2}}', '[{"op":"replace","path":"/a~1b/m~0n","value":2}]' },
  { "[1,2,3]", "[2,3]", '[{"op":"remove","path":"/0"}]' },
  { "[1,2,3,4]", "[1,4]", '[{"op":"remove","path":"/2"},{"op":"remove","path":"/1"}]' },
  { "[1,2,3]", "[1]", '[{"op":"remove","path":"/2"},{"op":"remove","path":"/1"}]' },
  { "[2,3]", "[1,2,3,4]", '[{"op":"add","path":"/0","value":1},{"op":"add","path":"/3","value":4}]' },
  { "[1,2,3]", "[1,5,3]", '[{"op":"replace","path":"/1","value":5}]' },
  { '[{"n":"a","v":1,"w":[1]},{"n":"b","v":1}]', '[{"n":"a","v":2,"w":[1]},{"n":"b","v":1}]',
    '[{"op":"replace","path":"/0/v","value":2}]' },
  { '[{"n":"a","v":1},{"n":"b","v":1}]', '[{"n":"b","v":1}]', '[{"op":"remove","path":"/0"}]' },
  { '{"x":1}', "[1]", '[{"op":"replace","path":"","value":[1]}]' },
}

test("the diff touches only what differs", function()
  for _, case in ipairs(DIFFS) do
    test.equal(text(kube.patch.diff(json.decode(case[1]), json.decode(case[2]))), case[3])
  end
end)

-- A random value; small, so that pairs of them share much.
local function random_value(random, depth)
  local kind = random(depth > 3 and 4 or 6)
  if kind == 1 then return json.null end
  if kind == 2 then return random(3) end
  if kind == 3 then return ({ "", "a", "/", "~1" })[random(4)] end
  if kind == 4 then return random(2) == 1 end
  local value = kind == 5 and json.array {} or json.object {}
  for i = 1, random(0, 4) do
    local key = kind == 5 and i or ({ "a", "b", "", "/", "~", "~0" })[random(6)]
    value[key] = random_value(random, depth + 1)
  end
  return value
end

test("applying a diff gives the other value, whatever they are", function()
  local state = 7
  local function random(low, high)
    if not high then low, high = 1, low end
    state = (state * 1103515245 + 12345) % 2147483648
    return low + (state >> 8) % (high - low + 1)
  end
  for _ = 1, 1500 do
    local a, b = random_value(random, 0), random_value(random, 0)
    local ops = kube.patch.diff(a, b)
    test.equal(text(kube.patch.json(a, ops)), text(b))
  end
end)

test("large lists are compared in bounded time", function()
  local a, b = json.array {}, json.array {}
  for i = 1, 3000 do a[i], b[i] = { n = i, l = { i, i } }, { n = 3001 - i, l = { i } } end
  test.equal(text(kube.patch.json(a, kube.patch.diff(a, b))), text(b))
end)
