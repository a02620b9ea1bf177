-- Why a client does not get through, step by step: the way, who answers, the token, the rights. A part of kfp.client.
local errors = require "errors"
local fs = require "fs"
local json = require "json"

local M = {}

local AUDIENCE = "pipelines.kubeflow.org"

local FIXES = {
  Auth = "see what was found about the token",
  Connection = "check the endpoint, and that a policy or a proxy that is not ready yet does not keep the pod from it",
  TLS = "give the authority of the server as `ca`",
  Timeout = "nobody answers there: check the endpoint",
  Denied = "Istio's AuthorizationPolicy ml-pipeline admits requests without a kubeflow-userid header: send a token "
    .. "instead of the header (policy kfp-access)",
  Login = "the endpoint is the gateway: give a cookie, or dex = {user, password}; within the cluster use "
    .. "http://ml-pipeline.kubeflow.svc.cluster.local:8888",
  Unauthenticated = "send a token for the audience " .. AUDIENCE .. " (label access-ml-pipeline: \"true\" on the pod)",
  PermissionDenied = "bind the role kubeflow-edit to the caller in that namespace (policy kfp-access); groups do "
    .. "not count",
  NotFound = "this is no KFP v2 server, or the path has a prefix that is missing",
}

-- The payload of a token, unverified.
local function claims_of(token)
  local payload = token:match "^[^.]+%.([^.]+)%."
  if not payload then return nil end
  payload = payload:gsub("%-", "+"):gsub("_", "/")
  local bytes = require "hash".try.unbase64(payload .. ("="):rep(-#payload % 4))
  local claims = bytes and json.try.decode(bytes)
  return type(claims) == "table" and claims or nil
end

local function contains(audience, wanted)
  if type(audience) ~= "table" then return audience == wanted end
  for _, entry in ipairs(audience) do
    if entry == wanted then return true end
  end
  return false
end

local function check_claims(add, claims, now)
  if type(claims.exp) == "number" and claims.exp < now then
    add("token", false, "the token has expired", "read the token from its file for each request: token_file")
  elseif claims.aud ~= nil and not contains(claims.aud, AUDIENCE) then
    add("token", false, ("the token is for %s"):format(json.encode(claims.aud)),
      "KFP wants a token for the audience " .. AUDIENCE)
  else
    add("token", true, ("the token is for %s"):format(tostring(claims.sub or "somebody")))
  end
end

local function check_token(client, add)
  local options = client.options
  local token = options.token
  if options.token_file then
    local text, problem = fs.try.read(options.token_file)
    if not text then
      return add("token", false, ("%s cannot be read: %s"):format(options.token_file, problem.message),
        "mount the token: label access-ml-pipeline: \"true\" on the pod, or a projected volume")
    end
    token = text:match "^%s*(.-)%s*$"
  end
  if not token then
    local who = options.user and "the identity header" or options.cookie and "a cookie" or client.jar and "Dex" or nil
    return add("identity", true, who and "by " .. who or "none: only a single-user KFP takes that")
  end
  local claims = claims_of(token)
  if not claims then return add("token", true, "the token says nothing of itself") end
  check_claims(add, claims, (options.now or os.time)())
end

local function check_server(client, add)
  local health, problem = errors.try(client):health()
  if not health then
    add("server", false, problem.message, FIXES[problem.code])
    return nil
  end
  add("server", true, ("KFP %s, %s"):format(tostring(health.tag_name or "of unknown version"),
    health.multi_user and "multi-user" or "single-user"))
  return health
end

local function check_namespace(client, health, add)
  if not health.multi_user then return true end
  if client.namespace then
    add("namespace", true, client.namespace)
    return true
  end
  add("namespace", false, "a multi-user KFP wants a namespace", "give namespace = \"…\"")
  return false
end

local REVIEW = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"

-- KFP's own review (v1beta1/auth) asks about viewers only; what it asks Kubernetes for a run, one can ask oneself.
local function check_review(client, add)
  local kube = client.options.kube
  if not kube then return end
  local body = { apiVersion = "authorization.k8s.io/v1", kind = "SelfSubjectAccessReview", spec = {
    resourceAttributes = {
      namespace = client.namespace, verb = "create", group = "pipelines.kubeflow.org", version = "v1beta1",
      resource = "runs",
    },
  } }
  local response = kube:request("POST", REVIEW, { body = body })
  local answer = type(response.body) == "string" and json.try.decode(response.body) or response.body
  local allowed = type(answer) == "table" and (answer.status or {}).allowed == true
  add("create runs", allowed, allowed and "allowed" or "Kubernetes says that the caller may not create runs",
    not allowed and FIXES.PermissionDenied or nil)
end

local function check_rights(client, health, add)
  local pages, problem = client.runs.try:page({ page_size = 1 })
  add("list runs", pages ~= nil, pages and "allowed" or problem.message, not pages and FIXES[problem.code] or nil)
  if health.multi_user then check_review(client, add) end
end

---@param client kfp.Client
---@return {check: string, ok: boolean, message: string, fix: string?}[]
function M.diagnose(client)
  local list = {}
  local function add(check, ok, message, fix)
    list[#list + 1] = { check = check, ok = ok, message = message, fix = fix or nil }
  end
  add("endpoint", true, ("%s (%s)"):format(client.endpoint, client.how))
  check_token(client, add)
  local health = check_server(client, add)
  if health and check_namespace(client, health, add) then check_rights(client, health, add) end
  return list
end

return M
