-- Amounts as Kubernetes writes them: 500m, 2, 4Gi, 1e3.
-- Not for arithmetic: see kube.quantity.
--   quantity.read "4Gi" -> 4294967296.0
local M = {}

local FACTORS = {
  [""] = 1, n = 1e-9, u = 1e-6, m = 1e-3, k = 1e3, K = 1e3, M = 1e6, G = 1e9, T = 1e12, P = 1e15, E = 1e18,
  Ki = 2 ^ 10, Mi = 2 ^ 20, Gi = 2 ^ 30, Ti = 2 ^ 40, Pi = 2 ^ 50, Ei = 2 ^ 60,
}

---@param text string
---@return number? # nil for what is no amount
function M.read(text)
  local digits, suffix = text:match "^([+-]?[%d.]+)(%a*)$"
  local number = digits and tonumber(digits)
  if number and FACTORS[suffix] then return number * FACTORS[suffix] end
  return text:find "^[+-]?[%d.]+[eE][+-]?%d+$" and tonumber(text) or nil
end

return M
