-- kale.pipeline: a compiled pipeline, whoever made it, run on this machine with what a notebook's run has: a folder,
-- a live view, a report. Not for notebooks (kale.run).
--   local run = pipeline.prepare("train.yaml", {}); local result = pipeline.execute(run, { params = { "rate=0.1" } })

local artifacts = require "kale.artifacts"
local fs = require "fs"
local history = require "kale.history"
local json = require "json"
local kale_run = require "kale.run"
local kfp = require "kfp"
local report = require "kale.report"
local sorted_keys = require "kfhost.keys".sorted

local M = {}

---@param path string
---@return boolean
function M.is_one(path) return path:find "%.ya?ml$" ~= nil end

-- The tasks before a task: those that it names, and those whose outputs it reads.
local function before(task)
  local names = {}
  for _, name in ipairs(task.dependentTasks or {}) do names[name] = true end
  for _, inputs in pairs(task.inputs or {}) do
    for _, input in pairs(inputs) do
      for _, source in pairs(type(input) == "table" and input or {}) do
        if type(source) == "table" and source.producerTask then names[source.producerTask] = true end
      end
    end
  end
  return sorted_keys(names)
end

-- The tasks of the root, each after those before it.
local function steps_of(pipeline)
  local tasks, steps, placed = pipeline.root.dag.tasks or {}, {}, {}
  local function place(name)
    if placed[name] or not tasks[name] then return end
    placed[name] = true
    local after = before(tasks[name])
    for _, one in ipairs(after) do place(one) end
    steps[#steps + 1] = { name = name, after = after, cells = {} }
  end
  for _, name in ipairs(sorted_keys(tasks)) do place(name) end
  return steps
end

---@param path string the pipeline's file
---@param options {runs: string?} where run folders lie; .kfhost/runs beside the file without it
---@return table run plan, directory, notebook # raises what kfp.decode does
function M.prepare(path, options)
  local text = fs.read(path)
  local pipeline, platform = kfp.decode(text)
  local name = pipeline.pipelineInfo.name
  local directory = fs.realpath(kale_run.directory(history.folder(path, options.runs), name))
  fs.write(fs.join(directory, "pipeline.yaml"), text)
  local plan = { name = name, path = path, steps = steps_of(pipeline), diagnostics = {} }
  local known = { notebook = fs.realpath(path), steps = M.step_names(plan) }
  fs.write(fs.join(directory, "steps.json"), json.encode(known, { sort = true }))
  return { plan = plan, directory = directory, notebook = known.notebook, pipeline = pipeline, platform = platform }
end

---@param plan table
---@return table<string, string> names by task: its own
function M.step_names(plan)
  local names = json.object {}
  for _, step in ipairs(plan.steps) do names[step.name] = step.name end
  return names
end

---@param plan table
---@return string[] tasks of the root, in their order
function M.tasks(plan)
  local list = {}
  for i, step in ipairs(plan.steps) do list[i] = step.name end
  return list
end

---@param run table of `prepare`
---@param options table of kale.run's `execute`
---@return table result of kfp.run
function M.execute(run, options)
  local given = {}
  for key, value in pairs(options) do given[key] = value end
  local inputs = run.pipeline.root.inputDefinitions or {}
  given.params = kale_run.parameters(options.params or {}, inputs.parameters or {})
  given.root, given.platform, given.cwd = run.directory, run.platform, fs.dirname(run.notebook)
  return kfp.run(run.pipeline, given)
end

-- What ran within loops, conditions and pipelines of pipelines comes behind the tasks of the root.
local function step_of(task, after)
  local shows = task.kind == "container" or task.kind == "importer"
  return { name = task.name, after = after, state = task.state, seconds = task.seconds, started = task.started,
    log = task.log and fs.try.read(task.log), artifacts = shows and artifacts.section(task.outputs) or nil }
end

---Writes report.html into the folder of a run.
---@param run table of `prepare`
---@param result table of kfp.run
---@return string path
function M.report(run, result)
  local by_name, graph, steps, total = {}, {}, {}, 0
  for _, task in ipairs(result.tasks) do
    by_name[task.name] = task
    total = math.max(total, (task.started or 0) + (task.seconds or 0))
  end
  for i, step in ipairs(run.plan.steps) do
    graph[i] = step_of(by_name[step.name] or { name = step.name, state = "skipped" }, step.after)
    steps[i], by_name[step.name] = graph[i], nil
  end
  for _, task in ipairs(result.tasks) do
    if by_name[task.name] and task.kind == "container" then steps[#steps + 1] = step_of(task) end
  end
  local path = fs.join(run.directory, "report.html")
  fs.write(path, report.render { name = run.plan.name, notebook = fs.basename(run.notebook), state = result.state,
    seconds = total, graph = graph, steps = steps, metrics = report.metrics(result),
    params = report.parameters(result) })
  return path
end

return M
