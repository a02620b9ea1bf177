-- The Go types behind an Experiment: what the webhook decodes, drops and prints.
-- Not for meaning: see defaults and webhook.
--   local spec = types.decode("ExperimentSpec", experiment.spec, "spec", found)
local json = require "json"

local M = {}

-- Names in the order of the fields; see job_types for the notation. NAME=s is a named text.
local EXPERIMENT = [[
ExperimentSpec parameters?:[ParameterSpec] objective?:ObjectiveSpec algorithm?:AlgorithmSpec
  earlyStopping?:EarlyStoppingSpec trialTemplate?:TrialTemplate parallelTrialCount?:i maxTrialCount?:i
  maxFailedTrialCount?:i metricsCollectorSpec?:MetricsCollectorSpec nasConfig?:NasConfig
  resumePolicy?:ResumePolicyType
ParameterSpec name?:s parameterType?:ParameterType feasibleSpace:FeasibleSpace
FeasibleSpace max?:s min?:s list?:[s] step?:s distribution?:Distribution
ObjectiveSpec type?:ObjectiveType goal?:f objectiveMetricName?:s additionalMetricNames?:[s]
  metricStrategies?:[MetricStrategy]
MetricStrategy name?:s value?:MetricStrategyType
AlgorithmSpec algorithmName?:s algorithmSettings?:[AlgorithmSetting]
EarlyStoppingSpec algorithmName?:s algorithmSettings?:[EarlyStoppingSetting]
AlgorithmSetting name?:s value?:s
EarlyStoppingSetting name?:s value?:s
TrialTemplate retain?:b trialSpec?:object configMap?:ConfigMapSource trialParameters?:[TrialParameterSpec]
  primaryPodLabels?:{s} primaryContainerName?:s successCondition?:s failureCondition?:s
ConfigMapSource configMapName?:s configMapNamespace?:s templatePath?:s
TrialParameterSpec name?:s description?:s reference?:s
MetricsCollectorSpec source?:SourceSpec collector?:CollectorSpec
SourceSpec httpGet?:HTTPGetAction fileSystemPath?:FileSystemPath filter?:FilterSpec
FileSystemPath path?:s kind?:FileSystemKind format?:FileFormat
FilterSpec metricsFormat?:[s]
CollectorSpec kind?:CollectorKind customCollector?:Container
NasConfig graphConfig:GraphConfig operations?:[Operation]
GraphConfig numLayers?:i inputSizes?:[i] outputSizes?:[i]
Operation operationType?:s parameters?:[ParameterSpec]
]]

-- Of a trial, as far as anything here goes by it: the API's object, or the short form.
local TRIAL = [[
TrialGiven name?:s state?:s value?:f assignments?:[Assignment] history?:[Measured] metadata?:object spec?:TrialPart
  status?:TrialStatus
TrialPart parameterAssignments?:[Assignment]
Assignment name?:s value?:s
Measured name?:s value?:s timestamp?:s
TrialStatus conditions?:[TrialCondition] observation?:Observation
TrialCondition type?:s status?:s reason?:s message?:s
Observation metrics?:[ObservedMetric]
ObservedMetric name?:s min?:s max?:s latest?:s
]]

local NAMED_TEXTS = {
  ParameterType = true, Distribution = true, ObjectiveType = true, MetricStrategyType = true,
  ResumePolicyType = true, FileSystemKind = true, FileFormat = true, CollectorKind = true,
}

local GO_NAMES = { s = "string", i = "int32", f = "float64", b = "bool" }

---@class katib.Field
---@field name string
---@field optional boolean an empty one is left out
---@field type string

---@class katib.Found
---@field unknown {path: string, struct: string, name: string}[]
---@field wrong {path: string, message: string}[]

local structs

local function read(text)
  for name, fields in text:gmatch "(%u%w+) (.-)\n%f[%u%z]" do
    local list = { by_name = {} }
    for field, mark, kind in fields:gmatch "(%l%w*)(%??):(%S+)" do
      local entry = { name = field, optional = mark == "?", type = kind }
      list[#list + 1] = entry
      list.by_name[field] = entry
    end
    structs[name] = list
  end
end

---The fields of a type.
---@param name string
---@return katib.Field[]? # with by_name; nil for what is no struct
function M.fields(name)
  if not structs then
    structs = {}
    read(EXPERIMENT)
    read(TRIAL)
    read(require "katib.job_types")
  end
  return structs[name]
end

---What a type is made of: "list" or "map" and the type of its elements, "struct", or its own letter.
---@param kind string
---@return string form, string? element
function M.form(kind)
  local element = kind:match "^%[(.+)%]$"
  if element then return "list", element end
  element = kind:match "^{(.+)}$"
  if element then return "map", element end
  if NAMED_TEXTS[kind] then return "s" end
  if M.fields(kind) then return "struct" end
  return kind
end

local function go_name(kind)
  local form, element = M.form(kind)
  if form == "list" then return "[]" .. go_name(element) end
  if form == "map" then return "map[string]" .. go_name(element) end
  if form == "struct" then return "v1beta1." .. kind end
  return NAMED_TEXTS[kind] and "v1beta1." .. kind or GO_NAMES[kind] or kind
end

local function kind_of(value)
  if type(value) == "table" then return json.is_array(value) and "array" or "object" end
  if type(value) == "boolean" then return "bool" end
  return type(value)
end

local WANTED = {
  s = "string", i = "number", f = "number", b = "bool", list = "array", map = "object", struct = "object",
  object = "object",
}

-- An empty table that nothing marked may be either.
local function fits(form, value)
  local wanted = WANTED[form]
  if not wanted then return true end
  local kind = kind_of(value)
  if kind == "object" and wanted == "array" and next(value) == nil then return true end
  return kind == wanted and (form ~= "i" or math.tointeger(value) ~= nil)
end

local SHAPES = {
  s = { "a text", string = true, number = true }, i = { "a number", number = true }, f = { "a number", number = true },
  b = { "true or false", boolean = true }, list = { "a list", table = true }, map = { "an object", table = true },
  struct = { "an object", table = true }, object = { "an object", table = true },
}

---The first place where another thing stands than is expected. A number may stand for a text: the values of an
---experiment are often written without their quotes.
---@param kind string
---@param value any
---@param path string
---@return string? path
---@return string? message
function M.misshapen(kind, value, path)
  local form, element = M.form(kind)
  local shape = SHAPES[form]
  if shape and (not shape[type(value)] or value ~= value) then return path, shape[1] .. " is expected here" end
  if form == "struct" then
    for _, field in ipairs(M.fields(kind)) do
      local member = value[field.name]
      local at, message = nil, nil
      if member ~= nil then at, message = M.misshapen(field.type, member, path .. "." .. field.name) end
      if at then return at, message end
    end
  elseif form == "list" then
    for i, item in ipairs(value) do
      local at, message = M.misshapen(element, item, ("%s[%d]"):format(path, i - 1))
      if at then return at, message end
    end
  end
  return nil
end

local decode

local function decode_struct(kind, value, place, found)
  local fields, result = M.fields(kind), {}
  for name, member in pairs(value) do
    local field = fields.by_name[name]
    if not field then
      found.unknown[#found.unknown + 1] = { path = place.path .. "." .. name, struct = kind, name = name }
    elseif member ~= json.null then
      result[name] = decode(field.type, member, {
        path = place.path .. "." .. name, go = place.go .. "." .. name, struct = kind,
      }, found)
    end
  end
  return result
end

local function decode_list(element, value, place, found)
  local result = json.array {}
  for i, item in ipairs(value) do
    local at = { path = ("%s[%d]"):format(place.path, i - 1), go = place.go, struct = place.struct }
    result[i] = decode(element, item, at, found)
  end
  return result
end

local function decode_map(element, value, place, found)
  local result = {}
  for key, item in pairs(value) do
    local at = { path = place.path .. "." .. key, go = place.go, struct = place.struct }
    result[key] = decode(element, item, at, found)
  end
  return result
end

local function mismatch(kind, value, place)
  local shown = kind_of(value)
  if shown == "number" then shown = "number " .. json.encode(value) end
  return { path = place.path, message = ("json: cannot unmarshal %s into Go struct field %s.%s of type %s")
    :format(shown, place.struct, place.go, go_name(kind)) }
end

function decode(kind, value, place, found)
  local form, element = M.form(kind)
  if not fits(form, value) then
    found.wrong[#found.wrong + 1] = mismatch(kind, value, place)
    return nil
  end
  if form == "struct" then return decode_struct(kind, value, place, found) end
  if form == "list" then return decode_list(element, value, place, found) end
  if form == "map" then return decode_map(element, value, place, found) end
  return value
end

---Reads a value as its Go type: unknown fields and nulls are left out, wrong types too.
---@param kind string
---@param value table
---@param path string where it stands: "spec"
---@return table value, katib.Found found
function M.decode(kind, value, path)
  local found = { unknown = {}, wrong = {} }
  local result = decode(kind, value, { path = path, go = path, struct = kind }, found)
  table.sort(found.unknown, function(a, b) return a.path < b.path end)
  table.sort(found.wrong, function(a, b) return a.path < b.path end)
  return result or {}, found
end

return M
