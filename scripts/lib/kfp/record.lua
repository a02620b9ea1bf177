-- The record of a run in root/run.json: what it is at while it goes on, what it came to when it is over.
-- Not for reading one (kale.history). A part of kfp.run.
--   run.record = record.new(run); run.record:save_soon(); run.record:close()
local errors = require "errors"
local fs = require "fs"
local host = require "host"
local json = require "json"
local task = require "task"

local M = {}

local INTERVAL = 0.2 -- seconds

---@class kfp.Record
local Record = {}
Record.__index = Record

local function state_of(run)
  local record = {
    version = 1, name = run.context.name, id = run.context.id, state = run.state or "running", pid = host.pid(),
    started = run.started, params = json.object {}, tasks = json.array {}, metrics = json.object {},
  }
  for name, value in pairs(run.context.params) do record.params[name] = value end
  for i, job in ipairs(run.jobs) do
    record.tasks[i] = {
      name = job.path, state = job.state, seconds = job.seconds, exit = job.exit, started = job.started,
      offset = job.offset, attempts = job.attempts, error = job.error, taken = job.taken,
    }
    for name, value in pairs(job.metrics or {}) do record.metrics[name] = value end
  end
  return record
end

-- A disk that is full is no reason to stop what runs: the record is then that of before. The first one has to be there,
-- unless the run is over before it began: whoever cancelled it may have taken its folder away.
local function save(self)
  local run = self.run
  local path = fs.join(run.context.root, "run.json")
  local text = json.encode(state_of(run), { sort = true, indent = 2 }) .. "\n"
  if not self.saved and not self.closed then fs.write(path, text)
  else
    local _, problem = fs.try.write(path, text)
    if problem and not self.failing then
      run:tell { type = "note", name = run.context.name, text = "the record is not written: " .. errors.text(problem) }
    end
    self.failing = problem ~= nil
  end
  self.saved = task.now()
end

---Writes it: whole, thus not more often than once in the interval while the run goes on.
function Record:save_soon()
  if self.saver then return end
  local rest = self.saved and self.saved + INTERVAL - task.now() or 0
  if self.closed or rest <= 0 then return save(self) end -- a step that was cancelled ends after its run
  self.saver = task.spawn(function()
    task.sleep(rest)
    self.saver = nil
    save(self)
  end)
end

---Writes it at the run's end.
function Record:close()
  local saver = self.saver
  self.closed, self.saver = true, nil
  if saver then
    saver:cancel()
    pcall(saver.wait, saver)
  end
  save(self)
end

---@param run table of kfp.run
---@return kfp.Record
function M.new(run)
  return setmetatable({ run = run }, Record)
end

return M
