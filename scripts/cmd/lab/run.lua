-- kfhost lab run: a script or command with a lab of its own; what `kfhost --lab` does.
local cli = require "cli"

return cli.main {
  name = "lab run",
  summary = "Starts a lab, runs a script or a command with it, and ends it again.",
  arguments = { { "WORD…", "SCRIPT.lua or COMMAND, with their arguments" } },
  options = {
    { "--profile NAME", "how storage behaves", choices = { "plain", "vsphere" } },
    { "--time-scale X", "make waiting shorter: 0.01 makes a minute 0.6 seconds" },
  },
  run = function(args)
    return require("lab.command").run(args.word, { profile = args.profile,
      time_scale = tonumber(args.time_scale or 1) })
  end,
}(...)
