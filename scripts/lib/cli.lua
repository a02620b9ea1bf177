-- cli: what a command is, as tables; from them come parsing, help and shell completion.
-- Not for the dispatch of `kfhost WORD` (host/main.c finds scripts/cmd/WORD.lua).
--   return cli.main{ name = "hello", summary = "greets", arguments = {{ "NAME", "whom" }},
--                    run = function(args) print("hello " .. args.name) end }(...)
--
-- A command of commands names the file of each; that file returns cli.main{…} without calling it:
--   return cli.main{ name = "kale", summary = "…",
--                    commands = { show = { "draws the steps", module = "cmd.kale.show" } } }(...)
-- The option key of "-n, --dry-run" is args.dry_run, the key of the argument "[FILE…]" args.file.

local errors = require "errors"
local declare = require "cli.declare"
local words = require "cli.words"

local M = {}

local describing = false -- while true, calling a command gives the command instead of running it

---@class cli.command what cli.main returns; calling it with the words runs it
local command_methods = {}
command_methods.__index = command_methods

-- What errors.text says, and with --debug the traceback too.
local function tell(command, problem, debug_wanted)
  io.stdout:flush()
  io.stderr:write("kfhost ", command.name, ": ", errors.text(problem), "\n")
  if debug_wanted and type(problem) == "table" and problem.traceback then
    io.stderr:write(tostring(problem.traceback), "\n")
  end
end

local function usage_failed(command, problem)
  tell(command, problem.message)
  io.stderr:write("Try: kfhost ", command.name, " --help\n")
  return 2
end

-- Runs while the stack of the failure is still there; error tables keep their identity.
local function add_traceback(problem)
  if not errors.is(problem) then return debug.traceback(errors.text(problem), 2) end
  if not problem.traceback then problem.traceback = debug.traceback(nil, 2) end
  return problem
end

local function run(command, args)
  local ok, result = xpcall(command.run, add_traceback, args)
  if ok then return math.type(result) == "integer" and result or 0 end
  if errors.is(result, "Cancelled") then error(result, 0) end -- the host knows the exit code
  if errors.is(result, "Usage") then return usage_failed(command, result) end
  tell(command, result, args.debug)
  return 1
end

-- Takes the first word for the name of a subcommand and hands it the others.
local function run_subcommand(command, given)
  local first = given[1]
  if first == "--help" or first == "-h" then
    io.stdout:write(require("cli.help").text(command))
    return 0
  end
  if not first then
    io.stderr:write(require("cli.help").text(command))
    return 2
  end
  local entry = command.commands[first]
  if not entry then
    local problem = words.unknown("command", first, declare.names(command))
    return usage_failed(command, problem)
  end
  return M.load(entry.module)(table.unpack(given, 2, given.n))
end

-- Programs that asked for machine output get some, whatever else is wrong with the words.
local function wants_json(given)
  for i = 1, given.n do
    if given[i] == "--json" then return true end
    if given[i] == "--" then return false end
  end
  return false
end

local function call(command, ...)
  if describing then return command end
  local given = table.pack(...)
  if command.commands then return run_subcommand(command, given) end
  local ok, args = pcall(words.parse, command, given)
  if not ok then
    if not errors.is(args, "Usage") then error(args, 0) end
    if command.on_misuse and wants_json(given) then command.on_misuse(args) end
    return usage_failed(command, args)
  end
  if args.help then
    io.stdout:write(require("cli.help").text(command))
    return 0
  end
  if args.plain then require("term").plain(true) end
  return run(command, args)
end

command_methods.__call = call

---Declares a command; call the result with the words to run it.
---@param spec table name, summary, description, arguments, options, commands, examples, run; on_misuse(problem): prints
---  machine output when the words are not understood and --json is among them
---@return cli.command command callable: command(word, …) -> exit code; a wrong spec raises
function M.main(spec)
  return setmetatable(declare.command(spec), command_methods)
end

---The command that a script file declares, without running it.
---@param module string such as "cmd.kale" or "cmd.kale.show"
---@return cli.command command
---raises {code="NotFound"} when there is no such file, "NotACommand" when it declares none
function M.load(module)
  local known = package.loaded[module]
  if getmetatable(known) == command_methods then return known end
  local before = describing
  describing = true
  local ok, command = pcall(require, module)
  describing = before
  package.loaded[module] = nil
  if not ok then error(command, 0) end
  if getmetatable(command) ~= command_methods then
    errors.raise { code = "NotACommand", message = module .. " declares no command with cli.main" }
  end
  return command
end

---Raises the error that ends a command with exit code 2.
---@param format string as of string.format
function M.usage(format, ...)
  errors.raise { code = "Usage", message = format:format(...) }
end

return M
