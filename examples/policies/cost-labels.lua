-- Pods carry the cost centre of their namespace.
local policy = require "policy"

policy.grant { reads = { "namespaces" } }

policy.mutate {
  name = "cost-labels",
  match = { resource = "pods", operations = { "CREATE" } },
  apply = function(req)
    local namespace = req:lookup("namespaces", nil, req.namespace)
    local cost = namespace and namespace.metadata.labels and namespace.metadata.labels["cost-center"]
    if not cost then return end
    req.object.metadata.labels = req.object.metadata.labels or {}
    req.object.metadata.labels["cost-center"] = cost
  end,
}

local POD = { apiVersion = "v1", kind = "Pod", metadata = { name = "p", namespace = "team-a" }, spec = {} }

policy.test { name = "the namespace's label is taken over", object = POD,
  objects = { { apiVersion = "v1", kind = "Namespace", metadata = { name = "team-a", labels = {
    ["cost-center"] = "4711" } } } },
  expect = { object = { metadata = { labels = { ["cost-center"] = "4711" } } } } }
policy.test { name = "a namespace without one changes nothing", object = POD, expect = { patch = {} } }
