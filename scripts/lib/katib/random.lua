-- Random numbers that are the same on every machine: a stream for each seed and each place.
-- Not for secrets: hash.random_hex.
--   local random = Random.new(7, 12)      random:uniform()  random:normal()  random:integer(6)
local M = {}

local Random = {}
Random.__index = Random

local GOLDEN = 0x9e3779b97f4a7c15

local function mix(z)
  z = (z ~ (z >> 30)) * 0xbf58476d1ce4e5b9
  z = (z ~ (z >> 27)) * 0x94d049bb133111eb
  return z ~ (z >> 31)
end

---A stream: the one numbered `place` of a seed.
---@param seed integer
---@param place integer?
---@return table random
function M.new(seed, place)
  return setmetatable({ state = mix(seed * GOLDEN + 1) ~ mix((place or 0) + GOLDEN) }, Random)
end

---@return integer # 64 bits
function Random:bits()
  self.state = self.state + GOLDEN
  return mix(self.state)
end

---@return number # from 0 up to 1, 1 left out
function Random:uniform()
  return (self:bits() >> 11) * 0x1p-53
end

---@param n integer
---@return integer # 1 to n
function Random:integer(n)
  return math.min(math.floor(self:uniform() * n), n - 1) + 1
end

---@return number # of mean 0 and deviation 1
function Random:normal()
  local u, v = 1 - self:uniform(), self:uniform()
  return math.sqrt(-2 * math.log(u)) * math.cos(2 * math.pi * v)
end

---@param list any[]
---@return any[] # the same list, in another order
function Random:shuffle(list)
  for i = #list, 2, -1 do
    local j = self:integer(i)
    list[i], list[j] = list[j], list[i]
  end
  return list
end

return M
