-- kfhost kale convert: a notebook as .ipynb or as Python in percent format.
local cli = require "cli"

return cli.main {
  name = "kale convert",
  summary = "Turns a notebook into another form: .ipynb and .py (cells marked # %%), both ways, without loss.",
  arguments = { { "FROM", "a .ipynb or .py file" }, { "TO", "a .ipynb or .py file" } },
  options = {
    { "--drop-outputs", "leave outputs and identifiers out of a .py file, where a comment at its end holds them" },
    { "-f, --force", "write over a file that is there" },
  },
  run = function(args)
    local fs = require "fs"
    if fs.exists(args.to) and not args.force then cli.usage("%s is there already; --force writes over it", args.to) end
    fs.write(args.to, require "kale.convert".text(args.from, args.to, { outputs = not args.drop_outputs }))
  end,
}(...)
