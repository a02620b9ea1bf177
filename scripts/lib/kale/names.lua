-- Names as clusters take them: a-z, 0-9 and single dashes, not too long.
-- Not for names of Python.
--   names.legal("My Step_1", "step", 54) -> "my-step-1"
local hash = require "hash"

local M = {}

---@param name string
---@param otherwise string when nothing legal is left of it
---@param longest integer bytes; what is longer is cut and gets a hash
---@return string
function M.legal(name, otherwise, longest)
  local legal = name:lower():gsub("[^a-z0-9]+", "-"):gsub("^%-+", ""):gsub("%-+$", "")
  if legal == "" then legal = otherwise end
  if #legal <= longest then return legal end
  return legal:sub(1, longest - 9):gsub("%-+$", "") .. "-" .. hash.sha256(name):sub(1, 8)
end

---A function that gives each name its legal one, no two the same.
---@param otherwise string
---@param longest integer
---@return fun(name: string): string
function M.unique(otherwise, longest)
  local used = {}
  return function(name)
    local base = M.legal(name, otherwise, longest - 5)
    local unique, number = base, 1
    while used[unique] do
      number = number + 1
      unique = base .. "-" .. number
    end
    used[unique] = true
    return unique
  end
end

---The key of a value or parameter in an IR: its name, as far as that is legal.
---@param name string of Python
---@param kind string
---@param reserved table<string, boolean>?
---@return string
function M.key(name, kind, reserved)
  if name:find "^[%a_][%w_]*$" and #name <= 100 and not (reserved and reserved[name]) then return name end
  return kind .. "_" .. hash.sha256(name):sub(1, 8)
end

return M
