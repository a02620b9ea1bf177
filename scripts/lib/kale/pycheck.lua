-- What the interpreter itself says of the cells: its own syntax errors, by compile() in one process.
-- Not for running anything.
--   local problem = pycheck.extend(plan, nb); if problem then print("not checked: " .. problem) end
local diagnostics = require "kale.diagnostics"
local json = require "json"
local magics = require "kale.magics"
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

-- Findings {cell, line, column, message}; without an interpreter nil and why.
local function compile(cells, python)
  local ok, result = pcall(proc.run, {
    python, "-c", PROGRAM, stdin = json.encode(json.array(cells)), timeout = "60s",
  })
  if not ok then
    if require "errors".is(result, "Cancelled") then error(result, 0) end
    return nil, require "errors".text(result)
  end
  if result.code ~= 0 then
    return nil, ("%s ended with %s: %s"):format(python, result.code or result.signal, result.stderr)
  end
  return json.decode(result.stdout)
end

local function line_of(text, number)
  for line in (text .. "\n"):gmatch "([^\n]*)\n" do
    number = number - 1
    if number == 0 then return line end
  end
end

---Adds the interpreter's syntax errors to a plan's findings, where the parser has none on the same line.
---@param plan table of kale.plan
---@param nb table of kale.notebook
---@param python string? the interpreter; python3 without it
---@return string? problem why the interpreter could not be asked
function M.extend(plan, nb, python)
  local cells, sources, known = {}, {}, {}
  for _, cell in ipairs(nb.cells) do
    if cell.kind == "code" then
      cells[#cells + 1] = { cell = cell.number, source = (magics.translate(cell.source)) }
      sources[cell.number] = cell.source
    end
  end
  for _, d in ipairs(plan.diagnostics) do
    if d.code == "syntax" then known[d.cell .. ":" .. d.line] = true end
  end
  local findings, problem = compile(cells, python or "python3")
  if not findings then return problem end
  for _, finding in ipairs(findings) do
    if not known[finding.cell .. ":" .. finding.line] then
      finding.source = line_of(sources[finding.cell], finding.line)
      plan.diagnostics[#plan.diagnostics + 1] = diagnostics.new("syntax", finding)
    end
  end
  diagnostics.sort(plan.diagnostics)
  return nil
end

return M
