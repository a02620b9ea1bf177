-- kfhost doctor: finds what is wrong with a Kubeflow and names the fix. It reads, and never writes.
-- Not for repairing: each finding names what does. The checks are in scripts/lib/doctor.
--   kfhost doctor --namespace team-a

local cli = require "cli"
local collect = require "doctor.collect"
local doctor = require "doctor"
local report = require "doctor.report"

local function connect()
  return require("kube").connect { readonly = true }
end

-- What may not be read is told, so that silence is not taken for health.
local function tell_refused(refused)
  for _, entry in ipairs(refused) do
    io.stderr:write(("not looked at: %s\n"):format(entry.message))
  end
end

local function write(path, text)
  if path == "-" then io.stdout:write(text) else require("fs").write(path, text) end
end

return cli.main {
  name = "doctor",
  summary = "finds what is wrong with a Kubeflow and names the fix",
  options = {
    { "-n, --namespace NAME", "only what concerns this namespace" },
    { "--json", "machine output" },
    { "--html FILE", "a page" },
  },
  run = function(args)
    local objects, refused = collect.all(connect())
    tell_refused(refused)
    local findings = doctor.examine(objects, { namespace = args.namespace })
    if args.html then write(args.html, report.html(findings)) end
    if args.json then io.stdout:write(report.json(findings))
    elseif not args.html then io.stdout:write(report.text(findings)) end
    return report.exit_code(findings)
  end,
} (...)
