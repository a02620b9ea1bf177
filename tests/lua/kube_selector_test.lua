-- Label and field selectors: syntax, matching, and the API server's words for what is wrong.
local kube = require "kube"
local test = require "test"

local A, B, C = { app = "web", tier = "1" }, { app = "db", tier = "2" }, { ["ex.io/n"] = "", tier = "x" }

-- { selector, canonical text, names of the objects it matches }
local GOOD = {
  { "", "", "ABC" }, { "app=web", "app=web", "A" }, { "app==web", "app==web", "A" }, { "app!=web", "app!=web", "BC" },
  { "app in (web,db)", "app in (db,web)", "AB" }, { "app notin (web)", "app notin (web)", "BC" },
  { "app", "app", "AB" }, { "!app", "!app", "C" }, { "tier>1", "tier>1", "B" }, { "tier<2", "tier<2", "A" },
  { "tier=1,app=web", "app=web,tier=1", "A" }, { " app = web , tier in ( 1 , 2 ) ", "app=web,tier in (1,2)", "A" },
  { "ex.io/n=", "ex.io/n=", "C" }, { "ex.io/n", "ex.io/n", "C" }, { "app in (,web)", "app in (,web)", "A" },
  { "app in ()", "app in ()", "" }, { "app in (web,,)", "app in (,web)", "A" }, { "in in (in,notin)",
    "in in (in,notin)", "" }, { "app=in", "app=in", "" }, { "app!=", "app!=", "ABC" }, { "app=web,app!=db",
    "app=web,app!=db", "A" }, { "tier>-1", nil }, { "app,", nil },
}

test("label selectors match as the API server's do", function()
  for _, case in ipairs(GOOD) do
    if case[2] then
      local selector = kube.selector(case[1])
      test.equal(tostring(selector), case[2])
      local matched = ""
      for name, labels in pairs { A = A, B = B, C = C } do
        if selector:matches(labels) then matched = matched .. name end
      end
      local sorted = {}
      for c in matched:gmatch "." do sorted[#sorted + 1] = c end
      table.sort(sorted)
      test.equal(table.concat(sorted), case[3])
      test.equal(tostring(kube.selector(case[2])), case[2])
    else
      test.raises("Selector", function() kube.selector(case[1]) end)
    end
  end
  test.equal(kube.selector("!a"):matches(nil), true)
  test.equal(kube.selector("a"):matches(nil), false)
end)

local NAME = "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric "
  .. "character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is "
  .. "'([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"
local VALUE = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must "
  .. "start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for "
  .. "validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?'"
local PREFIX = "unable to parse requirement: "

test("wrong label selectors are refused with the API server's words", function()
  for text, message in pairs {
    ["app in web"] = PREFIX .. "found 'web' expected: '('",
    ["app in ()x"] = "found 'x', expected: ',' or 'end of string'",
    ["=web"] = "found '=', expected: !, identifier, or 'end of string'",
    ["app=web,"] = "found '', expected: identifier after ','",
    ["a b"] = PREFIX .. "found 'b', expected: in, notin, =, ==, !=, gt, lt",
    ["app=web tier=1"] = "found 'tier', expected: ',' or 'end of string'",
    ["app=a!b"] = "found '!', expected: ',' or 'end of string'",
    ["tier>x"] = PREFIX .. 'values[0]: Invalid value: "x": for \'Gt\', \'Lt\' operators, the value must be an integer',
    ["tier>"] = PREFIX .. 'values[0]: Invalid value: "": for \'Gt\', \'Lt\' operators, the value must be an integer',
    ["app in (a"] = PREFIX .. "found '', expected: ',' or ')'",
    ["app in (a b)"] = PREFIX .. "found 'b', expected: ',' or ')'",
    ["app in (=)"] = PREFIX .. "found '=', expected: ',', ')' or identifier",
    ["!"] = PREFIX .. "found '', expected: identifier",
    ["!app=a"] = "found '=', expected: ',' or 'end of string'",
    ["a===b"] = PREFIX .. "found '=', expected: identifier",
    ["-a"] = PREFIX .. '<nil>: Invalid value: "-a": name part ' .. NAME,
    ["/a"] = PREFIX .. '<nil>: Invalid value: "/a": prefix part must be non-empty',
    ["a=-b"] = PREFIX .. 'values[0][a]: Invalid value: "-b": ' .. VALUE .. ")",
    ["a in (-b,_c)"] = PREFIX .. '[values[0][a]: Invalid value: "-b": ' .. VALUE
      .. '), values[1][a]: Invalid value: "_c": ' .. VALUE .. ")]",
    ["a=" .. ("x"):rep(64)] = PREFIX .. 'values[0][a]: Invalid value: "' .. ("x"):rep(64)
      .. '": must be no more than 63 bytes',
    [("x"):rep(64)] = PREFIX .. '<nil>: Invalid value: "' .. ("x"):rep(64)
      .. '": name part must be no more than 63 bytes',
  } do
    test.equal(test.raises("Selector", function() kube.selector(text) end).message, message)
  end
end)

test("a LabelSelector is a label selector too", function()
  local selector = kube.selector {
    matchLabels = { app = "web" },
    matchExpressions = {
      { key = "tier", operator = "In", values = { "1", "2" } }, { key = "old", operator = "DoesNotExist" },
      { key = "tier", operator = "Exists" }, { key = "app", operator = "NotIn", values = { "db" } },
    },
  }
  test.equal(selector:matches(A), true)
  test.equal(selector:matches(B), false)
  test.equal(kube.selector({}):matches(B), true)
  for _, expression in ipairs {
    { key = "a", operator = "Has" }, { key = "a", operator = "In" }, { key = "a", operator = "NotIn", values = {} },
    { key = "a", operator = "Exists", values = { "b" } }, { key = "a,b", operator = "Exists" },
    { key = "a", operator = "In", values = { "b),c in (d" } }, { operator = "Exists", key = "" },
  } do
    test.raises("Selector", function() kube.selector { matchExpressions = { expression } } end)
  end
  test.raises("Selector", function() kube.selector { matchLabels = { a = "b,c=d" } } end)
  test.raises("Selector", function() kube.selector { matchLabels = { ["a=b,c"] = "d" } } end)
  test.equal(tostring(kube.selector { matchLabels = { a = "" } }), "a=")
end)

test("requirements can be read", function()
  test.same(kube.selector("b in (2,1),!a"):requirements(), {
    { key = "a", operator = "!", values = {} }, { key = "b", operator = "in", values = { "1", "2" } } })
end)

test("selectors of very many requirements and values are read, in order, each value once", function()
  local many, values = {}, {}
  for i = 1, 3000 do
    many[i] = ("k%05d in (b,a,b)"):format(3001 - i)
    values[i] = ("v%05d"):format(3001 - i)
  end
  local requirements = kube.selector(table.concat(many, ",")):requirements()
  test.equal(#requirements, 3000)
  test.same({ requirements[1], requirements[3000] }, { { key = "k00001", operator = "in", values = { "a", "b" } },
    { key = "k03000", operator = "in", values = { "a", "b" } } })
  local selector = kube.selector(("k notin (%s,,v00001)"):format(table.concat(values, ",")))
  test.equal(#selector:requirements()[1].values, 3001)
  test.same({ selector:matches { k = "v02999" }, selector:matches { k = "w" }, selector:matches { k = "" } },
    { false, true, false })
  test.equal(tostring(kube.selector "a=2,b,a=1,a"), "a=2,a=1,a,b")
end)

test("very many values that are none are all said", function()
  local values = {}
  for i = 1, 300 do values[i] = "-" .. ("x"):rep(70) .. i end
  local said = test.raises("Selector", function()
    kube.selector(("k in (%s)"):format(table.concat(values, ",")))
  end).message
  test.equal(select(2, said:gsub("values%[%d+%]%[k%]: Invalid value", "")), 300)
end)

test("field selectors match objects and flat fields", function()
  local pod = { metadata = { name = "a" }, status = { phase = "Running" }, spec = { hostNetwork = true } }
  for text, matches in pairs {
    [""] = true, ["metadata.name=a"] = true, ["metadata.name==a"] = true, ["metadata.name!=a"] = false,
    ["metadata.name=a,status.phase=Running"] = true, ["spec.nodeName="] = true, ["spec.nodeName!="] = false,
    ["spec.hostNetwork=true"] = true, ["status.phase!=Running"] = false, [",metadata.name=a,"] = true,
  } do
    test.equal(kube.field_selector(text):matches(pod), matches)
  end
  test.equal(kube.field_selector("a=x\\,y\\=z\\\\"):matches { a = "x,y=z\\" }, true)
  test.equal(tostring(kube.field_selector "b==2,a!=x\\,y"), "a!=x\\,y,b=2")
  test.same(kube.field_selector("a=1"):requirements(), { { field = "a", operator = "=", value = "1" } })
end)

test("wrong field selectors are refused with the API server's words", function()
  for text, message in pairs {
    ["metadata.name"] = "invalid selector: 'metadata.name'; can't understand 'metadata.name'",
    ["status.phase in (Running)"] = "invalid selector: 'status.phase in (Running)'; can't understand "
      .. "'status.phase in (Running)'",
    ["a=b=c"] = "invalid field selector: unescaped character in value: 61",
    ["a=\\x"] = "invalid field selector: invalid escape sequence: \\x",
    ["a=b\\"] = "invalid field selector: invalid escape sequence: \\",
  } do
    test.equal(test.raises("Selector", function() kube.field_selector(text) end).message, message)
  end
end)
