-- kfhost, kfhost -i, kfhost -c LINE: the REPL over a cluster's state.
-- Not for scripts (kfhost - runs standard input as one); an error does not end it. The words are in scripts/lib/repl.
--   printf 'pods -n team\n1 describe\n' | kfhost -i

local cli = require "cli"
local errors = require "errors"
local session = require "repl.session"
local term = require "term"

local function say_problem(problem)
  io.stdout:flush()
  local text = errors.text(problem)
  io.stderr:write(term.is_terminal "stderr" and term.safe(text) or text, "\n")
end

-- The code that the program ends with when this is the last thing that happened.
local function code_of(ok, problem)
  if ok ~= false then return 0 end
  if errors.is(problem, "Usage") then return 2 end
  return errors.is(problem, "Exit") and problem.exit or 1
end

local function start(self)
  local ok, problem = self:start()
  if not ok then say_problem(problem) end
end

-- Lines from a file or a pipe: plain text, the same every time.
local function run_lines(self, lines)
  local code = 0
  for line in lines do
    local ok, problem = self:line(line)
    if ok ~= nil or problem then code = code_of(ok, problem) end
    if ok == false then say_problem(problem) end
    io.stdout:flush()
    if self.leaving then break end
  end
  local unfinished = self.evaluator:drop()
  if unfinished then
    say_problem(unfinished)
    return 1
  end
  return code
end

local function plain_lines()
  return io.read "l"
end

local function run_all(args)
  if not args.code and term.is_terminal "stdin" and term.is_terminal "stdout" then
    return require("repl.terminal").run()
  end
  local self = session.new { columns = term.is_terminal "stdout" and term.size or nil }
  start(self)
  if not args.code then return run_lines(self, plain_lines) end
  return run_lines(self, (args.code .. "\n"):gmatch "(.-)\n")
end

return cli.main {
  name = "repl",
  summary = "the REPL: words and Lua over a cluster's state (kfhost -i, kfhost -c LINE)",
  arguments = { { "[CODE]", "a line to run instead of standard input" } },
  run = run_all,
} (...)
