-- kfhost policy manifests: what to install in a cluster, for `| kubectl apply -f -`.
local cli = require "cli"

return cli.main {
  name = "policy manifests",
  summary = "Writes what a cluster needs to serve these policies.",
  description = "RBAC from the declared reads and writes, webhook configurations, Deployment, Service, NetworkPolicy, "
    .. "PodDisruptionBudget; policy files of yours travel in a ConfigMap. With --webhooks when-served the webhook "
    .. "configurations are empty: the leader fills them, with what every replica can answer.",
  arguments = { { "FILE…", "policy files, or names of bundled policies" } },
  options = {
    { "--image NAME", "an image that runs kfhost" },
    { "--namespace NAME", "where it runs", default = "kfhost-system" },
    { "--name NAME", "of the objects", default = "kfhost-policy" },
    { "--replicas N", "how many pods serve", type = "int", default = 2, min = 1 },
    { "--workers N", "processes of a pod that answer reviews", type = "int", default = 2, min = 1, max = 20 },
    { "--bypass-group NAME", "users of this group may use the bypass label on objects", repeated = true },
    { "--webhooks WHEN", "are registered: at-once, or when-served, which is as soon as every replica has them",
      choices = { "at-once", "when-served" }, default = "at-once" },
    { "--certificate-days DAYS", "for how long a certificate is valid", type = "number" },
    require "policy.command".CONFIG,
    { "--json", "a List as JSON" },
  },
  examples = { "kfhost policy manifests vsphere-rwo --image registry.site/kfhost:1 | kubectl apply -f -" },
  run = function(args)
    if not args.image then cli.usage "--image is needed: the name of an image that runs kfhost" end
    local command = require "policy.command"
    local set = command.load(args)
    local objects = require "policy.manifests".objects(set, { image = args.image, name = args.name,
      namespace = args.namespace, replicas = args.replicas, configs = command.configs(args.config),
      workers = args.workers, bypass_groups = args.bypass_group, certificate_days = args.certificate_days,
      webhooks = args.webhooks })
    if args.json then
      print(require "json".encode({ apiVersion = "v1", kind = "List", items = objects }, { sort = true }))
      return 0
    end
    for _, object in ipairs(objects) do io.write("---\n", require "yaml".encode(object)) end
    return 0
  end,
}(...)
