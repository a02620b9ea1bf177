-- gRPC without TLS or with it: unary calls, both sides; messages are bytes (see grpc.proto).
-- Not for streaming calls.
--   local c <close> = grpc.connect { address = "127.0.0.1:8080" }; local bytes = c:call("/pkg.Service/Method", bytes)

local core = require "grpc.core"
local errors = require "errors"
local http = require "http"
local task = require "task"

local M = {}

M.STATUS = {
  [0] = "OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS",
  "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED",
  "INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED",
}
local NUMBER = {}
for number, name in pairs(M.STATUS) do NUMBER[name] = number end

local CONTENT = "application/grpc"
local MESSAGE_LIMIT = 4 << 20 -- as every implementation has it

local function fail(status, message, fields)
  fields = fields or {}
  fields.code, fields.status, fields.message = "GRPC", status, ("%s: %s"):format(status, message)
  errors.raise(fields)
end

-- --- messages on the wire -------------------------------------------------------------------------

local function frame(bytes)
  return "\0" .. string.pack(">s4", bytes)
end

-- The one message of a body.
local function unframe(body)
  if #body < 5 then fail("INTERNAL", "the message is cut off") end
  local compressed, length = string.unpack(">BI4", body)
  if compressed ~= 0 then fail("UNIMPLEMENTED", "compressed messages are not understood") end
  if #body ~= 5 + length then fail("INTERNAL", "not one whole message") end
  return body:sub(6)
end

-- grpc-message is percent-encoded.
local function decode_text(text)
  return (text:gsub("%%(%x%x)", function(hex) return string.char(tonumber(hex, 16)) end))
end

local function encode_text(text)
  return (text:gsub("[^\x20-\x24\x26-\x7e]", function(c) return ("%%%02X"):format(c:byte()) end))
end

-- --- the client -----------------------------------------------------------------------------------

---@class grpc.Client
local Client = {}
Client.__index = Client

-- The deadline for the server, and a little later our own.
local function timeouts(timeout)
  if not timeout then return nil, nil end
  local seconds = task.seconds(timeout)
  return ("%dm"):format(math.max(math.ceil(seconds * 1000), 1)), seconds
end

-- A status of HTTP where one of gRPC should be.
local BY_HTTP = {
  [400] = "INTERNAL", [401] = "UNAUTHENTICATED", [403] = "PERMISSION_DENIED", [404] = "UNIMPLEMENTED",
  [429] = "UNAVAILABLE", [502] = "UNAVAILABLE", [503] = "UNAVAILABLE", [504] = "UNAVAILABLE",
}

local function check(response, path)
  local trailers = response.trailers or response.headers
  local number = tonumber(trailers["grpc-status"] or response.headers["grpc-status"])
  if not number then
    local message = ("the answer is HTTP %d, not gRPC"):format(response.status)
    fail(BY_HTTP[response.status] or "UNKNOWN", message, { path = path })
  end
  if number == 0 then return end
  local message = trailers["grpc-message"] or response.headers["grpc-message"] or ""
  fail(M.STATUS[number] or tostring(number), decode_text(message), { path = path })
end

local function send(self, path, bytes, options)
  local text, seconds = timeouts(options.timeout)
  local headers = { ["content-type"] = CONTENT, te = "trailers", ["grpc-timeout"] = text }
  for name, value in pairs(options.metadata or {}) do headers[name] = value end
  return self.session:request {
    url = self.url .. path, method = "POST", headers = headers, body = frame(bytes), timeout = seconds,
    max_body = options.max_message or MESSAGE_LIMIT,
  }
end

---Calls a method and waits for its answer.
---@param path string "/package.Service/Method"
---@param bytes string the message
---@param options { timeout: number|string|nil, metadata: table<string, string>?, max_message: integer? }?
---@return string bytes raises "GRPC" with `status` ("NOT_FOUND", …; "UNAVAILABLE" when there is no connection)
function Client:call(path, bytes, options)
  options = options or {}
  local ok, response = pcall(send, self, path, bytes, options)
  if not ok then
    if errors.is(response, "Cancelled") or not errors.is(response) then error(response, 0) end
    local status = response.code == "Timeout" and "DEADLINE_EXCEEDED" or "UNAVAILABLE"
    fail(status, response.message, { path = path, cause = response })
  end
  check(response, path)
  return unframe(response.body)
end

function Client:close()
  self.session:close()
end

Client.__close = Client.close

---@param options { address: string, tls: boolean?, ca: string?, certificate: string?, key: string?,
---  server_name: string?, unix_socket: string?, proxy: string? } address: "host:port"; proxy: "http://host:port", which
---  is asked for a connection; none is used without it
---@return grpc.Client
function M.connect(options)
  local url = (options.tls and "https://" or "http://") .. options.address
  local session = http.session {
    http2 = options.tls and true or "prior", ca = options.ca, certificate = options.certificate, key = options.key,
    server_name = options.server_name, unix_socket = options.unix_socket,
    proxy = options.proxy or "", tunnel = options.proxy ~= nil,
  }
  return setmetatable({ url = url, session = session }, Client)
end

-- --- the server -----------------------------------------------------------------------------------

local function answer(status, message, body)
  local trailers = { ["grpc-status"] = tostring(NUMBER[status]) }
  if message then trailers["grpc-message"] = encode_text(message) end
  return { status = 200, headers = { ["content-type"] = CONTENT }, body = body, trailers = trailers }
end

-- An error as a status: those of ours tell theirs, all else is UNKNOWN.
local function refusal(err, on_error)
  if errors.is(err, "GRPC") then return answer(err.status, (err.message:gsub("^[%u_]+: ", ""))) end
  if on_error then on_error(err) end
  return answer("UNKNOWN", errors.is(err) and err.message or "the method failed")
end

local function handle(methods, on_error, request)
  if request.method ~= "POST" or not (request.headers["content-type"] or ""):find("^application/grpc") then
    return { status = 415 }
  end
  if request.too_large then return answer("RESOURCE_EXHAUSTED", "the message is larger than this server takes") end
  local method = methods[request.path]
  if not method then return answer("UNIMPLEMENTED", "no method " .. request.path) end
  local ok, result = pcall(function() return method(unframe(request.body), request) end)
  if not ok then
    if errors.is(result, "Cancelled") then error(result, 0) end
    return refusal(result, on_error)
  end
  return answer("OK", nil, frame(result))
end

---Raises an error that the client gets as this status.
---@param status string "NOT_FOUND", …
---@param message string
function M.fail(status, message)
  if not NUMBER[status] then error(("'%s' is no status of gRPC"):format(status), 2) end
  fail(status, message)
end

---Serves methods; each call is a task of its own and may wait.
---@param options { methods: table<string, fun(bytes: string, request: table): string>, address: string?,
---  port: integer?, path: string?, certificate: string?, key: string?, max_message: integer?,
---  on_error: fun(err: any)? }
---  methods: by "/package.Service/Method"
---@return grpc.Server # with port and close()
function M.serve(options)
  return core.listen {
    address = options.address, port = options.port, path = options.path,
    certificate = options.certificate, key = options.key,
    max_body = (options.max_message or MESSAGE_LIMIT) + 5,
    handler = function(request) return handle(options.methods, options.on_error, request) end,
  }
end

M.try = errors.try(M)

return M
