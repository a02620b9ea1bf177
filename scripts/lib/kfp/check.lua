-- What must hold before a pipeline is started here: everything in it is understood and fits together.
-- Not for what a KFP server checks.
--   local params = check.parameters(ir, { rate = 0.1 }); local dag, containers = check.compile(ir, platform)
local errors = require "errors"
local expression = require "kfp.expression"
local json = require "json"
local lint = require "kfp.validate.lint"
local sorted_keys = require "kfhost.keys".sorted
local spec = require "kfp.validate.spec"

local M = {}

local function fail(path, message, ...)
  errors.raise { code = "Pipeline", message = message:format(...), path = path }
end

---Refuses what has another type than a pipeline has in that place. Names that nobody knows are left alone: other
---compilers write more than is read here; and seconds may have fractions.
---@param ir table
---@param platform any
function M.types(ir, platform)
  for _, problem in ipairs(spec.check("PipelineSpec", ir)) do
    if problem.type then fail("$." .. problem.path, "%s", problem.message) end
  end
  for _, problem in ipairs(spec.check("Deployment", ir.deploymentSpec or {}, "$.deploymentSpec")) do
    -- Servers read texts of containers leniently.
    if problem.type and #problem.type > 1 then fail(problem.path, "%s", problem.message) end
  end
  for _, problem in ipairs(platform ~= nil and spec.check("Platform", platform, "$") or {}) do
    local fraction = problem.type == "i" and tonumber(problem.value)
    if problem.type and not fraction then fail(problem.path, "%s", problem.message) end
  end
end

-- --- parameters ----------------------------------------------------------------------------------------

local fits = {
  NUMBER_INTEGER = function(value) return type(value) == "number" and math.tointeger(value) ~= nil end,
  NUMBER_DOUBLE = function(value) return type(value) == "number" and value - value == 0 end,
  STRING = function(value) return type(value) == "string" end,
  BOOLEAN = function(value) return type(value) == "boolean" end,
  LIST = function(value) return type(value) == "table" and (json.is_array(value) or next(value) == nil) end,
  STRUCT = function(value) return type(value) == "table" and not json.is_array(value) end,
}

local function check_parameter(name, definition, value)
  local fit = fits[definition.parameterType]
  local text, problem = json.try.encode(value)
  if fit and not fit(value) then
    errors.raise {
      code = "Parameter",
      message = ("parameter '%s' is %s, not %s"):format(name, definition.parameterType, text or tostring(value)),
    }
  end
  if not text then -- bytes that are no text, a list that holds itself
    errors.raise { code = "Parameter", message = ("parameter '%s' cannot be handed on"):format(name), cause = problem }
  end
  local literals = definition.literals
  for _, literal in ipairs(literals or {}) do
    if literal == value then return end
  end
  if literals and #literals > 0 then
    errors.raise {
      code = "Parameter",
      message = ("parameter '%s' is one of %s, not %s"):format(name, lint.shown(literals), lint.shown(value)),
    }
  end
end

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
    if value ~= nil and value ~= json.null then
      check_parameter(name, definition, value)
      values[name] = value
    end
  end
  return values
end

-- --- the order of tasks ------------------------------------------------------------------------------------

-- The tasks that a task's inputs come from, and those that it has to come after.
local function producers(entry)
  local set = {}
  for _, group in pairs { "parameters", "artifacts" } do
    for _, input in pairs((entry.inputs or {})[group] or {}) do
      local source = input.taskOutputParameter or input.taskOutputArtifact or input.taskFinalStatus
      if source then set[source.producerTask or ""] = true end
    end
  end
  for _, name in ipairs(entry.dependentTasks or {}) do set[name] = true end
  return set
end

-- Puts the task after all that it waits for; without recursion, as chains may be long.
local function visit(tasks, first, state, order, path)
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
      fail(path .. "." .. top.key, "the tasks wait for each other")
    elseif not state[name] then
      state[name] = "open"
      stack[#stack + 1] = { key = name, at = 1 }
    end
  end
end

-- --- one task ------------------------------------------------------------------------------------------------

local function seconds(text)
  return tonumber((tostring(text or "0s"):gsub("s$", ""))) or 0
end

-- Numbers may be written as texts.
local function read_retry(policy, path)
  if not policy then return nil end
  local count, factor = tonumber(policy.maxRetryCount or 0), tonumber(policy.backoffFactor or 2)
  if not math.tointeger(count) or not factor then fail(path .. ".retryPolicy", "its numbers cannot be read") end
  if count <= 0 then return nil end
  return {
    count = math.tointeger(count), wait = seconds(policy.backoffDuration), factor = factor,
    limit = seconds(policy.backoffMaxDuration or "3600s"),
  }
end

local function compile_at(path, text)
  local ok, program = pcall(expression.compile, text)
  if not ok then fail(path, "%s", program.message) end
  return program
end

local Compiler = {}
Compiler.__index = Compiler

-- What the task's inputs ask for: selectors, and sources that are there.
local function check_inputs(t, path)
  t.selectors = {}
  for _, group in ipairs { "artifacts", "parameters" } do
    for name, input in pairs((t.entry.inputs or {})[group] or {}) do
      local place = ("%s.inputs.%s.%s"):format(path, group, name)
      local source = input.taskOutputParameter or input.taskOutputArtifact or input.taskFinalStatus
      if source and not source.producerTask then fail(place, "the input names no task that makes it") end
      if input.parameterExpressionSelector then
        t.selectors[name] = compile_at(place, input.parameterExpressionSelector)
      end
    end
  end
end

-- What a task takes from the pipeline around it has to be an input of that.
local function check_around(t, around, path)
  for group, field in pairs { parameters = "componentInputParameter", artifacts = "componentInputArtifact" } do
    for name, input in pairs((t.entry.inputs or {})[group] or {}) do
      local wanted = input[field]
      if wanted and not ((around.inputDefinitions or {})[group] or {})[wanted] then
        fail(("%s.inputs.%s.%s"):format(path, group, name), "the pipeline around it has no input '%s'", wanted)
      end
    end
  end
end

local function read_iterator(entry, path)
  local parameter, artifact = entry.parameterIterator, entry.artifactIterator
  if parameter and artifact then fail(path, "a task has one iterator, not two") end
  local iterator = parameter or artifact
  if not iterator then return nil end
  local items = iterator.items or {}
  local raw = items.raw and json.try.decode(items.raw, { duplicates = "last" })
  if items.raw and not (type(raw) == "table" and (json.is_array(raw) or next(raw) == nil)) then
    fail(path, "the loop's items are no JSON list: %s", items.raw)
  end
  if not raw and not items.inputParameter and not items.inputArtifact then fail(path, "the loop has no items") end
  return {
    item = iterator.itemInput, items = raw, parameter = items.inputParameter, artifact = items.inputArtifact,
    limit = math.tointeger((entry.iteratorPolicy or {}).parallelismLimit or 0),
  }
end

-- What a step asks of its pod and node, and a process of this machine does not get.
local LEFT_OUT = { nodeSelector = "node selection", tolerations = "tolerations", nodeAffinity = "affinity",
  podAffinity = "affinity", securityContext = "security contexts", initContainers = "init containers",
  enabledSharedMemory = "sizes of shared memory", podResourceClaims = "resource claims" }

function Compiler:note_left_out(t)
  for field, what in pairs(LEFT_OUT) do
    if type(t.platform[field]) == "table" and next(t.platform[field]) then self.left_out[what] = true end
  end
  local resources = t.container.resources
  if type(resources) == "table" and next(resources) then self.left_out["limits and requests"] = true end
end

local VOLUMES = { ["argostub/createpvc"] = "create", ["argostub/deletepvc"] = "delete" }

function Compiler:read_executor(t, path)
  local label = t.component.executorLabel
  local executor = ((self.ir.deploymentSpec or {}).executors or {})[label]
  if not executor then fail(path, "there is no executor '%s'", tostring(label)) end
  t.platform = spec.normal_executor(self.platforms[label] or {})
  if executor.importer then
    t.kind, t.importer = "importer", executor.importer
    return
  end
  if not executor.container then
    errors.raise { code = "Unsupported", message = "an executor without a container cannot be run here", path = path }
  end
  t.container = executor.container
  local image = t.container.image
  if type(image) ~= "string" then fail(path, "the container has no image") end
  t.kind, t.volume = VOLUMES[image] and "volume" or "container", VOLUMES[image]
  if t.kind == "container" then self:note_left_out(t) end
  if t.kind == "container" and not image:find("{{", 1, true) then
    self.containers[#self.containers + 1] = { path = path, image = image }
  end
end

function Compiler:task(key, entry, path)
  local name = (entry.componentRef or {}).name
  local component = name and (self.ir.components or {})[name]
  if not component then fail(path, "there is no component '%s'", tostring(name)) end
  local trigger = entry.triggerPolicy or {}
  local t = {
    key = key, entry = entry, component = component, component_name = name, iterator = read_iterator(entry, path),
    retry = read_retry(entry.retryPolicy, path), always = trigger.strategy == "ALL_UPSTREAM_TASKS_COMPLETED",
    condition = trigger.condition and trigger.condition ~= "" and compile_at(path, trigger.condition) or nil,
  }
  check_inputs(t, path)
  if component.dag then
    t.kind, t.dag = "dag", self:dag(component, "$.components." .. name)
  else
    self:read_executor(t, path)
  end
  return t
end

local function check_outputs(dag, tasks, path)
  local outputs = dag.outputs or {}
  local function check(selector, name)
    if not tasks[selector.producerSubtask] then
      fail(path .. ".outputs." .. name, "there is no task '%s' that makes it", tostring(selector.producerSubtask))
    end
  end
  for name, output in pairs(outputs.parameters or {}) do
    if output.valueFromParameter then check(output.valueFromParameter, name) end
    for _, selector in ipairs((output.valueFromOneof or {}).parameterSelectors or {}) do check(selector, name) end
  end
  for name, output in pairs(outputs.artifacts or {}) do
    for _, selector in ipairs(output.artifactSelectors or {}) do check(selector, name) end
  end
end

function Compiler:dag(component, place)
  local known = self.dags[component]
  if known == "open" then fail(place, "the pipeline holds itself") end
  if known then return known end
  self.dags[component] = "open"
  local entries = component.dag.tasks
  local path = place .. ".dag.tasks"
  if not entries or next(entries) == nil then fail(path, "the pipeline has no tasks") end
  local keys, tasks = sorted_keys(entries), {}
  for _, key in ipairs(keys) do
    tasks[key] = self:task(key, entries[key], path .. "." .. key)
    check_around(tasks[key], component, path .. "." .. key)
    tasks[key].after = producers(entries[key])
    tasks[key].after_list = sorted_keys(tasks[key].after)
    for _, name in ipairs(tasks[key].after_list) do
      if not entries[name] then fail(path .. "." .. key, "there is no task '%s' to come after", name) end
    end
  end
  check_outputs(component.dag, tasks, place .. ".dag")
  local state, order = {}, {}
  for _, key in ipairs(keys) do visit(tasks, key, state, order, path) end
  local dag = { tasks = order, outputs = component.dag.outputs or {}, definitions = component.inputDefinitions or {} }
  self.dags[component] = dag
  return dag
end

---The pipeline as the runner walks it: for each dag its tasks in an order in which they can run.
---@param ir table
---@param platform table? the platform document
---@return table dag {tasks, outputs, definitions}; a task has key, kind ("container", "importer", "volume", "dag"),
---  after, condition, iterator, retry, always
---@return {path: string, image: string}[] containers # raises "Pipeline" or "Unsupported" with a path
---@return string[] left_out what steps ask of a cluster, and do not get here
function M.compile(ir, platform)
  local kubernetes = ((platform or {}).platforms or {}).kubernetes or {}
  local compiler = setmetatable({
    ir = ir, dags = {}, containers = {}, left_out = {}, platforms = (kubernetes.deploymentSpec or {}).executors or {},
  }, Compiler)
  if not (ir.root or {}).dag then fail("$.root.dag", "the pipeline has no tasks") end
  return compiler:dag(ir.root, "$.root"), compiler.containers, sorted_keys(compiler.left_out)
end

return M
