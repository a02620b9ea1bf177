-- lab.network.link: the line to the process that holds a pod's network: sockets made there, used here.
-- Not for what is carried over them (lab.network.switch).
--   local l = link.start(path, { name = "web", address = "10.244.0.2" }); local s = l:connect(8080, "10.244.0.3")
--
-- A socket belongs to the network it was made in, whoever uses it. So the process in the pod's network makes
-- listening and connected sockets when it is asked, and hands them over; all bytes pass through the lab.

local errors = require "errors"
local fs = require "fs"
local host = require "host"
local json = require "json"
local net = require "net"
local proc = require "proc"

local M = {}

M.PORT = 15001 -- where a pod's connections to 10.0.0.0/8 arrive, as in Istio's pods

---@class lab.Link
---@field pid integer of the process
local link = {}
link.__index = link

-- --- in the lab -------------------------------------------------------------------------------------

local function first_line(text) return type(text) == "string" and text:match "^[^\n]*" or nil end

---Starts the process that holds a pod's namespaces.
---@param path string of a unix socket, free
---@param options {name: string, address: string, alone: string?, shares: boolean?, children: table} host name and
---  address of the pod; alone: why its connections are not to be caught; shares: its containers share their processes;
---  children: the set of processes that the lab waits for at its end
---@return lab.Link?
---@return string? problem why there can be none; with a link: why no connections are caught
function M.start(path, options)
  local listening <close> = net.listen { path = path }
  local spec = json.encode { path = path, name = options.name, address = options.address, alone = options.alone,
    shares = options.shares }
  local holder = proc.spawn { host.executable(), "-e", ("require('lab.container').hold(%q)"):format(spec),
    stdin = "null", stderr = "pipe", clear_env = true, env = { PATH = "/usr/bin:/bin" } }
  options.children[holder] = true
  local ok, line = pcall(listening.accept, listening, 10)
  pcall(fs.remove, path)
  local said = ok and line:read(10)
  if said and said:match "^ready" then
    return setmetatable({ holder = holder, line = line, pid = holder.pid, owed = 0, children = options.children },
      link),
      said:match "^ready: ([^\n]+)"
  end
  holder:kill "KILL"
  if errors.is(line, "Cancelled") then error(line, 0) end
  if ok then line:close() end
  local read, why = pcall(holder.read, holder, "stderr", 1)
  if pcall(holder.wait, holder, 5) then options.children[holder] = nil end
  return nil, first_line(said) or read and first_line(why) or "the process that makes them ended"
end

-- One question at a time; the answer brings a socket or the name of an error.
local function ask(self, words)
  while self.busy do self.busy:wait() end
  self.busy = require("task").event()
  local ok, text, socket = pcall(function()
    while self.owed > 0 do -- answers that nobody waited for to the end
      local _, late = self.line:receive(30)
      if late then late:close() end
      self.owed = self.owed - 1
    end
    self.line:write(words .. "\n")
    self.owed = 1
    local said, made = self.line:receive(30)
    self.owed = 0
    return said, made
  end)
  self.busy:set()
  self.busy = nil
  if not ok then error(text, 0) end
  if socket then return socket end
  local code = (text or ""):match "^%u+" or "ECONNREFUSED"
  errors.raise { code = code, message = ("%s: %s"):format(words, code) }
end

---A socket that listens in the pod's network.
---@param address string
---@param port integer
---@return net.Socket
function link:listen(address, port) return ask(self, ("listen %s %d"):format(address, port)) end

---A connection to a port of the pod, which seems to come from an address.
---@param address string the pod's
---@param port integer
---@param source string
---@return net.Socket # raises "ECONNREFUSED"
function link:connect(address, port, source)
  return ask(self, ("connect %s %d %s"):format(address, port, source))
end

---Ends the process.
function link:close()
  self.line:close()
  if pcall(self.holder.wait, self.holder, 10) then self.children[self.holder] = nil end
end

-- --- in the pod -------------------------------------------------------------------------------------

local function answer(words)
  local kind, address, port, source = words:match "^(%a+) (%S+) (%d+) ?(%S*)"
  local options = { address = address, port = math.tointeger(tonumber(port)), timeout = 5,
                    source = source ~= "" and source or nil }
  return (kind == "listen" and net.try.listen or net.try.connect)(options)
end

---Answers the lab until it hangs up: what the process in the pod's network does.
---@param line net.Socket
---@param problem string? why no connections are caught
function M.serve(line, problem)
  line:write(problem and ("ready: %s\n"):format(problem) or "ready\n")
  for words in function() return line:read() end do
    local socket, failure = answer(words)
    if socket then
      line:send("ok", socket)
      socket:close()
    else
      line:write(failure.code)
    end
  end
end

return M
