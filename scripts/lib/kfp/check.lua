-- What must hold before a pipeline is started here: everything in it is understood, its parameters fit.
-- Not for what a KFP server checks.
--   local params = check.parameters(ir, { rate = 0.1 }); check.tasks(ir)
local errors = require "errors"
local json = require "json"

local M = {}

local function fail(path, message)
  errors.raise { code = "Pipeline", message = message, path = path }
end

local function unsupported(path, what)
  errors.raise { code = "Unsupported", message = what .. " cannot be run on this machine yet", path = path }
end

-- --- parameters ----------------------------------------------------------------------------------------

local fits = {
  NUMBER_INTEGER = function(value) return type(value) == "number" and math.tointeger(value) ~= nil end,
  NUMBER_DOUBLE = function(value) return type(value) == "number" end,
  STRING = function(value) return type(value) == "string" end,
  BOOLEAN = function(value) return type(value) == "boolean" end,
  LIST = function(value) return type(value) == "table" and (json.is_array(value) or next(value) == nil) end,
  STRUCT = function(value) return type(value) == "table" and not json.is_array(value) end,
}

---The values of the pipeline's parameters: those given, and the defaults of the others.
---@param ir table
---@param given table<string, any>
---@return table<string, any> # raises "Parameter" for a missing, unknown or wrong one
function M.parameters(ir, given)
  local definitions = ((ir.root or {}).inputDefinitions or {}).parameters or {}
  local values = {}
  for name in pairs(given) do
    if not definitions[name] then
      errors.raise { code = "Parameter", message = ("the pipeline has no parameter '%s'"):format(name) }
    end
  end
  for name, definition in pairs(definitions) do
    local value = given[name]
    if value == nil then value = definition.defaultValue end
    if value == nil and not definition.isOptional then
      errors.raise { code = "Parameter", message = ("parameter '%s' has no value and no default"):format(name) }
    end
    local fit = fits[definition.parameterType]
    if value ~= nil and value ~= json.null and fit and not fit(value) then
      errors.raise {
        code = "Parameter",
        message = ("parameter '%s' is %s, not %s"):format(name, definition.parameterType, json.encode(value)),
      }
    end
    values[name] = value
  end
  return values
end

-- --- tasks -----------------------------------------------------------------------------------------------

local function check_task(ir, key, entry)
  local path = "$.root.dag.tasks." .. key
  local name = (entry.componentRef or {}).name
  local component = name and (ir.components or {})[name]
  if not component then fail(path, ("there is no component '%s'"):format(tostring(name))) end
  if component.dag then unsupported(path, "a nested pipeline") end
  if entry.parameterIterator or entry.artifactIterator then unsupported(path, "a loop") end
  if (entry.triggerPolicy or {}).condition then unsupported(path, "a condition") end
  if (entry.triggerPolicy or {}).strategy == "ALL_UPSTREAM_TASKS_COMPLETED" then
    unsupported(path, "an exit handler")
  end
  if entry.retryPolicy then unsupported(path, "a retry policy") end
  local executor = ((ir.deploymentSpec or {}).executors or {})[component.executorLabel]
  if not executor then fail(path, ("there is no executor '%s'"):format(tostring(component.executorLabel))) end
  if not executor.container then unsupported(path, "an executor without a container") end
  if not executor.container.image then fail(path, "the container has no image") end
  for name_in, input in pairs((entry.inputs or {}).parameters or {}) do
    local place = path .. ".inputs.parameters." .. name_in
    if input.parameterExpressionSelector then unsupported(place, "an expression") end
    if input.taskFinalStatus then unsupported(place, "a final status") end
  end
  return { key = key, entry = entry, component = component, container = executor.container }
end

-- The tasks that a task's inputs come from.
local function producers(entry)
  local set = {}
  for _, group in pairs { "parameters", "artifacts" } do
    for _, input in pairs((entry.inputs or {})[group] or {}) do
      local source = input.taskOutputParameter or input.taskOutputArtifact
      if source then set[source.producerTask] = true end
    end
  end
  for _, name in ipairs(entry.dependentTasks or {}) do set[name] = true end
  return set
end

local function sorted(set)
  local list = {}
  for name in pairs(set) do list[#list + 1] = name end
  table.sort(list)
  return list
end

-- Puts the task after all that it waits for; without recursion, as chains may be long.
local function visit(tasks, first, state, order)
  local stack = { { key = first, at = 1 } }
  if state[first] then return end
  state[first] = "open"
  while #stack > 0 do
    local top = stack[#stack]
    local name = tasks[top.key].after_list[top.at]
    top.at = top.at + 1
    if not name then
      state[top.key] = "done"
      order[#order + 1] = tasks[top.key]
      stack[#stack] = nil
    elseif state[name] == "open" then
      fail("$.root.dag.tasks." .. top.key, "the tasks wait for each other")
    elseif not state[name] then
      state[name] = "open"
      stack[#stack + 1] = { key = name, at = 1 }
    end
  end
end

---The tasks of the root in an order in which they can run.
---@param ir table
---@return table[] tasks {key, entry, component, container, after} # raises "Pipeline" or "Unsupported" with a path
function M.tasks(ir)
  local entries = ((ir.root or {}).dag or {}).tasks
  if not entries or next(entries) == nil then fail("$.root.dag.tasks", "the pipeline has no tasks") end
  local keys, tasks = {}, {}
  for key in pairs(entries) do keys[#keys + 1] = key end
  table.sort(keys)
  for _, key in ipairs(keys) do
    tasks[key] = check_task(ir, key, entries[key])
    tasks[key].after = producers(entries[key])
    tasks[key].after_list = sorted(tasks[key].after)
    for _, name in ipairs(tasks[key].after_list) do
      local path = "$.root.dag.tasks." .. key
      if not entries[name] then fail(path, ("there is no task '%s' to come after"):format(name)) end
    end
  end
  local state, order = {}, {}
  for _, key in ipairs(keys) do visit(tasks, key, state, order) end
  return order
end

return M
