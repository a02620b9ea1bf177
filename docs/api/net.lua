---@meta net
-- Stream sockets on the loop, and sockets handed from one process to another. Errors have the errno's
-- name as their code ("ECONNREFUSED"); net.try.NAME returns nil and the error instead of raising it.

local net = {}

---@class net.Options
---@field path string? of a unix socket
---@field address string? IPv4, default "127.0.0.1"
---@field port integer? 0: a free one
---@field source string? address that the connection is to come from
---@field timeout number|string|nil for the connection to be made

---@class net.Socket ends when it is collected, or at the end of a <close> variable's scope
local Socket = {}
---@param timeout number|string|nil
---@return net.Socket? connection nil when the listening socket was closed; raises "Timeout"
function Socket:accept(timeout) end
---@param timeout number|string|nil
---@return string? bytes nil at the end; raises "Timeout"
function Socket:read(timeout) end
---@param text string waits until it is written; raises "Closed", "EPIPE", "ECONNRESET"
function Socket:write(text) end
---Nothing more will be written; reading goes on.
function Socket:finish() end
function Socket:close() end
---Ends it so that the other side sees the connection broken.
function Socket:reset() end
---Sends a socket to the process at the other end of a unix socket; this process keeps its own hold of it.
---@param text string 1 to 256 bytes, which come with it
---@param other net.Socket
function Socket:send(text, other) end
---@param timeout number|string|nil
---@return string? text nil at the end
---@return net.Socket? other
function Socket:receive(timeout) end
---@return string? address, integer? port of the other side; nothing for a unix socket
function Socket:peer() end
---@return string? address, integer? port of this side
function Socket:here() end
---@return string? address, integer? port that the other side meant, before a rule of this machine sent it here
function Socket:destination() end

---Of a terminal: the size of its window.
---@param rows integer
---@param columns integer
function Socket:resize(rows, columns) end

---A pseudo terminal: what is written to the socket is typed, what is read is shown.
---@return net.Socket
---@return string path what programs open
function net.terminal() end
---@param options net.Options
---@return net.Socket
function net.listen(options) end
---@param options net.Options
---@return net.Socket
function net.connect(options) end

return net
