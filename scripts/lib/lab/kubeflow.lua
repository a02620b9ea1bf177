-- lab.kubeflow: a lab with Pipelines and Katib beside its Kubernetes API: a small Kubeflow in one process.
-- Not for a mesh: its pods share this machine's network, which is how they reach Pipelines.
--   local kubeflow = kubeflow.start { root = "/tmp/lab" }; kubeflow.client; kubeflow.pipelines.url; kubeflow:close()

local katib = require "lab.katib.controller"
local kube = require "kube"
local pipelines = require "lab.kfp.serve"
local serve = require "lab.serve"

local M = {}

---@class lab.Kubeflow
---@field lab lab.Running
---@field pipelines lab.Pipelines
---@field client table of kube.connect, as the lab's administrator
local Kubeflow = {}
Kubeflow.__index = Kubeflow

local function profile(client, name)
  local labels = { ["app.kubernetes.io/part-of"] = "kubeflow-profile",
    ["katib.kubeflow.org/metrics-collector-injection"] = "enabled" }
  client:apply({ apiVersion = "v1", kind = "Namespace", metadata = { name = name, labels = labels } }, { force = true })
  client:apply({ apiVersion = "v1", kind = "ServiceAccount", metadata = { name = "default-editor", namespace = name } },
    { force = true })
end

---@param options {root: string, jobs: integer?, images: table?, profiles: string[]?, log: fun(text: string)?}
---@return lab.Kubeflow
function M.start(options)
  local lab = serve.start { plain = true, plain_pods = true }
  local quiet = function() end
  local client = kube.connect { server = lab.url, token = lab.token, ca = lab.ca, manager = "kfhost", log = quiet }
  local own = pipelines.start { root = options.root, jobs = options.jobs, images = options.images, log = options.log }
  for _, name in ipairs(options.profiles or { "team-a" }) do profile(client, name) end
  local controller = katib.start(kube.connect { server = lab.url, token = lab.token, ca = lab.ca,
    manager = "katib-controller", log = quiet }, { log = options.log })
  return setmetatable({ lab = lab, pipelines = own, client = client, katib = controller }, Kubeflow)
end

function Kubeflow:close()
  self.katib:stop()
  self.pipelines:close()
  self.lab:close()
end

return M
