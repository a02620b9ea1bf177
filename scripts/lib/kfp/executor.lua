-- One task as a process: its executor input, its command with placeholders replaced, its outputs.
-- Not for the order of tasks: see kfp.run.
--   local job = executor.prepare(task, context); executor.start(job)
local errors = require "errors"
local fs = require "fs"
local hash = require "hash"
local json = require "json"
local proc = require "proc"
local task = require "task"

local M = {}

-- --- images ------------------------------------------------------------------------------------------

local function matches(pattern, image)
  local escaped = pattern:gsub("[%^%$%(%)%%%.%[%]%+%-%?]", "%%%0"):gsub("%*", ".*")
  return image:find("^" .. escaped .. "$") ~= nil
end

-- The local command environment of an image, or nil.
local function environment_of(image, options)
  local best
  for pattern in pairs(options.images or {}) do
    if matches(pattern, image) and (not best or #pattern > #best) then best = pattern end
  end
  if best then return options.images[best] end
  local base = image:match "([^/]+)$" or image
  if not (base:find "^python[:@]" or base == "python") then return nil end
  return { command = { options.python or "python3" }, env = {} }
end

---Checks that every task's image is known here.
---@param tasks table[]
---@param options table images, python
---@return nil # raises "Image" with the line to add
function M.check_images(tasks, options)
  for _, t in ipairs(tasks) do
    if not environment_of(t.container.image, options) then
      errors.raise {
        code = "Image",
        message = ("no local command for the image '%s' of task %s; add to images: "
          .. "[%q] = { command = { \"python3\" } }"):format(t.container.image, t.key, t.container.image),
      }
    end
  end
end

-- --- inputs and placeholders -----------------------------------------------------------------------------

local function resolve_parameters(t, context)
  local values = json.object {}
  local definitions = (t.component.inputDefinitions or {}).parameters or {}
  for name, definition in pairs(definitions) do values[name] = definition.defaultValue end
  for name, input in pairs((t.entry.inputs or {}).parameters or {}) do
    if input.componentInputParameter then
      values[name] = context.params[input.componentInputParameter]
    elseif input.runtimeValue then
      values[name] = input.runtimeValue.constant
    elseif input.taskOutputParameter then
      local source = input.taskOutputParameter
      values[name] = context.results[source.producerTask].parameters[source.outputParameterKey]
    end
  end
  return values
end

local function resolve_artifacts(t, context)
  local artifacts = json.object {}
  for name, input in pairs((t.entry.inputs or {}).artifacts or {}) do
    local source = input.taskOutputArtifact
    local list = source and context.results[source.producerTask].artifacts[source.outputArtifactKey]
    if list then artifacts[name] = { artifacts = json.array(list) } end
  end
  return artifacts
end

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

local function as_text(value)
  if type(value) == "string" then return value end
  return value == nil and "" or json.encode(value, { sort = true })
end

-- What {{$…}} means, by the path between {{$ and }}.
local function placeholder(path, input, context, t)
  if path == "" then return json.encode(input, { sort = true }) end
  local direction, group, name, rest = path:match "^%.(%a+)%.(%a+)%[['\"](.-)['\"]%]%.?(.*)$"
  if direction == "inputs" and group == "parameters" then return as_text(input.inputs.parameterValues[name]) end
  if group == "artifacts" and input[direction] and input[direction].artifacts[name] then
    return input[direction].artifacts[name].artifacts[1].uri, rest
  end
  if direction == "outputs" and group == "parameters" then return input.outputs.parameters[name].outputFile end
  local known = {
    [".outputs.output_file"] = input.outputs.outputFile, [".pipeline_job_name"] = context.name,
    [".pipeline_job_resource_name"] = context.name, [".pipeline_job_uuid"] = context.id,
    [".pipeline_task_name"] = t.key, [".pipeline_task_uuid"] = context.id .. "-" .. t.key,
  }
  return known[path]
end

local function fill(word, input, context, t)
  if not word:find("{{$", 1, true) then return word end
  return (word:gsub("{{%$(.-)}}", function(path)
    local value = placeholder(path, input, context, t)
    if value == nil then
      errors.raise { code = "Pipeline", message = ("task %s: no placeholder {{$%s}}"):format(t.key, path) }
    end
    return value
  end))
end

-- --- preparing ---------------------------------------------------------------------------------------------

local function command_of(t, input, context)
  local environment = environment_of(t.container.image, context.options)
  local words = {}
  for _, list in ipairs { t.container.command or {}, t.container.args or {} } do
    for _, word in ipairs(list) do words[#words + 1] = fill(word, input, context, t) end
  end
  local prefix = environment.command or {}
  if words[1] and words[1]:find "^python3?$" and #prefix == 1 then
    words[1] = prefix[1]
  else
    table.move(words, 1, #words, #prefix + 1)
    table.move(prefix, 1, #prefix, 1, words)
  end
  return words, environment.env or {}
end

-- What decides whether a task's outputs would be the same: its container and what comes in, by content.
local function cache_key(t, input)
  local contents = {}
  for name, entry in pairs(input.inputs.artifacts) do
    contents[name] = hash.sha256(fs.read(entry.artifacts[1].uri))
  end
  return hash.sha256(json.encode({
    container = t.container, parameters = input.inputs.parameterValues, artifacts = contents,
    outputs = t.component.outputDefinitions or json.object {},
  }, { sort = true }))
end

---Everything that is needed to start a task.
---@param t table of kfp.check
---@param context table name, id, root, params, results, options
---@return table job
function M.prepare(t, context)
  local directory = fs.join(context.root, t.key)
  fs.mkdir(directory, { parents = true })
  local output_file = fs.join(directory, "executor_output.json")
  local input = {
    inputs = { parameterValues = resolve_parameters(t, context), artifacts = resolve_artifacts(t, context) },
    outputs = {
      artifacts = output_artifacts(t, directory), parameters = output_parameters(t, directory),
      outputFile = output_file,
    },
  }
  for _, parameter in pairs(input.outputs.parameters) do
    fs.mkdir(fs.dirname(parameter.outputFile), { parents = true })
  end
  local words, env = command_of(t, input, context)
  for _, pair in ipairs(t.container.env or {}) do env[pair.name] = fill(pair.value or "", input, context, t) end
  return {
    task = t, input = input, words = words, env = env, directory = directory, log = fs.join(directory, "log.txt"),
    key = context.options.cache and (t.entry.cachingOptions or {}).enableCache and cache_key(t, input) or nil,
  }
end

-- --- running -------------------------------------------------------------------------------------------------

local function follow(process, stream, log, on_line)
  for line in process:lines(stream) do
    log:write(line, "\n")
    log:flush()
    if not line:find "^KFHOST%-METRIC " then on_line(stream, line) end
  end
end

---Runs a prepared task to its end.
---@param job table of M.prepare
---@param cwd string? working directory
---@param on_line fun(stream: string, line: string)
---@return integer exit_code 128 + the signal's number when one ended it
function M.execute(job, cwd, on_line)
  local options = { cwd = cwd, env = job.env, stdin = "null", stdout = "pipe", stderr = "pipe", grace = 2 }
  table.move(job.words, 1, #job.words, 1, options)
  local log <close> = assert(io.open(job.log, "w"))
  local process <close> = proc.spawn(options)
  task.all {
    function() follow(process, "stdout", log, on_line) end,
    function() follow(process, "stderr", log, on_line) end,
  }
  local exit = process:wait()
  return exit.code or 128 + exit.signal
end

-- --- outputs -------------------------------------------------------------------------------------------------

local parse = {
  NUMBER_INTEGER = function(text) return math.tointeger(tonumber(text)) end,
  NUMBER_DOUBLE = function(text) return tonumber(text) end,
  BOOLEAN = function(text) return text:lower() == "true" end,
  STRING = function(text) return text end,
}

---What a task that succeeded made.
---@param job table
---@return {parameters: table, artifacts: table, metrics: table<string, number>}
function M.results(job)
  local results = { parameters = {}, artifacts = {}, metrics = {} }
  local definitions = job.task.component.outputDefinitions or {}
  for name, entry in pairs(job.input.outputs.artifacts) do results.artifacts[name] = entry.artifacts end
  for name, definition in pairs(definitions.parameters or {}) do
    local text = fs.try.read(job.input.outputs.parameters[name].outputFile)
    local read = parse[definition.parameterType] or json.decode
    if text then results.parameters[name] = read(text) end
  end
  local text = fs.try.read(job.input.outputs.outputFile)
  local output = text and json.decode(text, { duplicates = "last" }) or {}
  for name, value in pairs(output.parameterValues or {}) do results.parameters[name] = value end
  for name, entry in pairs(output.artifacts or {}) do
    if results.artifacts[name] then
      local artifact = results.artifacts[name][1]
      for key, value in pairs(entry.artifacts[1] or {}) do artifact[key] = value end
      local title = ((definitions.artifacts[name] or {}).artifactType or {}).schemaTitle
      if title == "system.Metrics" then
        for metric, value in pairs(artifact.metadata or {}) do
          if type(value) == "number" then results.metrics[metric] = value end
        end
      end
    end
  end
  return results
end

return M
