-- HTTP requests and streams; each call waits as a task, TLS material is text in memory.
-- Not for WebSockets (`require "ws"`), and it follows no redirects.
--   print(require "http".request { url = "https://example.org/", timeout = "10s" }.status)

local core = require "http.core"
local errors = require "errors"
local task = require "task"

local M = {}

-- Methods that change nothing: a request of theirs that the server refused to begin is sent again.
local SAFE = { GET = true, HEAD = true, OPTIONS = true }

local function is_safe(options)
  return SAFE[options.method or (options.body and "POST" or "GET")]
end

-- Calls once more when the server said that it has not begun (GOAWAY, a refused stream).
local function once_more(options, call, ...)
  local result = table.pack(pcall(call, ...))
  if result[1] then return table.unpack(result, 2, result.n) end
  local err = result[2]
  if not (errors.is(err) and err.may_repeat and is_safe(options)) then error(err, 0) end
  return call(...)
end

-- --- streams --------------------------------------------------------------------------------------

---@class http.Stream
---@field status integer
---@field headers table<string, string>
---@field version string
local Stream = {}
Stream.__index = Stream

---Waits for the next piece of the body.
---@param timeout number|string|nil
---@return string? bytes nil at the end; raises "Timeout" (the stream goes on), "Connection", "Closed"
function Stream:read(timeout)
  return self.transfer:read(timeout)
end

---Ends the stream, whatever is left of it.
function Stream:close()
  if self.pump then self.pump:cancel() end
  self.transfer:close()
  if self.session then self.session:close() end
end

Stream.__close = Stream.close

-- Sends what the function gives as the body, until the transfer ends.
local function pump(transfer, body)
  local ok, err = pcall(function()
    for chunk in body do transfer:write(chunk) end
    transfer:finish()
  end)
  if ok or errors.is(err, "Closed") then return end
  transfer:close()
  if not errors.is(err, "Cancelled") then return err end
end

local function begin(core_session, options)
  local transfer = core_session:start(options)
  local stream = setmetatable({ transfer = transfer }, Stream)
  if options.upload then stream.pump = task.spawn(pump, transfer, options.upload) end
  local ok, head = pcall(transfer.head, transfer, options.timeout)
  if not ok then
    stream:close()
    local problem = stream.pump and stream.pump:status() ~= "running" and stream.pump:wait()
    error(problem or head, 0)
  end
  stream.status, stream.headers, stream.version = head.status, head.headers, head.version
  return stream
end

-- A body that is a function goes by its own name.
local function with_upload(options)
  if type(options.body) ~= "function" then return options end
  local copy = {}
  for key, value in pairs(options) do copy[key] = value end
  copy.upload, copy.body = options.body, nil
  return copy
end

local function start_stream(core_session, options)
  options = with_upload(options)
  if options.upload then return begin(core_session, options) end
  return once_more(options, begin, core_session, options)
end

local function read_all(stream)
  local pieces = {}
  for piece in function() return stream:read() end do pieces[#pieces + 1] = piece end
  return { status = stream.status, headers = stream.headers, version = stream.version, body = table.concat(pieces) }
end

local function start_request(core_session, options)
  if type(options.body) ~= "function" then
    return once_more(options, core_session.request, core_session, options)
  end
  local stream <close> = start_stream(core_session, options)
  return read_all(stream)
end

-- --- sessions -------------------------------------------------------------------------------------

---@class http.Session
local Session = {}
Session.__index = Session

-- The options over the session's defaults; headers are merged by name.
local function merge(defaults, options)
  local merged = {}
  for key, value in pairs(defaults) do merged[key] = value end
  for key, value in pairs(options) do merged[key] = value end
  if defaults.headers and options.headers then
    merged.headers = {}
    local own = {}
    for name in pairs(options.headers) do own[name:lower()] = true end
    for name, value in pairs(defaults.headers) do
      if not own[name:lower()] then merged.headers[name] = value end
    end
    for name, value in pairs(options.headers) do merged.headers[name] = value end
  end
  return merged
end

---Sends a request over a connection of the session, which other requests may use as well.
---@param options http.Options
---@return http.Response
function Session:request(options)
  return start_request(self.core, merge(self.defaults, options))
end

---@param options http.Options
---@return http.Stream
function Session:stream(options)
  return start_stream(self.core, merge(self.defaults, options))
end

---Ends its streams and connections.
function Session:close()
  self.core:close()
end

Session.__close = Session.close

---Makes a session: its requests share connections.
---@param defaults http.Options? for each of its requests
---@return http.Session
function M.session(defaults)
  return setmetatable({ core = core.session(), defaults = defaults or {} }, Session)
end

-- --- single requests ------------------------------------------------------------------------------

---Sends a request over a connection of its own and waits for the whole answer.
---@param options http.Options
---@return http.Response # raises "Connection", "TLS", "Timeout", "Protocol"
function M.request(options)
  local session <close> = core.session()
  return start_request(session, options)
end

---Sends a request and waits for the head of the answer.
---@param options http.Options
---@return http.Stream # raises as request does
function M.stream(options)
  local session = core.session()
  local ok, stream = pcall(start_stream, session, options)
  if not ok then
    session:close()
    error(stream, 0)
  end
  stream.session = session
  return stream
end

-- --- bare connections -----------------------------------------------------------------------------

---@class http.Connection
local Connection = {}
Connection.__index = Connection

---@param timeout number|string|nil
---@return string? bytes nil at the end; raises "Timeout" (the connection stays), "Connection"
function Connection:read(timeout)
  return self.transfer:receive(timeout)
end

---@param text string waits until it is sent; raises "Closed", "Connection"
function Connection:write(text)
  self.transfer:send(text)
end

function Connection:close()
  self.transfer:close()
  self.session:close()
end

Connection.__close = Connection.close

---Makes a connection, through proxies and TLS as a request would, for bytes of another protocol.
---@param options http.Options url, timeout and what concerns TLS and proxies
---@return http.Connection
function M.connect(options)
  local session = core.session()
  local ok, transfer = pcall(session.connect, session, options)
  if not ok then
    session:close()
    error(transfer, 0)
  end
  return setmetatable({ transfer = transfer, session = session }, Connection)
end

M.try = errors.try(M)

return M
