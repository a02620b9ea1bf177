-- lab.images: what the name of an image means on this machine: a command environment.
-- Not for pulling images: there is no registry. A site adds lines to its own copy of this file:
--   kfhost scripts eject lib/lab/images.lua
--
-- A line is a pattern with * (for any text), and what it means: `program` is what runs when a container
-- gives no command, `entrypoint` what stands before its arguments. All see the programs of this machine.
-- `programs` are those that come with the image, by their paths: modules of the lab that have a `main`. It starts in
-- `directory`, and looks for programs in `path` first.
-- `builtin` names a module of the lab that does the container's work without a process.

local STAY = { "sh", "-c", "exec tail -f /dev/null" } -- a notebook's pod is there, and does nothing

local COLLECTOR = "lab.katib.collector"
local AGENT = { ["/kfhost/pilot-agent"] = "lab.mesh.agent" }

return {
  { "*/notebook-servers/*", program = STAY }, { "jupyter/*", program = STAY }, { "*/jupyter*", program = STAY },
  { "*/katib/file-metrics-collector:*", entrypoint = { "./file-metricscollector" }, directory = "/app",
    programs = { ["/app/file-metricscollector"] = COLLECTOR } },
  { "*/katib/tfevent-metrics-collector:*", entrypoint = { "python", "main.py" }, directory = "/app", path = "/app",
    programs = { ["/app/python"] = COLLECTOR } },
  { "*/katib/suggestion-*", builtin = "lab.katib.idle" }, { "*/katib/earlystopping-*", builtin = "lab.katib.idle" },
  { "istio/proxyv2:*", entrypoint = { "pilot-agent" }, programs = AGENT },
  { "*/istio/proxyv2:*", entrypoint = { "pilot-agent" }, programs = AGENT },
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
