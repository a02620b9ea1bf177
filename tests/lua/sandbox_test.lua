local test = require "test"
local errors = require "errors"
local sandbox = require "sandbox"

local function fails(code, source, line, options)
  options = options or { timeout = "20ms" }
  local value, err = sandbox.run(source, options)
  test.equal(value, nil)
  if not errors.is(err, code) then error(("want %s, got %s"):format(code, tostring(err)), 2) end
  test.equal(err.path, "sandbox")
  if line then test.equal(err.line, line) end
  return err
end

test("code returns its values", function()
  test.same(table.pack(sandbox.run "return 1, 'two', { 3, three = { 4 } }, nil, false, 2.5"),
    { 1, "two", { 3, three = { 4 } }, nil, false, 2.5, n = 6 })
end)

test("globals are copied in and results are copied out", function()
  local given = { list = { 1, 2 } }
  local got = sandbox.run("list[3] = 3; return list", { globals = given })
  test.same(got, { 1, 2, 3 })
  test.same(given, { list = { 1, 2 } })
end)

test("what tables share stays shared", function()
  local got = sandbox.run "local t = {}; for _ = 1, 60 do t = { t, t } end; return t"
  test.equal(got[1], got[2])
end)

test("a cycle is an error with a path", function()
  local value, err = sandbox.run "local t = { a = { {} } }; t.a[1].back = t; return t"
  test.equal(value, nil)
  test.equal(errors.is(err, "Value"), true)
  test.equal(err.path, ".a[1].back")
  local globals = {}
  globals.me = globals
  test.equal(select(2, sandbox.run("return 1", { globals = globals })).code, "Value")
end)

test("functions and coroutines do not cross", function()
  for _, code in ipairs { "return { f = print or pcall }", "return { f = coroutine.create(pcall) }" } do
    local _, err = sandbox.run(code)
    test.equal(err.code, "Value")
    test.equal(err.path, ".f")
  end
  test.equal(select(2, sandbox.run("return 1", { globals = { f = print } })).code, "Value")
end)

test("an error names file and line", function()
  local err = fails("Script", "local x = 1\nerror 'boom'", 2)
  test.equal(err.message, "boom")
  fails("Script", "\n\nlocal t = nil; return t.x", 3)
  fails("Syntax", "return 1 +\n\nlocal", 3)
end)

test("an error table of the code keeps its fields", function()
  local _, err = sandbox.run "error { code = 'Odd', message = 'it was odd', more = { 1 } }"
  test.equal(errors.is(err, "Odd"), true)
  test.same(err.more, { 1 })
  test.equal(tostring(err):match "^Odd: it was odd", "Odd: it was odd")
end)

test("nothing of the system can be reached", function()
  for _, name in ipairs {
    "io", "package", "dofile", "loadfile", "print", "os.execute", "os.getenv", "os.exit", "os.remove",
    "os.rename", "os.tmpname", "os.setlocale", "debug.sethook", "debug.getregistry", "debug.getinfo",
    "debug.getmetatable", "debug.setupvalue", "string.dump",
  } do
    test.equal(name .. " " .. tostring(sandbox.run("return " .. name)), name .. " nil")
  end
  fails("Script", "require 'io'", 1)
  fails("Script", "require 'host'", 1)
end)

test("bytecode is refused", function()
  local dump = string.dump(function() return 1 end)
  test.equal(select(2, sandbox.run(dump)).code, "Syntax")
  test.same(table.pack(sandbox.run("return (load(dump))", { globals = { dump = dump } })), { n = 1 })
end)

test("the methods of strings cannot be changed", function()
  test.equal(sandbox.run "string.len = function() return 7 end; return ('abc'):len()", 3)
  test.equal(sandbox.run "return getmetatable('')", "string")
end)

test("finalizers are refused", function()
  fails("Script", "setmetatable({}, { __gc = function() while true do end end })", 1)
  fails("Script", "\nsetmetatable({}, { __gc = true })", 2)
end)

test("what a sandbox returns normally is what Lua returns", function()
  local source = [[
    local out = {}
    local function add(...) out[#out + 1] = table.pack(...) end
    local list = { 3, 1, 2 }
    table.sort(list); add(table.concat(list, ","))
    table.sort(list, function(a, b) return a > b end); add(table.concat(list, ",", 1, 2))
    table.insert(list, 9); table.insert(list, 1, 8); add(table.unpack(list))
    add(table.remove(list, 1), table.remove(list), #list, table.remove {}, table.remove({}, 0))
    add(table.unpack(table.move({ 1, 2, 3 }, 1, 3, 2)))
    add(table.unpack(table.move({ 1, 2, 3 }, 2, 3, 1)))
    add(("ab"):rep(3, "-"), ("x"):rep(0), ("x"):rep(1, "y"), (""):rep(5, ","))
    add(("%5.1f|%s|%q|%d"):format(1.25, "x", "a\nb", 3))
    add(pcall(error, "e", 0)); add(xpcall(error, function(m) return m .. "!" end, "e"))
    add(xpcall(function(...) return ... end, error, 1, 2))
    add(select("#", load "return ..." (1, nil, 3)), load("return x", "n", "t", { x = 5 })())
    local parts = { "return ", "4", "2" }
    add(load(function() return table.remove(parts, 1) end)())
    local co = coroutine.wrap(function(a) local b = coroutine.yield(a + 1); error("in " .. b, 0) end)
    add(co(1)); add(pcall(co, "it")); add(pcall(co))
    local c2 = coroutine.create(function()
      local x <close> = setmetatable({}, { __close = function() add "closed" end })
      coroutine.yield(1)
    end)
    add(coroutine.resume(c2)); add(coroutine.close(c2)); add(coroutine.status(c2), coroutine.resume(c2))
    local waiting = coroutine.wrap(function()
      return xpcall(function() coroutine.yield(1); return 2 end, error)
    end)
    add(xpcall(waiting, error)); add(waiting())
    return out]]
  local got, err = sandbox.run(source)
  test.equal(err, nil)
  test.same(got, load(source)())
end)

-- --- the deadline ----------------------------------------------------------------------------------

local endless = {
  ["a plain loop"] = "while true do end",
  ["a loop under pcall"] = "\nwhile true do pcall(function() while true do end end) end",
  ["a chain of pcalls"] = "local function f() return pcall(f) or f() end f()",
  ["a loop under xpcall"] = "while true do xpcall(function() while true do end end, function() end) end",
  ["a loop in an error handler"] = "xpcall(error, function() while true do end end)",
  ["a loop in an error handler after the stop"] =
    "xpcall(function() while true do end end, function() while true do end end)",
  ["a loop in a coroutine"] = "local f = coroutine.wrap(function() while true do end end) f()",
  ["a loop that resumes endless coroutines"] =
    "while true do coroutine.resume(coroutine.create(function() while true do end end)) end",
  ["a loop in coroutines in coroutines"] =
    "local function f() return coroutine.wrap(function() pcall(f) while true do end end)() end f()",
  ["a coroutine that yields for ever"] =
    "local f = coroutine.wrap(function() while true do coroutine.yield() end end) while true do f() end",
  ["a metamethod"] = "return setmetatable({}, { __index = function() while true do end end }).x",
  ["a comparison"] = "local m = { __lt = function() while true do end end } "
    .. "return setmetatable({}, m) < setmetatable({}, m)",
  ["a close variable"] =
    "local x <close> = setmetatable({}, { __close = function() while true do end end })",
  ["a close variable after the stop"] =
    "local x <close> = setmetatable({}, { __close = function() while true do end end }) while true do end",
  ["a close variable of a closed coroutine"] = [[
    local c = coroutine.create(function()
      local x <close> = setmetatable({}, { __close = function() while true do end end })
      coroutine.yield()
    end)
    coroutine.resume(c)
    coroutine.close(c)]],
  ["a tostring"] = "return tostring(setmetatable({}, { __tostring = function() while true do end end }))",
  ["a loop of goto"] = "::again:: goto again",
  ["a recursion"] = "local function f() return f() end f()",
  ["a for loop"] = "for i = 1, math.maxinteger do end",
  ["a pattern bomb"] = "return (('a'):rep(40)):find(('a?'):rep(40) .. ('a'):rep(60))",
  ["a pattern of stars"] = "return (('a'):rep(200)):match(('.*'):rep(20) .. 'b')",
  ["a pattern under pcall"] = "while true do pcall(string.find, ('a'):rep(200), ('.-'):rep(20) .. 'b') end",
  ["a gsub with a function of C"] = "while true do (('a'):rep(1000000)):gsub('', pcall) end",
  ["a plain search"] =
    "local a = ('a'):rep(2000000) while true do a:find(('a'):rep(1000000) .. 'b', 1, true) end",
  ["a sort"] = "local t = {} for i = 1, 300000 do t[i] = -i end while true do table.sort(t) end",
  ["a sort with a function of C"] =
    "local t = {} for i = 1, 300000 do t[i] = i end while true do table.sort(t, math.ult) end",
  ["a move of nothing"] = "table.move({}, 1, math.maxinteger - 1, 2)",
  ["a concat of what a metamethod says"] =
    "table.concat(setmetatable({}, { __len = function() return math.maxinteger end, __index = rawlen }))",
  ["an insert into what a metamethod says"] =
    "table.insert(setmetatable({}, { __len = function() return 1 << 60 end }), 1, 1)",
  ["a removal from what a metamethod says"] =
    "table.remove(setmetatable({}, { __len = function() return 1 << 60 end }), 1)",
  ["a repetition of nothing"] = "while true do (''):rep(math.maxinteger) end",
  ["a reader without end"] = "load(function() return ' ' end)",
  ["a great program"] = "local s = 'x = 1 ' .. ('x = x + 1 '):rep(400000) while true do load(s) end",
  ["a text that is a number"] = "local s = ('1'):rep(100000) while true do local _ = s + 0 end",
  ["a loop in an iterator"] = "for _ in function() while true do end end do end",
  ["errors that are made of errors"] =
    "local function f() return pcall(error, setmetatable({}, { __tostring = f })) end while true do f() end",
}

for name, source in pairs(endless) do
  test(name .. " is stopped and named", function()
    local err = fails("Timeout", source)
    test.equal(math.type(err.line), "integer")
    test.equal(tostring(err):match "sandbox, line %d+", "sandbox, line " .. err.line)
  end)
end

test("the line that is named is the line of the loop", function()
  fails("Timeout", "local x = 1\n\nwhile true do end", 3)
  fails("Timeout", "\nlocal function f()\n\n  while true do end\nend\npcall(f)", 4)
end)

test("a sandbox can be used after one was stopped", function()
  fails("Timeout", "while true do end", 1)
  test.equal(sandbox.run "return 1", 1)
end)

-- --- memory ------------------------------------------------------------------------------------------

local bombs = {
  ["a text that doubles"] = "local s = 'x'\nwhile true do s = s .. s end",
  ["a table that grows"] = "local t = {}\nfor i = 1, math.huge do t[i] = {} end",
  ["a repetition"] = "\nreturn ('x'):rep(1 << 40)",
  ["a repetition with overflow"] = "\nreturn ('xyz'):rep(math.maxinteger)",
  ["a format"] = "local s = ('x'):rep(1 << 20)\nreturn ('%s'):rep(50):format(table.unpack((function() "
    .. "local t = {} for i = 1, 50 do t[i] = s end return t end)()))",
  ["a quotation"] = "local s = ('\\0'):rep(1 << 19)\nreturn ('\\0%q'):format(s)",
  ["a concat"] = "local t, s = {}, ('x'):rep(1 << 18) for i = 1, 50 do t[i] = s end\nreturn table.concat(t)",
  ["a substitution"] = "local s = ('x'):rep(1 << 12)\nreturn s:gsub('x', s)",
  ["a bomb in a coroutine"] = "\nreturn coroutine.wrap(function() return ('x'):rep(1 << 40) end)()",
  ["coroutines without end"] = "local t = {}\nwhile true do t[#t + 1] = coroutine.create(function() end) end",
}

for name, source in pairs(bombs) do
  test(name .. " runs out of its own memory and is named", function()
    fails("Memory", source, 2, { timeout = 20, memory = 4 << 20 })
  end)
end

test("code may catch that its memory is out and go on", function()
  test.equal(sandbox.run("return (pcall(string.rep, 'x', 1 << 40))"), false)
end)

test("a bomb under pcall ends at the deadline", function()
  fails("Timeout", "while true do pcall(string.rep, 'x', 1 << 40) end", 1)
  fails("Timeout", "while true do pcall(function() local s = 'x' while true do s = s .. s end end) end", 1,
    { timeout = "50ms", memory = 1 << 20 })
end)

test("misuse raises", function()
  test.raises("bad argument", function() sandbox.run() end)
  test.raises("bad argument", function() sandbox.run("return 1", { timeout = "soon" }) end)
  test.raises("bad argument", function() sandbox.run("return 1", { globals = 1 }) end)
  test.raises("bad argument", function() sandbox.run("return 1", { memory = 1 }) end)
end)
