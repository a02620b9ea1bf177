-- kfhost, kfhost -i, kfhost -c LINE: the REPL over a cluster's state.
-- Not for scripts (kfhost - runs standard input as one); an error does not end it. The words are in scripts/lib/repl.
--   printf 'pods -n team\n1 describe\n' | kfhost -i

local cli = require "cli"
local errors = require "errors"
local session = require "repl.session"
local term = require "term"

local function say_problem(problem)
  io.stdout:flush()
  require("repl.show").write("stderr", errors.text(problem) .. "\n")
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
    if ok ~= nil or problem then code = session.code_of(ok, problem) end
    if ok == false then say_problem(problem) end
    io.stdout:flush()
    if self.leaving then break end
  end
  self:close(true)
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

-- A terminal that can do nothing but lines: the prompt, and questions, are lines, too.
local function dumb_lines(self)
  return function()
    pcall(self.client, self) -- asks nobody yet
    local client = self.connected
    io.stdout:write(client and ("%s:%s> "):format(client.context or client.server, client.namespace) or "> ")
    io.stdout:flush()
    local line = io.read "l"
    if not line then io.stdout:write "\n" end
    return line
  end
end

local function dumb_answer(question)
  io.stdout:write(question)
  io.stdout:flush()
  return (io.read "l" or ""):lower():find "^%s*y" ~= nil
end

local function run_all(args)
  local on_terminal = not args.code and term.is_terminal "stdin" and term.is_terminal "stdout"
  local is_dumb = (os.getenv "TERM" or "dumb") == "dumb"
  if on_terminal and not is_dumb then return require("repl.terminal").run() end
  local self = session.new {
    columns = term.is_terminal "stdout" and term.size or nil, ask = on_terminal and dumb_answer or nil,
  }
  start(self)
  if on_terminal then return run_lines(self, dumb_lines(self)) end
  if not args.code then return run_lines(self, plain_lines) end
  return run_lines(self, (args.code .. "\n"):gmatch "(.-)\n")
end

return cli.main {
  name = "repl",
  summary = "the REPL: words and Lua over a cluster's state (kfhost -i, kfhost -c LINE)",
  arguments = { { "[CODE]", "a line to run instead of standard input" } },
  run = run_all,
} (...)
