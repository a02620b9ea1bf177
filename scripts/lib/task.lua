-- Tasks: things that go on at the same time, in one thread.
-- Not for using several processors (see proc), and not for callbacks: what waits, waits in place.
--   local t = task.spawn(function() task.sleep(1) return "done" end); print(t:wait())
local core = require "task.core"

local M = {
  spawn = core.spawn,
  last = core.last,
  sleep = core.sleep,
  now = core.now,
  event = core.event,
  current = core.current,
  seconds = core.seconds,
  foreground = core.foreground,
}

---Runs a function with a time limit; at its end the function is cancelled.
---@param seconds number|string time limit, "500ms" for instance
---@param fn fun(...): ...
---@return ... what fn returns; raises what fn raises, or an error with code "Timeout"
function M.timeout(seconds, fn, ...)
  local t = core.spawn(fn, ...)
  local result = table.pack(pcall(t.wait, t, seconds))
  if result[1] then return table.unpack(result, 2, result.n) end
  t:cancel()
  error(result[2], 0)
end

-- Runs all functions as tasks until `over(i, result)` is true for one or all have ended; then
-- cancels what still runs. A result is table.pack(pcall(fn)).
local function run_until(fns, over)
  local finished = core.event()
  local tasks, left = {}, #fns
  for i, fn in ipairs(fns) do
    tasks[i] = core.spawn(function()
      local result = table.pack(pcall(fn))
      left = left - 1
      if over(i, result) or left == 0 then finished:set() end
    end)
  end
  local ok, err = true, nil
  if left > 0 then ok, err = pcall(finished.wait, finished) end
  for _, t in ipairs(tasks) do t:cancel() end
  if not ok then error(err, 0) end
end

---Runs functions at the same time and waits for all. The first error cancels the others.
---@param fns (fun(): any)[]
---@return any[] the first result of each, in their order (with field n); raises the first error
function M.all(fns)
  local results, failure = { n = #fns }, nil
  run_until(fns, function(i, result)
    if result[1] then results[i] = result[2] else failure = failure or result end
    return failure
  end)
  if failure then error(failure[2], 0) end
  return results
end

---Runs functions at the same time; the first that ends wins, and the others are cancelled.
---@param fns (fun(): any)[] at least one
---@return any what the first function to end returned; raises what it raised
function M.race(fns)
  assert(#fns > 0, "race needs at least one function")
  local first
  run_until(fns, function(_, result)
    first = first or result
    return true
  end)
  if not first[1] then error(first[2], 0) end
  return table.unpack(first, 2, first.n)
end

return M
