-- kube.guard: what every write must pass: read-only, dry run, approval, a cap on writes per minute.
-- Not for rights: the server has the last word. Access reviews are no writes.
--   guard.check(client, request)   raises {code="Refused"}

local errors = require "errors"
local mask = require "kube.mask"
local task = require "task"
local term = require "term"

local M = {}

local MINUTE <const> = 60

-- Reviews ask and change nothing.
local function is_review(request)
  local path = request.path
  return request.method == "POST" and (path:find "^/apis/authorization%.k8s%.io/[^/]+/.*reviews$" ~= nil
    or path:find "^/apis/authentication%.k8s%.io/[^/]+/.*reviews$" ~= nil)
end

-- Streams into a pod are GET, yet they act on it.
local function is_session(request)
  local sub = request.subresource or request.path:match "/pods/[^/]+/(%l+)$"
  return sub == "exec" or sub == "attach" or sub == "portforward"
end

---Whether the request changes something, or reaches into a pod.
---@param request table
---@return boolean
function M.is_write(request)
  if request.method == "GET" or request.method == "HEAD" or request.method == "OPTIONS" then
    return is_session(request)
  end
  return not is_review(request)
end

local function refuse(client, request, why, more)
  local problem = {
    code = "Refused", verb = request.verb, resource = request.resource, namespace = request.namespace,
    name = request.name, context = client.context, server = client.server, user = client.user,
    message = ("%s %s%s: %s"):format(request.verb or request.method:lower(), request.resource or request.path,
      request.name and " '" .. request.name .. "'" or "", why),
  }
  for key, value in pairs(more or {}) do problem[key] = value end
  errors.raise(problem)
end

-- --- the cap ----------------------------------------------------------------------------------------------

local function is_exempt(request)
  return request.resource == "leases" or request.exempt
end

local function check_cap(client, request)
  local cap = client.writes_per_minute
  if not cap or is_exempt(request) then return end
  local now, recent = task.now(), client.recent_writes
  while recent[1] and recent[1] <= now - MINUTE do table.remove(recent, 1) end
  if #recent >= cap then
    refuse(client, request, ("%d writes in the last minute are the cap"):format(cap),
      { retry_after = recent[1] + MINUTE - now })
  end
  recent[#recent + 1] = now
end

-- --- approval ---------------------------------------------------------------------------------------------

local function ask(question)
  io.stderr:write(question)
  io.stderr:flush()
  local answer = io.read "l"
  return answer == "y" or answer == "yes"
end

local function check_approval(client, request)
  if not client.approve then return end
  local approve = client.approve
  if type(approve) ~= "function" then
    if not (term.is_terminal "stdin" and term.is_terminal "stderr") then
      refuse(client, request, "it needs an approval (--approve), and there is no terminal to ask on")
    end
    approve = ask
  end
  local question = ("%s\n%s %s%s? [y/N] "):format(mask.preview(client, request), request.verb or request.method:lower(),
    request.resource or request.path, request.name and " " .. request.name or "")
  if not approve(question) then refuse(client, request, "it was not approved") end
end

-- --- all of it --------------------------------------------------------------------------------------------

---What needs no question: whether such a request may pass at all.
---@param client table
---@param request table
---raises {code="Refused"}
function M.admit(client, request)
  if client.readonly then refuse(client, request, "this connection is read-only (--readonly)") end
  if client.dry_run and is_session(request) then
    refuse(client, request, "a dry run does not reach into pods (--dry-run)")
  end
end

---Lets a write pass, or not; a dry run is written into its query.
---@param client table
---@param request table
---raises {code="Refused"}
function M.check(client, request)
  M.admit(client, request)
  if client.fence then client.fence(request) end
  if client.dry_run then request.query.dryRun = "All" end
  check_cap(client, request)
  if request.query.dryRun == nil then check_approval(client, request) end
end

return M
