---@meta http
-- HTTP/1.1 and HTTP/2 by libcurl, which is loaded with the first request. Each call waits as a task;
-- a cancelled one ends its transfer. Certificates and keys are PEM texts. No redirects are followed.

local http = {}

---@class http.Options
---@field url string http or https
---@field method string? "GET"; with a body "POST"
---@field headers table<string, string|number|string[]>? a list: one header for each value
---@field body string|(fun(): string?)|nil a text, or a function that gives one piece after the other, then nil
---@field timeout number|string|nil for the whole answer; of a stream: for its head
---@field connect_timeout number|string|nil default 30 s
---@field ca string? authorities to trust, instead of the system's
---@field certificate string? of the client
---@field key string?
---@field insecure boolean? any certificate will do
---@field server_name string? the name that the certificate is checked for, if not the URL's host
---@field proxy string? "http://host:port", "" for none; else as the environment says (never for this host)
---@field tunnel boolean? asks the proxy for a connection (CONNECT) for http URLs, too
---@field proxy_ca string? authorities to trust for an https proxy
---@field unix_socket string? path to connect to instead of the URL's host
---@field http2 boolean|"prior"|nil false: only HTTP/1.1; "prior": HTTP/2 without TLS
---@field compressed boolean? accept compressed answers
---@field max_body integer? of a whole answer, bytes; default 1 GiB; a larger one raises "Protocol"

---@class http.Response
---@field status integer
---@field headers table<string, string> lower-case name -> value; values of one name joined by ", " (of set-cookie by a newline)
---@field body string
---@field version "1.0"|"1.1"|"2"
---@field trailers table<string, string>? what came after the body

---@class http.Stream
---@field status integer
---@field headers table<string, string>
---@field version string
local Stream = {}
---@param timeout number|string|nil
---@return string? bytes what has come, nil at the end; raises "Timeout" (the stream goes on), "Connection", "Closed"
function Stream:read(timeout) end
function Stream:close() end

---@class http.Session requests that share connections
local Session = {}
---@param options http.Options over the session's defaults
---@return http.Response
function Session:request(options) end
---@param options http.Options
---@return http.Stream
function Session:stream(options) end
function Session:close() end

---@class http.Connection
local Connection = {}
---@param timeout number|string|nil
---@return string? bytes nil at the end; raises "Timeout" (the connection stays), "Connection"
function Connection:read(timeout) end
---@param text string waits until it is sent; raises "Closed", "Connection"
function Connection:write(text) end
function Connection:close() end

---Sends a request over a connection of its own and waits for the whole answer. One that the server
---refused to begin (GOAWAY) is sent once more if its method is GET, HEAD or OPTIONS.
---@param options http.Options
---@return http.Response # raises "Connection", "TLS", "Timeout", "Protocol", "Cancelled", each with `url`
function http.request(options) end

---Sends a request and returns when the head of the answer is there.
---@param options http.Options
---@return http.Stream # raises as request does; close it
function http.stream(options) end

---@param defaults http.Options? options for each request; headers are merged by name
---@return http.Session
function http.session(defaults) end

---Makes a connection, through proxies and TLS as a request would, for bytes of another protocol.
---@param options http.Options url, timeout, and what concerns TLS and proxies
---@return http.Connection # raises as request does
function http.connect(options) end

return http
