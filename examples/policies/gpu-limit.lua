-- No pod takes more GPUs than its namespace may have in one pod.
local policy = require "policy"

policy.config {
  resource = { type = "string", default = "nvidia.com/gpu", doc = "name of the resource" },
  most = { type = "int", default = 1, doc = "GPUs in one pod" },
  namespaces = { type = "map", default = {}, doc = "namespace -> another limit" },
}

policy.validate {
  name = "gpu-limit",
  match = { resource = "pods", operations = { "CREATE" } },
  check = function(req)
    local wanted = 0
    for _, container in ipairs(req.object.spec.containers) do
      local limits = container.resources and container.resources.limits or {}
      wanted = wanted + (tonumber(limits[req.config.resource]) or 0)
    end
    local most = req.config.namespaces[req.namespace] or req.config.most
    if wanted > most then return req:deny("%d GPUs are more than the %d that a pod here may have", wanted, most) end
  end,
}

local function pod(count)
  return { apiVersion = "v1", kind = "Pod", metadata = { name = "p", namespace = "team-a" }, spec = { containers = {
    { name = "main", image = "x", resources = { limits = { ["nvidia.com/gpu"] = count } } } } } }
end

policy.test { name = "one is fine", object = pod "1", expect = { allowed = true } }
policy.test { name = "two are too many", object = pod "2", expect = { allowed = false, message = "2 GPUs" } }
policy.test { name = "but not where it was granted", object = pod "2", config = { namespaces = { ["team-a"] = 4 } },
  expect = { allowed = true } }
