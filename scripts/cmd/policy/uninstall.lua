-- kfhost policy uninstall: takes policies out of a cluster, and restores what they hold.
local cli = require "cli"

return cli.main {
  name = "policy uninstall",
  summary = "Takes served policies out of a cluster: webhooks first, then what they hold back.",
  description = "In this order: webhook configurations (from then on nothing is refused or changed), the processes "
    .. "(so that nothing comes back), finalizers and scheduling gates of the policies on objects, the rest of what "
    .. "`manifests` installs. Works without the policy files, and when the service is broken.",
  options = {
    { "--release NAME", "of the service", default = "kfhost-policy" },
    { "--own-namespace NAME", "where it runs", default = "kfhost-system" },
    { "--dry-run", "say what would be done" },
    { "--keep-namespace", "leave the namespace, and what else is in it" },
    { "--json", "machine output: a line for each object" },
  },
  run = function(args)
    local json = require "json"
    local function say(what, object)
      local reference = { change = what, kind = object.kind, namespace = object.metadata.namespace,
        name = object.metadata.name }
      if args.json then return print(json.encode(reference, { sort = true })) end
      print(("%s %s: %s%s"):format(object.kind, (reference.namespace and reference.namespace .. "/" or "")
        .. reference.name, what, args.dry_run and " (dry run)" or ""))
    end
    local client = require "policy.command".connect()
    local failed = require "policy.uninstall".run(client, { release = args.release, namespace = args.own_namespace,
      dry_run = args.dry_run, keep_namespace = args.keep_namespace, say = say,
      warn = function(text) io.stderr:write("policy uninstall: ", text, "\n") end })
    return failed > 0 and 1 or 0
  end,
}(...)
