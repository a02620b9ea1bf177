-- The Mersenne Twister as numpy.random.RandomState seeds and uses it: for the order in which Optuna's grid
-- is walked. Not for anything new: katib.random.
local M = {}

local MASK = 0xffffffff

local function seeded(seed)
  local state = { [0] = seed & MASK }
  for i = 1, 623 do
    local before = state[i - 1]
    state[i] = (1812433253 * (before ~ (before >> 30)) + i) & MASK
  end
  return state
end

local function twist(state)
  for i = 0, 623 do
    local y = (state[i] & 0x80000000) | (state[(i + 1) % 624] & 0x7fffffff)
    state[i] = state[(i + 397) % 624] ~ (y >> 1) ~ ((y & 1) * 0x9908b0df)
  end
end

---@param seed integer 0 to 2^32 - 1
---@return fun(): integer # numbers of 32 bits
function M.new(seed)
  local state, at = seeded(seed), 624
  return function()
    if at == 624 then
      twist(state)
      at = 0
    end
    local y = state[at]
    at = at + 1
    y = y ~ (y >> 11)
    y = y ~ ((y << 7) & 0x9d2c5680)
    y = y ~ ((y << 15) & 0xefc60000)
    return y ~ (y >> 18)
  end
end

-- 0 to most, each as likely: numbers above are thrown away.
local function below(next_number, most)
  local mask = most
  for shift = 0, 4 do mask = mask | (mask >> (1 << shift)) end
  local value
  repeat value = next_number() & mask until value <= most
  return value
end

---Shuffles a list as RandomState.shuffle does.
---@param list any[]
---@param seed integer
---@return any[] list
function M.shuffle(list, seed)
  local next_number = M.new(seed)
  for i = #list - 1, 1, -1 do
    local j = below(next_number, i)
    list[i + 1], list[j + 1] = list[j + 1], list[i + 1]
  end
  return list
end

return M
