-- One step as a process: its executor input, its command with placeholders replaced, its outputs.
-- Not for the order of tasks: see kfp.run.
--   local job = executor.prepare(t, place, context); executor.execute(job, context, on_line)
local errors = require "errors"
local fs = require "fs"
local images = require "kfp.images"
local json = require "json"
local mounts = require "kfp.mounts"
local placeholders = require "kfp.placeholders"
local proc = require "proc"
local task = require "task"
local task_config = require "kfp.task_config"
local tree = require "kfp.tree"

local M = {}

local proc_try = errors.try(proc)

-- --- preparing ---------------------------------------------------------------------------------------------

local function output_artifacts(t, directory)
  local artifacts = json.object {}
  for name, definition in pairs((t.component.outputDefinitions or {}).artifacts or {}) do
    artifacts[name] = {
      artifacts = json.array {
        { name = name, uri = fs.join(directory, name), type = definition.artifactType, metadata = json.object {} },
      },
    }
  end
  return artifacts
end

local function output_parameters(t, directory)
  local parameters = json.object {}
  for name in pairs((t.component.outputDefinitions or {}).parameters or {}) do
    parameters[name] = { outputFile = fs.join(directory, "parameters", name) }
  end
  return parameters
end

---The executor input of a task, as the KFP launcher would hand it over.
---@param t table
---@param place {directory: string, parameters: table, artifacts: table}
---@return table input
function M.input(t, place)
  local artifacts = json.object {}
  for name, list in pairs(place.artifacts) do
    artifacts[name] = { artifacts = json.array(table.move(list, 1, #list, 1, {})) }
  end
  return {
    inputs = { parameterValues = place.parameters, artifacts = artifacts },
    outputs = {
      artifacts = output_artifacts(t, place.directory), parameters = output_parameters(t, place.directory),
      outputFile = fs.join(place.directory, "executor_output.json"),
    },
  }
end

-- Variables that secrets give: from what the user says stands for them, else from this program's own environment.
local function add_secrets(t, env, place, scope, context, notes)
  local given = {}
  for _, secret in ipairs(t.platform.secretAsEnv or {}) do
    local name = mounts.secret_name(secret, place, scope)
    local values = context.secrets[name]
    for _, pair in ipairs(secret.keyToEnv or {}) do
      local value = values and values[pair.secretKey]
      given[pair.envVar] = value or not values and os.getenv(pair.envVar) or nil
      if value then
        env[pair.envVar] = value
      elseif values and not secret.optional then
        notes[#notes + 1] = ("what stands for secret '%s' has no key '%s', which gives %s"):format(tostring(name),
          pair.secretKey, pair.envVar)
      elseif not env[pair.envVar] and not os.getenv(pair.envVar) and not secret.optional then
        notes[#notes + 1] = ("secret '%s' gives %s on a cluster; here it is not set"):format(tostring(name),
          pair.envVar)
      end
    end
  end
  return given
end

---What placeholders stand for in a task.
---@param place {path: string, directory: string, name: string}
---@param context table
---@return table<string, string>
function M.names(place, context)
  local names = setmetatable({}, { __index = context.names })
  names["outputs.output_file"] = fs.join(place.directory, "executor_output.json")
  names.outputMetadataUri = names["outputs.output_file"]
  names.pipeline_task_name = place.name
  names.pipeline_task_uuid = context.id .. "-" .. place.path:gsub("/", "-")
  return names
end

---Everything that is needed to start a step.
---@param t table of kfp.check
---@param place {name: string, path: string, directory: string, parameters: table, artifacts: table}
---@param context table root, id, names, options, claims, secrets
---@param scope kfp.Scope
---@return table job input, words, env, directory, log, notes, claims, given (values of secrets)
function M.prepare(t, place, context, scope)
  local directory = place.directory
  fs.mkdir(directory, { parents = true })
  local names = M.names(place, context)
  names[1] = t
  local withheld = task_config.add(t, place, scope, context, names)
  local input = M.input(t, place)
  if next(input.outputs.parameters) then fs.mkdir(fs.join(directory, "parameters"), { parents = true }) end
  local words = placeholders.words({ t.container.command or {}, t.container.args or {} }, input, names)
  local workspace = context.names.workspace_path
  for i, word in ipairs(words) do
    if word:find("/kfp-workspace", 1, true) and not word:find "^{" then
      words[i] = word:gsub("/kfp%-workspace", (workspace:gsub("%%", "%%%%")))
    end
  end
  local image = placeholders.fill(t.container.image, input, names)
  local environment = images.find(image, context.options)
  if not environment then images.check({ { path = place.path, image = image } }, context.options) end
  local started, env = images.start(environment, words, context.root,
    fs.join(directory, ".packages"))
  for _, pair in ipairs(not withheld.ENV and t.container.env or {}) do
    env[pair.name] = placeholders.fill(pair.value or "", input, names)
  end
  for name, value in pairs(context.options.env or {}) do env[name] = value end
  local job = {
    task = t, input = input, words = started, env = env, directory = directory, log = fs.join(directory, "log.txt"),
    timeout = tonumber(t.platform.activeDeadlineSeconds), image = image, program = started[1], claims = {},
  }
  job.mounts, job.notes = mounts.of(t, place, scope, context, withheld.KUBERNETES_VOLUMES)
  for _, mount in ipairs(job.mounts) do job.claims[#job.claims + 1] = mount.claim end
  job.given = withheld.ENV and {} or add_secrets(t, env, place, scope, context, job.notes)
  return job
end

-- --- running -------------------------------------------------------------------------------------------------

local function follow(process, stream, log, on_line)
  for line in process:lines(stream) do
    log:write(line, "\n")
    log:flush()
    on_line(stream, line)
  end
end

-- A value that is a word of a command has its limit, on a cluster too.
local function start(options)
  local process, problem = proc_try.spawn(options)
  if process then return process end
  if not errors.is(problem, "E2BIG") then error(problem, 0) end
  local longest = 0
  for _, word in ipairs(options) do longest = math.max(longest, #word) end
  return errors.raise { code = "Pipeline", cause = problem, message = ("its command is too long (a word of %d bytes; "
    .. "Linux takes 131071, on a cluster too): a value that large is better an artifact"):format(longest) }
end

---Runs a prepared step to its end. While it runs, job.process is its process.
---@param job table of M.prepare
---@param options table cwd, rlimits
---@param on_line fun(stream: string, line: string)
---@return integer? exit_code 128 + the signal's number when one ended it; nil when its time was over
function M.execute(job, options, on_line)
  local started = {
    cwd = options.cwd, env = job.env, stdin = "null", stdout = "pipe", stderr = "pipe", grace = 2,
    rlimits = options.rlimits, ends_all = true,  -- as a container ends with its first process
  }
  table.move(job.words, 1, #job.words, 1, started)
  local log <close> = assert(io.open(job.log, job.attempt and job.attempt > 1 and "a" or "w"))
  if job.attempt and job.attempt > 1 then log:write(("--- attempt %d ---\n"):format(job.attempt)) end
  local process <close> = start(started)
  job.process = process
  local function read_all()
    task.all {
      function() follow(process, "stdout", log, on_line) end,
      function() follow(process, "stderr", log, on_line) end,
    }
  end
  local in_time, problem = true, nil
  if job.timeout then in_time, problem = pcall(task.timeout, job.timeout, read_all) else read_all() end
  if not in_time and not errors.is(problem, "Timeout") then error(problem, 0) end
  if not in_time then process:stop() end
  local exit = process:wait()
  job.process = nil
  return in_time and (exit.code or 128 + exit.signal) or nil
end

-- --- outputs -------------------------------------------------------------------------------------------------

local parse = {
  NUMBER_INTEGER = function(text)
    local number = tonumber(text)
    return number and math.tointeger(number)
  end,
  NUMBER_DOUBLE = function(text) return tonumber(text) end,
  BOOLEAN = function(text)
    local lower = text:lower()
    if lower == "true" then return true elseif lower == "false" then return false end
    return nil
  end,
  STRING = function(text) return text end,
}

local function read_parameter(name, definition, text)
  local read = parse[definition.parameterType] or json.try.decode
  local value = read(text)
  if value == nil then
    errors.raise {
      code = "Pipeline",
      message = ("the output '%s' is %s, not %s"):format(name, definition.parameterType, json.encode(text)),
    }
  end
  return value
end

local function read_metrics(artifact, metrics)
  for metric, value in pairs(artifact.metadata or {}) do
    if type(value) == "number" then metrics[metric] = value end
  end
end

-- A step may write an artifact to a path of its own: others look for it at its address.
local function bring_home(artifact)
  local from, to = artifact.custom_path, placeholders.local_path(artifact.uri or "")
  if not from or from == "" then return end
  if from ~= to and to ~= "" and fs.exists(from) and not fs.exists(to) then
    fs.mkdir(fs.dirname(to), { parents = true })
    tree.copy(from, to)
  end
  artifact.custom_path = nil
end

---What a step that succeeded made.
---@param t table
---@param input table the executor input
---@return {parameters: table, artifacts: table, metrics: table<string, number>} # raises "Pipeline", "JSON"
function M.results(t, input)
  local results = { parameters = {}, artifacts = {}, metrics = {} }
  local definitions = t.component.outputDefinitions or {}
  for name, entry in pairs(input.outputs.artifacts) do results.artifacts[name] = entry.artifacts end
  for name, definition in pairs(definitions.parameters or {}) do
    local text = fs.try.read(input.outputs.parameters[name].outputFile)
    if text then results.parameters[name] = read_parameter(name, definition, text) end
  end
  local text = fs.try.read(input.outputs.outputFile)
  local output = text and text:find "%S" and json.decode(text, { duplicates = "last" }) or {}
  for name, value in pairs(output.parameterValues or {}) do
    if value ~= json.null then results.parameters[name] = value end
  end
  for name, entry in pairs(output.artifacts or {}) do
    if results.artifacts[name] then
      local artifact = results.artifacts[name][1]
      for key, value in pairs((entry.artifacts or {})[1] or {}) do artifact[key] = value end
      bring_home(artifact)
      local title = ((definitions.artifacts[name] or {}).artifactType or {}).schemaTitle
      if title == "system.Metrics" then read_metrics(artifact, results.metrics) end
    end
  end
  return results
end

return M
