-- A notebook run on this machine: compiled into a run directory, whose pipeline file is then run.
-- Not for running pipelines (kfp.run), which knows nothing of notebooks.
--   local r = run.prepare("train.ipynb", {}); local result = run.execute(r, { params = { rate = 0.1 } })
local choice = require "kale.choice"
local errors = require "errors"
local fs = require "fs"
local hash = require "hash"
local history = require "kale.history"
local ir = require "kale.ir"
local json = require "json"
local kfp = require "kfp"
local notebook = require "kale.notebook"
local plan = require "kale.plan"
local salt = require "kale.salt"

local M = {}

-- --- parameters --------------------------------------------------------------------------------------

local readers = {
  NUMBER_INTEGER = function(text) return math.tointeger(tonumber(text)) end,
  NUMBER_DOUBLE = function(text)
    local number = tonumber(text)
    return number and number - number == 0 and number + 0.0 or nil  -- JSON has no infinity
  end,
  STRING = function(text) return utf8.len(text) and text or nil end,
  BOOLEAN = function(text)
    local lower = text:lower()
    if lower == "true" or lower == "1" then return true end
    if lower == "false" or lower == "0" then return false end
    return nil
  end,
}

for kind, is_it in pairs { LIST = json.is_array, STRUCT = function(value) return not json.is_array(value) end } do
  readers[kind] = function(text)
    local value = json.try.decode(text)
    return type(value) == "table" and is_it(value) and value or nil
  end
end

local WANTED = {
  LIST = "a list as JSON", STRUCT = "an object as JSON",
  NUMBER_INTEGER = "an integer", NUMBER_DOUBLE = "a number", BOOLEAN = "true or false", STRING = "a text in UTF-8",
}

---Reads "name=value" words by the types that a pipeline declares.
---@param words string[]
---@param definitions table<string, {parameterType: string}> root.inputDefinitions.parameters
---@return table<string, any> # raises "Usage"
function M.parameters(words, definitions)
  local params = {}
  for _, word in ipairs(words) do
    local name, text = word:match "^([^=]+)=(.*)$"
    if not name then errors.raise { code = "Usage", message = ("'%s' is not NAME=VALUE"):format(word) } end
    local definition = definitions[name]
    if not definition then
      local known = {}
      for key in pairs(definitions) do known[#known + 1] = key end
      table.sort(known)
      local there = #known == 0 and "is none" or "are " .. table.concat(known, ", ")
      errors.raise { code = "Usage", message = ("no parameter '%s'; there %s"):format(name, there) }
    end
    local read = readers[definition.parameterType]
    local value = read and read(text)
    if value == nil then
      errors.raise {
        code = "Usage",
        message = ("parameter '%s' is %s, not '%s'"):format(name, WANTED[definition.parameterType] or "of a type that "
          .. "cannot be given here", text),
      }
    end
    params[name] = value
  end
  return params
end

-- --- the run directory ---------------------------------------------------------------------------------

---A new folder for a run.
---@param runs string where run folders lie
---@param name string of the pipeline
---@return string
function M.directory(runs, name)
  fs.mkdir(runs, { parents = true })
  local stamp = os.date "!%Y%m%dT%H%M%SZ"
  local directory
  repeat directory = fs.join(runs, ("%s-%s-%s"):format(stamp, name, hash.random_hex(2))) until not fs.exists(directory)
  fs.mkdir(directory)
  fs.try.symlink(fs.basename(directory), fs.join(runs, "latest"))
  return directory
end

---Compiles a notebook into a new run directory.
---@param path string the notebook
---@param options {runs: string?, python: string?, from: string?, only: string?, infer: boolean?} runs: where run
---  directories lie; .kfhost/runs beside the notebook without it. python: who is asked for syntax errors. from, only:
---  as of kale.choice. infer: as of kale.plan
---@return {plan: table, directory: string, notebook: string, choose: function?, unchecked: string?} run unchecked: why
---  the interpreter was not asked # raises "Notebook" when it has errors
function M.prepare(path, options)
  local nb = notebook.read(path, { tolerant = true })
  local made = plan.make(nb, { infer = options.infer })
  local unchecked = require "kale.pycheck".extend(made, nb, options.python)
  local pipeline, platform = ir.build(made)
  local runs = history.folder(path, options.runs)
  local choose, reused = choice.new(made, ir.task_names(made), history.list(runs, path), options)
  local directory = fs.realpath(M.directory(runs, pipeline.pipelineInfo.name))
  fs.write(fs.join(directory, "pipeline.yaml"), ir.pieces(pipeline, platform))
  local known = { notebook = fs.realpath(path), steps = M.step_names(made) }
  fs.write(fs.join(directory, "steps.json"), json.encode(known, { sort = true }))
  return {
    plan = made, directory = directory, notebook = known.notebook, choose = choose, reused = reused or {},
    unchecked = unchecked,
  }
end

-- What decides a step besides the pipeline: the files beside the notebook that its code names.
local function salts(run)
  local by_task, names = {}, ir.task_names(run.plan)
  for _, step in ipairs(run.plan.steps) do by_task[names[step.name]] = step end
  return function(task)
    return by_task[task] and salt.of(by_task[task], fs.dirname(run.notebook))
  end
end

-- Steps that are taken from a run with other parameters, each in a note.
local function tell_differences(run, params, definitions, on_event)
  local all, tasks = {}, ir.task_names(run.plan)
  for key, definition in pairs(definitions) do all[key] = definition.defaultValue end
  for key, value in pairs(params) do all[key] = value end
  for _, step in ipairs(on_event and run.plan.steps or {}) do
    local folder = run.reused[step.name]
    local text = folder and choice.differences(run.plan, step.name, folder, all)
    if text then on_event { type = "note", name = tasks[step.name], text = text } end
  end
end

---Runs the pipeline file of a run directory.
---@param run table of M.prepare
---@param options {params: string[]?, jobs: integer?, python: string?, cache: boolean?, fail_fast: boolean?,
---  images: table?, rlimits: table?, volumes: table?, secrets: table?, on_event: fun(event: table)?}
---@return table result of kfp.run
function M.execute(run, options)
  local text = fs.read(fs.join(run.directory, "pipeline.yaml"))
  local pipeline, platform = kfp.decode(text)
  local inputs = pipeline.root and pipeline.root.inputDefinitions or {}
  local params = M.parameters(options.params or {}, inputs.parameters or {})
  tell_differences(run, params, inputs.parameters or {}, options.on_event)
  return kfp.run(pipeline, {
    params = params, root = run.directory,
    platform = platform, jobs = options.jobs, python = options.python, cache = options.cache or false,
    fail_fast = options.fail_fast, images = options.images, rlimits = options.rlimits, volumes = options.volumes,
    secrets = options.secrets, choose = run.choose,
    salt = salts(run), env = { KFHOST_WORKING_DIR = false }, cwd = fs.dirname(run.notebook),
    on_event = options.on_event,
  })
end

---The names of a plan's steps by the names of the pipeline's tasks.
---@param made table the plan
---@return table<string, string>
function M.step_names(made)
  local names = {}
  for step, task in pairs(ir.task_names(made)) do names[task] = step end
  return names
end

---The names of the pipeline's tasks in the order of a plan's steps.
---@param made table the plan
---@return string[]
function M.tasks(made)
  local tasks, list = ir.task_names(made), {}
  for i, step in ipairs(made.steps) do list[i] = tasks[step.name] end
  return list
end

return M
