-- Makes of the steps of each inner notebook a pipeline of its own within the pipeline.
-- Not for finding those notebooks: see kale.compose.
--   nest.tasks(plan, places, labels, tasks, components, parameter_of)
local json = require "json"

local M = {}

local function add_once(list, value)
  for _, known in ipairs(list) do
    if known == value then return end
  end
  list[#list + 1] = value
end

local Nest = {}
Nest.__index = Nest

-- What stands for an artifact of a task where the task itself cannot be seen.
function Nest:export(key, artifact)
  local group = self.owner[key]
  if not group then return { producerTask = key, outputArtifactKey = artifact } end
  local inner = self.places[key].inner
  local name = artifact
  local known = group.outputs[name]
  if known and known.producerSubtask ~= inner then
    name = inner .. "--" .. artifact
    known = group.outputs[name]
  end
  if not known then group.outputs[name] = { producerSubtask = inner, outputArtifactKey = artifact, from = key } end
  return { producerTask = group.key, outputArtifactKey = name }
end

-- The name under which an artifact from outside comes into a group.
local function import(group, source, artifact)
  local name = artifact
  local known = group.inputs[name]
  if known and (known.producerTask ~= source.producerTask or known.outputArtifactKey ~= source.outputArtifactKey) then
    name = source.producerTask .. "--" .. artifact
  end
  group.inputs[name] = source
  return name
end

function Nest:artifacts(task, group)
  for name, input in pairs((task.inputs or {}).artifacts or {}) do
    local source = input.taskOutputArtifact
    local from = self.owner[source.producerTask]
    if group and from == group then
      source.producerTask = self.places[source.producerTask].inner
    elseif group then
      local outside = self:export(source.producerTask, source.outputArtifactKey)
      task.inputs.artifacts[name] = { componentInputArtifact = import(group, outside, source.outputArtifactKey) }
    else
      task.inputs.artifacts[name] = { taskOutputArtifact = self:export(source.producerTask, source.outputArtifactKey) }
    end
  end
end

function Nest:dependencies(task, group)
  local inside = {}
  for _, key in ipairs(task.dependentTasks or {}) do
    local from = self.owner[key]
    if group and from == group then add_once(inside, self.places[key].inner)
    else add_once(group and group.after or inside, from and from.key or key) end
  end
  table.sort(inside)
  task.dependentTasks = #inside > 0 and json.array(inside) or nil
end

-- The task of a group and its component.
local function finish(group, components, labels)
  local parameters, artifacts, definitions = {}, {}, { parameters = {}, artifacts = {} }
  for name, parameter in pairs(group.params) do
    definitions.parameters[name] = parameter.definition
    if parameter.depth < group.depth then parameters[name] = { componentInputParameter = name } end
  end
  for name, source in pairs(group.inputs) do
    artifacts[name] = { taskOutputArtifact = source }
    definitions.artifacts[name] = { artifactType = { schemaTitle = "system.Dataset", schemaVersion = "0.0.1" } }
  end
  local outputs, output_definitions = {}, {}
  for name, selector in pairs(group.outputs) do
    outputs[name] = { artifactSelectors = json.array { {
      producerSubtask = selector.producerSubtask, outputArtifactKey = selector.outputArtifactKey } } }
    local made_by = components["comp-" .. labels[selector.from]]
    output_definitions[name] = made_by.outputDefinitions.artifacts[selector.outputArtifactKey]
  end
  local component = { dag = { tasks = group.tasks } }
  if next(outputs) then
    component.dag.outputs, component.outputDefinitions = { artifacts = outputs }, { artifacts = output_definitions }
  end
  if not next(definitions.parameters) then definitions.parameters = nil end
  if not next(definitions.artifacts) then definitions.artifacts = nil end
  if next(definitions) then component.inputDefinitions = definitions end
  local inputs = {}
  if next(parameters) then inputs.parameters = parameters end
  if next(artifacts) then inputs.artifacts = artifacts end
  table.sort(group.after)
  components["comp-" .. labels[group.key]] = component
  return {
    taskInfo = { name = group.key }, componentRef = { name = "comp-" .. labels[group.key] },
    inputs = next(inputs) and inputs or nil, dependentTasks = #group.after > 0 and json.array(group.after) or nil,
    cachingOptions = json.object {},
  }
end

-- The groups of one depth, with the tasks that are in them.
local function groups_of(places, depth)
  local groups, owner = {}, {}
  for key, place in pairs(places) do
    if place.depth == depth then
      groups[place.group] = groups[place.group]
        or { key = place.group, depth = depth, tasks = {}, inputs = {}, outputs = {}, params = {}, after = {} }
      owner[key] = groups[place.group]
    end
  end
  return groups, owner
end

---Moves the tasks of inner notebooks into components of their own, the innermost first.
---@param plan table of kale.plan
---@param places table<string, {depth: integer, group: string?, inner: string?}> where each task belongs: a step, or a
---  notebook that others are in
---@param labels table<string, string> what components are called, by tasks
---@param tasks table<string, table> the flat pipeline's; changed
---@param components table<string, table> changed
---@param parameter_of fun(parameter: table): string, table key and definition of a parameter
function M.tasks(plan, places, labels, tasks, components, parameter_of)
  local deepest, params = 0, {}
  for _, place in pairs(places) do deepest = math.max(deepest, place.depth) end
  if deepest == 0 then return end
  for _, step in ipairs(plan.steps) do
    params[step.key] = {}
    for _, parameter in ipairs(step.known_params) do
      local name, definition = parameter_of(parameter)
      params[step.key][name] = { definition = definition, depth = step.param_depths[parameter.name] }
    end
  end
  for depth = deepest, 1, -1 do
    local groups, owner = groups_of(places, depth)
    local nest, keys = setmetatable({ owner = owner, places = places }, Nest), {}
    for key in pairs(tasks) do keys[#keys + 1] = key end
    table.sort(keys)
    for _, key in ipairs(keys) do
      nest:artifacts(tasks[key], owner[key])
      nest:dependencies(tasks[key], owner[key])
    end
    for key, group in pairs(owner) do
      for name, parameter in pairs(params[key] or {}) do group.params[name] = parameter end
      tasks[key].taskInfo.name = places[key].inner
      group.tasks[places[key].inner], tasks[key] = tasks[key], nil
    end
    for name, group in pairs(groups) do
      tasks[name], params[name] = finish(group, components, labels), {}
      for key, parameter in pairs(group.params) do
        if parameter.depth < depth then params[name][key] = parameter end
      end
    end
  end
end

return M
