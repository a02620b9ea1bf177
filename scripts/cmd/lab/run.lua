-- kfhost lab run: a script or command with a lab of its own; what `kfhost --lab` does.
local cli = require "cli"

-- What runs: -i, -c LINE and -e CODE are those of kfhost itself; without any word it is the REPL.
local function words_of(args)
  local words = args.word or {}
  for option, value in pairs { ["-c"] = args.c or false, ["-e"] = args.e or false } do
    if value then return { option, value, table.unpack(words) } end
  end
  if args.i or #words == 0 then return { "-i", table.unpack(words) } end
  return words
end

return cli.main {
  name = "lab run",
  summary = "Starts a lab, runs a script or a command with it, and ends it again.",
  arguments = { { "[WORD…]", "SCRIPT.lua or COMMAND, with their options and arguments", verbatim = true } },
  options = {
    { "--profile NAME", "how storage behaves", choices = { "plain", "vsphere" } },
    { "--kubeflow", "with Pipelines and Katib; kale submit and kale tune imply it" },
    { "--kfp MODE", "of Pipelines: who asks matters (multi), or not (single, as without this)",
      choices = { "single", "multi" } },
    { "-i", "the REPL, which comes without a word too" },
    { "-c LINE", "one line of the REPL" },
    { "-e CODE", "Lua code" },
    { "--time-scale X", "make waiting shorter: 0.01 makes a minute 0.6 seconds" },
  },
  run = function(args)
    return require("lab.command").run(words_of(args), {
      profile = args.profile, kubeflow = args.kubeflow, kfp = args.kfp, time_scale = tonumber(args.time_scale or 1),
    })
  end,
}(...)
