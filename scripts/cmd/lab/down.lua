-- kfhost lab down: stops a lab that runs in the background.
local cli = require "cli"

return cli.main {
  name = "lab down",
  summary = "Stops a lab that was started with lab up --detach.",
  options = { { "--kubeconfig FILE", "that of the lab; without it $KUBECONFIG" } },
  run = function(args) return require("lab.command").down(args.kubeconfig or os.getenv "KUBECONFIG") end,
}(...)
