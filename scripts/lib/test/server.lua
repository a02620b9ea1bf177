-- test.server: a server for tests that fails as real ones do, when it is told to.
-- Not a proxy; it speaks HTTP/1.1. `require "server"` is what it is made of.
--   local s <close> = server.start { handler = handler }; s:fail { kind = "cut", after = 100, path = "^/api" }

local server = require "server"
local task = require "task"

local M = {}

---@class test.Fault
---@field kind "drop"|"reset"|"silence"|"delay"|"status"|"cut"|"stall"
---  drop: the connection ends without an answer; reset: the same by a TCP reset; silence: no answer, the
---  connection stays; delay: the answer comes after `seconds`; status: `status`, `headers` and `body` instead of
---  the handler's answer; cut: the connection ends after `after` bytes of the body; stall: nothing comes after those
---@field path string? only for requests whose path this pattern finds
---@field times integer? for so many requests; default 1
---@field after integer?
---@field seconds number?
---@field status integer?
---@field headers table<string, string>?
---@field body string?

local function wait_for_ever()
  task.event():wait()
end

-- --- what becomes of a body -----------------------------------------------------------------------

-- A writer that lets `after` bytes through and then does what ends it.
local function limited(w, after, finish)
  local left = after
  return {
    write = function(_, text)
      if #text < left then
        left = left - #text
        return w:write(text)
      end
      w:write(text:sub(1, left))
      finish(w)
    end,
    close = function() w:close() end,
    reset = function() w:reset() end,
  }
end

local function shorten(response, after, finish)
  local stream, body = response.stream, response.body or ""
  return {
    status = response.status,
    headers = response.headers,
    stream = function(w)
      local writer = limited(w, after, finish)
      if stream then stream(writer) else writer:write(body) end
      finish(w) -- the body was shorter than that
    end,
  }
end

-- --- faults: what is done with the request instead of, or around, the handler ------------------------

local FAULTS = {}

function FAULTS.drop(request)
  request.exchange:close()
end

function FAULTS.reset(request)
  request.exchange:reset()
end

function FAULTS.silence()
  wait_for_ever()
end

function FAULTS.delay(request, fault, handler)
  task.sleep(fault.seconds)
  return handler(request)
end

function FAULTS.status(_, fault)
  return { status = fault.status, headers = fault.headers, body = fault.body }
end

function FAULTS.cut(request, fault, handler)
  return shorten(handler(request), fault.after or 0, function(w) w:close() end)
end

function FAULTS.stall(request, fault, handler)
  return shorten(handler(request), fault.after or 0, wait_for_ever)
end

-- --- the server -----------------------------------------------------------------------------------

---@class test.Server
---@field url string without a slash at its end
---@field port integer
---@field requests server.Request[] all that came, in their order
local Server = {}
Server.__index = Server

---Adds a fault for a request to come; those that were added first are used first.
---@param fault test.Fault
function Server:fail(fault)
  assert(FAULTS[fault.kind], "no fault of this kind")
  table.insert(self.faults, { fault = fault, left = fault.times or 1 })
end

---Ends all connections at once; the server goes on and takes new ones.
function Server:disconnect()
  for exchange in pairs(self.open) do exchange:reset() end
end

function Server:close()
  self.server:close()
end

Server.__close = Server.close

-- The fault of a request, used up by that; the function of the options is asked first.
local function take_fault(self, request)
  local chosen = self.choose and self.choose(request, #self.requests)
  if chosen then return chosen end
  for i, entry in ipairs(self.faults) do
    if not entry.fault.path or request.path:find(entry.fault.path) then
      entry.left = entry.left - 1
      if entry.left == 0 then table.remove(self.faults, i) end
      return entry.fault
    end
  end
end

local function answer(self, request, handler)
  table.insert(self.requests, request)
  self.open[request.exchange] = true
  local fault = take_fault(self, request)
  if not fault then return handler(request) end
  return FAULTS[fault.kind](request, fault, handler)
end

---Starts a server on a free port of 127.0.0.1.
---@param options table handler; faults = fn(request, n) -> test.Fault | nil; certificate, key and what else
---  server.listen takes
---@return test.Server
function M.start(options)
  local copy = {}
  for key, value in pairs(options) do copy[key] = value end
  local self = setmetatable({
    faults = {}, requests = {}, open = setmetatable({}, { __mode = "k" }), choose = options.faults,
  }, Server)
  copy.faults = nil
  copy.handler = function(request) return answer(self, request, options.handler) end
  self.server = server.listen(copy)
  self.port = self.server.port
  self.url = ("%s://127.0.0.1:%d"):format(options.certificate and "https" or "http", self.port)
  return self
end

return M
