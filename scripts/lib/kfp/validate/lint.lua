-- What only we find: the server takes it, and the run fails, or does not do what it says. All warnings.
-- A part of kfp.validate.
local json = require "json"

local M = {}

local function sorted_keys(map)
  local keys = {}
  for key in pairs(type(map) == "table" and map or {}) do keys[#keys + 1] = key end
  table.sort(keys)
  return keys
end

local FITS = {
  NUMBER_INTEGER = function(value) return type(value) == "number" and math.tointeger(value) ~= nil end,
  NUMBER_DOUBLE = function(value) return type(value) == "number" end,
  STRING = function(value) return type(value) == "string" end,
  BOOLEAN = function(value) return type(value) == "boolean" end,
  LIST = function(value) return type(value) == "table" and json.is_array(value) end,
  STRUCT = function(value) return type(value) == "table" and not json.is_array(value) end,
}

M.FITS = FITS

---A value as it is shown: JSON, where it can be said in JSON.
---@param value any
---@return string
function M.shown(value) return json.try.encode(value) or tostring(value) end

-- --- definitions ---------------------------------------------------------------------------------------------

local function check_parameters(warn, parameters, path)
  for _, name in ipairs(sorted_keys(parameters)) do
    local parameter, place = parameters[name], path .. "." .. name
    local fits = FITS[parameter.parameterType]
    local default = parameter.defaultValue
    if fits and default ~= nil and default ~= json.null and not fits(default) then
      warn(place .. ".defaultValue", ("%s is no %s"):format(M.shown(default), parameter.parameterType))
    end
    if not parameter.parameterType and parameter.type then
      warn(place .. ".type", "the old `type` alone gives the parameter no type: write parameterType")
    end
  end
end

local function check_component_names(warn, ir)
  for _, name in ipairs(sorted_keys(ir.components)) do
    if not name:find "^[a-z0-9][a-z0-9-]*$" then
      warn("components." .. name, "the names of templates and pods come from it: only a-z, 0-9 and -")
    elseif #name > 63 then
      warn("components." .. name, "more than 63 characters are too many for a label")
    end
  end
end

-- --- executors -----------------------------------------------------------------------------------------------

local EXECUTOR = { container = true, importer = true, resolver = true, customJob = true }
local CONTAINER = { image = true, command = true, args = true, lifecycle = true, resources = true, env = true }

local function check_words(warn, path, container)
  for _, field in ipairs { "command", "args" } do
    for i, word in ipairs(type(container[field]) == "table" and container[field] or {}) do
      local place = ("%s.%s[%d]"):format(path, field, i - 1)
      if type(word) == "string" and word:find '^%s*{%s*"Concat"' then
        warn(place, "Concat is never replaced by the server")
      elseif field == "command" and i == 1 and tostring(word):find("{{$", 1, true) then
        warn(place, "a placeholder in the first word of the command is lost: put it into args")
      end
    end
  end
end

local function check_executors(warn, ir)
  local executors = (type(ir.deploymentSpec) == "table" and ir.deploymentSpec or {}).executors
  for _, label in ipairs(sorted_keys(executors)) do
    local executor, path = executors[label], "deploymentSpec.executors." .. label
    for _, name in ipairs(sorted_keys(executor)) do
      if not EXECUTOR[name] then
        warn(path .. "." .. name, ("there is no field %q here; it is passed over"):format(name))
      end
    end
    local container = type(executor) == "table" and executor.container
    for _, name in ipairs(sorted_keys(container)) do
      if not CONTAINER[name] then
        warn(("%s.container.%s"):format(path, name), ("there is no field %q here; it is passed over"):format(name))
      end
    end
    if type(container) == "table" then
      if (container.image or "") == "" then warn(path .. ".container.image", "the container has no image") end
      check_words(warn, path .. ".container", container)
    end
  end
end

-- --- tasks --------------------------------------------------------------------------------------------------------

local function declared(component, direction, group)
  return ((component or {})[direction .. "Definitions"] or {})[group] or {}
end

-- The SDK hands channels on to steps whose texts name them, though these have no such input, and so it does with a
-- step's settings that come from channels: cpu_limit, base_image and the like.
local function is_of_the_sdk(name, input)
  if name:find "^pipelinechannel%-%-" then return true end
  local constant = type(input) == "table" and (input.runtimeValue or {}).constant
  return type(constant) == "string" and constant:find "{{%$%.inputs%.parameters%['pipelinechannel%-%-" ~= nil
end

local function check_given(warn, path, task, component)
  for _, group in ipairs { "parameters", "artifacts" } do
    local inputs, given = declared(component, "input", group), (task.inputs or {})[group] or {}
    for _, name in ipairs(sorted_keys(given)) do
      if not inputs[name] and not is_of_the_sdk(name, given[name]) then
        warn(("%s.inputs.%s.%s"):format(path, group, name), "the component has no such input")
      end
    end
    local iterator = task.parameterIterator or task.artifactIterator
    for _, name in ipairs(sorted_keys(inputs)) do
      local input = inputs[name]
      local free = input.isOptional or input.defaultValue ~= nil or (iterator and iterator.itemInput == name)
      if not given[name] and not free then
        warn(("%s.inputs.%s"):format(path, group), ("the input %q gets no value"):format(name))
      end
    end
  end
end

-- Whether the pipeline around a task has the input that the task asks for.
local function check_around(warn, path, task, around)
  for group, field in pairs { parameters = "componentInputParameter", artifacts = "componentInputArtifact" } do
    for _, name in ipairs(sorted_keys((task.inputs or {})[group])) do
      local wanted = task.inputs[group][name][field]
      if wanted and not declared(around, "input", group)[wanted] then
        warn(("%s.inputs.%s.%s"):format(path, group, name), ("the pipeline around it has no input %q"):format(wanted))
      end
    end
  end
end

-- Whether the producer has the output that a task asks for.
local function check_outputs(warn, ir, path, task, tasks)
  for _, group in ipairs { "parameters", "artifacts" } do
    for _, name in ipairs(sorted_keys((task.inputs or {})[group])) do
      local input = task.inputs[group][name]
      local source = input.taskOutputParameter or input.taskOutputArtifact
      local producer = source and tasks[source.producerTask]
      local component = producer and (ir.components or {})[(producer.componentRef or {}).name]
      local key = source and (source.outputParameterKey or source.outputArtifactKey)
      if component and not declared(component, "output", group)[key] then
        warn(("%s.inputs.%s.%s"):format(path, group, name),
          ("task %q has no output %q"):format(source.producerTask, tostring(key)))
      end
    end
  end
end

local function check_constants(warn, path, task, component)
  for _, name in ipairs(sorted_keys((task.inputs or {}).parameters)) do
    local input = declared(component, "input", "parameters")[name] or {}
    local runtime = task.inputs.parameters[name].runtimeValue
    local value, fits = runtime and runtime.constant, FITS[input.parameterType]
    local placeholder = type(value) == "string" and value:find("{{$", 1, true)
    if fits and value ~= nil and value ~= json.null and not placeholder and not fits(value) then
      warn(("%s.inputs.parameters.%s"):format(path, name),
        ("%s is no %s"):format(M.shown(value), input.parameterType))
    end
  end
end

local function check_condition(warn, path, task)
  local condition = (task.triggerPolicy or {}).condition
  if not condition then return end
  local _, problem = require "cel".try.compile(condition, { variables = { "inputs" }, functions = { "parseJson" } })
  if problem then warn(path .. ".triggerPolicy.condition", problem.message) end
  for name in condition:gmatch "parameter_values%['([^']+)'%]" do
    if not ((task.inputs or {}).parameters or {})[name] then
      warn(path .. ".triggerPolicy.condition", ("it asks for the input %q, which the task does not get"):format(name))
    end
  end
end

local function check_iterator(warn, path, task)
  local raw = ((task.parameterIterator or {}).items or {}).raw
  if raw and not json.is_array(json.try.decode(raw)) then
    warn(path .. ".parameterIterator.items.raw", "it is no JSON list")
  end
end

local function check_tasks(warn, ir, around, path)
  local tasks = around.dag.tasks or {}
  for _, name in ipairs(sorted_keys(tasks)) do
    local task, place = tasks[name], ("%s.tasks.%s"):format(path, name)
    local component = (ir.components or {})[(task.componentRef or {}).name]
    if ((task.taskInfo or {}).name or "") == "" then
      warn(place .. ".taskInfo.name", "the task has no name to be shown")
    end
    if component then
      check_given(warn, place, task, component)
      check_constants(warn, place, task, component)
    end
    check_around(warn, place, task, around)
    check_outputs(warn, ir, place, task, tasks)
    check_condition(warn, place, task)
    check_iterator(warn, place, task)
  end
end

local function used_components(ir)
  local used = {}
  local function walk(dag)
    for _, task in pairs((dag or {}).tasks or {}) do
      local name = (task.componentRef or {}).name
      if name and not used[name] then
        used[name] = true
        walk(((ir.components or {})[name] or {}).dag)
      end
    end
  end
  walk(ir.root.dag)
  return used
end

---@param ir table
---@param add fun(severity: string, path: string, stage: string, message: string)
function M.check(ir, add)
  local function warn(path, message) add("warning", path, "run", message) end
  check_component_names(warn, ir)
  check_executors(warn, ir)
  check_parameters(warn, declared(ir.root, "input", "parameters"), "root.inputDefinitions.parameters")
  if ir.root.dag then check_tasks(warn, ir, ir.root, "root.dag") end
  local used = used_components(ir)
  for _, name in ipairs(sorted_keys(ir.components)) do
    local component, path = ir.components[name], "components." .. name
    check_parameters(warn, declared(component, "input", "parameters"), path .. ".inputDefinitions.parameters")
    if component.dag then check_tasks(warn, ir, component, path .. ".dag") end
    if not used[name] then warn(path, "no task uses the component") end
  end
end

return M
