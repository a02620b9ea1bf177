-- Child processes: their own group, stopped with the task that waits for them.
-- Not for shell lines: there is no shell unless the command is one.
--   local result = proc.run{ "git", "status", timeout = "10s" }; print(result.code, result.stdout)
local core = require "proc.core"
local errors = require "errors"
local task = require "task"

local M = { spawn = core.spawn, which = core.which }

-- Reads a stream to its end.
local function read_all(process, stream)
  local pieces = {}
  while true do
    local piece = process:read(stream)
    if not piece then return table.concat(pieces) end
    pieces[#pieces + 1] = piece
  end
end

---Runs a command to its end and collects what it prints.
---@param options table the words of the command, and the options of proc.spawn; timeout: duration
---@return {code: integer?, signal: integer?, stdout: string, stderr: string, seconds: number}
---  raises the errno's name when it cannot be started, "Timeout" (it is stopped then)
function M.run(options)
  local copy = {}
  for key, value in pairs(options) do copy[key] = value end
  copy.stdout = copy.stdout or "pipe"
  copy.stderr = copy.stderr or "pipe"
  copy.timeout = nil
  local process <close> = core.spawn(copy)
  local function collect()
    local output = task.all {
      function() return read_all(process, "stdout") end,
      function() return read_all(process, "stderr") end,
    }
    local result = process:wait()
    result.stdout, result.stderr = output[1], output[2]
    return result
  end
  local ok, result = pcall(options.timeout and task.timeout or function(_, fn) return fn() end,
    options.timeout, collect)
  if ok then return result end
  process:stop()
  if errors.is(result, "Timeout") then
    errors.raise {
      code = "Timeout",
      message = ("%s did not end within %s"):format(options[1], options.timeout),
    }
  end
  error(result, 0)
end

return M
