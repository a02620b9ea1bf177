-- kfhost policy register: makes the webhook configurations, or brings them up to date.
local cli = require "cli"

-- The authorities: of a file, else those that the service keeps in its Secret.
local function authorities(client, args)
  if args.ca then return require "fs".read(args.ca) end
  local name = args.release .. "-certificates"
  local secret, problem = client.try:get("secrets", name, { namespace = args.own_namespace })
  if not secret and problem.status ~= 404 then error(problem, 0) end
  local text = secret and (secret.data or {})["ca.crt"]
  if text then return require "hash".unbase64(text) end
  require "errors".raise { code = "NotFound", message = ("no Secret %s/%s holds a certificate yet: serve first "
    .. "(`kfhost policy manifests … | kubectl apply -f -`), or give --ca FILE"):format(args.own_namespace, name) }
end

return cli.main {
  name = "policy register",
  summary = "Makes the webhook configurations of policies, or brings them up to date.",
  description = "They name the Service of the release, or the address given by --url. caBundle holds the service's "
    .. "authorities, and the one before beside them. A configuration that was deleted is made again: only this "
    .. "command does that.",
  arguments = { { "FILE…", "policy files, or names of bundled policies" } },
  options = {
    { "--url URL", "where the webhooks are, such as https://127.0.0.1:8443, instead of the Service" },
    { "--ca FILE", "authorities of their certificate (PEM), instead of the Secret of the release" },
    { "--release NAME", "of the configurations and the Service", default = "kfhost-policy" },
    { "--own-namespace NAME", "where the service runs: left out by the webhooks", default = "kfhost-system" },
    { "--dry-run", "ask the server, change nothing" },
    require "policy.command".CONFIG,
    { "--json", "machine output" },
  },
  run = function(args)
    local client = require "policy.command".connect()
    local set = require "policy.command".load(args)
    if #set.description.policies == 0 then
      io.stderr:write "there is no mutation and no validation in these files: nothing to register\n"
    end
    local registration = require "policy.serve.registration".new(client, set.description, { name = args.release,
      namespace = args.own_namespace, url = args.url and args.url:gsub("/+$", "") or nil })
    local done = registration:register(authorities(client, args), { dry_run = args.dry_run })
    local json = require "json"
    local list = json.array {}
    for i, one in ipairs(done) do list[i] = { kind = one.kind, name = one.name, change = one.change } end
    if args.json then print(json.encode(list, { sort = true }))
    else
      for _, one in ipairs(list) do
        print(("%s/%s %s%s"):format(one.kind:lower(), one.name, one.change, args.dry_run and " (dry run)" or ""))
      end
    end
    return 0
  end,
}(...)
