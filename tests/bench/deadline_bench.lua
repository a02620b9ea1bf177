-- How long code in a sandbox outlasts its deadline: each program is stopped 5 times; the greatest
-- ratio of its time to the deadline must be below 2. Exit code 1 when one is not.
--   kfhost tests/bench/deadline_bench.lua
local sandbox = require "sandbox"
local task = require "task"

local DEADLINE = 0.1

local programs = {
  { "loop", "while true do end" },
  { "pcall", "while true do pcall(function() while true do end end) end" },
  { "coroutines", "while true do coroutine.wrap(function() while true do end end)() end" },
  { "close",
    "local x <close> = setmetatable({}, { __close = function() while true do end end }) while true do end" },
  { "handler",
    "while true do xpcall(function() while true do end end, function() while true do end end) end" },
  { "pattern", "return (('a'):rep(200)):match(('.*'):rep(20) .. 'b')" },
  { "gsub", "local s = ('a'):rep(1 << 20) while true do s:gsub('a', 'b') end" },
  { "upper", "local s = ('a'):rep(15 << 20) while true do s:upper() end" },
  { "quote", "local s = ('\\0'):rep(500000) while true do local _ = ('%q'):format(s) end" },
  { "sort",
    "local t = {} for i = 1, 500000 do t[i] = (i * 7919) % 500009 end while true do table.sort(t) end" },
  { "compile", "local s = ('x = x + 1 '):rep(1000000) while true do load(s) end" },
  { "memory",
    "while true do pcall(function() local s = 'x' while true do s = s .. s end end) end" },
  { "tables",
    "while true do pcall(function() local t = {} for i = 1, math.huge do t[i] = { i } end end) end" },
  { "collector",
    "local t = {} for i = 1, 300000 do t[i] = { i } end while true do t[1] = ('x'):rep(1 << 20) end" },
  { "number", "local s = ('1'):rep(30 << 20) while true do local _ = tonumber(s) end" },
}

local failed = false
for _, program in ipairs(programs) do
  local worst = 0
  for _ = 1, 5 do
    local start = task.now()
    local _, err = sandbox.run(program[2], { timeout = DEADLINE })
    worst = math.max(worst, (task.now() - start) / DEADLINE)
    if not err or err.code ~= "Timeout" then error(program[1] .. ": " .. tostring(err)) end
  end
  failed = failed or worst >= 2
  print(("%-12s %.2f"):format(program[1], worst))
end
return failed and 1 or 0
