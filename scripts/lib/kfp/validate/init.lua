-- Whether a KFP server takes a pipeline: what it refuses at upload, what when a run is created, and what it takes
-- although the run then fails. Not for running it here: see kfp.check.
--   for _, finding in ipairs(validate.validate(text)) do print(finding.severity, finding.path, finding.message) end
local create = require "kfp.validate.create"
local json = require "json"
local lint = require "kfp.validate.lint"
local spec = require "kfp.validate.spec"
local workflow = require "kfp.workflow"

local M = {}

local MOST_BYTES = 32 * 1024 * 1024
local NAME = "pipeline's name must contain only lowercase alphanumeric characters or '-' and must start with "
  .. "alphanumeric characters"

---@class kfp.Finding
---@field path string
---@field message string
---@field severity "error"|"warning"
---@field stage "upload"|"create"|"run" when it shows
---@field step string? of the notebook, when Kale made the pipeline
---@field cell integer? of the notebook, when Kale made the pipeline
---@field line integer? in that cell

local UNKNOWN = "unknown template format: "

-- --- documents -------------------------------------------------------------------------------------------------

local function is_argo(document)
  return workflow.is(document) and document.kind == "Workflow"
end

-- Of Argo's workflows no more is judged than that they are read.
local function check_argo(document, add)
  for _, field in ipairs { "metadata", "spec" } do
    local value = document[field]
    if value ~= nil and value ~= json.null and (type(value) ~= "table" or json.is_array(value) and next(value)) then
      add("error", field, "upload", UNKNOWN .. field .. " must be an object")
    end
  end
end

local function is_platform(document)
  return type(document.platforms) == "table" and document.platforms.kubernetes ~= nil
end

-- A document without its nulls: to protobuf they are not there.
local function is_pipeline(document)
  return document.pipelineInfo ~= nil or document.root ~= nil or document.pipeline_info ~= nil
end

-- The reader of pipelines goes line by line for faults of form; a name that comes twice is no pipeline to it.
local function yaml_problem(problem)
  if problem.message:find "is there twice" then return UNKNOWN .. problem.message end
  local place = problem.line and problem.line > 1 and ("line %d: "):format(problem.line - 1) or ""
  return ("failed to parse pipeline spec YAML: yaml: %s%s"):format(place, (problem.message:gsub(" while .*$", "")))
end

local function read(text, add)
  if #text > MOST_BYTES then
    add("error", "", "upload", "File size too large. Maximum supported size: 33554432")
    return {}
  end
  local documents, problem
  local document = text:find "^%s*{" and json.try.decode(text)
  if document then documents = { document }
  else documents, problem = require "yaml".try.decode_all(text, { plain_booleans = true }) end
  if problem then
    add("error", problem.path or "", "upload", yaml_problem(problem))
    return {}
  end
  if #documents == 0 then add("error", "", "upload", "the file is empty") end
  return documents
end

-- The pipeline and the platform's document among all.
local function sort_documents(documents, add)
  local pipeline, platform
  for _, document in ipairs(documents) do
    if type(document) ~= "table" then add("error", "", "upload", UNKNOWN .. "a document is no object")
    elseif is_platform(document) and not is_pipeline(document) then platform = document
    elseif is_pipeline(document) and pipeline then add("error", "", "upload", "multiple pipeline specs provided")
    elseif is_pipeline(document) then pipeline = document end
  end
  return pipeline, platform
end

-- --- upload ---------------------------------------------------------------------------------------------------------

-- The document as a pipeline, in the usual spelling; nil when the server does not take it for one at all.
local function as_spec(ir, add)
  local problems = spec.check("PipelineSpec", ir)
  if #problems == 0 then ir = spec.normal(ir) end
  local info = type(ir.pipelineInfo) == "table" and ir.pipelineInfo or {}
  if #problems == 0 and (info.name or "") == "" then
    problems[1] = { path = "pipelineInfo.name", message = "the pipeline has no name" }
  elseif #problems == 0 and (type(ir.root) ~= "table") then
    problems[1] = { path = "root", message = "the pipeline has no root" }
  end
  for _, problem in ipairs(problems) do add("error", problem.path, "upload", UNKNOWN .. problem.message) end
  return #problems == 0 and ir or nil
end

local function check_upload(ir, add)
  local version = ir.schemaVersion or ""
  if version ~= "2.1.0" then
    add("error", "schemaVersion", "upload",
      ("KFP only supports schema version 2.1.0, but the pipeline spec has version %s"):format(version))
  end
  if not ir.pipelineInfo.name:find "^[a-z0-9][a-z0-9-]*$" then add("error", "pipelineInfo.name", "upload", NAME) end
end

-- --- parameters of a run ---------------------------------------------------------------------------------------------

local function has(list, value)
  for _, item in ipairs(list or {}) do
    if item == value then return true end
  end
  return false
end

local KINDS = { STRING = "string", BOOLEAN = "bool", LIST = "list", STRUCT = "struct" }

-- The server's words for a value of another type.
local function unfit(name, kind)
  if not KINDS[kind] then
    return ("input parameter %s requires type double or integer, but the parameter value is not of number value type")
      :format(name)
  end
  return ("input parameter %s requires type %s, but the input parameter is not of %s value type"):format(name,
    KINDS[kind], KINDS[kind])
end

local WRITTEN = { string = 'string_value:%s', number = "number_value:%s", boolean = "bool_value:%s" }

local function written(value)
  return (WRITTEN[type(value)] or "%s"):format(lint.shown(value))
end

local function literal_problem(name, value, literals)
  local allowed = {}
  for i, literal in ipairs(literals) do allowed[i] = written(literal) end
  return ("input parameter %q value %s does not match any of the allowed literal values: [%s]"):format(name,
    written(value), table.concat(allowed, " "))
end

local function check_names(definitions, values, add)
  local unknown = {}
  for name in pairs(values) do
    if not definitions[name] then unknown[#unknown + 1] = name end
  end
  if #unknown == 0 then return end
  table.sort(unknown)
  local names = table.concat(unknown, ", ")
  add("error", "root.inputDefinitions.parameters." .. unknown[1], "create",
    "parameter(s) provided are not required by pipeline: " .. names)
end

local function check_values(ir, values, add)
  local definitions = (ir.root.inputDefinitions or {}).parameters or {}
  check_names(definitions, values, add)
  for name, definition in pairs(definitions) do
    local path, value = "root.inputDefinitions.parameters." .. name, values[name]
    -- A fraction passes for an integer when a run is created.
    local kind = definition.parameterType == "NUMBER_INTEGER" and "NUMBER_DOUBLE" or definition.parameterType
    local fits = lint.FITS[kind]
    local free = definition.isOptional or (definition.defaultValue ~= nil and definition.defaultValue ~= json.null)
    if value == nil and not free then
      add("error", path, "create",
        ("parameter %s is not optional, yet has neither default value nor user provided value"):format(name))
    elseif value ~= nil and fits and not fits(value) then
      add("error", path, "create", unfit(name, kind))
    elseif value ~= nil and kind ~= definition.parameterType and not lint.FITS.NUMBER_INTEGER(value) then
      add("warning", path, "run", ("%s is no NUMBER_INTEGER"):format(lint.shown(value)))
    elseif value ~= nil and #(definition.literals or {}) > 0 and not has(definition.literals, value) then
      add("error", path, "create", literal_problem(name, value, definition.literals))
    end
  end
end

-- Pipelines of Kale know the cells that their steps come from.
local function locate(findings, pipeline)
  if #findings == 0 or type(pipeline) ~= "table" then return end
  local origin = require "kale.origin".of(pipeline)
  for _, finding in ipairs(findings) do
    local place = origin(finding.path)
    if place then finding.cell, finding.line, finding.step = place.cell, place.line, place.step end
  end
end

-- --- all of it ---------------------------------------------------------------------------------------------

---Judges a pipeline.
---@param ir string|table the text of a file (YAML or JSON, with the platform's document), or the PipelineSpec
---@param options {parameters: table<string, any>?, platform: table?}? parameters: those of a run to be created
---@return kfp.Finding[] errors where the server refuses, warnings where only we find something
function M.validate(ir, options)
  options = options or {}
  local findings = {}
  local function add(severity, path, stage, message)
    findings[#findings + 1] = { path = path, message = message, severity = severity, stage = stage }
  end
  local documents = type(ir) == "string" and read(ir, add) or { ir }
  for _, document in ipairs(documents) do
    if type(document) == "table" and is_argo(document) then
      check_argo(document, add)
      return findings
    end
  end
  local pipeline, platform = sort_documents(documents, add)
  if #findings > 0 then return findings end
  if not pipeline then
    add("error", "", "upload", UNKNOWN .. "no document is a pipeline")
    return findings
  end
  local plain = as_spec(pipeline, add)
  if plain then
    check_upload(plain, add)
    create.check(plain, platform or options.platform, add)
    if options.parameters then check_values(plain, options.parameters, add) end
    lint.check(plain, add)
  end
  locate(findings, pipeline)
  return findings
end

return M
