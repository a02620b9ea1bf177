-- What the server refuses when a run is created: references that lead nowhere, tasks that wait for each other,
-- executors it cannot run. Only what the root leads to is looked at, as there. A part of kfp.validate.
local sorted_keys = require "kfhost.keys".sorted
local spec = require "kfp.validate.spec"

local M = {}

local IMPORTER_CONDITION = "triggerPolicy.condition on importer task is not supported"

local function is_map(value)
  return type(value) == "table"
end

local function executor_of(ir, component)
  local executors = is_map(ir.deploymentSpec) and ir.deploymentSpec.executors
  return is_map(executors) and executors[component.executorLabel] or nil
end

-- --- one task ---------------------------------------------------------------------------------------------

-- The tasks that a task waits for, with the place where it says so.
local function waits_for(task, path)
  local list = {}
  for i, name in ipairs(task.dependentTasks or {}) do
    list[#list + 1] = { name = name, path = ("%s.dependentTasks[%d]"):format(path, i - 1) }
  end
  for _, group in ipairs { "parameters", "artifacts" } do
    for _, key in ipairs(sorted_keys((task.inputs or {})[group])) do
      local input = task.inputs[group][key]
      local source = input.taskOutputParameter or input.taskOutputArtifact or input.taskFinalStatus
      if source and source.producerTask then
        list[#list + 1] = { name = source.producerTask, producer = true,
          path = ("%s.inputs.%s.%s"):format(path, group, key) }
      end
    end
  end
  return list
end

M.waits_for = waits_for

local function is_exit(task)
  return (task.triggerPolicy or {}).strategy == "ALL_UPSTREAM_TASKS_COMPLETED"
end

local function check_task(state, task, path)
  local name = (task.componentRef or {}).name or ""
  local component = (state.ir.components or {})[name]
  if not component then
    return state:error(path .. ".componentRef.name", "cannot find component ref name=%q", name)
  end
  if task.artifactIterator then state:error(path .. ".artifactIterator", "artifact iterators are not implemented") end
  local executor = component.executorLabel and executor_of(state.ir, component)
  if is_map(executor) and executor.importer and (task.triggerPolicy or {}).condition then
    state:error(path .. ".triggerPolicy.condition", IMPORTER_CONDITION)
  end
  state:component(name, component, "components." .. name)
end

-- --- one graph --------------------------------------------------------------------------------------------

-- Marks tasks open, then done; one that is open when it is met again closes a circle.
local function find_circle(tasks, path)
  local state, circle = {}, nil
  local function visit(name)
    state[name] = "open"
    for _, edge in ipairs(waits_for(tasks[name], path .. ".tasks." .. name)) do
      if circle then return end
      if tasks[edge.name] and state[edge.name] == "open" then circle = edge
      elseif tasks[edge.name] and not state[edge.name] then visit(edge.name) end
    end
    state[name] = "done"
  end
  for _, name in ipairs(sorted_keys(tasks)) do
    if not state[name] and not circle then visit(name) end
  end
  return circle
end

local function check_dag(state, dag, path)
  local tasks, ordinary = dag.tasks or {}, false
  for _, name in ipairs(sorted_keys(tasks)) do ordinary = ordinary or not is_exit(tasks[name]) end
  if not ordinary then
    state:error(path .. ".tasks", "DAG %s must contain one or more non-exit tasks", path:match "^%w+")
  end
  for _, name in ipairs(sorted_keys(tasks)) do
    local place = path .. ".tasks." .. name
    check_task(state, tasks[name], place)
    for _, edge in ipairs(waits_for(tasks[name], place)) do
      if not tasks[edge.name] then
        state:error(edge.path, edge.producer and 'unknown producer task "%s"' or "invalid dependency %s", edge.name)
      end
    end
  end
  local circle = find_circle(tasks, path)
  if circle then state:error(circle.path, "the tasks wait for each other: graph with cycle") end
end

-- --- components --------------------------------------------------------------------------------------------

local State = {}
State.__index = State

function State:error(path, message, ...)
  self.add("error", path, "create", select("#", ...) > 0 and message:format(...) or message)
end

-- Each component once, whoever refers to it.
function State:component(name, component, path)
  if self.seen[name] then return end
  self.seen[name] = true
  if component.dag then return check_dag(self, component.dag, path .. ".dag") end
  local label = component.executorLabel
  if not label or label == "" then
    return self:error(path, "unknown component implementation: neither dag nor executorLabel")
  end
  local executor = executor_of(self.ir, component)
  if not is_map(executor) then
    return self:error(path .. ".executorLabel", "executor(label=%q) not found in deployment config", label)
  end
  if not executor.container and not executor.importer then
    self:error("deploymentSpec.executors." .. label,
      "executor(label=%q): non-container and non-importer executor not implemented", label)
  end
end

local function check_root(state, root)
  if root.executorLabel then return state:error("root.executorLabel", "the root must be a dag") end
  for name, parameter in pairs((root.inputDefinitions or {}).parameters or {}) do
    if parameter.parameterType == "TASK_FINAL_STATUS" then
      state:error("root.inputDefinitions.parameters." .. name, "TASK_FINAL_STATUS has no place at the root")
    end
  end
  state:component("root", root, "root")
end

-- --- the platform's part -------------------------------------------------------------------------------------

-- What came after the server that was recorded.
local NEWER = { podResourceClaims = true, pod_resource_claims = true }

local function check_platform(state, platform)
  local faults = 0
  for _, problem in ipairs(platform ~= nil and spec.check("Platform", platform) or {}) do
    local within = problem.path:find "^platforms%.kubernetes%.deploymentSpec%.executors%."
    if not within and problem.type then
      faults = faults + 1
      state.add("error", problem.path, "create", problem.message)
    end
  end
  if faults > 0 then return end
  local executors = platform
  for _, name in ipairs { "platforms", "kubernetes", "deploymentSpec", "executors" } do
    executors = is_map(executors) and executors[name] or nil
  end
  for _, label in ipairs(is_map(executors) and sorted_keys(executors) or {}) do
    local path = "platforms.kubernetes.deploymentSpec.executors." .. label
    for _, problem in ipairs(spec.check("KubernetesExecutor", executors[label], path)) do
      state.add("error", problem.path, "create", problem.message)
    end
    for name in pairs(is_map(executors[label]) and executors[label] or {}) do
      if NEWER[name] then
        state.add("warning", path .. "." .. name, "create", "servers of KFP 2.17 do not know it yet, and refuse it")
      end
    end
  end
end

---@param ir table
---@param platform table?
---@param add fun(severity: string, path: string, stage: string, message: string)
function M.check(ir, platform, add)
  local state = setmetatable({ ir = ir, add = add, seen = {} }, State)
  check_root(state, ir.root)
  check_platform(state, platform)
end

return M
