-- kfhost kale show: the pipeline that a notebook makes.
local cli = require "cli"

-- The shape that outside programs rely on; lists are sorted but for steps and cells.
local function as_json(plan)
  local json = require "json"
  local function list(values) return json.array(table.move(values, 1, #values, 1, {})) end
  local shown = {
    name = plan.name, params = json.array {}, steps = json.array {}, metrics = list(plan.metrics),
    diagnostics = json.array {},
  }
  for i, p in ipairs(plan.params) do shown.params[i] = { name = p.name, type = p.type, default = p.default } end
  for i, s in ipairs(plan.steps) do
    shown.steps[i] = {
      name = s.name, after = list(s.after), ins = list(s.ins), outs = list(s.outs), params = list(s.params),
      metrics = list(s.metrics), cells = list(s.cells),
    }
  end
  for i, d in ipairs(plan.diagnostics) do
    shown.diagnostics[i] = {
      severity = d.severity, code = d.code, message = d.message, cell = d.cell, line = d.line, column = d.column,
    }
  end
  return json.encode(shown, { sort = true })
end

local function as_svg(plan)
  local nodes, edges = {}, require "kale.picture".edges(plan)
  for i, s in ipairs(plan.steps) do
    local params = #s.params > 0 and table.concat(s.params, ", ") or nil
    nodes[i] = { name = s.name, after = edges[i], note = params }
  end
  return require "graph.svg".draw(nodes)
end

local function print_deps(plan)
  local term = require "term"
  local rows = {}
  for i, c in ipairs(plan.crossings) do rows[i] = { c.name, c.from, c.to, c.how, c.why } end
  io.stdout:write(term.table(rows, { header = { "NAME", "FROM", "TO", "CROSSES BY", "WHY" } }))
end

-- One step: its name with a guide to the steps before it, and what it takes and gives below.
local function print_step(step, depth, style)
  local indent = ("  "):rep(depth)
  local arrow = #step.after > 0 and "└ " or "● "
  local after = #step.after > 0 and style("  after " .. table.concat(step.after, ", "), "dim") or ""
  print(indent .. style(arrow, "cyan") .. style(step.name, "bold") .. after)
  local function line(label, values, colour)
    if #values == 0 then return end
    local names = style(table.concat(values, ", "), colour)
    print(("%s    %s %s"):format(indent, style(("%-7s"):format(label), "dim"), names))
  end
  line("in", step.ins, "green")
  line("params", step.params, "yellow")
  line("out", step.outs, "green")
  line("metrics", step.metrics, "magenta")
end

local function print_tree(plan)
  local style = require "term".style
  local depth = {}
  print(style(plan.name, "bold underline"))
  for _, p in ipairs(plan.params) do
    print(("  %s %s = %s"):format(style(p.type, "dim"), p.name, tostring(p.default)))
  end
  for _, step in ipairs(plan.steps) do
    local deepest = 0
    for _, name in ipairs(step.after) do deepest = math.max(deepest, depth[name] + 1) end
    depth[step.name] = deepest
    print_step(step, deepest, style)
  end
end

-- What there is to show of something that is no notebook.
local function no_plan(list)
  local json = require "json"
  return { name = json.null, params = json.array {}, steps = json.array {}, metrics = json.array {},
    diagnostics = list }
end

return cli.main {
  name = "kale show",
  summary = "Shows the pipeline that a notebook makes.",
  arguments = { { "NOTEBOOK", "an .ipynb file with tagged cells" } },
  options = {
    { "--json", "machine output" },
    { "--svg FILE", "draw the graph into a file; - is standard output" },
    { "--deps", "say which name comes from where, and how it crosses" },
    { "--debug-dump ROOM", "print what a room made: notebook cells steps analysis ir yaml" },
    { "--infer", "let edges follow data, too, where prev tags are missing" },
  },
  on_misuse = function(problem) require "kale.machine".misuse(no_plan)(problem) end,
  run = function(args)
    if args.debug_dump then return require("kale.dump").print(args.notebook, args.debug_dump) end
    local diagnostics, term = require "kale.diagnostics", require "term"
    local plan = require "kale.machine".guard(args.json, no_plan, function()
      return require "kale.plan".read(args.notebook, { infer = args.infer })
    end)
    if args.json then
      print(as_json(plan))
    elseif args.svg == "-" then
      io.stdout:write(as_svg(plan))
    elseif args.svg then
      require("fs").write(args.svg, as_svg(plan))
    elseif args.deps then
      print_deps(plan)
    else
      print_tree(plan)
    end
    if not args.json then
      local function style(text, how) return term.style(text, how, "stderr") end
      for _, d in ipairs(plan.diagnostics) do io.stderr:write(diagnostics.render(plan.path, d, style), "\n") end
    end
    return diagnostics.has_errors(plan.diagnostics) and 1 or 0
  end,
}(...)
