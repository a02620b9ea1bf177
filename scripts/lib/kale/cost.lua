-- kale.cost: what an experiment will take, said before it starts: trials × the time of the last run ÷ how many at once.
-- Not for prices.
--   cost.text(settings, cost.last_run(kfp, uploaded, "train.ipynb"))

local history = require "kale.history"
local times = require "kube.time"

local M = {}

local LOOKED_AT = 100 -- runs of the server, the newest first

local function at_server(kfp, pipeline_id)
  local seen = 0
  for run in kfp.runs:list { sort_by = "created_at desc", page_size = 50 } do
    local reference = run.pipeline_version_reference or {}
    local from, to = times.parse(run.created_at or ""), times.parse(run.finished_at or "")
    if reference.pipeline_id == pipeline_id and run.state == "SUCCEEDED" and from and to and to >= from then
      return math.max(to - from, 1)
    end
    seen = seen + 1
    if seen >= LOOKED_AT then return nil end
  end
  return nil
end

local function on_this_machine(notebook)
  for _, path in ipairs(history.list(history.folder(notebook), notebook)) do
    local ok, run = pcall(history.read, path)
    if ok and run.state == "succeeded" then return run.seconds end
  end
  return nil
end

---How long the last good run of a pipeline took: at the server, else on this machine.
---@param kfp table of kfp.connect
---@param uploaded {pipeline_id: string}
---@param notebook string path
---@return number? seconds
---@return string? where "there" or "here"
function M.last_run(kfp, uploaded, notebook)
  local ok, seconds = pcall(at_server, kfp, uploaded.pipeline_id)
  if not ok and require "errors".is(seconds, "Cancelled") then error(seconds, 0) end
  if ok and seconds then return seconds, "there" end
  ok, seconds = pcall(on_this_machine, notebook)
  if ok and seconds then return seconds, "here" end
  return nil
end

---@param seconds number
---@return string such as "1 h 5 min"
function M.duration(seconds)
  if seconds < 90 then return ("%d s"):format(math.max(1, math.floor(seconds + 0.5))) end
  local minutes = math.floor(seconds / 60 + 0.5)
  if minutes < 60 then return ("%d min"):format(minutes) end
  return minutes % 60 == 0 and ("%d h"):format(minutes // 60) or ("%d h %d min"):format(minutes // 60, minutes % 60)
end

---@param settings {maxTrialCount: integer, parallelTrialCount: integer}
---@param seconds number? of the last run
---@param where string?
---@return string line
function M.text(settings, seconds, where)
  local head = ("%d trials, %d at a time"):format(settings.maxTrialCount, settings.parallelTrialCount)
  if not seconds then return head .. "; no run has succeeded yet, so how long that takes is not known" end
  local rounds = math.ceil(settings.maxTrialCount / settings.parallelTrialCount)
  return ("%s: about %s (the last run%s took %s)"):format(head, M.duration(rounds * seconds),
    where == "here" and " on this machine" or "", M.duration(seconds))
end

return M
