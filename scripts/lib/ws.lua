-- WebSockets (RFC 6455), both sides: over connections of `http` and of `server`.
-- Not for extensions (compression): none is offered, none accepted.
--   local w <close> = ws.connect { url = "wss://host/path" }; w:send "hello"; print(w:receive "5s")

local core = require "ws.core"
local errors = require "errors"
local http = require "http"
local task = require "task"

local M = {}

local CLOSING = 5 -- seconds that the other side has to answer a close frame
local HEAD_LIMIT = 65536
local MESSAGE_LIMIT = 16 << 20

---@class ws.WebSocket
---@field protocol string? the subprotocol that both sides chose
---@field close_code integer? after the end: what the other side said; 1005 nothing, 1006 it ended without a word
---@field close_reason string?
local WebSocket = {}
WebSocket.__index = WebSocket

local function new(connection, is_server, options)
  return setmetatable({
    connection = connection,
    masked = not is_server,
    decoder = core.decoder(is_server, options.max_message or MESSAGE_LIMIT),
    ended = task.event(),
  }, WebSocket)
end

-- --- sending --------------------------------------------------------------------------------------

local function send_frame(self, kind, data)
  self.connection:write(core.frame(kind, data, self.masked))
end

---Sends a message.
---@param data string
---@param kind "text"|"binary"|nil default "text"
---raises "Closed" after close, or when the other side has closed; "Connection"
function WebSocket:send(data, kind)
  if self.sent_close or self.finished then
    errors.raise { code = "Closed", message = "the WebSocket is closed" }
  end
  send_frame(self, kind or "text", data)
end

---@param data string? at most 125 bytes; the other side sends them back, which receive passes over
function WebSocket:ping(data)
  send_frame(self, "ping", data or "")
end

local function send_close(self, code, reason)
  if self.sent_close then return end
  self.sent_close = true
  pcall(send_frame, self, "close", code and core.close_payload(code, reason) or "")
end

-- --- receiving ------------------------------------------------------------------------------------

local function finish(self, code, reason)
  if self.finished then return end
  self.finished = true
  self.close_code, self.close_reason = code, reason
  self.connection:close()
  self.ended:set()
end

local CONTROL = {
  ping = function(self, data)
    if not self.sent_close then send_frame(self, "pong", data) end
  end,
  pong = function() end,
  close = function(self, reason, code)
    send_close(self, code ~= 1005 and code or nil)
    finish(self, code, reason)
  end,
}

-- The next message that is already here; control frames are dealt with.
local function take(self)
  while not self.finished do
    local kind, data, code = self.decoder:next()
    if not kind then return nil end
    local control = CONTROL[kind]
    if not control then return data, kind end
    control(self, data, code)
  end
end

local function fail(self, err)
  send_close(self, err.close_code)
  finish(self, 1006)
  error(err, 0)
end

local function take_checked(self)
  local ok, data, kind = pcall(take, self)
  if ok then return data, kind end
  if errors.is(data, "Protocol") then fail(self, data) end
  error(data, 0)
end

local function receive(self, deadline)
  while true do
    local data, kind = take_checked(self)
    if data then return data, kind end
    if self.finished then return nil end
    local bytes = self.connection:read(deadline and math.max(deadline - task.now(), 0))
    if not bytes then
      finish(self, 1006)
      if self.sent_close then return nil end
      errors.raise { code = "Connection", message = "the WebSocket ended without a close frame" }
    end
    self.decoder:feed(bytes)
  end
end

---Waits for the next message; answers pings meanwhile. One task at a time.
---@param timeout number|string|nil
---@return string? data nil when the other side has closed (see close_code), or close was called
---@return "text"|"binary"|nil kind
---raises "Timeout" (the WebSocket stays), "Connection", "Protocol"
function WebSocket:receive(timeout)
  if self.receiving then error("another task receives from this WebSocket", 2) end
  self.receiving = true
  local deadline = timeout and task.now() + task.seconds(timeout)
  local result = table.pack(pcall(receive, self, deadline))
  self.receiving = false
  if not result[1] then error(result[2], 0) end
  return table.unpack(result, 2, result.n)
end

-- --- the end --------------------------------------------------------------------------------------

-- What still comes is thrown away, until the other side has closed too.
local function drain(self)
  local deadline = task.now() + CLOSING
  repeat until not receive(self, deadline)
end

---Says that no more comes, waits for the other side to say so too, and ends the connection.
---@param code integer? default 1000
---@param reason string? at most 123 bytes
function WebSocket:close(code, reason)
  if self.finished then return end
  send_close(self, code or 1000, reason)
  if self.receiving then
    self.ended:wait(CLOSING)
  else
    pcall(drain, self)
  end
  finish(self, 1006)
end

function WebSocket:__close()
  self:close()
end

-- --- the client's handshake -----------------------------------------------------------------------

local function raise(message, fields)
  fields.code, fields.message = "Protocol", message
  errors.raise(fields)
end

local function parse_head(text)
  local status, reason = text:match "^HTTP/1%.[01] (%d%d%d) ?([^\r\n]*)"
  if not status then return nil end
  local headers = {}
  for name, value in text:gmatch "\r\n([^:\r\n]+):[ \t]*([^\r\n]*)" do
    headers[name:lower()] = value:gsub("[ \t]+$", "")
  end
  return { status = tonumber(status), reason = reason, headers = headers }
end

-- Reads until the empty line; the head, and what came after it.
local function read_head(connection, deadline, url)
  local text = ""
  while #text <= HEAD_LIMIT do
    local _, last = text:find("\r\n\r\n", 1, true)
    if last then
      local head = parse_head(text:sub(1, last - 2))
      if not head then raise("the answer is not HTTP", { url = url }) end
      return head, text:sub(last + 1)
    end
    local bytes = connection:read(deadline and math.max(deadline - task.now(), 0))
    if not bytes then raise("the connection ended within the handshake", { url = url }) end
    text = text .. bytes
  end
  raise("the head of the answer is too long", { url = url })
end

-- The body of a refusal, as far as it can be told.
local function read_refusal(connection, head, rest)
  local length = math.min(tonumber(head.headers["content-length"]) or 0, HEAD_LIMIT)
  pcall(function()
    while #rest < length do rest = rest .. (connection:read(CLOSING) or error "it ended") end
  end)
  return rest:sub(1, length)
end

local function request_text(options, host, path, key)
  local lines = {
    ("GET %s HTTP/1.1"):format(path), "Host: " .. host, "Connection: Upgrade", "Upgrade: websocket",
    "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: " .. key,
  }
  if options.protocols then
    lines[#lines + 1] = "Sec-WebSocket-Protocol: " .. table.concat(options.protocols, ", ")
  end
  for name, value in pairs(options.headers or {}) do
    local line = name .. ": " .. tostring(value)
    if line:find "[\r\n]" then error(("header %s: not what can be sent"):format(name), 3) end
    lines[#lines + 1] = line
  end
  return table.concat(lines, "\r\n") .. "\r\n\r\n"
end

local function has(list, value)
  for _, item in ipairs(list or {}) do
    if item == value then return true end
  end
  return false
end

local function check_answer(head, key, options)
  local headers, url = head.headers, options.url
  if (headers.upgrade or ""):lower() ~= "websocket" then
    raise("the answer upgrades to something else", { url = url })
  end
  if headers["sec-websocket-accept"] ~= core.accept_key(key) then
    raise("the answer has the wrong Sec-WebSocket-Accept", { url = url })
  end
  local protocol = headers["sec-websocket-protocol"]
  if protocol and not has(options.protocols, protocol) then
    raise(("the server chose the protocol '%s', which was not offered"):format(protocol), { url = url })
  end
  if headers["sec-websocket-extensions"] then raise("the server chose an extension", { url = url }) end
  return protocol
end

local function shake_hands(connection, options, host, path, deadline)
  local key = core.nonce()
  connection:write(request_text(options, host, path, key))
  local head, rest = read_head(connection, deadline, options.url)
  if head.status ~= 101 then
    raise(("the server answered %d %s instead of a WebSocket"):format(head.status, head.reason), {
      url = options.url, status = head.status, headers = head.headers, body = read_refusal(connection, head, rest),
    })
  end
  local w = new(connection, false, options)
  w.protocol = check_answer(head, key, options)
  w.decoder:feed(rest)
  return w
end

---Opens a WebSocket.
---@param options ws.Options
---@return ws.WebSocket # raises "Protocol" (status, headers and body when the server refused), and as http.connect does
function M.connect(options)
  local scheme, host, path = options.url:match "^(wss?)://([^/?]+)(.*)$"
  if not scheme then error("url: ws:// or wss:// expected", 2) end
  if path:sub(1, 1) ~= "/" then path = "/" .. path end
  local copy = {}
  for key, value in pairs(options) do copy[key] = value end
  copy.url = (scheme == "wss" and "https://" or "http://") .. host .. "/"
  copy.headers = nil
  local deadline = options.timeout and task.now() + task.seconds(options.timeout)
  local connection = http.connect(copy)
  local ok, result = pcall(shake_hands, connection, options, host, path, deadline)
  if ok then return result end
  connection:close()
  error(result, 0)
end

-- --- the server's handshake -----------------------------------------------------------------------

local function words(text)
  local list = {}
  for word in (text or ""):gmatch "[^, \t]+" do list[#list + 1] = word end
  return list
end

local function choose(request, protocols)
  for _, offered in ipairs(words(request.headers["sec-websocket-protocol"])) do
    if has(protocols, offered) then return offered end
  end
end

---Makes a WebSocket of a request to `server`; it ends with the request's handler.
---@param request server.Request
---@param options { protocols: string[]?, max_message: integer? }? the first protocol that the client offers is chosen
---@return ws.WebSocket # raises "Protocol" with `status` when it is no request for a WebSocket (answer with that)
function M.accept(request, options)
  options = options or {}
  local headers = request.headers
  if request.method ~= "GET" or not has(words((headers.upgrade or ""):lower()), "websocket") then
    raise("not a request for a WebSocket", { status = 426 })
  end
  local key = headers["sec-websocket-key"]
  if headers["sec-websocket-version"] ~= "13" then raise("only version 13 is spoken", { status = 426 }) end
  if not key or #key ~= 24 then raise("the request has no proper Sec-WebSocket-Key", { status = 400 }) end
  local protocol = choose(request, options.protocols)
  local connection = request:upgrade {
    headers = {
      Upgrade = "websocket", ["Sec-WebSocket-Accept"] = core.accept_key(key), ["Sec-WebSocket-Protocol"] = protocol,
    },
  }
  local w = new(connection, true, options)
  w.protocol = protocol
  return w
end

M.try = errors.try(M)

return M
