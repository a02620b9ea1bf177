-- No pod takes more GPUs than its namespace may have in one pod.
local policy = require "policy"
local kube = require "kube"

policy.config {
  resource = { type = "string", default = "nvidia.com/gpu", doc = "name of the resource" },
  most = { type = "int", default = 1, doc = "GPUs in one pod" },
  namespaces = { type = "map", default = {}, doc = "namespace -> another limit" },
}

-- How many a container takes at most; "1k" is a number, too.
local function gpus_of(container, resource)
  local limits = container.resources and container.resources.limits or {}
  return limits[resource] and kube.quantity(limits[resource]):value() or 0
end

-- Init containers run one after the other, before the others; those that stay are there with them.
local function gpus_in(spec, resource)
  local sum, most = 0, 0
  for _, container in ipairs(spec.initContainers or {}) do
    local wanted = gpus_of(container, resource)
    most = math.max(most, sum + wanted)
    if container.restartPolicy == "Always" then sum = sum + wanted end
  end
  for _, container in ipairs(spec.containers) do sum = sum + gpus_of(container, resource) end
  return math.max(sum, most)
end

policy.validate {
  name = "gpu-limit",
  match = { resource = "pods", operations = { "CREATE" } },
  check = function(req)
    local wanted = gpus_in(req.object.spec, req.config.resource)
    local most = req.config.namespaces[req.namespace] or req.config.most
    if wanted > most then return req:deny("%d GPUs are more than the %d that a pod here may have", wanted, most) end
  end,
}

local function container(count, restart)
  return { name = "main", image = "x", restartPolicy = restart,
    resources = { limits = { ["nvidia.com/gpu"] = count } } }
end
local function pod(count, ...)
  return { apiVersion = "v1", kind = "Pod", metadata = { name = "p", namespace = "team-a" }, spec = {
    containers = { container(count) }, initContainers = { ... } } }
end

policy.test { name = "one is fine", object = pod "1", expect = { allowed = true } }
policy.test { name = "two are too many", object = pod "2", expect = { allowed = false, message = "2 GPUs" } }
policy.test { name = "however it is written", object = pod "1k", expect = { allowed = false, message = "1000 GPUs" } }
policy.test { name = "also before the pod's work begins", object = pod("0", container "2"),
  expect = { allowed = false, message = "2 GPUs" } }
policy.test { name = "one before it and one for it are one at a time", object = pod("1", container "1"),
  expect = { allowed = true } }
policy.test { name = "one beside it is one more", object = pod("1", container("1", "Always")),
  expect = { allowed = false, message = "2 GPUs" } }
policy.test { name = "but not where it was granted", object = pod "2", config = { namespaces = { ["team-a"] = 4 } },
  expect = { allowed = true } }
