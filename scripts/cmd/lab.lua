-- kfhost lab: a small Kubernetes cluster on this machine.
local cli = require "cli"

return cli.main {
  name = "lab",
  summary = "A small Kubernetes cluster on this machine, for learning and tests.",
  commands = {
    up = { "starts a lab and serves it until it is stopped", module = "cmd.lab.up" },
  },
}(...)
