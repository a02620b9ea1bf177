-- kfhost policy serve: policies as admission webhooks.
local cli = require "cli"

local function pem(path)
  return path and require "fs".read(path)
end

local function audit_to(stream)
  local json = require "json"
  return function(line)
    line.time = os.date "!%Y-%m-%dT%H:%M:%SZ"
    stream:write(json.encode(line, { sort = true }), "\n")
    stream:flush()
  end
end

-- What a policy's own tests say against it stops it from being served.
local function check_tests(set)
  local failed = {}
  for _, case in ipairs(require "policy.trial".tests(set)) do
    if #case.problems > 0 then failed[#failed + 1] = ("%s: %s"):format(case.name, case.problems[1]) end
  end
  if #failed == 0 then return end
  local message = "tests of the policies fail:\n  " .. table.concat(failed, "\n  ")
  require "errors".raise { code = "Policy", message = message }
end

local function load(args)
  return require "policy.command".load(args, { bypass_groups = args.bypass_group })
end

local function log(message)
  io.stderr:write("policy: ", message, "\n")
end

-- The cluster that the environment names, or nil: then reviews are answered, and nothing is watched.
local function connect(set)
  local client, problem = require "kube".try.connect { manager = "kfhost-policy", exec_plugins = "deny" }
  if client then return client end
  if problem.code ~= "Kubeconfig" then error(problem, 0) end
  if #set.description.watches + #set.description.schedules > 0 then log "no cluster is named: nothing is watched" end
  return nil
end

local function run_controller(args)
  local names = #args.name > 0 and args.name or { "localhost", "127.0.0.1" }
  local set = load(args)
  local client = args.cluster ~= "false" and connect(set)
  local cluster, authorities -- known before the cluster is followed
  local function on_start(_, ports)
    log(("webhooks on https://%s:%d, health on http://%s:%d"):format(args.address, ports.webhook, args.address,
      ports.operations))
    if not client then return end
    cluster = require "policy.serve.cluster".start(set, client, { name = args.release, namespace = args.own_namespace,
      host = names[1], port = ports.webhook, register = args.register == "true",
      leader_election = args.leader_election, log = log })
    if authorities then cluster:authorities(authorities) end
  end
  local code = require "policy.serve.controller".run {
    names = names, certificate = pem(args.cert), key = pem(args.key), on_start = on_start,
    on_authorities = function(text)
      if args.ca_out then require "fs".write(args.ca_out, text) end
      authorities = text
      if cluster then cluster:authorities(text) end
    end,
    synced = function() return not cluster or cluster:synced() end,
  }
  if cluster then cluster:stop() end
  return code
end

local function run_worker(args)
  local set = load(args)
  check_tests(set)
  return require "policy.serve.worker".run(set, { audit = audit_to(io.stdout) })
end

-- The first process: sees that all is well, then becomes the supervisor of the others.
local function run_first(args)
  local set = load(args)
  check_tests(set)
  io.stderr:write(("policies: %d\n"):format(#set.description.policies))
  require "workers".supervise { address = args.address, port = args.port, operations_port = args.ops_port,
    workers = args.workers }
end

return cli.main {
  name = "policy serve",
  summary = "Serves policies as admission webhooks until it is told to stop.",
  description = "Answers POST /mutate, /validate, /mutate/NAME and /validate/NAME over TLS; /healthz, /readyz and "
    .. "/metrics on the second port. SIGHUP loads the policies anew, beside the old ones until the new are ready. "
    .. "Each review that a policy judged is a line of JSON on standard output: the audit.",
  arguments = { { "FILE…", "policy files, or names of bundled policies" } },
  options = {
    { "--address IP", "where to listen", default = "127.0.0.1" },
    { "--port N", "of the webhooks; 0 is a free one", type = "int", default = 8443, min = 0 },
    { "--ops-port N", "of health and metrics; 0 is a free one", type = "int", default = 8081, min = 0 },
    { "--cert FILE", "certificate chain (PEM); without it one is made" },
    { "--key FILE", "its key (PEM)" },
    { "--name NAME", "host name or address that the certificate is made for", repeated = true },
    { "--ca-out FILE", "where to write the authorities of the certificate that was made" },
    { "--workers N", "processes that answer reviews", type = "int", default = 2, min = 1, max = 20 },
    { "--register WHETHER", "make the webhook configurations", choices = { "true", "false" }, default = "false" },
    { "--cluster WHETHER", "false: answer reviews only, whatever cluster the environment names",
      choices = { "true", "false" }, default = "true" },
    { "--leader-election", "one of several replicas watches and writes" },
    { "--release NAME", "of the configurations and the lease", default = "kfhost-policy" },
    { "--own-namespace NAME", "where this runs: left out by the webhooks", default = "kfhost-system" },
    { "--bypass-group NAME", "users of this group may use the bypass label on objects", repeated = true },
    require "policy.command".CONFIG,
  },
  run = function(args)
    if (args.cert == nil) ~= (args.key == nil) then cli.usage "--cert and --key go together" end
    local role = require "workers".role()
    if role == "controller" then return run_controller(args) end
    if role == "worker" then return run_worker(args) end
    return run_first(args)
  end,
}(...)
