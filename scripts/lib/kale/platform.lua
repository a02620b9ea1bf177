-- The platform document: what a step asks of Kubernetes that the pipeline itself has no place for.
-- Not for resources and environment: those are in the container, see kale.ir.
--   local document = platform.build(plan)  -- nil when nothing asks for it
local json = require "json"
local sorted_keys = require "kfhost.keys".sorted

local M = {}

local function constant(value) return { runtimeValue = { constant = value } } end

local function secrets(options)
  local list = json.array {}
  for i, variable in ipairs(sorted_keys(options.secrets)) do
    local secret = options.secrets[variable]
    list[i] = {
      secretName = secret.name, secretNameParameter = constant(secret.name), optional = false,
      keyToEnv = json.array { { secretKey = secret.key, envVar = variable } },
    }
  end
  return list
end

---The task that makes a volume of the notebook's metadata.
---@param volume table of kale.metadata
---@return string
function M.claim_key(volume) return "create-" .. volume.name:gsub("%.", "-") end

local function mounts(plan, options)
  local list = json.array {}
  for _, volume in ipairs(plan.metadata.mounts or {}) do
    if not options.volumes[volume.path] then
      local mount = { mountPath = volume.path }
      if volume.kind == "create" then
        mount.taskOutputParameter = { producerTask = M.claim_key(volume), outputParameterKey = "name" }
        mount.pvcNameParameter = { taskOutputParameter = mount.taskOutputParameter }
      else
        mount.constant, mount.pvcNameParameter = volume.name, constant(volume.name)
      end
      list[#list + 1] = mount
    end
  end
  for _, path in ipairs(sorted_keys(options.volumes)) do
    local claim = options.volumes[path]
    list[#list + 1] = { constant = claim, pvcNameParameter = constant(claim), mountPath = path }
  end
  return list
end

local function executor(plan, step)
  local options, config = step.options, {}
  local function set(key, value)
    if next(value) ~= nil then config[key] = value end
  end
  set("secretAsEnv", secrets(options))
  set("pvcMount", mounts(plan, options))
  if next(options.node) then config.nodeSelector = { labels = options.node } end
  local pod = {}
  if next(options.labels) then pod.labels = options.labels end
  if next(options.annotations) then pod.annotations = options.annotations end
  set("podMetadata", pod)
  config.activeDeadlineSeconds = options.timeout
  config.securityContext = step.security or plan.metadata.security
  return config
end

---@param plan table of kale.plan; its steps have the label of their executor
---@return table? document nil when no step asks for anything
function M.build(plan)
  local executors = {}
  for _, step in ipairs(plan.steps) do
    local config = executor(plan, step)
    if next(config) ~= nil then executors["exec-" .. step.label] = config end
  end
  local kubernetes = {}
  if next(executors) then kubernetes.deploymentSpec = { executors = executors } end
  if plan.metadata.timeout then kubernetes.pipelineConfig = { activeDeadlineSeconds = plan.metadata.timeout } end
  if next(kubernetes) == nil then return nil end
  return { platforms = { kubernetes = kubernetes } }
end

return M
