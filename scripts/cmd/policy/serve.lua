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

return cli.main {
  name = "policy serve",
  summary = "Serves policies as admission webhooks until it is told to stop.",
  description = "Answers POST /mutate, /validate, /mutate/NAME and /validate/NAME over TLS; /healthz, /readyz and "
    .. "/metrics on the second port. Each review that a policy judged is a line of JSON on standard output: the audit.",
  arguments = { { "FILE…", "policy files, or names of bundled policies" } },
  options = {
    { "--address IP", "where to listen", default = "127.0.0.1" },
    { "--port N", "of the webhooks; 0 is a free one", type = "integer", default = 8443, min = 0 },
    { "--ops-port N", "of health and metrics; 0 is a free one", type = "integer", default = 8081, min = 0 },
    { "--cert FILE", "certificate chain (PEM); without it one is made" },
    { "--key FILE", "its key (PEM)" },
    { "--ca-out FILE", "where to write the authority of the certificate that was made" },
    { "--bypass-group NAME", "users of this group may use the bypass label on objects", repeated = true },
    require "policy.command".CONFIG,
  },
  run = function(args)
    if (args.cert == nil) ~= (args.key == nil) then cli.usage "--cert and --key go together" end
    local command = require "policy.command"
    local set = command.load(args, { bypass_groups = args.bypass_group })
    local service = require "policy.serve".start(set, { address = args.address, port = args.port,
      ops_port = args.ops_port, certificate = pem(args.cert), key = pem(args.key), audit = audit_to(io.stdout) })
    if args.ca_out and service.authority then require "fs".write(args.ca_out, service.authority) end
    io.stderr:write(("policies: %d; webhooks on https://%s:%d, health on http://%s:%d\n"):format(
      #set.description.policies, args.address, service.webhook.port, args.address, service.operations.port))
    local ok, problem = pcall(service.webhook.wait, service.webhook)
    if not ok then
      service:drain(10)
      error(problem, 0)
    end
    return 0
  end,
}(...)
