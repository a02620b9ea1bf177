-- Runs a pipeline's tasks on this machine: in order, side by side, with a record in root/run.json.
-- It knows an IR, parameters and options, and nothing of where the IR came from.
local check = require "kfp.check"
local errors = require "errors"
local executor = require "kfp.executor"
local fs = require "fs"
local hash = require "hash"
local json = require "json"
local task = require "task"

local M = {}

local SAVE_INTERVAL = 0.2 -- seconds

local Run = {}
Run.__index = Run

local function processors()
  local _, count = (fs.try.read "/proc/cpuinfo" or ""):gsub("\nprocessor%s*:", "")
  return count + 1
end

-- --- the record --------------------------------------------------------------------------------------

function Run:save()
  self.saved = task.now()
  local record = { version = 1, name = self.context.name, state = self.state, tasks = json.array {} }
  for i, job in ipairs(self.jobs) do
    record.tasks[i] = {
      name = job.name, state = job.state, seconds = job.seconds, exit = job.exit, started = job.started,
    }
  end
  fs.write(fs.join(self.context.root, "run.json"), json.encode(record, { sort = true, indent = 2 }) .. "\n")
end

-- The whole record is written each time: not more often than once in the interval.
function Run:save_soon()
  if self.saver then return end
  local rest = self.saved + SAVE_INTERVAL - task.now()
  if rest <= 0 then return self:save() end
  self.saver = task.spawn(function()
    task.sleep(rest)
    self.saver = nil
    self:save()
  end)
end

function Run:tell(event)
  if self.options.on_event then self.options.on_event(event) end
end

function Run:set_state(job, state)
  job.state = state
  self:tell { type = "task", name = job.name, state = state, seconds = job.seconds, exit = job.exit, error = job.error }
  self:save_soon()
end

-- --- the cache -----------------------------------------------------------------------------------------

local function cache_file(self, key)
  return fs.join(self.options.cache_root or fs.join(fs.dirname(self.context.root), "cache"), key .. ".json")
end

-- Takes the outputs of an earlier task with the same key; false when there is none, or its files are gone.
local function restore(self, prepared)
  local text = prepared.key and fs.try.read(cache_file(self, prepared.key))
  local entry = text and json.try.decode(text)
  if not entry or not fs.exists(entry.directory) then return false end
  for name, artifact in pairs(prepared.input.outputs.artifacts) do
    local from = fs.join(entry.directory, name)
    if fs.exists(from) then fs.copy(from, artifact.artifacts[1].uri) end
  end
  for name, parameter in pairs(prepared.input.outputs.parameters) do
    local from = fs.join(entry.directory, "parameters", name)
    if fs.exists(from) then fs.copy(from, parameter.outputFile) end
  end
  local output = fs.try.read(fs.join(entry.directory, "executor_output.json"))
  if output then
    -- Paths in it are those of the earlier task.
    output = output:gsub(entry.directory:gsub("%p", "%%%0"), (prepared.directory:gsub("%%", "%%%%")))
    fs.write(prepared.input.outputs.outputFile, output)
  end
  return true
end

local function remember(self, prepared)
  if not prepared.key then return end
  local path = cache_file(self, prepared.key)
  fs.mkdir(fs.dirname(path), { parents = true })
  fs.write(path, json.encode { directory = prepared.directory })
end

-- --- one task --------------------------------------------------------------------------------------------

function Run:execute(job)
  local prepared = executor.prepare(job.task, self.context)
  job.log = prepared.log
  if restore(self, prepared) then
    self.context.results[job.name] = executor.results(prepared)
    return "cached"
  end
  job.exit = executor.execute(prepared, self.options.cwd, function(stream, text)
    self:tell { type = "line", name = job.name, stream = stream, text = text }
  end)
  if job.exit ~= 0 then
    job.error = ("ended with exit code %d"):format(job.exit)
    return "failed"
  end
  self.context.results[job.name] = executor.results(prepared)
  remember(self, prepared)
  return "succeeded"
end

function Run:start(job)
  job.started = os.date "!%Y-%m-%dT%H:%M:%SZ"
  local begun = task.now()
  job.offset = begun - self.begun
  self.running = self.running + 1
  self:set_state(job, "running")
  job.thread = task.spawn(function()
    local ok, state = pcall(self.execute, self, job)
    job.seconds = task.now() - begun
    self.running = self.running - 1
    if not ok then
      job.error = errors.text(state)
      state = errors.is(state, "Cancelled") and "cancelled" or "failed"
    end
    self:set_state(job, state)
    self.changed:set()
  end)
end

-- --- all tasks ---------------------------------------------------------------------------------------------

-- Whether a task may start now: true, false, or "never" when one before it did not succeed.
function Run:is_ready(job)
  for name in pairs(job.task.after) do
    local state = self.by_name[name].state
    if state == "failed" or state == "skipped" or state == "cancelled" then return "never" end
    if state ~= "succeeded" and state ~= "cached" then return false end
  end
  return true
end

function Run:start_what_can()
  local again
  repeat
    again = false
    for _, job in ipairs(self.jobs) do
      if job.state == "pending" then
        local ready = self:is_ready(job)
        if ready == "never" then
          self:set_state(job, "skipped")
          again = true
        elseif ready and self.running < self.limit then
          self:start(job)
        end
      end
    end
  until not again
end

function Run:loop()
  while true do
    self:start_what_can()
    if self.running == 0 then return end
    self.changed:wait()
    self.changed:clear()
  end
end

-- The run was interrupted: what runs is stopped, what waits never starts.
function Run:cancel()
  for _, job in ipairs(self.jobs) do
    if job.state == "running" then
      job.thread:cancel()
      job.state = "cancelled"
    elseif job.state == "pending" then
      job.state = "skipped"
    end
  end
  self.state = "cancelled"
end

function Run:finish()
  self.state = self.state or "succeeded"
  local metrics, tasks, failure = {}, {}, nil
  for i, job in ipairs(self.jobs) do
    if job.state == "failed" and self.state == "succeeded" then self.state = "failed" end
    if job.state == "failed" and not failure then failure = ("task %s %s"):format(job.name, job.error) end
    local results = self.context.results[job.name]
    if results and next(results.metrics) then metrics[job.name] = results.metrics end
    tasks[i] = {
      name = job.name, state = job.state, seconds = job.seconds, exit = job.exit, log = job.log, error = job.error,
      started = job.offset,
    }
  end
  if self.saver then
    self.saver:cancel()
    pcall(self.saver.wait, self.saver)
  end
  self:save()
  local outputs = {}
  for name, results in pairs(self.context.results) do outputs[name] = results end
  return {
    state = self.state, outputs = outputs, metrics = metrics, tasks = tasks, params = self.context.params,
    error = failure,
  }
end

---Runs a pipeline. Mistakes in the IR, the parameters or the images are found before any step starts.
---@param ir table PipelineSpec
---@param options table params {name = value}; root: folder for everything that is written; jobs: tasks at a
---  time; images {pattern = {command, env}}; python: for images python:*; cache: take equal tasks from
---  earlier runs; cwd: the steps' working directory; on_event(event)
---@return table result state, outputs, metrics, tasks, error
---  raises "Pipeline", "Parameter", "Image" or "Unsupported"
function M.run(ir, options)
  local params = check.parameters(ir, options.params or {})
  local tasks = check.tasks(ir)
  executor.check_images(tasks, options)
  local root = options.root or fs.tmpdir "kfp"
  fs.mkdir(root, { parents = true })
  local run = setmetatable({
    options = options, jobs = {}, by_name = {}, running = 0, limit = options.jobs or processors(),
    changed = task.event(), begun = task.now(), saved = -SAVE_INTERVAL,
    context = {
      name = (ir.pipelineInfo or {}).name or "pipeline", id = hash.random_hex(8), root = fs.realpath(root),
      params = params, results = {}, options = options,
    },
  }, Run)
  for i, t in ipairs(tasks) do
    local job = { name = t.key, task = t, state = "pending" }
    run.jobs[i], run.by_name[t.key] = job, job
  end
  local ok, problem = pcall(run.loop, run)
  if not ok then
    run:cancel()
    if not errors.is(problem, "Cancelled") then
      run:finish()
      error(problem, 0)
    end
  end
  return run:finish()
end

return M
