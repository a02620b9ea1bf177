-- kfhost help [COMMAND…]: says what the commands do, without running any.
local cli = require "cli"

local OVERVIEW = {
  { "kfhost SCRIPT.lua [ARG…]", "runs a script; - or a pipe on standard input is one too" },
  { "kfhost COMMAND …", "runs a command" },
  { "kfhost -e CODE", "runs a line of Lua" },
  { "kfhost -i", "reads lines of Lua and runs each" },
}

local function print_overview()
  local help = require "cli.help"
  local commands = require("cli.commands").all()
  local entries, names = {}, {}
  for name in pairs(commands) do names[#names + 1] = name end
  table.sort(names)
  for index, name in ipairs(names) do entries[index] = { name, commands[name].summary } end
  local out, width = { "kfhost runs Lua scripts and commands for Kubeflow." }, help.columns()
  help.list(out, "usage:", OVERVIEW, width)
  help.list(out, "commands:", entries, width)
  out[#out + 1] = "\nkfhost help COMMAND says more about one."
  print(table.concat(out, "\n"))
end

-- The command that words such as {"kale", "show"} name.
local function find(names)
  local command = require("cli.commands").find(names[1])
  for index = 2, #names do
    local entry = command.commands and command.commands[names[index]]
    if not entry then
      cli.usage("kfhost %s has no command '%s'", command.name, names[index])
    end
    command = cli.load(entry.module)
  end
  return command
end

return cli.main {
  name = "help",
  summary = "Says what the commands do.",
  arguments = { { "[COMMAND…]", "which one, for instance: kale show" } },
  run = function(args)
    if #args.command == 0 then
      print_overview()
    else
      io.stdout:write(require("cli.help").text(find(args.command)))
    end
  end,
}(...)
