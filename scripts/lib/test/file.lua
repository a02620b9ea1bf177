-- test.file: runs the tests of one file in this process and writes what happened for `kfhost test`.
-- Not for people: each line is a word, a tab and a text; see records below.
--   file.run{ path = "tests/lua/json_test.lua", seed = 7, out = handle }

local errors = require "errors"
local host = require "host"
local test = require "test"
local testing = require "testing"

local M = {}

-- Records: "begin NAME", then "note TEXT"…, then one of "pass NAME", "fail NAME", "skip NAME<tab>REASON";
-- "load" after a file could not be loaded; "end" as the last one, so that a death is seen.
local function record(out, ...)
  local parts = table.pack(...)
  for i = 1, parts.n do parts[i] = tostring(parts[i]):gsub("[\t\r\n]", " ") end
  out:write(table.concat(parts, "\t"), "\n")
  out:flush()
end

local function note(out, text)
  for line in (text .. "\n"):gmatch "(.-)\n" do record(out, "note", line) end
end

-- --- what a test may not leave behind --------------------------------------------------------------

local function global_names()
  local names = {}
  for name in next, _G do names[name] = true end
  return names
end

local function new_globals(names)
  local found = {}
  for name in next, _G do
    if not names[name] then
      found[#found + 1] = tostring(name)
      _G[name] = nil
    end
  end
  table.sort(found)
  return found
end

-- Puts things back and tells what was wrong.
local function leftovers(before)
  local found = {}
  local globals = new_globals(before.globals)
  if #globals > 0 then found[#found + 1] = "new globals: " .. table.concat(globals, ", ") end
  local directory = testing.directory()
  if directory ~= before.directory then
    testing.enter(before.directory)
    found[#found + 1] = "the working directory is now " .. directory
  end
  return found
end

-- --- running ---------------------------------------------------------------------------------------

local function with_traceback(err)
  if getmetatable(err) == test.Skip then return err end
  if errors.is(err) and err.traceback then return tostring(err) .. "\n" .. err.traceback end
  return debug.traceback(errors.text(err), 2)
end

-- The stack ends where the test begins: below it there is only the runner.
local function trim(text)
  return (text:gsub("\n[^\n]*%[C%]: in function 'xpcall'.*$", ""))
end

-- Runs the test as a task on a fresh loop. ok, error, what it left on the loop.
local function run_alone(run)
  local ok, err
  local ended, problem, left = host.testing.run(function() ok, err = xpcall(run, with_traceback) end)
  if ended then return ok, err, left end
  return false, errors.text(problem), left
end

local LEFT = { { "tasks", "tasks still run" }, { "timers", "timers are still pending" },
  { "watches", "handles are still open" } }

local function finish(context, before, left)
  local problems = leftovers(before)
  for _, kind in ipairs(LEFT) do
    if left[kind[1]] > 0 then problems[#problems + 1] = ("%d %s"):format(left[kind[1]], kind[2]) end
  end
  for _, path in ipairs(context.directories) do testing.remove_directory(path) end
  return problems
end

local function run_test(entry, context, out)
  local before = { globals = global_names(), directory = testing.directory() }
  context.directories = {}
  test.set_context(context)
  record(out, "begin", entry.name)
  testing.guard(context.timeout)
  local ok, err, left = run_alone(entry.run)
  testing.guard(0)
  local problems = finish(context, before, left)
  test.set_context(nil)
  if not ok and getmetatable(err) == test.Skip then
    record(out, "skip", entry.name, err.reason)
    return
  end
  if not ok then table.insert(problems, 1, trim(err)) end
  for _, problem in ipairs(problems) do note(out, problem) end
  record(out, #problems == 0 and "pass" or "fail", entry.name)
end

-- Fisher and Yates with a generator of our own, so that a seed gives one order everywhere.
local function shuffle(list, seed)
  local state = seed
  for i = #list, 2, -1 do
    state = (state * 6364136223846793005 + 1442695040888963407)
    local j = (state >> 33) % i + 1
    list[i], list[j] = list[j], list[i]
  end
end

local function selected(pattern)
  local tests = {}
  for _, entry in ipairs(test.registered()) do
    if not pattern or entry.name:find(pattern) then tests[#tests + 1] = entry end
  end
  return tests
end

local function load_file(path)
  local chunk, problem = loadfile(path)
  if not chunk then return false, problem end
  return xpcall(chunk, with_traceback)
end

local function golden_folder(path)
  local folder = path:match "^(.*)/[^/]*$" or "."
  return folder .. "/../golden"
end

---Runs the tests of a file.
---@param options table path, seed, out (file), timeout (seconds a test), only (pattern), update
function M.run(options)
  local out = options.out
  local before = { globals = global_names(), directory = testing.directory() }
  testing.guard(options.timeout)
  local ok, problem = load_file(options.path)
  testing.guard(0)
  local problems = leftovers(before)
  if not ok then table.insert(problems, 1, trim(problem)) end
  if #problems > 0 then
    for _, text in ipairs(problems) do note(out, text) end
    record(out, "fail", "the file loads and changes nothing")
  end
  local tests = selected(options.only)
  shuffle(tests, options.seed)
  for _, entry in ipairs(tests) do
    local golden = golden_folder(options.path)
    run_test(entry, { golden = golden, update = options.update, timeout = options.timeout }, out)
  end
  record(out, "end")
end

return M
