-- lab.control: what only a lab can do, under /lab/ of its server: stopping, forgetting, faults.
-- Not part of Kubernetes' API; only administrators may.
--   control.run(running, ctx) -> response

local answer = require "lab.answer"
local decode = require "lab.decode"
local host = require "host"
local json = require "json"
local status = require "lab.status"
local task = require "task"

local M = {}

local function stop(running)
  task.spawn(function()
    task.sleep(0.05) -- the answer goes first
    running:close()
  end)
  return { stopping = true, pid = host.pid() }
end

local function compact(running)
  running.cluster.store:compact()
  return { compacted = running.cluster.store.revision }
end

local function fault(running, body) return require("lab.faults").command(running.cluster, body) end

local ACTIONS = { stop = stop, compact = compact, fault = fault }

---@param running lab.Running
---@param ctx lab.Context
---@return table response
function M.run(running, ctx)
  local is_admin = false
  for _, group in ipairs(ctx.user.groups) do is_admin = is_admin or group == "system:masters" end
  local action = ACTIONS[ctx.route.path:match "^/lab/(%a+)$" or ""]
  if not is_admin or not action then return answer.text(404, "404 page not found\n") end
  if ctx.request.method ~= "POST" then status.method_not_allowed() end
  ctx.form = { pretty = false }
  local body = ctx.request.body ~= "" and decode.table(ctx, "Lab") or json.object {}
  return answer.value(ctx, 200, action(running, body))
end

return M
