local json = require "json"
local test = require "test"

test("values come back byte by byte", function()
  for _, text in ipairs {
    "null", "true", "false", "0", "-1", "9223372036854775807", "-9223372036854775808", "[]", "{}", "-0",
    [["a"]], [["\"\\\n\u0001/é€😀"]], "[[],{}]", "0.1", "1.5", "1e+300", "5e-324", "1.7976931348623157e+308",
    "9007199254740993", "0.30000000000000004", "3.141592653589793", "1e-7", "0.000001", "123456789012345680000",
    [[{"a":[1,2,{"b":null}]}]],
  } do
    test.equal(json.encode(json.decode(text)), text)
  end
end)

test("numbers are integers where int64 holds them, else the nearest double", function()
  test.equal(math.type(json.decode "9223372036854775807"), "integer")
  test.equal(math.type(json.decode "9223372036854775808"), "float")
  test.equal(json.decode "9223372036854775808", 2.0 ^ 63)
  test.equal(math.type(json.decode "1.0"), "float")
  test.equal(json.encode(1.0), "1")
  test.equal(1 / json.decode "-0", -math.huge)
  test.equal(json.decode "1.00000000000000011102230246251565404236316680908203125", 1.0)
  test.equal(json.decode "1.00000000000000011102230246251565404236316680908203126", 1.0000000000000002)
  test.equal(json.decode "2.2250738585072011e-308", 2.2250738585072011e-308)
end)

test("wrong texts are refused at their place", function()
  for _, case in ipairs {
    { "", 0 }, { " ", 1 }, { "[1,]", 3 }, { "[1", 2 }, { '{"a" 1}', 5 }, { '{"a":1,}', 7 }, { "{a:1}", 1 },
    { "01", 1 }, { "1.", 2 }, { ".5", 0 }, { "+1", 0 }, { "1e", 2 }, { "-", 1 }, { "tru", 0 }, { "nul", 0 },
    { '"\1"', 1 }, { '"\\x"', 2 }, { '"\\ud800"', 1 }, { '"\\udc00"', 1 }, { '"\\ud800\\u0041"', 1 },
    { '"\255"', 1 }, { '"abc', 4 }, { "1 2", 2 }, { "[1] x", 4 }, { "1e999", 0 }, { '"\\u12g4"', 5 },
    { "\239\187\191[]", 0 }, { "[1\0]", 2 }, { '{"a":1,"a":2}', 7 }, { "NaN", 0 }, { "'a'", 0 }, { "[1 2]", 3 },
  } do
    local err = test.raises("JSON", function() json.decode(case[1]) end)
    test.equal(err.offset, case[2])
  end
end)

test("an error says line, column and path", function()
  local err = test.raises("JSON", function() json.decode '{"items": [\n  {"naïve": 1, "x": tru}]}' end)
  test.equal(err.path, "$.items[0].x")
  test.equal(err.line, 2)
  test.equal(err.column, 21)
end)

test("a name that cannot be read is empty in the path", function()
  for _, text in ipairs { '{"a":{"abcdefghijkl\1":1}}', '{"a":{"abcdefghijkl', '{"a":{"abcdefghijkl\255":1}}' } do
    local err = test.raises("JSON", function() json.decode(text) end)
    test.equal(err.path, "$.a['']")
  end
end)

test("a name that is there twice is an error, also in a large object, or the last wins", function()
  local members = {}
  for i = 1, 100 do members[i] = ('"k%d":%d'):format(i, i) end
  members[101] = '"k50":0'
  local text = "{" .. table.concat(members, ",") .. "}"
  local err = test.raises("JSON", function() json.decode(text) end)
  test.equal(err.offset, #text - 8)
  test.equal(json.decode(text, { duplicates = "last" }).k50, 0)
  test.equal(json.decode('{"a":1,"a":2}', { duplicates = "last" }).a, 2)
  local long = ("x"):rep(50)
  test.raises("JSON", function() json.decode(('{"%s":1,"%s":2}'):format(long, long)) end)
end)

test("members can be left out while reading", function()
  local value = json.decode('{"a":1,"managedFields":[{"x":1}],"b":{"managedFields":2}}',
    { skip = { managedFields = true } })
  test.equal(json.encode(value, { sort = true }), '{"a":1,"b":{}}')
end)

test("long arrays keep their order and their length", function()
  local parts = {}
  for i = 1, 1000 do parts[i] = i end
  local text = json.encode(json.array(parts))
  local value = json.decode(text)
  test.equal(#value, 1000)
  test.equal(value[129], 129)
  test.equal(json.encode(value), text)
end)

test("500 levels are read and written, 501 are not", function()
  local text = ("["):rep(500) .. ("]"):rep(500)
  test.equal(json.encode(json.decode(text)), text)
  test.raises("500 deep", function() json.decode("[" .. text .. "]") end)
  local value = {}
  for _ = 1, 500 do value = { value } end
  test.raises("500 deep", function() json.encode(value) end)
end)

test("what cannot be written is named with its place", function()
  local cycle = { a = {} }
  cycle.a.b = cycle
  for _, case in ipairs {
    { { x = { 1, print } }, "$.x[1]" }, { { a = 0 / 0 }, "$.a" }, { { a = math.huge }, "$.a" },
    { { a = "\255" }, "$.a" }, { cycle, "$.a.b" }, { { a = { 1, nil, 3 } }, "$.a" },
    { { [1] = 1, x = 2 }, "$" }, { json.object { [1] = 1 }, "$" }, { json.array { x = 1 }, "$" },
    { { [1.5] = 1 }, "$" }, { { [true] = 1 }, "$" },
  } do
    local err = test.raises("JSON", function() json.encode(case[1]) end)
    test.equal(err.path, case[2])
  end
end)

test("the members of small and large objects are sorted; elements of unmarked lists stay in their order", function()
  for _, count in ipairs { 1, 2, 31, 32, 33, 1000 } do
    local object, names, list = {}, {}, {}
    for i = 1, count do
      local name = ("%03x"):format(i * 617 % 1009)
      object[name], list[i] = i, name
      names[i] = name
    end
    table.sort(names)
    local members = {}
    for i, name in ipairs(names) do members[i] = ('"%s":%d'):format(name, object[name]) end
    test.equal(json.encode(object, { sort = true }), "{" .. table.concat(members, ",") .. "}")
    test.equal(json.encode(list, { sort = true }), '["' .. table.concat(list, '","') .. '"]')
  end
  test.raises("JSON", function() json.encode({ a = 1, [2] = 1 }, { sort = true }) end)
end)

test("decimals of few places are written as they are", function()
  for _, text in ipairs { "0.1", "0.000001", "0.00000123", "999999.999999999", "1000000.5", "0.1234567891", "-2.5" } do
    test.equal(json.encode(tonumber(text)), text)
  end
  test.equal(json.encode(1e-9), "1e-9")
end)

test("sorted and indented texts are the same each time", function()
  local value = { b = { 1, json.object {} }, a = json.array {}, ["é"] = json.null }
  test.equal(json.encode(value, { sort = true }), '{"a":[],"b":[1,{}],"é":null}')
  test.equal(json.encode(value, { sort = true, indent = 2 }),
    '{\n  "a": [],\n  "b": [\n    1,\n    {}\n  ],\n  "é": null\n}')
end)

test("null is the same value as lua-cjson's", function()
  test.equal(json.null, require "cjson".null)
end)

test("try gives nil and the error", function()
  local value, err = json.try.decode "["
  test.equal(value, nil)
  test.equal(err.code, "JSON")
end)

test("a copy is deep and keeps what arrays and objects are", function()
  local value = json.decode '{"a":[],"b":{},"c":[1,[2,{"d":null}]],"e":1.5}'
  local copy = json.copy(value)
  test.equal(json.encode(copy, { sort = true }), json.encode(value, { sort = true }))
  copy.c[2][2].d = 7
  copy.b.x = 1
  test.equal(json.encode(value, { sort = true }), '{"a":[],"b":{},"c":[1,[2,{"d":null}]],"e":1.5}')
  test.same(json.copy { 1, 2, x = { 3 } }, { 1, 2, x = { 3 } })
  test.equal(json.copy "text", "text")
  local circle = {}
  circle.circle = circle
  test.raises("circle", function() json.copy(circle) end)
end)
