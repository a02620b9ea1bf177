-- lab.conditions: what objects say of themselves in status.conditions, by type.
-- Not for saying it: each controller has its own rule for what is new.
--   conditions.find(pod.status, "Ready") -> condition, place     conditions.holds(node.status, "Ready") -> true

local M = {}

---@param status table? of an object
---@param kind string the condition's type
---@return table? condition
---@return integer? place in the list
function M.find(status, kind)
  for i, one in ipairs(status and status.conditions or {}) do
    if one.type == kind then return one, i end
  end
end

---@param status table?
---@param kind string
---@return boolean whether there is such a condition, and it is True
function M.holds(status, kind)
  local one = M.find(status, kind)
  return one ~= nil and one.status == "True"
end

return M
