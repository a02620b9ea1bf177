local test = require "test"
local json = require "json"
local sandbox = require "sandbox"

local function open(code, options)
  local box = sandbox.open(options or { memory = 4 << 20, modules = { "json" } })
  local _, problem = box:run(code, "@site.lua", "1s")
  if problem then error(problem, 0) end
  return box
end

test("a kept sandbox keeps its values from call to call", function()
  local box <close> = open "local exports = ...; local n = 0; function exports.add(by) n = n + by; return n end"
  test.equal(box:call("add", 1, 2), 2)
  test.equal(box:call("add", 1, 40), 42)
end)

test("a call that does not end is stopped and the sandbox goes on", function()
  local box <close> = open [[
    local exports = ...
    function exports.spin() pcall(function() while true do end end) while true do end end
    function exports.ok() return "still here" end]]
  local value, problem = box:call("spin", "20ms")
  test.equal(value, nil)
  test.equal(problem.code, "Timeout")
  test.equal(problem.path, "site.lua")
  test.equal(problem.line, 2)
  test.equal(box:call("ok", 1), "still here")
end)

test("each call has its own deadline, whatever those before it had", function()
  local box <close> = open [[
    local exports = ...
    function exports.work(seconds)
      local from = os.clock()
      while os.clock() - from < seconds do end
      return "done"
    end]]
  local function outcome(seconds, limit)
    local value, problem = box:call("work", limit, seconds)
    return value or problem.code
  end
  local seen = {}
  for i, call in ipairs { { 0, 500 }, { 0.1, "20ms" }, { 0.1, 600 }, { 0, "30ms" }, { 0.1, 500 }, { 0.1, "50ms" },
    { 0.1, "20ms" }, { 0.1, 600 } } do
    seen[i] = outcome(call[1], call[2])
  end
  test.same(seen, { "done", "Timeout", "done", "done", "done", "Timeout", "Timeout", "done" })
end)

test("a call that takes too much memory is stopped and the sandbox goes on", function()
  local box <close> = open [[
    local exports = ...
    function exports.eat() local t = {} for i = 1, 1e9 do t[i] = { i } end end
    function exports.ok() return "still here" end]]
  local _, problem = box:call("eat", 5)
  test.equal(problem.code, "Memory")
  box:collect()
  test.equal(box:call("ok", 1), "still here")
end)

test("arrays, objects and null cross as what they are", function()
  local box <close> = open [[
    local json = require "json"
    local exports = ...
    function exports.through(value) return value, json.encode(value, { sort = true }) end]]
  local text = '{"a":[],"b":{},"c":null}'
  local value, inside = box:call("through", 1, json.decode(text))
  test.equal(inside, text)
  test.equal(json.encode(value, { sort = true }), text)
end)

test("modules in Lua are compiled inside, and only what was given is there", function()
  local box <close> = open([[
    local exports = ...
    exports.double = require "twice".of
    exports.other = function() return require "fs" end]],
    { memory = 4 << 20, modules = { twice = { "return { of = function(n) return 2 * n end }", "@twice.lua" } } })
  test.equal(box:call("double", 1, 21), 42)
  local _, problem = box:call("other", 1)
  test.equal(problem.message, "module 'fs' is not available in a sandbox")
end)

test("a module that could reach out is refused", function()
  local ok, problem = pcall(sandbox.open, { modules = { "fs" } })
  test.equal(ok, false)
  test.equal(problem:find "module 'fs' is not for sandboxes" ~= nil, true)
end)

test("a closed sandbox says so", function()
  local box = open "local exports = ...; function exports.f() end"
  box:close()
  box:close()
  local ok, problem = pcall(box.call, box, "f", 1)
  test.equal(ok, false)
  test.equal(problem:find "the sandbox is closed" ~= nil, true)
end)
