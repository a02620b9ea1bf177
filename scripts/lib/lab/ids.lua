-- lab.ids: identifiers that the API gives out: UIDs and the suffixes of generated names.
-- Not for secrets' contents.
--   ids.uid() -> "0b9f…-4…"      ids.name("job-") -> "job-x7k2p"

local hash = require "hash"

local M = {}

local LETTERS = "bcdfghjklmnpqrstvwxz2456789"
local LONGEST_BASE = 58 -- of 63 characters, five are the suffix

---@return string uid a random UUID
function M.uid()
  local hex = hash.random_hex(16)
  local variant = ("89ab"):sub(tonumber(hex:sub(17, 17), 16) % 4 + 1)
  return ("%s-%s-4%s-%s%s-%s"):format(
    hex:sub(1, 8), hex:sub(9, 12), hex:sub(14, 16), variant:sub(1, 1), hex:sub(18, 20), hex:sub(21, 32))
end

---@param count integer
---@return string letters of the alphabet without vowels that Kubernetes uses
function M.letters(count)
  local hex = hash.random_hex(count)
  return (hex:gsub("(%x%x)", function(pair)
    local at = tonumber(pair, 16) % #LETTERS + 1
    return LETTERS:sub(at, at)
  end))
end

---@param base string generateName
---@return string name the base, cut to 58 characters, and five letters
function M.name(base)
  return base:sub(1, LONGEST_BASE) .. M.letters(5)
end

return M
