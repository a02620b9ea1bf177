---@meta ws
-- WebSockets (RFC 6455), both sides; no extensions.

local ws = {}

---@class ws.Options
---@field url string ws or wss
---@field headers table<string, string>? more headers of the handshake
---@field protocols string[]? subprotocols, the best first
---@field max_message integer? bytes; default 16 MiB; a longer message ends the WebSocket with 1009
---@field timeout number|string|nil for the connection and the handshake
---@field ca string? with these and the following as in http.Options
---@field certificate string?
---@field key string?
---@field insecure boolean?
---@field server_name string?
---@field proxy string?
---@field unix_socket string?

---@class ws.WebSocket
---@field protocol string? the subprotocol that both sides chose
---@field close_code integer? after the end: what the other side said; 1005 nothing, 1006 it ended without a word
---@field close_reason string?
local WebSocket = {}
---@param data string
---@param kind "text"|"binary"|nil default "text"
---raises "Closed", "Connection"
function WebSocket:send(data, kind) end
---Waits for the next message; answers pings meanwhile. One task at a time.
---@param timeout number|string|nil
---@return string? data nil when the other side has closed (see close_code), or close was called
---@return "text"|"binary"|nil kind
---raises "Timeout" (the WebSocket stays), "Connection", "Protocol"
function WebSocket:receive(timeout) end
---@param data string? at most 125 bytes
function WebSocket:ping(data) end
---Waits (5 s at most) for the other side to close too, then ends the connection.
---@param code integer? default 1000
---@param reason string? at most 123 bytes
function WebSocket:close(code, reason) end

---@param options ws.Options
---@return ws.WebSocket # raises "Protocol" (with status, headers and body when the server refused), and as http.connect does
function ws.connect(options) end

---Makes a WebSocket of a request to `server`; it ends with the request's handler.
---@param request server.Request
---@param options { protocols: string[]?, max_message: integer? }? the first protocol that the client offers is chosen
---@return ws.WebSocket # raises "Protocol" with `status` when it is no request for a WebSocket (answer with that)
function ws.accept(request, options) end

return ws
