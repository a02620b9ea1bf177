-- The table of the guide: each task with what is typed at the REPL, its keys (Enter counted) and seconds, and those
-- of kubectl for the same. The best of three rounds each, in one lab.
--   kfhost tests/day/measure.lua
local fs = require "fs"
local proc = require "proc"

local folder = (debug.getinfo(1, "S").source:match "^@(.*/)" or "./")
local tasks = dofile(folder .. "tasks.lua")

local ROUNDS <const> = 3

local function keys(lines)
  local count = 0
  for _, line in ipairs(lines) do count = count + utf8.len(line) + 1 end
  return count
end

local function best(run, lines)
  local least
  for _ = 1, ROUNDS do
    local _, seconds = run(lines)
    least = math.min(least or seconds, seconds)
  end
  return least
end

local has_kubectl = proc.which "kubectl"
local day <close> = dofile(folder .. "lab.lua").start(fs.tmpdir "day")
print "| Task | Typed | Keys | Seconds | kubectl: keys | Seconds |"
print "|---|---|---|---|---|---|"
local all = { keys = 0, seconds = 0, their_keys = 0, their_seconds = 0 }
for _, one in ipairs(tasks) do
  local seconds = best(function(lines) return day:type(lines) end, one.typed)
  local theirs = has_kubectl and best(function(lines) return day:shell(lines) end, one.shell) or 0
  local typed = {}
  for index, line in ipairs(one.typed) do
    if index == 1 or not one.asks then typed[index] = "`" .. line:gsub("|", "\\|") .. "`" end -- no answers
  end
  print(("| %s | %s | %d | %.2f | %d | %.2f |"):format(one.name, table.concat(typed, ", "), keys(one.typed), seconds,
    keys(one.shell), theirs))
  all.keys, all.seconds = all.keys + keys(one.typed), all.seconds + seconds
  all.their_keys, all.their_seconds = all.their_keys + keys(one.shell), all.their_seconds + theirs
end
print(("| together | | %d | %.2f | %d | %.2f |"):format(all.keys, all.seconds, all.their_keys, all.their_seconds))
