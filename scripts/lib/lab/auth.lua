-- lab.auth: who a request comes from: tokens, client certificates, impersonation.
-- Not for what they may do (lab.rbac).
--   cluster.auth:identify(ctx)      sets ctx.user; raises Unauthorized

local hash = require "hash"
local status = require "lab.status"
local store = require "lab.store"
local tokens = require "lab.tokens"

local M = {}

M.ISSUER = "https://kubernetes.default.svc.cluster.local"

---@class lab.Auth
local auth = {}
auth.__index = auth

---@param cluster lab.Cluster
---@param options {admin_token: string?, token_secret: string?}
---@return lab.Auth
function M.new(cluster, options)
  local self = setmetatable({ cluster = cluster, users = {}, tokens = tokens.new(options.token_secret) }, auth)
  self.admin_token = options.admin_token or hash.random_hex(16)
  self.users[self.admin_token] = { name = "kubernetes-admin", groups = { "system:masters" } }
  return self
end

---A token for a user of the lab.
---@param name string
---@param groups string[]?
---@return string token
function auth:add_user(name, groups)
  local token = hash.random_hex(16)
  self.users[token] = { name = name, groups = groups or {} }
  return token
end

local function account_user(claims)
  local k = claims["kubernetes.io"] or {}
  local account = k.serviceaccount or {}
  local extra = { ["authentication.kubernetes.io/credential-id"] = { "JTI=" .. tostring(claims.jti) } }
  if k.pod then
    extra["authentication.kubernetes.io/pod-name"] = { k.pod.name }
    extra["authentication.kubernetes.io/pod-uid"] = { k.pod.uid }
  end
  return {
    name = claims.sub, uid = account.uid, extra = extra,
    groups = { "system:serviceaccounts", "system:serviceaccounts:" .. tostring(k.namespace), "system:authenticated" },
  }
end

-- Whether the account that a token names is still there, and the pod it is bound to.
local function is_live(self, claims)
  local k = claims["kubernetes.io"] or {}
  local account = k.serviceaccount or {}
  local record = self.cluster.store:collection("serviceaccounts"):get(k.namespace, account.name)
  if not record or record.uid ~= account.uid then return false end
  if k.pod then
    local pod = self.cluster.store:collection("pods"):get(k.namespace, k.pod.name)
    if not pod or pod.uid ~= k.pod.uid then return false end
  end
  return true
end

local function has_audience(claims, wanted)
  local granted = {}
  for _, audience in ipairs(claims.aud or {}) do
    for _, one in ipairs(wanted) do
      if one == audience then granted[#granted + 1] = one end
    end
  end
  return granted
end

---@param token string
---@param audiences string[]? default: that of the API
---@return table? user
---@return string[]|string granted audiences, or what is wrong
function auth:user_of(token, audiences)
  local user = self.users[token]
  if user then
    return { name = user.name, groups = M.with_authenticated(user.groups) }, audiences or { M.ISSUER }
  end
  local claims = self.tokens:read(token)
  if not claims then return nil, "invalid bearer token" end
  if claims.exp and claims.exp <= self.cluster:now() then
    return nil, "[invalid bearer token, service account token has expired]"
  end
  if not is_live(self, claims) then
    return nil, "[invalid bearer token, service account token has been invalidated]"
  end
  local wanted = audiences and #audiences > 0 and audiences or { M.ISSUER }
  local granted = has_audience(claims, wanted)
  if #granted == 0 then
    return nil, ('[invalid bearer token, token audiences ["%s"] is invalid for the target audiences ["%s"]]'):format(
      table.concat(claims.aud or {}, '" "'), table.concat(wanted, '" "'))
  end
  return account_user(claims), granted
end

---@param groups string[]
---@return string[]
function M.with_authenticated(groups)
  local list, seen = {}, false
  for i, group in ipairs(groups) do
    list[i] = group
    seen = seen or group == "system:authenticated"
  end
  if not seen then list[#list + 1] = "system:authenticated" end
  return list
end

local ANONYMOUS = { name = "system:anonymous", groups = { "system:unauthenticated" } }
local INSIDE = { name = "system:kube-controller-manager", groups = { "system:masters", "system:authenticated" } }

local function peer_user(ctx)
  local peer = ctx.request.peer
  if not peer or not peer.common_name then return nil end
  return { name = peer.common_name, groups = M.with_authenticated(peer.organizations or {}) }
end

-- --- impersonation --------------------------------------------------------------------------------

local function header_values(value)
  if type(value) == "table" then return value end
  local list = {}
  for one in value:gmatch "[^,]+" do list[#list + 1] = one:match "^%s*(.-)%s*$" end
  return list
end

-- Groups, a uid or more of nobody: the real server takes that for a mistake of its own.
local function check_nobody(ctx)
  for header in pairs(ctx.headers) do
    if header == "impersonate-group" or header == "impersonate-uid" or header:find "^impersonate%-extra%-" then
      error(status.new(500, "InternalError", "Internal error occurred: requested impersonation without a user"), 0)
    end
  end
end

-- Whether a user may act as another; then the other.
local function impersonated(ctx)
  local headers = ctx.headers
  local name = headers["impersonate-user"]
  if not name then
    check_nobody(ctx)
    return nil
  end
  local groups = headers["impersonate-group"] and header_values(headers["impersonate-group"]) or {}
  local account = { name:match "^system:serviceaccount:([^:]+):([^:]+)$" }
  if #groups == 0 and account[1] then
    groups = { "system:serviceaccounts", "system:serviceaccounts:" .. account[1] }
  end
  local asked = { name = name, uid = headers["impersonate-uid"],
                  groups = name == "system:anonymous" and { "system:unauthenticated" } or M.with_authenticated(groups) }
  for header, value in pairs(headers) do
    local key = header:match "^impersonate%-extra%-(.+)$"
    if key then
      asked.extra = asked.extra or {}
      asked.extra[key] = header_values(value)
    end
  end
  return asked, groups
end

local function check_impersonation(ctx, user, asked, groups)
  local rbac = ctx.cluster.rbac
  local namespace, account = asked.name:match "^system:serviceaccount:([^:]+):([^:]+)$"
  local wanted = { account and { resource = "serviceaccounts", name = account, namespace = namespace }
    or { resource = "users", name = asked.name } }
  for _, group in ipairs(groups) do wanted[#wanted + 1] = { resource = "groups", name = group } end
  local apart = "authentication.k8s.io"
  if asked.uid then wanted[#wanted + 1] = { group = apart, resource = "uids", name = asked.uid } end
  for key, values in pairs(asked.extra or {}) do
    for _, value in ipairs(values) do
      wanted[#wanted + 1] = { group = apart, resource = "userextras", subresource = key, name = value }
    end
  end
  for _, one in ipairs(wanted) do
    if not rbac:allows(user, { verb = "impersonate", group = one.group or "", resource = one.resource, name = one.name,
                               namespace = one.namespace, subresource = one.subresource }) then
      local r = ctx.route
      if not r.resource then
        status.raise(403, "Forbidden", ('forbidden: User "%s" cannot impersonate %s "%s"'):format(user.name,
          one.resource, one.name), {})
      end
      rbac.refuse(ctx, user, "impersonate-on:user-info:" .. r.verb)
    end
  end
end

---Finds out who a request comes from.
---@param ctx lab.Context
function auth:identify(ctx)
  if ctx.request.internal then
    ctx.user = INSIDE
    return
  end
  local given = ctx.headers.authorization
  local token = given and given:match "^[Bb]earer%s+(%S+)%s*$"
  local user
  if token then
    user = self:user_of(token)
    if not user then status.unauthorized() end
  else
    user = peer_user(ctx) or ANONYMOUS
  end
  local asked, groups = impersonated(ctx)
  if asked then
    check_impersonation(ctx, user, asked, groups)
    ctx.impersonator, user = user, asked
  end
  ctx.user = user
end

-- --- tokens for accounts --------------------------------------------------------------------------

---@param account table the ServiceAccount
---@param options {audiences: string[], seconds: integer, pod: table?, node: table?}
---@return string token
---@return integer expires seconds since 1970
function auth:account_token(account, options)
  local now = math.floor(self.cluster:now())
  local m = account.metadata
  local claims = {
    iss = M.ISSUER, sub = ("system:serviceaccount:%s:%s"):format(m.namespace, m.name),
    aud = require("json").array(options.audiences), iat = now, nbf = now, exp = now + options.seconds,
    jti = require("lab.ids").uid(),
    ["kubernetes.io"] = {
      namespace = m.namespace, serviceaccount = { name = m.name, uid = m.uid },
      pod = options.pod and { name = options.pod.metadata.name, uid = options.pod.metadata.uid } or nil,
    },
  }
  return self.tokens:issue(claims), claims.exp
end

M.view = store.view

return M
