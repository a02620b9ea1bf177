-- doctor.probe: whether the server behind a webhook's URL shows a certificate that its caBundle vouches for.
-- Not for services, which only the cluster can reach. It makes a connection and sends nothing over it.
--   local why = probe.new(client.server)("https://10.0.0.1:443/mutate", pem)

local errors = require "errors"

local M = {}

local PATIENCE <const> = 3 -- seconds

local function host_of(url)
  return url:match "^https://%[([^%]]*)%]" or url:match "^https://([^/:]+)"
end

---A function that says why the server behind a URL is not trusted; nil when it is, and when that cannot be known from
---here: another host may be somebody else where this program runs.
---@param api_server string its URL; only its own host is asked
---@return fun(url: string, authorities: string): string?
function M.new(api_server)
  local own, known = host_of(api_server), {}
  return function(url, authorities)
    local key = (url:match "^https://[^/]+" or "") .. authorities
    if not own or host_of(url) ~= own or known[key] then return known[key] end
    local ok, connection = pcall(require("http").connect, { url = url, ca = authorities, timeout = PATIENCE,
      connect_timeout = PATIENCE, proxy = "" })
    if ok then
      connection:close()
      return nil
    end
    if errors.is(connection, "Cancelled") then error(connection, 0) end
    known[key] = errors.is(connection, "TLS") and connection.message or nil
    return known[key]
  end
end

return M
