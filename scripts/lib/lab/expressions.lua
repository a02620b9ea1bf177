-- lab.expressions: rules in CEL, in schemas, webhooks' conditions and admission policies.
-- Not for the language itself: that is the module cel.
--   expressions.fault("object.a +") -> what is wrong, or nil

local errors = require "errors"

local M = {}

local programs = {} -- text -> program, or the fault as a string
local count = 0

local function program_of(text)
  local known = programs[text]
  if known then return known end
  if count > 1000 then programs, count = {}, 0 end
  local ok, made = pcall(require("cel").compile, text, { result = "any" })
  if not ok then
    if not errors.is(made) then error(made, 0) end
    made = made.message or "ERROR: it is no expression"
  end
  programs[text], count = made, count + 1
  return made
end

-- What the compiler of the API server expects where an expression ends too early.
local OPERANDS = "{'[', '{', '(', '.', '-', '!', 'true', 'false', 'null', NUM_FLOAT, NUM_INT, NUM_UINT, STRING, BYTES, "
  .. "IDENTIFIER}"

---@param text string?
---@return string? fault what the compiler says, nil when it compiles
function M.fault(text)
  if type(text) ~= "string" or text == "" then return nil end
  local program = program_of(text)
  if type(program) ~= "string" then return nil end
  if not program:find("the expression ends too early", 1, true) then return program end
  return ("ERROR: <input>:1:%d: Syntax error: mismatched input '<EOF>' expecting %s\n | %s\n | %s^"):format(#text + 1,
    OPERANDS, text, ("."):rep(#text))
end

---@param text string
---@param values table<string, any>
---@return any value nil when it failed
---@return string? problem
function M.eval(text, values)
  local program = program_of(text)
  if type(program) == "string" then return nil, program end
  local ok, value = pcall(program.eval, program, values)
  if ok then return value end
  if errors.is(value) then return nil, value.message end
  error(value, 0)
end

return M
