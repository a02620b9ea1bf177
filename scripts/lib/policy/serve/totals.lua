-- policy.serve.totals: what all processes have counted, those before as well: a count never falls because a process
-- has ended, be it a worker or the controller that keeps the sum.
-- Not for counting (policy.serve.metrics).
--   local totals = totals.new(require "workers"); totals:look(); print(totals.sum(totals:texts()))

local errors = require "errors"
local json = require "json"

local M = {}

-- The samples of a text, by the metric that they belong to; comments stand before the samples of their metric.
local function add_samples(families, text)
  local family
  for line in text:gmatch "[^\n]+" do
    local named = line:match "^# HELP (%S+)" or line:match "^# TYPE (%S+)"
    if named and (not family or family.name ~= named) then
      family = families[named] or { name = named, comments = {}, order = {}, values = {} }
      if not families[named] then families[#families + 1] = family end
      families[named] = family
    end
    local key, value = line:match "^([^#].*) (%S+)$"
    if not key then family.comments[line:match "^# %u+"] = line
    else
      if not family.values[key] then family.order[#family.order + 1] = key end
      family.values[key] = (family.values[key] or 0) + (tonumber(value) or 0)
    end
  end
end

---The sum of several texts of Prometheus' format.
---@param texts string[]
---@return string
function M.sum(texts)
  local families, lines = {}, {}
  for _, text in ipairs(texts) do add_samples(families, text) end
  for _, family in ipairs(families) do
    for _, kind in ipairs { "# HELP", "# TYPE" } do lines[#lines + 1] = family.comments[kind] end
    for _, key in ipairs(family.order) do lines[#lines + 1] = ("%s %.14g"):format(key, family.values[key]) end
  end
  return table.concat(lines, "\n") .. "\n"
end

-- The counters and histograms of a text; what is measured now ends with its process.
local function lasting(text)
  local kept, keep = {}, true
  for line in text:gmatch "[^\n]+" do
    local name, kind = line:match "^# TYPE (%S+) (%S+)"
    if name then
      keep = kind ~= "gauge"
      if keep then kept[#kept + 1] = line end
    elseif line:find "^[^#]" and keep then
      kept[#kept + 1] = line
    end
  end
  return table.concat(kept, "\n") .. "\n"
end

---@class policy.Totals
local Totals = {}
Totals.__index = Totals

-- What a controller before this one has summed up. It may have ended before it said that it had taken a report.
local function restore(self)
  local text = self.memory.read "totals"
  local known = text and json.decode(text)
  if not known then return end
  self.before = known.before
  for _, ended in ipairs(self.memory.ended()) do
    if ended.pid == known.pids[tostring(ended.slot)] then self.memory.taken(ended.slot) end
  end
end

---@param memory table of `require "workers"`: list, ended, taken, read, publish
---@return policy.Totals
function M.new(memory)
  local self = setmetatable({ memory = memory, reports = {}, before = "" }, Totals)
  restore(self)
  return self
end

-- Adds what workers have left behind. It is published before it is said to be taken, with whose it is: so it is
-- counted once, whenever this process ends.
local function take(self, left)
  if #left == 0 then return end
  local texts, pids = { self.before }, json.object {}
  for _, ended in ipairs(left) do
    texts[#texts + 1] = lasting(self.memory.read(ended.slot) or "")
    pids[tostring(ended.slot)] = ended.pid
  end
  self.before = M.sum(texts)
  local ok, problem = pcall(self.memory.publish, "totals", json.encode { before = self.before, pids = pids })
  if not ok and not errors.is(problem, "TooLarge") then error(problem, 0) end -- then it lasts as long as this process
  for _, ended in ipairs(left) do self.memory.taken(ended.slot) end
end

---Takes the reports of the processes that there are now, and of those that have ended.
function Totals:look()
  local now = {}
  for _, process in ipairs(self.memory.list()) do
    now[process.pid] = self.memory.read(process.slot) or self.reports[process.pid] or ""
  end
  local left = self.memory.ended() -- after the list: who ends meanwhile is in both, rather than in none
  for _, ended in ipairs(left) do now[ended.pid] = nil end
  take(self, left)
  self.reports = now
end

---@return string[] texts
function Totals:texts()
  local texts = { self.before }
  for _, text in pairs(self.reports) do texts[#texts + 1] = text end
  return texts
end

return M
