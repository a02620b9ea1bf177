-- lab.kfp.access: who asks, and whether he may: the identity header, a token for the audience of Pipelines, and
-- the cluster's access review.
-- Not for Kubernetes' own requests.
--   request.allow = access.checker(state, request)

local failure = require "lab.kfp.failure"

local M = {}

local HEADER = "kubeflow-userid"
local GROUP = "pipelines.kubeflow.org"
local GROUPS = { viewers = "kubeflow.org" }

-- The user that a request shows; raises 401. A header that is there beats a token.
local function user_of(state, request)
  local header = request.headers[HEADER]
  if header and header ~= "" then return header end
  local token = (request.headers.authorization or ""):match "^[Bb]earer%s+(.+)$"
  local user = token and state.review_token and state.review_token(token)
  if user then return user end
  local short = "Failed to check authorization. User identity is empty in the request header"
  return failure.raise(16, short, ("Failed to authorize with API: Unauthenticated: %s: Unauthenticated: Request header "
    .. "error: there is no user identity header."):format(short))
end

local function refuse(user, verb, resource, namespace, name)
  local short = ("User '%s' is not authorized with reason:  (request: &ResourceAttributes{Namespace:%s,Verb:%s,"
    .. "Group:%s,Version:v1beta1,Resource:%s,Subresource:,Name:%s,FieldSelector:nil,LabelSelector:nil,})"):format(user,
    namespace, verb, GROUPS[resource] or GROUP, resource, name or "")
  failure.raise(7, short, "Failed to authorize with API: PermissionDenied: " .. short)
end

---@param state table
---@param request table
---@return fun(verb: string, resource: string, namespace: string, name: string?) allow raises 401 or 403; in single
---  mode all pass
function M.checker(state, request)
  return function(verb, resource, namespace, name)
    if not state.multi_user then return end
    local user = user_of(state, request)
    if state.review_access and state.review_access(user, verb, resource, namespace) then return end
    refuse(user, verb, resource, namespace, name)
  end
end

return M
