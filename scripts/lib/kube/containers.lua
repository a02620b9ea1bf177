-- kube.containers: the containers of a pod: those that start first, the usual ones, those that were added later.
-- Not for how they are (status.containerStatuses).
--   containers.names(pod.spec) -> { "init", "main" }

local M = {}

local FIELDS = { "initContainers", "containers", "ephemeralContainers" }

---All containers with the place that each has.
---@param spec table? of a pod
---@return {container: table, field: string, index: integer}[]
function M.of(spec)
  local all = {}
  for _, field in ipairs(FIELDS) do
    local list = type(spec) == "table" and spec[field]
    for index, container in ipairs(type(list) == "table" and list or {}) do
      all[#all + 1] = { container = container, field = field, index = index }
    end
  end
  return all
end

---Their names.
---@param spec table? of a pod
---@return string[]
function M.names(spec)
  local names = {}
  for _, one in ipairs(M.of(spec)) do names[#names + 1] = one.container.name end
  return names
end

return M
