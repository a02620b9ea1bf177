---@meta server
-- An HTTP/1.1 server on the loop, with TLS 1.2 and 1.3. Each request is a task of its own and may wait.

local server = {}

---@class server.Options
---@field handler fun(request: server.Request): server.Response?
---@field on_error (fun(err: any, request: server.Request))? what a handler raised; default: printed on standard error
---@field address string? default "127.0.0.1"
---@field port integer? default 0: a free one, see `port`
---@field path string? of a unix socket instead, for this user only
---@field fd integer? a listening socket that was inherited, instead
---@field shared boolean? other processes may listen on the same port (SO_REUSEPORT)
---@field certificate string? PEM, the chain after it
---@field key string? PEM
---@field client_ca string? PEM; clients may show a certificate of these authorities
---@field client_required boolean? they must
---@field raw boolean? the bytes are no HTTP: each connection is one request, to be upgraded with status 0
---@field max_body integer? default 3 MiB; a larger one is answered 413
---@field max_header integer? default 64 KiB; a larger head is answered 431
---@field max_connections integer? default 10000; for one more the oldest without a request ends, or it waits
---@field max_requests integer? under way at once, streams too; default 10000; what comes then is answered 503 with Retry-After
---@field idle_timeout number|string|nil between requests, and for a client that takes no bytes; default 90 s
---@field request_timeout number|string|nil from the first byte of a request to its last, and for the TLS handshake; default 30 s

---@class server.Request
---@field method string
---@field path string as it was sent, without the query
---@field query string? raw
---@field headers table<string, string> lower-case name -> value; values of one name joined by ", "
---@field body string
---@field peer server.Peer
local Request = {}

---@class server.Peer
---@field address string "unix" for a unix socket
---@field port integer?
---@field pid integer? of a unix socket
---@field uid integer? of a unix socket
---@field common_name string? of the client's certificate
---@field organizations string[]? of the client's certificate

---@class server.Response
---@field status integer? default 200
---@field headers table<string, string|number|string[]>?
---@field body string?
---@field stream (fun(w: server.Exchange))? writes the body piece by piece; is cancelled when the client goes

---Answers by a head only; from then on the bytes of the connection are the caller's. It ends with the handler.
---@param options { status: integer?, headers: table<string, string>? }? status: default 101; 0: without a head
---@return server.Exchange connection
function Request:upgrade(options) end

---@class server.Exchange what a stream writes to, and an upgraded connection
local Exchange = {}
---@param text string|string[] a list is written as one text; waits while too much is unwritten; raises "Closed" when
---  the client has gone
function Exchange:write(text) end
---@param timeout number|string|nil
---@return string? bytes of an upgraded connection, nil at the end; raises "Timeout"
function Exchange:read(timeout) end
---Ends an upgraded connection after what was written; a stream in its middle.
function Exchange:close() end
---Ends the connection at once, so that the client sees a reset. `request.exchange:reset()` before an answer.
function Exchange:reset() end

---@class server.Server
---@field port integer
local Server = {}
---For connections that come from now on; those that are open keep theirs.
---@param certificate string
---@param key string
---@param client_ca string? default: as it was
function Server:set_certificate(certificate, key, client_ca) end
---Takes no more connections, ends idle ones, waits for the others' answers, then closes.
---@param grace number|string|nil
---@return boolean in_time whether all were answered
function Server:drain(grace) end
---@param timeout number|string|nil
---@return boolean whether the server has ended
function Server:wait(timeout) end
---@return integer count of open connections
function Server:connections() end
---@return integer count of requests that have come whole and are not answered yet
function Server:waiting() end
---What no handler was asked about.
---@return table<integer, integer> counts by status: 400, 408, 413, 431, 503 and others
---@return integer handshakes of TLS that failed
---@return string? why the last one failed
function Server:refused() end
---Ends all connections at once and cancels the tasks of their requests.
function Server:close() end

---@param options server.Options
---@return server.Server # raises the errno's name ("EADDRINUSE"), "Certificate"
function server.listen(options) end

return server
