-- What the webhook bench measures a policy against: one that is about other objects.
local policy = require "policy"

policy.validate { name = "other", match = { resource = "services" }, check = function() end }
