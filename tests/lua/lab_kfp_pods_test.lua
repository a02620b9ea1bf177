-- Pipelines as a program in a pod of the lab finds them: by the cluster's service, with the pod's token, whether the
-- pod has namespaces of its own or is a plain process.
local kubeflow = require "lab.kubeflow"
local test = require "test"
local wait_until = dofile "tests/lua/support/wait.lua"

local NAMESPACE = "team-a"

local SCRIPT = [[
local k = require "kfp".connect()
local made = k.experiments:create { display_name = "from a pod", namespace = k.namespace }
io.stdout:write(("%s %s %s %s\n"):format(k.how, k.namespace, k.endpoint, made.display_name))]]

local function with_lab(options, use)
  options.root, options.multi_user, options.profiles = test.tmpdir(), true, { NAMESPACE }
  local cluster = kubeflow.start(options)
  local ok, problem = pcall(use, cluster.client)
  cluster:close()
  if not ok then error(problem, 0) end
end

local function finds_pipelines(c)
  c:create { apiVersion = "v1", kind = "Pod", metadata = { name = "asks", namespace = NAMESPACE,
    labels = { ["access-ml-pipeline"] = "true" } }, spec = { restartPolicy = "Never",
    serviceAccountName = "default-editor",
    containers = { { name = "main", image = "kfhost", command = { "kfhost", "-e", SCRIPT } } } } }
  local pod = wait_until("the pod has ended", function()
    local now = c:get("pods", "asks", { namespace = NAMESPACE })
    local phase = (now.status or {}).phase
    return (phase == "Succeeded" or phase == "Failed") and now
  end)
  test.equal(c:logs { name = "asks", namespace = NAMESPACE },
    "cluster team-a http://ml-pipeline.kubeflow.svc.cluster.local:8888 from a pod\n")
  test.equal(pod.status.phase, "Succeeded")
end

for sentence, plain in pairs { ["a pod"] = false, ["a pod that is a plain process"] = true } do
  test(sentence .. " finds Pipelines, and is known there by its token", function()
    with_lab({ plain_pods = plain }, finds_pipelines)
  end)
end
