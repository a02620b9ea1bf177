-- policy.serve.changes: sees that the files of a set, or its settings, are not what was loaded.
-- Not for loading: the supervisor starts new processes that do, and the old ones stay when these fail.
--   local changes = changes.new(args, set); if changes:seen() then … end

local command = require "policy.command"
local files = require "policy.files"
local fs = require "fs"
local json = require "json"
local task = require "task"

local M = {}

local PAUSE = 2 -- seconds between two looks

---@class policy.Changes
local Changes = {}
Changes.__index = Changes

local function text_of(configs)
  return json.encode(json.object(configs), { sort = true })
end

-- The settings as a text, with what KEY_file names; as they are written where they cannot be read.
local function settings_of(path)
  if not path then return "" end
  local ok, text = pcall(function() return text_of(command.configs(path)) end)
  return ok and text or fs.try.read(files.place(path)) or ""
end

local function now_of(args)
  local parts = { settings_of(args.config) }
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
  if args.config then known[1] = text_of(set.options.configs) end
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
