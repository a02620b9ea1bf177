-- kfhost lab: a small Kubernetes cluster on this machine.
local cli = require "cli"

return cli.main {
  name = "lab",
  summary = "A small Kubernetes cluster on this machine, for learning and tests.",
  commands = {
    up = { "starts a lab and serves it until it is stopped", module = "cmd.lab.up" },
    demo = { "shows seven breakages of a Kubeflow, and their repairs", module = "cmd.lab.demo" },
    down = { "stops a lab that was started with --detach", module = "cmd.lab.down" },
    run = { "runs a script or a command with a lab of its own", module = "cmd.lab.run" },
    fault = { "makes a running lab misbehave", module = "cmd.lab.fault" },
  },
}(...)
