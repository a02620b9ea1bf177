-- JSONPath in kubectl's dialect: what is found, how it is printed, and what is refused.
local json = require "json"
local kube = require "kube"
local test = require "test"

local LIST = json.decode [[{"kind":"List","items":[
  {"metadata":{"name":"a","labels":{"kubernetes.io/os":"linux","x-y":"<&>"}},"n":3,"f":1.5,"ok":true,
   "ips":[{"type":"in","ip":"10.0.0.1"}],"none":null},
  {"metadata":{"name":"b"},"n":5,"f":2500000.5,
   "ips":[{"type":"in","ip":"10.0.0.2"},{"type":"out","ip":"10.0.0.3"}]}],
  "users":[{"name":"u"},{"name":"v","user":{"password":"secret"}}],"empty":[],"map":{}}]]

-- { template, text }
local GOOD = {
  { "hello", "" }, { "text {.kind}!", "text List!" }, { "{.kind}", "List" }, { ".kind", "List" }, { "kind", "List" },
  { "{.items[0].metadata.name}", "a" }, { "{.items[-1].metadata.name}", "b" }, { "{.items[*].metadata.name}", "a b" },
  { "{.items[0:1].metadata.name}", "a" }, { "{.items[:].n}", "3 5" }, { "{.items[1:].n}", "5" },
  { "{.items[-2:].n}", "3 5" }, { "{.items[::2].n}", "3" }, { "{.items[0:0].n}", "" }, { "{.items[0,1].n}", "3 5" },
  { "{.items[*]['metadata.name','n']}", "a b 3 5" }, { "{['kind']}", "List" }, { "{@.kind}", "List" },
  { "{$.kind}", "List" }, { "{.items[0].metadata.labels.kubernetes\\.io/os}", "linux" },
  { "{.items[0].metadata.labels['kubernetes\\.io/os']}", "linux" }, { "{.items[0].metadata.labels.x-y}", "<&>" },
  { '{.items[?(@.n>3)].metadata.name}', "b" }, { '{.items[?(@.n<=3)].metadata.name}', "a" },
  { '{.items[?(@.metadata.name=="b")].n}', "5" }, { "{.items[?(@.metadata.name=='b')].n}", "5" },
  { '{.items[?(@.n!=3)].n}', "5" }, { "{.items[?(@.ok)].n}", "3" }, { "{.items[?(@.ok==true)].n}", "3" },
  { '{.items[*].ips[?(@.type=="out")].ip}', "10.0.0.3" }, { '{.users[?(@.user.password)].name}', "v" },
  { '{.users[?(@.name=="v")].user.password}', "secret" }, { "{..ip}", "10.0.0.1 10.0.0.2 10.0.0.3" },
  { "{..ips[0].ip}", "10.0.0.1 10.0.0.2" }, { "{.items[0].ips[0].*}", "10.0.0.1 in" },
  { "{.users[*].name}", "u v" }, { "{.users[1].user}", '{"password":"secret"}' }, { "{.empty}", "[]" },
  { "{.map}", "{}" }, { "{.items[0].none}", "null" }, { "{.items[0].ok}", "true" }, { "{.items[*].f}",
    "1.5 2.5000005e+06" },
  { "{.items[0].metadata.labels}", '{"kubernetes.io/os":"linux","x-y":"\\u003c\\u0026\\u003e"}' },
  { "{.missing}", "" }, { "{.missing[0]}", "" }, { '{"a\\tb\\u00e9"}', "a\tbé" }, { "{'it is'}", "it is" },
  { '{range .items[*]}{.metadata.name}={.n}{"\\n"}{end}', "a=3\nb=5\n" },
  { "{range .items[*]}[{.metadata.name}, {.n}] {end}", "[a, 3] [b, 5] " },
  { "{range .items[*]}{.metadata.name}:{range .ips[*]}{.ip},{end};{end}", "a:10.0.0.1,;b:10.0.0.2,10.0.0.3,;" },
  { "{range .empty[*]}never{end}after", "after" }, { "{range .items[*]}{@.n} {end}done", "3 5 done" },
  { "{.kind} {.users[0].name}", "List u" }, { "{1.5} {7} {true}", "1.5 7 true" },
}

test("templates find and print what kubectl finds and prints", function()
  for _, case in ipairs(GOOD) do
    test.equal((kube.jsonpath(case[1], LIST)), case[2])
  end
end)

test("the values come too, each as a value of its own", function()
  local _, values = kube.jsonpath("{.items[*].ips}", LIST)
  test.equal(#values, 2)
  values[1][1].ip = "changed"
  test.equal(LIST.items[1].ips[1].ip, "10.0.0.1")
  test.equal(json.encode(select(2, kube.jsonpath("{.empty}", LIST))), "[[]]")
end)

test("wrong templates are refused in the words of kubectl", function()
  for template, message in pairs {
    ["{.kind"] = "unclosed action", ["{.kind\n}"] = "unclosed action", ["{.items[0}"] = "unterminated array",
    ["{.items[x]}"] = "invalid array index x", ["{.items[1:2:3:4]}"] = "invalid array index 1:2:3:4",
    ["{.items[-]}"] = "array index - is not a number", ["{.items[?(@.n==3]}"] = "unterminated filter",
    ["{.items[?(@.n==3)}"] = "unclosed array expect ]", ['{"abc}'] = "unterminated quoted string",
    ["{.a....b}"] = "invalid multiple recursive descent", ["{=}"] = "unrecognized character in action: U+003D '='",
    ["{1.2.3}"] = "cannot parse number 1.2.3", ["{'a\\q'}"] = "unquote string 'a\\q' error invalid syntax",
    ["{foo}"] = "unrecognized identifier foo", ["{end}"] = "not in range, nothing to end",
    ["{.items[5]}"] = "array index out of bounds: index 5, length 2",
    ["{.items[0:5]}"] = "array index out of bounds: index 4, length 2",
    ["{.items[1:0]}"] = "starting index 1 is greater than ending index 0",
    ["{.items[0:2:0]}"] = "step must be > 0", ["{.kind[0]}"] = "string is not array or slice",
    ["{.kind[?(@.a==1)]}"] = "List is not array or slice and cannot be filtered",
    ['{.items[?(@.n=="3")]}'] = "incompatible types for comparison",
    ["{.items[?(@.metadata==1)]}"] = "invalid type for comparison",
    ["{.items[?(@.n===3)]}"] = "unrecognized filter operator ===",
    ['{.items[?(@..ip=="x")]}'] = "can only compare one element at a time",
  } do
    test.equal(test.raises("JSONPath", function() kube.jsonpath(template, LIST) end).message, message)
  end
end)

test("missing fields are errors when that is asked", function()
  local err = test.raises("JSONPath", function() kube.jsonpath("{.missing}", LIST, { strict = true }) end)
  test.equal(err.message, "missing is not found")
  test.equal((kube.jsonpath("{.kind}", LIST, { strict = true })), "List")
end)

test("no template runs without bounds", function()
  test.raises("JSONPath", function() kube.jsonpath(("{range .items[*]}"):rep(200), LIST) end)
  local deep = "@"
  for _ = 1, 80 do deep = ("@[?(%s)]"):format(deep) end
  test.raises("JSONPath", function() kube.jsonpath("{" .. deep .. "}", LIST) end)
  test.raises("JSONPath", function() kube.jsonpath("{.." .. ("*.."):rep(40) .. "*}", { { { 1, 2 }, { 3 } } }) end)
end)
