-- kube.backoff: how long to wait before the next try: longer each time, with jitter, up to a most.
-- Not for deciding whether to try.
--   local b = backoff.new { first = 0.8, most = 30 }; task.sleep(b:next())

local M = {}

local backoff = {}
backoff.__index = backoff

---The next pause.
---@return number seconds
function backoff:next()
  local pause = math.min(self.most, self.first * 2 ^ self.steps * (1 + self.jitter * math.random()))
  if self.first * 2 ^ self.steps < self.most then self.steps = self.steps + 1 end
  return pause
end

---Begins anew.
function backoff:reset()
  self.steps = 0
end

---@param options {first: number, most: number, jitter: number?}
function M.new(options)
  local jitter = options.jitter or 0.5
  return setmetatable({ first = options.first, most = options.most, jitter = jitter, steps = 0 }, backoff)
end

return M
