-- What commands print for programs when there is no plan to print: the one finding that says why.
-- Not for findings of a plan: see kale.diagnostics.
--   local ok, plan = pcall(plan.read, path); if not ok then local d = machine.finding(plan) end
local diagnostics = require "kale.diagnostics"
local errors = require "errors"
local json = require "json"

local M = {}

---@param problem any an error
---@return kale.Diagnostic # of the code "notebook", or "usage" for words that are not understood
function M.finding(problem)
  local code = errors.is(problem, "Usage") and "usage" or "notebook"
  local d = diagnostics.new(code, { message = type(problem) == "table" and problem.message or errors.text(problem) })
  if errors.is(problem, "Notebook") then d.cell, d.line, d.column = problem.cell, problem.line, problem.column end
  return d
end

---For cli.main's on_misuse: prints what `shape` makes of the finding.
---@param shape fun(list: kale.Diagnostic[]): table
---@return fun(problem: table)
function M.misuse(shape)
  return function(problem) print(json.encode(shape(json.array { M.finding(problem) }), { sort = true })) end
end

---Runs what reads a notebook; when that fails, prints its finding, and raises as before.
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
