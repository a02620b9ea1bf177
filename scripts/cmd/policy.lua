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
    register = { "make their webhook configurations, or bring them up to date", module = "cmd.policy.register" },
    status = { "say what is served in a cluster, and how it is", module = "cmd.policy.status" },
    uninstall = { "take them out of a cluster, and restore what they hold", module = "cmd.policy.uninstall" },
    serve = { "serve them as admission webhooks", module = "cmd.policy.serve" },
    explain = { "say which policies would act on an object, and why", module = "cmd.policy.explain" },
  },
}(...)
