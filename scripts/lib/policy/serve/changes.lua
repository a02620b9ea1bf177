-- policy.serve.changes: sees that the files of a set, or its settings, are not what was loaded.
-- Not for loading: the supervisor starts new processes that do, and the old ones stay when these fail.
--   local changes = changes.new(args, set); if changes:seen() then … end

local files = require "policy.files"
local fs = require "fs"
local task = require "task"

local M = {}

local PAUSE = 2 -- seconds between two looks

---@class policy.Changes
local Changes = {}
Changes.__index = Changes

local function now_of(args)
  local parts = { args.config and fs.try.read(files.place(args.config)) or "" }
  for i, name in ipairs(args.file) do
    local ok, file = pcall(files.find, name)
    parts[i + 1] = ok and file.text or ""
  end
  return parts
end

---@param args {file: string[], config: string?} of the command line
---@param set policy.Set that was loaded of them
---@return policy.Changes
function M.new(args, set)
  local known = now_of(args)
  for i, file in ipairs(set.list) do known[i + 1] = file.text end
  return setmetatable({ args = args, known = known, next = task.now() + PAUSE }, Changes)
end

---@return boolean whether something changed since it was asked last; what is being written is told when it is still
function Changes:seen()
  if task.now() < self.next then return false end
  self.next = task.now() + PAUSE
  local now, changed, moving = now_of(self.args), false, false
  for i, text in ipairs(now) do
    changed = changed or text ~= self.known[i]
    moving = moving or (self.last ~= nil and text ~= self.last[i])
  end
  local settled = changed and self.last ~= nil and not moving
  self.last = changed and now or nil
  if settled then self.known, self.last = now, nil end
  return settled
end

return M
