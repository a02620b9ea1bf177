-- lab.katib.conditions: conditions of experiments and trials: one is true, those before it become false.
-- Not for deciding which.
--   conditions.set(status, "Running", "TrialRunning", "Trial is running")

local M = {}

local FINAL = { Succeeded = true, Failed = true, Killed = true, EarlyStopped = true, MetricsUnavailable = true }

local function now()
  return os.date "!%Y-%m-%dT%H:%M:%SZ"
end

---@param status table changed
---@param kind string
---@return boolean changed
function M.set(status, kind, reason, message)
  status.conditions = status.conditions or {}
  local found
  for _, one in ipairs(status.conditions) do
    if one.type == kind then found = one end
  end
  if found and found.status == "True" and found.reason == reason then return false end
  for _, one in ipairs(status.conditions) do
    if one.type == "Running" and FINAL[kind] and one.status == "True" then
      one.status, one.lastTransitionTime, one.lastUpdateTime = "False", now(), now()
    end
  end
  if not found then
    found = { type = kind }
    table.insert(status.conditions, found)
  end
  found.status, found.reason, found.message = "True", reason, message
  found.lastTransitionTime, found.lastUpdateTime = now(), now()
  return true
end

---@param object table
---@return string? kind of the final condition that holds
function M.final(object)
  for _, one in ipairs(object.status and object.status.conditions or {}) do
    if FINAL[one.type] and one.status == "True" then return one.type end
  end
  return nil
end

return M
