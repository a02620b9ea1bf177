---@meta testing

---What the test runner needs of the system; no script has a use for it.
---@class testing
local testing = {}

---Ends the process by SIGALRM after that time; 0 takes the guard away.
---@param seconds integer
function testing.guard(seconds) end

---@return string path the working directory
function testing.directory() end

---Makes path the working directory.
---@param path string raises an error table with the errno's name as code
function testing.enter(path) end

---@return string path a new, empty directory that only this user may enter
function testing.make_directory() end

---Makes the last directory before the file's name, if it is not there.
---@param path string raises an error table with the errno's name as code
function testing.make_parent(path) end

---Removes a directory with all that is in it; links are not followed.
---@param path string raises an error table with the errno's name as code
function testing.remove_directory(path) end

return testing
