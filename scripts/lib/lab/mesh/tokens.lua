-- lab.mesh.tokens: what a request's bearer token says, when the lab can verify it: the lab's own tokens.
-- Not for which tokens a workload takes (RequestAuthentication, istio.authentication).
--   local claims, state = tokens.read(cluster, head)

local hash = require "hash"
local json = require "json"

local M = {}

local function payload(token)
  local part = token:match "^[%w_-]+%.([%w_-]+)%.[%w_-]*$"
  local ok, claims = pcall(function()
    local text = part:gsub("-", "+"):gsub("_", "/")
    return json.decode(hash.unbase64(text .. ("="):rep(-#text % 4)))
  end)
  return ok and type(claims) == "table" and claims or nil
end

---@param cluster lab.Cluster
---@param head lab.RequestHead
---@return table? claims of a token that verifies
---@return "invalid"|nil state of one that does not
function M.read(cluster, head)
  local token = (head.headers.authorization or ""):match "^[Bb]earer%s+(%S+)$"
    or head.path:match "[?&]access_token=([^&]+)"
  if not token then return nil end
  local claims = cluster.auth.tokens:read(token)
  if claims and claims.exp and claims.exp < cluster:now() then return nil, "invalid" end
  if claims then return claims end
  return nil, payload(token) and "invalid" or "invalid"
end

return M
