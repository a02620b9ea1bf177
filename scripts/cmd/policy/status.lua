-- kfhost policy status: what is served in a cluster, by whom, and how it is.
local cli = require "cli"

local function print_status(status)
  local term = require "term"
  print(("%s in %s: %s"):format(status.release, status.namespace, status.summary))
  local rows = { { "REPLICA", "READY", "LEADS", "VERSION", "SET", "SEEN" } }
  for _, one in ipairs(status.replicas) do
    rows[#rows + 1] = { one.identity, one.gone and "gone" or one.ready and "yes" or "no: " .. (one.why or "?"),
      one.leads and "yes" or "no", one.version, one.set:sub(1, 12), one.time }
  end
  if #rows > 1 then io.write("\n", term.table(rows), "\n") end
  rows = { { "CONFIGURATION", "WEBHOOKS", "STATE" } }
  for _, one in ipairs(status.configurations) do rows[#rows + 1] = { one.name, tostring(one.webhooks), one.state } end
  if #rows > 1 then io.write("\n", term.table(rows), "\n") end
  for _, text in ipairs(status.waits) do print(text) end
  for _, one in ipairs(status.errors) do print(("%s %s: %s"):format(one.time, one.identity, one.message)) end
end

return cli.main {
  name = "policy status",
  summary = "Says what is served in a cluster, by which replicas, who leads, and what failed last.",
  description = "With FILEs it says, too, whether what is served is what they say. Exit code 1 when no replica is "
    .. "ready, or the replicas serve different things, or other ones than the FILEs.",
  arguments = { { "[FILE…]", "policy files, or names of bundled policies" } },
  options = {
    { "--release NAME", "of the service", default = "kfhost-policy" },
    { "--own-namespace NAME", "where it runs", default = "kfhost-system" },
    require "policy.command".CONFIG,
    { "--json", "machine output" },
  },
  run = function(args)
    local command = require "policy.command"
    local client = command.connect()
    local set = args.file and #args.file > 0 and command.load(args) or nil
    local status = require "policy.status".read(client, { release = args.release, namespace = args.own_namespace,
      set = set and set.hash })
    if args.json then print(require "json".encode(status, { sort = true })) else print_status(status) end
    return status.good and 0 or 1
  end,
}(...)
