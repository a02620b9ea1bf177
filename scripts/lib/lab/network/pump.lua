-- lab.network.pump: carries bytes between two sockets until both directions have ended.
-- Not for deciding whether to.
--   pump.both(left, right)

local task = require "task"

local M = {}

---Carries one direction to its end. A broken connection breaks the other.
---@param from net.Socket
---@param to net.Socket
---@param counter {bytes: integer}?
function M.one(from, to, counter)
  while true do
    local ok, bytes = pcall(from.read, from)
    if not ok then
      to:reset()
      return
    elseif not bytes then
      to:finish()
      return
    elseif not pcall(to.write, to, bytes) then
      from:reset()
      return
    end
    if counter then counter.bytes = counter.bytes + #bytes end
  end
end

---@param left net.Socket
---@param right net.Socket
function M.both(left, right)
  local back = task.spawn(M.one, right, left)
  M.one(left, right)
  pcall(back.wait, back)
  left:close()
  right:close()
end

return M
