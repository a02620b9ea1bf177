-- lab.images: what the name of an image means on this machine: a command environment.
-- Not for pulling images: there is no registry. A site adds lines to its own copy of this file:
--   kfhost scripts eject lib/lab/images.lua
--
-- A line is a pattern with * (for any text), and what it means: `program` is what runs when a container
-- gives no command, `entrypoint` what stands before its arguments. All see the programs of this machine.
-- `builtin` names a module of the lab that does the container's work without a process.

local STAY = { "sh", "-c", "exec tail -f /dev/null" } -- a notebook's pod is there, and does nothing

return {
  { "*/notebook-servers/*", program = STAY }, { "jupyter/*", program = STAY }, { "*/jupyter*", program = STAY },
  { "*/katib/file-metrics-collector:*", builtin = "lab.katib.collector" },
  { "*/katib/suggestion-*", builtin = "lab.katib.idle" }, { "*/katib/earlystopping-*", builtin = "lab.katib.idle" },
  { "istio/proxyv2:*", entrypoint = { "pilot-agent" } }, { "*/istio/proxyv2:*", entrypoint = { "pilot-agent" } },
  { "python:*", program = { "python3" } },
  { "*/python:*", program = { "python3" } },
  { "kfhost", entrypoint = { "kfhost" } },
  { "kfhost:*", entrypoint = { "kfhost" } },
  { "*/kfhost:*", entrypoint = { "kfhost" } },
  { "busybox", program = { "sh" } }, { "busybox:*", program = { "sh" } },
  { "alpine", program = { "sh" } }, { "alpine:*", program = { "sh" } },
  { "bash", program = { "bash" } }, { "bash:*", program = { "bash" } },
  { "debian", program = { "bash" } }, { "debian:*", program = { "bash" } },
  { "ubuntu", program = { "bash" } }, { "ubuntu:*", program = { "bash" } },
}
