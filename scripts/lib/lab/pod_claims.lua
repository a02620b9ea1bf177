-- lab.pod_claims: the claims that a pod mounts: by name, and those that are made for it alone (ephemeral volumes).
-- Not for making these (lab.controllers.ephemeral), nor for volumes (lab.controllers.volumes).
--   for _, name in ipairs(pod_claims.names(pod)) do … end

local M = {}

---@param pod table
---@param volume table of its spec
---@return string? name of the claim that the volume is of; nil: it is of none
function M.name(pod, volume)
  if volume.persistentVolumeClaim then return volume.persistentVolumeClaim.claimName end
  return volume.ephemeral and pod.metadata.name .. "-" .. volume.name or nil
end

---@param pod table
---@return string[]
function M.names(pod)
  local names = {}
  for _, volume in ipairs(pod.spec.volumes or {}) do names[#names + 1] = M.name(pod, volume) end
  return names
end

---@param pod table
---@param claim_name string
---@return boolean
function M.mounts(pod, claim_name)
  for _, name in ipairs(M.names(pod)) do
    if name == claim_name then return true end
  end
  return false
end

return M
