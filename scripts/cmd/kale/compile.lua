-- kfhost kale compile: a notebook as a KFP v2 pipeline file. Python is not started.
local cli = require "cli"

-- What programs get: the findings, and the pipeline unless it is in a file.
local function as_json(list, output, pipeline)
  local json = require "json"
  return { diagnostics = list, output = output or json.null, pipeline = not output and pipeline or json.null }
end

local function tell(plan)
  local diagnostics, term = require "kale.diagnostics", require "term"
  local function style(text, how) return term.style(text, how, "stderr") end
  for _, d in ipairs(plan.diagnostics) do io.stderr:write(diagnostics.render(plan.path, d, style), "\n") end
end

local function put_out(plan, pieces, output, wants_json)
  if pieces and output then require("fs").write(output, pieces) end
  if wants_json then
    local json = require "json"
    local text = pieces and table.concat(pieces)
    return print(json.encode(as_json(json.array(plan.diagnostics), pieces and output, text), { sort = true }))
  end
  tell(plan)
  if not pieces or output then return end
  for _, piece in ipairs(pieces) do io.stdout:write(piece) end
end

return cli.main {
  name = "kale compile",
  summary = "Writes a notebook as a KFP v2 pipeline.",
  arguments = { { "NOTEBOOK", "an .ipynb file with tagged cells" } },
  options = {
    { "-o, --output FILE", "where to write; standard output without it, or for -" },
    { "--json", "one line of machine output: findings, and the pipeline unless -o names a file" },
    { "--debug-dump ROOM", "print what a room made: notebook cells steps analysis ir yaml" },
    { "--infer", "let edges follow data, too, where prev tags are missing" },
  },
  on_misuse = function(problem) require "kale.machine".misuse(as_json)(problem) end,
  run = function(args)
    local room = args.debug_dump
    if room then return require("kale.dump").print(args.notebook, room) end
    -- The program ends soon: of a large notebook, collecting takes a sixth of the time.
    local stat = require "fs".try.stat(args.notebook)
    local large = stat and stat.size > 65536 and stat.size < 32e6 and not require "host".gc_stress()
    if large then collectgarbage "stop" else collectgarbage("setpause", 150) end  -- a small one stays small
    local plan = require "kale.machine".guard(args.json, as_json, function()
      return require "kale.plan".read(args.notebook, { infer = args.infer })
    end)
    local failed = require "kale.diagnostics".has_errors(plan.diagnostics)
    local pieces
    if not failed then
      local ir = require "kale.ir"
      pieces = ir.pieces(ir.build(plan))
    end
    put_out(plan, pieces, args.output ~= "-" and args.output or nil, args.json)
    -- Nothing is open any more, and to free what is there takes as long as to write it.
    if large then os.exit(failed and 1 or 0, false) end
    return failed and 1 or 0
  end,
}(...)
