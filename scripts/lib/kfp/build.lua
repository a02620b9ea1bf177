-- Builds a PipelineSpec: components from tasks, inputs wired to parameters and outputs of others.
-- Not for notebooks (kale.ir) and not for judging (kfp.validate).
--   local p = build.pipeline("demo", { parameters = { rate = 0.1 } })
--   local made = p:task("make", { image = "python:3.11", command = { … }, outputs = { data = "Dataset" } })
--   p:task("use", { image = "python:3.11", command = { … }, inputs = { data = made.data } })
--   fs.write("demo.yaml", yaml.encode(p:ir()))
local errors = require "errors"
local json = require "json"
local sorted_keys = require "kfhost.keys".sorted

local M = {}

local ARTIFACTS = {
  Artifact = true, Model = true, Dataset = true, Metrics = true, ClassificationMetrics = true,
  SlicedClassificationMetrics = true, HTML = true, Markdown = true,
}

local TYPES = {
  NUMBER_DOUBLE = true, NUMBER_INTEGER = true, STRING = true, BOOLEAN = true, LIST = true, STRUCT = true,
}

local function fail(message, ...)
  errors.raise { code = "Pipeline", message = message:format(...) }
end

---The type of a parameter that has this value.
---@param value any
---@return string
function M.type_of(value)
  if math.type(value) == "integer" then return "NUMBER_INTEGER" end
  if type(value) == "number" then return "NUMBER_DOUBLE" end
  if type(value) == "boolean" then return "BOOLEAN" end
  if type(value) == "string" then return "STRING" end
  if type(value) == "table" then return json.is_array(value) and "LIST" or "STRUCT" end
  fail("a %s is no value of a parameter", type(value))
end

-- A name as KFP's templates and pods can have it.
local function dashed(name)
  local text = name:lower():gsub("[^%l%d]+", "-"):gsub("^%-+", ""):gsub("%-+$", "")
  if text == "" then fail("%q makes no name", name) end
  return text
end

---@class kfp.Channel where a value comes from
---@field kind "parameter"|"artifact"
---@field type string
---@field task string? the task that gives it; nil for a parameter of the pipeline
---@field key string
local Channel = {}
Channel.__index = Channel

local function is_channel(value)
  return getmetatable(value) == Channel
end

-- --- tasks ---------------------------------------------------------------------------------------------------

local function artifact_type(title)
  return { schemaTitle = "system." .. title, schemaVersion = "0.0.1" }
end

local function define(definitions, name, channel_type, is_artifact)
  local group = is_artifact and "artifacts" or "parameters"
  definitions[group] = definitions[group] or {}
  definitions[group][name] = is_artifact and { artifactType = artifact_type(channel_type) }
    or { parameterType = channel_type }
end

-- How a task says where an input comes from.
local function source_of(channel)
  if not channel.task then return { componentInputParameter = channel.key } end
  if channel.kind == "artifact" then
    return { taskOutputArtifact = { producerTask = channel.task, outputArtifactKey = channel.key } }
  end
  return { taskOutputParameter = { producerTask = channel.task, outputParameterKey = channel.key } }
end

local function add_inputs(task, component, inputs, after)
  for _, name in ipairs(sorted_keys(inputs)) do
    local value = inputs[name]
    local channel = is_channel(value) and value
    local is_artifact = channel and channel.kind == "artifact"
    component.inputDefinitions = component.inputDefinitions or {}
    define(component.inputDefinitions, name, channel and channel.type or M.type_of(value), is_artifact)
    task.inputs = task.inputs or {}
    local group = is_artifact and "artifacts" or "parameters"
    task.inputs[group] = task.inputs[group] or {}
    task.inputs[group][name] = channel and source_of(channel) or { runtimeValue = { constant = value } }
    if channel and channel.task then after[channel.task] = true end
  end
end

-- The channels of a task's outputs, by name.
local function add_outputs(key, component, outputs)
  local channels = {}
  for _, name in ipairs(sorted_keys(outputs)) do
    local kind = outputs[name]
    local is_artifact = ARTIFACTS[kind]
    if not is_artifact and not TYPES[kind] then fail("output %q is of no known type: %s", name, tostring(kind)) end
    component.outputDefinitions = component.outputDefinitions or {}
    define(component.outputDefinitions, name, kind, is_artifact)
    channels[name] = setmetatable({
      kind = is_artifact and "artifact" or "parameter", type = kind, task = key, key = name,
    }, Channel)
  end
  return channels
end

local function container_of(options)
  local env
  for _, name in ipairs(sorted_keys(options.env)) do
    env = env or json.array {}
    env[#env + 1] = { name = name, value = tostring(options.env[name]) }
  end
  return {
    image = options.image, command = options.command and json.array(options.command),
    args = options.args and json.array(options.args), env = env,
  }
end

local function retry_of(count)
  if not count then return nil end
  return { maxRetryCount = count, backoffDuration = "0s", backoffFactor = 2.0, backoffMaxDuration = "3600s" }
end

-- --- the pipeline ------------------------------------------------------------------------------------------------

---@class kfp.Builder
local Builder = {}
Builder.__index = Builder

---A parameter of the pipeline.
---@param name string
---@return kfp.Channel
function Builder:parameter(name)
  local definition = (self.document.root.inputDefinitions or { parameters = {} }).parameters[name]
  if not definition then fail("the pipeline has no parameter %q", name) end
  return setmetatable({ kind = "parameter", type = definition.parameterType, key = name }, Channel)
end

---Adds a task.
---@param name string
---@param options table image, command, args, env, inputs (values and channels by name), outputs (types by name),
---  after (names of tasks), cache (true), retries, condition (CEL), exit (runs whatever happened before)
---@return table<string, kfp.Channel> outputs
function Builder:task(name, options)
  local key = dashed(name)
  local root = self.document.root.dag.tasks
  if root[key] then fail("there are two tasks named %q", name) end
  if not options.image then fail("task %q has no image", name) end
  local component, after = { executorLabel = "exec-" .. key }, {}
  local task = {
    taskInfo = { name = name }, componentRef = { name = "comp-" .. key }, retryPolicy = retry_of(options.retries),
    cachingOptions = options.cache == false and json.object {} or { enableCache = true },
  }
  add_inputs(task, component, options.inputs, after)
  for _, other in ipairs(options.after or {}) do after[dashed(other)] = true end
  local order = sorted_keys(after)
  task.dependentTasks = #order > 0 and json.array(order) or nil
  if options.condition or options.exit then
    task.triggerPolicy = {
      condition = options.condition, strategy = options.exit and "ALL_UPSTREAM_TASKS_COMPLETED" or nil,
    }
  end
  root[key] = task
  self.document.components["comp-" .. key] = component
  self.document.deploymentSpec.executors["exec-" .. key] = { container = container_of(options) }
  return add_outputs(key, component, options.outputs)
end

---The PipelineSpec.
---@return table # raises "Pipeline" when a server would refuse it
function Builder:ir()
  for _, finding in ipairs(require "kfp.validate".validate(self.document)) do
    if finding.severity == "error" then
      errors.raise { code = "Pipeline", message = finding.message, path = finding.path }
    end
  end
  return self.document
end

---Begins a pipeline.
---@param name string
---@param options {parameters: table<string, any>?, description: string?}? parameters: defaults by name
---@return kfp.Builder # raises "Pipeline"
function M.pipeline(name, options)
  options = options or {}
  local root = { dag = { tasks = json.object {} } }
  for _, key in ipairs(sorted_keys(options.parameters)) do
    local value = options.parameters[key]
    root.inputDefinitions = root.inputDefinitions or { parameters = {} }
    root.inputDefinitions.parameters[key] = { parameterType = M.type_of(value), defaultValue = value }
  end
  return setmetatable({ document = {
    pipelineInfo = { name = dashed(name), description = options.description }, schemaVersion = "2.1.0",
    sdkVersion = "kfhost-" .. require "host".version, root = root, components = json.object {},
    deploymentSpec = { executors = json.object {} },
  } }, Builder)
end

return M
