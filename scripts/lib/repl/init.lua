-- repl: the words of the REPL for scripts, and sessions for programs that want a REPL of their own.
-- Not for the terminal (cmd.repl). What `:save` writes begins with this.
--   local _ENV = require "repl".words(); print(#pods({ namespace = "*" }))

local M = {}

---The environment of the REPL: its words as functions, over Lua's globals.
---@param options table? as of repl.session
---@return table environment
function M.words(options)
  return require("repl.session").new(options).environment
end

---@param options table?
---@return repl.Session
function M.session(options)
  return require("repl.session").new(options)
end

return M
