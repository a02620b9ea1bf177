local test = require "test"
local declare = require "cli.declare"
local words = require "cli.words"
local help = require "cli.help"

local command = declare.command {
  name = "hello",
  summary = "Greets.",
  arguments = { { "NAME", "whom to greet" }, { "[FILE…]", "what else to say" } },
  options = {
    { "-o, --output FILE", "where to write" },
    { "-n, --count N", "how often", type = "int", default = 1, min = 1 },
    { "--wait TIME", "how long", type = "duration" },
    { "--param K=V", "a parameter", type = "pair", repeated = true },
    { "--tone TONE", "how", choices = { "loud", "soft" } },
    { "-v, --dry-run", "do nothing" },
  },
  run = function() end,
}

local function parse(...)
  return words.parse(command, { ... })
end

local function refuses(message, ...)
  local given = { ... }
  local problem = test.raises("Usage", function() words.parse(command, given) end)
  test.equal(problem.message, message)
end

test("options may stand in any form and order", function()
  for _, given in ipairs {
    { "ann", "-o", "x" }, { "-ox", "ann" }, { "--output", "x", "ann" }, { "--output=x", "ann" },
    { "-vox", "ann" },
  } do
    local args = words.parse(command, given)
    test.equal(args.output, "x")
    test.equal(args.name, "ann")
  end
end)

test("options that were not given are false, their default or an empty list", function()
  local args = parse "ann"
  test.equal(args.dry_run, false)
  test.equal(args.count, 1)
  test.equal(args.output, nil)
  test.same(args.param, {})
  test.same(args.file, {})
end)

test("after -- every word is an argument", function()
  local args = parse("ann", "--", "-o", "--help")
  test.same(args.file, { "-o", "--help" })
end)

test("a lone dash is an argument", function()
  test.equal(parse("-").name, "-")
end)

test("values are typed", function()
  local args = parse("ann", "-n3", "--wait", "500ms", "--param", "a=1=2", "--param=b=")
  test.equal(args.count, 3)
  test.equal(args.wait, 0.5)
  test.same(args.param, { { name = "a", value = "1=2" }, { name = "b", value = "" } })
  test.equal(parse("ann", "--wait", "2m").wait, 120)
  test.equal(parse("ann", "--wait", "1.5").wait, 1.5)
end)

test("a wrong value is named with what it should be", function()
  refuses("--count: 'x' is not a whole number", "ann", "--count", "x")
  refuses("-n: 0 is less than 1", "ann", "-n", "0")
  refuses("--wait: '5 parsecs' is not a time such as 500ms, 30s or 5m", "ann", "--wait", "5 parsecs")
  refuses("--param: 'a' is not NAME=VALUE", "ann", "--param", "a")
  refuses("--tone: 'shrill' is none of loud, soft", "ann", "--tone", "shrill")
end)

test("what is missing or too much is named", function()
  refuses "NAME is missing"
  refuses("--output needs a value: --output FILE", "ann", "--output")
  refuses("--dry-run takes no value ('yes' was given)", "ann", "--dry-run=yes")
  refuses("--output was given twice", "ann", "--output", "a", "--output", "b")
  local single = declare.command { name = "one", run = print, arguments = { { "[A]", "" } } }
  local problem = test.raises("Usage", function() words.parse(single, { "a", "b" }) end)
  test.equal(problem.message, "'b' is one word too many")
end)

test("an unknown option suggests the nearest", function()
  refuses("unknown option '--outptu' (did you mean --output?)", "ann", "--outptu", "x")
  refuses("unknown option '--dry' (did you mean --dry-run?)", "ann", "--dry")
  refuses("unknown option '--zzz'", "ann", "--zzz")
  refuses("unknown option '-x'", "ann", "-x")
end)

test("a repeated argument leaves words for those after it", function()
  local copy = declare.command {
    name = "copy", run = print, arguments = { { "SOURCE…", "" }, { "TARGET", "" } },
  }
  local args = words.parse(copy, { "a", "b", "c" })
  test.same(args.source, { "a", "b" })
  test.equal(args.target, "c")
  test.raises("Usage", function() words.parse(copy, { "a" }) end)
end)

test("--help is answered whatever else is missing", function()
  test.equal(parse("--help").help, true)
end)

test("the help says everything the table says", function()
  test.golden("cli-help", help.text(command, 80))
end)
