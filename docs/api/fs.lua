---@meta fs
-- Files, folders and paths. Errors are error tables whose code is the errno's name, with `path`;
-- fs.try.NAME returns nil and the error instead. Paths have no zero bytes.

local fs = {}

---@param path string
---@return string bytes # raises "ENOENT", "EISDIR", …
function fs.read(path) end
---All or nothing: a temporary file beside it is renamed. A link is followed.
---@param path string
---@param bytes string|string[] a list is written one after the other
---@param options {mode: integer?, sync: boolean?}? mode: that of the file replaced, else 0644
function fs.write(path, bytes, options) end
---@param path string
---@param bytes string
function fs.append(path, bytes) end
---@param path string
---@param options {parents: boolean?, mode: integer?}? with parents, one that is there is no error
function fs.mkdir(path, options) end
---Never follows a link.
---@param path string
---@param options {recursive: boolean?}?
---@return boolean # whether there was anything
function fs.remove(path, options) end
---@param path string
---@return string[] # sorted names
function fs.list(path) end
---@class fs.Stat
---@field type "file"|"directory"|"link"|"other"
---@field size integer bytes
---@field mtime number seconds since 1970
---@field mode integer permission bits
---@param path string
---@param options {follow: boolean?}? follow: true by default
---@return fs.Stat? # nil when there is nothing
function fs.stat(path, options) end
---@param path string
---@return boolean
function fs.exists(path) end
---@param from string
---@param to string replaced when it is there
function fs.rename(from, to) end
---@param target string what the link says
---@param path string the link; one that is there is replaced
function fs.symlink(target, path) end
---@param path string
---@return string
function fs.readlink(path) end
---@param path string
---@return string # absolute, without links
function fs.realpath(path) end
---@param from string
---@param to string
function fs.copy(from, to) end
---@param prefix string?
---@return string # a new folder below TMPDIR
function fs.tmpdir(prefix) end
---@return string
function fs.cwd() end
---@param ... string an absolute part starts anew, empty parts are left out
---@return string
function fs.join(...) end
---@param path string
---@return string
function fs.dirname(path) end
---@param path string
---@return string
function fs.basename(path) end
---@param path string
---@return string # the last component without its last extension
function fs.stem(path) end
---@param path string
---@return string # with its dot, or ""
function fs.extension(path) end

return fs
