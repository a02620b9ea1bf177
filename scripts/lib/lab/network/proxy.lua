-- lab.network.proxy: how pods without a network of their own reach services: an HTTP proxy for each of them.
-- Not for programs that do not follow http_proxy: those reach what this machine's network has.
--   proxy.start(switch, sandbox); sandbox.proxy_url
--
-- One proxy for each pod, so that the lab knows whose connection it is.

local errors = require "errors"
local link = require "lab.network.link"
local net = require "net"
local targets = require "lab.network.targets"
local task = require "task"

local M = {}

local LARGEST = 65536

local function read_head(socket)
  local text = ""
  while not text:find("\r\n\r\n", 1, true) do
    local bytes = socket:read(60)
    if not bytes or #text > LARGEST then return nil end
    text = text .. bytes
  end
  local last = select(2, text:find("\r\n\r\n", 1, true))
  return text:sub(1, last), text:sub(last + 1)
end

-- "GET http://web:8080/x HTTP/1.1" asks for one page, "CONNECT web:443 HTTP/1.1" for a connection.
local function wanted(head)
  local name, port = head:match "^CONNECT ([^:%s]+):(%d+) "
  if name then return name, math.tointeger(tonumber(port)), "" end
  local method, authority, path, rest = head:match "^(%u+) http://([^/%s]+)(%S*) (.*)$"
  if not method then return nil end
  name, port = authority:match "^(.-):(%d+)$"
  -- The connection serves one request: the next one may be for someone else.
  rest = rest:gsub("\r\n[Pp]roxy%-[^\r]*", ""):gsub("\r\n[Cc]onnection:[^\r]*", "")
    :gsub("\r\n\r\n$", "\r\nConnection: close\r\n\r\n")
  return name or authority, math.tointeger(tonumber(port or 80)),
    ("%s %s %s"):format(method, path == "" and "/" or path, rest)
end

local function refuse(socket, text)
  socket:write(("HTTP/1.1 502 Bad Gateway\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n"
    .. "Connection: close\r\n\r\n%s"):format(#text, text))
  socket:finish()
end

-- A socket that gives what was read of it once more.
local function again(socket, text)
  return setmetatable({ read = function(self, timeout)
    if text ~= "" then
      local part = text
      text = ""
      return part
    end
    return socket.read(self.inner, timeout)
  end, inner = socket }, { __index = function(_, name)
    return function(_, ...) return socket[name](socket, ...) end
  end })
end

local function serve(switch, sandbox, socket)
  local head, rest = read_head(socket)
  if not head then return socket:close() end
  local name, port, request = wanted(head)
  if not name then return refuse(socket, "the lab's proxy takes http://… and CONNECT\n") end
  local address, problem = targets.address(switch.cluster, name, sandbox.pod.metadata.namespace)
  if not address then return refuse(socket, problem .. "\n") end
  if request == "" then socket:write "HTTP/1.1 200 Connection established\r\n\r\n" end
  switch:serve(sandbox, again(socket, request .. rest), address, port)
end

---@param switch lab.Switch
---@param sandbox table
function M.start(switch, sandbox)
  local listening = sandbox.link and sandbox.link:listen("127.0.0.1", link.PORT) or net.listen { address = sandbox.ip }
  sandbox.proxy, sandbox.proxy_url = listening, ("http://%s:%d"):format(listening:here())
  task.spawn(function()
    while true do
      local ok, socket = pcall(listening.accept, listening)
      if not ok or not socket then return end
      task.spawn(function()
        sandbox.open[socket] = true
        local done, problem = pcall(serve, switch, sandbox, socket)
        if not done and not errors.is(problem) then switch:fail(problem) end
        sandbox.open[socket] = nil
      end)
    end
  end)
end

return M
