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

-- What is to be registered, as soon as every replica that lives can answer it: none is asked for what it does not have.
local function plan_of(client, registration, pem, args, set)
  local task = require "task"
  local options = { release = args.release, namespace = args.own_namespace }
  local rollout = require "policy.serve.rollout".new("", require "policy.serve.paths".of(set.description),
    registration.options.url or ("%s.%s.svc"):format(args.release, args.own_namespace))
  local deadline, said = task.now() + args.timeout, false
  while true do
    rollout:look(require "policy.status".living(client, options))
    local there = registration:there()
    local plan = registration:plan(pem, there, function(path) return rollout:lacking(path) end)
    if #plan.waits == 0 or args.dry_run or task.now() >= deadline then return plan, there end
    if not said then io.stderr:write("waiting: ", table.concat(plan.waits, "; "), "\n") end
    said = true
    task.sleep(1)
  end
end

return cli.main {
  name = "policy register",
  summary = "Makes the webhook configurations of policies, or brings them up to date.",
  description = "They name the Service of the release, or the address given by --url. caBundle holds the service's "
    .. "authorities, and the one before beside them. A configuration that was deleted is made again: only this "
    .. "command does that. Exit code 1 when a replica does not have all of the policies in time.",
  arguments = { { "FILE…", "policy files, or names of bundled policies" } },
  options = {
    { "--url URL", "where the webhooks are, such as https://127.0.0.1:8443, instead of the Service" },
    { "--ca FILE", "authorities of their certificate (PEM), instead of the Secret of the release" },
    { "--release NAME", "of the configurations and the Service", default = "kfhost-policy" },
    { "--own-namespace NAME", "where the service runs: left out by the webhooks", default = "kfhost-system" },
    { "--timeout SECONDS", "to wait until every replica has the policies; then those that all have are registered",
      type = "number", default = 120, min = 0 },
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
    local pem = authorities(client, args)
    local plan, there = plan_of(client, registration, pem, args, set)
    local done = registration:register(plan, pem, there, { dry_run = args.dry_run })
    for _, text in ipairs(plan.waits) do io.stderr:write("not registered: ", text, "\n") end
    local json = require "json"
    local list = json.array {}
    for i, one in ipairs(done) do list[i] = { kind = one.kind, name = one.name, change = one.change } end
    if args.json then print(json.encode(list, { sort = true }))
    else
      for _, one in ipairs(list) do
        print(("%s/%s %s%s"):format(one.kind:lower(), one.name, one.change, args.dry_run and " (dry run)" or ""))
      end
    end
    return #plan.waits == 0 and 0 or 1
  end,
}(...)
