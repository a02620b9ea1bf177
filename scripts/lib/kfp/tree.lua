-- Copying what may be a file or a folder. A part of kfp.
--   tree.copy("out/train/model", "out/test/model")
local fs = require "fs"

local M = {}

---@param from string nothing is copied when it is not there
---@param to string
function M.copy(from, to)
  local stat = fs.stat(from)
  if not stat then return end
  if stat.type ~= "directory" then return fs.copy(from, to) end
  fs.mkdir(to, { parents = true })
  for _, name in ipairs(fs.list(from)) do M.copy(fs.join(from, name), fs.join(to, name)) end
end

return M
