-- kfhost kale check: everything that is wrong in a notebook, each at its place.
local cli = require "cli"

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

local function as_list(list) return list end

-- What there is to say of a file that cannot be read on.
local function as_lsp(path)
  return function(list) return require "kale.lsp".publish({ path = path, diagnostics = list }, { cells = {} }) end
end

-- The notebook; when it is none, its findings are all that is said.
local function read(args)
  local errors, machine = require "errors", require "kale.machine"
  local shape = args.lsp and as_lsp(args.notebook) or as_list
  local ok, nb = pcall(machine.guard, args.json or args.lsp, shape, function()
    return require "kale.notebook".read(args.notebook, { tolerant = true })
  end)
  if ok then return nb end
  local is_told = not (args.json or args.lsp) and errors.is(nb, "Notebook") and nb.problems
  if not is_told then error(nb, 0) end
  print_findings { path = args.notebook, diagnostics = machine.findings(nb) }
end

return cli.main {
  name = "kale check",
  summary = "Lists everything that is wrong in a notebook.",
  arguments = { { "NOTEBOOK", "an .ipynb file with tagged cells" } },
  options = {
    { "--strict", "exit 1 for warnings, too" },
    { "--python FILE", "the interpreter that is asked for syntax errors (python3)" },
    { "--json", "machine output" },
    { "--lsp", "machine output as the Language Server Protocol has it" },
    { "--infer", "let edges follow data, too, where prev tags are missing" },
  },
  on_misuse = function(problem) require "kale.machine".misuse(as_list)(problem) end,
  run = function(args)
    local nb = read(args)
    if not nb then return 1 end
    local plan = require "kale.plan".make(nb, { infer = args.infer })
    local problem = require "kale.pycheck".extend(plan, nb, args.python)
    if problem then io.stderr:write("syntax was checked by the parser alone: ", problem, "\n") end
    if args.lsp then
      print(require "json".encode(require "kale.lsp".publish(plan, nb), { sort = true }))
    elseif args.json then
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
