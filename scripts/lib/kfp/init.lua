-- Kubeflow Pipelines: what an IR says, and running one on this machine.
-- Not for notebooks: those become an IR in kale.ir.
--   local result = kfp.run(fs.read "pipeline.yaml", { params = { rate = 0.1 }, root = "out" })
local argument = require "kfhost.argument"
local json = require "json"

local M = {}

---Reads the text of a compiled pipeline: its PipelineSpec, and its platform document when there is one.
---@param text string YAML or JSON
---@return table ir # raises "YAML", "JSON", or "Pipeline" when there is no pipeline in it
---@return table? platform
function M.decode(text)
  argument.check("kfp.decode", 1, text, "string")
  local documents = text:find "^%s*{" and { json.decode(text) }
    or require "yaml".decode_all(text, { plain_booleans = true })
  local ir, platform
  for _, document in ipairs(documents) do
    if type(document) == "table" and (document.pipelineInfo or document.pipeline_info) then ir = document
    elseif type(document) == "table" and document.platforms then platform = document end
  end
  if ir then return require "kfp.validate.spec".normal(ir), platform end
  return require "errors".raise { code = "Pipeline", message = "no document of the text is a pipeline" }
end

---Runs a pipeline on this machine, a process per step.
---@param ir string|table the text of an IR, or the table
---@param options table? params, root, jobs, images, python, cache, cwd, on_event and others: see kfp.run
---@return {state: "succeeded"|"failed"|"cancelled", outputs: table, metrics: table, tasks: table[], error: any} result
function M.run(ir, options)
  argument.check("kfp.run", 1, ir, "string", "table")
  argument.check("kfp.run", 2, options, "table", "nil")
  local platform
  if type(ir) == "string" then ir, platform = M.decode(ir) else ir = require "kfp.validate.spec".normal(ir) end
  return require "kfp.run".run(ir, options or {}, platform)
end

---Judges a pipeline as a KFP server would: errors where it refuses, at upload or when a run is created; warnings
---where only we find something.
---@param ir string|table the text of a file, or the PipelineSpec
---@param options {parameters: table<string, any>?, platform: table?}? parameters: those of a run to be created
---@return {path: string, message: string, severity: "error"|"warning", stage: "upload"|"create"|"run"}[]
function M.validate(ir, options)
  argument.check("kfp.validate", 2, options, "table", "nil")
  return require "kfp.validate".validate(ir, options)
end

---Begins a pipeline that is built task by task; see kfp.build.
---@param name string
---@param options table?
---@return table builder
function M.pipeline(name, options)
  return require "kfp.build".pipeline(name, options)
end

---The client of a KFP server; see kfp.client.
---@param options table? endpoint, namespace, token_file | token | cookie | user | dex, context, timeout
---@return table client # raises "Auth"
function M.connect(options)
  argument.check("kfp.connect", 1, options, "table", "nil")
  return require "kfp.client".connect(options)
end

M.try = require "errors".try(M)

return M
