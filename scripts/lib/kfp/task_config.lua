-- kfp.task_config: what a component that hands its task's settings on (dsl.TaskConfig) is told of them, and which of
-- them are then not the step's own. Not for what becomes of the settings: they are for a workload elsewhere.
--   local withheld = task_config.add(t, place, scope, context)      place.parameters.NAME = {env = …, …}
local core = require "kube.core"
local json = require "json"
local mounts = require "kfp.mounts"
local placeholders = require "kfp.placeholders"

local M = {}

local function list_or_null(list) return list and #list > 0 and list or json.null end

-- --- the settings ------------------------------------------------------------------------------------------------

local function variable(name, kind, reference) return { name = name, valueFrom = { [kind] = reference } } end

-- Variables from keys of secrets or config maps.
local function add_keys(list, entries, names, place, scope)
  for _, entry in ipairs(entries or {}) do
    local name = mounts.name_of(entry, names.parameter, names.old, place, scope)
    for _, pair in ipairs(name and entry.keyToEnv or {}) do
      local reference = { name = name, key = pair[names.key], optional = entry.optional }
      list[#list + 1] = variable(pair.envVar, names.reference, reference)
    end
  end
end

local SECRET = { parameter = "secretNameParameter", old = "secretName", key = "secretKey", reference = "secretKeyRef" }
local CONFIG_MAP = { parameter = "configMapNameParameter", old = "configMapName", key = "configMapKey",
  reference = "configMapKeyRef" }

local settings = {}

function settings.ENV(t, place, scope, input, names)
  local list = json.array {}
  for _, pair in ipairs(t.container.env or {}) do
    list[#list + 1] = { name = pair.name, value = placeholders.fill(pair.value or "", input, names) }
  end
  add_keys(list, t.platform.secretAsEnv, SECRET, place, scope)
  add_keys(list, t.platform.configMapAsEnv, CONFIG_MAP, place, scope)
  for _, entry in ipairs(t.platform.fieldPathAsEnv or {}) do
    list[#list + 1] = variable(entry.name, "fieldRef", { fieldPath = entry.fieldPath })
  end
  return { env = list_or_null(list) }
end

-- A quantity: the newer spelling is a text and may hold placeholders, the older one a number of the unit.
local function quantity(new, old, unit, input, names)
  if new and new ~= "" then return placeholders.fill(tostring(new), input, names) end
  local number = tonumber(old)
  if not number or number == 0 then return nil end
  return tostring(core.quantity(("%.15g%s"):format(number, unit)))
end

function settings.RESOURCES(t, _, _, input, names)
  local given, limits, requests = t.container.resources or {}, {}, {}
  limits.memory = quantity(given.resourceMemoryLimit, given.memoryLimit, "G", input, names)
  requests.memory = quantity(given.resourceMemoryRequest, given.memoryRequest, "G", input, names)
  limits.cpu = quantity(given.resourceCpuLimit, given.cpuLimit, "", input, names)
  requests.cpu = quantity(given.resourceCpuRequest, given.cpuRequest, "", input, names)
  local accelerator = given.accelerator or {}
  local kind = accelerator.resourceType or accelerator.type
  local count = quantity(accelerator.resourceCount, accelerator.count, "", input, names)
  if kind and kind ~= "" and count then limits[placeholders.fill(kind, input, names)] = count end
  return { resources = json.object { limits = next(limits) and limits, requests = next(requests) and requests } }
end

function settings.KUBERNETES_NODE_SELECTOR(t, place, scope)
  local given = t.platform.nodeSelector or {}
  local value = given.labels
  if given.nodeSelectorJson then value = mounts.resolve(given.nodeSelectorJson, place, scope) end
  return { nodeSelector = value and json.object(value) or json.null }
end

function settings.KUBERNETES_TOLERATIONS(t, place, scope)
  local list = json.array {}
  for _, entry in ipairs(t.platform.tolerations or {}) do
    local value = entry.tolerationJson and mounts.resolve(entry.tolerationJson, place, scope)
    if not entry.tolerationJson then
      list[#list + 1] = { key = entry.key, operator = entry.operator, value = entry.value, effect = entry.effect,
        tolerationSeconds = math.tointeger(tonumber(entry.tolerationSeconds)) }
    elseif value and value[1] then table.move(value, 1, #value, #list + 1, list)
    elseif value and next(value) then list[#list + 1] = value end
  end
  return { tolerations = list_or_null(list) }
end

local function node_term(entry)
  return { matchExpressions = entry.matchExpressions, matchFields = entry.matchFields }
end

function settings.KUBERNETES_AFFINITY(t, place, scope)
  local required, preferred = json.array {}, json.array {}
  for _, entry in ipairs(t.platform.nodeAffinity or {}) do
    if entry.nodeAffinityJson then
      local whole = mounts.resolve(entry.nodeAffinityJson, place, scope) or {}
      local terms = (whole.requiredDuringSchedulingIgnoredDuringExecution or {}).nodeSelectorTerms or {}
      table.move(terms, 1, #terms, #required + 1, required)
      terms = whole.preferredDuringSchedulingIgnoredDuringExecution or {}
      table.move(terms, 1, #terms, #preferred + 1, preferred)
    elseif entry.weight then
      preferred[#preferred + 1] = { weight = math.tointeger(tonumber(entry.weight)), preference = node_term(entry) }
    elseif next(entry.matchExpressions or {}) or next(entry.matchFields or {}) then
      required[#required + 1] = node_term(entry)
    end
  end
  if #required + #preferred == 0 then return { affinity = json.null } end
  return { affinity = { nodeAffinity = {
    requiredDuringSchedulingIgnoredDuringExecution = #required > 0 and { nodeSelectorTerms = required } or nil,
    preferredDuringSchedulingIgnoredDuringExecution = #preferred > 0 and preferred or nil } } }
end

-- The workspace is mounted where a value names it.
local function uses_workspace(place, context)
  for _, value in pairs(place.parameters) do
    if type(value) == "string" and (value:find(context.names.workspace_path, 1, true)
      or value:find("/kfp-workspace", 1, true)) then
      return true
    end
  end
  return false
end

function settings.KUBERNETES_VOLUMES(t, place, scope, _, _, context)
  local volumes, mounted = json.array {}, json.array {}
  local function add(name, source, entry)
    local volume = { name = name }
    for key, value in pairs(source) do volume[key] = value end
    volumes[#volumes + 1] = volume
    mounted[#mounted + 1] = { name = name, mountPath = entry.mountPath, subPath = entry.subPath }
  end
  if uses_workspace(place, context) then
    local claim = context.names.pipeline_job_resource_name .. "-kfp-workspace"
    add("kfp-workspace", { persistentVolumeClaim = { claimName = claim } }, { mountPath = "/kfp-workspace" })
  end
  for _, entry in ipairs(t.platform.pvcMount or {}) do
    local name = mounts.name_of(entry, "pvcNameParameter", "constant", place, scope)
    if name then add(name, { persistentVolumeClaim = { claimName = name } }, entry) end
  end
  for _, entry in ipairs(t.platform.secretAsVolume or {}) do
    local name = mounts.secret_name(entry, place, scope)
    if name then add(name, { secret = { secretName = name, optional = entry.optional or false } }, entry) end
  end
  for _, entry in ipairs(t.platform.configMapAsVolume or {}) do
    local name = mounts.name_of(entry, "configMapNameParameter", "configMapName", place, scope)
    if name then add(name, { configMap = { name = name, optional = entry.optional or false } }, entry) end
  end
  return { volumes = list_or_null(volumes), volumeMounts = list_or_null(mounted) }
end

-- --- what is handed on -------------------------------------------------------------------------------------------

-- What every component finds in the parameter, whatever is handed on.
local function empty()
  return { affinity = json.null, tolerations = json.null, nodeSelector = json.null, env = json.null,
    volumes = json.null, volumeMounts = json.null, resources = json.object {} }
end

local function parameter_of(t)
  for name, definition in pairs((t.component.inputDefinitions or {}).parameters or {}) do
    if definition.parameterType == "TASK_CONFIG" then return name end
  end
  return nil
end

---Gives the step the settings that it hands on, in its parameter of type TASK_CONFIG.
---@param t table a task of kfp.check
---@param place table its parameters are a new table, when there is something to be told
---@param scope kfp.Scope
---@param context table
---@param names table<string, string> what placeholders stand for
---@return table<string, boolean> withheld the settings that are not the step's own: ENV, KUBERNETES_VOLUMES, …
function M.add(t, place, scope, context, names)
  local config, withheld, name = empty(), {}, parameter_of(t)
  local input = { inputs = { parameterValues = place.parameters, artifacts = {} },
    outputs = { parameters = {}, artifacts = {} } }
  for _, entry in ipairs(t.component.taskConfigPassthroughs or {}) do
    local read = settings[entry.field]
    for key, value in pairs(name and read and read(t, place, scope, input, names, context) or {}) do
      config[key] = value
    end
    withheld[entry.field or ""] = not entry.applyToTask or nil
  end
  if name and place.parameters[name] == nil then
    local parameters = json.object {}
    for key, value in pairs(place.parameters) do parameters[key] = value end
    parameters[name], place.parameters = config, parameters
  end
  return withheld
end

return M
