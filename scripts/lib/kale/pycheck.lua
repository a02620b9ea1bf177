-- What the interpreter itself says of the cells: its own syntax errors, by compile() in one process.
-- Not for running anything.
--   local findings, missing = pycheck.check(plan_cells, "python3")
local json = require "json"
local proc = require "proc"

local M = {}

local PROGRAM = [[
import ast, json, sys
found = []
for cell in json.load(sys.stdin):
    try:
        compile(cell["source"], "cell", "exec", getattr(ast, "PyCF_ALLOW_TOP_LEVEL_AWAIT", 0), dont_inherit=True)
    except (SyntaxError, ValueError) as e:
        found.append({"cell": cell["cell"], "line": getattr(e, "lineno", None) or 1,
                      "column": getattr(e, "offset", None) or 1, "message": getattr(e, "msg", None) or str(e)})
print(json.dumps(found))
]]

---@param cells {cell: integer, source: string}[] Python of the cells
---@param python string the interpreter
---@return {cell: integer, line: integer, column: integer, message: string}[]? findings nil without an interpreter
---@return string? problem why there is none
function M.check(cells, python)
  local ok, result = pcall(proc.run, {
    python, "-c", PROGRAM, stdin = json.encode(json.array(cells)), timeout = "60s",
  })
  if not ok then return nil, require("errors").text(result) end
  if result.code ~= 0 then
    return nil, ("%s ended with %s: %s"):format(python, result.code or result.signal, result.stderr)
  end
  return json.decode(result.stdout)
end

return M
