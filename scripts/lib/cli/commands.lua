-- cli.commands: the commands that there are, as their tables.
-- Not for running one: host/main.c does that.
--   for name, command in pairs(require "cli.commands".all()) do … end

local cli = require "cli"
local declare = require "cli.declare"
local words = require "cli.words"

local M = {}

---The names of all commands on the search path.
---@return string[] names sorted
function M.names()
  local names, seen = {}, {}
  for _, path in ipairs(require("host").scripts()) do
    local name = path:match "^cmd/([^/]+)%.lua$"
    if name and not seen[name] then
      seen[name] = true
      names[#names + 1] = name
    end
  end
  table.sort(names)
  return names
end

-- A user's own command may be any script: without a table it has a name only.
local function load(name)
  local ok, command = pcall(cli.load, "cmd." .. name)
  if ok then return command end
  return declare.command { name = name, summary = "(a script that does not describe itself)", run = print }
end

---@return table<string, cli.command> commands by name
function M.all()
  local commands = {}
  for _, name in ipairs(M.names()) do commands[name] = load(name) end
  return commands
end

---@param name string
---@return cli.command command; raises {code="Usage"} when there is none of that name
function M.find(name)
  local names = M.names()
  for _, known in ipairs(names) do
    if known == name then return load(name) end
  end
  error(words.unknown("command", name, names), 0)
end

return M
