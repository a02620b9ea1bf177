---@meta kfp
-- Kubeflow Pipelines: what an IR says, judging one, running one on this machine, the client of a server.
-- kfp.try.NAME returns nil and the error instead of raising.

local kfp = {}

---@param text string YAML or JSON
---@return table ir # raises "YAML", "JSON", or "Pipeline" when there is no pipeline in it
function kfp.decode(text) end

---@class kfp.Finding
---@field path string
---@field message string
---@field severity "error"|"warning" error: the server refuses it; warning: only we find it
---@field stage "upload"|"create"|"run" when it shows

---Judges a pipeline as a server would.
---@param ir string|table the text of a file (with the platform's document), or the PipelineSpec
---@param options {parameters: table<string, any>?, platform: table?}? parameters: those of a run to be created
---@return kfp.Finding[]
function kfp.validate(ir, options) end

---Runs a pipeline on this machine, a process per step.
---@param ir string|table the text of an IR, or the table
---@param options table? params, root, jobs, images, python, cache, cwd, on_event
---@return {state: "succeeded"|"failed"|"cancelled", outputs: table, metrics: table, tasks: table[], error: any}
function kfp.run(ir, options) end

return kfp
