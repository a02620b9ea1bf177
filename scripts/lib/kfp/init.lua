-- Kubeflow Pipelines: what an IR says, and running one on this machine.
-- Not for notebooks: those become an IR in kale.ir.
--   local result = kfp.run(fs.read "pipeline.yaml", { params = { rate = 0.1 }, root = "out" })
local json = require "json"

local M = {}

---Reads the text of a compiled pipeline: its PipelineSpec.
---@param text string YAML or JSON
---@return table ir # raises "YAML", "JSON", or "Pipeline" when there is no pipeline in it
function M.decode(text)
  if text:find "^%s*{" then return json.decode(text) end
  for _, document in ipairs(require "yaml".decode_all(text)) do
    if type(document) == "table" and document.pipelineInfo then return document end
  end
  return require "errors".raise { code = "Pipeline", message = "no document of the text is a pipeline" }
end

---Runs a pipeline on this machine, a process per step.
---@param ir string|table the text of an IR, or the table
---@param options table? params, root, jobs, images, python, cache, cwd, on_event: see kfp.run
---@return {state: "succeeded"|"failed"|"cancelled", outputs: table, metrics: table, tasks: table[], error: any} result
function M.run(ir, options)
  return require "kfp.run".run(type(ir) == "string" and M.decode(ir) or ir, options or {})
end

M.try = require "errors".try(M)

return M
