-- policy.serve.rollout: which paths all replicas of a service answer for, while they change to another set of policies
-- one after another. Only these may stand in the webhook configurations: else a review goes to whom cannot answer it.
-- Not for one replica's own reload (policy.serve.paths: what it answered before it still lets through).
--   local r = rollout.new(own_identity, own_paths, address); r:look(statuses); r:lacking "/validate/tags"

local paths = require "policy.serve.paths"
local reports = require "policy.serve.report"
local task = require "task"

local M = {}

M.SILENT = 3 * reports.EVERY -- seconds after which a replica that writes nothing is taken for dead
local FORGOTTEN = 3600 -- after which what it wrote is removed

---@class policy.Rollout
local Rollout = {}
Rollout.__index = Rollout

---@param identity string of this replica
---@param own table<string, integer> its paths
---@param address string where it is found: others that are found there share its reviews
---@return policy.Rollout
function M.new(identity, own, address)
  return setmetatable({ identity = identity, own = own, address = address, seen = {}, others = {} }, Rollout)
end

---Takes what the replicas have written. Whether one is alive is told by our own clock: by when it wrote last.
---@param statuses table<string, table> by identity
function Rollout:look(statuses)
  local now = task.now()
  local seen = {}
  self.others = {}
  for identity, status in pairs(statuses) do
    local before = self.seen[identity]
    seen[identity] = before and before.time == status.time and before or { time = status.time, at = now }
    local alive = now - seen[identity].at < M.SILENT
    -- One that does not say where it is, or what it serves, is of a version that did not know of this.
    local shares = status.address == self.address and status.paths ~= nil
    if alive and shares and identity ~= self.identity then self.others[identity] = status.paths end
  end
  self.seen = seen
end

---@param path string
---@return string[] replicas that do not answer for it, sorted
function Rollout:lacking(path)
  local list = {}
  if not paths.serves(self.own, path) then list[1] = self.identity end
  for identity, served in pairs(self.others) do
    if not paths.serves(served, path) then list[#list + 1] = identity end
  end
  table.sort(list)
  return list
end

---@return string[] identities of replicas that are long dead, and have left their status
function Rollout:forgotten()
  local list = {}
  for identity, one in pairs(self.seen) do
    if identity ~= self.identity and task.now() - one.at > FORGOTTEN then list[#list + 1] = identity end
  end
  return list
end

return M
