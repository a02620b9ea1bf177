-- kfhost test: runs test files, each in a process of its own, and prints TAP.
-- Not for what a test says: that is scripts/lib/test.lua.
--   kfhost test                        every tests/lua/*_test.lua
--   kfhost test --seed 7 --only claim tests/lua/policy_test.lua

local cli = require "cli"
local errors = require "errors"
local fs = require "fs"
local host = require "host"

local PROCESSES = 2
local DEFAULT_FOLDER = "tests/lua"

-- --- finding files -------------------------------------------------------------------------------

local function quote(text)
  return "'" .. text:gsub("'", "'\\''") .. "'"
end

-- Adds every *_test.lua below a folder, in the order of their names.
local function add_folder(files, folder)
  for _, name in ipairs(fs.list(folder)) do
    local path = fs.join(folder, name)
    if fs.stat(path, { follow = false }).type == "directory" then
      add_folder(files, path)
    elseif name:find "_test%.lua$" then
      files[#files + 1] = path
    end
  end
end

-- A file is itself; a folder is every *_test.lua in it, in its folders too.
local function test_files(places)
  local files = {}
  for _, place in ipairs(places) do
    if place:find "%.lua$" then
      files[#files + 1] = place
    else
      add_folder(files, place)
    end
  end
  return files
end

-- --- the processes -------------------------------------------------------------------------------

-- This program with the options that stood before the word "test".
local function own_command()
  local words = {}
  for word in fs.read "/proc/self/cmdline":gmatch "([^%z]*)%z" do words[#words + 1] = quote(word) end
  words[1] = quote(host.executable())
  return table.concat(words, " ", 1, #words - #arg - 1)
end

local CHILD = [[
local path, seed, timeout, only, update = ...
local out = assert(io.open("/dev/fd/3", "w"))
require("test.file").run { path = path, seed = math.tointeger(seed), out = out,
  timeout = math.tointeger(timeout), only = only ~= "" and only or nil, update = update == "yes" }
os.exit(0, true)
]]

-- What the file prints goes to standard error; its records come through the pipe.
local function start(command, path, args)
  local words = {
    "exec", command, args.gc_stress and "--gc-stress" or "", "-e", quote(CHILD),
    quote(path), tostring(args.seed), tostring(args.timeout), quote(args.only or ""),
    args.update_golden and "yes" or "no",
    "3>&1 1>&2 </dev/null",
  }
  return { path = path, pipe = assert(io.popen(table.concat(words, " "), "r")) }
end

local function death(kind, number)
  if kind == "signal" and number == 14 then return "it hung: its time is over (see --timeout)" end
  if kind == "signal" then return ("signal %d ended the process"):format(number) end
  return ("the process ended with exit code %d"):format(number)
end

-- --- telling -------------------------------------------------------------------------------------

local function tell(tally, word, path, name, more)
  tally.count = tally.count + 1
  local stem = path:match "([^/]*)_test%.lua$" or path
  print(("%s %d - %s: %s%s"):format(word, tally.count, stem, name:gsub("#", "\\#"), more or ""))
end

local function tell_notes(notes)
  for _, text in ipairs(notes) do print("  # " .. text) end
end

local outcomes = {}

function outcomes.pass(tally, path, name)
  tally.passed = tally.passed + 1
  tell(tally, "ok", path, name)
end

function outcomes.fail(tally, path, name, _, notes)
  tally.failed = tally.failed + 1
  tell(tally, "not ok", path, name)
  tell_notes(notes)
end

function outcomes.skip(tally, path, name, reason, notes)
  if tally.allowed[name] then
    tally.skipped = tally.skipped + 1
    return tell(tally, "ok", path, name, " # SKIP " .. reason)
  end
  notes[#notes + 1] = ("skipped: %s (allow it by --allow-skip '%s')"):format(reason, name)
  outcomes.fail(tally, path, name, nil, notes)
end

-- Reads the records of a file's process to its end.
local function follow(child, tally)
  local under_way, notes, ended = "the file runs to its end", {}, false
  for line in child.pipe:lines() do
    local word, text, more = line:match "^(%l+)\t?([^\t]*)\t?(.*)$"
    if word == "begin" then
      under_way = text
    elseif word == "note" then
      notes[#notes + 1] = text .. more
    elseif outcomes[word] then
      outcomes[word](tally, child.path, text, more, notes)
      under_way, notes = "the file runs to its end", {}
    end
    ended = word == "end"
  end
  local ok, kind, number = child.pipe:close()
  if not ended or not ok then
    notes[#notes + 1] = death(kind, number)
    outcomes.fail(tally, child.path, under_way, nil, notes)
  end
end

local function allowed_names(list)
  local names = {}
  for _, name in ipairs(list or {}) do names[name] = true end
  return names
end

local function run(args)
  args.seed = args.seed or os.time() % 1000000
  local places = #args.file > 0 and args.file or { DEFAULT_FOLDER }
  local files, command = test_files(places), own_command()
  local tally = { count = 0, passed = 0, failed = 0, skipped = 0, allowed = allowed_names(args.allow_skip) }
  print "TAP version 13"
  print("# seed " .. args.seed)
  io.stdout:flush()
  local children = {}
  for i = 1, #files + PROCESSES - 1 do
    if files[i] then children[i] = start(command, files[i], args) end
    local oldest = children[i - PROCESSES + 1]
    if oldest then follow(oldest, tally) end
    io.stdout:flush()
  end
  print("1.." .. tally.count)
  if tally.skipped > 0 then print(("# %d skipped"):format(tally.skipped)) end
  print(("%d passed, %d failed"):format(tally.passed, tally.failed))
  if tally.count == 0 then errors.raise { code = "NoTest", message = "no test was found" } end
  return tally.failed > 0 and 1 or 0
end

return cli.main {
  name = "test",
  summary = "runs test files, each in a process of its own",
  arguments = { { "[FILE…]", "test files, or folders with *_test.lua (tests/lua)" } },
  options = {
    { "--seed N", "the order of the tests (a new one each time, printed)", type = "int" },
    { "--timeout N", "seconds that a test may take", type = "int", default = 60, min = 1 },
    { "--only PATTERN", "tests whose name this Lua pattern finds" },
    { "--gc-stress", "collect garbage all the time" },
    { "--allow-skip NAME", "a test that may be skipped", repeated = true },
    { "--update-golden", "write the golden files instead of comparing" },
  },
  run = run,
} (...)
