-- Bars: decode at least 1.35 times and encode at least as fast as lua-cjson on a list of pods, both
-- in this run, strict mode on. Exit code 1 when one is missed.
local cjson = require "cjson"
local json = require "json"

local folder = arg[0]:match "^(.*/)" or "./"
local pod_list = dofile(folder .. "pod_list.lua")

local SIZE <const>, ROUNDS <const> = 20 * 1024 * 1024, 7

-- Mean length of the strings in a value, names of members included.
local function string_lengths(value, sum)
  if type(value) == "string" then
    sum.bytes, sum.count = sum.bytes + #value, sum.count + 1
  elseif type(value) == "table" then
    for key, element in pairs(value) do
      string_lengths(key, sum)
      string_lengths(element, sum)
    end
  end
  return sum
end

local function seconds(action, argument)
  collectgarbage()
  collectgarbage()
  local begin = os.clock()
  action(argument)
  return os.clock() - begin
end

-- Medians of alternating rounds, so that a busy machine slows both.
local function compare(ours, ours_argument, theirs, theirs_argument)
  local mine, other = {}, {}
  for round = 1, ROUNDS do
    mine[round] = seconds(ours, ours_argument)
    other[round] = seconds(theirs, theirs_argument)
  end
  table.sort(mine)
  table.sort(other)
  local middle = ROUNDS // 2 + 1
  return mine[middle], other[middle]
end

local missed = false
local function bar(name, mine, other, bytes, least)
  local ratio = other / mine
  local met = ratio >= least
  missed = missed or not met
  print(("%-4s json %s / lua-cjson: %.2f >= %.2f  (%.0f and %.0f MB/s)"):format(
    met and "ok" or "MISS", name, ratio, least, bytes / mine / 1e6, bytes / other / 1e6))
end

local text, facts = pod_list.text(SIZE)
local lengths = string_lengths(json.decode(text), { bytes = 0, count = 0 })
local mean = lengths.bytes / lengths.count
print(("%.1f MB, %d pods, %.0f %% managedFields, strings of %.1f bytes on average"):format(
  #text / 1e6, facts.pods, 100 * facts.managed, mean))
assert(#text >= SIZE and mean >= 20 and mean <= 30, "the list is not what the bar is about")
assert(facts.managed > 0.28 and facts.managed < 0.40, "managedFields are not a third")

local mine, other = compare(json.decode, text, cjson.decode, text)
bar("decode", mine, other, #text, 1.35)
local value = json.decode(text)
local theirs = cjson.decode(text)
mine, other = compare(json.encode, value, cjson.encode, theirs)
bar("encode", mine, other, #text, 1.0)
os.exit(missed and 1 or 0)
