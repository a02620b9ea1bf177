-- The runs of notebooks on this machine: their folders and what is recorded in them.
-- Not for running: see kale.run.
--   local run = history.read(".kfhost/runs/latest"); print(run.state, run.metrics.accuracy)
local errors = require "errors"
local fs = require "fs"
local json = require "json"

local M = {}

---Where the runs of a notebook lie.
---@param notebook string path
---@param runs string? given by the user
---@return string
function M.folder(notebook, runs) return runs or fs.join(fs.dirname(notebook), ".kfhost", "runs") end

-- Whether a run is of a notebook. One that was moved since is known by its name.
local function is_of(path, notebook)
  local text = fs.try.read(fs.join(path, "steps.json"))
  local known = (text and json.try.decode(text) or {}).notebook
  if type(known) ~= "string" or known == (fs.try.realpath(notebook) or notebook) then return true end
  return fs.basename(known) == fs.basename(notebook) and not fs.exists(known)
end

---The folders of runs, the newest first.
---@param folder string
---@param notebook string? only the runs of this one
---@return string[] paths absolute
function M.list(folder, notebook)
  folder = fs.try.realpath(folder) or folder
  local paths, begun = {}, {}
  for _, name in ipairs(fs.try.list(folder) or {}) do
    local path = fs.join(folder, name)
    -- The pipeline is written before anything runs.
    local stat = name ~= "latest" and fs.try.stat(fs.join(path, "pipeline.yaml"))
    if stat and fs.exists(fs.join(path, "run.json")) and (not notebook or is_of(path, notebook)) then
      paths[#paths + 1], begun[path] = path, stat.mtime
    end
  end
  table.sort(paths, function(a, b) return begun[a] > begun[b] or begun[a] == begun[b] and a > b end)
  return paths
end

-- The record is a moment behind what the step's folder says.
local function state_after_crash(entry, folder)
  if entry.state ~= "running" and entry.state ~= "pending" then return entry.state end
  if fs.exists(fs.join(folder, ".done")) then return "succeeded" end
  return (entry.state == "running" or fs.exists(fs.join(folder, "log.txt"))) and "crashed" or entry.state
end

---The record of a run as its program wrote it.
---@param path string its folder
---@return table? record nil when there is none
---@return table? err why it could not be read
function M.record(path)
  local text, err = fs.try.read(fs.join(path, "run.json"))
  local record = text and json.try.decode(text)
  if type(record) ~= "table" or record.version ~= 1 then return nil, err end
  return record
end

---What is recorded of a run. One whose program is gone and that had not ended is "crashed".
---@param path string its folder
---@return table run path, name, state, params, metrics, started, seconds, steps {name, task, state, seconds, log}
---  raises "Notebook" when there is no run
function M.read(path)
  local record, err = M.record(path)
  if not record then
    errors.raise { code = "Notebook", message = ("%s is no folder of a run"):format(path), path = path, cause = err }
  end
  local known = json.try.decode(fs.try.read(fs.join(path, "steps.json")) or "{}") or {}
  local gone = record.state == "running" and not fs.exists("/proc/" .. tostring(record.pid))
  local run = {
    path = fs.realpath(path), name = record.name, state = gone and "crashed" or record.state,
    params = record.params or {}, metrics = record.metrics or {}, started = record.started,
    notebook = known.notebook, steps = {}, seconds = 0,
  }
  for i, entry in ipairs(record.tasks or {}) do
    local state = gone and state_after_crash(entry, fs.join(path, entry.name)) or entry.state
    run.steps[i] = {
      name = (known.steps or {})[entry.name] or entry.name, task = entry.name, state = state, seconds = entry.seconds,
      exit = entry.exit, error = entry.error, log = fs.join(run.path, entry.name, "log.txt"),
    }
    run.seconds = math.max(run.seconds, (entry.offset or 0) + (entry.seconds or 0))
  end
  return run
end

---The runs that words of a command line mean: folders of runs, or notebooks for all of theirs.
---@param words string[]
---@param runs string? where runs of notebooks lie
---@return table[] runs the oldest first # raises "Usage"
function M.find(words, runs)
  local found = {}
  for _, word in ipairs(words) do
    local stat = fs.stat(word)
    local paths = { word }
    if not stat then
      errors.raise { code = "Usage", message = ("there is neither a run nor a notebook %s"):format(word) }
    elseif stat.type ~= "directory" then
      paths = M.list(M.folder(word, runs), word)
      if #paths == 0 then errors.raise { code = "Usage", message = ("%s has no runs here"):format(word) } end
    end
    for i = #paths, 1, -1 do found[#found + 1] = M.read(paths[i]) end
  end
  return found
end

return M
