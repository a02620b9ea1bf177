-- Child processes: their own group, stopped with the task that waits for them.
-- Not for shell lines: there is no shell unless the command is one.
--   local result = proc.run{ "git", "status", timeout = "10s" }; print(result.code, result.stdout)
local core = require "proc.core"
local errors = require "errors"
local task = require "task"

local M = { spawn = core.spawn, which = core.which }

-- What the process printed, to the end of the stream (which a child of its own may keep open).
local function read_all(process, stream, deadline)
  local pieces = {}
  repeat
    local piece = process:read(stream, deadline and math.max(deadline - task.now(), 0))
    pieces[#pieces + 1] = piece
  until not piece
  return table.concat(pieces)
end

local function finish(process, deadline)
  local result = process:wait(deadline and math.max(deadline - task.now(), 0))
  result.stdout = read_all(process, "stdout", deadline)
  result.stderr = read_all(process, "stderr", deadline)
  return result
end

---Runs a command to its end and collects what it prints.
---@param options table the words of the command (or shell), and the options of proc.spawn; timeout: duration
---@return {code: integer?, signal: integer?, stdout: string, stderr: string, seconds: number}
---  raises the errno's name when it cannot be started, "Timeout" (it is stopped then)
function M.run(options)
  local copy = {}
  for key, value in pairs(options) do copy[key] = value end
  copy.stdout = copy.stdout or "pipe"
  copy.stderr = copy.stderr or "pipe"
  local deadline = options.timeout and task.now() + task.seconds(options.timeout)
  local process <close> = core.spawn(copy)
  local ok, result = pcall(finish, process, deadline)
  if ok then return result end
  if not errors.is(result, "Timeout") then error(result, 0) end
  process:stop()
  process:wait()
  errors.raise {
    code = "Timeout",
    message = ("%s did not end within %s"):format(options[1] or options.shell,
      type(options.timeout) == "number" and options.timeout .. " s" or options.timeout),
  }
end

return M
