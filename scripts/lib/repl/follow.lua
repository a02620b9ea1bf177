-- repl.follow: a listing that is fetched again only when a watch told of a change (and now and then for its ages).
-- Not for drawing (repl.watch). Where the server allows no watch it is fetched each second.
--   local followed <close> = follow.new(session, "pods", {}, {}); followed:listing()

local objects = require "repl.objects"
local task = require "task"

local M = {}

local LEAST <const> = 0.2 -- seconds between two fetches, however much changes
local AGES <const> = 10 -- seconds after which ages are too old
local POLL <const> = 1

---@class repl.Followed
---@field fetches integer how often the server was asked
local followed = {}
followed.__index = followed

-- Watches from a version on, until the watch ends; every event makes the listing old.
local function listen(self, version)
  local session, options = self.session, self.options
  local query = {
    namespace = options.namespace, labels = options.labels, fields = options.fields, resource_version = version,
  }
  local ok = pcall(function()
    for event in session:client():watch(self.kind, query) do
      if event.type ~= "BOOKMARK" then self.old = true end
    end
  end)
  self.listener, self.old = nil, true -- from a fresh version on; without a watch, look by look
  self.polls = not ok
end

local function fetch(self)
  self.old, self.looked, self.fetches = false, task.now(), self.fetches + 1
  local listing = objects.list(self.session, self.kind, self.names, self.options)
  if not self.listener and not self.polls and listing.version then
    self.listener = task.spawn(listen, self, listing.version)
  end
  self.current = listing
end

-- Seconds until the listing is to be fetched again.
local function due_in(self)
  if not self.current then return 0 end
  local wanted = self.old and LEAST or self.listener and AGES or POLL
  return math.max(0, self.looked + wanted - task.now())
end

---The listing as it is now.
---@return table
function followed:listing()
  if due_in(self) <= 0 then fetch(self) end
  return self.current
end

---Ends the watch.
function followed:close()
  if self.listener then self.listener:cancel() end
  self.listener = nil
end
followed.__close = followed.close

---@param session repl.Session
---@param kind string
---@param names string[]
---@param options table as for objects.list
---@return repl.Followed
function M.new(session, kind, names, options)
  return setmetatable({
    session = session, kind = kind, names = names, options = options, fetches = 0, looked = 0,
  }, followed)
end

return M
