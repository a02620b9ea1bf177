-- kfhost kale compile: a notebook as a KFP v2 pipeline file. Python is not started.
local cli = require "cli"

return cli.main {
  name = "kale compile",
  summary = "Writes a notebook as a KFP v2 pipeline.",
  arguments = { { "NOTEBOOK", "an .ipynb file with tagged cells" } },
  options = {
    { "-o, --output FILE", "where to write; standard output without it, or for -" },
    { "--debug-dump ROOM", "print what a room made: notebook cells steps analysis ir yaml" },
    { "--infer", "let edges follow data, too, where prev tags are missing" },
  },
  run = function(args)
    local room = args.debug_dump
    if room then return require("kale.dump").print(args.notebook, room) end
    -- The program ends soon: of a large notebook, collecting takes a sixth of the time.
    local stat = require "fs".try.stat(args.notebook)
    local large = stat and stat.size > 65536 and not require "host".gc_stress()
    if large then collectgarbage "stop" else collectgarbage("setpause", 150) end  -- a small one stays small
    local ir = require "kale.ir"
    local diagnostics, term = require "kale.diagnostics", require "term"
    local plan = require "kale.plan".read(args.notebook, { infer = args.infer })
    for _, d in ipairs(plan.diagnostics) do
      local function style(text, how) return term.style(text, how, "stderr") end
      io.stderr:write(diagnostics.render(plan.path, d, style), "\n")
    end
    if diagnostics.has_errors(plan.diagnostics) then return 1 end
    local text = ir.encode(ir.build(plan))
    if not args.output or args.output == "-" then
      io.stdout:write(text)
    else
      require("fs").write(args.output, text)
    end
    -- Nothing is open any more, and to free what is there takes as long as to write it.
    if large then os.exit(0, false) end
  end,
}(...)
