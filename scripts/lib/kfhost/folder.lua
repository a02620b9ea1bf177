-- kfhost.folder: a folder for as long as something goes on; it goes with what is in it, however that ends.
-- Not for what stays: see fs.tmpdir.
--   local room <close> = folder.new "kfhost-lab"; fs.write(room.path .. "/config", text)

local fs = require "fs"

local M = {}

local Folder = {}
Folder.__index = Folder

---Removes it; what cannot be removed is left.
function Folder:close()
  if self.path then pcall(fs.remove, self.path, { recursive = true }) end
  self.path = nil
end
Folder.__close = Folder.close

---@param prefix string of its name
---@return {path: string} folder to be closed
function M.new(prefix)
  return setmetatable({ path = fs.tmpdir(prefix) }, Folder)
end

return M
