-- What commands tell when there is no plan to tell: the findings that say why.
-- Not for findings of a plan: see kale.diagnostics.
--   local ok, plan = pcall(plan.read, path); if not ok then local list = machine.findings(plan) end
local diagnostics = require "kale.diagnostics"
local errors = require "errors"
local json = require "json"

local M = {}

---@param problem any an error
---@return kale.Diagnostic[] # of the code "notebook", or "usage" for words that are not understood
function M.findings(problem)
  local list = json.array {}
  if errors.is(problem, "Notebook") and problem.problems then
    for i, one in ipairs(problem.problems) do list[i] = diagnostics.new("notebook", one) end
    return list
  end
  local code = errors.is(problem, "Usage") and "usage" or "notebook"
  list[1] = diagnostics.new(code, { message = type(problem) == "table" and problem.message or errors.text(problem) })
  return list
end

---For cli.main's on_misuse: prints what `shape` makes of the findings.
---@param shape fun(list: kale.Diagnostic[]): table
---@return fun(problem: table)
function M.misuse(shape)
  return function(problem) print(json.encode(shape(M.findings(problem)), { sort = true })) end
end

---Runs what reads a notebook; when that fails, prints its findings, and raises as before.
---@param as_json boolean?
---@param shape fun(list: kale.Diagnostic[]): table
---@param read fun(): any
---@return any # what read returns
function M.guard(as_json, shape, read)
  local ok, result = pcall(read)
  if ok then return result end
  if as_json and not errors.is(result, "Cancelled") then M.misuse(shape)(result) end
  return error(result, 0)
end

return M
