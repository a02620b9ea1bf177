-- kube.auth: the credentials of a context while they are used: tokens, files that change, plugins.
-- Not for deciding who may do what; that is the server.
--   local auth = auth.new(context, {}); auth:headers() -> { Authorization = "Bearer …" }

local errors = require "errors"
local exec_plugin = require "kube.exec_plugin"
local fs = require "fs"
local hash = require "hash"
local json = require "json"

local M = {}

local REREAD <const> = 60 -- seconds after which a token file is read again
local EARLY <const> = 1800 -- seconds before the end of a token without renewal at which a warning comes
local MARGIN <const> = 10 -- seconds before its end at which a plugin's credential counts as over

local auth = {}
auth.__index = auth

-- --- tokens that tell their end -----------------------------------------------------------------------

---The end of a token that is a JWT.
---@param token string
---@return number? seconds since 1970
function M.token_end(token)
  local payload = token:match "^[%w_-]+%.([%w_-]+)%.[%w_-]*$"
  if not payload then return nil end
  payload = payload:gsub("-", "+"):gsub("_", "/") .. ("="):rep(-#payload % 4)
  local bytes = hash.try.unbase64(payload)
  local claims = bytes and json.try.decode(bytes, { duplicates = "last" })
  local expires = type(claims) == "table" and claims.exp
  return type(expires) == "number" and expires or nil
end

---Whether the context comes from `kubectl vsphere login`, whose tokens last about 10 hours and are not renewed.
---@param context kube.Context
---@return boolean
function M.is_vsphere(context)
  return (context.user_name or ""):find "^wcp:" ~= nil
end

---How the user gets in again.
---@param context kube.Context
---@return string
function M.remedy(context)
  if M.is_vsphere(context) then
    local host = context.user_name:match "^wcp:(.-):" or context.server:match "^https?://([^:/]+)"
    return ("log in again: kubectl vsphere login --server=%s"):format(host)
  end
  if context.user and context.user.exec then
    return ("log in again (its credentials come from '%s')"):format(tostring(context.user.exec.command))
  end
  return "log in again"
end

local function span(seconds)
  return require("kube.time").age(seconds)
end

-- Says once that a token which nobody renews is about to end.
function auth:warn_early(token)
  if self.warned or not token then return end
  local expires = M.token_end(token)
  local left = expires and expires - self.clock()
  if not left or left > EARLY then return end
  self.warned = true
  local user = ("the token of user '%s' "):format(self.context.user_name or "")
  if left > 0 then self.warn(user .. "ends in " .. span(left) .. "; " .. M.remedy(self.context))
  else self.warn(user .. "ended " .. span(-left) .. " ago; " .. M.remedy(self.context)) end
end

-- --- where a token comes from --------------------------------------------------------------------------

local function read_token_file(context, path)
  local text, problem = fs.try.read(path)
  local token = text and text:match "^%s*(.-)%s*$"
  if token and token ~= "" then return token end
  errors.raise {
    code = "Auth", message = ("the token file %s %s"):format(path, text and "is empty" or "cannot be read"),
    cause = problem, context = context.context, server = context.server, user = context.user_name,
  }
end

function auth:file_token(path)
  local now = self.clock()
  if not self.token or now - self.read_at >= REREAD then
    self.token, self.read_at = read_token_file(self.context, path), now
  end
  return self.token
end

function auth:credential()
  local kept = self.kept
  if kept and (not kept.expires or kept.expires - MARGIN > self.clock()) then return kept end
  self.kept = exec_plugin.run(self.context.user.exec, self.context, self.exec_plugins)
  return self.kept
end

-- An identity token that another tool wrote down; it is used while it is good.
local function oidc_token(context)
  local provider = context.user["auth-provider"]
  local config = type(provider.config) == "table" and provider.config or {}
  if provider.name == "oidc" and type(config["id-token"]) == "string" then return config["id-token"] end
  errors.raise {
    code = "Auth", context = context.context, server = context.server, user = context.user_name,
    message = ("user '%s' has the auth-provider '%s', which is no longer there; use a credential plugin (exec)")
      :format(context.user_name or "", tostring(provider.name)),
  }
end

local function bearer(self)
  local user = self.context.user
  if user.tokenFile then return self:file_token(user.tokenFile) end
  if user.token then return user.token, true end
  if user.exec then return self:credential().token end
  if user["auth-provider"] then return oidc_token(self.context), true end
end

-- --- what requests need --------------------------------------------------------------------------------

---The headers that say who asks. May run a plugin, and wait for it.
---@return table<string, string>
---raises {code="Auth"}
function auth:headers()
  local user = self.context.user
  local token, fixed = bearer(self)
  if fixed then self:warn_early(token) end
  if token then return { Authorization = "Bearer " .. token } end
  if user.username then
    return { Authorization = "Basic " .. hash.base64(user.username .. ":" .. (user.password or "")) }
  end
  return {}
end

---The client certificate in use.
---@return string? certificate PEM
---@return string? key PEM
function auth:certificate()
  if self.context.certificate then return self.context.certificate, self.context.key end
  if not self.context.user.exec then return nil end
  local credential = self:credential()
  return credential.certificate, credential.key
end

---After a 401: forgets what can be had anew.
---@return boolean # whether another try can help
function auth:renew()
  local user = self.context.user
  if user.tokenFile then
    local before = self.token
    self.token = nil
    return self:file_token(user.tokenFile) ~= before
  end
  if not user.exec or user.token then return false end
  self.kept = nil
  return true
end

---@param context kube.Context
---@param options {exec_plugins: any, warn: fun(text: string), clock: (fun(): number)?}
function M.new(context, options)
  return setmetatable({
    context = context, exec_plugins = options.exec_plugins, warn = options.warn, clock = options.clock or os.time,
  }, auth)
end

return M
