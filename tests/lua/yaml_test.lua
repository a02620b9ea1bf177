local json = require "json"
local test = require "test"
local yaml = require "yaml"

local function as_json(text) return json.encode(yaml.decode(text), { sort = true }) end

test("plain scalars resolve as Kubernetes resolves them", function()
  for _, case in ipairs {
    { "y", true }, { "Yes", true }, { "on", true }, { "n", false }, { "No", false }, { "OFF", false },
    { "true", true }, { "False", false }, { "~", json.null }, { "Null", json.null }, { "", json.null },
    { "014", 12 }, { "0o14", 12 }, { "0x1F", 31 }, { "0b11", 3 }, { "1_000", 1000 }, { "08", 8.0 },
    { "-5", -5 }, { "+7", 7 }, { "1.5", 1.5 }, { "1e3", 1000.0 }, { ".5", 0.5 }, { "-.5e-2", -0.005 },
    { "12:30:45", "12:30:45" }, { "22:22", "22:22" }, { "2001-12-14", "2001-12-14" }, { "1.2.3", "1.2.3" },
    { "tRue", "tRue" }, { "0xZZ", "0xZZ" }, { "'1'", "1" }, { '"true"', "true" }, { "!!str 1", "1" },
    { "!!int '5'", 5 }, { "!!float 1", 1.0 }, { "!!binary aGk=", "hi" }, { "9223372036854775807", math.maxinteger },
    { "9223372036854775808", 2.0 ^ 63 }, { "-9223372036854775808", math.mininteger }, { "a b", "a b" },
  } do
    local value = yaml.decode("k: " .. case[1]).k
    test.equal(value, case[2])
    test.equal(math.type(value), math.type(case[2]))
  end
end)

test("blocks and flows are read", function()
  test.equal(as_json "a:\n- 1\n- b: [x, {w: z}]\n  c: |\n    one\n    two\n- >-\n  folded\n  text\n",
    '{"a":[1,{"b":["x",{"w":"z"}],"c":"one\\ntwo\\n"},"folded text"]}')
  test.equal(as_json "{}", "{}")
  test.equal(as_json "[]", "[]")
end)

test("keys become texts", function()
  test.equal(as_json "1: a\ntrue: b\n1.5: c\n", '{"1":"a","1.5":"c","true":"b"}')
  test.equal(as_json "y: 1", '{"true":1}')
  for _, text in ipairs { "~: d", "? \n: 1", "null: 1" } do
    test.raises("YAML", function() yaml.decode(text) end)
  end
end)

test("a number beyond all doubles is a text, and !!null takes only what is null", function()
  test.equal(as_json "a: 1e400", '{"a":"1e400"}')
  test.equal(as_json "a: !!null ~", '{"a":null}')
  test.raises("YAML", function() yaml.decode "a: !!null x" end)
end)

test("a key that is there twice is an error with its place", function()
  local err = test.raises("YAML", function() yaml.decode "a:\n  b: 1\n  b: 2\n" end)
  test.equal(err.line, 3)
  test.equal(err.column, 3)
  test.equal(err.path, "$.a")
  test.equal(yaml.decode("b: 1\nb: 2\n", { duplicates = "last" }).b, 2)
end)

test("aliases are copies", function()
  local value = yaml.decode "a: &x {k: [1]}\nb: *x\n"
  test.equal(json.encode(value.b), '{"k":[1]}')
  assert(value.a ~= value.b and value.a.k ~= value.b.k)
end)

test("merged members come after a mapping's own", function()
  test.equal(as_json "base: &b {a: 1, c: 2}\nother: &o {c: 3, d: 4}\nm:\n  a: 0\n  <<: [*b, *o]\n",
    '{"base":{"a":1,"c":2},"m":{"a":0,"c":2,"d":4},"other":{"c":3,"d":4}}')
end)

test("a bomb of aliases is stopped", function()
  local lines = { "a0: &a0 [x, x, x, x, x, x, x, x, x, x]" }
  for i = 1, 9 do
    lines[#lines + 1] = ("a%d: &a%d [%s]"):format(i, i, ("*a" .. (i - 1) .. ", "):rep(9) .. "*a" .. (i - 1))
  end
  test.raises("aliases", function() yaml.decode(table.concat(lines, "\n")) end)
end)

test("documents are read one by one, empty ones left out", function()
  local all = yaml.decode_all "---\na: 1\n---\n---\n- 2\n...\n"
  test.equal(json.encode(all), '[{"a":1},[2]]')
  test.raises("more than one", function() yaml.decode "a: 1\n---\nb: 2\n" end)
  test.equal(yaml.decode "---\na: 1\n---\n".a, 1)
end)

test("what cannot be read is named with its place", function()
  for _, case in ipairs {
    { "a: [1", 1 }, { "a:\n\t- b", 2 }, { "a: *x", 1 }, { "a: .inf", 1 }, { "? [1]\n: x", 1 }, { "a: !!int x", 1 },
    { "a: \255", 1 }, { "a: 'x", 1 }, { "- 1\nb: 2", 2 }, { "a: @x", 1 },
  } do
    local err = test.raises("YAML", function() yaml.decode(case[1]) end)
    test.equal(err.line .. " " .. case[1], case[2] .. " " .. case[1])
  end
  local err = test.raises("YAML", function() yaml.decode_all "a: 1\n---\nb: [\n" end)
  test.equal(err.document, 2)
  test.raises("500 deep", function() yaml.decode(("["):rep(600) .. ("]"):rep(600)) end)
end)

test("values are written in one way", function()
  test.equal(yaml.encode { b = { 1, { c = "x", a = { 2 } } }, a = json.array {}, e = {}, f = json.null, g = 1.5 },
    "a: []\nb:\n- 1\n- a:\n  - 2\n  c: x\ne: {}\nf: null\ng: 1.5\n")
  test.equal(yaml.encode { { { 1 } } }, "- - - 1\n")
  test.equal(yaml.encode "one\ntwo\n", "|\n  one\n  two\n")
  test.equal(yaml.encode { t = "one\n  two" }, "t: |-\n  one\n    two\n")
  test.equal(yaml.encode { t = "one\n\n" }, "t: |+\n  one\n\n")
  test.equal(yaml.encode { t = "  one\n" }, "t: |2\n    one\n")
end)

test("texts that mean something else are quoted", function()
  for _, text in ipairs {
    "", "yes", "y", "null", "~", "1", "1.5", "0x1f", "1_000", "12:30", "2001-12-14", ".5", "-", "- a", "a: b", "a #b",
    "a:", " a", "a ", "#a", "&a", "*a", "!a", "|", ">", "@a", "`a", "%a", "'a", '"a', "{a", "[a", "?", "? a", "=", "<<",
    "1e3", "+1", "-1", "é", "a\tb", "\1", "on", "True", ".inf", "---", "...", "a\r\nb", "\n", "x\n \ny", "0b1", "1:2",
    "\u{85}", "\u{80}", "\u{9f}", "\u{2028}", "\u{feff}x", "\u{fffe}", "\u{ffff}", "\u{1f600}", "\127", "a\u{2029}b ",
  } do
    local written = yaml.encode { k = text }
    test.equal(yaml.decode(written).k, text)
  end
  for _, text in ipairs { "a", "a b", "python:3.12", "a/b-c_d.e", "x=1", "10.0.0.1/24x", "{{$}}" } do
    local written = yaml.encode { k = text }
    test.equal(yaml.decode(written).k, text)
  end
  test.equal(yaml.encode { image = "python:3.12" }, "image: python:3.12\n")
end)

test("a character with a meaning is seen at every place of a text", function()
  for _, mark in ipairs { ": ", " #", "\127", "\1", "\n", "é", "\u{85}" } do
    for before = 1, 20 do
      local text = ("a"):rep(before) .. mark .. ("b"):rep(20 - before) .. "c"
      local written = yaml.encode { k = text }
      test.equal(yaml.decode(written).k, text)
      test.equal(written == "k: " .. text .. "\n", false)
    end
  end
  for before = 1, 20 do
    local text = ("a"):rep(before) .. ":#" .. ("b"):rep(20 - before)
    test.equal(yaml.encode { k = text }, "k: " .. text .. "\n")
  end
end)

test("long keys, a byte order mark and minus zero come back", function()
  local key = ("x"):rep(2000)
  test.equal(yaml.decode(yaml.encode { [key] = { a = 1 }, b = { [key] = { 1 } } })[key].a, 1)
  test.equal(as_json "\u{feff}a: 1\nb: 2\n", '{"a":1,"b":2}')
  test.equal(yaml.encode(yaml.decode(yaml.encode(-0.0))), "-0\n")
  test.equal(yaml.decode "v: 1000000000000000000000000000000000000000000000000000000000000000000000.0".v, 1e69)
  test.raises("more than one", function() yaml.decode "a: 1\n--- ''\n" end)
end)

test("any value comes back equal", function()
  local seed = 11
  local function random(n)
    seed = (seed * 1103515245 + 12345) % 2147483648
    return seed // 65536 % n + 1
  end
  local letters = {
    "a", "1", " ", "\n", ":", "#", "-", "é", "'", '"', "\t", "{", "]", ",", "&", "\\", "0", ".", "y", "=",
  }
  local function value(depth)
    local kind = random(depth > 4 and 5 or 7)
    if kind <= 2 then
      local parts = {}
      for i = 1, random(8) - 1 do parts[i] = letters[random(#letters)] end
      return table.concat(parts)
    elseif kind == 3 then return random(3000) - 1500
    elseif kind == 4 then return random(3000) / 7
    elseif kind == 5 then return ({ true, false, json.null })[random(3)]
    end
    local result = kind == 6 and json.array {} or json.object {}
    for i = 1, random(5) - 1 do
      local key = kind == 6 and i or "k" .. letters[random(#letters)] .. i
      result[key] = value(depth + 1)
    end
    return result
  end
  for _ = 1, 500 do
    local original = { v = value(0) }
    local text = yaml.encode(original)
    test.equal(json.encode(yaml.decode(text), { sort = true }), json.encode(original, { sort = true }))
    test.equal(yaml.encode(yaml.decode(text)), text)
  end
end)

test("in pieces it is the same document, and a long text is itself in it", function()
  local long, block = ("x"):rep(5000), ("line\n"):rep(500)
  local value = { { a = long, b = block, c = { long, long .. "y" } }, { a = long, list = json.array {} } }
  local pieces = yaml.encode(value, { pieces = true })
  test.equal(table.concat(pieces), yaml.encode(value))
  local count = 0
  for _, piece in ipairs(pieces) do count = count + (piece == long and 1 or 0) end
  test.equal(count, 3)
  test.same(yaml.decode(table.concat(pieces)), value)
  test.raises("YAML", function() yaml.encode({ a = long, b = print }, { pieces = true }) end)
end)

test("an object may have any number of members", function()
  for _, count in ipairs { 1, 12, 13, 200, 201, 3000 } do
    local value = {}
    for i = 1, count do value[("k%04d"):format(i)] = { i } end
    test.same(yaml.decode(yaml.encode(value)), value)
  end
end)
