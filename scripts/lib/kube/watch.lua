-- kube.watch: the events of one watch, for a loop. It ends when the server ends it.
-- Not for keeping up for ever (kube.informer goes on where a watch ends).
--   for event in c:watch("pods", { namespace = "a" }) do print(event.type, event.object.metadata.name) end

local errors = require "errors"
local json = require "json"
local options_of = require "kube.options"
local streams = require "kube.stream"
local task = require "task"

local M = {}

local LATE <const> = 5 -- seconds after the server should have ended the watch

---@class kube.Event
---@field type "ADDED"|"MODIFIED"|"DELETED"|"BOOKMARK"
---@field object table
---@field resource_version string?

---Watches; leaving the loop ends it.
---@param kind string
---@param options table? namespace, labels, fields, resource_version, timeout (seconds), bookmarks, initial_events
---@return fun(): kube.Event?
---raises {code="Expired"} when the version is too old (410), also from inside the loop
function M:watch(kind, options)
  options = options_of.check(options, 2)
  local deadline = options.timeout and task.now() + task.seconds(options.timeout) + LATE
  local stream = streams.open(self, self.discovery:resolve(kind), options)
  local closer = setmetatable({}, { __close = function() stream:close() end })
  local function next_event()
    local ok, type, object, version = pcall(stream.next, stream, deadline and math.max(deadline - task.now(), 0))
    if not ok then
      stream:close()
      if errors.is(type) and type.status == 410 then type.code = "Expired" end
      error(type, 0)
    end
    if not type then
      stream:close()
      return nil
    end
    return { type = type, object = json.decode(object, { duplicates = "last" }), resource_version = version }
  end
  return next_event, nil, nil, closer
end

return M
