-- test: what a test file says and checks with; `kfhost test` runs such files.
-- Not a program: outside the runner the checks work, but nothing runs the tests.
--   local test = require "test"
--   test("two and two is four", function() test.equal(2 + 2, 4) end)

local errors = require "errors"
local testing = require "testing"
local compare = require "test.compare"

local M = {}

local registered = {} -- {name=, run=}, in the order of the file
local current -- the context of the running test: {directories=, golden=, update=}

-- --- for the runner ---------------------------------------------------------------------------

-- What test.skip raises; private, so that no check takes it for a failure.
local Skip = {}
M.Skip = Skip

---The tests that the loaded file has named. For the runner.
---@return table[] tests {name=, run=}
function M.registered()
  return registered
end

---Sets the context for the test that runs next. For the runner.
---@param context table? {directories={}, golden="tests/golden", update=false}
function M.set_context(context)
  current = context
end

-- --- checks -----------------------------------------------------------------------------------

-- Raises the failure at the line of the caller's caller.
local function fail(message, ...)
  error((message):format(...), 3)
end

---Checks that got == want; not-a-number equals itself.
---@param got any
---@param want any
---raises a text with both values
function M.equal(got, want)
  if compare.is_equal(got, want) then return end
  error((compare.difference(got, want) or
    ("got %s, want the same table, not an equal one"):format(compare.show(got))), 2)
end

---Checks that two values hold the same, tables by their fields (metatables are not compared).
---@param got any
---@param want any
---raises a text with the path of the first difference
function M.same(got, want)
  local found = compare.difference(got, want)
  if found then error(found, 2) end
end

local function matches(err, expected)
  if expected == nil then return true end
  if errors.is(err, expected) then return true end
  return errors.text(err):find(expected) ~= nil
end

---Checks that the function raises.
---@param expected string? the code of an error table, or a pattern that its text holds
---@param run function called without arguments
---@return any err what it raised
---raises a text when it returned or raised something else
function M.raises(expected, run)
  local result = table.pack(pcall(run))
  if result[1] then
    fail("nothing was raised, want %s; it returned %s", expected or "an error",
      compare.show(table.move(result, 2, result.n, 1, {})))
  end
  local err = result[2]
  if rawequal(err, Skip) or getmetatable(err) == Skip then error(err, 0) end
  if not matches(err, expected) then fail("want error %s, got %s", expected, errors.text(err)) end
  return err
end

local function read_file(path)
  local file = io.open(path, "rb")
  if not file then return nil end
  local text = file:read "a"
  file:close()
  return text
end

local function write_file(path, text)
  testing.make_parent(path)
  local file = assert(io.open(path, "wb"))
  assert(file:write(text))
  assert(file:close())
end

---Checks that the text is what the file NAME of the folder `golden` holds (it lies beside the folder of
---the test file). `kfhost test --update-golden` writes the file instead; read it before you commit it.
---@param name string the file's name, such as "show.txt"
---@param text string
---raises a text with the first line that differs
function M.golden(name, text)
  if not current then fail "golden files exist only in a test" end
  local path = current.golden .. "/" .. name
  local want = read_file(path)
  if current.update then
    if want ~= text then write_file(path, text) end
    return
  end
  if not want then fail("no file %s; make it by kfhost test --update-golden", path) end
  local found = compare.difference(text, want)
  if found then fail("%s: %s", path, found) end
end

-- --- the surroundings of a test ------------------------------------------------------------------

---A new, empty directory that is removed when the test ends.
---@return string path absolute
function M.tmpdir()
  if not current then fail "temporary directories exist only in a test" end
  local path = testing.make_directory()
  table.insert(current.directories, path)
  return path
end

---Moves the clock of the test's loop: timers that become due run in their order.
---@param seconds number
function M.advance(seconds)
  local host = require "host"
  host.testing.advance(seconds)
end

---Ends the test as skipped; the run fails unless `--allow-skip NAME` names the test.
---@param reason string
function M.skip(reason)
  error(setmetatable({ reason = reason }, Skip), 0)
end

local function register(_, name, run)
  if type(name) ~= "string" or type(run) ~= "function" then
    error("test(name, function) expected", 2)
  end
  for _, known in ipairs(registered) do
    if known.name == name then error(("two tests are named '%s'"):format(name), 2) end
  end
  registered[#registered + 1] = { name = name, run = run }
end

return setmetatable(M, { __call = register })
