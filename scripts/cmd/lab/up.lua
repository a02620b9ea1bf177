-- kfhost lab up: starts a lab and serves it on loopback.
local cli = require "cli"

local function integer(text, option)
  if text == nil then return nil end
  local value = math.tointeger(tonumber(text))
  if not value or value < 0 then cli.usage("%s wants a number, not %s", option, text) end
  return value
end

return cli.main {
  name = "lab up",
  summary = "Starts a lab: a Kubernetes API on 127.0.0.1 whose pods run as processes of this machine.",
  options = {
    { "--profile NAME", "how storage behaves", choices = { "plain", "vsphere" } },
    { "--port N", "listen there instead of on a free port" },
    { "--kubeconfig FILE", "where to write how to reach it; a file that is there is not replaced" },
    { "--state DIR", "keep its objects there; without it they end with the lab" },
    { "--audit FILE", "append an event of audit.k8s.io/v1 for each request" },
    { "--nodes N", "simulated nodes, 3 without it; with 0 nothing is scheduled and no pod runs" },
    { "--time-scale X", "make waiting shorter: 0.01 makes a minute 0.6 seconds" },
    { "--plain-pods", "do not make namespaces for pods" },
    { "--kubeflow", "with Pipelines (ml-pipeline.kubeflow.svc) and Katib" },
    { "--mesh", "with Istio's sidecars, identities and policies between pods" },
    { "--kfp MODE", "of Pipelines: who asks matters (multi), or not", choices = { "single", "multi" } },
    { "--kfp-engine NAME", "local runs pipelines here, none waits for reports", choices = { "local", "none" } },
    { "--detach", "return when it is ready; lab down stops it" },
    { "--json", "say where it is as JSON" },
  },
  run = function(args)
    return require("lab.command").up {
      profile = args.profile or "plain", port = integer(args.port, "--port"), kubeconfig = args.kubeconfig,
      state = args.state, nodes = integer(args.nodes, "--nodes"), time_scale = tonumber(args.time_scale or 1),
      detach = args.detach, json = args.json, plain_pods = args.plain_pods,
      audit = args.audit, kubeflow = args.kubeflow, mesh = args.mesh, kfp = args.kfp, kfp_engine = args.kfp_engine,
    }
  end,
}(...)
