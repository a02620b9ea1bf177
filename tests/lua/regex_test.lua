-- Regular expressions: what they find is what Go's regexp finds.
local fs = require "fs"
local json = require "json"
local regex = require "regex"
local test = require "test"

local function find(pattern, text)
  local first, last, groups = regex.compile(pattern):find(text)
  if not first then return nil end
  for i, group in ipairs(groups) do groups[i] = group or "-" end
  return ("%d-%d(%s)"):format(first, last, table.concat(groups, ","))
end

test("the leftmost match is found, the first alternative wins", function()
  for _, case in ipairs {
    { "a", "xxa", "3-3()" }, { "a|ab", "ab", "1-1()" }, { "(a|ab)(c|bcd)", "abcd", "1-4(a,bcd)" },
    { "(a+)(b*)", "aaab", "1-4(aaa,b)" }, { "(a+?)(b*)", "aaab", "1-1(a,)" }, { "x*", "aaa", "1-0()" },
    { "(a)|b", "b", "1-1(-)" }, { "^b", "ab", nil }, { "(?m)^b", "a\nb", "3-3()" }, { "a$", "ba", "2-2()" },
    { "a.c", "a\nc", nil }, { "(?s)a.c", "a\nc", "1-3()" }, { "[[:alpha:]_]+", "12ab_3", "3-5()" },
    { "[^0-9]+", "12ab", "3-4()" }, { "\\bfoo\\b", "a foo!", "3-5()" }, { "(?i)ABC", "xabc", "2-4()" },
    { "a{2,3}", "aaaa", "1-3()" }, { "a{2,}?", "aaaa", "1-2()" }, { "a{0}b", "ab", "2-2()" },
    { "a{,2}", "a{,2}", "1-5()" },
    { "(?:ab)+", "ababa", "1-4()" }, { "(?P<n>x)y", "xy", "1-2(x)" }, { "é.", "aéü", "2-5()" },
    { "[à-ü]", "aéb", "2-3()" }, { "\\x41\\x{42}", "AB", "1-2()" }, { "\\Qa.b\\E", "axb a.b", "5-7()" },
    { "[]a]+", "x]a", "2-3()" }, { "[a-]+", "b-a", "2-3()" }, { "(|a)+", "aaa", "1-0()" },
    { "\\d+\\.\\d*", "v12.", "2-4()" },
    { "(a*)*", "b", "1-0()" }, { "[^\\s]+", "  ab ", "3-4()" }, { "(?U)a+", "aaa", "1-1()" },
  } do
    test.equal(find(case[1], case[2]) or "none", case[3] or "none")
  end
end)

test("nothing is read behind the end of a text", function()
  test.equal(find("(?m).^(?)*x?", "a") or "none", "none")
  test.equal(find("a.?$", "xa"), "2-2()")
  test.equal(find("a.\\b", "xa") or "none", "none")
end)

test("Katib's default filter splits names and values", function()
  local filter = regex.compile [[([\w|-]+)\s*=\s*([+-]?\d*(\.\d+)?([Ee][+-]?\d+)?)]]
  local at, found, text = 1, {}, "epoch 1 accuracy=0.91, val-loss = -1e-3"
  while true do
    local first, last, groups = filter:find(text, at)
    if not first then break end
    found[#found + 1] = groups[1] .. ":" .. groups[2]
    at = last + 1
  end
  test.same(found, { "accuracy:0.91", "val-loss:-1e-3" })
  test.equal(filter:groups(), 4)
end)

test("what is no expression is refused in Go's words", function()
  for pattern, message in pairs {
    ["(a"] = "missing closing ): `(a`", ["a)"] = "unexpected ): `a)`", ["[a"] = "missing closing ]: `[a`",
    ["*a"] = "missing argument to repetition operator: `*`", ["a**"] = "invalid nested repetition operator: `**`",
    ["\\y"] = "invalid escape sequence: `\\y`", ["[z-a]"] = "invalid character class range: `z-a`",
    ["a{1001}"] = "invalid repeat count: `{1001}`", ["a\\"] = "trailing backslash at end of expression: ``",
    ["(?=a)"] = "invalid or unsupported Perl syntax: `(?=`",
  } do
    local err = test.raises("Regex", function() regex.compile(pattern) end)
    test.equal(err.message, "error parsing regexp: " .. message)
  end
end)

test("an expression that other engines choke on takes linear time", function()
  local expression = regex.compile "(a*)*(a|aa)+$"
  assert(not expression:matches(("a"):rep(2000) .. "b"))
  test.raises("Regex", function() regex.compile("((((a{100}){100}){100}){100})") end)
end)

test("a million nested groups are refused, not recursed into", function()
  test.raises("Regex", function() regex.compile(("("):rep(100000) .. "a" .. (")"):rep(100000)) end)
end)

local function as_go(case)
  local ok, expression = pcall(regex.compile, case.pattern)
  if not ok then return expression.message end
  local first, last, groups = expression:find(case.text)
  if not first then return "none" end
  return { case.text:sub(first, last), first - 1, table.unpack(groups) }
end

local function of_go(case)
  if type(case.go) ~= "table" then return case.go == json.null and "none" or case.go end
  local want = { case.text:sub(case.go[1] + 1, case.go[2]), case.go[1] }
  for i = 3, #case.go, 2 do
    want[#want + 1] = case.go[i] >= 0 and case.text:sub(case.go[i] + 1, case.go[i + 1])
  end
  return want
end

test("600 random patterns match as in Go", function()
  for line in fs.read("tests/fixtures/regex/go.jsonl"):gmatch "[^\n]+" do
    local case = json.decode(line)
    test.same({ case.pattern, as_go(case) }, { case.pattern, of_go(case) })
  end
end)
