---@meta grpc.core
-- What scripts/lib/grpc.lua is built from: an HTTP/2 server whose answers have trailers.

local core = {}

---@class grpc.core.Server
---@field port integer
local Server = {}
function Server:close() end
---@return integer count of open connections
function Server:connections() end

---@param options { handler: fun(request: table): table, address: string?, port: integer?, path: string?,
---  certificate: string?, key: string?, max_body: integer? } certificate and key: with TLS
---  handler: {method, path, headers, body} -> {status, headers, body, trailers}, or {refuse = "stream" | "connection"}:
---  the request was not begun
---@return grpc.core.Server # raises the errno's name
function core.listen(options) end

return core
