-- kfhost policy: a site's policies in Lua: tested, tried on what is there, served as webhooks and controllers.
local cli = require "cli"

return cli.main {
  name = "policy",
  summary = "Tests a site's policies, shows what they would do, and serves them.",
  commands = {
    test = { "run the tests in policy files", module = "cmd.policy.test" },
    apply = { "pass objects through the policies: mutated objects, or a diff", module = "cmd.policy.apply" },
    manifests = { "write what a cluster needs to serve them", module = "cmd.policy.manifests" },
    audit = { "judge objects that are already there", module = "cmd.policy.audit" },
    serve = { "serve them as admission webhooks", module = "cmd.policy.serve" },
    explain = { "say which policies would act on an object, and why", module = "cmd.policy.explain" },
  },
}(...)
