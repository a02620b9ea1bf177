-- lab.kfp.engine: runs the pipelines of the lab's KFP server on this machine, by kfp.run, a task each.
-- Not for clusters: there Argo's controller runs them.
--   local engine = engines.new { root = "/tmp/lab/kfp" }; engine:start(run); engine:stop(run)

local errors = require "errors"
local fs = require "fs"
local json = require "json"
local kfp = require "kfp"
local states = require "lab.kfp.state"
local task = require "task"

local M = {}

local Engine = {}
Engine.__index = Engine

local STATES = { running = "RUNNING", succeeded = "SUCCEEDED", failed = "FAILED", cancelled = "FAILED",
  skipped = "SKIPPED", cached = "SUCCEEDED" }

-- A step has a new state: its details are made, or go on. Its log is found by pod_name, as a node's is.
local function note_task(run, event)
  local state, now = STATES[event.state], states.now()
  if not state then return end
  local detail
  for _, one in ipairs(run.task_details) do
    if one.pod_name == event.name then detail = one end
  end
  if not detail then
    detail = { run_id = run.run_id, task_id = states.uuid(), display_name = event.name, pod_name = event.name,
      create_time = now, start_time = now, state_history = json.array {} }
    table.insert(run.task_details, detail)
  end
  detail.state = state
  table.insert(detail.state_history, { update_time = now, state = state })
  if state ~= "RUNNING" then detail.end_time = now end
end

local function finish(self, run, ok, result)
  local runs = require "lab.kfp.runs"
  if not ok then
    if errors.is(result, "Cancelled") then return runs.set_state(run, "FAILED") end
    self.log(("run %s: %s"):format(run.run_id, errors.text(result)))
    return runs.set_state(run, "FAILED", errors.text(result))
  end
  run.metrics = result.metrics
  runs.set_state(run, STATES[result.state], result.error and errors.text(result.error) or nil)
end

-- Runs the pipeline in a task of its own, so that one that is stopped can be waited for to its very end.
local function run_pipeline(self, run)
  local root = fs.join(self.root, run.run_id)
  local made, result
  run.pipeline = task.spawn(function()
    -- What goes wrong is told by the run: nobody may be waiting any more.
    made, result = pcall(kfp.run, run.spec, { root = root, jobs = self.jobs, images = self.images, cwd = self.cwd,
      params = run.runtime_config and run.runtime_config.parameters or {}, platform = run.platform,
      on_event = function(event)
        if event.type == "task" then
          note_task(run, event)
          if run.on_change then run:on_change() end
        end
        if self.on_event then self.on_event(run, event) end
      end })
  end)
  local ok, problem = pcall(run.pipeline.wait, run.pipeline)
  -- One that was cancelled has its steps yet to end.
  for _, step in ipairs(made and result.ending or {}) do pcall(step.wait, step) end
  if not ok then return false, problem end
  return made, result
end

---Runs a pipeline; its state moves by itself.
---@param run table
function Engine:start(run)
  run.stopped = false
  run.task = task.spawn(function()
    local runs = require "lab.kfp.runs"
    if run.stopped then runs.set_state(run, "FAILED")
    else
      runs.set_state(run, "RUNNING")
      finish(self, run, run_pipeline(self, run))
    end
    run.task = nil
  end)
end

---Ends a run that is under way.
function Engine.stop(_, run)
  run.stopped = true
  if run.pipeline then run.pipeline:cancel() end
end

---What a step of a run has printed so far.
---@param run table
---@param name string of the step's task
---@return string text empty when there is none
function Engine:read_log(run, name)
  local path = fs.join(self.root, run.run_id, name, "log.txt")
  return fs.exists(path) and fs.read(path) or ""
end

-- A step's image means what a pod's means: where that is a shell or the like, its command is found on this machine.
local function images_of(given)
  local images = {}
  for _, line in ipairs(require "lab.images") do
    if line.program and not line.program[1]:find "^python" then
      images[line[1]] = { command = {} }
      images["docker.io/" .. line[1]], images["docker.io/library/" .. line[1]] = images[line[1]], images[line[1]]
    end
  end
  for pattern, environment in pairs(given or {}) do images[pattern] = environment end
  return images
end

---@param options {root: string, jobs: integer?, images: table?, cwd: string?, log: fun(text: string)?,
---  on_event: fun(run: table, event: table)?}
function M.new(options)
  return setmetatable({ root = options.root, jobs = options.jobs or 2, images = images_of(options.images),
    cwd = options.cwd, on_event = options.on_event, log = options.log or function() end }, Engine)
end

return M
