local json = require "json"
local test = require "test"

local folder = debug.getinfo(1, "S").source:match "^@(.*/)" or "./"
local texts = dofile(folder .. "../fixtures/json/texts.lua")

test("the table has at least 250 texts", function()
  assert(#texts.same + #texts.accept + #texts.reject + #texts.doubles >= 250)
end)

test("texts in our own form come back byte by byte", function()
  for _, text in ipairs(texts.same) do test.equal(json.encode(json.decode(text)), text) end
end)

test("texts in another form come back in ours", function()
  for _, case in ipairs(texts.accept) do test.equal(json.encode(json.decode(case[1])), case[2]) end
end)

test("texts that are no JSON are refused at their place", function()
  for _, case in ipairs(texts.reject) do
    local value, err = json.try.decode(case[1])
    assert(value == nil and err, ("accepted: %q"):format(case[1]))
    test.equal(err.code, "JSON")
    if err.offset ~= case[2] then
      error(("%q: refused at byte %d, not %d: %s"):format(case[1], err.offset, case[2], err.message))
    end
  end
end)

test("a number is the nearest double, ties to even, and is written so that it reads back equal", function()
  for _, case in ipairs(texts.doubles) do
    local number = json.decode(case[1])
    test.equal(math.type(number), "float")
    test.equal(("%016x"):format(string.unpack(">I8", string.pack(">d", number))), ("%016x"):format(case[2]))
    local again = json.decode(json.encode(number))
    test.equal(again + 0.0, number)
  end
end)

test("a name that is there twice is refused, or the last one wins", function()
  for _, case in ipairs {
    { '{"a":1,"a":2}', '{"a":2}', 7 }, { '{"a":1,"\\u0061":2}', '{"a":2}', 7 },
    { '{"":1,"":2}', '{"":2}', 6 },
    { '{"a":null,"a":1}', '{"a":1}', 10 }, { '{"a":1,"a":null}', '{"a":null}', 7 },
    { '[{"a":1,"a":1}]', '[{"a":1}]', 8 }, { '{"a":{"b":1,"b":2}}', '{"a":{"b":2}}', 12 },
  } do
    local err = test.raises("JSON", function() json.decode(case[1]) end)
    test.equal(err.offset, case[3])
    test.equal(json.encode(json.decode(case[1], { duplicates = "last" })), case[2])
    test.raises("JSON", function() json.decode(case[1], { duplicates = "error" }) end)
  end
  test.equal(json.encode(json.decode '[{"a":1},{"a":2}]'), '[{"a":1},{"a":2}]')
  test.equal(json.encode(json.decode '{"A":{"a":1}}'), '{"A":{"a":1}}')
end)
