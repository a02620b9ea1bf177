-- The scopes of every file of the installed Python's standard library against its own symtable.
-- A file may differ only if tests/fixtures/pyast/differences.tsv names it, with the reason.
local fs = require "fs"
local proc = require "proc"
local pyast = require "pyast"
local test = require "test"

local FIXTURES = "tests/fixtures/pyast"
local LETTERS = { l = "local", g = "global", G = "declared_global", n = "nonlocal", f = "free", c = "cell",
  p = "parameter", i = "imported", a = "assigned", t = "annotated", r = "referenced" }
local ORDER = "lgGnfcpiatr"
local SYMTABLE_KIND = { module = "module", class = "class" }  -- all others are "function" to symtable

-- One text per scope, sorted: its parent's name, kind, name, line and the flags of its names.
local function describe(path)
  local found = pyast.scopes(fs.read(path))
  local list = {}
  for i, scope in ipairs(found) do
    local names = {}
    for name, flags in pairs(scope.names) do
      local letters = ORDER:gsub(".", function(letter) return flags[LETTERS[letter]] and letter or "" end)
      names[#names + 1] = name .. " " .. letters
    end
    table.sort(names)
    local parent = found[scope.parent]
    local line = i == 1 and 0 or scope.line
    local kind = SYMTABLE_KIND[scope.kind] or "function"
    list[i] = ("%s > %s %s %d: %s"):format(parent and parent.name or "", kind, scope.name,
      line, table.concat(names, ", "))
  end
  table.sort(list)
  return list
end

-- The same texts from what symtable_dump.py wrote: path -> list.
local function read_dump(text)
  local files, scopes
  files = {}
  for line in text:gmatch "[^\n]+" do
    local mark, rest = line:sub(1, 1), line:sub(3)
    if mark == "F" then
      scopes = {}
      files[#files + 1] = { path = rest, scopes = scopes }
    elseif mark == "S" then
      local kind, name, number, parent = rest:match "^(%S+) (%S+) (%d+) (%d+)$"
      scopes[#scopes + 1] = { kind = kind, name = name, line = number, parent = tonumber(parent), names = {} }
    elseif mark == "N" then
      local names = scopes[#scopes].names
      names[#names + 1] = rest
    end
  end
  return files
end

local function describe_dump(scopes)
  local list = {}
  for i, scope in ipairs(scopes) do
    table.sort(scope.names)
    local parent = scopes[scope.parent]
    list[i] = ("%s > %s %s %d: %s"):format(parent and parent.name or "", scope.kind, scope.name, scope.line,
      table.concat(scope.names, ", "))
  end
  table.sort(list)
  return list
end

local function first_difference(got, want)
  for i = 1, math.max(#got, #want) do
    if got[i] ~= want[i] then
      return ("ours %s\n  symtable %s"):format(got[i] or "nothing", want[i] or "nothing")
    end
  end
end

local function read_differences()
  local reasons = {}
  for line in fs.read(fs.join(FIXTURES, "differences.tsv")):gmatch "[^\n]+" do
    local path, reason = line:match "^([^#\t]+)\t(.+)$"
    if path then reasons[path] = reason end
  end
  return reasons
end

local PARTS <const>, LEAST_FILES <const> = 8, 500

-- Compares one part of the files; how many there were.
local function compare(part)
  local reasons, wrong = read_differences(), {}
  local dump = proc.run { "python3", fs.join(FIXTURES, "symtable_dump.py"), tostring(part), tostring(PARTS) }
  test.equal(dump.code, 0)
  local root = dump.stdout:match "^R ([^\n]+)\n"
  local files = read_dump(dump.stdout)
  for _, file in ipairs(files) do
    local path = file.path:sub(#root + 2)
    local difference = first_difference(describe(file.path), describe_dump(file.scopes))
    if difference and not reasons[path] then wrong[#wrong + 1] = path .. "\n  " .. difference end
  end
  assert(#wrong == 0, #wrong .. " files differ:\n" .. table.concat(wrong, "\n"))
  return #files
end

-- In parts, as each test has a limit of time.
for part = 1, PARTS do
  test(("the scopes of the standard library are those of symtable, part %d of %d"):format(part, PARTS), function()
    local count = compare(part)
    assert(count * PARTS >= LEAST_FILES, "symtable told of too few files: " .. count)
  end)
end
