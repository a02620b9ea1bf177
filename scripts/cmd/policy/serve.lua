-- kfhost policy serve: policies as admission webhooks.
local cli = require "cli"

local function pem(path)
  return path and require "fs".read(path)
end

local function audit_to(stream)
  local json = require "json"
  local sorted, second, text = { sort = true }, nil, nil
  stream:setvbuf "line"
  return function(line)
    local now = os.time()
    if now ~= second then second, text = now, os.date("!%Y-%m-%dT%H:%M:%SZ", now) end
    line.time = text
    stream:write(json.encode(line, sorted), "\n")
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

local function load(args, found)
  found = found or {}
  return require "policy.command".load(args, { bypass_groups = args.bypass_group,
    own_namespace = args.own_namespace, files = found.files, configs = found.configs })
end

-- What all processes of this host have loaded.
local function load_shared(args)
  return require "policy.serve.sources".load(function(found) return load(args, found) end, check_tests)
end

local function log(message)
  io.stderr:write("policy: ", message, "\n")
end

-- The client's own records, but for what comes every few seconds: the lease and the status.
local function record_to_stderr(record)
  local routine = record.resource == "leases" or record.resource == "configmaps"
  if routine and record.result == "ok" then return end
  require "kube.log".to_stderr(record)
end

local function connect()
  return require "kube".connect { manager = "kfhost-policy", exec_plugins = "deny", log = record_to_stderr }
end

-- Whether the environment names a cluster; without one reviews are answered, and nothing is watched.
local function has_cluster(set)
  local client, problem = require "kube".try.connect { manager = "kfhost-policy", exec_plugins = "deny" }
  if client then
    client:close()
    return true
  end
  if problem.code ~= "Kubeconfig" then error(problem, 0) end
  if #set.description.watches + #set.description.schedules > 0 then log "no cluster is named: nothing is watched" end
  return false
end

-- What asks for a cluster is told where there is none, before anything listens.
local function check_cluster(args, set)
  local asked = args.register == "true" and "--register true" or args.service and "--service"
    or args.leader_election and "--leader-election"
  if not asked or args.cluster ~= "false" and has_cluster(set) then return end
  require "errors".raise { code = "Kubeconfig",
    message = asked .. " needs a cluster, and none is named: set KUBECONFIG" }
end

-- That of the supervisor: a controller after another one goes on with its lease at once.
local function identity()
  local parent = require "fs".read "/proc/self/stat":match "%) %u (%d+)"
  return os.getenv "POD_NAME" or ("%s-%s"):format(os.getenv "HOSTNAME" or "host", parent)
end

-- What the cluster's part is told; where it runs behind a Service, that is how the webhooks are found.
local function start_cluster(args, set, service, ports, name, first, recorded)
  return require "policy.serve.cluster".start(set, connect, { release = args.release,
    namespace = args.own_namespace, identity = identity(), register = args.register == "true",
    leader_election = args.leader_election, log = log, first = first, metrics = recorded,
    url = args.url and args.url:gsub("/+$", "") or not args.service and ("https://%s:%d"):format(name, ports.webhook)
      or nil,
    ready = function() return service:ready() end, registered = function() return service:registered() end,
    note_registered = function(names) service:note_registered(names) end })
end

-- The names that the certificate is made for.
local function names_of(args)
  if #args.name > 0 then return args.name end
  if not args.service then return { "localhost", "127.0.0.1" } end
  local name = ("%s.%s.svc"):format(args.release, args.own_namespace)
  return { name, name .. ".cluster.local" }
end

-- Where replicas of a service share their certificate.
local function store_of(args)
  if not args.service or args.cert then return nil end
  return require "policy.serve.keeper".secret(connect(), args.own_namespace, args.release .. "-certificates")
end

local function run_controller(args)
  local names, set = names_of(args), load_shared(args)
  if not set then return 0 end
  local clustered = args.cluster ~= "false" and has_cluster(set)
  local cluster
  local paths = require "policy.serve.paths"
  local first = paths.publish(paths.of(set.description))
  local recorded = require "policy.serve.metrics".new()
  local changes = require "policy.serve.changes".new(args, set)
  local code = require "policy.serve.controller".run {
    names = names, days = args.certificate_days, store = clustered and store_of(args) or nil, log = log,
    read_files = args.cert and function() return pem(args.cert), pem(args.key) end or nil,
    on_start = function(service, ports)
      local place = args.address:find ":" and ("[%s]"):format(args.address) or args.address
      log(("webhooks on https://%s:%d, health on http://%s:%d"):format(place, ports.webhook, place, ports.operations))
      if not clustered then return end
      cluster = start_cluster(args, set, service, ports, names[1], first, recorded)
      if service.bundle.authorities then cluster:authorities(service.bundle.authorities) end
    end,
    on_authorities = function(text)
      if args.ca_out then require "fs".write(args.ca_out, text) end
      if cluster then cluster:authorities(text) end
    end,
    announced = function(text) return not cluster or cluster:holds(text) end,
    metrics = recorded, leads = clustered and function() return cluster ~= nil and cluster.leads end or nil,
    synced = function()
      if not clustered then return true end
      if not cluster then return false end
      return cluster:is_ready()
    end,
    status = function() return cluster and cluster:status() or { set = set.hash, version = require "host".version } end,
    tick = function()
      if cluster then cluster:touch() end
      if changes:seen() then
        log "the policy files have changed: loading them anew"
        require "workers".reload()
      end
    end,
  }
  if cluster then cluster:stop() end
  return code
end

local function run_worker(args)
  local set = load_shared(args)
  if not set then return 0 end
  return require "policy.serve.worker".run(set, { audit = audit_to(io.stdout), log = log, queue = args.queue })
end

-- The first process: sees that all is well, then becomes the supervisor of the others.
local function run_first(args)
  local set = load(args)
  check_cluster(args, set)
  check_tests(set)
  io.stderr:write(("policies: %d\n"):format(#set.description.policies))
  require "workers".supervise { address = args.address, port = args.port, operations_port = args.ops_port,
    workers = args.workers, leave = args.leave }
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
    { "--certificate-days DAYS", "for how long the one that is made is valid; it is made anew at two thirds of that",
      type = "number" },
    { "--name NAME", "host name or address that the certificate is made for", repeated = true },
    { "--ca-out FILE", "where to write the authorities of the certificate that was made" },
    { "--workers N", "processes that answer reviews", type = "int", default = 2, min = 1, max = 20 },
    { "--queue N", "reviews that may wait for a process; more are answered with 503 and Retry-After", type = "int",
      default = 64, min = 1 },
    { "--leave SECONDS", "after SIGTERM: not ready, but reviews are still taken, until callers have learned of it",
      type = "number", default = 0, min = 0 },
    { "--register WHETHER", "make the webhook configurations", choices = { "true", "false" }, default = "false" },
    { "--cluster WHETHER", "false: answer reviews only, whatever cluster the environment names",
      choices = { "true", "false" }, default = "true" },
    { "--leader-election", "one of several replicas watches and writes" },
    { "--url URL", "where the API server finds the webhooks, such as a load balancer, instead of this address" },
    { "--service", "the webhooks are found behind the Service of the release: replicas share a certificate" },
    { "--release NAME", "of the configurations, the lease and the Service", default = "kfhost-policy" },
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
