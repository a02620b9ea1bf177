-- Containers that ask for nothing get a little, so that a node can be planned.
local policy = require "policy"

policy.config {
  cpu = { type = "quantity", default = "100m", doc = "requested by default" },
  memory = { type = "quantity", default = "256Mi", doc = "requested by default" },
}

local function give(container, config)
  container.resources = container.resources or {}
  local resources = container.resources
  resources.requests = resources.requests or {}
  for _, name in ipairs { "cpu", "memory" } do
    local limited = resources.limits and resources.limits[name]
    if not resources.requests[name] and not limited then resources.requests[name] = config[name] end
  end
end

policy.mutate {
  name = "default-resources",
  match = { resource = "pods", operations = { "CREATE" }, namespaces = {
    label = "app.kubernetes.io/part-of=kubeflow-profile" } },
  apply = function(req)
    for _, list in ipairs { "initContainers", "containers" } do
      for _, container in ipairs(req.object.spec[list] or {}) do give(container, req.config) end
    end
  end,
}

local function pod(resources)
  return { apiVersion = "v1", kind = "Pod", metadata = { name = "p" },
    spec = { containers = { { name = "main", image = "x", resources = resources } } } }
end

policy.test { name = "nothing becomes a little", object = pod(),
  expect = { object = { spec = { containers = { { resources = {
    requests = { cpu = "100m", memory = "256Mi" } } } } } } } }
policy.test { name = "for what comes first, too: a quota asks for all of them",
  object = { apiVersion = "v1", kind = "Pod", metadata = { name = "p" }, spec = { containers = {},
    initContainers = { { name = "i", image = "x" } } } },
  expect = { object = { spec = { initContainers = { { resources = { requests = { cpu = "100m" } } } } } } } }
policy.test { name = "what is asked for stays", object = pod { requests = { cpu = "2", memory = "1Gi" } },
  expect = { patch = {} } }
policy.test { name = "a limit is a request", object = pod { limits = { cpu = "1" } },
  expect = { object = { spec = { containers = { { resources = { requests = { memory = "256Mi" } } } } } } } }
