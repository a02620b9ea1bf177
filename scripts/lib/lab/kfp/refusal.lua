-- lab.kfp.refusal: how the server words that it makes no run of a pipeline: as its compiler says it, as Argo's check
-- does, or as a fault of the parameters.
-- Not for finding the fault (kfp.validate).
--   refusal.raise(finding, spec, "Failed to create a run")

local failure = require "lab.kfp.failure"

local M = {}

local function component_of(spec, path)
  local label = path:match "executors%.([^.]+)"
  for name, component in pairs(label and spec.components or {}) do
    if component.executorLabel == label then return name end
  end
  return path:match "^components%.([^.]+)" or "root"
end

-- What the compiler says of where it was.
local function compiler_words(finding, spec)
  local path, message = finding.path, finding.message:gsub("neither dag nor executorLabel", "")
  local component = component_of(spec, path)
  local task = path:match "tasks%.([^.]+)%.triggerPolicy"
  if task then return ("compiling DAG %q: compiling task %q: %s"):format(component, task, message) end
  if message:find "non%-exit tasks" then return ("compiling DAG %q: %s"):format(component, message) end
  local field = path:find "^platforms" and path:match "([^.]+)$"
  if field then
    message = ("failed to add Kubernetes spec for %s: failed to unmarshal kubernetes spec for component %q: proto: "
      .. "(line 1:2): unknown field %q"):format(component, component, field)
  end
  return ("error processing component name=%q: %s"):format(component, message)
end

local function is_about_parameters(finding, spec)
  local name = finding.path:match "^root%.inputDefinitions%.parameters%.(.+)$"
  local known = spec.root and spec.root.inputDefinitions and spec.root.inputDefinitions.parameters or {}
  return name ~= nil and known[name] ~= nil or finding.message:find "^parameter%(s%) provided" ~= nil
    or finding.message:find "is not optional, yet" ~= nil
end

-- What Argo's own check finds in the workflow that was compiled.
local function is_of_argo(finding)
  return finding.message:find "graph with cycle" ~= nil or finding.message:find "^invalid dependency" ~= nil
    or finding.message:find "the root must be a dag" ~= nil
end

---@param finding kfp.Finding an error, of upload or create
---@param spec table
---@param what string "Failed to create a run"
function M.raise(finding, spec, what)
  if finding.stage == "create" and is_about_parameters(finding, spec) then failure.invalid(what, finding.message) end
  if finding.stage == "create" and not is_of_argo(finding) then
    failure.compiler(compiler_words(finding, spec) .. "\nFailed to compile job")
  end
  failure.internal(("%s: InternalServerError: Failed to generate the ExecutionSpec: %s"):format(what, finding.message))
end

return M
