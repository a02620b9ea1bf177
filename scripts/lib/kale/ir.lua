-- The pipeline of a plan as KFP v2 intermediate representation (PipelineSpec, schema 2.1.0).
-- Not for running it (kfp.run). What the KFP SDK's local runner asks of an IR is kept, too.
--   local text = ir.encode(ir.build(plan))
local bundle = require "bundle"
local diagnostics = require "kale.diagnostics"
local fingerprint = require "kale.fingerprint"
local hash = require "hash"
local json = require "json"
local names = require "kale.names"
local nest = require "kale.nest"
local platform = require "kale.platform"
local quantity = require "kale.quantity"
local sorted_keys = require "kfhost.keys".sorted

local M = {}

local SCHEMA_VERSION, SDK_VERSION, IMAGE = "2.1.0", "kfp-2.17.0", "python:3.12"

-- Linux takes less than 131,072 bytes in one argument; longer payloads are cut.
local PIECE = 100000

local PARAMETER_TYPES = { int = "NUMBER_INTEGER", float = "NUMBER_DOUBLE", str = "STRING", bool = "BOOLEAN" }

-- A cluster makes names of pods and templates of these, of at most 63 bytes.
local LONGEST = 50

local RESERVED = { metrics = true, report = true }

-- Keys by names; chains hand the same names from step to step.
local function remembering(make)
  return setmetatable({}, { __mode = "k", __index = function(keys, name)
    keys[name] = make(name)
    return keys[name]
  end })
end

local artifact_keys = remembering(function(name) return names.key(name, "value", RESERVED) end)
local parameter_keys = remembering(function(name) return names.key(name, "param") end)

local function artifact_key(name) return artifact_keys[name] end

local function parameter_key(name) return parameter_keys[name] end

-- --- one step ---------------------------------------------------------------------------------------

-- Everything the step's program has to know, as kale/runtime/step.py reads it.
local function step_spec(step)
  local params, by_name = json.array {}, {}
  for _, parameter in ipairs(step.known_params) do by_name[parameter.name] = parameter end
  for i, name in ipairs(step.params) do
    params[i] = {
      name = name, type = by_name[name].type, key = parameter_key(name), optional = by_name[name].default == json.null,
    }
  end
  local values_in, values_out, metrics = json.array {}, json.array {}, json.array {}
  for i, value in ipairs(step.values_in) do
    values_in[i] = { name = value.name, artifact = artifact_key(value.name) }
  end
  for i, name in ipairs(step.values_out) do
    values_out[i] = { name = name, artifact = artifact_key(name), cell = step.made_in[name] }
    local with = json.array {}
    for other in pairs(step.taken_with[name] or {}) do with[#with + 1] = other end
    table.sort(with)
    if #with > 0 then values_out[i]["with"] = with end
  end
  for i, name in ipairs(step.metrics) do metrics[i] = { name = name, key = name } end
  local function pieces(list)
    local result = json.array {}
    for i, piece in ipairs(list) do
      result[i] = { cell = piece.cell, line = piece.line, source = piece.source }
      if piece.names and #values_out > 0 then
        result[i].names, result[i].needs = json.array(piece.names), json.array(piece.needs)
      end
    end
    return result
  end
  return {
    step = step.name, params = params, values_in = values_in, values_out = values_out, metrics = metrics,
    setup = pieces(step.setup), code = pieces(step.code),
    definitions = #values_out > 0 and #step.definitions > 0 and json.array(step.definitions) or nil,
  }
end

-- The words after the executor input: program and specification, compressed and encoded, as no runner may change
-- a letter in them; a point divides the two.
local function payload(program, spec)
  local words = { "{{$}}", program }
  local text = hash.base64(hash.deflate(json.encode(spec, { sort = true })))
  for at = 1, #text, PIECE do words[#words + 1] = text:sub(at, at + PIECE - 1) end
  return json.array(words)
end

-- What decides what the step makes, whatever its comments and its place in the notebook are.
local function cache_key(plan, step, spec, runtime)
  local parts = { runtime.digest, step.name }
  for _, piece in ipairs(step.setup) do parts[#parts + 1] = fingerprint.text(piece.source, plan.fingerprints) end
  for _, piece in ipairs(step.code) do parts[#parts + 1] = piece.words end
  for _, group in ipairs { "params", "values_in", "values_out", "metrics" } do
    parts[#parts + 1] = group
    for _, entry in ipairs(spec[group]) do
      parts[#parts + 1] = entry.name
      parts[#parts + 1] = entry.type
      parts[#parts + 1] = entry["with"] and table.concat(entry["with"], " ")
    end
  end
  for _, definition in ipairs(spec.definitions or {}) do
    parts[#parts + 1] = definition.name .. ": " .. table.concat(definition.needs, " ")
  end
  return hash.sha256(table.concat(parts, "\n"))
end

local function environment(plan, step, key)
  local options, list = step.options, json.array {}
  local function add(name, value) list[#list + 1] = { name = name, value = value } end
  for _, volume in ipairs(plan.metadata.mounts or {}) do
    if volume.env then add(volume.env, volume.path) end
  end
  for _, name in ipairs(sorted_keys(options.env)) do add(name, options.env[name]) end
  add("KFHOST_CACHE_KEY", key)
  if options.packages then add("KFHOST_PACKAGES", table.concat(options.packages, " ")) end
  local folder = step.folder or plan.metadata.abs_working_dir
  if folder then add("KFHOST_WORKING_DIR", folder) end
  return list
end

-- Both spellings, as the SDK writes them: amounts as texts, and as numbers of cores and GB.
local function resources(options)
  local result = {}
  for group, word in pairs { limits = "Limit", requests = "Request" } do
    for name, value in pairs(options[group]) do
      local amount = quantity.read(value)
      if name == "cpu" then
        result["cpu" .. word], result["resourceCpu" .. word] = amount, value
      elseif name == "memory" then
        result["memory" .. word], result["resourceMemory" .. word] = amount / 1e9, value
      elseif name:find("/", 1, true) and word == "Limit" then
        result.accelerator = { type = name, resourceType = name, count = value, resourceCount = value }
      end
    end
  end
  return result
end

local function executor(plan, step, runtime)
  local spec = step_spec(step)
  local container = {
    image = step.options.image or plan.metadata.base_image or IMAGE,
    command = json.array { "python3", "-c", runtime.boot },
    args = payload(runtime.program, spec),
    env = environment(plan, step, cache_key(plan, step, spec, runtime)),
  }
  local wanted = resources(step.options)
  if next(wanted) then container.resources = wanted end
  return { container = container }
end

local function artifact_type(title)
  return { artifactType = { schemaTitle = "system." .. title, schemaVersion = "0.0.1" } }
end

local function set_if_any(target, key, value)
  if next(value) ~= nil then target[key] = value end
end

local function component(step, key)
  local parameters, by_name, inputs, outputs = {}, {}, {}, {}
  for _, parameter in ipairs(step.known_params) do by_name[parameter.name] = parameter end
  for _, name in ipairs(step.params) do
    local parameter = by_name[name]
    parameters[parameter_key(name)] = {
      parameterType = parameter.default == json.null and "STRING" or PARAMETER_TYPES[parameter.type],
    }
  end
  for _, value in ipairs(step.values_in) do inputs[artifact_key(value.name)] = artifact_type "Dataset" end
  for _, name in ipairs(step.values_out) do outputs[artifact_key(name)] = artifact_type "Dataset" end
  if #step.metrics > 0 then outputs.metrics = artifact_type "Metrics" end
  if step.options.report ~= false then outputs.report = artifact_type "HTML" end
  local definitions = {}
  set_if_any(definitions, "parameters", parameters)
  set_if_any(definitions, "artifacts", inputs)
  local result = { executorLabel = "exec-" .. key, }
  set_if_any(result, "inputDefinitions", definitions)
  if next(outputs) then result.outputDefinitions = { artifacts = outputs } end
  return result
end

local function is_cached(plan, step)
  if step.options.cache ~= nil then return step.options.cache end
  return plan.metadata.enable_caching ~= false
end

local function retry_policy(retry)
  if not retry or retry.count == 0 then return nil end
  return {
    maxRetryCount = retry.count, backoffDuration = retry.wait .. "s", backoffFactor = retry.factor,
    backoffMaxDuration = "3600s",
  }
end

local function task(plan, step, keys, component_label)
  local parameters, artifacts, dependent = {}, {}, {}
  for _, name in ipairs(step.params) do
    parameters[parameter_key(name)] = { componentInputParameter = parameter_key(name) }
  end
  for _, value in ipairs(step.values_in) do
    local key = artifact_key(value.name)
    artifacts[key] = { taskOutputArtifact = { producerTask = keys[value.from], outputArtifactKey = key } }
  end
  for i, name in ipairs(step.after) do dependent[i] = keys[name] end
  for _, volume in ipairs(plan.metadata.mounts or {}) do
    if volume.kind == "create" and not step.options.volumes[volume.path] then
      dependent[#dependent + 1] = platform.claim_key(volume)
    end
  end
  table.sort(dependent)
  local inputs = {}
  set_if_any(inputs, "parameters", parameters)
  set_if_any(inputs, "artifacts", artifacts)
  local result = {
    taskInfo = { name = keys[step.name] },
    componentRef = { name = "comp-" .. component_label },
    cachingOptions = is_cached(plan, step) and { enableCache = true } or json.object {},
    retryPolicy = retry_policy(step.options.retry),
  }
  set_if_any(result, "inputs", inputs)
  if #dependent > 0 then result.dependentTasks = json.array(dependent) end
  return result
end

-- --- volumes that are made ----------------------------------------------------------------------------

-- The executor's image is a sign for the backend, which makes the claim itself.
local function add_claim(volume, components, executors, tasks)
  local key = platform.claim_key(volume)
  local definitions, inputs = {}, {}
  local function add(name, kind, value)
    if value == nil then return end
    definitions[name] = { parameterType = kind, isOptional = true }
    inputs[name] = { runtimeValue = { constant = value } }
  end
  add("access_modes", "LIST", json.array { volume.access_mode })
  add("pvc_name_suffix", "STRING", "-" .. volume.name)
  add("size", "STRING", volume.size)
  add("storage_class_name", "STRING", volume.storage_class)
  add("volume_name", "STRING", volume.volume)
  if volume.clone_of then
    add("data_source", "STRUCT", { apiGroup = "", kind = "PersistentVolumeClaim", name = volume.clone_of })
  end
  if next(volume.annotations) then add("annotations", "STRUCT", volume.annotations) end
  components["comp-" .. key] = {
    executorLabel = "exec-" .. key, inputDefinitions = { parameters = definitions },
    outputDefinitions = { parameters = { name = { parameterType = "STRING" } } },
  }
  executors["exec-" .. key] = { container = { image = "argostub/createpvc" } }
  tasks[key] = {
    taskInfo = { name = key }, componentRef = { name = "comp-" .. key }, inputs = { parameters = inputs },
    cachingOptions = json.object {},
  }
end

-- --- the pipeline -------------------------------------------------------------------------------------

local function root_parameter(parameter)
  local default = parameter.default
  -- None has no default in an IR that every runner takes: the empty text stands for it.
  if default == json.null then default = "" end
  return parameter_key(parameter.name), {
    parameterType = parameter.default == json.null and "STRING" or PARAMETER_TYPES[parameter.type],
    defaultValue = default,
  }
end

local function root_parameters(plan)
  local parameters = {}
  for _, parameter in ipairs(plan.params) do
    local key, definition = root_parameter(parameter)
    parameters[key] = definition
  end
  return parameters
end

-- Where each task is: the key of its component, and for what is in inner notebooks the notebook and its name there.
-- A notebook is a task, too.
local function places_of(plan)
  local namer, inner_namers, groups = names.unique("step", LONGEST), {}, {}
  local keys, places = {}, {}
  local function place(name, group, inner)
    local key = namer(name)
    if not group then
      places[key] = { depth = 0 }
      return key
    end
    inner_namers[group] = inner_namers[group] or names.unique("step", LONGEST)
    places[key] = { depth = places[group].depth + 1, group = group, inner = inner_namers[group](inner) }
    return key
  end
  for _, step in ipairs(plan.steps) do
    local around, last = nil, ""
    for _, group in ipairs(step.groups) do
      groups[group] = groups[group] or place(group, around, group:sub(#last + 1))
      around, last = groups[group], group .. "."
    end
    keys[step.name] = place(step.name, around, step.inner_name)
  end
  return keys, places
end

-- What each task's component and executor are called: as the task, but none as the pipeline, whose file the
-- SDK would then take for that of a lone component.
local function labels_of(plan, places)
  local name, labels = names.legal(plan.name, "pipeline", 124), {}
  local function note(key)
    if key ~= name then
      labels[key] = key
      return
    end
    local free, number = key .. "-step", 1
    while places[free] do
      number = number + 1
      free = ("%s-step-%d"):format(key, number)
    end
    labels[key] = free
  end
  for key in pairs(places) do note(key) end
  return labels
end

---The tasks of a plan's steps in the IR; those of inner notebooks after the tasks they are in: "outer/inner/load".
---@param plan table of kale.plan
---@return table<string, string> task by step name
function M.task_names(plan)
  local keys, places = places_of(plan)
  for name, key in pairs(keys) do
    local place, path = places[key], key
    if place.group then path = place.inner end
    while place.group do
      local above = places[place.group]
      path = (above.inner or place.group) .. "/" .. path
      place = above
    end
    keys[name] = path
  end
  return keys
end

-- Whether a cell asks for the shell; what it gives may come to any step.
local function uses_shell(plan)
  for _, step in ipairs(plan.steps) do
    for _, list in ipairs { step.setup, step.code } do
      for _, piece in ipairs(list) do
        if piece.source:find("get_ipython", 1, true) or piece.source:find("IPython", 1, true) then return true end
      end
    end
  end
  return false
end

local function joined(files)
  local texts = {}
  for i, name in ipairs(files) do texts[i] = bundle.text("kale/runtime/" .. name .. ".py") end
  return table.concat(texts, "\n\n")
end

-- The step's program, and the part of it that does magics.
local function runtime_program()
  local program = joined { "others", "pickling", "arrays", "formats", "values", "notebook", "environment", "step" }
  -- A text of JSON is one of Python's, too.
  return program, "\n\nSHELL.append(" .. json.encode(joined { "outputs", "measuring", "shell" }) .. ")\n"
end

---Builds the PipelineSpec of a plan without errors.
---@param plan table of kale.plan
---@return table ir # raises "Notebook" when the plan has errors
---@return table? platform the platform document, when a step asks for something of it
function M.build(plan)
  diagnostics.check(plan.path, plan.diagnostics)
  local keys, places = places_of(plan)
  local labels = labels_of(plan, places)
  local program, shell = runtime_program()
  local digest = hash.sha256(program .. shell)
  if uses_shell(plan) then program = program .. shell end
  local runtime = {
    boot = bundle.text "kale/runtime/boot.py", program = hash.base64(hash.deflate(program)) .. ".", digest = digest,
  }
  local components, executors, tasks = {}, {}, {}
  plan.fingerprints = {}
  for _, volume in ipairs(plan.metadata.mounts or {}) do
    if volume.kind == "create" then add_claim(volume, components, executors, tasks) end
  end
  for _, step in ipairs(plan.steps) do
    local key = keys[step.name]
    components["comp-" .. labels[key]] = component(step, labels[key])
    executors["exec-" .. labels[key]] = executor(plan, step, runtime)
    tasks[key] = task(plan, step, keys, labels[key])
    step.key, step.label = key, labels[key]
  end
  nest.tasks(plan, places, labels, tasks, components, root_parameter)
  local root = { dag = { tasks = tasks } }
  local parameters = root_parameters(plan)
  if next(parameters) then root.inputDefinitions = { parameters = parameters } end
  plan.fingerprints = nil
  return {
    pipelineInfo = {
      name = names.legal(plan.name, "pipeline", 124), description = plan.metadata.pipeline_description,
    },
    schemaVersion = SCHEMA_VERSION, sdkVersion = SDK_VERSION,
    components = components, deploymentSpec = { executors = executors }, root = root,
  }, platform.build(plan)
end

---@param ir table of M.build
---@param platform_document table? of M.build
---@return string[] # texts that are the YAML, one after the other: the program that all steps share is in many of them
function M.pieces(ir, platform_document)
  local yaml = require "yaml"
  local pieces = yaml.encode(ir, { pieces = true })
  if platform_document then pieces[#pieces + 1] = "---\n" .. yaml.encode(platform_document) end
  return pieces
end

---@param ir table of M.build
---@param platform_document table? of M.build
---@return string yaml the same bytes for the same plan
function M.encode(ir, platform_document) return table.concat(M.pieces(ir, platform_document)) end

return M
