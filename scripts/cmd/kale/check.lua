-- kfhost kale check: everything that is wrong in a notebook, each at its place.
local cli = require "cli"

-- Adds the interpreter's syntax errors, where the parser has not found one on the same line already.
local function add_interpreter(plan, nb, python)
  local diagnostics = require "kale.diagnostics"
  local magics = require "kale.magics"
  local cells, lines, known = {}, {}, {}
  for _, cell in ipairs(nb.cells) do
    if cell.kind == "code" then
      cells[#cells + 1] = { cell = cell.number, source = (magics.translate(cell.source)) }
      lines[cell.number] = cell.source
    end
  end
  for _, d in ipairs(plan.diagnostics) do
    if d.code == "syntax" then known[d.cell .. ":" .. d.line] = true end
  end
  local findings, problem = require "kale.pycheck".check(cells, python)
  if not findings then return problem end
  for _, finding in ipairs(findings) do
    if not known[finding.cell .. ":" .. finding.line] then
      local number = 0
      for line in (lines[finding.cell] .. "\n"):gmatch "([^\n]*)\n" do
        number = number + 1
        if number == finding.line then finding.source = line end
      end
      plan.diagnostics[#plan.diagnostics + 1] = diagnostics.new("syntax", finding)
    end
  end
  diagnostics.sort(plan.diagnostics)
  return nil
end

local function print_findings(plan)
  local diagnostics, term = require "kale.diagnostics", require "term"
  local errors, warnings = 0, 0
  for _, d in ipairs(plan.diagnostics) do
    if d.severity == "error" then errors = errors + 1 else warnings = warnings + 1 end
    print(diagnostics.render(plan.path, d, term.style))
  end
  local function count(number, word) return ("%d %s%s"):format(number, word, number == 1 and "" or "s") end
  print(("%s: %s, %s"):format(plan.path, count(errors, "error"), count(warnings, "warning")))
end

return cli.main {
  name = "kale check",
  summary = "Lists everything that is wrong in a notebook.",
  arguments = { { "NOTEBOOK", "an .ipynb file with tagged cells" } },
  options = {
    { "--strict", "exit 1 for warnings, too" },
    { "--python FILE", "the interpreter that is asked for syntax errors (python3)" },
    { "--json", "machine output" },
  },
  run = function(args)
    local nb = require "kale.notebook".read(args.notebook)
    local plan = require "kale.plan".make(nb)
    local problem = add_interpreter(plan, nb, args.python or "python3")
    if problem then io.stderr:write("syntax was checked by the parser alone: ", problem, "\n") end
    if args.json then
      local json = require "json"
      local list = json.array {}
      for i, d in ipairs(plan.diagnostics) do list[i] = d end
      print(json.encode(list, { sort = true }))
    else
      print_findings(plan)
    end
    local failed = require "kale.diagnostics".has_errors(plan.diagnostics)
    return (failed or args.strict and #plan.diagnostics > 0) and 1 or 0
  end,
}(...)
