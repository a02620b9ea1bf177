-- The pipeline of a plan as KFP v2 intermediate representation (PipelineSpec, schema 2.1.0).
-- Not for running it (kfp.run). What the KFP SDK's local runner asks of an IR is kept, too.
--   local text = ir.encode(ir.build(plan))
local bundle = require "bundle"
local diagnostics = require "kale.diagnostics"
local hash = require "hash"
local json = require "json"

local M = {}

local SCHEMA_VERSION, SDK_VERSION, IMAGE = "2.1.0", "kfp-2.17.0", "python:3.12"

-- Linux takes less than 131,072 bytes in one argument; longer payloads are cut.
local PIECE = 100000

local PARAMETER_TYPES = { int = "NUMBER_INTEGER", float = "NUMBER_DOUBLE", str = "STRING", bool = "BOOLEAN" }

local RESERVED = { metrics = true, report = true }

-- --- names ------------------------------------------------------------------------------------------

-- Names as the SDK writes them, a-z, 0-9 and single dashes; each is used once.
local function new_namer(otherwise)
  local used = {}
  return function(name)
    local base = name:lower():gsub("[^a-z0-9]+", "-"):gsub("^%-+", ""):gsub("%-+$", "")
    if base == "" then base = otherwise end
    local unique, number = base, 1
    while used[unique] do
      number = number + 1
      unique = base .. "-" .. number
    end
    used[unique] = true
    return unique
  end
end

-- The key of a value's artifact: its name, as far as that is legal.
local function artifact_key(name)
  if name:find "^[%a_][%w_]*$" and not RESERVED[name] then return name end
  return "value_" .. hash.sha256(name):sub(1, 8)
end

-- --- one step ---------------------------------------------------------------------------------------

-- Everything the step's program has to know, as kale/runtime/step.py reads it.
local function step_spec(plan, step)
  local params, by_name = json.array {}, {}
  for _, parameter in ipairs(plan.params) do by_name[parameter.name] = parameter end
  for i, name in ipairs(step.params) do
    params[i] = { name = name, type = by_name[name].type, key = name, optional = by_name[name].default == json.null }
  end
  local values_in, values_out, metrics = json.array {}, json.array {}, json.array {}
  for i, value in ipairs(step.values_in) do
    values_in[i] = { name = value.name, artifact = artifact_key(value.name) }
  end
  for i, name in ipairs(step.values_out) do values_out[i] = { name = name, artifact = artifact_key(name) } end
  for i, name in ipairs(step.metrics) do metrics[i] = { name = name, key = name } end
  local function pieces(list)
    local result = json.array {}
    for i, piece in ipairs(list) do
      result[i] = { cell = piece.cell, line = piece.line, source = piece.source }
    end
    return result
  end
  return {
    step = step.name, params = params, values_in = values_in, values_out = values_out, metrics = metrics,
    setup = pieces(step.setup), code = pieces(step.code),
  }
end

-- The words after the executor input: program and specification, encoded, as no runner may change
-- a letter in them; a point divides the two.
local function payload(program, spec)
  local words = { "{{$}}", program }
  local text = hash.base64(json.encode(spec, { sort = true }))
  for at = 1, #text, PIECE do words[#words + 1] = text:sub(at, at + PIECE - 1) end
  return json.array(words)
end

local function image_of(plan, step)
  for _, option in ipairs(step.options or {}) do
    if option.name == "image" then return option.value end
  end
  return plan.metadata.base_image or IMAGE
end

local function executor(plan, step, runtime)
  return {
    container = {
      image = image_of(plan, step),
      command = json.array { "python3", "-c", runtime.boot },
      args = payload(runtime.program, step_spec(plan, step)),
    },
  }
end

local function artifact_type(title)
  return { artifactType = { schemaTitle = "system." .. title, schemaVersion = "0.0.1" } }
end

local function set_if_any(target, key, value)
  if next(value) ~= nil then target[key] = value end
end

local function component(plan, step, key)
  local parameters, by_name, inputs, outputs = {}, {}, {}, {}
  for _, parameter in ipairs(plan.params) do by_name[parameter.name] = parameter end
  for _, name in ipairs(step.params) do
    parameters[name] = { parameterType = PARAMETER_TYPES[by_name[name].type] }
  end
  for _, value in ipairs(step.values_in) do inputs[artifact_key(value.name)] = artifact_type "Dataset" end
  for _, name in ipairs(step.values_out) do outputs[artifact_key(name)] = artifact_type "Dataset" end
  if #step.metrics > 0 then outputs.metrics = artifact_type "Metrics" end
  outputs.report = artifact_type "HTML"
  local definitions = {}
  set_if_any(definitions, "parameters", parameters)
  set_if_any(definitions, "artifacts", inputs)
  local result = { executorLabel = "exec-" .. key, outputDefinitions = { artifacts = outputs } }
  set_if_any(result, "inputDefinitions", definitions)
  return result
end

local function is_cached(plan, step)
  local enabled = plan.metadata.enable_caching ~= false
  for _, option in ipairs(step.options or {}) do
    if option.name == "cache" then enabled = option.value == "enabled" end
  end
  return enabled
end

local function task(plan, step, keys)
  local parameters, artifacts, dependent = {}, {}, {}
  for _, name in ipairs(step.params) do parameters[name] = { componentInputParameter = name } end
  for _, value in ipairs(step.values_in) do
    local key = artifact_key(value.name)
    artifacts[key] = { taskOutputArtifact = { producerTask = keys[value.from], outputArtifactKey = key } }
  end
  for i, name in ipairs(step.after) do dependent[i] = keys[name] end
  table.sort(dependent)
  local inputs = {}
  set_if_any(inputs, "parameters", parameters)
  set_if_any(inputs, "artifacts", artifacts)
  local result = {
    taskInfo = { name = keys[step.name] },
    componentRef = { name = "comp-" .. keys[step.name] },
    cachingOptions = is_cached(plan, step) and { enableCache = true } or json.object {},
  }
  set_if_any(result, "inputs", inputs)
  if #dependent > 0 then result.dependentTasks = json.array(dependent) end
  return result
end

-- --- the pipeline -------------------------------------------------------------------------------------

local function root_parameters(plan)
  local parameters = {}
  for _, parameter in ipairs(plan.params) do
    local default = parameter.default
    -- None has no default in an IR that every runner takes: the empty text stands for it.
    if default == json.null then default = "" end
    parameters[parameter.name] = {
      parameterType = parameter.default == json.null and "STRING" or PARAMETER_TYPES[parameter.type],
      defaultValue = default,
    }
  end
  return parameters
end

---The names of a plan's steps in the IR.
---@param plan table of kale.plan
---@return table<string, string> task name by step name
function M.task_names(plan)
  local namer, keys = new_namer "step", {}
  for _, step in ipairs(plan.steps) do keys[step.name] = namer(step.name) end
  return keys
end

---Builds the PipelineSpec of a plan without errors.
---@param plan table of kale.plan
---@return table ir # raises "Notebook" when the plan has errors
function M.build(plan)
  diagnostics.check(plan.path, plan.diagnostics)
  local keys = M.task_names(plan)
  local runtime = {
    boot = bundle.text "kale/runtime/boot.py", program = hash.base64(bundle.text "kale/runtime/step.py") .. ".",
  }
  local components, executors, tasks = {}, {}, {}
  for _, step in ipairs(plan.steps) do
    local key = keys[step.name]
    components["comp-" .. key] = component(plan, step, key)
    executors["exec-" .. key] = executor(plan, step, runtime)
    tasks[key] = task(plan, step, keys)
  end
  local root = { dag = { tasks = tasks } }
  local parameters = root_parameters(plan)
  if next(parameters) then root.inputDefinitions = { parameters = parameters } end
  return {
    pipelineInfo = { name = new_namer "pipeline" (plan.name), description = plan.metadata.pipeline_description },
    schemaVersion = SCHEMA_VERSION, sdkVersion = SDK_VERSION,
    components = components, deploymentSpec = { executors = executors }, root = root,
  }
end

---@param ir table of M.build
---@return string yaml the same bytes for the same plan
function M.encode(ir)
  return require "yaml".encode(ir)
end

return M
