---@meta sandbox

---Runs code that is not trusted: no files, processes, environment or network; its own memory; a
---deadline that no pcall, coroutine, metamethod, pattern or finalizer outlasts.
---@class sandbox
local sandbox = {}

---@class sandbox.Options
---@field globals table<string, any>? copied into the code's globals; tables keep what they share
---@field timeout number|string? seconds or a text such as "500ms"; 1 s when absent
---@field memory integer? bytes the code may use; 64 MiB when absent, 256 KiB at least
---@field name string? the name of the code in messages, with "@" for a file's path or "=" for a plain name

---Runs text (never bytecode) in a new Lua state and copies what it returns.
---Not there: io, package, print, os but time clock difftime, debug but traceback, string.dump; load takes
---text only, setmetatable refuses __gc, collectgarbage does nothing.
---@param code string
---@param options sandbox.Options?
---@return any ... what the code returns; or nil and an error table with path and line: code "Timeout",
---"Memory", "Syntax", "Script" (the code raised something), "Value" (a cycle, a function or another value
---that cannot be copied; path says where), or the code of an error table that the code raised
function sandbox.run(code, options) end

return sandbox
