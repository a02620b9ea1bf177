-- Workflows of Argo's, which are what KFP 1 ran: knowing one among documents.
-- Not for what is in one, nor for the objects of runs (lab.kfp.workflows).
--   workflow.is { apiVersion = "argoproj.io/v1alpha1", kind = "Workflow" } -> true
local M = {}

---@param document table
---@return boolean
function M.is(document)
  return tostring(document.apiVersion or ""):find "^argoproj%.io/" ~= nil
end

return M
