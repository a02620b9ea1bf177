-- kfhost kale logs: what the steps of a run printed.
local cli = require "cli"

return cli.main {
  name = "kale logs",
  summary = "Prints what a step of a run wrote, or says which steps there are.",
  arguments = {
    { "RUN", "the folder of a run, or a notebook for its last one" },
    { "[STEP]", "its name; without it, the steps are listed" },
  },
  options = {
    { "--runs DIR", "where the runs of notebooks lie; .kfhost/runs beside the notebook without it" },
  },
  run = function(args)
    local fs, term = require "fs", require "term"
    local found = require "kale.history".find({ args.run }, args.runs)
    local run = found[#found]
    if not args.step then
      local rows = {}
      for i, step in ipairs(run.steps) do
        rows[i] = { step.name, step.state, step.seconds and ("%.2f s"):format(step.seconds) or "", step.error or "" }
      end
      io.stdout:write(term.table(rows, { header = { "STEP", "STATE", "TIME", "" }, align = { [3] = "right" } }))
      print(("%s  %s"):format(run.state, run.path))
      return
    end
    for _, step in ipairs(run.steps) do
      if step.name == args.step or step.task == args.step then
        io.stdout:write(fs.try.read(step.log) or "")
        return
      end
    end
    cli.usage("the run has no step '%s'", args.step)
  end,
}(...)
