---@meta grpc
-- gRPC: unary calls, both sides, with TLS or without; messages are bytes (see grpc.proto).

local grpc = {}

---@class grpc.Client
local Client = {}
---Calls a method and waits for its answer; calls at the same time share a connection if it has TLS.
---@param path string "/package.Service/Method"
---@param bytes string the message
---@param options { timeout: number|string|nil, metadata: table<string, string>?, max_message: integer? }?
---@return string bytes raises "GRPC" with `status` ("NOT_FOUND", …; "UNAVAILABLE" when there is no connection)
function Client:call(path, bytes, options) end
function Client:close() end

---@class grpc.Server
---@field port integer
local Server = {}
function Server:close() end
---@return integer count of open connections
function Server:connections() end

---@param options { address: string, tls: boolean?, ca: string?, certificate: string?, key: string?,
---  server_name: string?, unix_socket: string?, proxy: string? } address: "host:port"; proxy: "http://host:port", which
---  is asked for a connection; none is used without it
---@return grpc.Client
function grpc.connect(options) end

---Serves methods; each call is a task of its own and may wait. A call whose client goes is cancelled.
---@param options { methods: table<string, fun(bytes: string, request: table): string>, address: string?,
---  port: integer?, path: string?, certificate: string?, key: string?, max_message: integer?, on_error: fun(err: any)? }
---  methods: by "/package.Service/Method"
---@return grpc.Server
function grpc.serve(options) end

---Within a method: the client gets this status.
---@param status string "NOT_FOUND", …
---@param message string
function grpc.fail(status, message) end

return grpc
