-- lab.katib.names: kinds, labels and owners of Katib's objects.
-- Not for making them.
--   names.owner(experiment)

local M = {}

M.VERSION = "kubeflow.org/v1beta1"
M.EXPERIMENTS, M.TRIALS = "experiments.v1beta1.kubeflow.org", "trials.v1beta1.kubeflow.org"
M.SUGGESTIONS = "suggestions.v1beta1.kubeflow.org"
M.EXPERIMENT_LABEL = "katib.kubeflow.org/experiment"

---The reference by which an object owns another.
---@param object table
---@return table reference
function M.owner(object)
  return { apiVersion = object.apiVersion, kind = object.kind, name = object.metadata.name, uid = object.metadata.uid,
    controller = true, blockOwnerDeletion = true }
end

---The owner that controls an object, when it is of that kind.
---@param object table
---@param kind string
---@return string? name
function M.owned_by(object, kind)
  for _, owner in ipairs(object.metadata.ownerReferences or {}) do
    if owner.kind == kind and owner.controller then return owner.name end
  end
  return nil
end

return M
