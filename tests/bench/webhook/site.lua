-- What the webhook bench asks of both: a fifth of the pods is denied, half of them are patched.
local policy = require "policy"

policy.mutate {
  name = "batch", mode = "enforce", match = { resource = "pods" },
  apply = function(req)
    local pod = req.object
    local labels = pod.metadata.labels
    if not labels or not labels.team then return req:deny "pods need the label team" end
    if labels.tier ~= "batch" then return end
    labels["kfhost.io/seen"] = "yes"
    pod.spec.priorityClassName = "batch"
    for _, container in ipairs(pod.spec.containers) do
      container.imagePullPolicy = container.imagePullPolicy or "IfNotPresent"
    end
  end,
}
