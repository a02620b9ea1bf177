-- What the webhook bench adds: a policy that matches, reads and allows.
local policy = require "policy"

policy.validate { name = "other", match = { resource = "services" }, check = function() end }

policy.validate {
  name = "read-only", match = { resource = "pods" },
  check = function(req)
    for _, container in ipairs(req.object.spec.containers) do
      if container.image:find "^forbidden/" then return req:deny("no %s", container.image) end
    end
    local labels = req.object.metadata.labels
    if labels and labels.team == "nobody" then return req:deny "nobody is no team" end
  end,
}
