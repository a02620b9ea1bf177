-- lab.command: what the commands `lab up`, `lab down` and `kfhost --lab` do.
-- Not for the lab itself.
--   command.up{ port = 0 }

local fs = require "fs"
local host = require "host"
local json = require "json"
local serve = require "lab.serve"

local M = {}

local function report(running, options, path)
  local facts = { server = running.url, kubeconfig = path, pid = host.pid(), kfp = json.null }
  if options.json then
    io.stdout:write(json.encode(facts, { sort = true }), "\n")
  else
    io.stdout:write(("The lab serves %s\n\n  export KUBECONFIG=%s\n\n"):format(running.url, path),
      "It is a lab for learning and tests, not Kubernetes. Whoever has that file may run processes as you.\n")
  end
  io.stdout:flush()
end

---@param options table
---@return integer exit code
function M.up(options)
  local running = serve.start {
    port = options.port, profile = options.profile, nodes = options.nodes, time_scale = options.time_scale,
    state = options.state, on_error = function(_, text, traceback)
      io.stderr:write("lab: ", text, "\n", traceback or "", "\n")
    end,
  }
  local path = options.kubeconfig
  if not path then path = fs.join(fs.tmpdir "kfhost-lab", "kubeconfig") end
  running:write_kubeconfig(fs.join(fs.cwd(), path))
  report(running, options, path)
  running.server:wait()
  return 0
end

return M
