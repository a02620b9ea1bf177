---@meta scripts

---The scripts that are bundled in the program, and the files of the user that stand before them.
---@class scripts
local scripts = {}

---@return string[] names of the bundled files, sorted, such as "lib/kale/steps.lua"
function scripts.names() end

---@param name string
---@return string text raises "NotFound"
function scripts.source(name) end

---@param name string
---@return string sha256 of the bundled text, in hexadecimal; raises "NotFound"
function scripts.digest(name) end

---The file that is loaded instead of the bundled one.
---@param name string
---@return string? path
---@return "--scripts"|"KFHOST_PATH"|"user"|nil place
function scripts.override(name) end

---Whether a file was ejected from another version of a bundled one than this program has.
---@param path string
---@param name string
---@return boolean
function scripts.is_outdated(path, name) end

---@return string path where the user's own scripts lie, there or not; raises "NotFound" without a home
function scripts.user_directory() end

---@return string[] names of the modules that are linked into the program
function scripts.linked() end

return scripts
