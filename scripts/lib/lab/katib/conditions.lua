-- lab.katib.conditions: the conditions of experiments, suggestions and trials as Katib's controller keeps them: what
-- is set goes to the end of the list, so that the last one is the current one.
-- Not for deciding which.
--   conditions.set(status, "Running", "True", "TrialRunning", "Trial is running")

local M = {}

local FINAL = { Succeeded = true, Failed = true, Killed = true, EarlyStopped = true, MetricsUnavailable = true }

---@return string now in seconds, RFC 3339
function M.now()
  return os.date "!%Y-%m-%dT%H:%M:%SZ" --[[@as string]]
end

---@param status table
---@param kind string
---@return table? condition
M.get = require "lab.conditions".find

---@param status table
---@param kind string
---@return boolean # whether it is there and true
function M.holds(status, kind)
  local found = M.get(status or {}, kind)
  return found ~= nil and found.status == "True"
end

---@param status table changed
---@param kind string
function M.remove(status, kind)
  for i = #(status.conditions or {}), 1, -1 do
    if status.conditions[i].type == kind then table.remove(status.conditions, i) end
  end
end

---@param status table changed
---@param kind string
---@param value "True"|"False"
---@return boolean changed
function M.set(status, kind, value, reason, message)
  local before = M.get(status, kind)
  if before and before.status == value and before.reason == reason then return false end
  status.conditions = status.conditions or require "json".array {}
  M.remove(status, kind)
  table.insert(status.conditions, { type = kind, status = value, reason = reason, message = message,
    lastUpdateTime = M.now(),
    lastTransitionTime = before and before.status == value and before.lastTransitionTime or M.now() })
  return true
end

---A final condition: what was running no longer is, with its old text.
---@param status table changed
---@param kind string
function M.finish(status, kind, reason, message)
  local running = M.get(status, "Running")
  if running then M.set(status, "Running", "False", running.reason, running.message) end
  M.set(status, kind, "True", reason, message)
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
