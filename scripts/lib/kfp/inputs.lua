-- What comes into a task: values and artifacts of other tasks, of the pipeline around it, and constants.
-- Not for how a step gets them: see kfp.executor.
--   local parameters, artifacts = inputs.read(t, scope)
local errors = require "errors"
local json = require "json"
local placeholders = require "kfp.placeholders"

local M = {}

---@class kfp.Scope one dag that runs
---@field parameters table<string, any>
---@field artifacts table<string, table[]> lists of artifacts
---@field results table<string, {parameters: table, artifacts: table}> by task
---@field jobs table<string, table> by task

local function fail(message, ...)
  errors.raise { code = "Pipeline", message = message:format(...) }
end

local STATUS = { succeeded = "SUCCEEDED", cached = "SUCCEEDED", skipped = "SKIPPED", failed = "FAILED",
  cancelled = "CANCELLED" }

local function final_status(name, scope, context)
  local job = scope.jobs[name]
  local status = {
    state = STATUS[job.state], pipelineJobResourceName = context.names.pipeline_job_resource_name,
    pipelineTaskName = name, error = json.object {},
  }
  if job.state == "failed" then status.error = { code = job.exit or 1, message = job.error or "failed" } end
  return status
end

local function has_placeholders(value)
  if type(value) == "string" then return value:find("{{$", 1, true) ~= nil end
  for _, inner in pairs(type(value) == "table" and value or {}) do
    if has_placeholders(inner) then return true end
  end
  return false
end

-- A constant with its placeholders replaced, those in lists and records too.
local function filled(value, input, names)
  if type(value) == "string" then return placeholders.fill(value, input, names) end
  if type(value) ~= "table" then return value end
  local copy = setmetatable({}, getmetatable(value))
  for key, inner in pairs(value) do copy[key] = filled(inner, input, names) end
  return copy
end

-- The output of a task beside this one; nil when the task did not run or did not make it.
local function output(scope, producer, group, key)
  local results = scope.results[producer]
  return results and results[group][key]
end

local function parameter(input, scope, context)
  if input.runtimeValue then
    local value, name = input.runtimeValue.constant, input.runtimeValue.runtimeParameter
    if value == nil and name then value = scope.parameters[name] end
    return value, has_placeholders(value)
  end
  if input.componentInputParameter then return scope.parameters[input.componentInputParameter] end
  if input.taskFinalStatus then return final_status(input.taskFinalStatus.producerTask, scope, context) end
  local source = input.taskOutputParameter
  if not source then fail "an input without a source" end
  return output(scope, source.producerTask, "parameters", source.outputParameterKey)
end

-- A missing value is an error, unless the input may be left out.
local function check_missing(t, name, input, definition)
  if definition.isOptional or definition.defaultValue ~= nil then return end
  local source = input.taskOutputParameter or input.taskOutputArtifact
  if source then
    fail("input '%s' needs '%s' of task %s, which did not make it", name,
      source.outputParameterKey or source.outputArtifactKey, source.producerTask)
  end
  -- What the pipeline around it was not given, either: whether that matters, the step says.
  if t.kind == "dag" then return end
  fail("input '%s' has no value", name)
end

local function select(program, value)
  local variables = { struct_value = value, string_value = value, list_value = value, number_value = value,
    bool_value = value }
  return program:eval(variables)
end

local function read_parameters(t, scope, context)
  local values, texts = json.object {}, {}
  local definitions = (t.component.inputDefinitions or {}).parameters or {}
  for name, input in pairs((t.entry.inputs or {}).parameters or {}) do
    local value, has_names = parameter(input, scope, context)
    if value ~= nil and value ~= json.null and t.selectors[name] then value = select(t.selectors[name], value) end
    if value == nil or value == json.null then
      check_missing(t, name, input, definitions[name] or { isOptional = true })
    else
      values[name] = value
      if has_names then texts[#texts + 1] = name end
    end
  end
  for name, definition in pairs(definitions) do
    if values[name] == nil and definition.defaultValue ~= nil and definition.defaultValue ~= json.null then
      values[name] = definition.defaultValue
    end
  end
  return values, texts
end

local function read_artifacts(t, scope)
  local artifacts = {}
  local definitions = (t.component.inputDefinitions or {}).artifacts or {}
  for name, input in pairs((t.entry.inputs or {}).artifacts or {}) do
    local source, list = input.taskOutputArtifact, nil
    if source then list = output(scope, source.producerTask, "artifacts", source.outputArtifactKey)
    elseif input.componentInputArtifact then list = scope.artifacts[input.componentInputArtifact] end
    if list then artifacts[name] = list
    else check_missing(t, name, input, definitions[name] or { isOptional = true }) end
  end
  return artifacts
end

---The inputs of a task where it stands.
---@param t table a task of kfp.check
---@param scope kfp.Scope
---@param context table of the run
---@param names table<string, string> what placeholders stand for; [1] will be the task
---@return table<string, any> parameters
---@return table<string, table[]> artifacts # raises "Pipeline" or "Expression"
function M.read(t, scope, context, names)
  local values, texts = read_parameters(t, scope, context)
  -- Constants may name other inputs of the same task; what users give is never looked into.
  local input = { inputs = { parameterValues = values, artifacts = {} }, outputs = { parameters = {}, artifacts = {} } }
  names[1] = t
  for _, name in ipairs(texts) do values[name] = filled(values[name], input, names) end
  return values, read_artifacts(t, scope)
end

---The items of a loop.
---@param t table
---@param parameters table<string, any> of read
---@param artifacts table<string, table[]> of read
---@return any[] # raises "Pipeline"
function M.items(t, parameters, artifacts)
  local iterator = t.iterator
  if iterator.items then return iterator.items end
  if iterator.artifact then
    return artifacts[iterator.artifact] or fail("the loop's artifacts '%s' are not there", iterator.artifact)
  end
  local value = parameters[iterator.parameter]
  if type(value) == "string" then value = json.try.decode(value, { duplicates = "last" }) or value end
  if type(value) ~= "table" or not (json.is_array(value) or next(value) == nil) then
    fail("the loop's items '%s' are no list: %s", iterator.parameter, json.encode(value or json.null))
  end
  return value
end

-- --- outputs of a dag -----------------------------------------------------------------------------------

local function of_selectors(selectors, scope, group, key)
  local found, count
  for _, selector in ipairs(selectors) do
    local value = output(scope, selector.producerSubtask, group, selector[key])
    if value ~= nil then
      found, count = value, (count or 0) + 1
    end
  end
  return found, count or 0
end

---What a dag that has run hands on.
---@param dag table of kfp.check
---@param scope kfp.Scope
---@return {parameters: table, artifacts: table} # raises "Pipeline" when none of several branches made an output
function M.outputs(dag, scope)
  local results = { parameters = {}, artifacts = {} }
  for name, from in pairs(dag.outputs.parameters or {}) do
    local one = from.valueFromParameter
    if one then
      results.parameters[name] = output(scope, one.producerSubtask, "parameters", one.outputParameterKey)
    else
      local selectors = (from.valueFromOneof or {}).parameterSelectors or {}
      local value, count = of_selectors(selectors, scope, "parameters", "outputParameterKey")
      if count ~= 1 then fail("%d branches made the output '%s', not one", count, name) end
      results.parameters[name] = value
    end
  end
  for name, from in pairs(dag.outputs.artifacts or {}) do
    local selectors = from.artifactSelectors or {}
    local value, count = of_selectors(selectors, scope, "artifacts", "outputArtifactKey")
    if #selectors > 1 and count ~= 1 then fail("%d branches made the output '%s', not one", count, name) end
    results.artifacts[name] = value
  end
  return results
end

---The outputs of a loop: lists of what its rounds made, in their order.
---@param rounds {parameters: table, artifacts: table}[]
---@return {parameters: table, artifacts: table}
function M.collect(rounds, definitions)
  local results = { parameters = {}, artifacts = {} }
  for name in pairs((definitions or {}).parameters or {}) do
    local list = json.array {}
    for _, round in ipairs(rounds) do
      -- A round whose branch was not taken has nothing to give.
      if round.parameters[name] ~= nil then list[#list + 1] = round.parameters[name] end
    end
    results.parameters[name] = list
  end
  for name in pairs((definitions or {}).artifacts or {}) do
    local list = {}
    for _, round in ipairs(rounds) do
      for _, artifact in ipairs(round.artifacts[name] or {}) do list[#list + 1] = artifact end
    end
    results.artifacts[name] = list
  end
  return results
end

return M
