-- The messages of a PipelineSpec, read as strictly as the server reads them: no unknown names, right types, one of
-- each group. Not for what a pipeline means: see the other parts of kfp.validate.
--   local problems = spec.check("PipelineSpec", ir)
local json = require "json"

local M = {}

-- name:TYPE, or name|GROUP:TYPE when only one of a group may be there. Types: s b i f text, boolean, numbers; d a
-- duration; v anything; [T] {T} lists and maps; the rest messages and enumerations.
local MESSAGES = [[
PipelineSpec pipelineInfo:PipelineInfo deploymentSpec:v schemaVersion:s sdkVersion:s components:{Component}
  root:Component defaultPipelineRoot:s
PipelineInfo name:s displayName:s description:s
Component inputDefinitions:Inputs outputDefinitions:Outputs dag|dag-or-executorLabel:Dag
  executorLabel|dag-or-executorLabel:s singlePlatformSpecs:[v] taskConfigPassthroughs:[TaskConfigPassthrough]
TaskConfigPassthrough field:TaskConfigField applyToTask:b
Inputs parameters:{InputParameter} artifacts:{InputArtifact}
InputParameter type:PrimitiveType parameterType:ParameterType defaultValue:v isOptional:b description:s literals:[v]
InputArtifact artifactType:ArtifactType isArtifactList:b isOptional:b description:s properties:v customProperties:v
  metadata:v
Outputs parameters:{OutputParameter} artifacts:{OutputArtifact}
OutputParameter type:PrimitiveType parameterType:ParameterType description:s
OutputArtifact artifactType:ArtifactType isArtifactList:b description:s properties:v customProperties:v metadata:v
ArtifactType schemaTitle|schema:s schemaUri|schema:s instanceSchema|schema:s schemaVersion:s
Dag tasks:{Task} outputs:DagOutputs
DagOutputs parameters:{DagParameter} artifacts:{DagArtifact}
DagParameter valueFromParameter|value:ParameterSelector valueFromOneof|value:ParameterSelectors
ParameterSelectors parameterSelectors:[ParameterSelector]
ParameterSelector producerSubtask:s outputParameterKey:s
DagArtifact artifactSelectors:[ArtifactSelector]
ArtifactSelector producerSubtask:s outputArtifactKey:s
Task taskInfo:TaskInfo inputs:TaskInputs dependentTasks:[s] cachingOptions:Caching componentRef:ComponentRef
  triggerPolicy:Trigger artifactIterator|iterator:ArtifactIterator parameterIterator|iterator:ParameterIterator
  iteratorPolicy:IteratorPolicy retryPolicy:Retry
TaskInfo name:s
TaskInputs parameters:{TaskParameter} artifacts:{TaskArtifact}
TaskParameter taskOutputParameter|source:TaskOutput runtimeValue|source:RuntimeValue
  componentInputParameter|source:s taskFinalStatus|source:FinalStatus parameterExpressionSelector:s
TaskOutput producerTask:s outputParameterKey:s
RuntimeValue constant|value:v constantValue|value:v runtimeParameter|value:s
FinalStatus producerTask:s
TaskArtifact taskOutputArtifact|source:TaskOutputArtifact componentInputArtifact|source:s
TaskOutputArtifact producerTask:s outputArtifactKey:s
Caching enableCache:b cacheKey:s
ComponentRef name:s
Trigger condition:s strategy:Strategy
ArtifactIterator items:ArtifactItems itemInput:s
ArtifactItems inputArtifact:s
ParameterIterator items:ParameterItems itemInput:s
ParameterItems raw|items:s inputParameter|items:s
IteratorPolicy parallelismLimit:i
Retry maxRetryCount:i backoffDuration:d backoffFactor:f backoffMaxDuration:d
]]

-- Messages that are read leniently, so only for their names.
local LENIENT = [[
Deployment executors:{Executor}
Executor container:Container importer:Importer
Container image:s command:[s] args:[s] env:[Variable] resources:Resources
Resources cpuLimit:v memoryLimit:v cpuRequest:v memoryRequest:v resourceCpuLimit:v resourceMemoryLimit:v
  resourceCpuRequest:v resourceMemoryRequest:v accelerator:Accelerator
Accelerator type:s count:v resourceType:s resourceCount:v
Variable name:s value:s
Importer artifactUri:RuntimeValue typeSchema:ArtifactType reimport:b metadata:v downloadToWorkspace:b
]]

local ENUMERATIONS = {
  ParameterType = "PARAMETER_TYPE_ENUM_UNSPECIFIED NUMBER_DOUBLE NUMBER_INTEGER STRING BOOLEAN LIST STRUCT "
    .. "TASK_FINAL_STATUS TASK_CONFIG",
  TaskConfigField = "NONE RESOURCES ENV KUBERNETES_AFFINITY KUBERNETES_TOLERATIONS KUBERNETES_NODE_SELECTOR "
    .. "KUBERNETES_VOLUMES",
  PrimitiveType = "PRIMITIVE_TYPE_UNSPECIFIED INT DOUBLE STRING",
  Strategy = "TRIGGER_STRATEGY_UNSPECIFIED ALL_UPSTREAM_TASKS_SUCCEEDED ALL_UPSTREAM_TASKS_COMPLETED",
}

local messages, enumerations

local function load_messages()
  messages, enumerations = {}, {}
  for name, fields in (MESSAGES .. LENIENT .. require "kfp.validate.kubernetes"):gmatch "(%u%w+) (.-)\n%f[%u%z]" do
    messages[name] = {}
    for field, group, kind in fields:gmatch "(%l%w*)|?([%w-]*):(%S+)" do
      messages[name][field] = { kind = kind, group = group ~= "" and group or nil }
    end
  end
  for name, values in pairs(ENUMERATIONS) do
    enumerations[name] = {}
    for value in values:gmatch "%S+" do enumerations[name][value] = true end
  end
end

-- The name of a field as JSON has it; protobuf's own spelling is read, too.
local function field_name(name)
  return (name:gsub("_(%l)", string.upper))
end

local function is_map(value)
  return type(value) == "table" and (not json.is_array(value) or next(value) == nil)
end

local function is_list(value)
  return type(value) == "table" and (json.is_array(value) or next(value) == nil)
end

local SIMPLE = {
  s = function(value) return type(value) == "string" and utf8.len(value) ~= nil end,
  b = function(value) return type(value) == "boolean" end,
  i = function(value) return math.tointeger(tonumber(value)) ~= nil end,
  f = function(value) return tonumber(value) ~= nil end,
  d = function(value) return type(value) == "string" and value:find "^-?%d+%.?%d*s$" ~= nil end,
  v = function() return true end,
}

local NAMES = { s = "a text", b = "true or false", i = "an integer", f = "a number", d = "a duration such as \"60s\"" }

local check

local function check_elements(value, kind, path, found)
  for key, element in pairs(value) do
    local place = type(key) == "number" and ("%s[%d]"):format(path, key - 1) or path .. "." .. key
    check(kind, element, place, found)
  end
end

local function check_message(kind, value, path, found)
  local fields, groups = messages[kind], {}
  for key, member in pairs(value) do
    local field = fields[field_name(key)]
    local place = path == "" and key or path .. "." .. key
    if not field then
      found[#found + 1] = { path = place, message = ("there is no field %q here"):format(key) }
    elseif member ~= json.null then
      if field.group and groups[field.group] then
        found[#found + 1] = { path = place, message = ("only one of %s and %s"):format(groups[field.group], key) }
      end
      if field.group then groups[field.group] = key end
      check(field.kind, member, place, found)
    end
  end
end

function check(kind, value, path, found)
  local element, container = kind:match "^%[(.+)%]$", "list"
  if not element then element, container = kind:match "^{(.+)}$", "map" end
  local message
  if element then
    local fits = container == "list" and is_list(value) or container == "map" and is_map(value)
    if fits then return check_elements(value, element, path, found) end
    message = container == "list" and "must be a list" or "must be an object"
  elseif messages[kind] then
    if is_map(value) then return check_message(kind, value, path, found) end
    message = "must be an object"
  elseif enumerations[kind] then
    if type(value) == "number" or enumerations[kind][value] then return end
    message = ("%s is no %s"):format(tostring(value), kind)
  elseif not SIMPLE[kind](value) then
    message = "must be " .. NAMES[kind]
  end
  if message then found[#found + 1] = { path = path, message = message, type = kind, value = value } end
end

local normal

local function normal_elements(value, kind)
  local copy = json.is_array(value) and json.array {} or json.object {}
  for key, element in pairs(value) do copy[key] = normal(kind, element) end
  return copy
end

-- A value as it stands behind its spelling: names in camel case, what is null left out.
function normal(kind, value)
  if type(value) ~= "table" then return value end
  local element = kind:match "^%[(.+)%]$" or kind:match "^{(.+)}$"
  if element then return normal_elements(value, element) end
  local fields = messages[kind]
  if not fields or json.is_array(value) and next(value) then return value end
  local copy = json.object {}
  for key, member in pairs(value) do
    local name = type(key) == "string" and field_name(key) or key
    local field = fields[name]
    if not field then copy[key] = member
    elseif member ~= json.null then copy[name] = normal(field.kind, member) end
  end
  return copy
end

---A pipeline's document with names as JSON has them, which protobuf also reads in its own spelling, and without nulls.
---@param ir table PipelineSpec
---@return table
function M.normal(ir)
  if not messages then load_messages() end
  local copy = normal("PipelineSpec", ir)
  if type(copy.deploymentSpec) == "table" then copy.deploymentSpec = normal("Deployment", copy.deploymentSpec) end
  return copy
end

---The Kubernetes platform's document, likewise.
---@param platform table
---@return table
function M.normal_platform(platform)
  if not messages then load_messages() end
  return normal("Platform", platform)
end

---An executor's part of the Kubernetes platform's document, likewise.
---@param executor table
---@return table
function M.normal_executor(executor)
  if not messages then load_messages() end
  return normal("KubernetesExecutor", executor)
end

---What is wrong with a message, sorted by path.
---@param kind string
---@param value any
---@param path string? of the message itself
---@return {path: string, message: string, type: string?, value: any}[] # type: what was expected there, of what has
---  another type
function M.check(kind, value, path)
  if not messages then load_messages() end
  local found = {}
  check(kind, value, path or "", found)
  table.sort(found, function(a, b) return a.path < b.path end)
  return found
end

return M
