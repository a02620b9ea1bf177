-- Why a client does not get through, step by step: the way, the token and its audience, the policies in front, the
-- server, the rights; each with what would help. A part of kfp.client.
local errors = require "errors"
local fs = require "fs"
local json = require "json"

local M = {}

local AUDIENCE = "pipelines.kubeflow.org"

local IN_CLUSTER = "http://ml-pipeline.kubeflow.svc.cluster.local:8888"

-- What helps: by the code of the error, then by what its message or the way there says. First that fits.
local FIXES = {
  { "Auth", nil, "see what was found about the token" },
  { "Connection", "resolve host", "nobody here knows that name: in the cluster it is " .. IN_CLUSTER
    .. ", outside that of the gateway" },
  { "Connection", "reset by peer", "the port does not speak plain HTTP, or a sidecar is not ready yet: try https://, "
    .. "and again" },
  { "Connection", nil, "nothing listens there, or a policy or a proxy that is not ready yet keeps the pod from it: "
    .. "check name and port (" .. IN_CLUSTER .. ")" },
  { "TLS", "subject name", "ask by a name that the server's certificate has" },
  { "TLS", "wrong version number", "the port speaks plain HTTP: use http://" },
  { "TLS", "packet length", "the port speaks plain HTTP: use http://" },
  { "TLS", "expired", "the server's certificate is over: it must be renewed" },
  { "TLS", nil, "give the authority of the server as `ca`" },
  { "Timeout", nil, "nobody answers there in time: check the endpoint, and whether https:// is meant for a port that "
    .. "speaks plain HTTP" },
  { "Login", nil, "the endpoint is the gateway: give a cookie, or dex = {user, password}; within the cluster use "
    .. IN_CLUSTER },
  { "PermissionDenied", nil, "bind the role kubeflow-edit to the caller in that namespace (policy kfp-access); "
    .. "groups do not count" },
  { "Protocol", nil, "the endpoint is not that of KFP's API: through the gateway it ends in /pipeline, in the cluster "
    .. "it is " .. IN_CLUSTER },
  { "NotFound", nil, "this is no KFP, or its path has a prefix that is missing: through the gateway it ends in "
    .. "/pipeline" },
  { "InvalidArgument", "HTTPS server", "the port speaks TLS: use https://" },
}

local WITH_HEADER = "Istio's AuthorizationPolicy ml-pipeline admits requests without a kubeflow-userid header: send a "
  .. "token instead of the header (policy kfp-access)"
local WITHOUT = "Istio's policies do not let this caller through: with a token for the audience " .. AUDIENCE
  .. " the AuthorizationPolicy ml-pipeline admits it (policy kfp-access)"
local TOKEN_NOT_TAKEN = "the server does not take the token: it must be a service account's of this cluster, for the "
  .. "audience " .. AUDIENCE .. ", and not over"
local NO_TOKEN = "send a token for the audience " .. AUDIENCE .. " (label access-ml-pipeline: \"true\" on the pod)"
local SERVER_FAILS = "the server itself fails: its own log (deployment ml-pipeline) says more"

local function fix_for(client, problem)
  local options = client.options
  if problem.code == "Denied" then return options.user and WITH_HEADER or WITHOUT end
  if problem.code == "Unauthenticated" then
    return (options.token or options.token_file) and TOKEN_NOT_TAKEN or NO_TOKEN
  end
  if problem.status == 404 then problem = { code = "NotFound", message = problem.message } end
  for _, rule in ipairs(FIXES) do
    local fits = not rule[2] or (problem.message or ""):find(rule[2], 1, true)
    if rule[1] == problem.code and fits then return rule[3] end
  end
  return SERVER_FAILS
end

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
  else
    add("token", true, ("the token is that of %s"):format(tostring(claims.sub or "somebody")))
  end
  local fits = claims.aud == nil or contains(claims.aud, AUDIENCE)
  local audience = claims.aud == nil and "the token names no audience" or ("the token is for %s"):format(
    json.encode(claims.aud))
  add("audience", fits, audience, not fits and "KFP wants a token for the audience " .. AUDIENCE
    .. ": that of a projected volume, not the pod's own" or nil)
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
    if token == "" then
      return add("token", false, options.token_file .. " is empty", "see whether the projected volume is mounted there")
    end
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
    -- A proxy's word: of the mesh, whose policies are asked first, or of a gateway.
    local check = problem.code == "Denied" and "policy" or problem.code == "Login" and "login" or "server"
    add(check, false, problem.message, fix_for(client, problem))
    return nil
  end
  add("policy", true, "nothing in front keeps the caller from the server")
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
    not allowed and fix_for(client, { code = "PermissionDenied" }) or nil)
end

local function check_rights(client, health, add)
  local pages, problem = client.runs.try:page({ page_size = 1 })
  add("list runs", pages ~= nil, pages and "allowed" or problem.message, not pages and fix_for(client, problem) or nil)
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
