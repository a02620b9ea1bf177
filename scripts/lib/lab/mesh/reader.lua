-- lab.mesh.reader: HTTP/1.1 requests out of a stream of bytes: heads, and bodies of each form.
-- Not for answers (those are carried as they come).
--   local r = reader.new(socket); local head = r:head(); r:body(head, function(bytes) … end)

local M = {}

local LARGEST = 65536

---@class lab.RequestHead
---@field method string
---@field path string as it was sent
---@field version string "1.1"
---@field names string[] headers in their order
---@field headers table<string, string> by lower-case name; several values joined by ","

local reader = {}
reader.__index = reader

---@param socket net.Socket
function M.new(socket) return setmetatable({ socket = socket, text = "" }, reader) end

-- Reads once more; false at the end.
local function more(self)
  local bytes = self.socket:read()
  if not bytes then return false end
  self.text = self.text .. bytes
  return true
end

---The first bytes, without taking them: enough to see which protocol it is.
---@param count integer
---@return string
function reader:peek(count)
  while #self.text < count and more(self) do end
  return self.text:sub(1, count)
end

---Whether what comes looks like HTTP/1. May wait for the first bytes.
---@return "http"|"http2"|"tcp"
function reader:protocol()
  local start = self:peek(3)
  if not start:match "^%u%u" then return "tcp" end
  while #self.text < 24 and not self.text:find("\n", 1, true) and more(self) do end
  if self.text:sub(1, 14) == "PRI * HTTP/2.0" then return "http2" end
  return self.text:match "^%u+ %S" and "http" or "tcp"
end

local function parse(text)
  local method, path, version = text:match "^(%u[%u%-]*) (%S+) HTTP/(1%.[01])\r?\n"
  if not method then return nil end
  local head = { method = method, path = path, version = version, names = {}, headers = {} }
  for name, value in text:gmatch "\n([^:\r\n]+):[ \t]*([^\r\n]-)[ \t]*\r?\n?%f[\r\n%z]" do
    local key = name:lower()
    if not head.headers[key] then head.names[#head.names + 1] = name end
    head.headers[key] = head.headers[key] and head.headers[key] .. "," .. value or value
  end
  return head
end

---The next request's head.
---@return lab.RequestHead? nil at the end
---@return string? problem
function reader:head()
  local last
  repeat
    last = select(2, self.text:find("\r?\n\r?\n"))
    if not last and (#self.text > LARGEST or not more(self)) then
      return nil, self.text ~= "" and "not a whole request" or nil
    end
  until last
  local head = parse(self.text:sub(1, last))
  self.text = self.text:sub(last + 1)
  return head, not head and "no HTTP" or nil
end

-- Passes on a number of bytes.
local function pass(self, count, use)
  while count > 0 do
    if self.text == "" and not more(self) then return false end
    local part = self.text:sub(1, count)
    self.text = self.text:sub(#part + 1)
    count = count - #part
    use(part)
  end
  return true
end

local function line(self)
  while not self.text:find("\n", 1, true) do
    if not more(self) then return nil end
  end
  local text = self.text:match "^[^\n]*\n"
  self.text = self.text:sub(#text + 1)
  return text
end

local function pass_chunks(self, use)
  while true do
    local size_line = line(self)
    local size = size_line and tonumber(size_line:match "^%x+", 16)
    if not size then return false end
    use(size_line)
    if size == 0 then break end
    if not pass(self, math.tointeger(size) + 2, use) then return false end
  end
  repeat
    local trailer = line(self)
    if not trailer then return false end
    use(trailer)
  until trailer:match "^\r?\n$"
  return true
end

---Passes on the body of a request, as it is framed.
---@param head lab.RequestHead
---@param use fun(bytes: string)
---@return boolean whether it was whole
function reader:body(head, use)
  if (head.headers["transfer-encoding"] or ""):lower():find("chunked", 1, true) then return pass_chunks(self, use) end
  return pass(self, math.tointeger(tonumber(head.headers["content-length"] or 0)) or 0, use)
end

---All bytes that are left, and all that come: another protocol has begun.
---@param use fun(bytes: string)
function reader:rest(use)
  if self.text ~= "" then use(self.text) end
  self.text = ""
  for bytes in function() return self.socket:read() end do use(bytes) end
end

---The bytes of a head.
---@param head lab.RequestHead
---@return string
function M.write(head)
  local lines = { ("%s %s HTTP/%s"):format(head.method, head.path, head.version) }
  local seen = {}
  for _, name in ipairs(head.names) do
    local value = head.headers[name:lower()]
    if value and not seen[name:lower()] then lines[#lines + 1] = name .. ": " .. value end
    seen[name:lower()] = true
  end
  for name, value in pairs(head.headers) do
    if not seen[name] then lines[#lines + 1] = name .. ": " .. value end
  end
  return table.concat(lines, "\r\n") .. "\r\n\r\n"
end

return M
