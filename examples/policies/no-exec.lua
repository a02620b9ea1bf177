-- Nobody opens a shell in the pods of production.
local policy = require "policy"

policy.validate {
  name = "no-exec",
  match = { resource = "pods/exec | pods/attach", operations = { "CONNECT" },
    namespaces = { label = "stage=production" } },
  check = function(req) return req:deny("no shell in %s: this is production", req.name) end,
}

local function shell(stage)
  return { object = { apiVersion = "v1", kind = "PodExecOptions", command = { "sh" } }, resource = "pods/exec",
    operation = "CONNECT", namespace = "team-a", objects = { { apiVersion = "v1", kind = "Namespace",
      metadata = { name = "team-a", labels = { stage = stage } } } } }
end

for stage, allowed in pairs { production = false, test = true } do
  local case = shell(stage)
  case.name, case.expect = "a shell in " .. stage, { allowed = allowed }
  policy.test(case)
end
