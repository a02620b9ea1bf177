-- kfhost -i: reads Lua statement by statement from standard input and prints what expressions give.
-- Not for scripts (kfhost - runs standard input as one); an error does not end it.
--   printf '1 + 1\nprint "x"\n' | kfhost -i

local cli = require "cli"
local errors = require "errors"
local term = require "term"

local prompting = term.is_terminal "stdin" and term.is_terminal "stdout"

---@param prompt string shown on a terminal only
---@return string? line nil at the end
local function read_line(prompt)
  if prompting then io.write(prompt) end
  io.stdout:flush()
  return io.read "l"
end

local function is_incomplete(problem)
  return problem:sub(-5) == "<eof>"
end

-- Completes the statement that begins with the line: an expression as it is, else lines until it
-- compiles. The chunk, or nil and the problem.
local function read_statement(line)
  local chunk = load("return " .. line, "=stdin")
  if chunk then return chunk end
  local problem
  while line do
    chunk, problem = load(line, "=stdin")
    if chunk or not is_incomplete(problem) then return chunk, problem end
    local more = read_line ">> "
    line = more and line .. "\n" .. more
  end
  return nil, problem
end

local function with_traceback(err)
  if errors.is(err) then return errors.text(err) end
  local text = debug.traceback(errors.text(err), 2)
  return (text:gsub("\n[^\n]*%[C%]: in function 'xpcall'.*$", ""))
end

-- Whether the statement ran; its results are printed.
local function run(line)
  local chunk, problem = read_statement(line)
  if not chunk then
    io.stderr:write(problem, "\n")
    return false
  end
  local results = table.pack(xpcall(chunk, with_traceback))
  if not results[1] then
    io.stderr:write(results[2], "\n")
  elseif results.n > 1 then
    print(table.unpack(results, 2, results.n))
  end
  return results[1]
end

local function run_all()
  if prompting then print(("kfhost %s, Lua 5.4; end with Ctrl-D"):format(require("host").version)) end
  local ok = true
  for line in function() return read_line "> " end do ok = run(line) end
  if prompting then print() end
  return ok and 0 or 1
end

return cli.main {
  name = "repl",
  summary = "runs Lua statement by statement from standard input (kfhost -i)",
  run = run_all,
} (...)
