-- The policies of examples/, all together, as a site serves them: what users of the lab get to see.
local test = require "test"
local fs = require "fs"
local replicas = dofile "tests/lua/support/replicas.lua"
local site_of = dofile "tests/lua/support/site.lua"

local eventually = site_of.eventually
local PROFILE = { ["app.kubernetes.io/part-of"] = "kubeflow-profile", ["cost-center"] = "4711", stage = "production" }

local function files()
  local list = {}
  for _, name in ipairs(fs.list "examples/policies") do list[#list + 1] = "examples/policies/" .. name end
  return list
end

local function pod(name, image, limits)
  return { apiVersion = "v1", kind = "Pod", metadata = { name = name, namespace = "team-a" }, spec = {
    terminationGracePeriodSeconds = 0, containers = { { name = "main", image = image or "busybox:1",
      command = { "sleep", "60" }, resources = { limits = limits } } } } }
end

local function refused(text, fn, ...)
  local ok, problem = pcall(fn, ...)
  if ok then error("it was not refused: " .. text, 2) end
  if problem.status ~= 403 or not problem.message:find(text, 1, true) then
    error(("%s is not in %s: %s"):format(text, problem.status, problem.message), 2)
  end
end

local function deployment(replicas_wanted)
  return { apiVersion = "apps/v1", kind = "Deployment", metadata = { name = "web", namespace = "team-a",
    labels = { owner = "ann" } }, spec = { replicas = replicas_wanted,
    selector = { matchLabels = { app = "web" } }, template = { metadata = { labels = { app = "web" } },
      spec = { containers = { { name = "web", image = "busybox:1", command = { "sleep", "60" } } } } } } }
end

test("the policies of the examples are served together, and each does what it says", function()
  site_of.with({ nodes = 1, time_scale = 0.01 }, function(lab, c)
    for _, name in ipairs { "kubeflow", "team-a" } do
      c:create { apiVersion = "v1", kind = "Namespace", metadata = { name = name,
        labels = name == "team-a" and PROFILE or nil } }
    end
    c:create { apiVersion = "v1", kind = "Secret", type = "Opaque", metadata = { name = "site-registry",
      namespace = "kubeflow" }, data = { token = "YQ==" } }
    local site = replicas.new(lab, c, files(), "{}", 1)
    site:register(1)

    refused("name a version of busybox:latest", c.create, c, pod("bad", "busybox:latest"))
    refused("2 GPUs are more", c.create, c, pod("bad", nil, { ["nvidia.com/gpu"] = "2" }))
    local hungry = pod "bad"
    hungry.spec.initContainers = { { name = "first", image = "busybox:1", resources = { limits = {
      ["nvidia.com/gpu"] = "1k" } } } }
    refused("1000 GPUs are more", c.create, c, hungry)
    local made = c:create(pod "good")
    test.same(made.spec.containers[1].resources.requests, { cpu = "100m", memory = "256Mi" })
    test.equal(made.metadata.labels["cost-center"], "4711")

    local without = deployment(1)
    without.metadata.labels = nil
    refused("the label owner is missing", c.create, c, without)
    refused("11 replicas are more than 10", c.create, c, deployment(11))
    c:create(deployment(1))
    refused("12 replicas are more than 10", c.patch, c, "deployments.apps", "web", { spec = { replicas = 12 } },
      { namespace = "team-a", type = "merge", subresource = "scale" })
    c:patch("deployments.apps", "web", { spec = { replicas = 0 } },
      { namespace = "team-a", type = "merge", subresource = "scale" })
    local job = c:create { apiVersion = "batch/v1", kind = "Job", metadata = { name = "j", namespace = "team-a",
      labels = { owner = "ann" } }, spec = { suspend = true, template = { spec = { restartPolicy = "Never",
        containers = { { name = "main", image = "busybox:1" } } } } } }
    test.equal(job.spec.ttlSecondsAfterFinished, 86400)

    c:wait { kind = "pods", name = "good", namespace = "team-a", condition = "Ready", timeout = "60s" }
    refused("no shell in good: this is production", function()
      return c:exec { name = "good", namespace = "team-a", command = { "sh" }, timeout = 20 }
    end)
    c:create { apiVersion = "v1", kind = "PersistentVolumeClaim", metadata = { name = "data", namespace = "team-a",
      labels = { protected = "true" } }, spec = { accessModes = { "ReadWriteOnce" },
      resources = { requests = { storage = "1Gi" } } } }
    local ann = require "kube".connect { server = lab.url, token = lab.token, ca = lab.ca, log = function() end,
      as = "ann", as_groups = { "admins" } }
    c:create { apiVersion = "rbac.authorization.k8s.io/v1", kind = "ClusterRoleBinding", metadata = { name = "admins" },
      roleRef = { apiGroup = "rbac.authorization.k8s.io", kind = "ClusterRole", name = "admin" },
      subjects = { { kind = "Group", apiGroup = "rbac.authorization.k8s.io", name = "admins" } } }
    refused("claim data is protected", ann.delete, ann, "pvc", "data", { namespace = "team-a" })
    ann:close()
    c:delete("pvc", "data", { namespace = "team-a" })
    eventually("the secret is copied", function()
      return c.try:get("secrets", "site-registry", { namespace = "team-a" })
    end)
    site:stop()
  end)
end)
