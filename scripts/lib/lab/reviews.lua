-- lab.reviews: questions that are asked by creating an object: access reviews, token reviews, tokens, bindings.
-- Not for storing anything: nothing of this is kept.
--   reviews.handlers["authorization.k8s.io/subjectaccessreviews"](ctx) -> response

local answer = require "lab.answer"
local auth = require "lab.auth"
local clock = require "lab.clock"
local decode = require "lab.decode"
local json = require "json"
local managed = require "lab.managed"
local options = require "lab.options"
local rest = require "lab.rest"
local status = require "lab.status"
local store = require "lab.store"

local M = {}

local function read(ctx)
  options.write(ctx, "CreateOptions")
  local object = decode.object(ctx, ctx.resource)
  object.metadata = object.metadata or json.object {}
  object.spec = object.spec or json.object {}
  managed.created(ctx, ctx.resource, object)
  return object
end

local function finish(ctx, object) return answer.made(ctx, 201, object) end

-- --- access ---------------------------------------------------------------------------------------

local function attributes_of(spec)
  local causes = status.causes()
  local resource, path = spec.resourceAttributes, spec.nonResourceAttributes
  if (resource == nil) == (path == nil) then
    causes:invalid("spec", resource and spec.nonResourceAttributes or nil, resource
      and "cannot be specified in combination with resourceAttributes"
      or "exactly one of nonResourceAttributes or resourceAttributes must be specified")
    error(status.invalid_status({ group = "authorization.k8s.io", kind = "" }, "", causes), 0)
  end
  if path then return { verb = path.verb or "", path = path.path or "" } end
  local function given(value) return value ~= "" and value or nil end
  return { verb = resource.verb or "", group = resource.group or "", resource = resource.resource or "",
           subresource = given(resource.subresource), name = given(resource.name),
           namespace = given(resource.namespace) }
end

local function decide(ctx, object, user)
  local allowed, reason = ctx.cluster.rbac:allows(user, attributes_of(object.spec))
  object.status = { allowed = allowed, reason = reason ~= "" and reason or nil }
  return finish(ctx, object)
end

local function self_access(ctx)
  local object = read(ctx)
  return decide(ctx, object, ctx.user)
end

local function subject_access(ctx)
  local object = read(ctx)
  local spec = object.spec
  local causes = status.causes()
  if (spec.user or "") == "" and #(spec.groups or {}) == 0 then
    causes:invalid("spec.user", "", "at least one of user or group must be specified")
  end
  if ctx.resource.namespaced and spec.resourceAttributes
    and (spec.resourceAttributes.namespace or "") ~= ctx.route.namespace then
    causes:invalid("spec.resourceAttributes.namespace", spec.resourceAttributes.namespace or "",
      "must match metadata.namespace")
  end
  if #causes > 0 then error(status.invalid_status({ group = "authorization.k8s.io", kind = "" }, "", causes), 0) end
  if ctx.resource.namespaced then object.metadata.namespace = ctx.route.namespace end
  return decide(ctx, object, { name = spec.user or "", groups = spec.groups or {} })
end

local function self_rules(ctx)
  local object = read(ctx)
  local namespace = object.spec.namespace or ""
  if namespace == "" then status.bad_request "no namespace on request" end
  local resources, paths = ctx.cluster.rbac:rules(ctx.user, namespace)
  object.spec, object.metadata = json.object {}, json.object {}
  object.status = { resourceRules = json.array(resources), nonResourceRules = json.array(paths), incomplete = false }
  return answer.made(ctx, 201, object)
end

-- --- who ------------------------------------------------------------------------------------------

local function user_info(user)
  local extra = user.extra and next(user.extra) and user.extra or nil
  return { username = user.name, uid = user.uid, groups = json.array(user.groups), extra = extra }
end
M.user_info = user_info

local function self_subject(ctx)
  local object = read(ctx)
  object.spec = nil
  object.metadata = { creationTimestamp = ctx.cluster:time() }
  object.status = { userInfo = user_info(ctx.user) }
  return answer.made(ctx, 201, object)
end

local function token_review(ctx)
  local object = read(ctx)
  local token = object.spec.token or ""
  if token == "" then status.bad_request "token is required for TokenReview in authentication" end
  local user, granted = ctx.cluster.auth:user_of(token, object.spec.audiences)
  if user then
    object.status = { authenticated = true, user = user_info(user), audiences = json.array(granted) }
  else
    object.status = { user = json.object {}, error = granted }
  end
  return finish(ctx, object)
end

-- --- tokens ---------------------------------------------------------------------------------------

local SHORTEST, USUAL = 600, 3600
local REQUEST = { group = "authentication.k8s.io", version = "v1", kind = "TokenRequest", plural = "tokenrequests",
                  subresources = {} }

local function check_seconds(seconds)
  local causes = status.causes()
  if seconds < SHORTEST then
    causes:invalid("spec.expirationSeconds", seconds, "may not specify a duration less than 10 minutes")
  elseif seconds > 4294967296 then
    causes:invalid("spec.expirationSeconds", seconds, "may not specify a duration larger than 2^32 seconds")
  end
  status.check(REQUEST, "", causes)
end

local function bound_pod(ctx, spec)
  local bound = spec.boundObjectRef
  if not bound or bound == json.null then return nil end
  if bound.kind ~= "Pod" then return nil end
  local record = ctx.cluster.store:collection("pods"):get(ctx.route.namespace, bound.name)
  if not record then status.not_found({ group = "", plural = "pods" }, bound.name) end
  return store.view(record)
end

---POST of a TokenRequest to a service account.
---@param ctx lab.Context
function M.token(ctx)
  options.write(ctx, "CreateOptions")
  local account = store.view(rest.record(ctx))
  local object = decode.table(ctx, "TokenRequest")
  object.metadata = type(object.metadata) == "table" and object.metadata or json.object {}
  managed.created(ctx, REQUEST, object, "token")
  local spec = type(object.spec) == "table" and object.spec or {}
  local seconds = math.tointeger(spec.expirationSeconds) or USUAL
  check_seconds(seconds)
  local audiences = spec.audiences and #spec.audiences > 0 and spec.audiences or { auth.ISSUER }
  local pod = bound_pod(ctx, spec)
  local token, expires = ctx.cluster.auth:account_token(account,
    { audiences = audiences, seconds = seconds, pod = pod })
  local m = account.metadata
  local request = {
    metadata = { name = m.name, namespace = m.namespace, uid = m.uid, creationTimestamp = ctx.cluster:time(),
                 managedFields = object.metadata.managedFields },
    spec = { audiences = json.array(audiences), expirationSeconds = seconds,
             boundObjectRef = pod and spec.boundObjectRef or json.null },
    status = { token = token, expirationTimestamp = clock.text(expires) },
  }
  return answer.made(ctx, 201, request, REQUEST)
end

---@type table<string, fun(ctx: lab.Context): table>
M.handlers = {
  ["authorization.k8s.io/selfsubjectaccessreviews"] = self_access,
  ["authorization.k8s.io/subjectaccessreviews"] = subject_access,
  ["authorization.k8s.io/localsubjectaccessreviews"] = subject_access,
  ["authorization.k8s.io/selfsubjectrulesreviews"] = self_rules,
  ["authentication.k8s.io/selfsubjectreviews"] = self_subject,
  ["authentication.k8s.io/tokenreviews"] = token_review,
  bindings = function(ctx) return require("lab.subresources").bindings(ctx) end,
}

return M
