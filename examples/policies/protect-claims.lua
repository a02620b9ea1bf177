-- Claims with the label protected=true are deleted by administrators only.
local policy = require "policy"

policy.config { groups = { type = "list", default = { "system:masters" }, doc = "whose users may delete them" } }

policy.validate {
  name = "protect-claims",
  match = { resource = "persistentvolumeclaims", operations = { "DELETE" }, label = "protected=true" },
  check = function(req)
    for _, group in ipairs(req.user.groups) do
      if req.contains(req.config.groups, group) then return end
    end
    return req:deny("claim %s is protected: take its label off first", req.old.metadata.name)
  end,
}

local CLAIM = { apiVersion = "v1", kind = "PersistentVolumeClaim", spec = {},
  metadata = { name = "data", namespace = "team-a", labels = { protected = "true" } } }

policy.test { name = "a user may not", old = CLAIM, user = "ann", expect = { allowed = false, message = "claim data" } }
policy.test { name = "an administrator may", old = CLAIM, user = { name = "root", groups = { "system:masters" } },
  expect = { allowed = true } }
policy.test { name = "others are not protected", user = "ann",
  old = { apiVersion = "v1", kind = "PersistentVolumeClaim", metadata = { name = "data" }, spec = {} },
  expect = { allowed = true } }
