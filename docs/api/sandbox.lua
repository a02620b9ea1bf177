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

---A sandbox that is kept over many calls. Its code puts functions into the table that each chunk gets as
---its first argument; they are what can be called. Values cross as copies, as in sandbox.run.
---@class sandbox.Kept
local kept = {}

---Opens one. `modules` says what `require` finds inside: names of C modules that are functions of their
---arguments alone (json, yaml, hash, cel, kube.core), and texts by name.
---@param options {memory: integer?, modules: table<integer|string, string|{[1]: string, [2]: string}>?}
---  memory: bytes, 64 MiB when absent; a module in Lua is {text, chunk name}
---@return sandbox.Kept
function sandbox.open(options) end

---Runs a chunk; it gets the table of exports and copies of the further arguments.
---@param code string
---@param name string of the chunk, "@" before a file's path
---@param timeout number|string
---@return any ... what the chunk returns; or nil and an error table as of sandbox.run
function kept:run(code, name, timeout, ...) end

---Calls an exported function.
---@param name string
---@param timeout number|string
---@return any ... what it returns; or nil and an error table as of sandbox.run
function kept:call(name, timeout, ...) end

---@return integer bytes that the sandbox's values take
function kept:used() end

---From now on the sandbox's values may take so much.
---@param bytes integer
function kept:limit(bytes) end

---Frees what the sandbox no longer reaches.
function kept:collect() end

---Does the collector's work for so many bytes now, when there is time, so that calls need not do it.
---@param bytes integer what the calls before have taken
function kept:tidy(bytes) end

---Ends it; further calls are misuse. Also when it is collected, or as a `<close>` variable.
function kept:close() end

return sandbox
